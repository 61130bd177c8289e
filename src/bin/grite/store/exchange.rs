//! What the store remembers of the exchange with other clones: what was published and pushed, and which
//! refs were read.
//!
//! All of it can be lost without harm: events are then published and read a second time, and are there
//! already.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{OptionalExtension, params};

use super::{Sequence, Session, Store, StoreError};
use crate::model::EventId;
use crate::sync::EVENTS;

/// The name of an event, as the store has it.
pub type EventHash = [u8; 32];

/// Events that were made here and are in no ref yet.
pub struct Unpublished {
    /// Their canonical bytes, in the order of the log.
    pub events: Vec<Vec<u8>>,
    /// The place of the last one.
    pub end: Sequence,
    /// Whether there are more behind it.
    pub more: bool,
}

/// A chunk that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The blob.
    pub blob: String,
    /// The chunk's name, where it is known.
    pub name: Option<String>,
    /// What was wrong with it.
    pub problem: String,
}

impl Store {
    /// The events that were made here and are not published, up to about `bytes` of them.
    pub fn unpublished(&self, bytes: usize) -> Result<Unpublished, StoreError> {
        let published = self.published()?;
        let mut statement = self
            .connection
            .prepare_cached("SELECT seq, body FROM events WHERE seq > ?1 AND received = 0 ORDER BY seq")?;
        let mut rows = statement.query([published])?;
        let mut found = Unpublished { events: Vec::new(), end: published, more: false };
        let mut size = 0;
        while let Some(row) = rows.next()? {
            if size >= bytes {
                found.more = true;
                break;
            }
            let event: Vec<u8> = row.get(1)?;
            size += event.len();
            found.end = row.get(0)?;
            found.events.push(event);
        }
        Ok(found)
    }

    /// Whether there are events that others have made.
    pub fn has_received(&self) -> Result<bool, StoreError> {
        // There is an index of the other ones alone.
        let mut statement = self.connection.prepare_cached(
            "SELECT value > (SELECT count(*) FROM events WHERE received = 0) FROM meta WHERE name = 'events'",
        )?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// The names of the events that were made here and are published.
    pub fn published_events(&self) -> Result<Vec<EventId>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT hash, body FROM events WHERE seq <= ?1 AND received = 0 ORDER BY seq")?;
        let mut rows = statement.query([self.published()?])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(super::read_event(row.get(0)?, row.get(1)?)?.id());
        }
        Ok(found)
    }

    /// The place up to which events that were made here are published.
    pub fn published(&self) -> Result<Sequence, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT value FROM meta WHERE name = 'published'")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// How many published events that were made here lie behind what `remote` has.
    pub fn unpushed(&self, remote: &str) -> Result<u64, StoreError> {
        let pushed: Option<Sequence> = self
            .connection
            .prepare_cached("SELECT seq FROM pushed WHERE remote = ?1")?
            .query_row([remote], |row| row.get(0))
            .optional()?;
        let count: i64 = self
            .connection
            .prepare_cached("SELECT count(*) FROM events WHERE seq > ?1 AND seq <= ?2 AND received = 0")?
            .query_row([pushed.unwrap_or(0), self.published()?], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// The refs whose events are in the log, each with the commit up to which.
    pub fn read_refs(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT name, tip FROM refs")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The chunks that could not be read.
    pub fn damaged(&self) -> Result<Vec<Damaged>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT blob, name, problem FROM damaged")?;
        let rows = statement.query_map([], |row| {
            Ok(Damaged { blob: row.get(0)?, name: row.get(1)?, problem: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Session<'_> {
    /// Remembers that events are published up to `place`: this clone's ref `name` holds them at the commit `tip`.
    pub fn mark_published(&self, place: Sequence, name: &str, tip: &str) -> Result<(), StoreError> {
        self.0.execute("UPDATE meta SET value = ?1 WHERE name = 'published'", [place])?;
        // What was published under another name says nothing of this one.
        self.0.execute("DELETE FROM refs WHERE name GLOB ?1", [format!("{EVENTS}*")])?;
        self.mark_read(name, tip)
    }

    /// Takes over what others have made and `remote` does not have, which has the events `held`: from now on it is
    /// published as what was made here is.
    pub fn adopt(&self, remote: &str, held: &HashSet<EventHash>) -> Result<(), StoreError> {
        let mut statement = self.0.prepare("SELECT seq, hash FROM events WHERE received = 1 ORDER BY seq")?;
        let mut rows = statement.query([])?;
        let mut places: Vec<Sequence> = Vec::new();
        while let Some(row) = rows.next()? {
            if !held.contains(&row.get::<_, EventHash>(1)?) {
                places.push(row.get(0)?);
            }
        }
        let Some(first) = places.first() else { return Ok(()) };
        let mut adopt = self.0.prepare("UPDATE events SET received = 0 WHERE seq = ?1")?;
        for place in &places {
            adopt.execute([place])?;
        }
        self.0.execute("UPDATE meta SET value = min(value, ?1 - 1) WHERE name = 'published'", [first])?;
        self.forget_pushed(remote)
    }

    /// Remembers that `remote` has all that is published.
    pub fn mark_pushed(&self, remote: &str) -> Result<(), StoreError> {
        self.0.execute(
            "INSERT OR REPLACE INTO pushed (remote, seq) SELECT ?1, value FROM meta WHERE name = 'published'",
            [remote],
        )?;
        Ok(())
    }

    /// Remembers that `remote` has what is published up to `place`.
    pub fn mark_pushed_up_to(&self, remote: &str, place: Sequence) -> Result<(), StoreError> {
        self.0
            .execute("INSERT OR REPLACE INTO pushed (remote, seq) VALUES (?1, ?2)", params![remote, place])?;
        Ok(())
    }

    /// Forgets what `remote` has.
    pub fn forget_pushed(&self, remote: &str) -> Result<(), StoreError> {
        self.0.execute("DELETE FROM pushed WHERE remote = ?1", [remote])?;
        Ok(())
    }

    /// Publishes all that was made here once more, and pushes it to every remote.
    pub fn publish_again(&self) -> Result<(), StoreError> {
        self.0.execute("UPDATE meta SET value = 0 WHERE name = 'published'", [])?;
        self.0.execute("DELETE FROM pushed", [])?;
        Ok(())
    }

    /// Remembers that the events of the ref `name` are in the log, up to the commit `tip`.
    pub fn mark_read(&self, name: &str, tip: &str) -> Result<(), StoreError> {
        self.0
            .prepare_cached("INSERT OR REPLACE INTO refs (name, tip) VALUES (?1, ?2)")?
            .execute([name, tip])?;
        Ok(())
    }

    /// Forgets a ref that is gone.
    pub fn forget_ref(&self, name: &str) -> Result<(), StoreError> {
        self.0.execute("DELETE FROM refs WHERE name = ?1", [name])?;
        Ok(())
    }

    /// Remembers a chunk that could not be read.
    pub fn mark_damaged(&self, chunk: &Damaged) -> Result<(), StoreError> {
        self.0.execute(
            "INSERT OR REPLACE INTO damaged (blob, name, problem) VALUES (?1, ?2, ?3)",
            params![chunk.blob, chunk.name, chunk.problem],
        )?;
        Ok(())
    }

    /// Forgets a chunk that can be read, or is in no ref any more.
    pub fn forget_damaged(&self, blob: &str) -> Result<(), StoreError> {
        self.0.execute("DELETE FROM damaged WHERE blob = ?1", [blob])?;
        Ok(())
    }

    /// The local lock of `resource`, as its record says.
    pub fn lock_record(&self, resource: &str) -> Result<Option<String>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT record FROM locks WHERE resource = ?1")?;
        Ok(statement.query_row([resource], |row| row.get(0)).optional()?)
    }

    /// The records of all local locks.
    pub fn lock_records(&self) -> Result<Vec<String>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT record FROM locks ORDER BY resource")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Keeps the record of a local lock, or none.
    pub fn set_lock_record(&self, resource: &str, record: Option<&str>) -> Result<(), StoreError> {
        match record {
            Some(record) => self.0.execute(
                "INSERT OR REPLACE INTO locks (resource, record) VALUES (?1, ?2)",
                [resource, record],
            )?,
            None => self.0.execute("DELETE FROM locks WHERE resource = ?1", [resource])?,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Way;
    use super::super::tests::event;
    use super::*;

    #[test]
    fn only_what_was_made_here_is_published_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::make(dir.path()).unwrap();
        let [first, other, second] = ["first", "other", "second"].map(event);
        let session = store.begin().unwrap();
        for (event, way) in [(&first, Way::Made), (&other, Way::Received), (&second, Way::Made)] {
            session.append(event, way).unwrap().unwrap();
        }
        session.commit().unwrap();
        let found = store.unpublished(usize::MAX).unwrap();
        assert_eq!((found.events.len(), found.end, found.more), (2, 3, false));
        let part = store.unpublished(1).unwrap();
        assert_eq!((part.events, part.end, part.more), (vec![first.bytes().to_vec()], 1, true));
        assert_eq!(store.unpushed("origin").unwrap(), 0, "nothing is published yet");

        let session = store.begin().unwrap();
        session.mark_published(3, "own", "tip").unwrap();
        session.commit().unwrap();
        assert!(store.unpublished(usize::MAX).unwrap().events.is_empty());
        assert_eq!(store.unpushed("origin").unwrap(), 2);
        let session = store.begin().unwrap();
        session.mark_pushed("origin").unwrap();
        session.commit().unwrap();
        assert_eq!((store.unpushed("origin").unwrap(), store.unpushed("other").unwrap()), (0, 2));

        let session = store.begin().unwrap();
        session.publish_again().unwrap();
        session.commit().unwrap();
        assert_eq!(store.unpublished(usize::MAX).unwrap().events.len(), 2);
    }

    #[test]
    fn what_others_made_is_taken_over_where_a_remote_does_not_have_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::make(dir.path()).unwrap();
        assert!(!store.has_received().unwrap());
        let [own, held, lost] = ["own", "held", "lost"].map(event);
        let session = store.begin().unwrap();
        for (event, way) in [(&own, Way::Made), (&held, Way::Received), (&lost, Way::Received)] {
            session.append(event, way).unwrap().unwrap();
        }
        session.count(3).unwrap();
        session.mark_published(3, "own", "tip").unwrap();
        session.mark_pushed("origin").unwrap();
        let held = HashSet::from([*held.id().as_bytes()]);
        session.adopt("origin", &held).unwrap();
        session.commit().unwrap();
        assert_eq!(store.unpublished(usize::MAX).unwrap().events, [lost.bytes().to_vec()]);
        let session = store.begin().unwrap();
        session.mark_published(3, "own", "tip").unwrap();
        session.commit().unwrap();
        assert_eq!(store.unpushed("origin").unwrap(), 2);
        let session = store.begin().unwrap();
        session.mark_pushed("origin").unwrap();
        session.adopt("origin", &held).unwrap();
        session.commit().unwrap();
        assert_eq!(store.unpushed("origin").unwrap(), 0, "once is enough");
        assert!(store.has_received().unwrap());
    }
}
