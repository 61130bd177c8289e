//! A command that is one question to the tracker: [`Question`], so that it can be asked alone, or with
//! others over one connection.

use libgrite_ipc::{IpcCommand, IpcResponse};

use super::Global;
use super::writing::with_key;
use crate::error::CliError;
use crate::output::Output;
use crate::tracker;

/// A command that is one question to the tracker.
pub trait Question {
    /// What is asked.
    ///
    /// # Errors
    /// A [`CliError`] when the arguments cannot be right, or name a file that cannot be read.
    fn command(&self, global: &Global) -> Result<IpcCommand, CliError>;

    /// Prints the answer, which is no refusal.
    ///
    /// # Errors
    /// A [`CliError`] when the answer is one to another question, or cannot be printed.
    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError>;
}

/// Asks one question and prints the answer.
pub fn ask(question: &dyn Question, global: &Global, output: &Output) -> Result<(), CliError> {
    let command = question.command(global)?;
    let answer =
        tracker::ask(&mut *global.tracker()?, &command).map_err(|error| with_key(error, &command))?;
    question.report(answer, output)
}
