//! The async client beside the blocking one, against a daemon in a process of its own: one request at a
//! time while both sides are awake, one at a time when both sleep in between, and a thousand at once.
//!
//! `cargo bench --bench asynchronous --features tokio`; `ROUNDS=9` for more rounds. Rounds interleave the
//! clients, the figures are medians over the rounds, and every byte of every answer is compared.

mod common;

use std::time::{Duration, Instant};

use common::{Echo, Helper, Load, median, number, quantile, serve_echo, wait_for};
use libgrite_ipc::{AsyncClient, Client, Transport};
use tokio::runtime::{Builder, Runtime};

/// How many bytes go each way.
const LENGTH: usize = 64;

/// How many requests are under way at once where there are many.
const MANY: usize = 1000;

/// How long nothing happens between two requests where both sides are to sleep.
const PAUSE: Duration = Duration::from_millis(2);

fn main() {
    if let Some((_, folder)) = Helper::role() {
        return serve_echo(&folder);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rounds = number("ROUNDS", 5);
    let _server = Helper::start("server", folder.path());
    let socket = folder.path().join("echo.sock");
    wait_for(&socket);

    let load = Load::of(LENGTH);
    let one = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    for transport in [Transport::Ring, Transport::Socket] {
        println!("{transport:?}");
        let builder = Client::<Echo>::builder().transport(transport);
        let mut blocking = builder.connect(&socket).expect("the client connects");
        let clients = [&one, &two].map(|runtime| {
            runtime.block_on(builder.connect_async(&socket)).expect("the async client connects")
        });
        let mut hot = Table::new("one at a time, awake");
        let mut parked = Table::new("one at a time, asleep in between");
        let mut many = Table::new("a thousand at once, a request");
        for _ in 0..rounds {
            hot.add(
                "blocking",
                measure(Duration::from_millis(200), Duration::ZERO, || ask(&mut blocking, &load)),
            );
            parked.add("blocking", measure(Duration::from_millis(300), PAUSE, || ask(&mut blocking, &load)));
            many.add("blocking, 32 in flight", window(&blocking, &load));
            for (name, runtime, client) in
                [("one thread", &one, &clients[0]), ("two threads", &two, &clients[1])]
            {
                let root = |time, pause| runtime.block_on(repeat(client, &load, time, pause));
                hot.add(&format!("{name}, root"), root(Duration::from_millis(200), Duration::ZERO));
                parked.add(&format!("{name}, root"), root(Duration::from_millis(300), PAUSE));
                let task = |time, pause| spawned(runtime, client.clone(), time, pause);
                hot.add(&format!("{name}, task"), task(Duration::from_millis(200), Duration::ZERO));
                parked.add(&format!("{name}, task"), task(Duration::from_millis(300), PAUSE));
                many.add(name, runtime.block_on(at_once(client.clone())));
            }
        }
        hot.print();
        parked.print();
        many.print();
    }
}

fn ask(client: &mut Client<Echo>, load: &Load) {
    let back = client.send(load).expect("an answer");
    assert!(back.bytes == load.bytes[..], "every byte comes back");
}

async fn ask_async(client: &AsyncClient<Echo>, load: &Load) {
    let back = client.send(load).await.expect("an answer");
    assert!(back.bytes == load.bytes[..], "every byte comes back");
}

/// Times of single calls, for so long, after a tenth of it as warm-up, with a pause before each.
fn measure(time: Duration, pause: Duration, mut call: impl FnMut()) -> Vec<Duration> {
    let mut times = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    while times.len() < times.capacity() && start.elapsed() < time {
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        let before = Instant::now();
        call();
        let took = before.elapsed();
        if start.elapsed() > time / 10 {
            times.push(took);
        }
    }
    times
}

/// As [`measure`], in async code.
async fn repeat(client: &AsyncClient<Echo>, load: &Load, time: Duration, pause: Duration) -> Vec<Duration> {
    let mut times = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    while times.len() < times.capacity() && start.elapsed() < time {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let before = Instant::now();
        ask_async(client, load).await;
        let took = before.elapsed();
        if start.elapsed() > time / 10 {
            times.push(took);
        }
    }
    times
}

/// As [`repeat`], in a task of its own.
fn spawned(runtime: &Runtime, client: AsyncClient<Echo>, time: Duration, pause: Duration) -> Vec<Duration> {
    let task = async move {
        let load = Load::of(LENGTH);
        repeat(&client, &load, time, pause).await
    };
    runtime.block_on(async { tokio::spawn(task).await.expect("the task ends") })
}

/// The mean time of a request of [`MANY`] that are sent at once, of fifty such turns.
async fn at_once(client: AsyncClient<Echo>) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..50 {
        let before = Instant::now();
        let tasks: Vec<_> = (0..MANY)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    let load = Load::of(LENGTH);
                    ask_async(&client, &load).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("the task ends");
        }
        times.push(before.elapsed() / MANY as u32);
    }
    times
}

/// The same from the blocking client: as many requests, 32 of them under way at a time.
fn window(client: &Client<Echo>, load: &Load) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..50 {
        let before = Instant::now();
        let mut waiting = std::collections::VecDeque::new();
        for _ in 0..MANY {
            if waiting.len() == 32 {
                let oldest: libgrite_ipc::Pending<'_, Echo> = waiting.pop_front().expect("32 wait");
                assert!(oldest.wait().expect("an answer").bytes == load.bytes[..]);
            }
            waiting.push_back(client.start(load).expect("it is sent"));
        }
        for oldest in waiting {
            assert!(oldest.wait().expect("an answer").bytes == load.bytes[..]);
        }
        times.push(before.elapsed() / MANY as u32);
    }
    times
}

/// What was measured of one kind: the clients beside each other.
struct Table {
    title: &'static str,
    rows: Vec<(String, Vec<[Duration; 2]>)>,
}

impl Table {
    fn new(title: &'static str) -> Self {
        Table { title, rows: Vec::new() }
    }

    fn add(&mut self, name: &str, mut times: Vec<Duration>) {
        let figures = [0.5, 0.99].map(|share| quantile(&mut times, share));
        match self.rows.iter_mut().find(|(known, _)| known == name) {
            Some((_, rounds)) => rounds.push(figures),
            None => self.rows.push((name.to_owned(), vec![figures])),
        }
    }

    /// Medians over the rounds, and how many times the first row's each is.
    fn print(self) {
        println!("  {}", self.title);
        let over = |rounds: &[[Duration; 2]], which: usize| {
            median(&mut rounds.iter().map(|figures| figures[which]).collect::<Vec<_>>())
        };
        let first = over(&self.rows[0].1, 0);
        for (name, rounds) in &self.rows {
            let p50 = over(rounds, 0);
            println!(
                "    {name:<24} p50 {:>8} ns  p99 {:>8} ns  {:>5.2} x blocking",
                p50.as_nanos(),
                over(rounds, 1).as_nanos(),
                p50.as_secs_f64() / first.as_secs_f64(),
            );
        }
    }
}
