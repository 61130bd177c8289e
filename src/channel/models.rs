//! Loom models: every interleaving and every allowed reordering of a tiny channel.
//!
//! The memory is loom's: positions and marks are its atomics, frames lie in its checked cells, so a
//! frame read before it was published is an error, and a futex is a lock and a condition, so a
//! sleeper that nobody wakes is a deadlock that loom reports. Run with
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib models`.
//!
//! Models of more than a few steps stop at a number of preemptions, within which nearly all mistakes show;
//! `LOOM_MAX_PREEMPTIONS` has them look further.

mod lifeline;
mod ring;

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Instant;

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::*;
use crate::frame::{HeaderWords, Kind};
use crate::payload::Bytes;
use crate::ring::Await;
use crate::sync::{Ordering, without_fence};
use crate::wait::{Deadline, Spin, WaitStrategy};

/// The smallest ring: four headers. A frame is a header alone, at most a quarter of it.
const CELLS: usize = 4;
const CAPACITY: u64 = 16 * CELLS as u64;

/// One direction's memory.
#[derive(Debug)]
struct Shared {
    published: AtomicU64,
    consumed: AtomicU64,
    await_data: AtomicU64,
    await_space: AtomicU64,
    frames: [UnsafeCell<HeaderWords>; CELLS],
    /// The kernel's lock on sleepers, and the condition that they sleep on, a word each. It knows whether one
    /// side is gone.
    kernel: Mutex<bool>,
    on_published: Condvar,
    on_consumed: Condvar,
}

/// Whether the bell was rung and not heard, and the condition that its listener sleeps on.
#[derive(Debug)]
struct Rope {
    rung: Mutex<bool>,
    on_ring: Condvar,
}

/// The memory, or the bell, as both ends hold it.
///
/// While a failed model unwinds, loom's objects cannot be dropped: they are left behind then.
#[derive(Debug)]
struct Handle<T = Shared>(ManuallyDrop<Arc<T>>);

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Handle(self.0.clone())
    }
}

impl<T> Drop for Handle<T> {
    #[expect(unsafe_code, reason = "the only way to drop or leave a value by circumstance")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

impl Handle {
    fn new(position: u64) -> Self {
        let shared = Shared {
            published: AtomicU64::new(position),
            consumed: AtomicU64::new(position),
            await_data: AtomicU64::new(0),
            await_space: AtomicU64::new(0),
            frames: std::array::from_fn(|_| UnsafeCell::new([0; 2])),
            kernel: Mutex::new(false),
            on_published: Condvar::new(),
            on_consumed: Condvar::new(),
        };
        Handle(ManuallyDrop::new(Arc::new(shared)))
    }
}

impl Shared {
    fn cell(&self, position: u64) -> &UnsafeCell<HeaderWords> {
        &self.frames[(position % CAPACITY) as usize / 16]
    }

    fn await_word(&self, what: Await) -> &AtomicU64 {
        match what {
            Await::Data => &self.await_data,
            Await::Space => &self.await_space,
        }
    }

    fn position(&self, word: Word) -> (&AtomicU64, &Condvar) {
        match word {
            Word::Consumed => (&self.consumed, &self.on_consumed),
            _ => (&self.published, &self.on_published),
        }
    }
}

/// Both ends of the one direction see the same memory; each uses its half of this.
impl Memory for Handle {
    fn outgoing_capacity(&self) -> u64 {
        CAPACITY
    }
    fn incoming_capacity(&self) -> u64 {
        CAPACITY
    }
    fn publish(&self, position: u64) {
        self.0.published.store(position, Ordering::Release);
    }
    fn consume(&self, position: u64) {
        self.0.consumed.store(position, Ordering::Release);
    }
    fn set_await(&self, what: Await, mark: u64) {
        self.0.await_word(what).store(mark, Ordering::Relaxed);
    }
    fn fetch(&self, _position: u64, _length: u64) {}
    fn set_cpu(&self, _cpu: u64) {}
    fn peer_cpu(&self) -> u64 {
        0
    }
    fn peer_published(&self) -> u64 {
        self.0.published.load(Ordering::Acquire)
    }
    fn peer_consumed(&self) -> u64 {
        self.0.consumed.load(Ordering::Acquire)
    }
    fn peer_await(&self, what: Await) -> u64 {
        self.0.await_word(what).load(Ordering::Relaxed)
    }
    #[expect(unsafe_code, reason = "loom's cell checks every access of the model")]
    fn write_header(&self, position: u64, header: HeaderWords) {
        // SAFETY: loom fails the model if another access is concurrent.
        self.0.cell(position).with_mut(|cell| unsafe { *cell = header });
    }
    fn write(&self, _position: u64, bytes: &[u8]) {
        assert!(bytes.is_empty(), "frames of the model are headers");
    }
    fn write_zeros(&self, _position: u64, _length: usize) {
        unreachable!("frames of the model are headers");
    }
    fn read_back(&self, _position: u64, length: usize, _into: &mut Bytes) {
        assert_eq!(length, 0, "frames of the model are headers");
    }
    #[expect(unsafe_code, reason = "loom's cell checks every access of the model")]
    fn read_header(&self, position: u64) -> HeaderWords {
        // SAFETY: loom fails the model if a write is concurrent.
        self.0.cell(position).with(|cell| unsafe { *cell })
    }
    fn read(&self, _position: u64, length: usize, _into: &mut Bytes) {
        assert_eq!(length, 0, "frames of the model are headers");
    }
}

impl Sleep for Handle {
    fn sleep(&self, word: Word, seen: u64, _until: Option<Instant>) {
        let (position, sleepers) = self.0.position(word);
        let kernel = self.0.kernel.lock().unwrap();
        // A sleep whose peer goes lasts until its slice is over.
        if position.load(Ordering::Relaxed) as u32 == seen as u32 && !*kernel {
            drop(sleepers.wait(kernel).unwrap());
        }
    }

    fn wake(&self, word: Word) {
        let (_, sleepers) = self.0.position(word);
        let _kernel = self.0.kernel.lock().unwrap();
        sleepers.notify_one();
    }
}

impl Bell for Handle<Rope> {
    fn ring(&self) {
        *self.0.rung.lock().unwrap() = true;
        self.0.on_ring.notify_one();
    }
}

impl Handle<Rope> {
    fn silent() -> Self {
        Handle(ManuallyDrop::new(Arc::new(Rope { rung: Mutex::new(false), on_ring: Condvar::new() })))
    }

    /// Sleeps until the bell was rung since it was last heard.
    fn hear(&self) {
        let mut rung = self.0.rung.lock().unwrap();
        while !*rung {
            rung = self.0.on_ring.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// Sends `count` empty messages with the ids from 1 on, waiting for space where there is none.
fn send(memory: Handle, bell: Option<Arc<dyn Bell>>, position: u64, count: u64) {
    let mut sender = Sender::new(memory, position, 0).with_bell(bell);
    let mut spin = Spin::new(WaitStrategy::Park);
    for id in 1..=count {
        sender.send(Kind::Request, id, |_| Ok::<(), ()>(())).unwrap().unwrap();
        sender.drain(&mut spin, &mut forever(), LIFELINE_SLICE, &mut || false).unwrap();
        sender.announce();
    }
}

/// Receives `count` messages and checks their order; sleeps between them.
fn receive(memory: Handle, position: u64, count: u64) {
    let mut receiver = Receiver::new(memory, position, 0);
    let mut spin = Spin::new(WaitStrategy::Park);
    for id in 1..=count {
        while receiver.poll().unwrap().map(|(_, id)| id).is_none_or(|found| {
            assert_eq!(found, id);
            false
        }) {
            receiver.wait(&mut spin, &mut forever(), &mut || false).unwrap();
        }
    }
}

/// As [`receive`], by a side that never sleeps on the word: it listens, looks, and waits for the bell. What
/// rings for an earlier message may still be to be heard; each is followed by a look.
fn receive_by_bell(memory: Handle, bell: Handle<Rope>, count: u64) {
    let mut receiver = Receiver::new(memory, 0, 0);
    for id in 1..=count {
        loop {
            if let Some((_, found)) = receiver.poll().unwrap() {
                assert_eq!(found, id);
                break;
            }
            receiver.mark_listening();
            if !receiver.look().unwrap() {
                bell.hear();
            }
            receiver.mark_awake();
        }
    }
}

/// Runs a model with all schedules of so many preemptions, or as many as the environment says.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}

fn model_of_the_bell(count: u64, preemptions: usize) {
    explore(preemptions, move || {
        let (memory, bell) = (Handle::new(0), Handle::silent());
        let sending = {
            let (memory, bell) = (memory.clone(), bell.clone());
            thread::spawn(move || send(memory, Some(Arc::new(bell)), 0, count))
        };
        receive_by_bell(memory, bell, count);
        sending.join().unwrap();
    });
}

/// No model runs that long.
fn forever() -> Deadline {
    Deadline::after(std::time::Duration::MAX)
}

fn model(count: u64, position: u64, preemptions: usize) {
    explore(preemptions, move || {
        let memory = Handle::new(position);
        let sending = {
            let memory = memory.clone();
            thread::spawn(move || send(memory, None, position, count))
        };
        receive(memory, position, count);
        sending.join().unwrap();
    });
}

#[test]
fn a_sleeping_receiver_is_woken_for_each_message() {
    loom::model(|| {
        let memory = Handle::new(0);
        let sending = {
            let memory = memory.clone();
            thread::spawn(move || send(memory, None, 0, 2))
        };
        receive(memory, 0, 2);
        sending.join().unwrap();
    });
}

#[test]
fn three_messages_wake_a_sleeping_receiver() {
    model(3, 0, 3);
}

/// The sleep compares the low half of a position, which wraps long before the position does.
#[test]
fn positions_that_wrap_lose_nothing() {
    for position in [u64::MAX - 15, u64::from(u32::MAX) - 15] {
        model(3, position, 3);
    }
}

#[test]
fn a_sender_without_space_is_woken_for_it() {
    model(CELLS as u64 + 1, 0, 2);
}

#[test]
fn what_was_only_hinted_at_is_seen_once_it_is_announced() {
    explore(3, || {
        let memory = Handle::new(0);
        let sending = {
            let memory = memory.clone();
            thread::spawn(move || {
                let mut sender = Sender::new(memory, 0, 0);
                for id in 1..=2 {
                    sender.send(Kind::Reply, id, |_| Ok::<(), ()>(())).unwrap().unwrap();
                    sender.hint();
                }
                sender.announce();
            })
        };
        receive(memory, 0, 2);
        sending.join().unwrap();
    });
}

/// As a poller hands a quiet client over to a watch: one thread marks and looks, another one sleeps.
#[test]
fn a_client_that_moves_while_it_is_handed_over_wakes_the_watch() {
    loom::model(|| {
        let memory = Handle::new(0);
        let sending = {
            let memory = memory.clone();
            thread::spawn(move || send(memory, None, 0, 1))
        };
        let mut receiver = Receiver::new(memory.clone(), 0, 0);
        receiver.mark_asleep();
        if !receiver.look().unwrap() {
            let (word, seen) = receiver.awaited();
            let watching = thread::spawn(move || {
                while memory.peer_published() as u32 == seen as u32 {
                    memory.sleep(word, seen, None);
                }
            });
            watching.join().unwrap();
        }
        receiver.mark_awake();
        assert_eq!(receiver.poll(), Ok(Some((Kind::Request, 1))));
        sending.join().unwrap();
    });
}

#[test]
fn a_bell_is_heard_for_each_message() {
    model_of_the_bell(2, 3);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fence_a_ring_is_lost() {
    without_fence::turn_on();
    model_of_the_bell(1, 3);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fence_a_wake_is_lost() {
    without_fence::turn_on();
    model(1, 0, 3);
}
