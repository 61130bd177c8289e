//! Nobody is kept waiting: what crowds, ends or fails at one place of a server is noticed at the others.
#![cfg(not(loom))]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Done, Order, Way, Work, builder_for, served_ways, stop_after};
use libgrite_ipc::{Server, ServerBuilder};

/// No client waits longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

fn done(bytes: Vec<u8>) -> Done {
    Done { bytes, session: 0 }
}

/// Runs `serve` on a thread of its own, `ask` on this one, and stops the server.
fn served(builder: ServerBuilder<Work>, serve: impl FnOnce(&Server<Work>) + Send, ask: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let server = builder.bind(folder.path().join("work.sock")).unwrap();
    let stop = server.handle();
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&server));
        stop_after(&stop, || ask(server.path()));
    });
}

/// Clients over sockets leave a loop over `incoming` no moment without a request of theirs.
#[test]
fn clients_over_rings_are_heard_among_those_over_sockets() {
    let answer = |server: &Server<Work>| {
        for request in server.incoming() {
            std::thread::sleep(Duration::from_micros(200));
            request.reply(&done(Vec::new())).unwrap();
        }
    };
    served(Server::builder(), answer, |path| {
        let connect = |way| builder_for(way).timeout(PATIENCE).connect(path).unwrap();
        for way in served_ways() {
            let over = AtomicBool::new(false);
            let mut quiet = connect(way);
            // Whoever asks nothing while the server falls asleep a few times is looked at less often.
            let [mut other, mut third] = [Way::Socket; 2].map(connect);
            for asked in [&mut quiet, &mut other, &mut third] {
                asked.send(&Order::Session).unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
            std::thread::scope(|scope| {
                for _ in 0..12 {
                    scope.spawn(|| {
                        let mut client = connect(Way::Socket);
                        while !over.load(Ordering::Relaxed) {
                            client.send(&Order::Session).unwrap();
                        }
                    });
                }
                std::thread::sleep(Duration::from_millis(100));
                let asked = [quiet, connect(way)]
                    .map(|mut client| (0..20).try_for_each(|_| client.send(&Order::Session).map(drop)));
                over.store(true, Ordering::Relaxed);
                asked.into_iter().for_each(|asked| asked.unwrap());
            });
        }
    });
}
