//! Sleeping without a timer: [`Guard`].
//!
//! A sleep that is to end by itself has the kernel set a timer and take it back. On a virtual machine the
//! hypervisor is called for both: a parked client that asked a thousand times a second spent a quarter of its CPU
//! time there. So who sleeps for answers again and again sets none, and a thread of its process, the watchdog, wakes
//! it when the daemon is gone, and once in a while, so that it can look at its deadline.
//!
//! The thread starts when the first connection has slept that often, rests while nobody sleeps, and ends with the
//! last of them. Where it cannot start, sleeps have timers.

#[cfg(all(test, loom))]
mod models;

use std::io;
use std::iter::once;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::channel;
use crate::ring::{Regions, Word};
use crate::shm::{self, Region};
use crate::stream::Stream;
use crate::sync::{AtomicBool, Ordering, fence_before_look};
use crate::wait;

/// How often who sleeps is woken to look at its deadline. A sleep that must end before two of these are over has a
/// timer.
const BEAT: Duration = Duration::from_secs(1);

/// How many sleeps of a connection have timers. Many clients that seldom sleep are better off without as many
/// threads, each of which takes the CPU from somebody when it starts: ten busy ones were 5 % slower.
const FEW: u32 = 256;

/// How often who sleeps is woken when its daemon is gone: a wake that comes before the sleep has no effect.
const AGAIN: Duration = Duration::from_millis(1);

/// A connection over rings as its client's lifeline: the socket of the handshake, and the watchdog once it is
/// needed.
#[derive(Debug)]
pub(crate) struct Guard {
    watched: Arc<Watched>,
    watchdog: Asked,
    /// How many sleeps had timers, up to [`FEW`].
    sleeps: u32,
}

/// Whether there is a watchdog.
#[derive(Debug)]
enum Asked {
    NotYet,
    There(Arc<Watchdog>),
    None,
}

/// What the watchdog knows of a connection. The memory ends before the socket does, by which the daemon knows.
#[derive(Debug)]
struct Watched {
    /// The daemon's region, on whose word a sleep is.
    region: Region,
    stream: Arc<Stream>,
    sleeper: Sleeper,
}

/// What a connection and the watchdog tell each other.
#[derive(Debug)]
struct Sleeper {
    /// Whether the client sleeps, or is about to.
    asleep: AtomicBool,
    /// Whether the daemon was seen to be gone.
    gone: AtomicBool,
}

/// Whether the watchdog waits until it is called.
#[derive(Debug)]
struct Rest(AtomicBool);

impl Sleeper {
    // Loom's atomics have no default.
    fn new() -> Self {
        Sleeper { asleep: AtomicBool::new(false), gone: AtomicBool::new(false) }
    }

    fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Says that a sleep begins; says whether a watchdog that rests must be called. A look whether the daemon
    /// [`is_gone`](Self::is_gone) follows.
    fn begin(&self, rest: &Rest) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence_before_look();
        rest.0.load(Ordering::Relaxed) && rest.0.swap(false, Ordering::Relaxed)
    }

    fn end(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Says that the daemon is gone. A look whether the client [`is_asleep`](Self::is_asleep) follows.
    fn mark_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
        fence_before_look();
    }
}

impl Rest {
    /// Begins, unless `is_needed` says otherwise; says whether it did.
    fn begin(&self, is_needed: impl Fn() -> bool) -> bool {
        self.0.store(true, Ordering::Relaxed);
        fence_before_look();
        let rests = !is_needed();
        if !rests {
            self.end();
        }
        rests
    }

    fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Guard {
    /// A lifeline that ends with `stream`, of a client that sleeps on the words of `region`.
    pub(super) fn new(stream: Arc<Stream>, region: Region) -> Self {
        let watched = Arc::new(Watched { region, stream, sleeper: Sleeper::new() });
        Guard { watched, watchdog: Asked::NotYet, sleeps: 0 }
    }

    /// The socket of the handshake.
    pub(super) fn stream(&self) -> &Arc<Stream> {
        &self.watched.stream
    }
}

impl Asked {
    /// The watchdog, which watches `watched` from now on.
    fn watchdog(&mut self, watched: &Arc<Watched>) -> Option<&Watchdog> {
        if let Asked::NotYet = self {
            // Also has its process watched from here on. What has ended by now ends for nobody to see.
            let over = watched.stream.has_event();
            *self = if over { Asked::None } else { Watchdog::of_this_process(watched) };
        }
        match self {
            Asked::There(watchdog) => Some(watchdog),
            Asked::NotYet | Asked::None => None,
        }
    }
}

impl channel::Lifeline for Guard {
    fn is_severed(&mut self) -> bool {
        self.watched.stream.has_event()
    }

    fn guard(&mut self, left: Duration) -> bool {
        if self.sleeps < FEW {
            self.sleeps += 1;
            return false;
        }
        let Watched { sleeper, .. } = &*self.watched;
        match self.watchdog.watchdog(&self.watched) {
            Some(watchdog) if left > 2 * watchdog.beat => {
                if sleeper.begin(&watchdog.rest) {
                    watchdog.call();
                }
            }
            _ => return false,
        }
        // Nobody looks any more for the end of a daemon that is gone.
        let guarded = !sleeper.is_gone();
        if !guarded {
            sleeper.end();
        }
        guarded
    }

    fn release(&mut self) {
        self.watched.sleeper.end();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Asked::There(watchdog) = &self.watchdog {
            watchdog.forget(&self.watched);
        }
    }
}

/// A thread that wakes those of its process who sleep without a timer.
#[derive(Debug)]
struct Watchdog {
    /// The process that it is a thread of: a fork has no copy of it.
    process: u32,
    /// Whom it watches; nothing once it has ended. Who is not in it any more has its memory to itself.
    all: Mutex<Option<Vec<Arc<Watched>>>>,
    rest: Rest,
    beat: Duration,
    /// What the thread is called by, and where it hears that.
    bell: UnixStream,
    ear: UnixStream,
}

impl Watchdog {
    /// The one of this process, which is started if there is none; watches `watched` from now on.
    fn of_this_process(watched: &Arc<Watched>) -> Asked {
        static THIS: Mutex<Weak<Watchdog>> = Mutex::new(Weak::new());
        // Whoever holds it may not have come along with a fork.
        let Ok(mut this) = THIS.try_lock() else { return Asked::NotYet };
        if let Some(watchdog) = this.upgrade().filter(|watchdog| watchdog.process == shm::process())
            && watchdog.watch(watched)
        {
            return Asked::There(watchdog);
        }
        let Ok(started) = Self::start(watched, BEAT) else { return Asked::None };
        *this = Arc::downgrade(&started);
        Asked::There(started)
    }

    fn start(first: &Arc<Watched>, beat: Duration) -> io::Result<Arc<Self>> {
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        let (rest, all) = (Rest(AtomicBool::new(false)), Mutex::new(Some(vec![Arc::clone(first)])));
        let watchdog = Arc::new(Watchdog { process: shm::process(), all, rest, beat, bell, ear });
        let thread = std::thread::Builder::new().name("ipc-watchdog".to_owned());
        let watching = Arc::clone(&watchdog);
        thread.spawn(move || watching.keep_watch())?;
        Ok(watchdog)
    }

    /// Ends the thread's rest.
    fn call(&self) {
        // A bell that is full was rung often enough.
        let _ = rustix::io::write(&self.bell, &[1]);
    }

    /// Watches one more, unless the thread has ended; says whether it does.
    fn watch(&self, watched: &Arc<Watched>) -> bool {
        let mut all = self.lock();
        let Some(all) = all.as_mut() else { return false };
        all.push(Arc::clone(watched));
        self.call();
        true
    }

    fn forget(&self, watched: &Arc<Watched>) {
        let mut all = match self.all.try_lock() {
            Ok(all) => all,
            // Whoever held it has not come along with the fork, and holds it for ever.
            Err(_) if self.process != shm::process() => return,
            Err(_) => self.lock(),
        };
        all.iter_mut().for_each(|all| all.retain(|kept| !Arc::ptr_eq(kept, watched)));
        // The parent of a fork still uses its own.
        if self.process == shm::process() {
            self.call();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Arc<Watched>>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_watch(&self) {
        let mut next = Instant::now() + self.beat;
        while let Some((streams, pause)) = self.begin_watch(&mut next) {
            let mut looks = vec![PollFd::new(&self.ear, PollFlags::IN)];
            looks.extend(streams.iter().flat_map(|stream| ends(stream)));
            let polled = poll(&mut looks, pause.as_ref());
            self.rest.end();
            if polled.is_err_and(|error| error != Errno::INTR) {
                // Nothing is known of anybody: all look for themselves, at each beat.
                std::thread::sleep(self.beat);
            } else if pause.is_none() {
                // Whoever has ended the rest has only begun to sleep, and would end the next one soon.
                next = Instant::now() + self.beat;
            }
            let mut events = looks.iter().map(|look| !look.revents().is_empty());
            if events.next() == Some(true) {
                let _ = rustix::io::read(&self.ear, &mut [0; 64]);
            }
            let ended = events.any(|event| event);
            self.wake_sleepers(ended, Instant::now() >= next);
        }
    }

    /// The sockets that are to be looked at, and for how long: until the `next` beat, which is another one if that
    /// is due, or for ever if nobody sleeps then. Nothing if nobody is left to be watched: the thread ends.
    fn begin_watch(&self, next: &mut Instant) -> Option<(Vec<Arc<Stream>>, Option<Timespec>)> {
        let mut all = self.lock();
        *all = all.take().filter(|all| !all.is_empty());
        let all = all.as_ref()?;
        let now = Instant::now();
        let mut rests = false;
        if now >= *next {
            rests = self.rest.begin(|| all.iter().any(|watched| watched.sleeper.is_asleep()));
            *next = now + self.beat;
        }
        let hurry = all
            .iter()
            .map(|watched| &watched.sleeper)
            .any(|sleeper| sleeper.is_gone() && sleeper.is_asleep());
        let pause = if hurry { AGAIN } else { *next - now };
        let pause = (!rests).then(|| Timespec::try_from(pause).expect("it is short"));
        let there = all.iter().filter(|watched| !watched.sleeper.is_gone());
        Some((there.map(|watched| Arc::clone(&watched.stream)).collect(), pause))
    }

    /// Wakes those who sleep and whose daemon is gone, and all others at a `beat`. Looks who is gone if something
    /// has `ended`.
    fn wake_sleepers(&self, ended: bool, beat: bool) {
        for Watched { stream, region, sleeper } in self.lock().iter().flatten().map(|watched| &**watched) {
            if ended && !sleeper.is_gone() && stream.has_event() {
                sleeper.mark_gone();
            }
            if sleeper.is_asleep() && (beat || sleeper.is_gone()) {
                wait::wake(Regions::futex(region, Word::Published));
            }
        }
    }
}

/// What of a daemon can end: its socket, and its process.
fn ends(stream: &Stream) -> impl Iterator<Item = PollFd<'_>> {
    let process = stream.watched_process().map(|process| PollFd::from_borrowed_fd(process, PollFlags::IN));
    once(PollFd::new(stream, PollFlags::IN)).chain(process)
}

#[cfg(all(test, not(loom), target_os = "linux", not(grite_portable)))]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::mpsc;

    use super::*;
    use crate::channel::Lifeline;
    use crate::shm::MIN_CAPACITY;

    /// Nobody sleeps for longer here, and no beat ends a sleep.
    const LONG: Duration = Duration::from_secs(3600);

    /// A connection that has slept often, with a watchdog of its own.
    fn guard(beat: Duration) -> (Guard, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        let mut guard = Guard::new(Arc::new(OwnedFd::from(near).into()), Region::on_heap(MIN_CAPACITY));
        guard.watchdog = Asked::There(Watchdog::start(&guard.watched, beat).unwrap());
        guard.sleeps = FEW;
        (guard, far)
    }

    /// Sleeps without a timer, again and again, until `is_enough`, in a thread that is not waited for longer than
    /// a minute.
    fn sleep_until(mut guard: Guard, is_enough: impl Fn(&mut Guard) -> bool + Send + 'static) {
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            while !is_enough(&mut guard) {
                if guard.guard(3 * LONG) {
                    let word = Regions::futex(&guard.watched.region, Word::Published);
                    wait::sleep(wait::Expected { word, value: 0 }, None);
                    guard.release();
                }
            }
            done.send(())
        });
        is_done.recv_timeout(Duration::from_secs(60)).expect("the sleep ends");
    }

    #[test]
    fn who_sleeps_is_woken_when_the_peer_goes() {
        let (guard, far) = guard(LONG);
        let parting = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            drop(far);
        });
        sleep_until(guard, Guard::is_severed);
        parting.join().unwrap();
    }

    #[test]
    fn who_sleeps_when_the_peer_has_gone_is_woken_or_has_a_timer() {
        let (mut guard, far) = guard(LONG);
        assert!(guard.guard(3 * LONG));
        guard.release();
        drop(far);
        let slept = std::cell::Cell::new(false);
        sleep_until(guard, move |guard| slept.replace(true) || guard.watched.sleeper.is_gone());
    }

    #[test]
    fn once_the_peer_is_seen_to_be_gone_sleeps_have_timers() {
        let (mut guard, far) = guard(LONG);
        drop(far);
        let end = Instant::now() + Duration::from_secs(60);
        while guard.guard(3 * LONG) {
            guard.release();
            assert!(Instant::now() < end, "its end is seen");
        }
        assert!(!guard.watched.sleeper.is_asleep());
    }

    #[test]
    fn who_sleeps_is_woken_at_each_beat_whoever_else_calls() {
        const BEAT: Duration = Duration::from_millis(50);
        let (guard, _far) = guard(BEAT);
        let Asked::There(watchdog) = &guard.watchdog else { unreachable!("it was started") };
        let (watchdog, start) = (Arc::clone(watchdog), Instant::now());
        let (over, is_over) = mpsc::channel::<()>();
        let calling = std::thread::spawn(move || {
            while is_over.recv_timeout(BEAT / 10) == Err(mpsc::RecvTimeoutError::Timeout) {
                watchdog.call();
            }
        });
        let sleeps = std::cell::Cell::new(0);
        sleep_until(guard, move |_| sleeps.replace(sleeps.get() + 1) == 3);
        assert!(start.elapsed() > 2 * BEAT, "three sleeps, each until a beat");
        drop(over);
        calling.join().unwrap();
    }

    #[test]
    fn a_sleep_has_a_timer_if_it_is_one_of_the_first_or_short() {
        let (mut guard, _far) = guard(BEAT);
        assert!(!guard.guard(2 * BEAT));
        assert!(!guard.watched.sleeper.is_asleep());
        guard.sleeps = FEW - 1;
        assert!(!guard.guard(LONG));
        assert!(guard.guard(LONG));
        assert!(guard.watched.sleeper.is_asleep());
    }

    #[test]
    fn when_a_daemon_learns_that_a_client_has_left_the_memory_is_its_own() {
        let (mut guard, mut far) = guard(LONG);
        assert!(guard.guard(3 * LONG));
        guard.release();
        let left = Arc::downgrade(&guard.watched);
        let learning = std::thread::spawn(move || {
            assert_eq!(std::io::Read::read(&mut far, &mut [0]).unwrap(), 0);
            assert!(left.upgrade().is_none());
        });
        drop(guard);
        learning.join().unwrap();
    }
}
