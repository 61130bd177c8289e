//! `grite sync`: exchanges issues with other clones.

use std::io::{Write, stderr};

use clap::{Args, ValueEnum};
use libgrite_ipc::grite::{Progress, SyncResult, SyncStage};
use libgrite_ipc::{IpcCommand, IpcResponse};
use serde::Serialize;

use super::Global;
use crate::error::CliError;
use crate::output::{Output, line};

/// Arguments of `grite sync`.
#[derive(Args)]
pub struct Sync {
    /// Only fetch, only send, or both
    #[arg(value_enum, default_value_t = Direction::Both, value_name = "WHAT")]
    direction: Direction,

    /// The git remote; `origin`, or else the only one, where it is not given
    #[arg(long, value_name = "NAME")]
    remote: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// Fetch what others have sent
    Pull,
    /// Send what was made here
    Push,
    /// Fetch, then send
    Both,
}

#[derive(Serialize)]
struct Synced {
    remote: String,
    received: u64,
    sent: u64,
    damaged: Vec<String>,
    renamed: bool,
}

pub fn run(sync: &Sync, global: &Global, output: &Output) -> Result<(), CliError> {
    let exchange = global.exchange(sync.remote.as_ref(), true);
    let shown = exchange.progress;
    let mut tracker = global.tracker_for_exchange(&exchange)?;
    let command = match sync.direction {
        Direction::Pull => IpcCommand::SyncPull { exchange },
        Direction::Push => IpcCommand::SyncPush { exchange },
        Direction::Both => IpcCommand::Sync { exchange },
    };
    let mut part = |progress: &Progress| {
        if shown {
            show(progress);
        }
    };
    let answer = tracker.ask_in_parts(&command, &mut part);
    if shown {
        // The line that said how far it is goes away.
        let _ = write!(stderr(), "\r\u{1b}[K");
    }
    match answer? {
        IpcResponse::Sync(SyncResult { remote, received, sent, damaged, renamed }) => {
            let synced = Synced { remote, received, sent, damaged, renamed };
            output.report(&synced, |_| describe(&synced, sync.direction))
        }
        IpcResponse::Refused(refusal) => Err(refusal.into()),
        _ => Err(CliError::mismatched()),
    }
}

fn describe(synced: &Synced, direction: Direction) -> String {
    let Synced { remote, received, sent, damaged, renamed } = synced;
    let mut text = match direction {
        Direction::Pull => format!("received {received} events from {}\n", line(remote)),
        Direction::Push => format!("sent {sent} events to {}\n", line(remote)),
        Direction::Both => format!("received {received} and sent {sent} events, with {}\n", line(remote)),
    };
    if *renamed {
        text += "another clone used the name of this one, so it goes by a new name now\n";
    }
    for damaged in damaged {
        text += &format!("skipped: {}\n", line(damaged));
    }
    if !damaged.is_empty() {
        text += "`grite doctor` says what helps, and --fix fetches anew what is damaged\n";
    }
    text
}

/// Says on a terminal how far it is, on one line.
fn show(progress: &Progress) {
    let stage = match progress.stage {
        SyncStage::Publishing => "writing what is new here",
        SyncStage::Fetching => "fetching",
        SyncStage::Importing => "taking in",
        SyncStage::Pushing => "sending",
    };
    let done = if progress.done == 0 { String::new() } else { format!(": {} events", progress.done) };
    let _ = write!(stderr(), "\r\u{1b}[K{stage}{done}");
}
