//! What a sync costs beside what git and SQLite alone do: the first pull of many events, a sync with
//! nothing new, and what readers feel while a pull runs.
//!
//! `cargo bench --bench sync --features cli`; `EVENTS=100000` and `ROUNDS=5` by default. All runs are
//! interleaved in rounds, on repositories in a temporary folder, and medians are reported. Each pull is
//! checked to have brought every event, each read to have brought its issue.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{median, number, quantile};
use libgrite_ipc::{IpcClient, IpcCommand, IpcResponse, Transport};
use tempfile::TempDir;

/// How many events each issue has.
const PER_ISSUE: usize = 10;

/// The refs that a sync fetches.
const SPEC: &str = "+refs/grite/events/*:refs/grite/remotes/origin/events/*";

fn main() {
    let (events, rounds) = (number("EVENTS", 100_000) as usize, number("ROUNDS", 5) as usize);
    let world = World::new();
    println!("{events} events of {} issues, {rounds} rounds", events / PER_ISSUE);
    let made = world.fill(events);
    println!("published and pushed after {:.2} s", made.as_secs_f64());
    first_pull(&world, events, rounds);
    nothing_new(&world, rounds);
    reads_during_a_pull(&world, events, rounds);
}

/// A remote, and a clone that fills it.
struct World {
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        let world = World { dir: tempfile::tempdir().expect("a temporary folder") };
        for folder in ["session", "home"] {
            fs::create_dir(world.path(folder)).expect("a folder");
        }
        world.git(Path::new(""), &["init", "--quiet", "--bare", "remote.git"]);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new repository without a store.
    fn repository(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let _ = fs::remove_dir_all(&path);
        self.git(Path::new(""), &["init", "--quiet", name]);
        self.git(&path, &["remote", "add", "origin", "../remote.git"]);
        path
    }

    /// A new repository with an empty store.
    fn clone(&self, name: &str) -> PathBuf {
        let path = self.repository(name);
        self.grite(&path, &["init"]);
        path
    }

    fn command(&self, program: &str, within: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("HOME", self.path("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GRITE_ACTOR", "bench")
            .env("GRITE_IDLE_TIMEOUT", "60")
            .env("XDG_RUNTIME_DIR", self.path("session"))
            .env("TMPDIR", self.dir.path())
            .current_dir(self.dir.path().join(within))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    fn git(&self, within: &Path, arguments: &[&str]) -> Duration {
        run(self.command("git", within).args(arguments)).1
    }

    fn grite(&self, within: &Path, arguments: &[&str]) -> (String, Duration) {
        run(self.command(env!("CARGO_BIN_EXE_grite"), within).args(arguments))
    }

    /// Imports made-up issues, each of ten events, and pushes them.
    fn fill(&self, events: usize) -> Duration {
        let path = self.clone("source");
        let mut lines = String::new();
        for number in 0..events / PER_ISSUE {
            let comments: Vec<String> = (0..PER_ISSUE - 4)
                .map(|index| {
                    let at = format!("2026-01-01T00:0{index}:00Z");
                    format!(r#"{{"author":"bob","created_at":"{at}","body":"Comment {index} on {number}, in a few words."}}"#)
                })
                .collect();
            lines += &format!(
                r#"{{"id":"b-{number}","title":"Issue number {number}","body":"What it is about, in a sentence or two. And another one.","state":"closed","labels":["bug"],"assignees":["ann"],"author":"ann","created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-02T00:00:00Z","comments":[{}],"depends_on":[]}}"#,
                comments.join(",")
            );
            lines.push('\n');
        }
        let file = self.path("issues.jsonl");
        fs::write(&file, lines).expect("a file");
        let file = file.display().to_string();
        self.grite(&path, &["--direct", "import", &file]);
        let (answer, took) = self.grite(&path, &["--direct", "sync", "--json"]);
        assert!(answer.contains(&format!("\"sent\":{events},")), "{answer}");
        took
    }
}

/// Runs a command that must succeed: what it printed, and how long it took.
fn run(command: &mut Command) -> (String, Duration) {
    let start = Instant::now();
    let output = command.output().expect("it starts");
    let took = start.elapsed();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8_lossy(&output.stdout).into_owned(), took)
}

/// The first pull, against a fetch of the same refs and an insert of as many rows.
fn first_pull(world: &World, events: usize, rounds: usize) {
    let (mut fetches, mut inserts) = (Vec::new(), Vec::new());
    let (mut pulls, mut directs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let bare = world.repository("bare");
        fetches.push(world.git(&bare, &["fetch", "--quiet", "origin", SPEC]));
        inserts.push(insert(world, &world.path("source/.git/grite/issues.db"), events));
        let clone = world.clone(&format!("pull{round}"));
        world.grite(&clone, &["daemon", "start"]);
        let (answer, took) = world.grite(&clone, &["sync", "pull", "--json"]);
        assert!(answer.contains(&format!("\"received\":{events},")), "{answer}");
        pulls.push(took);
        world.grite(&clone, &["daemon", "stop"]);
        let _ = fs::remove_dir_all(clone);
        let clone = world.clone(&format!("direct{round}"));
        let (answer, took) = world.grite(&clone, &["--direct", "sync", "pull", "--json"]);
        assert!(answer.contains(&format!("\"received\":{events},")), "{answer}");
        directs.push(took);
        let _ = fs::remove_dir_all(clone);
    }
    let (fetch, insert, pull) = (median(&mut fetches), median(&mut inserts), median(&mut pulls));
    println!(
        "first pull: {:.0} ms; git fetch {:.0} ms + bulk insert {:.0} ms = {:.0} ms; ratio {:.2} (at most 1.5)",
        ms(pull),
        ms(fetch),
        ms(insert),
        ms(fetch + insert),
        ms(pull) / ms(fetch + insert)
    );
    let direct = median(&mut directs);
    println!(
        "  beside that: without a daemon, which opens the store, writes its log back and closes it, {:.0} ms; ratio {:.2}",
        ms(direct),
        ms(direct) / ms(fetch + insert)
    );
}

/// Inserts the same rows into the same table of an empty store, in one durable transaction.
///
/// With SQLite's own settings the commit moves the pages of its log to their place. A daemon does that after
/// its answer; a pull without a daemon, which is printed beside it, before.
fn insert(world: &World, source: &Path, events: usize) -> Duration {
    let rows: Vec<(Vec<u8>, String, Vec<u8>)> = {
        let source = rusqlite::Connection::open(source).expect("the source's store");
        let mut statement =
            source.prepare("SELECT hash, issue, body FROM events ORDER BY seq").expect("a query");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    };
    assert_eq!(rows.len(), events);
    let clone = world.clone("insert");
    let mut store = rusqlite::Connection::open(clone.join(".git/grite/issues.db")).expect("a store");
    store.pragma_update(None, "synchronous", "FULL").expect("a setting");
    let start = Instant::now();
    let transaction = store.transaction().expect("a transaction");
    {
        let mut statement = transaction
            .prepare("INSERT INTO events (hash, issue, received, body) VALUES (?1, ?2, 1, ?3)")
            .expect("a statement");
        for (hash, issue, body) in &rows {
            statement.execute(rusqlite::params![hash, issue, body]).expect("an insert");
        }
    }
    transaction.commit().expect("a commit");
    start.elapsed()
}

/// A sync where nobody has written anything, against a bare fetch of the same refs.
fn nothing_new(world: &World, rounds: usize) {
    let clone = world.clone("idle");
    world.grite(&clone, &["sync", "--json"]);
    let plain = ["fetch", "--quiet", "origin", SPEC];
    let lean =
        ["fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head", "origin", SPEC];
    let (mut plains, mut leans, mut syncs, mut directs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds * 20 {
        plains.push(world.git(&clone, &plain));
        let (answer, took) = world.grite(&clone, &["sync", "--json"]);
        assert!(answer.contains("\"received\":0,\"sent\":0,"), "{answer}");
        syncs.push(took);
        leans.push(world.git(&clone, &lean));
        directs.push(world.grite(&clone, &["sync", "--direct", "--json"]).1);
    }
    world.grite(&clone, &["daemon", "stop"]);
    let (plain, lean) = (median(&mut plains), median(&mut leans));
    let (sync, direct) = (median(&mut syncs), median(&mut directs));
    println!(
        "nothing new: sync through the daemon {:.2} ms; bare git fetch {:.2} ms; ratio {:.2} (at most 1.3)",
        ms(sync),
        ms(plain),
        ms(sync) / ms(plain)
    );
    println!(
        "  beside that: without a daemon {:.2} ms, which opens the whole store; git fetch with our options {:.2} ms",
        ms(direct),
        ms(lean)
    );
}

/// What `issue show` takes over a ring, while the daemon is idle and while it takes all events in.
fn reads_during_a_pull(world: &World, events: usize, rounds: usize) {
    let mut ratios = Vec::new();
    for round in 0..rounds.min(3) {
        let clone = world.clone(&format!("read{round}"));
        let (answer, _) = world.grite(&clone, &["issue", "create", "to be read", "--json"]);
        let id = answer.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..16)).expect("an id").to_owned();
        let (status, _) = world.grite(&clone, &["daemon", "status", "--json"]);
        let socket =
            status.split("\"socket\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a path");
        let mut client =
            IpcClient::builder().transport(Transport::Ring).connect(socket).expect("the daemon answers");
        let quiet_end = Instant::now() + Duration::from_secs(2);
        let mut quiet = shows(&mut client, &id, || Instant::now() < quiet_end);

        let done = AtomicBool::new(false);
        let mut busy = thread::scope(|scope| {
            scope.spawn(|| {
                let (answer, _) = world.grite(&clone, &["sync", "pull", "--json"]);
                assert!(answer.contains(&format!("\"received\":{events},")), "{answer}");
                done.store(true, Ordering::Relaxed);
            });
            shows(&mut client, &id, || !done.load(Ordering::Relaxed))
        });
        drop(client);
        world.grite(&clone, &["daemon", "stop"]);
        let _ = fs::remove_dir_all(clone);
        let (calm, loaded) = (quantile(&mut quiet, 0.99), quantile(&mut busy, 0.99));
        println!(
            "issue show, round {}: p50 {:.2} µs and p99 {:.2} µs idle ({} reads); p50 {:.2} µs and p99 {:.2} µs \
             during a first pull ({} reads, longest {:.1} ms)",
            round + 1,
            us(quantile(&mut quiet, 0.5)),
            us(calm),
            quiet.len(),
            us(quantile(&mut busy, 0.5)),
            us(loaded),
            busy.len(),
            ms(quantile(&mut busy, 1.0)),
        );
        ratios.push(us(loaded) / us(calm));
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "issue show: p99 during a pull is {:.2} times the idle one (at most 3)",
        ratios[ratios.len() / 2]
    );
}

fn shows(client: &mut IpcClient, id: &str, mut more: impl FnMut() -> bool) -> Vec<Duration> {
    let command = IpcCommand::IssueShow { id: id.to_owned() };
    let mut took = Vec::new();
    while more() {
        let start = Instant::now();
        let reply = client.send(&command).expect("an answer");
        took.push(start.elapsed());
        assert!(matches!(reply.to_value(), Ok(IpcResponse::IssueShow(issue)) if issue.id == id));
    }
    took
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
