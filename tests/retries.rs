//! What is promised of asking again: it finds the next daemon.
#![cfg(not(loom))]

mod common;

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use common::daemon::{be_the_daemon, end_daemon};
use common::process::{Process, role as own_role, role_command};
use common::{Order, Work, builder_for, pattern, served_ways, work};
use libgrite_ipc::{Client, Error, Server, ServerHandle};

/// The parts that this program plays when a test starts it again: a process works in one folder at a time.
#[test]
fn role() {
    let Some((role, folder)) = own_role() else { return };
    match role.as_str() {
        "daemon" => be_the_daemon(&folder),
        "client that moves" => move_and_ask_again(&folder),
        "client far down" => ask_far_down(&folder),
        "visitor that moves" => move_and_start_again(&folder),
        other => panic!("no such role: {other}"),
    }
}

/// A daemon at `path`: how to stop it, and its thread.
fn start(path: &Path) -> (ServerHandle, JoinHandle<Result<(), Error>>) {
    let server = Server::<Work>::bind(path).unwrap();
    let handle = server.handle();
    (handle, std::thread::spawn(move || server.serve(work)))
}

#[test]
fn a_retry_finds_the_next_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.sock");
    for way in served_ways() {
        let (stop, serving) = start(&path);
        let mut client: Client<Work> = builder_for(way).connect(&path).unwrap();
        client.send_with_retry(&Order::Session).unwrap();
        stop.stop();
        serving.join().unwrap().unwrap();
        let again = std::thread::spawn({
            let path = path.clone();
            move || {
                std::thread::sleep(Duration::from_millis(30));
                start(&path)
            }
        });
        client.send_with_retry(&Order::Session).unwrap();
        let (stop, serving) = again.join().unwrap();
        stop.stop();
        serving.join().unwrap().unwrap();
    }
}

/// What the daemon's end took with it may fail; what is asked afterwards was never sent to the daemon that is gone,
/// whether the client knows by then or not.
#[test]
fn a_connection_that_was_lost_before_a_request_fails_none_that_must_not_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.sock");
    for (way, knows) in served_ways().into_iter().flat_map(|way| [(way, true), (way, false)]) {
        let (stop, serving) = start(&path);
        let mut client: Client<Work> = builder_for(way).connect(&path).unwrap();
        client.send(&Order::Make(10)).unwrap();
        stop.stop();
        serving.join().unwrap().unwrap();
        if knows {
            client.send(&Order::Make(10)).unwrap_err();
        }
        let (stop, serving) = start(&path);
        let answer = client.send_with_retry(&Order::Make(10)).unwrap();
        assert!(answer.bytes == pattern(10)[..], "{way:?}, knows: {knows}");
        stop.stop();
        serving.join().unwrap().unwrap();
    }
}

/// A client that was given a relative path goes on with the daemons there when its process works elsewhere.
#[test]
fn a_retry_finds_the_next_daemon_at_the_same_path_from_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = Process::start("client that moves", folder.path());
    client.line("was answered").expect("the client is answered from elsewhere");
}

fn move_and_ask_again(folder: &Path) {
    let path = folder.join("work.sock");
    for way in served_ways() {
        std::env::set_current_dir(folder).unwrap();
        let (stop, serving) = start(&path);
        let mut client = builder_for(way).connect("work.sock").unwrap();
        client.send(&Order::Session).unwrap();
        std::env::set_current_dir("/").unwrap();
        #[cfg(feature = "tokio")]
        common::runtimes::one_thread().block_on(ask_from_elsewhere(folder));
        stop.stop();
        serving.join().unwrap().unwrap();
        let (stop, serving) = start(&path);
        client.send_with_retry(&Order::Session).unwrap();
        stop.stop();
        serving.join().unwrap().unwrap();
    }
    println!("was answered");
}

/// An async client connects once more for each answer in parts.
#[cfg(feature = "tokio")]
async fn ask_from_elsewhere(folder: &Path) {
    std::env::set_current_dir(folder).unwrap();
    let client = Client::<Work>::builder().connect_async("work.sock").await.unwrap();
    std::env::set_current_dir("/").unwrap();
    client.stream(&Order::Session).await.unwrap().next().await.unwrap().unwrap();
}

/// The same where the daemon of a directory is started.
#[test]
fn a_retry_starts_the_next_daemon_in_the_same_directory_from_any_folder() {
    let home = tempfile::tempdir().unwrap();
    let mut visitor = Process::start("visitor that moves", home.path());
    visitor.line("was answered").expect("the visitor is answered from elsewhere");
    end_daemon(&home.path().join("daemon-of-the-test"));
}

fn move_and_start_again(home: &Path) {
    let folder = home.join("daemon-of-the-test");
    let command = {
        let folder = folder.clone();
        move || role_command("daemon", &folder)
    };
    std::env::set_current_dir(home).unwrap();
    let mut client = Client::<Work>::builder().connect_or_spawn("daemon-of-the-test", command).unwrap();
    std::env::set_current_dir("/").unwrap();
    end_daemon(&folder);
    client.send_with_retry(&Order::Session).unwrap();
    println!("was answered");
}

/// A folder's path may be longer than that of any socket: a relative one leads there all the same, again and again.
#[test]
fn a_relative_path_whose_absolute_one_is_too_long_for_a_socket_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("x".repeat(120));
    std::fs::create_dir(&folder).unwrap();
    let mut client = Process::start("client far down", &folder);
    client.line("was answered").expect("the client is answered");
}

fn ask_far_down(folder: &Path) {
    std::env::set_current_dir(folder).unwrap();
    let path = Path::new("work.sock");
    let (stop, serving) = start(path);
    let mut client = Client::<Work>::connect(path).unwrap();
    stop.stop();
    serving.join().unwrap().unwrap();
    let (stop, serving) = start(path);
    client.send_with_retry(&Order::Session).unwrap();
    stop.stop();
    serving.join().unwrap().unwrap();
    println!("was answered");
}
