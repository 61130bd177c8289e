//! `grite bench`: this machine's limits, and what commands take by each way.

use clap::Args;

use super::Global;
use crate::error::{CliError, Code};
use crate::output::Output;

/// Arguments of `grite bench`.
#[derive(Args)]
pub struct Bench {
    /// For how long to measure in all
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
}

pub fn run(_bench: &Bench, _global: &Global, _output: &Output) -> Result<(), CliError> {
    Err(CliError::new(Code::Unsupported, "this program cannot measure yet", ""))
}
