//! Many clients of one daemon: what a crowd that only listens costs a busy one, what many in flight
//! gain, and whom a flood, a request that blocks or a large answer holds up.
//!
//! `cargo bench --bench many_clients`; `ROUNDS=5`, `SECONDS=2` a cell, `CROWD=1000` idle clients,
//! `ONLY=crowd,flight,flood,block,large`. The daemon and every busy client are processes of their own; the
//! crowd is one process. Each answer is validated and compared. Cells that are compared follow each other
//! in short slices, since a machine that others share changes its pace within seconds: what is said at the end
//! is a median over the slices of all rounds, of ratios as well.

mod common;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use libgrite_ipc::{Client, Pending, Protocol, Responder, Server, Transport, wire};

wire! {
    /// What to do.
    pub enum Job {
        /// Give these bytes back.
        Echo(Vec<u8>),
        /// Block for so many milliseconds.
        Block(u64),
        /// Answer with so many bytes in one message.
        Large(u64),
        /// Answer with so many bytes in parts of 32 KiB.
        Parts(u64),
    }
    /// What came of it.
    pub struct Done {
        /// The bytes.
        pub bytes: Vec<u8>,
    }
}

enum Work {}

impl Protocol for Work {
    type Request = Job;
    type Response = Done;
    const NAME: &'static str = "many";
    const VERSION: u16 = 1;
}

/// Tells a child process which part it plays, and in which folder.
const ROLE: &str = "MANY_CLIENTS_ROLE";
const FOLDER: &str = "MANY_CLIENTS_FOLDER";

/// How long the bytes of an echo are.
const ECHO: usize = 48;

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        let folder = PathBuf::from(std::env::var(FOLDER).expect("the parent names the folder"));
        let words: Vec<&str> = role.split(' ').collect();
        return match words[..] {
            ["server"] => serve(&folder),
            ["crowd", count] => crowd(&folder, number(count) as usize),
            ["ask", window, millis] => ask(&folder, number(window) as usize, number(millis)),
            ["block", millis] => block(&folder, number(millis)),
            ["large", way] => large(&folder, way),
            _ => panic!("no such role: {role}"),
        };
    }
    let setting = |name: &str, default| std::env::var(name).map_or(default, |value| number(&value));
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|word| word == name);
    let (rounds, millis) = (setting("ROUNDS", 3), setting("SECONDS", 1) * 1000);
    let count = setting("CROWD", 1000) as usize;
    let mut table = Table::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        if wanted("crowd") {
            measure_crowd(&mut table, count, millis);
        }
        if wanted("flight") {
            measure_flight(&mut table, millis);
        }
        if wanted("flood") {
            measure_flood(&mut table, millis);
        }
        if wanted("block") {
            measure_block(&mut table);
        }
        if wanted("large") {
            measure_large(&mut table);
        }
    }
    table.print();
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

/// In how many slices each comparison of a round is made.
const SLICES: u64 = 8;

// What is measured.

/// One and ten busy clients, alone and among many that are connected and say nothing.
fn measure_crowd(table: &mut Table, count: usize, millis: u64) {
    let alone = Daemon::start();
    let beside = Daemon::start();
    let before = beside.memory();
    let crowd = beside.helper(&format!("crowd {count}"));
    let crowd_private = beside.memory().saturating_sub(before) / count as u64;
    table.add("crowd: private memory an idle client costs the daemon, B", crowd_private as f64);
    table.add(
        "crowd: descriptors an idle client costs the daemon",
        beside.descriptors() as f64 / count as f64,
    );
    std::thread::sleep(Duration::from_millis(300));
    let cpu = beside.cpu();
    let idle = Duration::from_secs(10);
    std::thread::sleep(idle);
    table.add(
        "crowd: CPU of the daemon in 10 s in which all are idle, ms",
        (beside.cpu() - cpu).as_secs_f64() * 1e3,
    );
    for _ in 0..SLICES {
        let first = alone.ask(1, 1, millis / SLICES);
        let among = beside.ask(1, 1, millis / SLICES);
        let ten = beside.ask(10, 1, millis / SLICES);
        table.add("crowd: p50 of one alone, ns", first.p50);
        table.add("crowd: p50 of one among the crowd, ns", among.p50);
        table.add("crowd: p50 of one among the crowd / alone", among.p50 / first.p50);
        table.add("crowd: p99 of one among the crowd / alone", among.p99 / first.p99);
        table.add("crowd: rate of one alone, 1/s", first.rate);
        table.add("crowd: rate of ten among the crowd / of one alone", ten.rate / first.rate);
    }
    crowd.end();
}

/// One and eight clients, with one and with 32 requests in flight each.
fn measure_flight(table: &mut Table, millis: u64) {
    let daemon = Daemon::start();
    for _ in 0..SLICES {
        let one = daemon.ask(1, 1, millis / SLICES);
        let one_deep = daemon.ask(1, 32, millis / SLICES);
        let eight = daemon.ask(8, 1, millis / SLICES);
        let eight_deep = daemon.ask(8, 32, millis / SLICES);
        table.add("flight: rate of one client, one in flight, 1/s", one.rate);
        table.add("flight: rate of one client, 32 in flight / one", one_deep.rate / one.rate);
        table.add("flight: rate of 8 clients, one in flight / one client", eight.rate / one.rate);
        table.add("flight: rate of 8 clients, 32 in flight / 8 clients, one", eight_deep.rate / eight.rate);
        table.add("flight: rate of 8 clients, 32 in flight / one client, one", eight_deep.rate / one.rate);
    }
}

/// A client that asks one question at a time, alone and beside one that floods.
fn measure_flood(table: &mut Table, millis: u64) {
    let daemon = Daemon::start();
    for _ in 0..SLICES {
        let alone = daemon.ask(1, 1, millis / SLICES);
        let flood = daemon.helper(&format!("ask 256 {}", millis / SLICES + 2000));
        flood.go();
        std::thread::sleep(Duration::from_millis(50));
        let beside = daemon.ask(1, 1, millis / SLICES);
        flood.end();
        table.add("flood: p50 of a polite client beside a flood / alone", beside.p50 / alone.p50);
        table.add("flood: p99 of a polite client alone, ns", alone.p99);
        table.add("flood: p99 of a polite client beside a flood, ns", beside.p99);
        table.add("flood: p99 of a polite client beside a flood / alone", beside.p99 / alone.p99);
    }
}

/// Others while a request blocks for five seconds; and requests of the same connection.
fn measure_block(table: &mut Table) {
    let (free, blocking) = (Daemon::start(), Daemon::start());
    let blocked = blocking.helper("block 5000");
    blocked.go();
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..SLICES {
        let alone = free.ask(1, 1, 100);
        let beside = blocking.ask(1, 1, 100);
        table.add("block: p50 on another connection while one blocks / alone", beside.p50 / alone.p50);
    }
    let same = blocked.result();
    table.add("block: p50 on the same connection while it blocks / before", same.p50 / same.p99);
}

/// 64 MiB through rings of 64 KiB: in one message, and in parts.
fn measure_large(table: &mut Table) {
    for way in ["parts", "whole"] {
        let daemon = Daemon::start();
        daemon.ask(1, 1, 100);
        let before = daemon.peak_memory();
        let client = daemon.helper(&format!("large {way}"));
        client.go();
        let result = client.result();
        let grown = daemon.peak_memory().saturating_sub(before);
        table.add(
            &format!("large: 64 MiB, {way}: peak private memory of the daemon above idle, KiB"),
            grown as f64 / 1024.0,
        );
        table.add(&format!("large: 64 MiB, {way}: MiB/s, checksummed"), result.rate);
        if way == "parts" {
            table.add("large: 64 MiB, parts: the first after, µs", result.p50 / 1e3);
        }
    }
}

// The daemon and its clients, as processes.

/// A process that ends with this value.
struct Helper {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts a process, and waits until it is ready.
    fn start(role: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.env(ROLE, role).env(FOLDER, folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the child starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut helper = Helper { child, stdin, stdout };
        assert_eq!(helper.line(), "ready", "{role}");
        helper
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the child says something");
        line.trim().to_owned()
    }

    fn go(&self) {
        let mut stdin = self.stdin.as_ref().expect("it was not ended");
        writeln!(stdin, "go").expect("the child reads");
    }

    fn result(mut self) -> Outcome {
        let line = self.line();
        let numbers: Vec<f64> = line
            .split(' ')
            .map(|word| word.parse().unwrap_or_else(|_| panic!("the child says: {line}")))
            .collect();
        Outcome { p50: numbers[0], p99: numbers[1], rate: numbers[2] }
    }

    fn end(self) {}
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells the parent that this process is ready, and waits until it may go on.
fn ready() {
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("the parent says go");
}

/// What a client has measured: times in nanoseconds, and answers a second.
#[derive(Clone, Copy, Default)]
struct Outcome {
    p50: f64,
    p99: f64,
    rate: f64,
}

/// A daemon in a folder of its own; both end with this value.
struct Daemon {
    process: Helper,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Daemon { process: Helper::start("server", folder.path()), folder }
    }

    fn helper(&self, role: &str) -> Helper {
        Helper::start(role, self.folder.path())
    }

    /// So many clients at once, each with so many requests in flight: medians, and their rates together.
    fn ask(&self, clients: usize, window: usize, millis: u64) -> Outcome {
        let helpers: Vec<Helper> =
            (0..clients).map(|_| self.helper(&format!("ask {window} {millis}"))).collect();
        helpers.iter().for_each(Helper::go);
        let outcomes: Vec<Outcome> = helpers.into_iter().map(Helper::result).collect();
        let middle = |of: fn(&Outcome) -> f64| median(outcomes.iter().map(of).collect());
        Outcome {
            p50: middle(|one| one.p50),
            p99: middle(|one| one.p99),
            rate: outcomes.iter().map(|one| one.rate).sum(),
        }
    }

    fn status(&self, field: &str) -> u64 {
        let text =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).expect("it lives");
        let line = text.lines().find(|line| line.starts_with(field)).expect("the field is there");
        number(line.split_whitespace().nth(1).expect("a number")) * 1024
    }

    /// The private memory of the process, in bytes.
    fn memory(&self) -> u64 {
        self.status("RssAnon:")
    }

    /// The most memory that the process has had, less what it shares with others, in bytes.
    fn peak_memory(&self) -> u64 {
        self.status("VmHWM:") - self.status("RssFile:") - self.status("RssShmem:")
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.child.id())).expect("it lives").count()
    }

    fn cpu(&self) -> Duration {
        common::cpu(self.process.child.id())
    }
}

// What the processes do.

fn serve(folder: &Path) {
    let server = Server::<Work>::builder()
        .max_connections(4096)
        .max_message(128 << 20)
        .may_block(|job| !matches!(job, ArchivedJob::Echo(_)))
        .bind(socket(folder))
        .expect("the server binds");
    println!("ready");
    server.serve_with(answer).expect("the server serves");
}

fn answer(job: &ArchivedJob, mut responder: Responder<Work>) {
    let bytes = match job {
        ArchivedJob::Echo(bytes) => return echo(bytes, responder),
        ArchivedJob::Block(millis) => {
            std::thread::sleep(Duration::from_millis(millis.to_native()));
            Vec::new()
        }
        ArchivedJob::Large(length) => pattern(length.to_native() as usize),
        ArchivedJob::Parts(length) => {
            let part = Done { bytes: pattern(PART) };
            for _ in 0..length.to_native() as usize / PART {
                if responder.send_part(&part).is_err() {
                    return;
                }
            }
            Vec::new()
        }
    };
    // A client that is gone needs no answer.
    let _ = responder.reply(&Done { bytes });
}

/// Gives bytes back from a buffer that is kept: what is measured is not the allocator.
fn echo(bytes: &[u8], responder: Responder<Work>) {
    thread_local!(static KEPT: RefCell<Done> = const { RefCell::new(Done { bytes: Vec::new() }) });
    KEPT.with_borrow_mut(|done| {
        done.bytes.clear();
        done.bytes.extend_from_slice(bytes);
        // A client that is gone needs no answer.
        let _ = responder.reply(done);
    });
}

const PART: usize = 32 << 10;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("many.sock")
}

fn connect(folder: &Path) -> Client<Work> {
    Client::builder()
        .transport(Transport::Ring)
        .max_message(128 << 20)
        .connect(socket(folder))
        .expect("the client connects")
}

fn crowd(folder: &Path, count: usize) {
    let clients: Vec<Client<Work>> = (0..count)
        .map(|_| {
            let mut client = connect(folder);
            client.send(&Job::Echo(vec![1; ECHO])).expect("an answer");
            client
        })
        .collect();
    ready();
    drop(clients);
}

/// Asks for so long, with so many requests in flight, and says how long they took and how many they were.
/// The clock is read once for 16 requests, so that it takes the same part of the time in both ways.
fn ask(folder: &Path, window: usize, millis: u64) {
    let mut client = connect(folder);
    let job = Job::Echo(pattern(ECHO));
    client.send(&job).expect("an answer");
    ready();
    let mut times = Times::default();
    let mut count = 0;
    let start = Instant::now();
    let end = start + Duration::from_millis(millis);
    let mut now = start;
    if window == 1 {
        while now < end {
            for _ in 0..16 {
                let back = client.send(&job).expect("an answer");
                assert!(back.bytes == pattern_of_echo()[..], "every byte comes back");
            }
            let begun = Instant::now();
            client.send(&job).expect("an answer");
            now = Instant::now();
            times.add(now - begun);
            count += 17;
        }
    } else {
        // Two batches are on their way: one is sent while the other one is received.
        let mut open: VecDeque<Pending<'_, Work>> = VecDeque::new();
        let batch: Vec<Job> = (0..window / 2).map(|_| Job::Echo(pattern(ECHO))).collect();
        let mut begun = now;
        while now < end {
            let sent = now;
            open.extend(client.start_all(&batch).expect("the requests are sent"));
            if open.len() > batch.len() {
                for pending in open.drain(..batch.len()) {
                    let back = pending.wait().expect("an answer");
                    assert!(back.bytes == pattern_of_echo()[..], "every byte comes back");
                    count += 1;
                }
                now = Instant::now();
                times.add(now - begun);
            }
            begun = sent;
        }
    }
    times.say(count as f64 / start.elapsed().as_secs_f64());
}

fn pattern_of_echo() -> &'static [u8; ECHO] {
    static BYTES: std::sync::OnceLock<[u8; ECHO]> = std::sync::OnceLock::new();
    BYTES.get_or_init(|| pattern(ECHO).try_into().expect("its length"))
}

/// Asks before and while a request of the same connection blocks: the first figure is the p50 while, the
/// second the p50 before.
fn block(folder: &Path, millis: u64) {
    let client = connect(folder);
    let hot = |time: Duration| {
        let mut times = Times::default();
        let end = Instant::now() + time;
        let mut now = Instant::now();
        while now < end {
            client.start(&Job::Echo(pattern(ECHO))).and_then(Pending::wait).expect("an answer");
            let then = Instant::now();
            times.add(then - now);
            now = then;
        }
        times.at(0.5)
    };
    let before = hot(Duration::from_millis(500));
    ready();
    let blocked = client.start(&Job::Block(millis)).expect("it is sent");
    // Another client measures in this time.
    std::thread::sleep(Duration::from_millis(millis / 2));
    let beside = hot(Duration::from_millis(millis / 4));
    assert!(!blocked.is_ready().expect("the connection lives"), "it blocks still");
    blocked.wait().expect("an answer");
    println!("{beside} {before} 0");
}

fn large(folder: &Path, way: &str) {
    const LENGTH: usize = 64 << 20;
    let mut client = connect(folder);
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    let expected = match way {
        "parts" => sum(&pattern(PART)) * (LENGTH / PART) as u64,
        _ => sum(&pattern(LENGTH)),
    };
    ready();
    let start = Instant::now();
    let mut first = Duration::ZERO;
    let mut got = 0;
    if way == "parts" {
        let mut parts = client.stream(&Job::Parts(LENGTH as u64)).expect("it is sent");
        while let Some(part) = parts.next().expect("a part") {
            if first.is_zero() {
                first = start.elapsed();
            }
            got += sum(&part.bytes);
        }
    } else {
        got = sum(&client.send(&Job::Large(LENGTH as u64)).expect("an answer").bytes);
    }
    assert_eq!(got, expected, "every byte comes");
    println!("{} 0 {}", first.as_nanos(), 64.0 / start.elapsed().as_secs_f64());
}

// Figures.

/// How often each time was seen, by tenths of a factor of two: exact to seven percent, and small.
#[derive(Default)]
struct Times {
    counts: BTreeMap<u32, u64>,
    count: u64,
    /// The last time, and how often it came in a row: most are alike.
    run: (u32, u64),
}

impl Times {
    fn add(&mut self, time: Duration) {
        let nanos = (time.as_nanos() as u64).max(1);
        // Eight steps between one power of two and the next.
        let high = nanos.ilog2();
        let step = if high >= 6 { (nanos >> (high - 6)) as u32 & 63 } else { 0 };
        let slot = high * 64 + step;
        self.count += 1;
        if self.run.0 == slot {
            self.run.1 += 1;
        } else {
            *self.counts.entry(self.run.0).or_default() += self.run.1;
            self.run = (slot, 1);
        }
    }

    fn at(&mut self, share: f64) -> f64 {
        *self.counts.entry(self.run.0).or_default() += self.run.1;
        self.run.1 = 0;
        let wanted = (self.count as f64 * share) as u64;
        let mut seen = 0;
        for (&slot, &count) in &self.counts {
            seen += count;
            if seen > wanted {
                let (high, step) = (slot / 64, slot % 64);
                return (1_u64 << high) as f64 * (1.0 + f64::from(step) / 64.0);
            }
        }
        0.0
    }

    fn say(mut self, rate: f64) {
        println!("{} {} {rate}", self.at(0.5), self.at(0.99));
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

/// Figures by name, in the order in which they first came.
#[derive(Default)]
struct Table(Vec<(String, Vec<f64>)>);

impl Table {
    fn add(&mut self, name: &str, figure: f64) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, figures)) => figures.push(figure),
            None => self.0.push((name.to_owned(), vec![figure])),
        }
    }

    fn print(&self) {
        for (name, figures) in &self.0 {
            let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
            let most = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (middle, count) = (median(figures.clone()), figures.len());
            println!("{name:<72} {middle:>12.2}  of {count:>2}: {least:.2} to {most:.2}");
        }
    }
}
