//! Models of the spawner's life cycle: the decision itself, with the steps of all starters and daemons in any
//! order, and with crashes between any two of them.
//!
//! The system is a few words that keep the kernel's promises and no more: a lock ends with its holder, a
//! socket's file does not, and whoever connects to a dead daemon's is refused. Time does not pass by itself:
//! a starter that pauses lets others go on, and waits for ever for what never comes, which the model's bound
//! on steps shows. A clock, where there is one, strikes at any moment. Shuttle tries random schedules, and
//! those of PCT, which favours some threads for long; `GRITE_TEST_ROUNDS` says how many.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::thread::{self, JoinHandle};
use shuttle::{Config, MaxSteps, Runner};

use super::{Found, System, reach};
use crate::error::{Error, ErrorKind};
use crate::handshake::Stance;

/// A schedule that is longer than this waits for something that does not come.
const MOST_STEPS: usize = 1_000_000;

/// What a model leaves out, to show that it would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Whoever gets the right to start does not look again.
    SecondLook,
    /// Everybody has the right to start.
    Right,
    /// Every daemon has the daemon's lock, and nobody sees that one holds it.
    Lock,
}

/// What happens in a model.
#[derive(Clone, Copy, Debug)]
struct Plan {
    starters: u32,
    /// How many starters and daemons crash, in all, and how many daemons are stopped for good.
    crashes: u32,
    stops: u32,
    /// Whether a daemon of the first release serves, and every other starter is of the second.
    upgrade: bool,
    without: Without,
}

const CALM: Plan = Plan { starters: 8, crashes: 0, stops: 0, upgrade: false, without: Without::Nothing };

/// A daemon that was started at some time.
#[derive(Debug)]
struct Daemon {
    release: u32,
    alive: bool,
    listens: bool,
    is_asked_to_end: bool,
    /// It does nothing any more, and keeps what it has.
    is_stopped: bool,
    /// What it has told its starter: that it is ready, or not.
    word: Option<bool>,
    /// Another one has found the lock to be this one's, and ended.
    is_in_the_way: bool,
}

/// The files, the processes and the clock.
#[derive(Debug)]
struct World {
    plan: Plan,
    right_is_taken: bool,
    lock: Option<usize>,
    /// To whom the socket's file leads.
    socket: Option<usize>,
    daemons: Vec<Daemon>,
    threads: Vec<JoinHandle<()>>,
    /// How many daemons crashed before they had told their starters anything, or in the way of another one.
    broken: usize,
    /// How many others did.
    lost: usize,
    is_late: bool,
}

impl World {
    /// What a daemon holds goes with it; the socket's file stays.
    fn end(&mut self, daemon: usize) {
        let ended = &mut self.daemons[daemon];
        (ended.alive, ended.listens, ended.is_stopped) = (false, false, false);
        if self.lock == Some(daemon) {
            self.lock = None;
        }
    }

    /// Whom a client that connects now reaches.
    fn listener(&self) -> Option<usize> {
        self.socket.filter(|&daemon| self.daemons[daemon].listens)
    }

    /// Whether fate strikes now, of so many strokes that are left.
    fn strikes(&mut self, left: fn(&mut Plan) -> &mut u32) -> bool {
        let rate = 4 + self.plan.starters;
        let left = left(&mut self.plan);
        let strikes = *left > 0 && thread_rng().gen_ratio(1, rate);
        *left -= u32::from(strikes);
        strikes
    }
}

/// The machine on which all this happens.
#[derive(Debug)]
struct Machine {
    world: Mutex<World>,
    /// Touched between two steps: any other thread may run there.
    between: AtomicU32,
}

impl Machine {
    fn new(plan: Plan) -> Arc<Self> {
        let world = World {
            plan,
            right_is_taken: false,
            lock: None,
            socket: None,
            daemons: Vec::new(),
            threads: Vec::new(),
            broken: 0,
            lost: 0,
            is_late: false,
        };
        Arc::new(Machine { world: Mutex::new(world), between: AtomicU32::new(0) })
    }

    /// The world, after others may have done anything to it. It is let go before the next step, and before
    /// anything else at which shuttle may go on with another thread.
    fn step(&self) -> MutexGuard<'_, World> {
        self.between.load(Ordering::SeqCst);
        self.world()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a daemon; says which.
    fn spawn(self: &Arc<Self>, release: u32) -> usize {
        let mut world = self.world();
        let number = world.daemons.len();
        world.daemons.push(Daemon {
            release,
            alive: true,
            listens: false,
            is_asked_to_end: false,
            is_stopped: false,
            word: None,
            is_in_the_way: false,
        });
        drop(world);
        let machine = Arc::clone(self);
        let thread = thread::spawn(move || {
            machine.live(number);
        });
        self.world().threads.push(thread);
        number
    }

    /// The world at a daemon's next step, unless the daemon has been ended or crashes now, or is stopped
    /// until it is ended.
    fn step_of(&self, daemon: usize) -> Option<MutexGuard<'_, World>> {
        let mut world = self.step();
        if world.daemons[daemon].alive && world.strikes(|plan| &mut plan.crashes) {
            let Daemon { word, is_in_the_way, .. } = world.daemons[daemon];
            let is_broken = word.is_none() || is_in_the_way;
            world.broken += usize::from(is_broken);
            world.lost += usize::from(!is_broken);
            world.end(daemon);
        }
        world.daemons[daemon].is_stopped =
            world.daemons[daemon].alive && world.strikes(|plan| &mut plan.stops);
        while world.daemons[daemon].is_stopped {
            drop(world);
            thread::yield_now();
            world = self.step();
        }
        world.daemons[daemon].alive.then_some(world)
    }

    /// A daemon's life, which ends before its time with a crash: the lock, the socket, the word, and the end
    /// in the opposite order.
    fn live(&self, own: usize) -> Option<()> {
        let mut world = self.step_of(own)?;
        match world.lock {
            None => world.lock = Some(own),
            Some(_) if world.plan.without == Without::Lock => {}
            Some(other) => {
                world.daemons[other].is_in_the_way = true;
                world.daemons[own].word = Some(false);
                world.end(own);
                return None;
            }
        }
        drop(world);
        let mut world = self.step_of(own)?;
        if world.listener().is_some() {
            world.daemons[own].word = Some(false);
            world.end(own);
            return None;
        }
        drop(world);
        let mut world = self.step_of(own)?;
        (world.socket, world.daemons[own].listens) = (Some(own), true);
        let serving = world.daemons.iter().filter(|daemon| daemon.listens).count();
        assert_eq!(serving, 1, "one daemon serves");
        drop(world);
        let mut world = self.step_of(own)?;
        world.daemons[own].word = Some(true);
        while !world.daemons[own].is_asked_to_end {
            drop(world);
            thread::yield_now();
            world = self.step_of(own)?;
        }
        (world.socket, world.daemons[own].listens) = (None, false);
        drop(world);
        self.step_of(own)?.end(own);
        None
    }

    /// Ends all daemons, whatever they do, and waits until they have.
    fn end_all(&self) {
        let mut world = self.world();
        (0..world.daemons.len()).for_each(|daemon| world.end(daemon));
        let threads = std::mem::take(&mut world.threads);
        drop(world);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// A starter's right to start, which the kernel takes back when the starter ends.
struct Right(Arc<Machine>);

impl Drop for Right {
    fn drop(&mut self) {
        self.0.world().right_is_taken = false;
    }
}

/// One starter. After its crash it does nothing any more: every step fails.
struct Starter {
    machine: Arc<Machine>,
    release: u32,
    has_right: bool,
    has_crashed: Cell<bool>,
}

impl Starter {
    fn new(machine: &Arc<Machine>, release: u32) -> Self {
        Starter { machine: Arc::clone(machine), release, has_right: false, has_crashed: Cell::new(false) }
    }

    /// The world at the starter's next step, unless it crashes now or has.
    fn step(&self) -> Result<MutexGuard<'_, World>, Error> {
        let mut world = self.machine.step();
        let has_crashed = self.has_crashed.get() || world.strikes(|plan| &mut plan.crashes);
        self.has_crashed.set(has_crashed);
        if has_crashed { Err(Error::new(ErrorKind::Io, "go on after a crash")) } else { Ok(world) }
    }

    /// What comes of it in the end; nothing of one that crashed.
    fn reach(mut self) -> Option<Result<usize, ErrorKind>> {
        let reached = reach(&mut self);
        (!self.has_crashed.get()).then(|| reached.map_err(|error| error.kind()))
    }
}

impl System for Starter {
    type Answer = usize;
    type Holder = usize;
    type Right = Right;

    fn look(&mut self, stance: Stance) -> Result<Found<usize>, Error> {
        let skips = self.has_right && self.step()?.plan.without == Without::SecondLook;
        let Some(daemon) = self.step()?.listener().filter(|_| !skips) else { return Ok(Found::Nobody) };
        let own = self.release;
        let mut world = self.step()?;
        while world.daemons[daemon].is_stopped && !world.is_late {
            drop(world);
            thread::yield_now();
            world = self.step()?;
        }
        Ok(match &world.daemons[daemon] {
            // It went away in the handshake, or turned the client away.
            Daemon { listens: false, .. } => Found::Nobody,
            Daemon { is_stopped: true, .. } => {
                Found::Done(Err(Error::new(ErrorKind::Unresponsive, "connect to the daemon")))
            }
            older if older.release < own && stance == Stance::Decline => Found::Older(PathBuf::new()),
            _ => Found::Done(Ok(daemon)),
        })
    }

    fn holder(&mut self) -> Result<Option<usize>, Error> {
        let world = self.step()?;
        let sees = !matches!(world.plan.without, Without::SecondLook | Without::Lock);
        Ok(world.lock.filter(|_| sees))
    }

    fn try_take(&mut self) -> Result<Option<Right>, Error> {
        let mut world = self.step()?;
        let taken = std::mem::replace(&mut world.right_is_taken, true);
        let granted = !taken || world.plan.without == Without::Right;
        drop(world);
        self.has_right = granted;
        Ok(granted.then(|| Right(Arc::clone(&self.machine))))
    }

    fn start(&mut self, _: &Right) -> Result<(), Error> {
        drop(self.step()?);
        self.has_right = false;
        let daemon = self.machine.spawn(self.release);
        loop {
            let mut world = self.step()?;
            match world.daemons[daemon] {
                Daemon { word: Some(true), .. } => return Ok(()),
                Daemon { word: Some(false), .. } | Daemon { alive: false, .. } => {
                    return Err(Error::new(ErrorKind::NotRunning, "start the daemon"));
                }
                _ if world.is_late => {
                    world.end(daemon);
                    return Err(Error::new(ErrorKind::Unresponsive, "start the daemon"));
                }
                _ => {}
            }
            drop(world);
            thread::yield_now();
        }
    }

    fn retire(&mut self, _: &Path) -> bool {
        let own = self.release;
        let Ok(mut world) = self.step() else { return false };
        let older = world.listener().filter(|&daemon| world.daemons[daemon].release < own);
        older.inspect(|&older| world.daemons[older].is_asked_to_end = true).is_some()
    }

    fn pause(&mut self, _: Duration) {
        thread::yield_now();
    }

    fn is_late(&mut self) -> bool {
        self.step().map_or(true, |world| world.is_late)
    }

    fn give_up(&mut self, _: &str) -> Error {
        Error::new(ErrorKind::Unresponsive, "reach the daemon")
    }

    fn give_up_starting(&mut self) -> Error {
        Error::new(ErrorKind::NotRunning, "start the daemon")
    }
}

/// Lets all starters of a plan run to their ends, and holds them to what they promise.
fn model(plan: Plan) {
    let machine = Machine::new(plan);
    if plan.upgrade {
        machine.spawn(1);
        while machine.step().listener().is_none() {
            thread::yield_now();
        }
    }
    let start = |number: u32| {
        let starter = Starter::new(&machine, 1 + u32::from(plan.upgrade) * (number % 2));
        thread::spawn(move || (starter.release, starter.reach()))
    };
    let starters: Vec<_> = (0..plan.starters).map(start).collect();
    if plan.stops > 0 {
        let machine = Arc::clone(&machine);
        let clock = move || {
            (0..thread_rng().gen_range(0..300)).for_each(|_| thread::yield_now());
            machine.step().is_late = true;
        };
        thread::spawn(clock).join().unwrap();
    }
    let reached: Vec<_> = starters.into_iter().map(|starter| starter.join().unwrap()).collect();
    let world = machine.world();
    let (started, broken, lost) = (world.daemons.len(), world.broken, world.lost);
    drop(world);
    let failed = |kind| reached.iter().filter(|(_, reached)| *reached == Some(Err(kind))).count();
    if plan.crashes == 0 && plan.stops == 0 {
        assert_eq!(started, 1 + usize::from(plan.upgrade), "exactly one daemon was started");
        let new = |(release, reached): &(u32, _)| *release == 1 || *reached == Some(Ok(started - 1));
        assert!(reached.iter().all(new), "everyone gets a daemon that is not older: {reached:?}");
    }
    // Who sees no lock cannot tell that somebody else's daemon was in the way of its own.
    assert!(
        failed(ErrorKind::NotRunning) <= broken + lost / 2 || plan.without == Without::Lock,
        "who is told so has started one that crashed, or came second to one that did, or two that were ready and \
         did: {reached:?}"
    );
    assert!(plan.stops > 0 || failed(ErrorKind::Unresponsive) == 0, "nobody is late: {reached:?}");
    assert_eq!(failed(ErrorKind::Io), 0, "{reached:?}");

    // Whatever was left behind, the next one is answered.
    machine.end_all();
    let mut world = machine.world();
    (world.plan.crashes, world.plan.stops, world.is_late) = (0, 0, false);
    drop(world);
    let last = Starter::new(&machine, 2).reach();
    assert_eq!(last, Some(Ok(started)));
    machine.end_all();
}

/// Tries a plan with random schedules and with those of PCT, `usual` of each where nothing else is said.
fn check(usual: usize, plan: Plan) {
    let rounds = std::env::var("GRITE_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds = rounds.unwrap_or(usual);
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    Runner::new(RandomScheduler::new(rounds), config.clone()).run(move || model(plan));
    Runner::new(PctScheduler::new(3, rounds), config).run(move || model(plan));
}

/// Fault 47, in the model.
#[test]
fn two_hundred_starters_start_exactly_one_daemon_and_all_reach_it() {
    check(10, Plan { starters: 200, ..CALM });
    check(300, CALM);
}

/// Faults 48 and 50, in the model.
#[test]
fn whichever_of_them_crash_the_others_are_answered_and_the_next_one_can_start() {
    check(10, Plan { starters: 200, crashes: 20, ..CALM });
    check(600, Plan { crashes: 4, ..CALM });
    check(300, Plan { starters: 2, crashes: 2, ..CALM });
}

/// Faults 58 and 59, in the model: a daemon that stops anywhere, and the deadline at any moment.
#[test]
fn a_daemon_that_stops_anywhere_ends_nobodys_wait_later_than_the_deadline() {
    check(300, Plan { stops: 1, ..CALM });
    check(300, Plan { stops: 2, crashes: 2, ..CALM });
}

#[test]
fn an_upgrade_starts_exactly_one_newer_daemon() {
    check(300, Plan { upgrade: true, ..CALM });
    check(5, Plan { starters: 200, upgrade: true, ..CALM });
}

#[test]
#[should_panic(expected = "exactly one daemon was started")]
fn without_the_second_look_a_second_daemon_is_started() {
    check(1000, Plan { without: Without::SecondLook, ..CALM });
}

#[test]
#[should_panic(expected = "exactly one daemon was started")]
fn without_the_right_to_start_a_second_daemon_is_started() {
    check(1000, Plan { without: Without::Right, ..CALM });
}

#[test]
#[should_panic(expected = "one daemon serves")]
fn without_the_daemons_lock_two_daemons_serve() {
    check(20_000, Plan { crashes: 2, without: Without::Lock, ..CALM });
}
