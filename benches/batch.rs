//! What `grite batch` saves: 10,000 questions in one batch, and beside them the same questions as commands of
//! their own, in interleaved rounds. Every answer is read, and must be the same bytes either way.
//!
//! Asks about real issues where they are at hand (`tests/issues`), and about made-up ones elsewhere.
//! Touches a temporary folder and a daemon in it, both gone afterwards.

mod common;
#[path = "common/home.rs"]
mod home;

use std::time::Instant;

use common::median;
use home::Home;

/// How many questions one batch holds.
const LINES: usize = 10_000;

/// How many separate commands are run in all.
const COMMANDS: usize = 200;

const ROUNDS: usize = 10;

fn main() {
    // `cargo test` builds benches and runs them with an option of its own; it wants no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let home = Home::new();
    let ids = home.import();
    let asked: Vec<&str> = (0..LINES).map(|number| ids[number % ids.len()].as_str()).collect();
    let input: String = asked.iter().map(|id| format!("[\"issue\",\"show\",\"{id}\"]\n")).collect();

    let (mut alone, mut batches, mut answers) = (Vec::new(), Vec::new(), String::new());
    for round in 0..ROUNDS {
        let start = Instant::now();
        let answered = home.run(&["batch"], &input);
        batches.push(start.elapsed());
        assert_eq!(answered.lines().count(), LINES, "an answer a line");
        assert!(round == 0 || answers == answered, "the same answers in every round");
        answers = answered;

        let range = round * COMMANDS / ROUNDS..(round + 1) * COMMANDS / ROUNDS;
        for (id, expected) in
            asked.iter().zip(answers.split_inclusive('\n')).take(range.end).skip(range.start)
        {
            let start = Instant::now();
            let answered = home.run(&["--json", "issue", "show", id], "");
            alone.push(start.elapsed());
            assert_eq!(answered, expected, "the same bytes as in the batch");
        }
    }
    let (command, batch) = (median(&mut alone), median(&mut batches));
    let line = batch / LINES as u32;
    println!("{} issues, {ROUNDS} interleaved rounds, medians", ids.len());
    println!("a command of its own: {command:?} ({COMMANDS} of them)");
    println!("a batch of {LINES} lines: {batch:?}, {line:?} a line, {} bytes answered", answers.len());
    println!("ratio of the rates: {:.0}", command.as_secs_f64() / line.as_secs_f64());
}
