//! What could wake a task whose answer has come: the ways beside each other, without rings or requests.
//!
//! `cargo bench --bench bells --features tokio`; `ROUNDS=9` for more rounds. One side sleeps on a futex and
//! rings; the other is a task on a runtime of one thread. Before each round trip both have slept for two
//! milliseconds. "rings in" is what the ring costs the side that rings.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{median, number, quantile};
use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::futex;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// How long nothing happens before each round trip.
const PAUSE: Duration = Duration::from_millis(2);

/// Round trips a round.
const TRIPS: usize = 150;

fn main() {
    let rounds = number("ROUNDS", 5);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut rows: [(&str, Vec<[Duration; 4]>); 4] = [
        ("futex, a thread that blocks", Vec::new()),
        ("futex, a driver thread", Vec::new()),
        ("eventfd", Vec::new()),
        ("byte on a socket", Vec::new()),
    ];
    for _ in 0..rounds {
        rows[0].1.push(blocking());
        rows[1].1.push(driver_thread(&runtime));
        rows[2].1.push(event(&runtime));
        rows[3].1.push(socket(&runtime));
    }
    for (name, figures) in rows {
        let over = |which: usize| {
            median(&mut figures.iter().map(|figures| figures[which]).collect::<Vec<_>>()).as_nanos()
        };
        println!(
            "{name:<28} there and back p50 {:>7} ns  p99 {:>7} ns   rings in p50 {:>6} ns  p99 {:>6} ns",
            over(0),
            over(1),
            over(2),
            over(3)
        );
    }
}

/// Words that two threads sleep on.
#[derive(Default)]
struct Words {
    ping: AtomicU32,
    pong: AtomicU32,
    control: AtomicU32,
    ended: AtomicBool,
}

impl Words {
    fn move_on(&self, word: &AtomicU32) {
        word.fetch_add(1, Ordering::SeqCst);
        let _ = futex::wake(word, futex::Flags::empty(), 1);
    }
}

/// Sleeps while `word` is `seen`.
fn sleep(word: &AtomicU32, seen: u32) {
    while word.load(Ordering::SeqCst) == seen {
        let _ = futex::wait(word, futex::Flags::empty(), seen, None);
    }
}

/// Answers pings with `ring` while `ask` runs; says how long trips and rings have taken.
fn trips(words: &Words, ring: impl Fn() + Sync, ask: impl FnOnce() -> Vec<Duration>) -> [Duration; 4] {
    let rings = Mutex::new(Vec::with_capacity(TRIPS));
    let mut trips = std::thread::scope(|scope| {
        scope.spawn(|| {
            for seen in 0.. {
                sleep(&words.ping, seen);
                if words.ended.load(Ordering::SeqCst) {
                    return;
                }
                words.pong.fetch_add(1, Ordering::SeqCst);
                let start = Instant::now();
                ring();
                rings.lock().expect("nobody panics").push(start.elapsed());
            }
        });
        let trips = ask();
        words.ended.store(true, Ordering::SeqCst);
        words.move_on(&words.ping);
        trips
    });
    let mut rings = rings.into_inner().expect("nobody panics");
    [
        quantile(&mut trips, 0.5),
        quantile(&mut trips, 0.99),
        quantile(&mut rings, 0.5),
        quantile(&mut rings, 0.99),
    ]
}

/// Pings so many times and waits for each answer with `hear`.
async fn ask(words: &Words, mut hear: impl AsyncFnMut()) -> Vec<Duration> {
    let mut times = Vec::with_capacity(TRIPS);
    for seen in 0..TRIPS as u32 {
        tokio::time::sleep(PAUSE).await;
        let start = Instant::now();
        words.move_on(&words.ping);
        while words.pong.load(Ordering::SeqCst) == seen {
            hear().await;
        }
        times.push(start.elapsed());
    }
    times
}

fn blocking() -> [Duration; 4] {
    let words = Words::default();
    let wake = || _ = futex::wake(&words.pong, futex::Flags::empty(), 1);
    trips(&words, wake, || {
        let trip = |seen| {
            std::thread::sleep(PAUSE);
            let start = Instant::now();
            words.move_on(&words.ping);
            sleep(&words.pong, seen);
            start.elapsed()
        };
        (0..TRIPS as u32).map(trip).collect()
    })
}

/// A thread sleeps on the words of all connections, of which there is one, and one of its own.
fn driver_thread(runtime: &Runtime) -> [Duration; 4] {
    let (words, notify) = (Arc::new(Words::default()), Arc::new(Notify::new()));
    let driver = std::thread::spawn({
        let (words, notify) = (Arc::clone(&words), Arc::clone(&notify));
        move || {
            let mut seen = 0;
            while words.control.load(Ordering::SeqCst) == 0 {
                let mut waits = [futex::Wait::new(), futex::Wait::new()];
                for (wait, (word, value)) in waits.iter_mut().zip([(&words.control, 0), (&words.pong, seen)])
                {
                    wait.val = u64::from(value);
                    wait.uaddr = futex::WaitPtr::new(word.as_ptr().cast());
                    wait.flags = futex::WaitFlags::SIZE_U32;
                }
                let clock = rustix::thread::ClockId::Monotonic;
                let _ = futex::waitv(&waits, futex::WaitvFlags::empty(), None, clock);
                let now = words.pong.load(Ordering::SeqCst);
                if now != seen {
                    seen = now;
                    notify.notify_one();
                }
            }
        }
    });
    let wake = || _ = futex::wake(&words.pong, futex::Flags::empty(), 1);
    let figures = trips(&words, wake, || runtime.block_on(ask(&words, async || notify.notified().await)));
    words.move_on(&words.control);
    driver.join().expect("the driver ends");
    figures
}

fn event(runtime: &Runtime) -> [Duration; 4] {
    let words = Words::default();
    let near =
        std::fs::File::from(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd"));
    let far = near.try_clone().expect("a descriptor");
    let _context = runtime.enter();
    #[expect(deprecated, reason = "what is sound instead is unsafe, and this file is not")]
    let bell = tokio::io::unix::AsyncFd::new(near).expect("the runtime takes it");
    let ring = || drop((&far).write(&1u64.to_ne_bytes()));
    let hear = async || {
        let mut ready = bell.readable().await.expect("the runtime lives");
        let _ = ready.try_io(|bell| bell.get_ref().read(&mut [0; 8]));
    };
    trips(&words, ring, || runtime.block_on(ask(&words, hear)))
}

fn socket(runtime: &Runtime) -> [Duration; 4] {
    let words = Words::default();
    let (near, far) = StdUnixStream::pair().expect("a pair of sockets");
    near.set_nonblocking(true).expect("a socket");
    let _context = runtime.enter();
    let bell = UnixStream::from_std(near).expect("the runtime takes it");
    let ring = || drop((&far).write(&[1]));
    let hear = async || {
        bell.readable().await.expect("the runtime lives");
        let _ = bell.try_read(&mut [0; 64]);
    };
    trips(&words, ring, || runtime.block_on(ask(&words, hear)))
}
