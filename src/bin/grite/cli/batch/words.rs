//! From a line to the command that it is: [`Words`].

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use super::lines::{Line, MAX_LINE};
use crate::cli::daemon::Daemon;
use crate::cli::{Command, Global, Grite};
use crate::error::{CliError, Code};

/// Reads lines as command lines.
pub struct Words {
    /// Made once: that takes longer than to read a line.
    parser: clap::Command,
}

impl Words {
    pub fn new() -> Self {
        Words { parser: Grite::command() }
    }

    /// The command on `line`, with the options of the batch, `global`, or what the parser says instead,
    /// which may be the help that was asked for.
    ///
    /// # Errors
    /// A [`CliError`] when the line is no array of words, or a command that no batch carries out.
    pub fn read(&mut self, line: Line<'_>, global: &Global) -> Result<Result<Grite, clap::Error>, CliError> {
        let Line::Text(line) = line else {
            let message = format!("the line has more than {MAX_LINE} bytes");
            return Err(CliError::invalid(
                message,
                "keep long texts in files, and name them with --body-file",
            ));
        };
        let mut words: Vec<String> = serde_json::from_slice(line).map_err(|error| {
            let message = format!("the line is no array of words: {error}");
            CliError::new(Code::Usage, message, "write a line as [\"issue\",\"show\",\"ID\"]")
        })?;
        words.insert(0, "grite".to_owned());
        let read = self
            .parser
            .try_get_matches_from_mut(words)
            .and_then(|matches| Ok((Grite::from_arg_matches(&matches)?, matches)));
        match read {
            Ok((mut grite, matches)) => {
                check_options(&matches)?;
                check_command(&grite.command)?;
                let own_actor = is_given(&matches, "actor");
                grite.global.join(global, own_actor);
                Ok(Ok(grite))
            }
            Err(unusual) => Ok(Err(unusual)),
        }
    }
}

/// Whether the line itself gives this option.
fn is_given(matches: &ArgMatches, option: &str) -> bool {
    matches.value_source(option) == Some(ValueSource::CommandLine)
}

/// Refuses options about the way to the tracker: all lines go the same way.
fn check_options(matches: &ArgMatches) -> Result<(), CliError> {
    match ["transport", "direct", "no_spawn", "timeout"].into_iter().find(|name| is_given(matches, name)) {
        Some(name) => {
            let message = format!("--{} is for the whole batch, not for one line", name.replace('_', "-"));
            Err(CliError::new(Code::Usage, message, "give it to `grite batch` itself"))
        }
        None => Ok(()),
    }
}

/// Refuses commands that are no question with one answer.
fn check_command(command: &Command) -> Result<(), CliError> {
    let name = match command {
        Command::Batch => "batch",
        Command::Export => "export",
        Command::Bench(_) | Command::BenchPeer(_) => "bench",
        Command::Demo(_) => "demo",
        Command::Daemon(Daemon::Run(_)) => "daemon run",
        Command::Init
        | Command::Import(_)
        | Command::Issue(_)
        | Command::Daemon(Daemon::Start | Daemon::Status | Daemon::Stop)
        | Command::Ping
        | Command::Completions(_) => return Ok(()),
    };
    let message = format!("`grite {name}` cannot be part of a batch");
    Err(CliError::new(Code::Usage, message, "run it as a command of its own"))
}
