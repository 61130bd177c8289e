//! `grite daemon`: runs, starts, looks at or stops the daemon of the state folder.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::Global;
use super::global::duration;
use crate::error::{CliError, Code};
use crate::output::Output;

/// What to do with the daemon.
#[derive(Subcommand)]
pub enum Daemon {
    /// Be the daemon, in the foreground
    Run(Run),
    /// Start it in the background, unless it runs
    Start,
    /// Say whether it runs, and what it holds
    Status,
    /// End it, once what it accepted is answered
    Stop,
}

/// Arguments of `grite daemon run`.
#[derive(Args)]
pub struct Run {
    /// End when nobody has asked for this long
    #[arg(long, default_value = "15m", value_parser = duration, value_name = "TIME")]
    pub idle_timeout: Duration,
}

pub fn run(_daemon: &Daemon, _global: &Global, _output: &Output) -> Result<(), CliError> {
    Err(CliError::new(Code::Unsupported, "this program has no daemon yet", "use --direct"))
}
