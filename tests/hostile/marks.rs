//! What a client says of its sleep, and what it does to the words on which others sleep.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libgrite_ipc::Client;
use rustix::thread::futex;
use rustix::time::Timespec;

use crate::client::*;
use crate::common::at_end::AtEnd;
use crate::common::{Order, Running, Way, Work};
use crate::random::Random;

/// Lets a nuisance go on while an honest client of the same server asks.
///
/// `GRITE_TEST_SECONDS` has it ask for so long alone, beside a loop that takes a CPU and touches nothing, and beside
/// the nuisance, and prints the three figures.
fn ask_beside(nuisance: impl Fn(&Hostile, &AtomicBool) + Sync) {
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    let seconds = std::env::var("GRITE_TEST_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    if let Some(seconds) = seconds {
        println!("alone: {}", ask_for(&mut polite, seconds));
        let busy = |stop: &AtomicBool| {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        println!("beside a busy loop: {}", beside(busy, || ask_for(&mut polite, seconds)));
    }
    let evil = Hostile::join(&server.socket());
    // There is something that the daemon would tell the evil client of.
    evil.request(0, 1, &Order::Make(10));
    beside(
        |stop| nuisance(&evil, stop),
        || {
            for number in 0..2000 {
                assert!(answers(&mut polite), "request {number}");
            }
            if let Some(seconds) = seconds {
                println!("beside the nuisance: {}", ask_for(&mut polite, seconds));
            }
        },
    );
}

/// Does something while something else goes on.
fn beside<T>(nuisance: impl FnOnce(&AtomicBool) + Send, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = AtEnd(|| stop.store(true, Ordering::Relaxed));
        scope.spawn(|| nuisance(&stop));
        work()
    })
}

/// Asks for some time; says how often, and how long the slowest in a hundred took.
fn ask_for(client: &mut Client<Work>, seconds: u64) -> String {
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        let asked = Instant::now();
        assert!(answers(client));
        times.push(asked.elapsed());
    }
    times.sort();
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    let at = |share: usize| times[times.len() * share / 100];
    format!("{rate:.0} answers a second, p50 {:?}, p99 {:?}", at(50), at(99))
}

/// Fault 10. Marks of sleep that change all the time, true, false and garbage: others are answered.
#[test]
fn marks_of_sleep_that_are_garbage_hurt_nobody_else() {
    ask_beside(|evil, stop| {
        let mut random = Random::new(10);
        let mut position = evil.seen(CONSUMED);
        while !stop.load(Ordering::Relaxed) {
            for value in [0, 1, 3, position | 1, position | 3, u64::MAX, random.next()] {
                evil.store(AWAIT_DATA, value);
                evil.store(AWAIT_SPACE, value);
            }
            // Requests and space now and then, so that the daemon has a reason to look at the marks.
            if evil.seen(CONSUMED) == position && position < u64::from(CAPACITY) - 4096 {
                position = evil.request(position, 1, &Order::Make(10));
            }
            evil.store(CONSUMED, evil.seen(PUBLISHED));
        }
        assert!(!evil.has_ended(), "marks are no breach: whoever lies there only misses its own wakes");
    });
}

/// Fault 11. A client that wakes the daemon without end, and has nothing to say: others are answered.
#[test]
fn wakes_without_end_hurt_nobody_else() {
    let wakes = AtomicU64::new(0);
    let start = Instant::now();
    ask_beside(|evil, stop| {
        while !stop.load(Ordering::Relaxed) {
            wake(&evil.ours, PUBLISHED, u32::MAX >> 1);
            wake(&evil.ours, CONSUMED, u32::MAX >> 1);
            wakes.fetch_add(2, Ordering::Relaxed);
        }
    });
    let rate = wakes.into_inner() as f64 / start.elapsed().as_secs_f64();
    println!("{rate:.0} wakes a second");
}

/// Fault 12. A client with 64 threads that sleep on every word it can reach, so that a wake that is meant for
/// one of them wakes another: others are answered.
#[test]
fn sleepers_on_every_word_hurt_nobody_else() {
    ask_beside(|evil, stop| {
        std::thread::scope(|scope| {
            let words = [PUBLISHED, CONSUMED, AWAIT_DATA, AWAIT_SPACE];
            for number in 0..64 {
                let map = if number % 2 == 0 { &evil.ours } else { &evil.theirs };
                let word = half(map, words[number / 2 % words.len()]);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let nap = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
                        let _ =
                            futex::wait(word, futex::Flags::empty(), word.load(Ordering::SeqCst), Some(&nap));
                    }
                });
            }
            let mut position = evil.seen(CONSUMED);
            while !stop.load(Ordering::Relaxed) {
                if evil.seen(CONSUMED) == position && position < u64::from(CAPACITY) - 4096 {
                    position = evil.request(position, 1, &Order::Make(10));
                }
                evil.store(AWAIT_DATA, 1);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
    });
}
