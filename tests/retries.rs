//! What is promised of asking again: it finds the next daemon.
#![cfg(not(loom))]

mod common;

use std::time::Duration;

use common::{ArchivedOrder, Done, Order, Work, builder_for, pattern, served_ways, work};
use libgrite_ipc::{Client, Server};

fn done(bytes: Vec<u8>) -> Done {
    Done { bytes, session: 0 }
}

#[test]
fn a_retry_finds_the_next_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.sock");
    for way in served_ways() {
        let start = || {
            let server = Server::<Work>::bind(&path).unwrap();
            let handle = server.handle();
            let handler = |_: &ArchivedOrder, _: &libgrite_ipc::Context| done(Vec::new());
            (handle, std::thread::spawn(move || server.serve(handler)))
        };
        let (stop, serving) = start();
        let mut client: Client<Work> = builder_for(way).connect(&path).unwrap();
        client.send_with_retry(&Order::Session).unwrap();
        stop.stop();
        serving.join().unwrap().unwrap();
        let again = std::thread::spawn({
            let path = path.clone();
            move || {
                std::thread::sleep(Duration::from_millis(30));
                let server = Server::<Work>::bind(path).unwrap();
                let handle = server.handle();
                let serving = std::thread::spawn(move || server.serve(|_, _| done(Vec::new())));
                (handle, serving)
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
        let start = || {
            let server = Server::<Work>::bind(&path).unwrap();
            let handle = server.handle();
            (handle, std::thread::spawn(move || server.serve(work)))
        };
        let (stop, serving) = start();
        let mut client: Client<Work> = builder_for(way).connect(&path).unwrap();
        client.send_with_retry(&Order::Make(10)).unwrap();
        stop.stop();
        serving.join().unwrap().unwrap();
        client.send(&Order::Make(10)).unwrap_err();
        let (stop, serving) = start();
        let answer = client.send_with_retry(&Order::Make(10)).unwrap();
        assert!(answer.bytes == pattern(10)[..], "{way:?}");
        stop.stop();
        serving.join().unwrap().unwrap();
    }
}
