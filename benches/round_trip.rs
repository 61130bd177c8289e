//! There and back between two processes: the raw cache line, then an echo of several sizes over the
//! ring and the socket, in interleaved rounds of one run.
//!
//! `cargo bench --bench round_trip`; `ROUNDS=5` for more rounds. The echo is typed and validated on
//! both sides, and the client compares every byte that comes back.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Echo, Helper, Load, number, quantile, serve_echo, wait_for};
use libgrite_ipc::{ChangeCounter, Client, Transport, WaitStrategy};

fn main() {
    if let Some((role, folder)) = Helper::role() {
        return if role == "mirror" { mirror(&folder) } else { serve_echo(&folder) };
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rounds = number("ROUNDS", 3);
    let _server = Helper::start("server", folder.path());
    wait_for(&folder.path().join("echo.sock"));
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        report("cache line", raw(folder.path()));
        for size in [64, 4 << 10, 64 << 10, 1 << 20] {
            for (name, transport, wait) in [
                ("ring, adaptive", Transport::Ring, WaitStrategy::Adaptive),
                ("ring, spin", Transport::Ring, WaitStrategy::Spin),
                ("socket", Transport::Socket, WaitStrategy::Adaptive),
            ] {
                report(&format!("{size} B, {name}"), echo(folder.path(), size, transport, wait));
            }
        }
    }
}

fn counters(folder: &Path) -> [ChangeCounter; 2] {
    ["ping", "pong"].map(|name| ChangeCounter::open(folder.join(name)).expect("a counter"))
}

/// Answers each ping with a pong until it is ended.
fn mirror(folder: &Path) {
    let [ping, pong] = counters(folder);
    let mut seen = ping.load();
    std::fs::write(folder.join("mirror"), "").expect("the parent waits for this");
    loop {
        let now = ping.load();
        if now != seen {
            seen = now;
            pong.bump();
        }
    }
}

fn raw(folder: &Path) -> Vec<Duration> {
    let _mirror = Helper::start("mirror", folder);
    wait_for(&folder.join("mirror"));
    let [ping, pong] = counters(folder);
    let times = measure(Duration::from_millis(300), || {
        let seen = pong.load();
        ping.bump();
        while pong.load() == seen {
            std::hint::spin_loop();
        }
    });
    std::fs::remove_file(folder.join("mirror")).expect("the mirror made it");
    times
}

fn echo(folder: &Path, size: usize, transport: Transport, wait: WaitStrategy) -> Vec<Duration> {
    let mut client = Client::<Echo>::builder()
        .transport(transport)
        .wait(wait)
        .connect(folder.join("echo.sock"))
        .expect("the client connects");
    let load = Load::of(size);
    measure(Duration::from_millis(500), || {
        let back = client.send(&load).expect("an answer");
        assert!(back.bytes == load.bytes[..], "every byte comes back");
    })
}

/// Times of single calls, for so long, after a tenth of it as warm-up.
fn measure(time: Duration, mut call: impl FnMut()) -> Vec<Duration> {
    let warm = Instant::now() + time / 10;
    while Instant::now() < warm {
        call();
    }
    let mut times = Vec::with_capacity(4 << 20);
    let end = Instant::now() + time;
    while times.len() < times.capacity() {
        let start = Instant::now();
        call();
        let stop = Instant::now();
        times.push(stop - start);
        if stop > end {
            break;
        }
    }
    times
}

fn report(name: &str, mut times: Vec<Duration>) {
    let mut at = |share: f64| quantile(&mut times, share).as_nanos();
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(&mut at);
    println!("  {name:<24} p50 {p50:>9} ns  p99 {p99:>9} ns  p99.9 {p999:>9} ns  n {}", times.len());
}
