//! What is promised of the async client, over rings and over the socket, in both flavours of runtime.
#![cfg(all(feature = "tokio", not(loom)))]

mod common;

use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use common::at_end::AtEnd;
use common::gate::Gate;
use common::process::{Daemon, PATIENCE, role as own_role, serve};
use common::runtimes::{connect, everywhere, one_thread, several_threads};
use common::{ArchivedOrder, Done, Order, Running, Way, Work, builder_for, pattern, served_ways};
use libgrite_ipc::{AsyncClient, Error, ErrorKind, Message, Responder, Server, WaitStrategy};
use tokio::task::JoinSet;

#[test]
fn answers_come_to_those_who_asked() {
    everywhere(async |way| {
        let server = Running::start();
        let client = connect(way, server.socket()).await;
        for number in 0..200usize {
            let answer = client.send(&Order::Echo(pattern(number * 7))).await.unwrap();
            assert!(answer.bytes == pattern(number * 7)[..], "{number} over {way:?}");
        }
    });
}

#[test]
fn a_thousand_requests_at_once_are_all_answered() {
    everywhere(async |way| {
        let server = Running::start();
        let client = connect(way, server.socket()).await;
        for _ in 0..5 {
            let mut all = JoinSet::new();
            for number in 0..1000usize {
                let client = client.clone();
                all.spawn(async move {
                    let answer = client.send(&Order::Echo(pattern(number))).await.unwrap();
                    assert!(answer.bytes == pattern(number)[..], "{number} over {way:?}");
                });
            }
            while let Some(asked) = all.join_next().await {
                asked.unwrap();
            }
        }
    });
}

#[test]
fn a_request_ends_at_its_deadline_and_the_connection_goes_on() {
    everywhere(async |way| {
        let server = Running::start();
        let builder = builder_for(way).timeout(Duration::from_millis(20));
        let client: AsyncClient<Work> = builder.connect_async(server.socket()).await.unwrap();
        let gate = Gate::new();
        let error = client.send(&gate.order(100)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        drop(gate);
        let end = Instant::now() + Duration::from_secs(20);
        // The machine may be too slow for the short timeout of this test once or twice.
        let done = loop {
            match client.send(&Order::Make(10)).await {
                Err(error) if error.kind() == ErrorKind::Timeout => assert!(Instant::now() < end, "{error}"),
                answered => break answered.unwrap(),
            }
        };
        assert!(done.bytes == pattern(10)[..]);
    });
}

#[test]
fn more_requests_than_may_be_open_wait_for_their_turn() {
    everywhere(async |way| {
        let server = Running::start();
        let client = connect(way, server.socket()).await;
        let slow = client.send(&Order::Wait(30));
        let mut all = JoinSet::new();
        for _ in 0..2 * client.max_open() {
            let client = client.clone();
            all.spawn(async move { client.send(&Order::Session).await.map(drop) });
        }
        slow.await.unwrap();
        while let Some(asked) = all.join_next().await {
            asked.unwrap().unwrap();
        }
    });
}

#[test]
fn messages_of_many_frames_pass_a_small_ring_in_both_directions_at_once() {
    everywhere(async |way| {
        let server = Running::start();
        let builder = builder_for(way).request_ring(4096).reply_ring(4096);
        let client: AsyncClient<Work> = builder.connect_async(server.socket()).await.unwrap();
        let mut all = JoinSet::new();
        for number in 0..60usize {
            let client = client.clone();
            all.spawn(async move {
                let length = number * 1999;
                let answer = client.send(&Order::Echo(pattern(length))).await.unwrap();
                assert!(answer.bytes == pattern(length)[..], "{length} bytes over {way:?}");
            });
        }
        while let Some(asked) = all.join_next().await {
            asked.unwrap();
        }
    });
}

#[test]
fn a_request_that_is_too_long_fails_alone() {
    everywhere(async |way| {
        let server = Running::start();
        let builder = builder_for(way).max_message(4096);
        let client: AsyncClient<Work> = builder.connect_async(server.socket()).await.unwrap();
        let error = client.send(&Order::Echo(pattern(5000))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        let error = client.send(&Order::Make(5000)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        let error = client.send(&Order::Panic).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        client.send(&Order::Session).await.unwrap();
    });
}

/// Holds requests back and answers them late, in another order than they came in.
struct Shuffle {
    held: Mutex<Vec<(Vec<u8>, Responder<Work>)>>,
    ended: AtomicBool,
}

impl Shuffle {
    fn take(&self, order: &ArchivedOrder, responder: Responder<Work>) {
        let ArchivedOrder::Echo(bytes) = order else { panic!("only echoes are asked for") };
        if bytes.last().is_none_or(|last| last % 3 == 0) {
            let _ = responder.reply(&Done { bytes: bytes.to_vec(), session: 0 });
        } else {
            self.held.lock().unwrap().push((bytes.to_vec(), responder));
        }
    }

    fn run(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_micros(100));
            let mut held = std::mem::take(&mut *self.held.lock().unwrap());
            let mut place = held.len() / 2;
            while !held.is_empty() {
                let (bytes, responder) = held.swap_remove(place % held.len());
                // Of those that were given up, some are answered all the same.
                let _ = responder.reply(&Done { bytes, session: 0 });
                place = place.wrapping_mul(31).wrapping_add(7);
            }
        }
    }
}

/// Polls a request so often at most; nothing if it was given up before its answer came.
async fn give_up_after(
    polls: u64,
    asked: impl Future<Output = Result<Message<Done>, Error>>,
) -> Option<Message<Done>> {
    let mut asked = pin!(asked);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        asked.as_mut().poll(cx).map(|answer| Some(answer.unwrap()))
    })
    .await
}

/// A number that looks like any other, for each number.
fn scatter(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
}

#[test]
fn the_answer_to_a_cancelled_request_never_goes_to_another() {
    let goal = std::env::var("GRITE_TEST_CANCELLATIONS").ok().and_then(|goal| goal.parse().ok());
    let goal = goal.unwrap_or(5_000);
    for way in served_ways() {
        for runtime in [one_thread(), several_threads()] {
            let folder = tempfile::tempdir().unwrap();
            let server = Server::<Work>::bind(folder.path().join("work.sock")).unwrap();
            let (stop, path) = (server.handle(), server.path().to_owned());
            let shuffle = Shuffle { held: Mutex::default(), ended: AtomicBool::new(false) };
            std::thread::scope(|scope| {
                let over = AtEnd(|| {
                    shuffle.ended.store(true, Ordering::Relaxed);
                    stop.stop();
                });
                let serving =
                    scope.spawn(|| server.serve_with(|order, responder| shuffle.take(order, responder)));
                scope.spawn(|| shuffle.run());
                let counts = runtime.block_on(cancel_many(way, &path, goal));
                drop(over);
                serving.join().unwrap().unwrap();
                assert!(counts.0 >= goal && counts.1 > goal / 20, "{way:?}: {counts:?}");
            });
        }
    }
}

/// Asks from many tasks at once until `goal` requests were cancelled; says how many were, and how many
/// were answered.
async fn cancel_many(way: Way, path: &Path, goal: u64) -> (u64, u64) {
    static CANCELLED: AtomicU64 = AtomicU64::new(0);
    static ANSWERED: AtomicU64 = AtomicU64::new(0);
    CANCELLED.store(0, Ordering::Relaxed);
    ANSWERED.store(0, Ordering::Relaxed);
    let client = connect(way, path).await;
    let mut all = JoinSet::new();
    for task in 0..50u64 {
        let client = client.clone();
        all.spawn(async move {
            for turn in 0.. {
                if CANCELLED.load(Ordering::Relaxed) >= goal {
                    return;
                }
                let number = scatter(task << 32 | turn);
                let mut bytes = (task << 40 | turn).to_le_bytes().repeat(1 + number as usize % 40);
                bytes.push(number as u8);
                let order = Order::Echo(bytes.clone());
                let asked = client.send(&order);
                let answer = match number >> 8 & 3 {
                    0 => Some(asked.await.unwrap()),
                    1 => tokio::time::timeout(Duration::from_micros(number >> 10 & 0xff), asked)
                        .await
                        .ok()
                        .map(Result::unwrap),
                    _ => give_up_after(1 + (number >> 10 & 3), asked).await,
                };
                match answer {
                    Some(answer) => {
                        assert!(answer.bytes == bytes[..], "another request's answer over {way:?}");
                        ANSWERED.fetch_add(1, Ordering::Relaxed);
                    }
                    None => drop(CANCELLED.fetch_add(1, Ordering::Relaxed)),
                }
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    (CANCELLED.load(Ordering::Relaxed), ANSWERED.load(Ordering::Relaxed))
}

#[test]
fn the_daemon_learns_that_a_request_was_cancelled() {
    everywhere(async |way| {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::<Work>::builder()
            .may_block(|order| matches!(order, ArchivedOrder::Wait(_)))
            .bind(folder.path().join("work.sock"))
            .unwrap();
        let (stop, path) = (server.handle(), server.path().to_owned());
        let noticed = Arc::new(AtomicUsize::new(0));
        let serving = std::thread::spawn({
            let noticed = Arc::clone(&noticed);
            move || {
                server.serve_with(|_, responder| {
                    noticed.fetch_add(1, Ordering::SeqCst);
                    while responder.is_wanted() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    noticed.fetch_add(1, Ordering::SeqCst);
                })
            }
        });
        let client = connect(way, &path).await;
        let until = |count| {
            let noticed = &noticed;
            async move {
                while noticed.load(Ordering::SeqCst) < count {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        tokio::select! {
            _ = client.send(&Order::Wait(1)) => panic!("nobody answers"),
            () = until(1) => {}
        }
        tokio::time::timeout(PATIENCE, until(2)).await.expect("the daemon learns of it");
        // So it does when the client goes with requests under way.
        let gone = client.clone();
        drop(client);
        let asking = tokio::spawn(async move { gone.send(&Order::Wait(1)).await.map(drop) });
        until(3).await;
        asking.abort();
        tokio::time::timeout(PATIENCE, until(4)).await.expect("the daemon learns of it");
        stop.stop();
        serving.join().unwrap().unwrap();
    });
}

/// A future that nobody polls on keeps no other one waiting.
#[test]
fn a_request_that_is_left_alone_holds_up_no_other() {
    everywhere(async |way| {
        let server = Running::start();
        let client = connect(way, server.socket()).await;
        for turn in 0..20u64 {
            let order = Order::Wait(turn % 3);
            let mut left = pin!(client.send(&order));
            for _ in 0..turn {
                let answered = std::future::poll_fn(|cx| Poll::Ready(left.as_mut().poll(cx).is_ready()));
                if answered.await || turn % 2 == 0 {
                    break;
                }
            }
            let others = (0..3).map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    client.send(&Order::Wait(1)).await.unwrap();
                    client.send(&Order::Session).await.unwrap();
                })
            });
            for other in others.collect::<Vec<_>>() {
                tokio::time::timeout(PATIENCE, other).await.expect("it is answered").unwrap();
            }
        }
    });
}

/// The part that this program plays when a test starts it again.
#[test]
fn role() {
    if let Some((_, folder)) = own_role() {
        serve(&folder);
    }
}

#[test]
fn all_that_wait_learn_at_once_that_the_daemon_was_killed() {
    everywhere(async |way| {
        let mut server = Daemon::start("server");
        let client = connect(way, server.path()).await;
        let mut all = JoinSet::new();
        for _ in 0..10 {
            let client = client.clone();
            all.spawn(async move { client.send(&Order::Wait(60_000)).await.map(drop) });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.process.kill();
        let learned = async {
            while let Some(asked) = all.join_next().await {
                let error = asked.unwrap().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}: {error}");
            }
        };
        tokio::time::timeout(PATIENCE, learned).await.expect("they learn of it");
        let error = client.send(&Order::Session).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PeerDied, "{way:?}, the next request: {error}");
    });
}

#[test]
fn a_client_that_never_sleeps_learns_of_it_too() {
    if !served_ways().contains(&Way::Ring) {
        return;
    }
    for runtime in [one_thread(), several_threads()] {
        let mut server = Daemon::start("server");
        runtime.block_on(async {
            let builder = builder_for(Way::Ring).wait(WaitStrategy::Spin);
            let client: AsyncClient<Work> = builder.connect_async(server.path()).await.unwrap();
            client.send(&Order::Wait(5)).await.unwrap();
            let asked = tokio::spawn(async move { client.send(&Order::Wait(60_000)).await.map(drop) });
            tokio::time::sleep(Duration::from_millis(20)).await;
            server.process.kill();
            let learned = tokio::time::timeout(PATIENCE, asked).await.expect("it learns of it");
            assert_eq!(learned.unwrap().unwrap_err().kind(), ErrorKind::PeerDied);
        });
    }
}

#[test]
fn a_client_outlives_the_runtime_that_it_was_made_in() {
    for way in served_ways() {
        let server = Running::start();
        let client = one_thread().block_on(async {
            let client = connect(way, server.socket()).await;
            client.send(&Order::Wait(2)).await.unwrap();
            client
        });
        for runtime in [one_thread(), several_threads(), one_thread()] {
            for millis in [0, 2] {
                runtime.block_on(client.send(&Order::Wait(millis))).unwrap();
            }
        }
    }
}

/// A runtime that nobody drives keeps those in another one waiting for nothing.
#[test]
fn requests_of_several_runtimes_share_a_connection() {
    for way in served_ways() {
        let server = Running::start();
        let (idle, busy) = (one_thread(), several_threads());
        let client = idle.block_on(connect(way, server.socket()));
        let waits = idle.spawn({
            let client = client.clone();
            async move { client.send(&Order::Wait(5)).await.unwrap() }
        });
        idle.block_on(tokio::task::yield_now());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let own = one_thread();
                    for turn in 0..100u64 {
                        own.block_on(client.send(&Order::Wait(u64::from(turn % 20 == 0)))).unwrap();
                    }
                });
            }
            for turn in 0..100u64 {
                busy.block_on(client.send(&Order::Wait(u64::from(turn % 20 == 0)))).unwrap();
            }
        });
        idle.block_on(waits).unwrap();
    }
}

#[test]
fn the_client_can_be_shared_and_its_futures_sent() {
    fn is_shared<T: Clone + Send + Sync + 'static>() {}
    fn is_sent<T: Send>(_: T) {}
    is_shared::<AsyncClient<Work>>();
    let ask = |client: AsyncClient<Work>| async move { client.send(&Order::Session).await.map(drop) };
    let _ = |client| is_sent(ask(client));
}
