//! Nobody is kept waiting: what crowds, ends or fails at one place of a server is noticed at the others.
#![cfg(not(loom))]
#![allow(unsafe_code, reason = "a check of archives that panics")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{
    ArchivedOrder, Done, Order, Way, Work, builder_for, pattern, served_by, served_ways, stop_after,
};
use libgrite_ipc::{
    Client, Error, ErrorKind, Layout, Protocol, Responder, Server, Transport, WaitStrategy, Wire, testing,
};
use rkyv::bytecheck::Verify;
use rkyv::primitive::ArchivedU32;
use rkyv::rancor::Fallible;
use rkyv::{Archive, Place, Serialize};

/// No client waits longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

fn done(bytes: Vec<u8>) -> Done {
    Done { bytes, session: 0 }
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + 2 * PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A server on a thread that nobody waits for, should it never end.
fn apart<P: Protocol>(
    server: Server<P>,
    serve: impl FnOnce(&Server<P>) -> Result<(), Error> + Send + 'static,
) -> JoinHandle<Result<(), Error>> {
    std::thread::spawn(move || serve(&server))
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
    served_by(Server::builder(), answer, |path| {
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

/// In one process the thread that answers is the one that would hear of the client's end.
#[test]
fn a_stream_in_one_process_ends_with_its_client() {
    let (tell, told) = std::sync::mpsc::channel();
    let mut client = testing::pair_serving::<Work>(&Client::builder(), move |_, mut responder| {
        let part = done(pattern(5000));
        tell.send(loop {
            if let Err(error) = responder.send_part(&part) {
                break error.kind();
            }
        })
        .unwrap();
    });
    let mut parts = client.stream(&Order::Session).unwrap();
    parts.next().unwrap().unwrap();
    drop(parts);
    drop(client);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), ErrorKind::PeerDied);
}

/// What a client of a pair has asked for and does not want any more keeps nothing of its handler: not the requests
/// that the handler has not come to yet, and not the answer for which there is no space.
#[test]
fn the_handler_of_a_pair_is_dropped_soon_after_its_client() {
    for orders in [vec![Order::Wait(100); 100], vec![Order::Make(1 << 20), Order::Session]] {
        let kept = Arc::new(AtomicUsize::new(0));
        let keeping = Arc::clone(&kept);
        let client = testing::pair::<Work>(move |order, cx| {
            keeping.fetch_add(1, Ordering::Relaxed);
            common::work(order, cx)
        });
        // A pending answer that is dropped has its request cancelled.
        client.start_all(&orders).unwrap().into_iter().for_each(std::mem::forget);
        until("the handler has begun", || kept.load(Ordering::Relaxed) > 0);
        drop(client);
        let begin = Instant::now();
        until("the handler is dropped", || Arc::strong_count(&kept) == 1);
        assert!(begin.elapsed() < PATIENCE / 4, "{} orders: {:?}", orders.len(), begin.elapsed());
    }
}

/// The client lives, and reads nothing. Whichever thread sends to it: the one that hears what the client says, or another.
#[test]
fn a_stream_that_nobody_reads_does_not_keep_a_server_that_stops() {
    let stop_amid_stream = |way, apart_from_others: bool| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("work.sock");
        let server = Server::<Work>::builder().may_block(move |_| apart_from_others).bind(&path).unwrap();
        let stop = server.handle();
        let (tell, told) = std::sync::mpsc::channel();
        let serving = apart(server, move |server| {
            server.serve_with(|_, mut responder| {
                let part = done(pattern(5000));
                let ended = (0..1_000_000).find_map(|_| responder.send_part(&part).err());
                assert!(!responder.is_wanted());
                tell.send(ended.unwrap().kind()).unwrap();
            })
        });
        let mut client = builder_for(way).timeout(Duration::from_secs(60)).connect(&path).unwrap();
        let mut parts = client.stream(&Order::Session).unwrap();
        parts.next().unwrap().unwrap();
        stop.stop();
        until("the server ends", || serving.is_finished());
        serving.join().unwrap().unwrap();
        assert_eq!(told.recv().unwrap(), ErrorKind::PeerDied, "{way:?}");
        // What was on its way comes, and then the end.
        while let Ok(part) = parts.next() {
            assert_eq!(part.expect("no last part").bytes, pattern(5000)[..], "{way:?}");
        }
    };
    std::thread::scope(|scope| {
        for way in served_ways() {
            scope.spawn(move || stop_amid_stream(way, true));
            scope.spawn(move || stop_amid_stream(way, false));
        }
    });
}

/// Takes one request, stops the server, and gives the right to answer back when the server has ended.
type Keep = fn(&Server<Work>) -> Responder<Work>;

fn keep_from_a_loop(server: &Server<Work>) -> Responder<Work> {
    let mut incoming = server.incoming();
    let (_, responder) = incoming.next().unwrap().into_parts();
    assert!(responder.is_wanted());
    incoming.end().unwrap();
    responder
}

fn keep_from_a_handler(server: &Server<Work>) -> Responder<Work> {
    let (kept, stop) = (Mutex::new(None), server.handle());
    let keep = |_: &ArchivedOrder, responder: Responder<Work>| {
        assert!(responder.is_wanted());
        *kept.lock().unwrap() = Some(responder);
        stop.stop();
    };
    server.serve_with(keep).unwrap();
    kept.into_inner().unwrap().expect("somebody has asked")
}

/// Neither whoever could answer it, nor the client, which is cut off.
#[test]
fn nobody_waits_for_an_answer_that_was_kept_until_after_the_end() {
    let keep = |way: Way, keep: Keep| {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::<Work>::bind(folder.path().join("work.sock")).unwrap();
        let client = builder_for(way).timeout(Duration::from_secs(60));
        std::thread::scope(|scope| {
            let ask = || client.connect(server.path()).unwrap().send(&Order::Session).map(drop);
            let asking = scope.spawn(ask);
            let responder = keep(&server);
            until("nobody waits for the answer", || !responder.is_wanted());
            until("the client is cut off", || asking.is_finished());
            assert_eq!(asking.join().unwrap().unwrap_err().kind(), ErrorKind::PeerDied, "{way:?}");
        });
    };
    std::thread::scope(|scope| {
        for way in served_ways() {
            scope.spawn(move || keep(way, keep_from_a_loop));
            scope.spawn(move || keep(way, keep_from_a_handler));
        }
    });
}

/// While all that it may ask is unanswered, nobody reads what it sends.
#[test]
fn the_end_of_a_client_that_may_ask_no_more_is_noticed() {
    for way in served_ways() {
        let kept: Mutex<Option<Responder<Work>>> = Mutex::new(None);
        let keep = |_: &ArchivedOrder, responder| *kept.lock().unwrap() = Some(responder);
        let builder = Server::builder().max_in_flight(1);
        served_by(
            builder,
            |server| server.serve_with(keep).unwrap(),
            |path| {
                let client = builder_for(way).connect(path).unwrap();
                std::mem::forget(client.start(&Order::Session).unwrap());
                until("the request is there", || kept.lock().unwrap().is_some());
                let responder = kept.lock().unwrap().take().unwrap();
                // Whatever the server had to look at, it has looked at by now.
                std::thread::sleep(Duration::from_millis(50));
                assert!(responder.is_wanted());
                drop(client);
                until("nobody waits for the answer", || !responder.is_wanted());
            },
        );
    }
}

/// A number of which 13 can be neither encoded nor checked.
#[derive(Clone, Copy)]
struct Touchy(u32);

impl Archive for Touchy {
    type Archived = ArchivedU32;
    type Resolver = ();

    fn resolve(&self, (): (), out: Place<ArchivedU32>) {
        out.write(self.0.into());
    }
}

impl<S: Fallible + ?Sized> Serialize<S> for Touchy {
    fn serialize(&self, _: &mut S) -> Result<(), S::Error> {
        assert_ne!(self.0, 13, "as ordered");
        Ok(())
    }
}

impl Wire for Touchy {
    const LAYOUT: u64 = Layout::named("Touchy").shape::<Self>().hash();
}

/// Asks for so many bytes, and then a number.
enum Touching {}

impl Protocol for Touching {
    type Request = (u32, u32);
    type Response = (Vec<u8>, Touchy);
    const NAME: &'static str = "touching";
    const VERSION: u16 = 1;
}

#[test]
fn a_client_whose_answer_panics_while_it_is_encoded_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::<Touching>::bind(folder.path().join("touching.sock")).unwrap();
    let (stop, path) = (server.handle(), server.path());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let answer = |length: u32, number| (pattern(length as usize), Touchy(number));
            server.serve(|order, _| answer(order.0.to_native(), order.1.to_native())).unwrap();
        });
        stop_after(&stop, || {
            for way in served_ways() {
                let transport = if way == Way::Ring { Transport::Ring } else { Transport::Socket };
                let builder = Client::<Touching>::builder().transport(transport).timeout(3 * PATIENCE);
                let mut other = builder.connect(path).unwrap();
                for length in [0, 100, 1 << 20] {
                    let start = Instant::now();
                    let mut client = builder.connect(path).unwrap();
                    let error = client.send(&(length, 13)).map(drop).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::PeerDied, "{length} bytes, {way:?}: {error}");
                    assert!(start.elapsed() < 2 * PATIENCE, "{length} bytes, {way:?}");
                    assert_eq!(other.send(&(length, 12)).unwrap().1, 12, "others go on, {way:?}");
                }
            }
        });
    });
}

/// Fault 46. A client that reads slowly, drops its stream, and then asks nothing: what tells of that is to be read while
/// parts wait for space.
#[test]
fn the_work_for_a_stream_ends_when_it_is_dropped_though_its_client_is_silent_then() {
    for way in served_ways() {
        let ended = Mutex::new(None);
        let handler = |_: &ArchivedOrder, mut responder: Responder<Work>| {
            let part = done(pattern(5000));
            let error = std::iter::repeat_with(|| responder.send_part(&part)).find_map(Result::err);
            *ended.lock().unwrap() = error;
        };
        let serve = |server: &Server<Work>| server.serve_with(handler).unwrap();
        served_by(Server::builder().may_block(|_| true), serve, |path| {
            let mut client = builder_for(way).connect(path).unwrap();
            let mut stream = client.stream(&Order::Session).unwrap();
            stream.next().unwrap().unwrap();
            std::thread::sleep(Duration::from_millis(50));
            drop(stream);
            until("the work ends", || ended.lock().unwrap().is_some());
            assert_eq!(ended.lock().unwrap().as_ref().unwrap().kind(), ErrorKind::Cancelled, "{way:?}");
            drop(client);
        });
    }
}

/// Fault 46. All requests that may be under way are given up: no request is read then until others are answered.
#[test]
fn who_has_given_up_all_that_may_be_under_way_is_heard() {
    for way in served_ways() {
        let given_up = AtomicUsize::new(0);
        let handler = |order: &ArchivedOrder, responder: Responder<Work>| match order {
            ArchivedOrder::Session => responder.reply(&done(Vec::new())).unwrap(),
            _ => {
                until("it is given up", || !responder.is_wanted());
                given_up.fetch_add(1, Ordering::Relaxed);
            }
        };
        let builder = Server::builder().max_in_flight(2).may_block(|_| true);
        let serve = |server: &Server<Work>| server.serve_with(handler).unwrap();
        served_by(builder, serve, |path| {
            let mut client = builder_for(way).timeout(6 * PATIENCE).connect(path).unwrap();
            for round in 1..=3 {
                let asked = [client.start(&Order::Wait(0)).unwrap(), client.start(&Order::Wait(0)).unwrap()];
                std::thread::sleep(Duration::from_millis(20));
                drop(asked);
                until("both are heard of", || given_up.load(Ordering::Relaxed) == 2 * round);
            }
            client.send(&Order::Session).unwrap();
        });
    }
}

/// A loop answers a client over a ring while it has a request of another one over a socket, and looks at the ring
/// again for what did not fit into it.
#[test]
fn an_answer_that_was_kept_comes_whole_whoever_asks_next() {
    let is_kept = AtomicBool::new(false);
    let answer = |server: &Server<Work>| {
        let mut kept = None;
        for request in server.incoming() {
            if matches!(*request, ArchivedOrder::Make(_)) {
                kept = Some(request);
                is_kept.store(true, Ordering::Relaxed);
                continue;
            }
            if let Some(kept) = kept.take() {
                kept.reply(&done(pattern(1 << 20))).unwrap();
            }
            request.reply(&done(Vec::new())).unwrap();
        }
    };
    for wait in [WaitStrategy::Spin, WaitStrategy::Adaptive] {
        served_by(Server::builder().wait(wait), answer, |path| {
            for way in served_ways() {
                let client = builder_for(way).reply_ring(4096).timeout(PATIENCE).connect(path).unwrap();
                let mut other = builder_for(Way::Socket).timeout(PATIENCE).connect(path).unwrap();
                let answer = client.start(&Order::Make(0)).unwrap();
                until("the loop has taken it", || is_kept.swap(false, Ordering::Relaxed));
                other.send(&Order::Session).unwrap();
                assert!(answer.wait().unwrap().bytes == pattern(1 << 20)[..], "{wait:?}, {way:?}");
            }
        });
    }
}

/// A number that panics while it is checked if it is 13.
#[derive(Archive, Serialize)]
#[rkyv(bytecheck(verify))]
struct Checked {
    number: u32,
}

// SAFETY: whatever number it is, it is a number.
unsafe impl<C: Fallible + ?Sized> Verify<C> for ArchivedChecked {
    fn verify(&self, _: &mut C) -> Result<(), C::Error> {
        assert_ne!(self.number, 13, "as ordered");
        Ok(())
    }
}

impl Wire for Checked {
    const LAYOUT: u64 = Layout::named("Checked").shape::<Self>().hash();
}

enum Checking {}

impl Protocol for Checking {
    type Request = Checked;
    type Response = u32;
    const NAME: &'static str = "checking";
    const VERSION: u16 = 1;
}

/// The client of a pair, whose only server that was, is told so.
#[test]
fn a_panic_while_a_request_is_checked_ends_a_pair() {
    let builder = Client::<Checking>::builder().timeout(3 * PATIENCE);
    let mut client = testing::pair_with(&builder, |checked, _| checked.number.to_native());
    assert_eq!(*client.send(&Checked { number: 12 }).unwrap(), 12);
    for _ in 0..2 {
        let error = client.send(&Checked { number: 13 }).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}");
    }
}

/// A server that has lost one of its threads would go on without those whom it has served.
#[test]
fn a_panic_while_a_request_is_checked_ends_the_server() {
    is_ended_by_a_panic(served_ways(), |server| server.serve(|checked, _| checked.number.to_native()));
}

/// The same in async code, where one thread checks what comes by either way: the call panics as that one did.
#[cfg(feature = "tokio")]
#[test]
fn a_panic_while_a_request_is_checked_ends_the_future_that_serves() {
    is_ended_by_a_panic([Way::Socket], |server| {
        let serving = server.serve_async(async |checked, _| checked.number.to_native());
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serving)
    });
}

fn is_ended_by_a_panic(
    ways: impl IntoIterator<Item = Way>,
    serve: fn(&Server<Checking>) -> Result<(), Error>,
) {
    for way in ways {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checking.sock");
        let server = Server::<Checking>::bind(&path).unwrap();
        let serving = apart(server, serve);
        let transport = if way == Way::Ring { Transport::Ring } else { Transport::Socket };
        let builder = Client::<Checking>::builder().transport(transport).timeout(3 * PATIENCE);
        let mut client = builder.connect(&path).unwrap();
        assert_eq!(*client.send(&Checked { number: 12 }).unwrap(), 12);
        client.send(&Checked { number: 13 }).map(drop).unwrap_err();
        until("the server ends", || serving.is_finished());
        let panic = serving.join().unwrap_err();
        let said = panic.downcast_ref::<String>().expect("what the check says");
        assert!(said.contains("as ordered"), "{way:?}: {said}");
    }
}
