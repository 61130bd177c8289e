//! What a server promises beyond answering: `incoming`, responders, limits, stopping.
#![cfg(not(loom))]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use common::at_end::AtEnd;
use common::{ArchivedOrder, Done, Order, Running, Way, Work, builder_for, pattern, served_by, served_ways};
use libgrite_ipc::{Client, Context, Encoded, ErrorKind, Responder, Server, WaitStrategy};

/// Runs `serve` on a thread of its own, `ask` on this one, and stops the server.
fn served(serve: impl FnOnce(&Server<Work>) + Send, ask: impl FnOnce(&std::path::Path)) {
    served_by(Server::builder(), serve, ask);
}

#[test]
fn a_loop_over_incoming_owns_its_state() {
    served(
        |server| {
            let mut answered = Vec::new();
            let mut incoming = server.incoming();
            for request in &mut incoming {
                answered.push(request.context().session());
                request.reply(&Done { bytes: Vec::new(), session: answered.len() as u64 }).unwrap();
            }
            incoming.end().unwrap();
        },
        |path| {
            let mut expected = 0;
            for way in served_ways() {
                let mut client = builder_for(way).connect(path).unwrap();
                for _ in 0..100 {
                    expected += 1;
                    assert_eq!(client.send(&Order::Session).unwrap().session, expected, "{way:?}");
                }
            }
        },
    );
}

#[test]
fn a_handler_learns_which_process_asks_and_which_way() {
    let say_who = |_: &ArchivedOrder, cx: &Context| Done {
        bytes: vec![u8::from(cx.uses_ring())],
        session: cx.peer_process().map_or(0, u64::from),
    };
    served(
        |server| server.serve(say_who).unwrap(),
        |path| {
            // Elsewhere the system does not tell.
            let own = if cfg!(target_os = "linux") { std::process::id() } else { 0 };
            for way in served_ways() {
                let mut client = builder_for(way).connect(path).unwrap();
                let done = client.send(&Order::Session).unwrap();
                assert_eq!((done.session.to_native(), done.bytes[0] == 1), (own.into(), way == Way::Ring));
            }
        },
    );
}

#[test]
fn a_server_answers_however_it_waits() {
    for wait in [WaitStrategy::Adaptive, WaitStrategy::Park, WaitStrategy::Spin] {
        let server = Running::start_with(|| Server::<Work>::builder().wait(wait));
        for way in served_ways() {
            let mut client = server.client(way);
            for length in 0..100 {
                let done = client.send(&Order::Make(length)).unwrap();
                assert!(done.bytes == pattern(length as usize)[..], "{wait:?} over {way:?}");
            }
        }
    }
}

/// [`Done`] with bytes that are lent.
mod lent {
    use libgrite_ipc::{Lent, wire};

    wire! {
        pub struct Done<'a> { pub bytes: Lent<'a, [u8]>, pub session: u64 }
    }
}

/// Gives bytes back, once as a part and once as the end of the answer, out of the request itself.
fn give_back(order: &ArchivedOrder, mut responder: Responder<Work>) {
    let ArchivedOrder::Echo(bytes) = order else { return };
    let done = lent::Done { bytes: bytes.as_slice().into(), session: 5 };
    responder.send_part_lent(&done).unwrap();
    responder.reply_lent(&done).unwrap();
}

#[test]
fn an_answer_may_lend_what_its_request_holds() {
    served(
        |server| server.serve_with(give_back).unwrap(),
        |path| {
            for way in served_ways() {
                let mut client = builder_for(way).connect(path).unwrap();
                for length in [0, 10, 5_000, 200_000] {
                    let bytes = pattern(length);
                    let mut parts = client.stream(&Order::Echo(bytes.clone())).unwrap();
                    let mut count = 0;
                    while let Some(part) = parts.next().unwrap() {
                        assert!(part.bytes == bytes[..] && part.session == 5, "{length} bytes, {way:?}");
                        count += 1;
                    }
                    assert_eq!(count, 2, "{length} bytes, {way:?}");
                }
            }
        },
    );
}

#[test]
fn a_responder_answers_from_another_thread_or_with_an_error() {
    let kept: Mutex<Vec<Responder<Work>>> = Mutex::new(Vec::new());
    let encoded = Encoded::new(&Done { bytes: pattern(1000), session: 7 }).unwrap();
    let handler = |order: &ArchivedOrder, responder: Responder<Work>| match order {
        ArchivedOrder::Make(_) => kept.lock().unwrap().push(responder),
        ArchivedOrder::Session => responder.reply_encoded(&encoded).unwrap(),
        _ => drop(responder),
    };
    served(
        |server| server.serve_with(handler).unwrap(),
        |path| {
            for way in served_ways() {
                let mut client = builder_for(way).connect(path).unwrap();
                assert_eq!(client.send(&Order::Session).unwrap().session, 7, "{way:?}");
                let error = client.send(&Order::Panic).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Refused, "{way:?}");
                assert!(error.to_string().contains("no answer"), "{error}");
                for length in [10, 200_000] {
                    std::thread::scope(|scope| {
                        scope.spawn(|| {
                            let responder = loop {
                                match kept.lock().unwrap().pop() {
                                    Some(responder) => break responder,
                                    None => std::thread::sleep(Duration::from_millis(1)),
                                }
                            };
                            responder.reply(&Done { bytes: pattern(length), session: 8 }).unwrap();
                        });
                        let done = client.send(&Order::Make(0)).unwrap();
                        assert!(
                            done.session == 8 && done.bytes == pattern(length)[..],
                            "{way:?}, {length} bytes"
                        );
                    });
                }
            }
        },
    );
}

#[test]
fn an_answer_for_a_client_that_is_gone_is_an_error_of_that_answer_alone() {
    let (begun, outcomes) = (Barrier::new(2), Mutex::new(Vec::new()));
    let handler = |order: &ArchivedOrder, responder: Responder<Work>| match order {
        ArchivedOrder::Wait(_) => {
            begun.wait();
            while responder.is_wanted() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let answered = responder.reply(&Done { bytes: Vec::new(), session: 0 });
            outcomes.lock().unwrap().push(answered.unwrap_err().kind());
        }
        _ => responder.reply(&Done { bytes: Vec::new(), session: 1 }).unwrap(),
    };
    served_by(
        Server::builder().may_block(|order| matches!(order, ArchivedOrder::Wait(_))),
        |server| server.serve_with(handler).unwrap(),
        |path| {
            for way in served_ways() {
                let client = builder_for(way).connect(path).unwrap();
                let pending = client.start(&Order::Wait(0)).unwrap();
                begun.wait();
                drop(pending);
                drop(client);
                let mut next = builder_for(way).connect(path).unwrap();
                assert_eq!(next.send(&Order::Session).unwrap().session, 1, "{way:?}");
            }
        },
    );
    let outcomes = outcomes.into_inner().unwrap();
    assert_eq!(outcomes.len(), served_ways().len());
    assert!(
        outcomes.iter().all(|kind| matches!(kind, ErrorKind::PeerDied | ErrorKind::Cancelled)),
        "{outcomes:?}"
    );
}

/// Fault 33. One client more than a daemon takes is refused, and there is room again when one has left.
#[test]
fn one_connection_more_than_the_limit_is_refused_and_room_comes_back() {
    for way in served_ways() {
        let server = Running::start_with(|| Server::<Work>::builder().max_connections(3));
        let mut clients: Vec<Client<Work>> = (0..3).map(|_| server.client(way)).collect();
        let error = builder_for(way).connect(server.socket()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{way:?}: {error}");
        assert!(error.is_retryable() && error.to_string().contains("limit"), "{error}");
        assert!(clients[0].send(&Order::Make(5)).unwrap().bytes == pattern(5)[..]);
        clients.clear();
        let end = Instant::now() + Duration::from_secs(20);
        while builder_for(way).connect(server.socket()).is_err() {
            assert!(Instant::now() < end, "{way:?}: no room");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Fault 26, wherever there is a socket; `visitors.rs` has the rest.
#[test]
fn a_client_that_says_nothing_is_closed_at_the_deadline() {
    let patience = Duration::from_millis(200);
    let server = Running::start_with(|| Server::<Work>::builder().handshake_timeout(patience));
    let start = Instant::now();
    let mut silent = std::os::unix::net::UnixStream::connect(server.socket()).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(std::io::Read::read(&mut silent, &mut [0]).unwrap(), 0);
    assert!(start.elapsed() >= patience);
}

/// Fault 28, wherever there is a socket; `visitors.rs` has the rest.
#[test]
fn silent_connections_do_not_keep_a_good_client_out() {
    let server = Running::start_with(|| Server::<Work>::builder().max_unauthenticated(8));
    let silent: Vec<_> =
        (0..100).map(|_| std::os::unix::net::UnixStream::connect(server.socket()).unwrap()).collect();
    for way in served_ways() {
        assert!(server.client(way).send(&Order::Make(5)).unwrap().bytes == pattern(5)[..]);
    }
    drop(silent);
}

#[test]
fn a_server_without_clients_ends_after_its_idle_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.sock");
    let server = Server::<Work>::builder().idle_timeout(Duration::from_millis(50)).bind(&path).unwrap();
    server.serve(common::work).unwrap();
    drop(server);
    assert!(!path.exists());
    let error = Client::<Work>::connect(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotRunning);
}

#[test]
fn one_question_in_one_round_trip() {
    let server = Running::start();
    for length in [0, 100, 1 << 20] {
        let done = Client::<Work>::builder().ask(server.socket(), &Order::Make(length)).unwrap();
        assert!(done.bytes == pattern(length as usize)[..]);
    }
    let error = Client::<Work>::builder().ask(server.socket(), &Order::Panic).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[test]
fn a_client_of_another_protocol_gets_both_versions() {
    enum Other {}
    impl libgrite_ipc::Protocol for Other {
        type Request = Order;
        type Response = Done;
        const NAME: &'static str = "work";
        const VERSION: u16 = 2;
    }
    let server = Running::start();
    let error = Client::<Other>::connect(server.socket()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch);
    assert!(error.to_string().contains("version 1, the client version 2"), "{error}");
    for order in [Order::Session, Order::Echo(pattern(8 << 20))] {
        let error = Client::<Other>::builder().ask(server.socket(), &order).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::VersionMismatch, "{error}");
    }
}

#[test]
fn two_hundred_questions_at_once_are_all_answered_by_a_busy_server() {
    let server = Running::start();
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| server.client(Way::Socket).send(&Order::Wait(300)).map(drop));
        std::thread::sleep(Duration::from_millis(20));
        let ask = || Client::<Work>::builder().ask(server.socket(), &Order::Make(9)).map(drop);
        let asked: Vec<_> = (0..200).map(|_| scope.spawn(ask)).collect();
        for asked in asked {
            asked.join().unwrap().unwrap();
        }
        busy.join().unwrap().unwrap();
    });
}

#[test]
fn a_server_that_stops_under_traffic_ends_and_says_so() {
    for way in served_ways() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::<Work>::bind(folder.path().join("work.sock")).unwrap();
        let stop = server.handle();
        std::thread::scope(|scope| {
            let stop = AtEnd(|| stop.stop());
            let serving = scope.spawn(|| server.serve(common::work));
            let floods = [(); 2].map(|()| {
                let mut client = builder_for(way).connect(server.path()).unwrap();
                scope.spawn(move || {
                    loop {
                        if let Err(error) = client.send(&Order::Make(100)) {
                            break error;
                        }
                    }
                })
            });
            std::thread::sleep(Duration::from_millis(50));
            drop(stop);
            serving.join().unwrap().unwrap();
            assert!(!server.path().exists(), "a stopped server is found no more");
            for flood in floods {
                let error = flood.join().unwrap();
                let told = error.kind() == ErrorKind::Refused && error.is_retryable();
                assert!(told || error.kind() == ErrorKind::PeerDied, "{way:?}: {error}");
            }
        });
    }
}

#[test]
fn what_was_accepted_before_the_stop_is_answered_whole() {
    for way in served_ways() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::<Work>::bind(folder.path().join("work.sock")).unwrap();
        let stop = server.handle();
        std::thread::scope(|scope| {
            let handler = |_: &ArchivedOrder, responder: Responder<Work>| {
                let stop = &stop;
                scope.spawn(move || {
                    stop.stop();
                    // The server is on its way out by then, and the answer fills every buffer.
                    std::thread::sleep(Duration::from_millis(100));
                    responder.reply(&Done { bytes: pattern(2 << 20), session: 0 }).unwrap();
                });
            };
            let server = &server;
            let serving = scope.spawn(move || server.serve_with(handler));
            let mut client = builder_for(way).connect(server.path()).unwrap();
            assert!(client.send(&Order::Session).unwrap().bytes == pattern(2 << 20)[..], "{way:?}");
            serving.join().unwrap().unwrap();
        });
    }
}

#[test]
fn a_question_to_a_server_that_stops_is_answered_or_was_not_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.sock");
    let (carried_out, answered, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let ask = || {
        while !over.load(Ordering::Relaxed) {
            match Client::<Work>::builder().ask(&path, &Order::Echo(pattern(300_000))) {
                Ok(_) => _ = answered.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    let nobody = error.kind() == ErrorKind::NotRunning;
                    assert!(nobody || error.is_retryable(), "{error}");
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let over = AtEnd(|| over.store(true, Ordering::Relaxed));
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        for round in 0..60 {
            let server = Server::<Work>::bind(&path).unwrap();
            let stop = server.handle();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let count = |order: &ArchivedOrder, cx: &_| {
                        carried_out.fetch_add(1, Ordering::Relaxed);
                        common::work(order, cx)
                    };
                    server.serve(count).unwrap();
                });
                std::thread::sleep(Duration::from_millis(round % 10));
                stop.stop();
            });
        }
        drop(over);
        asking.into_iter().for_each(|asking| asking.join().unwrap());
    });
    assert_eq!(carried_out.into_inner(), answered.into_inner());
}

#[test]
fn a_server_that_has_stopped_leaves_the_next_one_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.sock");
    let mut before: Option<Server<Work>> = None;
    for _ in 0..20 {
        let server = Server::<Work>::bind(&path).unwrap();
        drop(before.take());
        server.handle().stop();
        assert!(path.exists());
        server.serve(common::work).unwrap();
        assert!(!path.exists());
        before = Some(server);
    }
}

#[test]
fn requests_over_sockets_never_lie_unanswered_in_incoming() {
    served(
        |server| {
            for request in server.incoming() {
                std::thread::sleep(Duration::from_micros(200));
                request.reply(&Done { bytes: Vec::new(), session: 0 }).unwrap();
            }
        },
        |path| {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let builder = builder_for(Way::Socket).timeout(Duration::from_secs(20));
                        let mut client = builder.connect(path).unwrap();
                        for _ in 0..300 {
                            client.send(&Order::Session).unwrap();
                        }
                    });
                }
            });
        },
    );
}

/// What a loop has answered is told of before it asks for the next request, however often its client asks.
#[test]
fn an_answer_of_a_loop_over_incoming_waits_for_no_other_request() {
    let (heard, hears) = std::sync::mpsc::channel::<()>();
    served(
        |server| {
            let hears = hears;
            for request in server.incoming() {
                let waits = matches!(*request, ArchivedOrder::Session);
                request.reply(&Done { bytes: Vec::new(), session: 0 }).unwrap();
                if waits {
                    hears.recv_timeout(Duration::from_secs(10)).expect("the client hears of it meanwhile");
                }
            }
        },
        |path| {
            let often: Vec<_> = (0..16).map(|_| Order::Make(0)).collect();
            let last = [Order::Make(0), Order::Session, Order::Make(0)];
            for way in served_ways() {
                let client = builder_for(way).connect(path).unwrap();
                for turn in 0..5_000 {
                    let pending = client.start_all(&often).unwrap();
                    pending.into_iter().for_each(|answer| drop(answer.wait().unwrap()));
                    if turn % 500 == 499 {
                        let [first, second, third] = client.start_all(&last).unwrap().try_into().unwrap();
                        drop((first.wait().unwrap(), second.wait().unwrap()));
                        heard.send(()).unwrap();
                        third.wait().unwrap();
                    }
                }
            }
        },
    );
}

#[test]
fn a_loop_over_incoming_that_is_left_turns_away_what_it_has_not_taken() {
    for way in served_ways() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::<Work>::bind(folder.path().join("work.sock")).unwrap();
        let mut incoming = server.incoming();
        let clients = [(); 4].map(|()| builder_for(way).connect(server.path()).unwrap());
        let asked = clients.each_ref().map(|client| client.start(&Order::Session).unwrap());
        incoming.next().unwrap().reply(&Done { bytes: Vec::new(), session: 0 }).unwrap();
        incoming.end().unwrap();
        let told = asked.into_iter().map(|answer| answer.wait().map(drop));
        let (answered, refused): (Vec<_>, Vec<_>) = told.partition(Result::is_ok);
        assert_eq!(answered.len(), 1, "{way:?}");
        for error in refused.into_iter().map(Result::unwrap_err) {
            assert!(error.is_retryable(), "{way:?}: {error}");
        }
    }
}

#[test]
fn a_question_that_is_too_long_for_the_server_says_so_in_one_round_trip() {
    let server = Running::start_with(|| Server::<Work>::builder().max_message(64 << 10));
    let error = Client::<Work>::builder().ask(server.socket(), &Order::Echo(pattern(8 << 20))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}
