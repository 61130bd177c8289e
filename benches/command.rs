//! What one command takes as a whole process: `grite issue show` with a warm daemon, beside the same command with
//! `--direct`, and beside one that starts, parses the same arguments, and ends since there is no tracker.
//!
//! `cargo bench --features cli --bench command`. Asks about real issues where they are at hand (`tests/issues`), and
//! about made-up ones elsewhere. Touches a temporary folder and a daemon in it, both gone afterwards.

mod common;
#[path = "common/home.rs"]
mod home;

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{median, quantile};
use home::Home;

const ROUNDS: usize = 200;

fn main() {
    // `cargo test` builds benches and runs them with an option of its own; it wants no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let home = Home::new();
    let ids = home.import();
    let [mut warm, mut direct, mut parsed] = [const { Vec::new() }; 3];
    for id in ids.iter().cycle().take(ROUNDS) {
        let (shown, time) = timed(&mut home.command(&["--json", "issue", "show", id]));
        warm.push(time);
        let (shown_directly, time) = timed(&mut home.command(&["--json", "--direct", "issue", "show", id]));
        direct.push(time);
        assert!(shown.status.success() && shown.stdout == shown_directly.stdout, "the same bytes either way");
        let nowhere = home.path().join("nowhere");
        let (lost, time) = timed(home.command(&["--json", "issue", "show", id]).env("GRITE_DIR", nowhere));
        parsed.push(time);
        assert!(!lost.status.success(), "there is no tracker");
    }
    println!("{} issues, {ROUNDS} interleaved rounds of whole processes", ids.len());
    let [warm, direct, parsed] = [
        ("`issue show`, warm daemon", warm),
        ("the same, `--direct`", direct),
        ("starts, parses, ends", parsed),
    ]
    .map(|(name, mut times)| {
        println!("{name:<28}p50 {:>8.3?}, p99 {:>8.3?}", median(&mut times), quantile(&mut times, 0.99));
        median(&mut times).as_secs_f64()
    });
    println!("warm / starts, parses, ends: {:.2}", warm / parsed);
    println!("direct / starts, parses, ends: {:.2}", direct / parsed);
}

/// Runs a command to its end.
fn timed(command: &mut Command) -> (Output, Duration) {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the binary starts");
    (output, start.elapsed())
}
