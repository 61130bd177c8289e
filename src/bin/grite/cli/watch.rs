//! `grite watch`: what happens to issues, as it happens, a line each.
//!
//! A watcher is a connection like any other, so the daemon does not end for idleness while somebody watches.
//! When the daemon is lost, the next one is connected to, or started, and the stream goes on; what nobody
//! can tell is said to be a gap. It goes over the socket unless rings are wished: whoever mostly waits
//! there costs nothing.

use std::io::stdout;
use std::path::Path;
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use libgrite_ipc::grite::{ArchivedChangeKind, ArchivedIssueChange, ArchivedNotification};
use libgrite_ipc::{Error, ErrorKind, IpcClient, Notice, Since};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Global;
use crate::duration::duration;
use crate::engine;
use crate::error::{CliError, Code};
use crate::folder;
use crate::output::{Output, Paint, Terminal, line};
use crate::runtime::Place;
use crate::tracker::{self, Transport, Wishes};

/// How many daemons may be lost one after the other, none of which has lived for [`SETTLED`].
const MOST_LOSSES: u32 = 10;

/// A daemon that was there for so long has not ended because it cannot run.
const SETTLED: Duration = Duration::from_secs(2);

/// What a daemon has to answer in, however soon the watch is over.
const LEAST: Duration = Duration::from_secs(1);

/// How long to wait before the next daemon is looked for.
const PAUSE: Duration = Duration::from_millis(100);

/// Arguments of `grite watch`.
#[derive(Args)]
pub struct Watch {
    /// Go on behind this sequence number, which was seen already
    #[arg(long, value_name = "SEQ")]
    since: Option<u64>,

    /// End after so many notifications
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after this time, such as 10s
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,
}

/// A line of the stream.
#[derive(Serialize)]
struct Told<'a> {
    /// The place of a notification in the order of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum What<'a> {
    /// Nothing is lost so far, and the next notification has this number.
    Start {
        next: u64,
    },
    /// So many are lost before `next`; nobody knows how many where an earlier daemon has published them.
    Gap {
        lost: Option<u64>,
        next: u64,
    },
    IssueChanged {
        id: &'a str,
        change: &'static str,
        actor: &'a str,
        at: &'a str,
    },
    SyncDone {
        remote: &'a str,
        received: u64,
        sent: u64,
    },
    LockChanged {
        resource: &'a str,
        holder: Option<&'a str>,
        remaining_ms: u64,
    },
    Stopping,
}

pub fn run(watch: &Watch, global: &Global, output: &Output) -> Result<(), CliError> {
    let wishes = global.wishes();
    let transport = match wishes.transport {
        Transport::Direct => {
            let message = "a watch needs the daemon, which publishes what happens";
            return Err(CliError::new(Code::Usage, message, "drop --direct"));
        }
        Transport::Ring => libgrite_ipc::Transport::Ring,
        Transport::Auto | Transport::Socket => libgrite_ipc::Transport::Socket,
    };
    let place = Place::of(&folder::find()?)?;
    engine::check(&place.state)?;
    place.prepare()?;
    end_quietly()?;
    let mut stream = Stream {
        output,
        since: watch.since.map_or(Since::Now, Since::Sequence),
        begun: false,
        left: watch.count,
        // A time that the clock cannot express does not end.
        end: watch.time.and_then(|time| Instant::now().checked_add(time)),
    };
    let mut losses = 0;
    loop {
        let start = Instant::now();
        let left = stream.end.map_or(Duration::MAX, |end| end.saturating_duration_since(start));
        let timeout = wishes.timeout.min(left.max(LEAST));
        let builder = tracker::builder_for(&Wishes { timeout, ..wishes.clone() }).transport(transport);
        let lost = match tracker::connect(&place, &builder, wishes.spawn) {
            Ok(mut client) => match stream.follow(&mut client)? {
                Some(lost) => lost,
                None => return Ok(()),
            },
            Err(error) => error,
        };
        losses = if start.elapsed() < SETTLED { losses + 1 } else { 1 };
        let over = stream.end.is_some_and(|end| Instant::now() >= end);
        if over && stream.begun {
            return Ok(());
        }
        if over || !wishes.spawn || !may_pass(&lost) || losses > MOST_LOSSES {
            return Err(tracker::unreached(&place, wishes.spawn, lost));
        }
        thread::sleep(PAUSE);
    }
}

/// Whether there may be a daemon again in a moment.
fn may_pass(error: &Error) -> bool {
    error.is_retryable() || matches!(error.kind(), ErrorKind::PeerDied | ErrorKind::Io)
}

/// The stream of all daemons one after the other.
struct Stream<'a> {
    output: &'a Output,
    /// Where it goes on.
    since: Since,
    /// Whether it was said where it starts.
    begun: bool,
    /// How many notifications are still to come, if that is limited.
    left: Option<u64>,
    end: Option<Instant>,
}

impl Stream<'_> {
    /// Prints what the daemon of `client` tells: until it is lost, and says why, or until enough was told.
    ///
    /// # Errors
    /// A [`CliError`] when it cannot be printed.
    fn follow(&mut self, client: &mut IpcClient) -> Result<Option<Error>, CliError> {
        let mut subscription = match client.subscribe(self.since) {
            Ok(subscription) => subscription,
            Err(error) => return Ok(Some(error)),
        };
        while self.left != Some(0) {
            let time = self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            match subscription.next(time) {
                Ok(Notice::Gap { next, lost }) => self.resume(next, lost)?,
                Ok(Notice::Event { sequence, event }) => self.tell(sequence, event)?,
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    if self.end.is_some_and(|end| Instant::now() >= end) {
                        return Ok(None);
                    }
                }
                Err(error) => return Ok(Some(error)),
            }
        }
        Ok(None)
    }

    fn resume(&mut self, next: u64, lost: Option<u64>) -> Result<(), CliError> {
        self.since = Since::Sequence(next.saturating_sub(1));
        let begun = std::mem::replace(&mut self.begun, true);
        let what = match lost {
            Some(0) if begun => return Ok(()),
            Some(0) => What::Start { next },
            lost => What::Gap { lost, next },
        };
        self.print(&Told { seq: None, what })
    }

    fn tell(&mut self, sequence: u64, event: &ArchivedNotification) -> Result<(), CliError> {
        self.since = Since::Sequence(sequence);
        self.left = self.left.map(|left| left - 1);
        let what = match event {
            ArchivedNotification::IssueChanged(change) => What::from(change),
            ArchivedNotification::SyncDone(done) => What::SyncDone {
                remote: &done.remote,
                received: done.received.to_native(),
                sent: done.sent.to_native(),
            },
            ArchivedNotification::LockChanged(lock) => What::LockChanged {
                resource: &lock.resource,
                holder: lock.holder.as_ref().map(|holder| holder.as_str()),
                remaining_ms: lock.remaining_ms.to_native(),
            },
            ArchivedNotification::Stopping => What::Stopping,
        };
        self.print(&Told { seq: Some(sequence), what })
    }

    /// Prints a line by one write: it is shorter than what a pipe takes whole or not at all, so whatever ends
    /// this process, no reader gets a part of it.
    fn print(&self, told: &Told<'_>) -> Result<(), CliError> {
        self.output.report_line(told, |terminal| told.what.describe(terminal))
    }
}

impl<'a> From<&'a ArchivedIssueChange> for What<'a> {
    fn from(change: &'a ArchivedIssueChange) -> Self {
        let kind = match change.kind {
            ArchivedChangeKind::Imported => "imported",
            ArchivedChangeKind::Created => "created",
            ArchivedChangeKind::Closed => "closed",
            ArchivedChangeKind::Reopened => "reopened",
            ArchivedChangeKind::Commented => "commented",
            ArchivedChangeKind::Updated => "updated",
        };
        What::IssueChanged { id: &change.id, change: kind, actor: &change.actor, at: &change.at }
    }
}

impl What<'_> {
    fn describe(&self, terminal: &Terminal) -> String {
        match self {
            What::Start { next } => terminal.paint(Paint::Faint, &format!("watching from {next} on")),
            What::Gap { lost: Some(lost), next } => format!("{lost} changes are lost before {next}"),
            What::Gap { lost: None, next } => {
                format!("changes may be lost before {next}: another daemon has told of them")
            }
            What::IssueChanged { id, change, actor, at } => {
                format!("{}  {change:<9}  {}  {}", line(at), terminal.paint(Paint::Id, id), line(actor))
            }
            What::SyncDone { remote, received, sent } => {
                format!("synced with {}: received {received} and sent {sent} events", line(remote))
            }
            What::LockChanged { resource, holder: Some(holder), .. } => {
                format!("{} is locked by {}", line(resource), line(holder))
            }
            What::LockChanged { resource, holder: None, .. } => format!("{} is free", line(resource)),
            What::Stopping => "the daemon stops".to_owned(),
        }
    }
}

/// Ends this process without a word when it is asked to end, or when nobody reads its output any more: it
/// may be long until the next line is written and finds out.
fn end_quietly() -> Result<(), CliError> {
    let failed = |error| CliError::io("watch the signals of", Path::new("this process"), &error);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let wait_for_signal = move || {
        if signals.forever().next().is_some() {
            exit(0);
        }
    };
    let wait_for_reader = || {
        let stdout = stdout();
        let mut end = [PollFd::new(&stdout, PollFlags::empty())];
        while matches!(poll(&mut end, None), Err(Errno::INTR)) {}
        if end[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            exit(0);
        }
    };
    thread::Builder::new().name("grite-signals".to_owned()).spawn(wait_for_signal).map_err(failed)?;
    thread::Builder::new().name("grite-reader".to_owned()).spawn(wait_for_reader).map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::WATCH;
    use super::*;

    #[test]
    fn the_help_names_every_line_with_its_fields() {
        let all = [
            What::Start { next: 1 },
            What::Gap { lost: Some(1), next: 2 },
            What::IssueChanged { id: "", change: "", actor: "", at: "" },
            What::SyncDone { remote: "", received: 0, sent: 0 },
            What::LockChanged { resource: "", holder: None, remaining_ms: 0 },
            What::Stopping,
        ];
        for what in all {
            let value = serde_json::to_value(&what).unwrap();
            let kind = format!("\"type\":{}", value["type"]);
            let line = WATCH.lines().find(|line| line.contains(&kind)).expect(&kind);
            for field in value.as_object().unwrap().keys() {
                assert!(line.contains(&format!("\"{field}\"")), "{field}: {line}");
            }
        }
    }
}
