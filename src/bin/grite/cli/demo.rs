//! `grite demo`: a real daemon in a temporary folder, asked by each way, and removed.

use std::path::PathBuf;

use clap::Args;

use super::Global;
use crate::error::{CliError, Code};
use crate::output::Output;

/// Arguments of `grite demo`.
#[derive(Args)]
pub struct Demo {
    /// Issues to show, as JSON Lines; some hundreds are made up where none are given
    pub file: Option<PathBuf>,
}

pub fn run(_demo: &Demo, _global: &Global, _output: &Output) -> Result<(), CliError> {
    Err(CliError::new(Code::Unsupported, "this program has no demo yet", ""))
}
