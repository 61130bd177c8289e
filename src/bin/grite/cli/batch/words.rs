//! From a line to the command that it is: [`Words`].

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use super::lines::{Line, MAX_LINE};
use crate::cli::daemon::Daemon;
use crate::cli::issue::Issue;
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
        if let Some(show) = plain_show(&mut words) {
            return Ok(Ok(Grite { global: global.of_line(None), command: Command::Issue(show) }));
        }
        words.insert(0, "grite".to_owned());
        let read = self
            .parser
            .try_get_matches_from_mut(words)
            .and_then(|matches| Ok((Grite::from_arg_matches(&matches)?, matches)));
        match read {
            Ok((mut grite, matches)) => {
                check_options(&matches)?;
                check_command(&grite.command)?;
                let actor = grite.global.given_actor().filter(|_| is_given(&matches, "actor"));
                grite.global = global.of_line(actor);
                Ok(Ok(grite))
            }
            Err(unusual) => Ok(Err(unusual)),
        }
    }
}

/// What the parser makes of the words that batches mostly hold, in a small part of its time.
fn plain_show(words: &mut [String]) -> Option<Issue> {
    match words {
        [issue, show, id] if issue == "issue" && show == "show" && !id.starts_with('-') => {
            Some(Issue::show(std::mem::take(id)))
        }
        _ => None,
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
        Command::Export(_) => "export",
        Command::Rebuild => "rebuild",
        Command::Watch(_) => "watch",
        Command::Bench(_) | Command::BenchPeer(_) => "bench",
        Command::Demo(_) => "demo",
        Command::Daemon(Daemon::Run(_)) => "daemon run",
        Command::Init
        | Command::Import(_)
        | Command::Issue(_)
        | Command::Sync(_)
        | Command::Lock(_)
        | Command::Doctor(_)
        | Command::Daemon(Daemon::Start | Daemon::Status | Daemon::Stop)
        | Command::Ping
        | Command::Completions(_) => return Ok(()),
    };
    let message = format!("`grite {name}` cannot be part of a batch");
    Err(CliError::new(Code::Usage, message, "run it as a command of its own"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        global: Global,
    }

    fn read(line: &str) -> Result<Result<Grite, clap::Error>, CliError> {
        let batch = Alone::parse_from(["grite", "--actor", "batch", "--timeout", "7s"]).global;
        Words::new().read(Line::Text(line.as_bytes()), &batch)
    }

    #[test]
    fn the_short_way_makes_of_words_what_the_parser_makes_of_them() {
        for id in ["4f21", "", " ", "help", "a-b", "é\u{1}", "4f21 ", "@", "=x", "\"", "\\"] {
            let words = ["issue", "show", id].map(str::to_owned);
            let parsed = Grite::try_parse_from([&["grite".to_owned()], &words[..]].concat());
            let Ok(Grite { command: Command::Issue(parsed), .. }) = parsed else { panic!("{id:?}") };
            let short = plain_show(&mut words.clone()).unwrap();
            let asked = |issue: &Issue| {
                let global = Alone::parse_from(["grite"]).global;
                issue.question().command(&global).unwrap()
            };
            assert_eq!(asked(&short), asked(&parsed), "{id:?}");
        }
        for other in [&["issue", "show", "-h"][..], &["issue", "show", "--"], &["issue", "show"], &["ping"]] {
            assert!(
                plain_show(&mut other.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).is_none()
            );
        }
    }

    #[test]
    fn a_line_goes_the_batch_s_way_and_may_name_its_own_actor() {
        for (line, actor) in [
            (r#"["issue","show","4f21"]"#, "batch"),
            (r#"["issue","list"]"#, "batch"),
            (r#"["issue","close","4f21","--actor","line"]"#, "line"),
            (r#"["--actor","line","--json","issue","close","4f21"]"#, "line"),
        ] {
            let grite = read(line).unwrap().unwrap();
            assert_eq!(grite.global.actor(), actor, "{line}");
            assert_eq!(grite.global.timeout(), std::time::Duration::from_secs(7), "{line}");
        }
    }

    #[test]
    fn what_no_batch_carries_out_is_refused_with_advice() {
        for line in [
            "",
            "{}",
            "[1]",
            "\"issue\"",
            "[\"issue\"",
            r#"["batch"]"#,
            r#"["export"]"#,
            r#"["watch"]"#,
            r#"["demo"]"#,
            r#"["daemon","run"]"#,
            r#"["issue","list","--direct"]"#,
            r#"["--timeout","3s","issue","list"]"#,
            r#"["issue","--no-spawn","list"]"#,
            r#"["issue","list","--transport","ring"]"#,
        ] {
            let Err(error) = read(line) else { panic!("{line}") };
            assert!(error.code == Code::Usage && !error.hint.is_empty(), "{line}");
        }
        for line in ["[]", r#"["issue"]"#, r#"["--help"]"#, r#"["bogus"]"#] {
            assert!(matches!(read(line), Ok(Err(_))), "{line}");
        }
        assert!(Words::new().read(Line::TooLong, &Alone::parse_from(["grite"]).global).is_err());
    }
}
