//! A server that was stopped and still works: for how long, and what those are told who ask meanwhile.
#![cfg(not(loom))]

mod common;

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::at_end::AtEnd;
use common::gate::Gate;
use common::process::until;
use common::{ArchivedOrder, Done, Order, WAYS, Way, Work, builder_for, served_ways, work};
use libgrite_ipc::{Client, Error, ErrorKind, Responder, Server};

/// For how long a server that was stopped answers what it had accepted.
const DRAIN: Duration = Duration::from_secs(5);

fn is_turned_away<T>(answer: Result<T, Error>) -> bool {
    answer.is_err_and(|error| error.kind() == ErrorKind::Refused && error.is_retryable())
}

/// A server that was stopped works on a request which came over `busy` until its gate opens: `meanwhile` gets the
/// client that has asked, one over each way that has not, and the gate.
fn stop_amid_work(busy: Way, meanwhile: impl FnOnce(&Client<Work>, Vec<(Way, Client<Work>)>, Gate)) {
    let folder = tempfile::tempdir().unwrap();
    let builder = Server::<Work>::builder().may_block(|_| true);
    let server = builder.bind(folder.path().join("work.sock")).unwrap();
    let (server, stop) = (&server, server.handle());
    std::thread::scope(|scope| {
        let stop = AtEnd(|| stop.stop());
        let serving = scope.spawn(move || server.serve(work));
        let connect = |way| builder_for(way).connect(server.path()).unwrap();
        let (client, others) = (connect(busy), served_ways().into_iter().map(|way| (way, connect(way))));
        let others = others.collect();
        let gate = Gate::new();
        let _pending = client.start(&gate.order(0)).unwrap();
        gate.until_reached();
        drop(stop);
        // It is heard by then.
        std::thread::sleep(Duration::from_millis(50));
        meanwhile(&client, others, gate);
        serving.join().unwrap().unwrap();
    });
}

/// They lie there when nobody has work any more.
#[test]
fn requests_that_come_after_the_stop_are_all_turned_away() {
    for way in served_ways() {
        stop_amid_work(way, |client, _, gate| {
            let later: Vec<_> = (0..200).map(|_| client.start(&Order::Session).unwrap()).collect();
            drop(gate);
            for (number, pending) in later.into_iter().enumerate() {
                assert!(is_turned_away(pending.wait()), "{number} over {way:?}");
            }
        });
    }
}

#[test]
fn who_asks_while_a_stopped_server_still_works_is_turned_away_at_once() {
    let ask_all = |busy| {
        stop_amid_work(busy, |_, mut others, gate| {
            for when in ["at first", "when the time to answer is up"] {
                for (way, client) in &mut others {
                    let answer = client.send(&Order::Session);
                    assert!(is_turned_away(answer), "over {way:?}, {when}, while {busy:?} is answered");
                }
                std::thread::sleep(DRAIN);
            }
            drop(gate);
        });
    };
    std::thread::scope(|scope| {
        served_ways().into_iter().for_each(|busy| drop(scope.spawn(move || ask_all(busy))));
    });
}

/// Its handler has looked whether somebody still waits, which nobody does then, and has left it. The client may ask
/// another daemon: it is not told that this request has no answer.
#[test]
fn who_waits_for_work_that_a_stopped_server_has_given_up_is_cut_off() {
    let ask = |way, apart_from_others: bool| {
        let folder = tempfile::tempdir().unwrap();
        let builder = Server::<Work>::builder().may_block(move |_| apart_from_others);
        let server = builder.bind(folder.path().join("work.sock")).unwrap();
        let stop = server.handle();
        std::thread::scope(|scope| {
            let handler = |_: &ArchivedOrder, responder: Responder<Work>| {
                stop.stop();
                while responder.is_wanted() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            let server = &server;
            let serving = scope.spawn(move || server.serve_with(handler));
            let mut client = builder_for(way).timeout(4 * DRAIN).connect(server.path()).unwrap();
            let error = client.send(&Order::Session).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}: {error}");
            serving.join().unwrap().unwrap();
        });
    };
    std::thread::scope(|scope| {
        for way in served_ways() {
            scope.spawn(move || ask(way, true));
            scope.spawn(move || ask(way, false));
        }
    });
}

/// Another one has gone on after that time, and answers what it was asked.
#[test]
fn who_is_to_be_cut_off_gets_what_else_is_carried_out_for_it() {
    let ask = |way| {
        let folder = tempfile::tempdir().unwrap();
        let builder = Server::<Work>::builder().max_workers(2).may_block(|_| true);
        let server = builder.bind(folder.path().join("work.sock")).unwrap();
        let (begun, left) = (Barrier::new(3), Barrier::new(2));
        std::thread::scope(|scope| {
            let handler = |order: &ArchivedOrder, responder: Responder<Work>| {
                begun.wait();
                if matches!(order, ArchivedOrder::Session) {
                    while responder.is_wanted() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    drop(responder);
                    left.wait();
                } else {
                    left.wait();
                    let _ = responder.reply(&Done { bytes: Vec::new(), session: 0 });
                }
            };
            let server = &server;
            let serving = scope.spawn(move || server.serve_with(handler));
            let client = builder_for(way).timeout(4 * DRAIN).connect(server.path()).unwrap();
            let orders = [Order::Session, Order::Make(0)];
            let [given_up, carried_out] = client.start_all(&orders).unwrap().try_into().unwrap();
            begun.wait();
            server.handle().stop();
            let carried_out = carried_out.wait().map(drop);
            assert!(carried_out.is_ok(), "{way:?}: {carried_out:?}");
            let error = given_up.wait().map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}: {error}");
            serving.join().unwrap().unwrap();
        });
    };
    std::thread::scope(|scope| {
        served_ways().into_iter().for_each(|way| drop(scope.spawn(move || ask(way))));
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
        let _stop = AtEnd(|| stop.stop());
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

/// What has come over a socket keeps the thread that would tell the others of the stop: they see themselves that its
/// time is over, those who take requests from rings and those who take them from the queue of what may block.
#[test]
fn a_handler_that_holds_up_the_stop_has_nothing_begun_once_the_time_to_answer_is_up() {
    let folder = tempfile::tempdir().unwrap();
    let may_block = |order: &ArchivedOrder| matches!(order, ArchivedOrder::Wait(_));
    let builder = Server::<Work>::builder().max_workers(1).may_block(may_block);
    let server = builder.bind(folder.path().join("work.sock")).unwrap();
    let (begun, late, told) = (AtomicUsize::new(0), Barrier::new(3), Barrier::new(2));
    std::thread::scope(|scope| {
        let handler = |order: &ArchivedOrder, responder: Responder<Work>| {
            if begun.fetch_add(1, Ordering::SeqCst) < 2 {
                while responder.is_wanted() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                late.wait();
                if !may_block(order) {
                    told.wait();
                }
            }
            let _ = responder.reply(&Done { bytes: Vec::new(), session: 0 });
        };
        let server = &server;
        let serving = scope.spawn(move || server.serve_with(handler));
        let connect = |way| builder_for(way).timeout(4 * DRAIN).connect(server.path()).unwrap();
        let over_rings = WAYS.contains(&Way::Ring).then(|| connect(Way::Ring));
        let client = connect(Way::Socket);
        let orders = [Order::Wait(0), Order::Wait(0), Order::Session];
        let [first, queued, inline] = client.start_all(&orders).unwrap().try_into().unwrap();
        until("two are begun", || begun.load(Ordering::SeqCst) == 2);
        server.handle().stop();
        late.wait();
        let asked = over_rings.map(|mut client| client.send(&Order::Session).map(drop));
        let queued = queued.wait();
        told.wait();
        assert!(asked.is_none_or(is_turned_away), "over rings");
        assert!(is_turned_away(queued), "from the queue");
        assert!(first.wait().is_ok() && inline.wait().is_ok(), "what was begun is answered");
        serving.join().unwrap().unwrap();
    });
}
