//! A command line that makes no sense, or that only asks for help.

use std::env;
use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use serde::Serialize;

use crate::error::{CliError, Code};
use crate::output::Output;

#[derive(Serialize)]
struct Help<'a> {
    text: &'a str,
}

/// Whether JSON is wished. A parser that did not come to the end cannot say.
pub fn wants_json() -> bool {
    env::args_os().skip(1).take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

/// Prints the help that was asked for as a document.
///
/// # Errors
/// What is wrong with the command line, if no help was asked for.
pub fn explain(error: &clap::Error, output: &Output) -> Result<(), CliError> {
    let text = error.render().to_string();
    if is_asked_for(error) {
        output.report(&Help { text: text.trim_end() }, |_| String::new())
    } else if matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        Err(missing(&text))
    } else {
        Err(failure(&text))
    }
}

/// Prints what the parser says, and chooses the exit code.
pub fn explain_to_people(mut error: clap::Error) -> ExitCode {
    if error.kind() == ErrorKind::MissingSubcommand {
        // It has hidden ones, too.
        error.remove(ContextKind::ValidSubcommand);
    }
    // The parser writes to stdout or stderr itself, with colour where there may be any.
    let printed = error.print().and_then(|()| stdout().flush()).map_err(|error| CliError::output(&error));
    if !is_asked_for(&error) {
        return ExitCode::from(Code::Usage.exit());
    }
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Output::human().fail(&error);
            error.exit_code()
        }
    }
}

fn is_asked_for(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

/// The first paragraph of what the parser says; the usage behind it is for people.
fn failure(text: &str) -> CliError {
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let message = lines.collect::<Vec<_>>().join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    CliError::new(Code::Usage, message, "see `grite --help`")
}

/// A command stands at the end that only has commands below it. Which ones is for its help to say.
fn missing(text: &str) -> CliError {
    let usage = text.lines().find_map(|line| line.trim().strip_prefix("Usage: ")).unwrap_or("grite");
    let command = usage.split(['[', '<']).next().unwrap_or(usage).trim();
    let message = format!("a subcommand is missing after `{command}`");
    CliError::new(Code::Usage, message, &format!("see `{command} --help`"))
}
