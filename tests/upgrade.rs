//! A newer release takes over from an older one: who ends for whom, and what becomes of what was asked.
//!
//! The daemons are this test program itself, started again.
#![cfg(not(loom))]

mod common;
mod rounds;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::at_end::AtEnd;
use common::{Done, Order, Work, pattern, work};
use libgrite_ipc::{Client, DaemonLock, ErrorKind, Protocol, Readiness, Server, ServerBuilder, Transport};
use rounds::rounds;

const FOLDER: &str = "UPGRADE_FOLDER";
const RELEASE: &str = "UPGRADE_RELEASE";
/// Whether the daemon speaks the next version of the protocol.
const NEXT: &str = "UPGRADE_NEXT";

/// No daemon outlives its last client for longer, should a test be killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The protocol as a later release has it, which the earlier one does not understand.
#[derive(Debug)]
enum NextWork {}

impl Protocol for NextWork {
    type Request = Order;
    type Response = Done;
    const NAME: &'static str = Work::NAME;
    const VERSION: u16 = Work::VERSION + 1;
}

/// Another program.
#[derive(Debug)]
enum OtherWork {}

impl Protocol for OtherWork {
    type Request = Order;
    type Response = Done;
    const NAME: &'static str = "other work";
    const VERSION: u16 = Work::VERSION;
}

/// The daemon, when a test starts this program again.
#[test]
fn role() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let release = std::env::var(RELEASE).unwrap().parse().unwrap();
    if std::env::var_os(NEXT).is_some() {
        be_the_daemon(folder, Server::<NextWork>::builder().release(release));
    } else {
        be_the_daemon(folder, Server::<Work>::builder().release(release));
    }
}

fn be_the_daemon<P>(folder: String, builder: ServerBuilder<P>)
where
    P: Protocol<Request = Order, Response = Done>,
{
    let readiness = Readiness::of_this_process();
    let lock = match DaemonLock::acquire(folder) {
        Ok(lock) => lock,
        Err(error) => return readiness.failed(&error.to_string()),
    };
    let server = builder.idle_timeout(PATIENCE).bind(lock.socket_path()).unwrap();
    readiness.ready();
    server.serve(work).unwrap();
}

/// The folder of a daemon, which ends with it.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Home { folder: tempfile::tempdir().unwrap() }
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// How to start a daemon of this release here.
    fn daemon(&self, release: u32) -> impl FnMut() -> Command + Send + 'static {
        let directory = self.directory();
        move || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["role", "--exact", "--nocapture", "--quiet"]);
            command.env(FOLDER, &directory).env(RELEASE, release.to_string());
            command
        }
    }

    /// A client that starts a daemon of its own release if it must.
    fn client(&self, release: u32) -> Client<Work> {
        let builder = Client::<Work>::builder().release(release);
        builder.connect_or_spawn(self.directory(), self.daemon(release)).unwrap()
    }

    fn ask(&self, release: u32, order: &Order) -> usize {
        let builder = Client::<Work>::builder().release(release);
        let done = builder.ask_or_spawn(self.directory(), self.daemon(release), order).unwrap();
        done.bytes.len()
    }

    /// Which process the daemon is, and of which release.
    fn serving(&self) -> (u32, u32) {
        let daemon = DaemonLock::read(self.directory()).unwrap().expect("a daemon lives");
        let client = Client::<Work>::connect(daemon.socket_path()).unwrap();
        (daemon.pid().unwrap(), client.daemon_release())
    }

    /// Which release serves just now, if one does.
    fn serving_release(&self) -> Option<u32> {
        let socket = DaemonLock::socket_path_in(self.directory()).unwrap();
        Some(Client::<Work>::connect(socket).ok()?.daemon_release())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // In order, as a later release would.
        let newest = u32::MAX;
        let command = || Command::new("true");
        let builder = Client::<Work>::builder().release(newest);
        if DaemonLock::read(self.directory()).is_ok_and(|daemon| daemon.is_some()) {
            let _ = builder.ask_or_spawn(self.directory(), command, &Order::Session);
        }
    }
}

#[test]
fn a_newer_client_replaces_an_older_daemon_and_an_older_one_does_not() {
    let home = Home::new();
    assert_eq!(home.client(5).daemon_release(), 5);
    let first = home.serving();
    for release in [5, 4, 0] {
        assert_eq!(home.client(release).daemon_release(), 5, "release {release}");
        assert_eq!(home.ask(release, &Order::Make(9)), 9, "release {release}");
        assert_eq!(home.serving(), first, "release {release}");
    }
    let plain = Client::<Work>::builder().release(6);
    let socket = DaemonLock::socket_path_in(home.directory()).unwrap();
    assert_eq!(plain.connect(&socket).unwrap().daemon_release(), 5);
    plain.ask(&socket, &Order::Session).unwrap();
    assert_eq!(home.serving(), first, "who only connects takes the daemon that is there");

    assert_eq!(home.ask(6, &Order::Make(9)), 9);
    let second = home.serving();
    assert!(second.1 == 6 && second.0 != first.0);
    for transport in [Transport::Auto, Transport::Socket] {
        let release = home.serving().1 + 1;
        let builder = Client::<Work>::builder().release(release).transport(transport);
        let client = builder.connect_or_spawn(home.directory(), home.daemon(release)).unwrap();
        assert_eq!(client.daemon_release(), release);
    }
    assert_eq!(home.client(5).daemon_release(), 8, "the older client is served by the newer daemon");
}

#[test]
fn a_daemon_that_tells_no_release_makes_way_for_nobody() {
    let home = Home::new();
    let builder = Client::<Work>::builder().release(7);
    let client = builder.connect_or_spawn(home.directory(), home.daemon(0)).unwrap();
    assert_eq!(client.daemon_release(), 0);
    let first = home.serving();
    home.client(u32::MAX);
    assert_eq!(home.serving(), first);
    // It tells none, so nobody but its process ends it.
    let process = rustix::process::Pid::from_raw(first.0.try_into().unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_program_whose_daemon_calls_itself_older_is_served_by_it_all_the_same() {
    let home = Home::new();
    let builder = Client::<Work>::builder().release(7);
    let client = builder.connect_or_spawn(home.directory(), home.daemon(3)).unwrap();
    assert_eq!(client.daemon_release(), 3);
}

#[test]
fn releases_that_do_not_understand_each_other_succeed_each_other_in_one_direction() {
    let home = Home::new();
    home.client(1);
    let next = |release| {
        let builder = Client::<NextWork>::builder().release(release);
        let mut daemon = home.daemon(release);
        let command = move || {
            let mut command = daemon();
            command.env(NEXT, "1");
            command
        };
        builder.connect_or_spawn(home.directory(), command)
    };
    let error = next(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch, "equal releases: {error}");

    let mut client = next(2).unwrap();
    assert_eq!(client.daemon_release(), 2);
    assert!(client.send(&Order::Make(9)).unwrap().bytes == pattern(9)[..]);

    let builder = Client::<Work>::builder().release(1);
    let error = builder.connect_or_spawn(home.directory(), home.daemon(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch, "{error}");
    assert!(error.to_string().contains("upgrade the client, whose release 1 is older"), "{error}");
    let builder = Client::<Work>::builder().release(3);
    let socket = DaemonLock::socket_path_in(home.directory()).unwrap();
    let error = builder.connect(socket).unwrap_err();
    assert!(error.to_string().contains("restart the daemon, whose release 2 is older"), "{error}");

    let builder = Client::<OtherWork>::builder().release(9);
    let error = builder.connect_or_spawn(home.directory(), home.daemon(9)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch, "another program: {error}");
    assert!(client.send(&Order::Session).is_ok(), "the daemon lives");
}

#[test]
fn what_the_older_daemon_has_accepted_is_answered_before_the_newer_one_serves() {
    let home = Home::new();
    // In a long run, as long as a daemon that ends goes on by itself.
    let order = Order::MakeLate((8 << 20, if rounds(3) < 20 { 500 } else { 5000 }));
    let mut ring = home.client(1);
    let builder = Client::<Work>::builder().release(1).transport(Transport::Socket);
    let mut socket = builder.connect_or_spawn(home.directory(), home.daemon(1)).unwrap();
    std::thread::scope(|scope| {
        let slow = [
            scope.spawn(|| ring.send(&order).map(|done| done.bytes.len())),
            scope.spawn(|| socket.send(&order).map(|done| done.bytes.len())),
        ];
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(home.ask(2, &Order::Make(9)), 9);
        assert_eq!(home.serving().1, 2);
        for answered in slow.map(|slow| slow.join().unwrap()) {
            match answered {
                Ok(length) => assert_eq!(length, 8 << 20),
                // On a machine that was busy elsewhere all this time.
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    });
}

/// Both releases in use at once, as on a machine where a long-running agent has been upgraded last.
#[test]
fn old_and_new_commands_at_once_all_succeed_and_the_new_daemon_stays() {
    let home = Home::new();
    home.ask(1, &Order::Session);
    let seen = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for number in 0..12 {
            let (home, seen) = (&home, &seen);
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(home.ask(1 + number % 3, &Order::Make(number)), number as usize);
                    let daemon = DaemonLock::read(home.directory()).unwrap();
                    seen.lock().unwrap().extend(daemon.and_then(|daemon| daemon.pid()));
                }
            });
        }
    });
    let last = home.serving();
    assert_eq!(last.1, 3);
    home.ask(1, &Order::Session);
    assert_eq!(home.serving(), last);
    // One of each release at most: nobody starts an older one while a newer takes over.
    assert!(seen.lock().unwrap().len() <= 3, "{seen:?}");
}

/// The newer release is upgraded to again and again; everything asked meanwhile is answered once.
#[test]
fn no_command_fails_while_daemons_are_replaced_under_load() {
    let home = Home::new();
    let rounds = rounds(3);
    let (newest, asked, over) = (AtomicU64::new(1), AtomicU64::new(0), AtomicBool::new(false));
    home.ask(1, &Order::Session);
    let command = || {
        let mut step = 0;
        while !over.load(Ordering::Relaxed) {
            step += 1;
            let release = newest.load(Ordering::Relaxed) as u32 - u32::from(step % 5 == 0);
            let length = [0, 100, 200_000][step % 3];
            assert_eq!(home.ask(release.max(1), &Order::Make(length)), length as usize);
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let over = AtEnd(|| over.store(true, Ordering::Relaxed));
        let commands: Vec<_> = (0..4).map(|_| scope.spawn(command)).collect();
        for round in 0..rounds {
            let before = asked.load(Ordering::Relaxed);
            newest.store(round + 2, Ordering::Relaxed);
            let end = Instant::now() + PATIENCE;
            while home.serving_release() != Some(round as u32 + 2)
                || asked.load(Ordering::Relaxed) < before + 50
            {
                assert!(Instant::now() < end, "release {} does not serve", round + 2);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        drop(over);
        commands.into_iter().for_each(|command| command.join().unwrap());
    });
}
