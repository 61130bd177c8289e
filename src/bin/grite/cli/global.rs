//! Options that every command takes: [`Global`].

use std::env;
use std::io::{IsTerminal, stderr};
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use libgrite_ipc::grite::Exchange;

use crate::duration::duration;
use crate::error::{CliError, Code};
use crate::tracker::{self, Questions, Tracker, Transport, Wishes};

/// How long to wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait for a daemon that starts, or for an older one that ends before: as long as for an answer, within
/// these bounds. Other commands wait for the same start.
const SPAWN_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(60);

/// How long to wait for git and a remote.
const GIT_TIMEOUT: Duration = Duration::from_secs(600);

/// How much longer to wait for the answer that git took too long.
const CLEANING_UP: Duration = Duration::from_secs(10);

/// Options that every command takes.
#[derive(Args)]
pub struct Global {
    /// Print one JSON document on stdout
    #[arg(long, global = true)]
    pub json: bool,

    /// How to reach the tracker
    #[arg(long, global = true, value_enum, default_value_t = Transport::Auto, value_name = "WAY")]
    transport: Transport,

    /// Work on the store in this process, without a daemon
    #[arg(long, global = true, conflicts_with = "transport")]
    direct: bool,

    /// Never start a daemon
    #[arg(long, global = true, env = "GRITE_NO_SPAWN", action = ArgAction::SetTrue,
          value_parser = FalseyValueParser::new())]
    no_spawn: bool,

    /// How long to wait for an answer, such as 500ms, 10s or 2m
    ///
    /// 30s where it is not given, and 10m for commands that run git. Before that, a daemon that has to start has this
    /// time, too, 10s at least and 60s at most; 10s where it is not given, and for commands that run git
    #[arg(long, global = true, value_parser = duration, value_name = "TIME")]
    timeout: Option<Duration>,

    /// Who writes; $USER, or the user's number, where it is not given
    #[arg(long, global = true, env = "GRITE_ACTOR", value_name = "NAME")]
    actor: Option<String>,

    /// Whether this command is a line of a batch.
    #[arg(skip)]
    in_batch: bool,
}

impl Global {
    /// The options of a line of a batch with these options: it goes the same way, and is written by the
    /// same actor unless it names its own.
    pub fn of_line(&self, actor: Option<String>) -> Self {
        let actor = actor.or_else(|| self.actor.clone());
        let Global { transport, direct, no_spawn, timeout, .. } = *self;
        Global { json: true, transport, direct, no_spawn, timeout, actor, in_batch: true }
    }

    /// The actor that was given.
    pub fn given_actor(&self) -> Option<String> {
        self.actor.clone()
    }

    /// Fails where stdin holds a batch, so that nothing else can be read from it.
    pub fn check_stdin(&self) -> Result<(), CliError> {
        if !self.in_batch {
            return Ok(());
        }
        Err(CliError::new(Code::Usage, "stdin holds the batch itself", "give the text, or name a file"))
    }

    /// What was wished of the way to the tracker.
    pub fn wishes(&self) -> Wishes {
        let transport = if self.direct { Transport::Direct } else { self.transport };
        let spawn_timeout =
            self.timeout.unwrap_or_default().clamp(*SPAWN_TIMEOUT.start(), *SPAWN_TIMEOUT.end());
        Wishes { transport, spawn: !self.no_spawn, spawn_timeout, timeout: self.timeout() }
    }

    /// Opens the tracker in the wished way, for one question.
    pub fn tracker(&self) -> Result<Box<dyn Tracker>, CliError> {
        tracker::open(&self.wishes(), Questions::One)
    }

    /// Opens the tracker in the wished way, for several questions.
    pub fn tracker_for_several(&self) -> Result<Box<dyn Tracker>, CliError> {
        tracker::open(&self.wishes(), Questions::Several)
    }

    /// For how long to wait for an answer.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// Opens the tracker for one command that runs git, which says itself when that takes too long.
    pub fn tracker_for_exchange(&self, exchange: &Exchange) -> Result<Box<dyn Tracker>, CliError> {
        let timeout = Duration::from_millis(exchange.timeout_ms) + CLEANING_UP;
        // Parts come over a connection that is kept for them.
        let questions = if exchange.progress { Questions::Several } else { Questions::One };
        // The time that was given is for git.
        let spawn_timeout = *SPAWN_TIMEOUT.start();
        tracker::open(&Wishes { timeout, spawn_timeout, ..self.wishes() }, questions)
    }

    /// How to talk to the remote that is called so, or the usual one. With `progress`, it is said on a
    /// terminal how far it is.
    pub fn exchange(&self, remote: Option<&String>, progress: bool) -> Exchange {
        let timeout = self.timeout.unwrap_or(GIT_TIMEOUT).as_millis();
        Exchange {
            remote: remote.cloned(),
            timeout_ms: u64::try_from(timeout).unwrap_or(u64::MAX),
            progress: progress && !self.json && stderr().is_terminal(),
        }
    }

    /// Who writes.
    pub fn actor(&self) -> String {
        let given = self.actor.clone().filter(|name| !name.is_empty());
        let user = || env::var("USER").ok().filter(|name| !name.is_empty());
        given.or_else(user).unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_starts_has_as_long_as_an_answer_within_bounds() {
        for (timeout, spawn_timeout) in [(None, 10), (Some(1), 10), (Some(30), 30), (Some(3600), 60)] {
            let timeout = timeout.map(Duration::from_secs);
            let global = Global {
                json: false,
                transport: Transport::Auto,
                direct: false,
                no_spawn: false,
                timeout,
                actor: None,
                in_batch: false,
            };
            assert_eq!(global.wishes().spawn_timeout, Duration::from_secs(spawn_timeout), "{timeout:?}");
        }
    }
}
