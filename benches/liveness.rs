//! What a daemon costs while nobody asks, and how soon those who wait learn that it was killed.
//!
//! `cargo bench --bench liveness`; `SECONDS=10` idle, 0 for none of that, `CLIENTS=20` connected, `KILLS=100`
//! of a daemon for which one client waits, and as many of one for which eight do.

mod common;

use std::time::{Duration, Instant};

use common::{Helper, number, wait_for};
use libgrite_ipc::{Client, ErrorKind, Protocol, Server, Transport, wire};

wire! {
    /// How long to take for the answer.
    pub struct Rest {
        /// In milliseconds.
        pub millis: u64,
    }
    /// Nothing but the end of the rest.
    pub struct Rested {
        /// As asked.
        pub millis: u64,
    }
}

enum Resting {}

impl Protocol for Resting {
    type Request = Rest;
    type Response = Rested;
    const NAME: &'static str = "resting";
    const VERSION: u16 = 1;
}

fn main() {
    if let Some((_, folder)) = Helper::role() {
        let server = Server::<Resting>::bind(folder.join("rest.sock")).expect("the server binds");
        return server
            .serve(|rest, _cx| {
                std::thread::sleep(Duration::from_millis(rest.millis.to_native()));
                Rested { millis: rest.millis.to_native() }
            })
            .expect("the server serves");
    }
    let seconds = number("SECONDS", 10);
    for transport in [Transport::Ring, Transport::Socket] {
        if seconds > 0 {
            idle(transport, number("CLIENTS", 20), Duration::from_secs(seconds));
        }
    }
    for transport in [Transport::Ring, Transport::Socket] {
        for waiting in [1, 8] {
            kills(transport, waiting, number("KILLS", 100));
        }
    }
}

/// A server process in a folder of its own; both end with this value.
struct Daemon {
    process: Helper,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let process = Helper::start("server", folder.path());
        wait_for(&folder.path().join("rest.sock"));
        Daemon { process, folder }
    }

    fn client(&self, transport: Transport) -> Client<Resting> {
        let builder = Client::builder().transport(transport);
        let mut client = builder.connect(self.folder.path().join("rest.sock")).expect("the client connects");
        client.send(&Rest { millis: 0 }).expect("an answer");
        client
    }

    /// User and system time of the process so far.
    fn cpu(&self) -> Duration {
        common::cpu(self.process.0.id())
    }
}

fn idle(transport: Transport, clients: u64, time: Duration) {
    let daemon = Daemon::start();
    let clients: Vec<_> = (0..clients).map(|_| daemon.client(transport)).collect();
    // What spinning is left from the last answers is not idleness.
    std::thread::sleep(Duration::from_millis(200));
    let before = daemon.cpu();
    std::thread::sleep(time);
    let used = daemon.cpu() - before;
    println!(
        "{} idle clients over {transport:?} for {time:?}: the daemon used {used:?} of CPU time",
        clients.len()
    );
}

/// How long after the kill each of those who wait has learned of it.
fn kills(transport: Transport, waiting: usize, count: u64) {
    let mut times: Vec<Duration> = (0..count).flat_map(|_| kill(transport, waiting)).collect();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{count} kills of a daemon for which {waiting} wait over {transport:?}: \
         they knew after {:?} (p50), {:?} (p99), {:?} (most)",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn kill(transport: Transport, waiting: usize) -> Vec<Duration> {
    let mut daemon = Daemon::start();
    let clients: Vec<_> = (0..waiting).map(|_| daemon.client(transport)).collect();
    std::thread::scope(|scope| {
        let wait = |mut client: Client<Resting>| {
            let error = client.send(&Rest { millis: 60_000 }).map(drop).expect_err("the server is dead");
            assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}");
            Instant::now()
        };
        let learned: Vec<_> = clients.into_iter().map(|client| scope.spawn(move || wait(client))).collect();
        std::thread::sleep(Duration::from_millis(20));
        let killed = Instant::now();
        daemon.process.0.kill().expect("our own child");
        learned.into_iter().map(|learned| learned.join().expect("it was told") - killed).collect()
    })
}
