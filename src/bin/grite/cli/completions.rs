//! `grite completions`: what a shell needs to complete commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde::Serialize;

use super::Grite;
use crate::error::CliError;
use crate::output::Output;

/// Arguments of `grite completions`.
#[derive(Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Serialize)]
struct Script {
    script: String,
}

pub fn run(completions: &Completions, output: &Output) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Grite::command(), "grite", &mut script);
    let script = Script { script: String::from_utf8_lossy(&script).into_owned() };
    output.report(&script, |_| script.script.clone())
}
