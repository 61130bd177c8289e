//! `grite ping`: asks for nothing, and measures the way.

use std::time::Instant;

use libgrite_ipc::{IpcCommand, IpcResponse};
use serde::Serialize;

use super::Global;
use crate::error::CliError;
use crate::output::Output;
use crate::tracker;

#[derive(Serialize)]
struct Pong {
    round_trip_ns: u64,
}

pub fn run(global: &Global, output: &Output) -> Result<(), CliError> {
    let mut tracker = global.tracker()?;
    let start = Instant::now();
    let answer = tracker::ask(&mut *tracker, &IpcCommand::Ping)?;
    let taken = start.elapsed();
    if answer != IpcResponse::Pong {
        return Err(CliError::mismatched());
    }
    let round_trip_ns = u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX);
    output.report(&Pong { round_trip_ns }, |_| format!("answered in {taken:.1?}\n"))
}
