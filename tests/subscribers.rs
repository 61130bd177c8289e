//! Many subscribers in processes of their own, one of which is stopped: the others miss nothing, and that one
//! is told what it has missed.
//!
//! The suite has ten of them and few changes, which are long ones so that more is published than is kept.
//! `GRITE_TEST_CHANGES=100000` publishes so many short ones to a hundred.
#![cfg(not(loom))]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use libgrite_ipc::{Client, Notice, Notifies, Protocol, Server, Since, Transport, Wire, wire};
use rustix::process::{Pid, Signal, kill_process};

wire! {
    /// Publish one event.
    pub struct Change {
        /// Its number.
        pub number: u64,
        /// How many bytes it has.
        pub length: u32,
    }

    /// It was published.
    pub struct Changed {
        /// Its sequence number.
        pub sequence: u64,
    }

    /// Something has happened.
    pub struct Event {
        /// Its number, as its publisher counts.
        pub number: u64,
        /// So many bytes.
        pub bytes: Vec<u8>,
    }
}

enum News {}

impl Protocol for News {
    type Request = Change;
    type Response = Changed;
    const NAME: &'static str = "news";
    const VERSION: u16 = 1;
    const NOTIFICATION: Option<u64> = Some(Event::LAYOUT);
}

impl Notifies for News {
    type Notification = Event;
}

const ROLE: &str = "SUBSCRIBERS_ROLE";

/// No child lives longer than its test, and no test waits longer than this for one to move.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much is published, and to how many.
#[derive(Clone, Copy)]
struct Plan {
    subscribers: usize,
    changes: u64,
    /// How many bytes an event has.
    length: u32,
    /// How far the slowest may be behind before the changes wait for it: less than is kept.
    headroom: u64,
}

impl Plan {
    fn new() -> Self {
        match std::env::var("GRITE_TEST_CHANGES").ok().and_then(|changes| changes.parse().ok()) {
            Some(changes) => Plan { subscribers: 100, changes, length: 40, headroom: 16_384 },
            // 23 MiB, where 16 MiB are kept.
            None => Plan { subscribers: 10, changes: 2000, length: 12 << 10, headroom: 256 },
        }
    }
}

/// The parts that this program plays when the test starts it again.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let role: Vec<&str> = role.split(' ').collect();
    match *role.as_slice() {
        ["server"] => serve(),
        ["subscriber", place, transport] => subscribe(place.parse().unwrap(), transport),
        _ => panic!("no such role: {role:?}"),
    }
}

fn serve() {
    let server = Server::<News>::bind("news.sock").unwrap();
    let publisher = server.publisher();
    let publish = |change: &ArchivedChange, _: &_| {
        let bytes = vec![7; change.length.to_native() as usize];
        let event = Event { number: change.number.to_native(), bytes };
        Changed { sequence: publisher.publish(&event).unwrap() }
    };
    server.serve(publish).unwrap();
}

/// Sees every event in order, or hears of those that it misses, which the last one in the table may.
fn subscribe(place: usize, transport: &str) {
    let plan = Plan::new();
    let table = Table::open();
    let stopped = place + 1 == plan.subscribers;
    let mut client = connect(transport);
    let mut since = Since::Now;
    let (mut expected, mut first, mut lost_in_all, mut resumed) = (0, 0, 0, false);
    'connection: loop {
        let mut events = client.subscribe(since).unwrap();
        while expected < plan.changes {
            match events.next(PATIENCE).unwrap() {
                Notice::Event { sequence, event } => {
                    assert_eq!((sequence, event.number.to_native()), (first + expected, expected));
                    assert_eq!(event.bytes.len(), plan.length as usize);
                    expected += 1;
                    if expected % 64 == 0 || expected == plan.changes {
                        table.write(place, Seen { events: expected, lost: lost_in_all });
                    }
                }
                Notice::Gap { next, lost: Some(0) } if first == 0 => {
                    first = next;
                    table.write(place, Seen { events: 0, lost: 0 });
                }
                Notice::Gap { next, lost: Some(lost) } => {
                    assert!(lost == 0 || stopped, "subscriber {place} lost {lost} events");
                    assert_eq!(next, first + expected + lost, "what is lost lies before what comes");
                    expected += lost;
                    lost_in_all += lost;
                    if lost > 0 && !resumed {
                        // Where it says, one can go on by another connection, too.
                        (since, resumed) = (Since::Sequence(next - 1), true);
                        drop(events);
                        client = connect(transport);
                        continue 'connection;
                    }
                }
                gap @ Notice::Gap { .. } => panic!("one daemon knows what it has lost: {gap:?}"),
            }
        }
        return;
    }
}

fn connect(transport: &str) -> Client<News> {
    let transport = if transport == "socket" { Transport::Socket } else { Transport::Auto };
    Client::builder().transport(transport).timeout(PATIENCE).connect("news.sock").unwrap()
}

/// What each subscriber has seen so far, in a file that all share.
struct Table(File);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    events: u64,
    lost: u64,
}

impl Table {
    fn open() -> Self {
        Table(File::options().create(true).truncate(false).read(true).write(true).open("seen").unwrap())
    }

    /// Written by one more, so that zero says that nothing is written yet.
    fn write(&self, place: usize, seen: Seen) {
        let bytes = [(seen.events + 1).to_le_bytes(), seen.lost.to_le_bytes()].concat();
        self.0.write_all_at(&bytes, 16 * place as u64).unwrap();
    }

    fn read(&self, place: usize) -> Option<Seen> {
        let mut bytes = [0; 16];
        self.0.read_exact_at(&mut bytes, 16 * place as u64).ok()?;
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        Some(Seen { events: number(0).checked_sub(1)?, lost: number(8) })
    }
}

/// A child that is killed and waited for when dropped, stopped or not.
struct Process(Child);

impl Process {
    fn start(role: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["role", "--exact", "--nocapture", "--quiet"]).env(ROLE, role).current_dir(folder);
        Process(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.0.id() as i32).unwrap(), signal).unwrap();
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fails once one of them has failed, which has said why on stderr.
fn check(subscribers: &mut [Process]) {
    for (place, subscriber) in subscribers.iter_mut().enumerate() {
        assert!(subscriber.ended().is_none_or(|status| status.success()), "subscriber {place} has failed");
    }
}

/// Waits until `done`, for as long as something moves.
fn until<T: PartialEq>(what: &str, mut progress: impl FnMut() -> T, done: impl Fn(&T) -> bool) {
    let mut last = progress();
    let mut deadline = Instant::now() + PATIENCE;
    while !done(&last) {
        assert!(Instant::now() < deadline, "{what}: nothing moves");
        std::thread::sleep(Duration::from_millis(1));
        let now = progress();
        if now != last {
            (last, deadline) = (now, Instant::now() + PATIENCE);
        }
    }
}

#[test]
fn of_many_subscribers_one_is_stopped_and_the_others_see_everything_over_rings() {
    publish_to_many("ring");
}

#[test]
fn of_many_subscribers_one_is_stopped_and_the_others_see_everything_over_the_socket() {
    publish_to_many("socket");
}

fn publish_to_many(transport: &str) {
    let plan = Plan::new();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("news.sock");
    let _server = Process::start("server", folder.path());
    until("the server", || socket.exists(), |there| *there);
    let table = Table(
        File::options().create_new(true).read(true).write(true).open(folder.path().join("seen")).unwrap(),
    );
    let mut subscribers: Vec<Process> = (0..plan.subscribers)
        .map(|place| Process::start(&format!("subscriber {place} {transport}"), folder.path()))
        .collect();
    let stopped = plan.subscribers - 1;
    let seen = |places: std::ops::Range<usize>| -> Vec<Option<Seen>> {
        places.map(|place| table.read(place)).collect()
    };
    until("the subscriptions", || seen(0..plan.subscribers), |all| all.iter().all(Option::is_some));

    let start = Instant::now();
    let mut client = Client::<News>::builder().timeout(PATIENCE).connect(&socket).unwrap();
    let slowest = |places| seen(places).into_iter().flatten().map(|seen| seen.events).min().unwrap();
    for number in 0..plan.changes {
        client.send(&Change { number, length: plan.length }).unwrap();
        if number == plan.headroom / 2 {
            until("all of them", || slowest(0..plan.subscribers), |seen| *seen > 0);
            subscribers[stopped].signal(Signal::STOP);
        }
        if number % 64 == 0 {
            let slowest = || {
                check(&mut subscribers);
                slowest(0..stopped)
            };
            until("the slowest", slowest, |seen| seen + plan.headroom > number);
        }
    }
    let complete = Seen { events: plan.changes, lost: 0 };
    let all = || {
        check(&mut subscribers);
        seen(0..stopped)
    };
    until("the last event", all, |all| all.iter().all(|seen| *seen == Some(complete)));
    let taken = start.elapsed();
    for subscriber in &mut subscribers[..stopped] {
        until("its end", || subscriber.ended().is_some(), |ended| *ended);
        assert!(subscriber.ended().unwrap().success());
    }

    let before = table.read(stopped).unwrap();
    assert!(before.events < plan.changes && before.lost == 0, "it was stopped: {before:?}");
    subscribers[stopped].signal(Signal::CONT);
    until("the stopped one's end", || subscribers[stopped].ended().is_some(), |ended| *ended);
    assert!(subscribers[stopped].ended().unwrap().success());
    let after = table.read(stopped).unwrap();
    assert!(after.events == plan.changes && after.lost > 0 && after.lost < plan.changes, "{after:?}");
    println!(
        "{} changes to {} subscribers over {transport} in {taken:.1?}; the stopped one missed {}",
        plan.changes, stopped, after.lost
    );
}
