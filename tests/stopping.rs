//! A server that was stopped and still works: for how long, and what those are told who ask meanwhile.
#![cfg(not(loom))]

mod common;

use std::sync::Barrier;
use std::time::{Duration, Instant};

use common::{ArchivedOrder, Done, Order, Way, Work, builder_for, served_ways};
use libgrite_ipc::{Client, ErrorKind, Responder, Server};

/// For how long a server that was stopped answers what it had accepted.
const DRAIN: Duration = Duration::from_secs(5);

/// What comes after the stop is turned away to the last.
#[test]
fn requests_that_come_after_the_stop_are_all_turned_away() {
    for way in served_ways() {
        let folder = tempfile::tempdir().unwrap();
        let builder = Server::<Work>::builder().may_block(|_| true);
        let server = builder.bind(folder.path().join("work.sock")).unwrap();
        let (begun, told) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            let handler = |_: &ArchivedOrder, responder: Responder<Work>| {
                begun.wait();
                told.wait();
                responder.reply(&Done { bytes: Vec::new(), session: 0 }).unwrap();
            };
            let server = &server;
            let serving = scope.spawn(move || server.serve_with(handler));
            let client = builder_for(way).connect(server.path()).unwrap();
            let first = client.start(&Order::Session).unwrap();
            begun.wait();
            server.handle().stop();
            // It is heard before the others come, which then lie there when nobody has work any more.
            std::thread::sleep(Duration::from_millis(50));
            let later: Vec<_> = (0..200).map(|_| client.start(&Order::Session).unwrap()).collect();
            told.wait();
            assert!(first.wait().is_ok(), "{way:?}");
            for pending in later {
                let error = pending.wait().unwrap_err();
                assert!(error.kind() == ErrorKind::Refused && error.is_retryable(), "{way:?}: {error}");
            }
            serving.join().unwrap().unwrap();
        });
    }
}

fn is_turned_away(client: &mut Client<Work>) -> bool {
    let error = client.send(&Order::Session).unwrap_err();
    error.kind() == ErrorKind::Refused && error.is_retryable()
}

#[test]
fn who_asks_while_a_stopped_server_still_works_is_turned_away_at_once() {
    std::thread::scope(|scope| {
        served_ways().into_iter().for_each(|busy| drop(scope.spawn(move || ask_while_busy(busy))));
    });
}

fn ask_while_busy(busy: Way) {
    let folder = tempfile::tempdir().unwrap();
    let builder = Server::<Work>::builder().may_block(|_| true);
    let server = builder.bind(folder.path().join("work.sock")).unwrap();
    let (begun, told) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        let handler = |_: &ArchivedOrder, responder: Responder<Work>| {
            begun.wait();
            told.wait();
            let _ = responder.reply(&Done { bytes: Vec::new(), session: 0 });
        };
        let server = &server;
        let serving = scope.spawn(move || server.serve_with(handler));
        let connect = |way| builder_for(way).connect(server.path()).unwrap();
        let slow = connect(busy);
        let mut clients: Vec<_> = served_ways().into_iter().map(|way| (way, connect(way))).collect();
        let _pending = slow.start(&Order::Session).unwrap();
        begun.wait();
        server.handle().stop();
        for when in ["at first", "when the time to answer is up"] {
            std::thread::sleep(Duration::from_millis(50));
            for (way, client) in &mut clients {
                assert!(is_turned_away(client), "over {way:?}, {when}, while {busy:?} is answered");
            }
            std::thread::sleep(DRAIN);
        }
        told.wait();
        serving.join().unwrap().unwrap();
    });
}

/// What was accepted and would take longer is turned away, however it is answered.
#[test]
fn a_stopped_server_begins_no_request_once_its_time_to_answer_is_up() {
    std::thread::scope(|scope| {
        for way in served_ways() {
            scope.spawn(move || stop_amid_many(way, false));
            scope.spawn(move || stop_amid_many(way, true));
        }
    });
}

/// Of many requests the first one stops the server, which answers them in a loop or with a handler.
fn stop_amid_many(way: Way, in_a_loop: bool) {
    const MANY: usize = 250;
    const EACH: Duration = Duration::from_millis(50);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::<Work>::bind(folder.path().join("work.sock")).unwrap();
    let stop = server.handle();
    std::thread::scope(|scope| {
        let stop = &stop;
        let handler = move |_: &ArchivedOrder, responder: Responder<Work>| {
            stop.stop();
            std::thread::sleep(EACH);
            let _ = responder.reply(&Done { bytes: Vec::new(), session: 0 });
        };
        let server = &server;
        let serving = scope.spawn(move || {
            if !in_a_loop {
                return server.serve_with(handler);
            }
            let mut requests = server.incoming();
            for request in requests.by_ref() {
                let (order, responder) = request.into_parts();
                handler(&order, responder);
            }
            requests.end()
        });
        let client = builder_for(way).connect(server.path()).unwrap();
        let start = Instant::now();
        let pending = client.start_all(&vec![Order::Session; MANY]).unwrap();
        let answers: Vec<_> = pending.into_iter().map(|pending| pending.wait()).collect();
        serving.join().unwrap().unwrap();
        let case = format!("{way:?}, in a loop: {in_a_loop}");
        assert!(start.elapsed() < EACH * MANY as u32, "{case}: {:?}", start.elapsed());
        assert!(answers[0].is_ok(), "{case}");
        for turned_away in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert!(turned_away.is_retryable(), "{case}: {turned_away}");
        }
        assert!(answers.last().unwrap().is_err(), "{case}");
    });
}
