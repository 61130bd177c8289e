//! An [`Event`]: something that happened to one issue, written once and never changed.
//!
//! Its canonical form is JSON with the fields in the order of this file and no spaces. The SHA-256
//! of those bytes is its name, so equal events are one event wherever they were made.

use serde::{Deserialize, Serialize};

use super::{EventId, IssueId, LogicalTime, Moment, State};

/// Something that happened to one issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The version of this format; [`Event::VERSION`] in all that this program writes.
    pub v: u32,
    /// Whose doing it was.
    pub actor: String,
    /// Orders writes.
    pub time: LogicalTime,
    /// When it happened, for people.
    pub at: Moment,
    /// How it came into being.
    pub origin: Origin,
    /// Which issue; absent only where this event creates one that is named by it.
    pub issue: Option<IssueId>,
    /// The latest event of the issue that the writer had seen.
    pub cause: Option<EventId>,
    /// What happened.
    pub op: Operation,
}

impl Event {
    /// The format that this program writes, and the newest that it reads.
    pub const VERSION: u32 = 1;
}

/// How an event came into being.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Somebody wrote it with this program.
    Command,
    /// It was read from another tracker's export.
    Import,
}

/// What an event does to its issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// Makes the issue: open, with a title and a body.
    Create {
        /// The id that an imported issue came with.
        source: Option<String>,
        /// Tells apart two issues that are equal in all else.
        nonce: Option<String>,
        /// Its first title.
        title: String,
        /// Its first body.
        body: String,
    },
    /// Replaces the title.
    SetTitle(String),
    /// Replaces the body.
    SetBody(String),
    /// Closes or opens it.
    SetState(State),
    /// Adds a label; the event's id is the tag by which it can be removed.
    AddLabel(String),
    /// Removes what the events with these ids added.
    RemoveLabel(Vec<EventId>),
    /// Adds an assignee, tagged likewise.
    AddAssignee(String),
    /// Removes what the events with these ids added.
    RemoveAssignee(Vec<EventId>),
    /// Adds an issue that this one waits for, tagged likewise.
    AddDependency {
        /// That issue.
        issue: IssueId,
        /// The id that it came with, where this was imported.
        source: Option<String>,
    },
    /// Removes what the events with these ids added.
    RemoveDependency(Vec<EventId>),
    /// Says something.
    Comment(String),
}

/// An event with its canonical bytes and what follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    id: EventId,
    issue: IssueId,
    bytes: Vec<u8>,
    event: Event,
}

impl Sealed {
    /// Writes `event` down.
    ///
    /// # Errors
    /// [`BadEvent`] when it names no issue and creates none, or [`read`](Sealed::read) would not take its time.
    pub fn seal(event: Event) -> Result<Self, BadEvent> {
        // Others may have written to the issue at the last of all times.
        check_time(&event)?;
        let bytes = serde_json::to_vec(&event).map_err(|error| BadEvent::Unreadable(error.to_string()))?;
        let id = EventId::of(&bytes);
        let issue = issue_of(&event, &id)?;
        Ok(Sealed { id, issue, bytes, event })
    }

    /// Reads bytes that were written down.
    ///
    /// # Errors
    /// [`BadEvent`] when they are no event that this program understands.
    pub fn read(bytes: Vec<u8>) -> Result<Self, BadEvent> {
        let event: Event = serde_json::from_slice(&bytes).map_err(|error| refuse(&bytes, &error))?;
        if event.v != Event::VERSION {
            return Err(BadEvent::Newer(event.v));
        }
        check_time(&event)?;
        let id = EventId::of(&bytes);
        let issue = issue_of(&event, &id)?;
        Ok(Sealed { id, issue, bytes, event })
    }

    pub fn id(&self) -> EventId {
        self.id
    }

    /// The issue that it happened to.
    pub fn issue(&self) -> IssueId {
        self.issue
    }

    /// The canonical bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn event(&self) -> &Event {
        &self.event
    }
}

/// What follows `event` must find a later time.
fn check_time(event: &Event) -> Result<(), BadEvent> {
    if event.time.is_plausible() { Ok(()) } else { Err(BadEvent::Untimely) }
}

/// Which issue `event` is about, if it is consistent in that.
fn issue_of(event: &Event, id: &EventId) -> Result<IssueId, BadEvent> {
    match (&event.op, event.issue) {
        (Operation::Create { source: Some(source), .. }, Some(issue))
            if issue == IssueId::of_source(source) =>
        {
            Ok(issue)
        }
        (Operation::Create { source: None, .. }, None) => Ok(IssueId::of_event(id)),
        (Operation::Create { .. }, _) | (_, None) => Err(BadEvent::Misnamed),
        (_, Some(issue)) => Ok(issue),
    }
}

/// Says whether a newer program wrote `bytes` or they are damaged.
fn refuse(bytes: &[u8], error: &serde_json::Error) -> BadEvent {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    match serde_json::from_slice(bytes) {
        Ok(Version { v }) if v > Event::VERSION => BadEvent::Newer(v),
        _ => BadEvent::Unreadable(error.to_string()),
    }
}

/// Why bytes are not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// A newer program wrote it.
    #[error("an event has format {0}, and this program reads up to {max}", max = Event::VERSION)]
    Newer(u32),
    /// It is no event.
    #[error("an event cannot be read: {0}")]
    Unreadable(String),
    /// No clock can have shown its time.
    #[error("an event's time is out of range")]
    Untimely,
    /// It names another issue than the one that it creates, or none.
    #[error("an event does not name its own issue")]
    Misnamed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create() -> Event {
        Event {
            v: Event::VERSION,
            actor: "ann".to_owned(),
            time: LogicalTime::from((7, 1)),
            at: Moment::parse("2026-01-02T03:04:05+01:00").unwrap(),
            origin: Origin::Command,
            issue: None,
            cause: None,
            op: Operation::Create { source: None, nonce: None, title: "T".to_owned(), body: String::new() },
        }
    }

    #[test]
    fn the_canonical_bytes_are_fixed() {
        let sealed = Sealed::seal(create()).unwrap();
        assert_eq!(
            std::str::from_utf8(sealed.bytes()).unwrap(),
            r#"{"v":1,"actor":"ann","time":[7,1],"at":"2026-01-02T03:04:05+01:00","origin":"command","issue":null,"cause":null,"op":{"create":{"source":null,"nonce":null,"title":"T","body":""}}}"#
        );
        assert_eq!(Sealed::read(sealed.bytes().to_vec()).unwrap(), sealed);
        assert!(sealed.id().to_string().starts_with(&sealed.issue().to_string()));
    }

    #[test]
    fn an_event_of_a_newer_program_is_told_from_a_damaged_one() {
        let newer = br#"{"v":2,"something":"else"}"#.to_vec();
        assert_eq!(Sealed::read(newer), Err(BadEvent::Newer(2)));
        assert!(matches!(Sealed::read(b"{".to_vec()), Err(BadEvent::Unreadable(_))));
        assert!(matches!(Sealed::read(br#"{"v":1}"#.to_vec()), Err(BadEvent::Unreadable(_))));
    }

    #[test]
    fn an_event_whose_time_cannot_be_read_is_not_written() {
        let at = |milliseconds| Event { time: LogicalTime::from((milliseconds, 0)), ..create() };
        for latest in [253_402_300_800_000, -253_402_300_800_000] {
            let sealed = Sealed::seal(at(latest)).unwrap();
            assert_eq!(Sealed::read(sealed.bytes().to_vec()).unwrap(), sealed);
            assert_eq!(Sealed::seal(at(latest + latest.signum())), Err(BadEvent::Untimely));
        }
    }

    #[test]
    fn an_event_must_name_its_own_issue() {
        let nameless = Event { op: Operation::SetTitle("x".to_owned()), ..create() };
        assert_eq!(Sealed::seal(nameless), Err(BadEvent::Misnamed));
        let stolen = Event {
            issue: Some(IssueId::of_source("b")),
            op: Operation::Create {
                source: Some("a".to_owned()),
                nonce: None,
                title: "x".to_owned(),
                body: String::new(),
            },
            ..create()
        };
        assert_eq!(Sealed::seal(stolen), Err(BadEvent::Misnamed));
    }
}
