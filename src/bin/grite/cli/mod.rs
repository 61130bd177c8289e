//! The command line: what a person types, and [`run`], which carries it out.
//!
//! Each command has a file with its arguments and one function that carries it out. They print
//! through `output` and ask through `tracker`.

mod batch;
mod bench;
mod completions;
mod daemon;
mod demo;
mod doctor;
mod export;
mod global;
mod import;
mod init;
mod issue;
mod lock;
mod ping;
mod question;
mod sync;
mod usage;
mod watch;
mod writing;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::CliError;
use crate::measure::raw;
use crate::output::Output;

pub use global::Global;

/// An issue tracker on your own machine, for agents and people.
#[derive(Parser)]
#[command(name = "grite", version, propagate_version = true, after_long_help = EXITS)]
struct Grite {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the state folder and its store; where there is one, nothing
    Init,
    /// Take over issues from a file; what is known from it, or was made here, stays as it is
    Import(import::Import),
    /// Write all issues, oldest first
    Export(export::Export),
    /// Exchange issues with other clones, through git
    Sync(sync::Sync),
    /// Take, keep, give back or look at locks among clones
    #[command(subcommand)]
    Lock(lock::Lock),
    /// Create, find and change issues
    #[command(subcommand)]
    Issue(issue::Issue),
    /// Carry out commands from stdin, a JSON array of words a line, over one connection
    #[command(long_about = BATCH)]
    Batch,
    /// Print what happens to issues as it happens, a line each
    #[command(after_long_help = WATCH)]
    Watch(watch::Watch),
    /// Look for what is broken
    Doctor(doctor::Doctor),
    /// Make the store anew from its events and from those in git
    Rebuild,
    /// Run, start, look at or stop the daemon
    #[command(subcommand)]
    Daemon(daemon::Daemon),
    /// Ask for nothing, and measure the way
    Ping,
    /// Measure this machine's limits and what commands take
    Bench(bench::Bench),
    /// Show it all in a temporary folder that is removed afterwards
    Demo(demo::Demo),
    /// Be the other process of a raw measurement
    #[command(hide = true)]
    BenchPeer(raw::Peer),
    /// Print completions for a shell
    Completions(completions::Completions),
}

const BATCH: &str = "\
Carry out commands from stdin, over one connection. A line is an array of the words that one would type:
  [\"issue\",\"show\",\"4f21\"]
Every line, a bad one too, is answered by one line, in order: by what `grite --json` prints for these words. An \
answer comes without waiting for the end of the input. A write is carried out when all lines before it are, and \
the lines behind it see it.

A line has at most 8 MiB. Options about the way to the tracker are the batch's own, and so is stdin. Commands that \
run on, or answer with a stream, cannot be part of a batch. The exit code is 0 when all lines are answered, \
whatever the answers are, and 1 when nobody reads them any more.";

const WATCH: &str = "\
With --json a line is one of
  {\"schema_version\":1,\"seq\":N,\"type\":\"issue_changed\",\"id\",\"change\",\"actor\",\"at\"}
  {\"schema_version\":1,\"seq\":N,\"type\":\"sync_done\",\"remote\",\"received\":N,\"sent\":N}
  {\"schema_version\":1,\"seq\":N,\"type\":\"lock_changed\",\"resource\",\"holder\",\"remaining_ms\":N}
  {\"schema_version\":1,\"seq\":N,\"type\":\"stopping\"}
  {\"schema_version\":1,\"type\":\"start\",\"next\":N}
  {\"schema_version\":1,\"type\":\"gap\",\"lost\":N,\"next\":N}
where `change` is created, updated, closed, reopened, commented or imported, and `holder` is null for a lock that \
was given back; syncs and locks are told of where the daemon has carried them out. `start` comes first where nothing is \
lost: what happens from then on is told. `gap` says how many notifications are lost before `next`, or null where \
nobody knows, since another daemon has told of them.

A daemon ends for idleness only when nobody watches. When it stops or is lost, the next one is connected to, or \
started unless --no-spawn is given, and the stream goes on. Ctrl-C, SIGTERM and a reader that stops reading end it \
with exit code 0.";

const EXITS: &str = "\
With --json, stdout is exactly one document, also for errors and wrong usage:
  {\"schema_version\":1,\"ok\":true,\"data\":{...}}
  {\"schema_version\":1,\"ok\":false,\"error\":{\"code\",\"message\",\"hint\",\"retryable\"}}
`retryable` says whether the same command may succeed later, and `code` is one of the words below.
A write of which it is open whether it is carried out has the field \"idempotency_key\", too: repeat it with that key.
`export` is a stream of one issue a line, with or without --json; `batch` answers with one document a line, and so
does `watch --json`, but without the envelope. A failure with --json is one line more.

Exit codes, and the words that `code` has with each:
  0  done
  1  failure (failure, storage)
  2  the command line or an input file cannot be right (usage, invalid)
  3  no such issue (not_found)
  4  conflict: a lock or an issue that somebody else has, a closed issue, issues that would wait for
     themselves, an idempotency key that was used for another write (conflict); an id prefix that
     fits several (ambiguous)
  5  the environment: no state folder, no permission, a sandbox, other versions (environment)
  6  the deadline passed (timeout), or the daemon is gone (daemon_gone) or may not be started (not_running)
  7  git or a remote did not do what was asked of it (git)
  8  the store is damaged or lost (integrity)

Environment:
  GRITE_DIR           the state folder; else `grite` inside the repository's common git folder, else the
                      nearest `.grite` upward
  GRITE_ACTOR         who writes, as --actor; else USER
  GRITE_NO_SPAWN      never start a daemon, as --no-spawn
  GRITE_IDLE_TIMEOUT  when a daemon ends that nobody asks, as `daemon run --idle-timeout`
  GRITE_SYNC_EVERY    how often a daemon syncs, as `daemon run --sync-every`
  XDG_RUNTIME_DIR     the folder of the daemons' sockets, where there is such a folder; else TMPDIR, else
                      /tmp. Commands that have another one find another daemon
  NO_COLOR            nothing on a terminal has a colour";

/// Carries out what the command line says.
pub fn run() -> ExitCode {
    let (output, done) = match Grite::try_parse() {
        Ok(grite) => {
            let output = if grite.global.json { Output::json() } else { Output::human() };
            // The panic itself has been told on stderr.
            let done = catch_unwind(AssertUnwindSafe(|| carry_out(grite, &output)));
            (output, done.unwrap_or_else(|_| Err(CliError::panicked())))
        }
        Err(error) if usage::wants_json() => {
            let output = Output::json();
            let done = usage::explain(&error, &output);
            (output, done)
        }
        Err(error) => return usage::explain_to_people(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.fail(&error);
            error.exit_code()
        }
    }
}

fn carry_out(grite: Grite, output: &Output) -> Result<(), CliError> {
    let Grite { global, command } = grite;
    match command {
        Command::Init => init::run(&global, output),
        Command::Import(import) => import::run(&import, &global, output),
        Command::Export(export) => export::run(&export, &global),
        Command::Sync(sync) => sync::run(&sync, &global, output),
        Command::Lock(lock) => lock::run(&lock, &global, output),
        Command::Doctor(doctor) => doctor::run(&doctor, output),
        Command::Rebuild => doctor::rebuild(output),
        Command::Issue(issue) => question::ask(issue.question(), &global, output),
        Command::Batch => batch::run(&global),
        Command::Watch(watch) => watch::run(&watch, &global, output),
        Command::Daemon(daemon) => daemon::run(&daemon, &global, output),
        Command::Ping => ping::run(&global, output),
        Command::Bench(bench) => bench::run(&bench, &global, output),
        Command::BenchPeer(peer) => raw::be_peer(&peer),
        Command::Demo(demo) => demo::run(&demo, output),
        Command::Completions(completions) => completions::run(&completions, output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::error::Code;

    #[test]
    fn the_command_line_is_consistent() {
        Grite::command().debug_assert();
    }

    #[test]
    fn the_help_has_the_word_of_each_failure_beside_its_exit_code() {
        for code in [
            Code::Usage,
            Code::Invalid,
            Code::NotFound,
            Code::Ambiguous,
            Code::Conflict,
            Code::Environment,
            Code::Timeout,
            Code::NotRunning,
            Code::DaemonGone,
            Code::Git,
            Code::Integrity,
            Code::Storage,
            Code::Failure,
        ] {
            let start = format!("\n  {}  ", code.exit());
            let (_, rest) = EXITS.split_once(&start).expect("each exit code has its lines");
            let next = format!("\n  {}  ", code.exit() + 1);
            let entry = rest.split(&next).next().and_then(|entry| entry.split("\n\n").next());
            let mut words = entry.unwrap_or_default().split(|c: char| !c.is_alphanumeric() && c != '_');
            assert!(words.any(|word| word == code.name()), "{}", code.name());
        }
    }
}
