//! A daemon and its clients for a long time: does anything add up that should not?
//!
//! `cargo bench --bench soak` takes a minute: `ROUNDS=1` of `SECONDS=15` after `WARM_UP=5`, `CLIENTS=64` at once,
//! `RATE=300000` messages a second of all together, one process of clients stopped every `STOP_EVERY=7`
//! seconds. With `ROUNDS=6 SECONDS=600 WARM_UP=240` it takes an hour.
//!
//! The daemon is one process. Its clients are threads of several others, come and go, and ask over rings and
//! over the socket, one question at a time and many in flight, short ones, long ones, such as block, and such
//! as they give up. Every process of clients is stopped in its turn, in the midst of whatever it does, and goes
//! on three seconds later or is killed. Every byte of every answer is compared. After the warm-up and at the
//! end all clients are gone for a moment: the daemon's descriptors, mappings and threads must be as many as
//! then, and its resident memory within one percent.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libgrite_ipc::{Client, ClientBuilder, Pending, Protocol, Server, Transport, WaitStrategy, wire};
use rustix::process::{Pid, Signal, kill_process};

wire! {
    /// Bytes to be given back.
    pub struct Ask {
        /// Says which bytes they must be.
        pub number: u64,
        /// For how many milliseconds to block before that.
        pub pause: u64,
        /// The bytes.
        pub bytes: Vec<u8>,
    }
    /// The same bytes.
    pub struct Told {
        /// As asked.
        pub number: u64,
        /// As asked.
        pub bytes: Vec<u8>,
    }
}

enum Soak {}

impl Protocol for Soak {
    type Request = Ask;
    type Response = Told;
    const NAME: &'static str = "soak";
    const VERSION: u16 = 1;
}

/// Tells a child process which part it plays, and in which folder.
const ROLE: &str = "SOAK_ROLE";
const FOLDER: &str = "SOAK_FOLDER";

/// How many clients a process plays: half of all processes play one.
const CLIENTS_OF_A_PROCESS: u64 = 8;

/// How many requests a client has in flight at most.
const IN_FLIGHT: u64 = 240;

/// How long a process of clients is stopped.
const STOPPED: Duration = Duration::from_secs(3);

/// After how long a daemon must have given back what its clients have left: a worker without work stays for
/// ten seconds.
const SETTLED: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    if let Ok(role) = std::env::var(ROLE) {
        let folder = PathBuf::from(std::env::var(FOLDER).expect("the parent names the folder"));
        let words: Vec<&str> = role.split(' ').collect();
        match words[..] {
            ["server"] => serve(&folder),
            ["clients", first, count, rate] => clients(&folder, number(first), number(count), number(rate)),
            _ => panic!("no such role: {role}"),
        }
        return ExitCode::SUCCESS;
    }
    let setting = |name: &str, default| std::env::var(name).map_or(default, |value| number(&value));
    let (rounds, seconds, warm_up) = (setting("ROUNDS", 1), setting("SECONDS", 15), setting("WARM_UP", 5));
    let crowd = Crowd {
        clients: setting("CLIENTS", 64),
        rate: setting("RATE", 300_000),
        stop_every: Duration::from_secs(setting("STOP_EVERY", 7)),
    };
    let daemon = Daemon::start();
    employ_all_workers(&daemon);
    let mut tally = Tally::default();
    crowd.ask(&daemon, Duration::from_secs(warm_up), &mut tally);
    let before = daemon.settled();
    println!("all clients gone after the warm-up: {before}");
    let mut after = Holding { ..before };
    for round in 1..=rounds {
        crowd.ask(&daemon, Duration::from_secs(seconds), &mut tally);
        after = daemon.settled();
        println!("all clients gone after round {round} of {seconds} s: {after}");
    }
    let grown = after.resident as f64 / before.resident as f64 * 100.0 - 100.0;
    let holds = after.holds_what(&before) && grown.abs() <= 1.0 && tally.failed == 0;
    println!(
        "{} messages checked of {} connections; {} processes stopped, {} of these killed; {} failed; \
         resident memory {grown:+.2} %: {}",
        tally.messages.load(Ordering::Relaxed),
        tally.connections.load(Ordering::Relaxed),
        tally.stopped,
        tally.killed,
        tally.failed,
        if holds { "holds" } else { "DOES NOT HOLD" }
    );
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Has the daemon start as many threads as it ever may: each leaves a little memory with the allocator, which
/// is not to be taken for a leak when it comes late.
fn employ_all_workers(daemon: &Daemon) {
    let client = Client::<Soak>::connect(socket(daemon.folder.path())).expect("the client connects");
    let bytes = table()[..LONGEST].to_vec();
    let asks: Vec<Ask> = (0..32).map(|_| Ask { number: 0, pause: 100, bytes: bytes.clone() }).collect();
    for pending in client.start_all(&asks).expect("the requests are sent") {
        pending.wait().expect("an answer");
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

// The crowd, and what is counted.

/// What has happened.
#[derive(Default)]
struct Tally {
    messages: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    stopped: u64,
    killed: u64,
    failed: u64,
}

/// Who asks.
struct Crowd {
    clients: u64,
    rate: u64,
    stop_every: Duration,
}

impl Crowd {
    /// Asks for so long. All clients have gone when it returns.
    fn ask(&self, daemon: &Daemon, time: Duration, tally: &mut Tally) {
        let rate = self.rate / self.clients.max(1);
        let mut first = 0;
        let mut processes = Vec::new();
        while first < self.clients {
            let rest = self.clients - first;
            let count = if processes.len() % 2 == 0 { rest.min(CLIENTS_OF_A_PROCESS) } else { 1 };
            processes.push(Clients::start(daemon, first, count, rate, tally));
            first += count;
        }
        let begun = Instant::now();
        let (mut stop_at, mut say_at, mut turn) = (self.stop_every, Duration::ZERO, 0);
        while begun.elapsed() < time {
            if begun.elapsed() >= say_at {
                say_at += Duration::from_secs(60);
                let messages = tally.messages.load(Ordering::Relaxed);
                println!(
                    "{:>5} s: {messages} messages; {}",
                    begun.elapsed().as_secs(),
                    Holding::of(daemon.child.id())
                );
            }
            if begun.elapsed() >= stop_at {
                stop_at += self.stop_every;
                let index = turn % processes.len();
                turn += 1;
                tally.stopped += 1;
                processes[index].signal(Signal::STOP);
                std::thread::sleep(STOPPED);
                if turn % 3 == 0 {
                    tally.killed += 1;
                    tally.failed += u64::from(processes[index].has_ended());
                    let (first, count) = (processes[index].first, processes[index].count);
                    drop(std::mem::replace(
                        &mut processes[index],
                        Clients::start(daemon, first, count, rate, tally),
                    ));
                } else {
                    processes[index].signal(Signal::CONT);
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        tally.failed += processes.into_iter().filter_map(|process| process.end().err()).count() as u64;
    }
}

/// A process of clients, killed with this value unless it was ended.
struct Clients {
    child: Child,
    counting: Option<std::thread::JoinHandle<()>>,
    first: u64,
    count: u64,
}

impl Clients {
    fn start(daemon: &Daemon, first: u64, count: u64, rate: u64, tally: &Tally) -> Self {
        let mut child = spawn(&mut role(&format!("clients {first} {count} {rate}"), daemon.folder.path()));
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (messages, connections) = (Arc::clone(&tally.messages), Arc::clone(&tally.connections));
        let counting = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let (more, connected) = line.split_once(' ').expect("two numbers");
                messages.fetch_add(number(more), Ordering::Relaxed);
                connections.fetch_add(number(connected), Ordering::Relaxed);
            }
        });
        Clients { child, counting: Some(counting), first, count }
    }

    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Whether it has failed: nobody has ended it.
    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    /// Has all of its clients take their last answers and go.
    fn end(mut self) -> Result<(), ()> {
        drop(self.child.stdin.take());
        let ended = self.child.wait().expect("it is ours");
        if ended.success() { Ok(()) } else { Err(()) }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.counting.take().map(std::thread::JoinHandle::join);
    }
}

fn role(role: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.env(ROLE, role).env(FOLDER, folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn spawn(command: &mut Command) -> Child {
    command.spawn().expect("the child starts")
}

// The daemon, from outside.

/// A daemon in a folder of its own; both end with this value.
struct Daemon {
    child: Child,
    stdout: RefCell<BufReader<ChildStdout>>,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = role("server", folder.path());
        // Blocks that a thread keeps for its next ones, and the free ends of arenas beside the first, cannot be
        // given back: by chance they are more or fewer.
        command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1");
        let mut child = spawn(&mut command);
        let stdout = RefCell::new(BufReader::new(child.stdout.take().expect("it is piped")));
        let daemon = Daemon { child, stdout, folder };
        assert_eq!(daemon.line(), "ready");
        daemon
    }

    fn line(&self) -> String {
        let mut line = String::new();
        self.stdout.borrow_mut().read_line(&mut line).expect("it speaks");
        line.trim_end().to_owned()
    }

    /// What the daemon holds once its clients have gone.
    fn settled(&self) -> Holding {
        std::thread::sleep(SETTLED);
        let mut stdin = self.child.stdin.as_ref().expect("it is piped");
        writeln!(stdin, "trim").expect("it listens");
        let allocated = number(&self.line());
        Holding { allocated: Some(allocated), ..Holding::of(self.child.id()) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process holds.
struct Holding {
    descriptors: usize,
    mappings: usize,
    threads: usize,
    /// In bytes.
    resident: u64,
    /// How many bytes its allocator has given out, where it was asked.
    allocated: Option<u64>,
}

impl Holding {
    fn of(process: u32) -> Self {
        let path = |file: &str| format!("/proc/{process}/{file}");
        let entries = |file: &str| std::fs::read_dir(path(file)).expect("it lives").count();
        let text = |file: &str| std::fs::read_to_string(path(file)).expect("it lives");
        let rollup = text("smaps_rollup");
        let resident = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).expect("the field is there");
        Holding {
            descriptors: entries("fd"),
            mappings: text("maps").lines().count(),
            threads: entries("task"),
            resident: number(resident.split_whitespace().next().expect("a number")) * 1024,
            allocated: None,
        }
    }

    /// Whether as much as `other`, apart from memory.
    fn holds_what(&self, other: &Holding) -> bool {
        self.descriptors == other.descriptors
            && self.mappings == other.mappings
            && self.threads == other.threads
    }
}

impl std::fmt::Display for Holding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Holding { descriptors, mappings, threads, resident, allocated } = self;
        let kib = resident / 1024;
        write!(f, "{descriptors} descriptors, {mappings} mappings, {threads} threads, {kib} KiB resident")?;
        match allocated {
            Some(bytes) => write!(f, ", {bytes} bytes allocated"),
            None => Ok(()),
        }
    }
}

// What the processes do.

fn serve(folder: &Path) {
    std::thread::spawn(|| {
        std::io::stdin().lines().map_while(Result::ok).for_each(|_| println!("{}", allocated()));
        // Should the parent be killed, its daemon does not stay.
        std::process::exit(1);
    });
    let server = Server::<Soak>::builder()
        .max_unauthenticated(256)
        .max_in_flight(IN_FLIGHT as u16)
        .handshake_timeout(PATIENCE)
        .may_block(|ask| ask.pause != 0)
        .bind(socket(folder))
        .expect("the server binds");
    println!("ready");
    let table = table();
    let answered = server.serve(|ask, _cx| {
        if ask.pause != 0 {
            std::thread::sleep(Duration::from_millis(ask.pause.to_native()));
        }
        let number = ask.number.to_native();
        assert!(ask.bytes == *part(&table, number, ask.bytes.len()), "every byte of request {number} comes");
        Told { number, bytes: ask.bytes.to_vec() }
    });
    answered.expect("the server serves");
}

/// How many bytes of memory are in use. The allocator gives back what is free, wherever it lies, so that what is
/// resident is not more by chance.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the allocator's own calls")]
fn allocated() -> usize {
    // SAFETY: it touches no memory but what is free, under the allocator's own locks.
    unsafe { nix::libc::malloc_trim(0) };
    // SAFETY: it only counts, under the same locks.
    let count = unsafe { nix::libc::mallinfo2() };
    count.uordblks + count.hblkhd
}

#[cfg(not(target_env = "gnu"))]
fn allocated() -> usize {
    0
}

/// How long anything may take on a busy machine on which processes are stopped for seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn socket(folder: &Path) -> PathBuf {
    folder.join("soak.sock")
}

/// The longest message: some flow through rings of 64 KiB in pieces.
const LONGEST: usize = 40_000;

/// In how many ways the bytes of a message may begin.
const WAYS: usize = 8192;

/// What all messages are parts of: random bytes, so that no two parts are alike.
fn table() -> Vec<u8> {
    let mut lot = Lot(1);
    (0..WAYS + LONGEST).map(|_| lot.draw(256) as u8).collect()
}

/// The bytes of message `number`.
fn part(table: &[u8], number: u64, length: usize) -> &[u8] {
    let from = number as usize % WAYS;
    &table[from..from + length]
}

/// Plays clients until the parent closes the input, and says every second what they have done since.
fn clients(folder: &Path, first: u64, count: u64, rate: u64) {
    // One that fails takes all of the process with it.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::exit(1);
    }));
    let ended = AtomicBool::new(false);
    let (messages, connections) = (AtomicU64::new(0), AtomicU64::new(0));
    let table = table();
    std::thread::scope(|scope| {
        let playing: Vec<_> = (first..first + count)
            .map(|index| {
                let player = Player { folder, table: &table, ended: &ended, messages: &messages };
                let connections = &connections;
                scope.spawn(move || player.play(index, rate, connections))
            })
            .collect();
        scope.spawn(|| {
            // Ends when the parent ends this process, or itself.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            ended.store(true, Ordering::Relaxed);
        });
        let say = || {
            println!("{} {}", messages.swap(0, Ordering::Relaxed), connections.swap(0, Ordering::Relaxed));
        };
        while !playing.iter().all(|player| player.is_finished()) {
            std::thread::sleep(Duration::from_millis(500));
            say();
        }
        say();
    });
}

struct Player<'a> {
    folder: &'a Path,
    table: &'a [u8],
    ended: &'a AtomicBool,
    messages: &'a AtomicU64,
}

impl Player<'_> {
    /// One client after another, each for some seconds.
    fn play(&self, index: u64, rate: u64, connections: &AtomicU64) {
        let mut lot = Lot(index << 32 | u64::from(std::process::id()));
        // A few ask over the socket or one question at a time, which costs a hundred times as much.
        let (transport, window, rate) = match index % 8 {
            0 => (Transport::Socket, 1, rate / 100),
            1 => (Transport::Socket, 30, rate / 10),
            2 => (Transport::Ring, 1, rate / 50),
            _ => (Transport::Ring, IN_FLIGHT, rate * 8 / 5),
        };
        // Nor do all spin: their daemon has few of the CPUs to itself.
        let wait = if index.is_multiple_of(5) { WaitStrategy::Adaptive } else { WaitStrategy::Park };
        let builder =
            Client::builder().transport(transport).wait(wait).timeout(PATIENCE).handshake_timeout(PATIENCE);
        let mut pace = Pace { begun: Instant::now(), rate: rate.max(1), count: 0 };
        while !self.ended.load(Ordering::Relaxed) {
            connections.fetch_add(1, Ordering::Relaxed);
            self.live(&builder, window, &mut pace, &mut lot);
        }
    }

    /// Connects, asks for some seconds, and goes.
    fn live(&self, builder: &ClientBuilder<Soak>, window: u64, pace: &mut Pace, lot: &mut Lot) {
        let mut client = builder.connect(socket(self.folder)).expect("the client connects");
        let until = Instant::now() + Duration::from_millis(200 + lot.draw(10_000));
        while Instant::now() < until && !self.ended.load(Ordering::Relaxed) {
            if window == 1 {
                let ask = self.ask(lot);
                let told = client.send(&ask).expect("an answer");
                self.check(&ask, told.number.to_native(), &told.bytes);
            } else {
                let asks: Vec<Ask> = (0..window).map(|_| self.ask(lot)).collect();
                let mut open: VecDeque<Pending<'_, Soak>> =
                    client.start_all(&asks).expect("the requests are sent").into();
                // Most do something else meanwhile, and some wait.
                if lot.draw(10) != 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
                for ask in &asks {
                    let pending = open.pop_front().expect("one for each");
                    // A few are given up, mostly before their answers have come.
                    if lot.draw(1000) == 0 {
                        drop(pending);
                        continue;
                    }
                    let told = pending.wait().expect("an answer");
                    self.check(ask, told.number.to_native(), &told.bytes);
                }
            }
            pace.keep(window);
        }
        // Every second client leaves with requests on their way.
        if lot.draw(2) == 0 {
            let _ = client.start(&self.ask(lot)).map(std::mem::forget);
        }
    }

    /// Mostly short ones; one in two thousand flows in pieces, one in five thousand blocks.
    fn ask(&self, lot: &mut Lot) -> Ask {
        let number = lot.next();
        let length = match lot.draw(2000) {
            0 => lot.draw(LONGEST as u64),
            1..40 => lot.draw(5000),
            40..1000 => 48,
            _ => lot.draw(200),
        };
        let pause = u64::from(lot.draw(5000) == 0);
        Ask { number, pause, bytes: part(self.table, number, length as usize).to_vec() }
    }

    fn check(&self, ask: &Ask, number: u64, bytes: &[u8]) {
        assert!(number == ask.number && *bytes == ask.bytes, "every byte of answer {number} comes");
        self.messages.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keeps to so many messages a second in all; what a stop has cost is made up for.
struct Pace {
    begun: Instant,
    rate: u64,
    count: u64,
}

impl Pace {
    fn keep(&mut self, more: u64) {
        self.count += more;
        let due = self.begun + Duration::from_secs_f64(self.count as f64 / self.rate as f64);
        let ahead = due.saturating_duration_since(Instant::now());
        // In bursts, as people and agents ask: each makes somebody wake.
        if ahead >= Duration::from_millis(200) {
            std::thread::sleep(ahead);
        }
    }
}

/// Random numbers: splitmix64.
struct Lot(u64);

impl Lot {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Below `limit`.
    fn draw(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}
