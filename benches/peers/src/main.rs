//! This library beside its peers: one interleaved run, and the tables and plots of it.
//!
//! `cargo run --release -- run --out results/FILE.json`; `cargo run --release -- report results/FILE.json` draws the
//! plots of a file again.
//! Client and server of every peer are two processes: this program again, with a hidden command.

mod child;
mod claims;
mod cpu;
mod machine;
mod measure;
mod neighbours;
mod peer;
mod peers;
#[path = "../../../src/bin/grite/measure/plot.rs"]
mod plot;
mod report;
mod results;
mod run;
mod touch;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use measure::Pace;
use peer::Failure;
use work::Work;

#[derive(Parser)]
#[command(about = "This library beside its peers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, add the rounds to a file, and put tables and plots beside it
    Run {
        /// The file: JSON
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How many rounds to add
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        /// For how long to measure each cell in each round, in seconds
        #[arg(long, default_value_t = 0.4, value_name = "S")]
        seconds_per_cell: f64,
        /// These peers alone
        #[arg(long, value_delimiter = ',', value_name = "PEER,…")]
        only: Vec<String>,
        /// These questions alone: show, list, or echo-N, where N is a number of bytes
        #[arg(long, value_delimiter = ',', value_name = "WORK,…")]
        work: Vec<Work>,
        /// These paces alone: `hot`, or questions a second
        #[arg(long, value_delimiter = ',', value_name = "PACE,…", value_parser = pace)]
        pace: Vec<Pace>,
        /// Keep each CPU busy with a loop meanwhile
        #[arg(long)]
        busy: bool,
    },
    /// Write the tables and plots of a file beside it
    Report {
        /// The file that `run` wrote
        results: PathBuf,
    },
    /// The loop of one CPU
    #[command(hide = true)]
    Busy { cpu: usize },
    /// One side of a cell
    #[command(hide = true)]
    Server { peer: String, work: Work, folder: PathBuf },
    /// The other side
    #[command(hide = true)]
    Client { peer: String, work: Work, folder: PathBuf, server: u32, rate: u32, seconds: f64 },
}

fn main() -> ExitCode {
    match carry_out(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run { out, rounds, seconds_per_cell, only, work, pace, busy } => {
            let plan = run::Plan {
                out,
                rounds,
                time: Duration::try_from_secs_f64(seconds_per_cell)?,
                only,
                works: work,
                paces: pace,
                busy,
                command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            };
            run::run(&plan)?;
            Ok(report::say(&report::report(&plan.out)?)?)
        }
        Command::Report { results } => Ok(report::say(&report::report(&results)?)?),
        Command::Busy { cpu } => {
            child::end_with_parent()?;
            run::be_busy(cpu)
        }
        Command::Server { peer, work, folder } => {
            child::end_with_parent()?;
            run::serve(&peer, work, &folder)
        }
        Command::Client { peer, work, folder, server, rate, seconds } => {
            child::end_with_parent()?;
            let pace = if rate == 0 { Pace::Hot } else { Pace::PerSecond(rate) };
            run::ask(&peer, work, &folder, server, pace, Duration::try_from_secs_f64(seconds)?)
        }
    }
}

fn pace(text: &str) -> Result<Pace, String> {
    match text {
        "hot" => Ok(Pace::Hot),
        rate => match rate.parse() {
            Ok(0) | Err(_) => Err("a pace is `hot` or a number of questions a second".to_owned()),
            Ok(rate) => Ok(Pace::PerSecond(rate)),
        },
    }
}
