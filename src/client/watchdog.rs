//! Sleeping without a timer: [`Guard`].
//!
//! A sleep that is to end by itself has the kernel set a timer and take it back. On a virtual machine the
//! hypervisor is called for both: a parked client that asked a thousand times a second spent a quarter of its CPU
//! time there. So who sleeps for an answer sets none, and a thread of its process, the watchdog, wakes it as soon
//! as the daemon is gone, and once in a while, so that it can look at its deadline.
//!
//! The thread starts with the first sleep that needs it, rests while nobody sleeps, and ends with the last
//! connection. Where it cannot start, sleeps have timers.

#[cfg(all(test, loom))]
mod models;

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::channel;
use crate::ring::{Regions, Word};
use crate::shm::{self, Region};
use crate::stream::{Process, Stream};
use crate::sync::{AtomicBool, Ordering, fence_before_look};
use crate::wait;

/// How often who sleeps is woken to look at its deadline. A sleep that must end before two of these are over has a
/// timer.
const BEAT: Duration = Duration::from_millis(250);

/// How often who sleeps is woken when its daemon is gone: a wake that comes before the sleep has no effect.
const AGAIN: Duration = Duration::from_millis(1);

/// A connection over rings as its client's lifeline: the socket of the handshake, and the watchdog once it is
/// needed.
#[derive(Debug)]
pub(crate) struct Guard {
    watched: Arc<Watched>,
    watchdog: Asked,
}

/// Whether there is a watchdog.
#[derive(Debug)]
enum Asked {
    NotYet,
    There(Arc<Watchdog>),
    None,
}

/// What the watchdog knows of a connection.
#[derive(Debug)]
struct Watched {
    stream: Arc<Stream>,
    /// The daemon's region, on whose word a sleep is.
    region: Region,
    sleeper: Sleeper,
}

/// Whether somebody sleeps, or is about to.
#[derive(Debug)]
struct Sleeper(AtomicBool);

/// Whether the watchdog waits until it is called.
#[derive(Debug)]
struct Rest(AtomicBool);

impl Sleeper {
    fn is_asleep(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Says that a sleep begins; says whether a watchdog that rests must be called.
    fn begin(&self, rest: &Rest) -> bool {
        self.0.store(true, Ordering::Relaxed);
        fence_before_look();
        rest.0.load(Ordering::Relaxed) && rest.0.swap(false, Ordering::Relaxed)
    }

    fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
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
        let sleeper = Sleeper(AtomicBool::new(false));
        let watched = Arc::new(Watched { stream, region, sleeper });
        Guard { watched, watchdog: Asked::NotYet }
    }

    /// The socket of the handshake.
    #[cfg(feature = "tokio")]
    pub(super) fn stream(&self) -> &Arc<Stream> {
        &self.watched.stream
    }

    fn watchdog(&mut self) -> Option<&Watchdog> {
        if let Asked::NotYet = self.watchdog {
            self.watchdog = Watchdog::of_this_process(&self.watched).map_or(Asked::None, Asked::There);
        }
        match &self.watchdog {
            Asked::There(watchdog) => Some(watchdog),
            _ => None,
        }
    }
}

impl channel::Lifeline for Guard {
    fn is_severed(&mut self) -> bool {
        self.watched.stream.has_event()
    }

    fn guard(&mut self, left: Duration) -> bool {
        if left <= 2 * BEAT {
            return false;
        }
        let watched = Arc::clone(&self.watched);
        let Some(watchdog) = self.watchdog() else { return false };
        if watched.sleeper.begin(&watchdog.rest) {
            watchdog.call();
        }
        true
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

#[derive(Debug)]
struct Kept {
    watched: Arc<Watched>,
    /// Whether the daemon was seen to be gone.
    gone: bool,
}

/// A thread that wakes those of its process who sleep without a timer.
#[derive(Debug)]
struct Watchdog {
    /// The process that it is a thread of: a fork has no copy of it.
    process: u32,
    /// Whom it watches; nothing once it has ended. Who is not in it any more has its memory to itself.
    all: Mutex<Option<Vec<Kept>>>,
    rest: Rest,
    /// What the thread is called by, and where it hears that.
    bell: UnixStream,
    ear: UnixStream,
}

impl Watchdog {
    /// The one of this process, which is started if there is none; watches `watched` from now on.
    fn of_this_process(watched: &Arc<Watched>) -> Option<Arc<Self>> {
        static THIS: Mutex<Weak<Watchdog>> = Mutex::new(Weak::new());
        let mut this = lock(&THIS);
        if let Some(watchdog) = this.upgrade().filter(|watchdog| watchdog.process == shm::process())
            && watchdog.watch(watched)
        {
            return Some(watchdog);
        }
        let started = Self::start(watched)?;
        *this = Arc::downgrade(&started);
        Some(started)
    }

    fn start(first: &Arc<Watched>) -> Option<Arc<Self>> {
        let (bell, ear) = UnixStream::pair().ok()?;
        bell.set_nonblocking(true).ok()?;
        ear.set_nonblocking(true).ok()?;
        let (rest, all) = (Rest(AtomicBool::new(false)), Mutex::new(Some(vec![Kept::new(first)])));
        let watchdog = Arc::new(Watchdog { process: shm::process(), all, rest, bell, ear });
        let thread = std::thread::Builder::new().name("ipc-watchdog".to_owned());
        let watching = Arc::clone(&watchdog);
        thread.spawn(move || watching.keep_watch()).ok()?;
        Some(watchdog)
    }

    /// Ends the thread's rest.
    fn call(&self) {
        // A bell that is full was rung often enough.
        let _ = rustix::io::write(&self.bell, &[1]);
    }

    /// Watches one more, unless the thread has ended; says whether it does.
    fn watch(&self, watched: &Arc<Watched>) -> bool {
        let mut all = lock(&self.all);
        let Some(all) = all.as_mut() else { return false };
        all.push(Kept::new(watched));
        self.call();
        true
    }

    fn forget(&self, watched: &Arc<Watched>) {
        // The parent of a fork still watches its own.
        if self.process != shm::process() {
            return;
        }
        lock(&self.all).iter_mut().for_each(|all| all.retain(|kept| !Arc::ptr_eq(&kept.watched, watched)));
        // The daemon is to learn of it now, and not when the thread has let go of the socket.
        watched.stream.shut_down();
        self.call();
    }

    fn keep_watch(&self) {
        // Who called has not slept for a beat yet, and calls again soon if the thread rests at once.
        let mut called = false;
        while let Some((streams, pause)) = self.begin_watch(called) {
            let mut looks = vec![PollFd::new(&self.ear, PollFlags::IN)];
            looks.extend(streams.iter().flat_map(|stream| ends(stream)));
            // Whatever happened, all are looked at.
            let _ = poll(&mut looks, pause.as_ref());
            self.rest.end();
            called = has_event(&looks[0]);
            if called {
                let _ = rustix::io::read(&self.ear, &mut [0; 64]);
            }
            let ended =
                streams.iter().zip(looks[1..].chunks(ENDS)).filter(|(_, ends)| ends.iter().any(has_event));
            self.wake_sleepers(called, ended.map(|(stream, _)| stream));
        }
    }

    /// The sockets that are to be looked at, and for how long nobody needs to be woken: for ever while nobody
    /// sleeps. Nothing if nobody is left to be watched: the thread ends then.
    fn begin_watch(&self, called: bool) -> Option<(Vec<Arc<Stream>>, Option<Timespec>)> {
        let mut all = lock(&self.all);
        *all = all.take().filter(|all| !all.is_empty());
        let all = all.as_ref()?;
        let someone_sleeps = || all.iter().any(Kept::is_asleep);
        let rests = !called && self.rest.begin(someone_sleeps);
        let hurry = all.iter().any(|kept| kept.gone && kept.is_asleep());
        let pause = if hurry { AGAIN } else { BEAT };
        let pause = (!rests).then(|| Timespec::try_from(pause).expect("it is short"));
        let streams = all.iter().filter(|kept| !kept.gone).map(|kept| Arc::clone(&kept.watched.stream));
        Some((streams.collect(), pause))
    }

    /// Wakes all who sleep, or those alone whose daemon is gone if somebody has just gone to sleep and `called`.
    fn wake_sleepers<'a>(&self, called: bool, ended: impl Iterator<Item = &'a Arc<Stream>>) {
        let mut all = lock(&self.all);
        let all = all.iter_mut().flatten();
        let ended: Vec<_> = ended.collect();
        for kept in all {
            kept.gone |= ended.iter().any(|stream| Arc::ptr_eq(stream, &kept.watched.stream));
            if kept.is_asleep() && (!called || kept.gone) {
                wait::wake(Regions::futex(&kept.watched.region, Word::Published));
            }
        }
    }
}

impl Kept {
    fn new(watched: &Arc<Watched>) -> Self {
        Kept { watched: Arc::clone(watched), gone: false }
    }

    fn is_asleep(&self) -> bool {
        self.watched.sleeper.is_asleep()
    }
}

fn has_event(look: &PollFd<'_>) -> bool {
    !look.revents().is_empty()
}

/// What of a daemon can end: its socket and its process.
const ENDS: usize = 2;

fn ends(stream: &Stream) -> [PollFd<'_>; ENDS] {
    let socket = || PollFd::new(stream, PollFlags::IN);
    match stream.process() {
        Process::Watched(process) => [socket(), PollFd::from_borrowed_fd(process, PollFlags::IN)],
        Process::Ended | Process::Unknown => [socket(), socket()],
    }
}

/// What a panic of another thread has left is as good as before: lists change in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(loom), target_os = "linux", not(grite_portable)))]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::mpsc;

    use super::*;
    use crate::channel::Lifeline;
    use crate::shm::MIN_CAPACITY;

    /// Nobody sleeps for longer here.
    const LONG: Duration = Duration::from_secs(3600);

    fn guard() -> (Guard, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        (Guard::new(Arc::new(OwnedFd::from(near).into()), Region::on_heap(MIN_CAPACITY)), far)
    }

    /// Sleeps without a timer, again and again, until `is_enough`, in a thread that is not waited for longer than
    /// a minute.
    fn sleep_until(mut guard: Guard, is_enough: impl Fn(&mut Guard) -> bool + Send + 'static) {
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            while !is_enough(&mut guard) {
                assert!(guard.guard(LONG));
                let region = guard.watched.region.clone();
                let word = Regions::futex(&region, Word::Published);
                wait::sleep(wait::Expected { word, value: 0 }, None);
                guard.release();
            }
            done.send(())
        });
        is_done.recv_timeout(Duration::from_secs(60)).expect("the sleep ends");
    }

    #[test]
    fn who_sleeps_is_woken_when_the_peer_goes() {
        let (guard, far) = guard();
        let parting = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            drop(far);
        });
        sleep_until(guard, Guard::is_severed);
        parting.join().unwrap();
    }

    #[test]
    fn who_sleeps_after_the_peer_has_gone_is_woken_too() {
        let (mut guard, far) = guard();
        assert!(guard.guard(LONG));
        guard.release();
        drop(far);
        let slept = std::cell::Cell::new(false);
        sleep_until(guard, move |_| slept.replace(true));
    }

    #[test]
    fn who_sleeps_is_woken_now_and_then() {
        let (guard, _far) = guard();
        let (start, nights) = (std::time::Instant::now(), std::cell::Cell::new(0));
        sleep_until(guard, move |_| nights.replace(nights.get() + 1) == 3);
        assert!(
            start.elapsed() > BEAT,
            "three sleeps, and two whole beats between the first and the last wake"
        );
    }

    #[test]
    fn a_short_sleep_has_a_timer() {
        let (mut guard, _far) = guard();
        assert!(!guard.guard(2 * BEAT));
        assert!(!guard.watched.sleeper.is_asleep());
    }

    #[test]
    fn the_peer_learns_at_once_that_the_client_has_gone() {
        let (mut guard, mut far) = guard();
        assert!(guard.guard(LONG));
        guard.release();
        let ended = Arc::downgrade(&guard.watched);
        drop(guard);
        assert_eq!(std::io::Read::read(&mut far, &mut [0]).unwrap(), 0);
        assert!(ended.upgrade().is_none(), "its memory is its own");
    }
}
