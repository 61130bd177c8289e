//! What is promised of asking again: it finds the next daemon.
#![cfg(not(loom))]

mod common;

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use common::{Order, Work, builder_for, pattern, served_ways, work};
use libgrite_ipc::{Client, Error, Server, ServerHandle};

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

/// What the daemon's end took with it may fail; what is asked afterwards was never sent to the daemon that is gone.
#[test]
fn a_connection_that_was_lost_before_a_request_fails_none_that_must_not_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.sock");
    for way in served_ways() {
        let (stop, serving) = start(&path);
        let mut client: Client<Work> = builder_for(way).connect(&path).unwrap();
        client.send_with_retry(&Order::Make(10)).unwrap();
        stop.stop();
        serving.join().unwrap().unwrap();
        client.send(&Order::Make(10)).unwrap_err();
        let (stop, serving) = start(&path);
        let answer = client.send_with_retry(&Order::Make(10)).unwrap();
        assert!(answer.bytes == pattern(10)[..], "{way:?}");
        stop.stop();
        serving.join().unwrap().unwrap();
    }
}
