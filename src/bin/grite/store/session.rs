//! One transaction that writes: [`Session`], and what it keeps of a write, its [`Answer`].

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Sequence, StoreError, Way};
use crate::fault;
use crate::model::{EventId, IssueId, Sealed};

/// For how long a repeated write is answered as the first time: thirty days, in milliseconds.
///
/// A client repeats within minutes; the bound keeps the table from growing for ever.
const ANSWERS_KEPT: i64 = 30 * 24 * 60 * 60 * 1000;

/// A transaction that no other process can write beside. Dropped without a commit, it never was.
pub struct Session<'a>(pub(super) Transaction<'a>);

impl<'a> Session<'a> {
    pub(super) fn of(transaction: Transaction<'a>) -> Self {
        fault::point("store.begun");
        Session(transaction)
    }

    /// The events behind `place`, in order.
    pub fn events_after(&self, place: Sequence) -> Result<Vec<(Sequence, Sealed)>, StoreError> {
        events_after(&self.0, place)
    }

    /// The events of one issue, in order.
    pub fn events_of(&self, issue: IssueId) -> Result<Vec<Sealed>, StoreError> {
        let mut statement =
            self.0.prepare_cached("SELECT hash, body FROM events WHERE issue = ?1 ORDER BY seq")?;
        let mut rows = statement.query([issue.to_string()])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            events.push(read_event(row.get(0)?, row.get(1)?)?);
        }
        Ok(events)
    }

    /// Adds an event to the log. `None` when it is there already.
    ///
    /// [`count`](Session::count) must be told of all that were added.
    pub fn append(&self, event: &Sealed, way: Way) -> Result<Option<Sequence>, StoreError> {
        let added = self
            .0
            .prepare_cached(
                "INSERT OR IGNORE INTO events (hash, issue, received, body) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                event.id().as_bytes(),
                event.issue().to_string(),
                way == Way::Received,
                event.bytes()
            ])?;
        fault::point("store.appended");
        Ok((added > 0).then(|| self.0.last_insert_rowid()))
    }

    /// Adds to the number of events.
    pub fn count(&self, added: usize) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE meta SET value = value + ?1 WHERE name = 'events'")?
            .execute([i64::try_from(added).unwrap_or(i64::MAX)])?;
        Ok(())
    }

    /// The answer that a write with this key got before.
    pub fn answer(&self, key: &str) -> Result<Option<Answer>, StoreError> {
        answer(&self.0, key)
    }

    /// Keeps the answer to a write, at `now` in milliseconds, and forgets those that are too old.
    pub fn remember(&self, key: &str, answer: &Answer, now: i64) -> Result<(), StoreError> {
        self.0
            .prepare_cached("DELETE FROM answers WHERE at < ?1")?
            .execute([now.saturating_sub(ANSWERS_KEPT)])?;
        self.0
            .prepare_cached("INSERT INTO answers (key, command, answer, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![key, answer.command, answer.answer, now])?;
        Ok(())
    }

    /// Makes all of it durable.
    pub fn commit(self) -> Result<(), StoreError> {
        fault::point("store.committing");
        self.0.commit()?;
        fault::point("store.committed");
        Ok(())
    }
}

/// What is remembered of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// A hash of the command, to tell a repeat from another use of its key.
    pub command: Vec<u8>,
    /// What was answered.
    pub answer: String,
}

pub(super) fn events_after(
    connection: &Connection,
    place: Sequence,
) -> Result<Vec<(Sequence, Sealed)>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT seq, hash, body FROM events WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = statement.query([place])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push((row.get(0)?, read_event(row.get(1)?, row.get(2)?)?));
    }
    Ok(events)
}

pub(super) fn answer(connection: &Connection, key: &str) -> Result<Option<Answer>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT command, answer FROM answers WHERE key = ?1")?;
    let answer = statement
        .query_row([key], |row| Ok(Answer { command: row.get(0)?, answer: row.get(1)? }))
        .optional()?;
    Ok(answer)
}

/// Reads an event of the log, whose name must be the hash of its bytes.
pub(super) fn read_event(hash: Vec<u8>, bytes: Vec<u8>) -> Result<Sealed, StoreError> {
    let id = EventId::of(&bytes);
    if id.as_bytes()[..] != hash[..] {
        return Err(StoreError::Damaged(format!(
            "the bytes of an event hash to {id}, which is not its name"
        )));
    }
    Ok(Sealed::read(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    #[test]
    fn answers_are_kept_for_their_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::make(dir.path()).unwrap();
        let session = store.begin().unwrap();
        let answer = Answer { command: vec![1], answer: "{}".to_owned() };
        session.remember("old", &answer, 0).unwrap();
        session.remember("limit", &answer, ANSWERS_KEPT).unwrap();
        assert_eq!(session.answer("old").unwrap(), Some(answer.clone()));
        session.remember("new", &answer, ANSWERS_KEPT + 1).unwrap();
        assert_eq!(session.answer("old").unwrap(), None);
        assert_eq!(session.answer("limit").unwrap(), Some(answer));
    }
}
