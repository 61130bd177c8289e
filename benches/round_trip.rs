//! There and back between two processes: the raw cache line, then an echo of several sizes over the
//! ring and the socket, in interleaved rounds of one run.
//!
//! `cargo bench --bench round_trip`; `ROUNDS=5` for more rounds. The echo is typed and validated on
//! both sides, and the client compares every byte that comes back.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libgrite_ipc::{ChangeCounter, Client, Protocol, Server, Transport, WaitStrategy, wire};

wire! {
    /// Bytes to give back.
    pub struct Load {
        /// The bytes.
        pub bytes: Vec<u8>,
    }
}

enum Echo {}

impl Protocol for Echo {
    type Request = Load;
    type Response = Load;
    const NAME: &'static str = "echo";
    const VERSION: u16 = 1;
}

/// Tells the child process which part it plays, in which folder.
const ROLE: &str = "ROUND_TRIP_ROLE";

fn main() {
    if let Some(role) = std::env::var_os(ROLE) {
        let folder = std::env::var("ROUND_TRIP_FOLDER").expect("the parent names the folder");
        return match role.to_str() {
            Some("mirror") => mirror(Path::new(&folder)),
            _ => serve(Path::new(&folder)),
        };
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rounds: u32 = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
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

/// A child process that ends with this value.
struct Helper(Child);

impl Helper {
    fn start(role: &str, folder: &Path) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.env(ROLE, role).env("ROUND_TRIP_FOLDER", folder).stdin(Stdio::null());
        Helper(command.spawn().expect("the child starts"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(path: &Path) {
    let end = Instant::now() + Duration::from_secs(10);
    while !path.exists() {
        assert!(Instant::now() < end, "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn serve(folder: &Path) {
    let server = Server::<Echo>::bind(folder.join("echo.sock")).expect("the server binds");
    server.serve(|load, _cx| Load { bytes: load.bytes.to_vec() }).expect("the server serves");
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
    let load = Load { bytes: (0..size).map(|index| index as u8).collect() };
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
    times.sort_unstable();
    times
}

fn report(name: &str, times: Vec<Duration>) {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_nanos();
    println!(
        "  {name:<24} p50 {:>9} ns  p99 {:>9} ns  p99.9 {:>9} ns  n {}",
        at(0.5),
        at(0.99),
        at(0.999),
        times.len()
    );
}
