//! A command line that makes no sense, or that only asks for help.

use std::env;
use std::process::ExitCode;

use clap::error::ErrorKind;
use serde::Serialize;

use crate::error::{CliError, Code};
use crate::output::{self, Output};

#[derive(Serialize)]
struct Help<'a> {
    text: &'a str,
}

/// Prints what the parser says, and chooses the exit code.
pub fn explain(error: &clap::Error) -> ExitCode {
    // The parser did not come to the end, so whether JSON is wished must be looked for.
    let json =
        env::args_os().skip(1).take_while(|argument| argument != "--").any(|argument| argument == "--json");
    let output = if json { Output::json() } else { Output::human() };
    let text = error.render().to_string();
    let result = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion if json => {
            output.report(&Help { text: text.trim_end() }, |_| String::new())
        }
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => print(error),
        _ if json => Err(failure(&text)),
        _ => {
            // The parser writes this to stderr itself, with colour where there may be any.
            let _ = error.print();
            return ExitCode::from(Code::Usage.exit());
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.fail(&error);
            error.exit_code()
        }
    }
}

fn print(error: &clap::Error) -> Result<(), CliError> {
    error.print().map_err(|error| CliError::output(&error))?;
    output::print(b"")
}

/// The first paragraph of what the parser says; the usage behind it is for people.
fn failure(text: &str) -> CliError {
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let message = lines.collect::<Vec<_>>().join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let message = if message.starts_with("An issue tracker") { "a command is missing" } else { message };
    CliError::new(Code::Usage, message, "see `grite --help`")
}
