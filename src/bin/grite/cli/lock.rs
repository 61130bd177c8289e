//! `grite lock`: takes, keeps, gives back and shows locks among clones.

use std::time::Duration;

use clap::{Args, Subcommand};
use libgrite_ipc::grite::{Exchange, LockState};
use libgrite_ipc::{IpcCommand, IpcResponse};
use serde::Serialize;

use super::Global;
use super::writing::{Writing, with_key};
use crate::duration::duration;
use crate::error::CliError;
use crate::output::{Output, Paint, Table, line};
use crate::tracker;

/// What to do with locks.
#[derive(Subcommand)]
pub enum Lock {
    /// Take a lock; fails with exit code 4 where somebody has it
    ///
    /// It is an actor's within a clone, to keep and to give back: agents that share a clone each need an --actor of
    /// their own
    Acquire(Acquire),
    /// Keep a lock for longer
    Renew(Renew),
    /// Give a lock back
    Release(Release),
    /// Show who holds what
    Status(Status),
}

/// Which remote keeps the locks.
#[derive(Args)]
struct Where {
    /// The git remote that keeps it; `origin`, or else the only one, where it is not given. Where there is
    /// no remote, locks hold within this clone
    #[arg(long, value_name = "NAME")]
    remote: Option<String>,
}

/// Arguments of `grite lock acquire`.
#[derive(Args)]
pub struct Acquire {
    /// What is locked: any name on which those who want it agree
    resource: String,

    /// For how long, at most a day
    #[arg(long, default_value = "15m", value_parser = duration, value_name = "TIME")]
    ttl: Duration,

    /// By how much the clocks of those who want it may differ: for that long after its end nobody can take it
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    margin: Duration,

    #[command(flatten)]
    place: Where,

    #[command(flatten)]
    writing: Writing,
}

/// Arguments of `grite lock renew`.
#[derive(Args)]
pub struct Renew {
    /// What is locked
    resource: String,

    /// For how long from now, at most a day
    #[arg(long, default_value = "15m", value_parser = duration, value_name = "TIME")]
    ttl: Duration,

    #[command(flatten)]
    place: Where,

    #[command(flatten)]
    writing: Writing,
}

/// Arguments of `grite lock release`.
#[derive(Args)]
pub struct Release {
    /// What is locked
    resource: String,

    #[command(flatten)]
    place: Where,

    #[command(flatten)]
    writing: Writing,
}

/// Arguments of `grite lock status`.
#[derive(Args)]
pub struct Status {
    /// Only this one
    resource: Option<String>,

    #[command(flatten)]
    place: Where,
}

/// A lock, and which remote keeps it; none where it holds within this clone alone.
#[derive(Serialize)]
struct One<'a> {
    #[serde(flatten)]
    lock: Shown<'a>,
    remote: Option<&'a str>,
}

#[derive(Serialize)]
struct All<'a> {
    items: Vec<Shown<'a>>,
    remote: Option<&'a str>,
}

#[derive(Serialize)]
struct Shown<'a> {
    resource: &'a str,
    holder: Option<&'a str>,
    clone: Option<&'a str>,
    remaining_ms: u64,
    free_in_ms: u64,
}

impl<'a> From<&'a LockState> for Shown<'a> {
    fn from(lock: &'a LockState) -> Self {
        Shown {
            resource: &lock.resource,
            holder: lock.holder.as_deref(),
            clone: lock.clone.as_deref(),
            remaining_ms: lock.remaining_ms,
            free_in_ms: lock.free_in_ms,
        }
    }
}

pub fn run(command: &Lock, global: &Global, output: &Output) -> Result<(), CliError> {
    let exchange = |place: &Where| global.exchange(place.remote.as_ref(), false);
    match command {
        Lock::Acquire(acquire) => {
            let exchange = exchange(&acquire.place);
            let command = IpcCommand::LockAcquire {
                resource: acquire.resource.clone(),
                ttl_ms: milliseconds(acquire.ttl),
                margin_ms: milliseconds(acquire.margin),
                write: acquire.writing.context(global),
                exchange: exchange.clone(),
            };
            one(&command, &exchange, global, output)
        }
        Lock::Renew(renew) => {
            let exchange = exchange(&renew.place);
            let command = IpcCommand::LockRenew {
                resource: renew.resource.clone(),
                ttl_ms: milliseconds(renew.ttl),
                write: renew.writing.context(global),
                exchange: exchange.clone(),
            };
            one(&command, &exchange, global, output)
        }
        Lock::Release(release) => {
            let exchange = exchange(&release.place);
            let command = IpcCommand::LockRelease {
                resource: release.resource.clone(),
                write: release.writing.context(global),
                exchange: exchange.clone(),
            };
            one(&command, &exchange, global, output)
        }
        Lock::Status(status) => all(status, &exchange(&status.place), global, output),
    }
}

fn one(command: &IpcCommand, exchange: &Exchange, global: &Global, output: &Output) -> Result<(), CliError> {
    let answer = tracker::ask(&mut *global.tracker_for_exchange(exchange)?, command);
    match answer.map_err(|error| with_key(error, command))? {
        IpcResponse::Lock(result) => {
            let one = One { lock: Shown::from(&result.lock), remote: result.remote.as_deref() };
            output.report(&one, |_| {
                let resource = line(one.lock.resource);
                let state = match one.lock.holder {
                    Some(holder) => format!("held by {} for {}", line(holder), time(one.lock.remaining_ms)),
                    None => "free".to_owned(),
                };
                format!("{resource} is {state}{}\n", whereabouts(one.remote))
            })
        }
        _ => Err(CliError::mismatched()),
    }
}

fn all(status: &Status, exchange: &Exchange, global: &Global, output: &Output) -> Result<(), CliError> {
    let command = IpcCommand::LockStatus { resource: status.resource.clone(), exchange: exchange.clone() };
    match tracker::ask(&mut *global.tracker_for_exchange(exchange)?, &command)? {
        IpcResponse::Locks(result) => {
            let items = result.locks.iter().map(Shown::from).collect();
            let all = All { items, remote: result.remote.as_deref() };
            output.report(&all, |terminal| {
                if all.items.is_empty() {
                    return format!("nothing is locked{}\n", whereabouts(all.remote));
                }
                let mut table = Table::new(&["RESOURCE", "HOLDER", "CLONE", "LEFT"], &[0, 1]);
                for lock in &all.items {
                    table.row(vec![
                        (Paint::Id, line(lock.resource)),
                        (Paint::Plain, line(lock.holder.unwrap_or_default())),
                        (Paint::Faint, line(&format!("{:.8}", lock.clone.unwrap_or_default()))),
                        (Paint::Plain, time(lock.remaining_ms)),
                    ]);
                }
                let place = whereabouts(all.remote);
                let place = if place.is_empty() { String::new() } else { format!("{}\n", place.trim()) };
                table.render(terminal) + &place
            })
        }
        _ => Err(CliError::mismatched()),
    }
}

/// Says so where a lock is worth less than its name promises.
fn whereabouts(remote: Option<&str>) -> &'static str {
    if remote.is_some() { "" } else { " (within this clone alone: there is no remote)" }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn time(milliseconds: u64) -> String {
    match milliseconds.div_ceil(1000) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
