//! What is promised of asking again: it finds the next daemon.
#![cfg(not(loom))]

mod common;

use std::time::Duration;

use common::{ArchivedOrder, Done, Order, Work, builder_for, served_ways};
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
