//! What is promised of several requests at once: order, cancellation, deadlines, and work that blocks.
#![cfg(not(loom))]

mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use common::gate::Gate;
use common::process::until;
use common::{
    ArchivedOrder, Done, Order, WAYS, Work, builder_for, pattern, reach, served_ways, stop_after, work,
};
use libgrite_ipc::{Error, ErrorKind, Responder, Server, ServerBuilder, WaitStrategy};

fn done(bytes: Vec<u8>) -> Done {
    Done { bytes, session: 0 }
}

/// After `count` milliseconds, or in so many parts, so many bytes.
fn late(count: u64, length: u32) -> Order {
    Order::MakeLate((length, count))
}

/// Runs a server of `builder` with `handler`, and `ask` with its path; stops it afterwards.
fn served(
    builder: ServerBuilder<Work>,
    handler: impl Fn(&ArchivedOrder, Responder<Work>) + Send + Sync,
    ask: impl FnOnce(&std::path::Path),
) {
    let folder = tempfile::tempdir().unwrap();
    let server = builder.bind(folder.path().join("work.sock")).unwrap();
    let stop = server.handle();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve_with(handler));
        stop_after(&stop, || ask(server.path()));
        serving.join().unwrap().unwrap();
    });
}

/// A server on which all that takes time may block.
fn blocking() -> ServerBuilder<Work> {
    Server::builder().may_block(|order| {
        matches!(order, ArchivedOrder::MakeLate(_) | ArchivedOrder::AtGate(_) | ArchivedOrder::Panic)
    })
}

/// Answers as ordered.
fn obey(order: &ArchivedOrder, responder: Responder<Work>) {
    let done = work(order, responder.context());
    // Who has given up is not told.
    let _ = responder.reply(&done);
}

#[test]
fn a_panic_in_what_tells_whether_a_request_may_block_is_answered_with_an_error() {
    let builder = Server::builder().may_block(|order| match order {
        ArchivedOrder::Panic => panic!("as ordered"),
        _ => false,
    });
    served(builder, obey, |path| {
        for way in served_ways() {
            let mut client = builder_for(way).connect(path).unwrap();
            for _ in 0..3 {
                let error = client.send(&Order::Panic).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Refused, "{way:?}: {error}");
                assert_eq!(client.send(&Order::Make(10)).unwrap().bytes, pattern(10)[..], "{way:?}");
            }
        }
    });
}

/// The server has five seconds for what it has accepted, and this would take ten.
#[test]
fn what_still_waits_for_a_thread_five_seconds_after_the_stop_is_turned_away() {
    let stop_amid_work = |way| {
        let folder = tempfile::tempdir().unwrap();
        let server = blocking().max_workers(1).bind(folder.path().join("work.sock")).unwrap();
        let stop = server.handle();
        let begun = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| {
                server.serve_with(|order, responder| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    obey(order, responder);
                })
            });
            let client = builder_for(way).timeout(Duration::from_secs(60)).connect(server.path()).unwrap();
            let mut open: Vec<_> = (0..5).map(|_| client.start(&late(2000, 10)).unwrap()).collect();
            while begun.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            stop.stop();
            let last = open.pop().unwrap().wait().unwrap_err();
            assert!(last.is_retryable(), "{way:?}: {last}");
            assert_eq!(open.remove(0).wait().unwrap().bytes, pattern(10)[..], "{way:?}: the first was begun");
            drop(open);
            serving.join().unwrap().unwrap();
        });
        assert!(begun.into_inner() < 5, "{way:?}");
    };
    std::thread::scope(|scope| {
        for way in served_ways() {
            scope.spawn(move || stop_amid_work(way));
        }
    });
}

#[test]
fn a_daemon_that_is_too_busy_is_asked_again_on_the_same_connection() {
    for way in served_ways() {
        // For a second connection of the one who asks again there is no room.
        let builder = blocking().max_workers(1).max_waiting(1).max_connections(2);
        served(builder, obey, |path| {
            let other = builder_for(way).connect(path).unwrap();
            let mut client = builder_for(way).connect(path).unwrap();
            let session = client.send(&Order::Session).unwrap().session;
            let mut turned_away = 0;
            let open: Vec<_> = (0..4).map(|_| other.start(&late(100, 10)).unwrap()).collect();
            let done = client.send_with_retry(&late(1, 10)).unwrap();
            assert_eq!(done.session, session, "{way:?}");
            for answer in open {
                turned_away += u32::from(answer.wait().is_err());
            }
            assert!(turned_away > 0, "{way:?}: the daemon was too busy");
        });
    }
}

#[test]
fn a_server_may_wait_for_as_long_as_can_be_said() {
    let builder = Server::builder().idle_timeout(Duration::MAX).handshake_timeout(Duration::MAX);
    served(builder, obey, |path| {
        for way in served_ways() {
            let mut client = builder_for(way).connect(path).unwrap();
            assert_eq!(client.send(&Order::Make(10)).unwrap().bytes, pattern(10)[..], "{way:?}");
        }
    });
}

#[test]
#[should_panic(expected = "a server serves once")]
fn a_server_serves_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::<Work>::bind(folder.path().join("work.sock")).unwrap();
    drop(server.incoming());
    let _ = server.serve_with(obey);
}

#[test]
fn answers_are_claimed_in_any_order() {
    for &way in WAYS {
        let reached = reach(way, |builder| builder);
        let client = &reached.client;
        for turn in 0..20usize {
            let orders: Vec<_> = (0..100).map(|n| Order::Echo(pattern(n * 37 % 3000 + turn))).collect();
            let mut pending: Vec<_> = client.start_all(&orders).unwrap().into_iter().enumerate().collect();
            while !pending.is_empty() {
                let (number, answer) = pending.swap_remove(turn * 31 % pending.len());
                let answer = answer.wait().unwrap();
                assert!(answer.bytes == pattern(number * 37 % 3000 + turn)[..], "{number} over {way:?}");
            }
        }
    }
}

/// It borrows nothing, and stays on no thread.
#[test]
fn an_answer_that_is_taken_out_outlives_its_client() {
    for &way in WAYS {
        let reached = reach(way, |builder| builder);
        let answer = reached.client.start(&Order::Make(3000)).unwrap().wait().unwrap().into_message();
        drop(reached);
        let is_its_own = std::thread::spawn(move || answer.bytes == pattern(3000)[..]);
        assert!(is_its_own.join().unwrap(), "{way:?}");
    }
}

/// Answers that are told of together are told of at the latest when their turn is over, and one who sleeps is
/// woken for them.
#[test]
fn a_client_that_asks_often_misses_no_answer() {
    for wait in [WaitStrategy::Adaptive, WaitStrategy::Park] {
        for &way in WAYS {
            let reached = reach(way, |builder| builder.wait(wait));
            let client = &reached.client;
            let orders: Vec<_> = (0..40).map(|number| Order::Echo(pattern(number * 3))).collect();
            for turn in 0..2000 {
                let pending = client.start_all(&orders[..1 + turn % 40]).unwrap();
                for (number, answer) in pending.into_iter().enumerate() {
                    assert!(answer.wait().unwrap().bytes == pattern(number * 3)[..], "{number} over {way:?}");
                }
            }
        }
    }
}

#[test]
fn a_window_that_slides_never_fills_up() {
    for &way in WAYS {
        let reached = reach(way, |builder| builder.reply_ring(4096).request_ring(4096));
        let client = &reached.client;
        let mut window = std::collections::VecDeque::new();
        for number in 0..5000usize {
            if window.len() == 64 {
                let (number, answer): (usize, libgrite_ipc::Pending<'_, Work>) = window.pop_front().unwrap();
                assert!(answer.wait().unwrap().bytes == pattern(number % 900)[..], "{number} over {way:?}");
            }
            window.push_back((number, client.start(&Order::Echo(pattern(number % 900))).unwrap()));
        }
    }
}

#[test]
fn as_many_as_may_be_open_are_and_one_more_is_refused() {
    for &way in WAYS {
        let reached = reach(way, |builder| builder);
        let client = &reached.client;
        let orders: Vec<_> = (0..client.max_open()).map(|_| Order::Session).collect();
        let mut pending = client.start_all(&orders).unwrap();
        let error = client.start(&Order::Session).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Refused, true), "{error}");
        pending.pop().unwrap().wait().unwrap();
        client.start(&Order::Session).unwrap().wait().unwrap();
        drop(pending);
        client.start_all(&orders).unwrap().into_iter().for_each(|answer| drop(answer.wait().unwrap()));
    }
}

#[test]
fn an_answer_that_has_come_says_so() {
    for &way in WAYS {
        let mut reached = reach(way, |builder| builder);
        let late = reached.client.start(&late(30, 5)).unwrap();
        let quick = reached.client.start(&Order::Session).unwrap();
        quick.wait().unwrap();
        while !late.is_ready().unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(late.wait().unwrap().bytes.len(), 5, "{way:?}");
        reached.client.send(&Order::Session).unwrap();
    }
}

/// Fault 46. Answers that nobody claims, among others that somebody does: each comes to its own request.
#[test]
fn dropped_answers_harm_no_others() {
    for &way in WAYS {
        let mut reached = reach(way, |builder| builder);
        for turn in 0..200usize {
            let orders: Vec<_> = (0..50).map(|n| Order::Echo(pattern(n * 100 + turn))).collect();
            let pending = reached.client.start_all(&orders).unwrap();
            for (number, answer) in pending.into_iter().enumerate() {
                if (number * 7 + turn) % 3 == 0 {
                    assert!(answer.wait().unwrap().bytes == pattern(number * 100 + turn)[..], "{way:?}");
                }
            }
            assert!(reached.client.send(&Order::Echo(pattern(turn))).unwrap().bytes == pattern(turn)[..]);
        }
    }
}

#[test]
fn a_request_that_blocks_holds_up_nobody() {
    for way in served_ways() {
        served(blocking(), obey, |path| {
            let client = builder_for(way).connect(path).unwrap();
            let mut other = builder_for(way).connect(path).unwrap();
            let gate = Gate::new();
            let slow = client.start(&gate.order(0)).unwrap();
            gate.until_reached();
            for _ in 0..100 {
                client.start(&Order::Session).unwrap().wait().unwrap();
                other.send(&Order::Session).unwrap();
            }
            assert!(!slow.is_ready().unwrap(), "{way:?}");
            drop(gate);
            slow.wait().unwrap();
        });
    }
}

#[test]
fn one_more_than_may_wait_for_a_thread_is_refused_and_can_be_repeated() {
    for way in served_ways() {
        served(blocking().max_workers(1).max_waiting(3), obey, |path| {
            let client = builder_for(way).connect(path).unwrap();
            let gate = Gate::new();
            let first = client.start(&gate.order(0)).unwrap();
            gate.until_reached();
            let waiting: Vec<_> = (0..3).map(|_| client.start(&late(0, 0)).unwrap()).collect();
            let error = client.start(&late(0, 0)).unwrap().wait().unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Refused, true), "{error}");
            drop(gate);
            first.wait().unwrap();
            waiting.into_iter().for_each(|answer| drop(answer.wait().unwrap()));
        });
    }
}

/// Fault 46. Work whose caller has dropped it, timed out or gone is not begun, and its place is free.
#[test]
fn work_that_nobody_waits_for_any_more_is_dropped() {
    for way in served_ways() {
        let done_for = Mutex::new(Vec::new());
        let handler = |order: &ArchivedOrder, responder: Responder<Work>| {
            if let ArchivedOrder::AtGate(made) | ArchivedOrder::MakeLate(made) = order {
                done_for.lock().unwrap().push(made.0.to_native());
            }
            obey(order, responder);
        };
        served(blocking().max_workers(1).max_connections(3), handler, |path| {
            let client = builder_for(way).connect(path).unwrap();
            let mut hasty = builder_for(way).timeout(Duration::from_millis(20)).connect(path).unwrap();
            let gone = builder_for(way).connect(path).unwrap();
            let gate = Gate::new();
            let first = client.start(&gate.order(0)).unwrap();
            gate.until_reached();
            let wanted = client.start(&late(0, 1)).unwrap();
            drop(client.start(&late(0, 2)).unwrap());
            let error = hasty.send(&late(0, 3)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            let lost = gone.start(&late(0, 4)).unwrap();
            // Behind these, all that came before has been read.
            gone.start(&Order::Session).unwrap().wait().unwrap();
            until("the hasty one is heard", || match hasty.send(&Order::Session) {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                    false
                }
            });
            client.start(&Order::Session).unwrap().wait().unwrap();
            std::mem::forget(lost);
            drop(gone);
            until("its place is free", || builder_for(way).connect(path).is_ok());
            let last = client.start(&late(0, 5)).unwrap();
            drop(gate);
            [first, wanted, last].into_iter().for_each(|answer| drop(answer.wait().unwrap()));
            assert_eq!(*done_for.lock().unwrap(), [0, 1, 5], "{way:?}");
        });
    }
}

/// Fault 46. A part of it is on its way when its time is up: whoever asks again asks once.
#[test]
fn a_request_that_was_not_sent_in_time_is_never_carried_out() {
    for way in served_ways() {
        let carried_out = AtomicUsize::new(0);
        let handler = |order: &ArchivedOrder, responder: Responder<Work>| {
            carried_out.fetch_add(usize::from(matches!(order, ArchivedOrder::Echo(_))), Ordering::SeqCst);
            obey(order, responder);
        };
        served(Server::builder(), handler, |path| {
            let other = builder_for(way).connect(path).unwrap();
            let mut client = builder_for(way).timeout(Duration::from_millis(100)).connect(path).unwrap();
            let gate = Gate::new();
            let held = other.start(&gate.order(10)).unwrap();
            gate.until_reached();
            let long = Order::Echo(pattern(1 << 20));
            let errors = [client.stream(&long).map(drop), client.send(&long).map(drop)];
            for error in errors.map(Result::unwrap_err) {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}: {error}");
            }
            drop(gate);
            held.wait().unwrap();
            until("the client is answered", || client.send(&Order::Session).is_ok());
            assert_eq!(carried_out.load(Ordering::SeqCst), 0, "{way:?}");
        });
    }
}

#[test]
fn a_handler_learns_that_its_answer_is_not_wanted() {
    for way in served_ways() {
        let (begun, noticed) = (Barrier::new(2), AtomicUsize::new(0));
        let handler = |order: &ArchivedOrder, responder: Responder<Work>| {
            if let ArchivedOrder::MakeLate(_) = order {
                let until = Instant::now() + Duration::from_secs(20);
                begun.wait();
                while responder.is_wanted() && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(1));
                }
                assert!(!responder.is_wanted());
                noticed.fetch_add(1, Ordering::SeqCst);
                assert!(responder.reply(&done(Vec::new())).is_err());
            } else {
                responder.reply(&done(Vec::new())).unwrap();
            }
        };
        served(blocking(), handler, |path| {
            let client = builder_for(way).connect(path).unwrap();
            let cancelled = client.start(&late(0, 0)).unwrap();
            begun.wait();
            drop(cancelled);
            let gone = builder_for(way).connect(path).unwrap();
            std::mem::forget(gone.start(&late(0, 0)).unwrap());
            begun.wait();
            drop(gone);
            let until = Instant::now() + Duration::from_secs(20);
            while noticed.load(Ordering::SeqCst) < 2 {
                assert!(Instant::now() < until, "{way:?}");
                std::thread::sleep(Duration::from_millis(1));
            }
            client.start(&Order::Session).unwrap().wait().unwrap();
        });
    }
}

/// Fault 44, on a thread for requests that may block.
#[test]
fn a_panic_on_the_pool_answers_its_request_alone() {
    for way in served_ways() {
        let handler = |order: &ArchivedOrder, responder: Responder<Work>| {
            assert!(!matches!(order, ArchivedOrder::Panic), "as ordered");
            responder.reply(&done(Vec::new())).unwrap();
        };
        served(blocking().max_workers(1), handler, |path| {
            let mut client = builder_for(way).connect(path).unwrap();
            for _ in 0..3 {
                assert_eq!(client.send(&Order::Panic).unwrap_err().kind(), ErrorKind::Refused);
                client.send(&late(0, 0)).unwrap();
            }
        });
    }
}

/// Panics, and once more when it is dropped.
struct Worse;

impl Drop for Worse {
    fn drop(&mut self) {
        panic!("worse than ordered");
    }
}

/// Fault 44. One panic is followed by another, on the thread that receives and on the pool.
#[test]
fn a_panic_that_panics_when_it_is_dropped_answers_its_request_alone() {
    for (way, blocks) in served_ways().into_iter().flat_map(|way| [(way, false), (way, true)]) {
        let handler = |order: &ArchivedOrder, responder: Responder<Work>| {
            if matches!(order, ArchivedOrder::Panic) {
                std::panic::panic_any(Worse);
            }
            responder.reply(&done(Vec::new())).unwrap();
        };
        served(Server::builder().may_block(move |_| blocks).max_workers(1), handler, |path| {
            let mut client = builder_for(way).connect(path).unwrap();
            assert_eq!(client.send(&Order::Panic).unwrap_err().kind(), ErrorKind::Refused);
            client.send(&late(0, 0)).unwrap();
        });
    }
}

/// Sends `count` parts of `length` bytes each and then an empty answer; says why it stopped early.
fn send_parts(count: u64, length: usize, mut responder: Responder<Work>) -> Result<(), Error> {
    for number in 0..count {
        responder.send_part(&Done { bytes: pattern(length), session: number })?;
    }
    responder.reply(&Done { bytes: Vec::new(), session: count })
}

#[test]
fn an_answer_in_parts_comes_whole_and_in_order_through_a_small_ring() {
    for way in served_ways() {
        let handler = |order: &ArchivedOrder, responder: Responder<Work>| match order {
            ArchivedOrder::MakeLate(late) => {
                send_parts(late.1.to_native(), late.0.to_native() as usize, responder).unwrap();
            }
            _ => responder.reply(&done(Vec::new())).unwrap(),
        };
        served(blocking(), handler, |path| {
            let mut client = builder_for(way).reply_ring(4096).connect(path).unwrap();
            for length in [0, 100, 5000, 100_000] {
                let mut parts = client.stream(&late(40, length)).unwrap();
                let mut count = 0;
                while let Some(part) = parts.next().unwrap() {
                    assert_eq!(part.session, count, "{length} bytes over {way:?}");
                    let expected = if count < 40 { pattern(length as usize) } else { Vec::new() };
                    assert!(part.bytes == expected[..]);
                    count += 1;
                }
                assert_eq!(count, 41);
                drop(parts);
                // An answer in one piece is a stream of one part.
                let mut parts = client.stream(&Order::Session).unwrap();
                assert!(parts.next().unwrap().is_some() && parts.next().unwrap().is_none());
            }
            // Who wants one piece is told.
            let error = client.send(&late(40, 5000)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
            let error = client.start(&late(40, 5000)).unwrap().wait().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
            client.send(&Order::Session).unwrap();
        });
    }
}

#[test]
fn parts_that_nobody_reads_stop_the_work_and_nobody_else() {
    for way in served_ways() {
        let stopped = Mutex::new(Vec::new());
        let handler = |order: &ArchivedOrder, responder: Responder<Work>| match order {
            ArchivedOrder::MakeLate(late) => {
                let sent = send_parts(late.1.to_native(), late.0.to_native() as usize, responder);
                stopped.lock().unwrap().push(sent.unwrap_err().kind());
            }
            _ => responder.reply(&done(Vec::new())).unwrap(),
        };
        served(blocking(), handler, |path| {
            let mut client = builder_for(way).connect(path).unwrap();
            let mut other = builder_for(way).connect(path).unwrap();
            let mut parts = client.stream(&late(1_000_000, 5000)).unwrap();
            assert_eq!(parts.next().unwrap().unwrap().session, 0);
            for _ in 0..1000 {
                other.send(&Order::Session).unwrap();
            }
            drop(parts);
            client.send(&Order::Session).unwrap();
            let mut parts = other.stream(&late(1_000_000, 5000)).unwrap();
            assert_eq!(parts.next().unwrap().unwrap().session, 0);
            std::mem::forget(parts);
            drop(other);
            let until = Instant::now() + Duration::from_secs(20);
            while stopped.lock().unwrap().len() < 2 {
                assert!(Instant::now() < until, "{way:?}");
                std::thread::sleep(Duration::from_millis(1));
            }
            let reasons: HashSet<_> = stopped.lock().unwrap().iter().copied().collect();
            assert_eq!(reasons, HashSet::from([ErrorKind::Cancelled, ErrorKind::PeerDied]), "{way:?}");
            client.send(&Order::Session).unwrap();
        });
    }
}
