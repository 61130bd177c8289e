//! Makes what is derived from events anew: the folded issues and the search index.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};

use super::{Session, Store, StoreError};
use crate::model::{FOLDED_VERSION, Issue, IssueId};

impl Store {
    /// Folds all events anew if another program than this one folded them.
    pub(super) fn rebuild_outdated(&mut self) -> Result<(), StoreError> {
        const FOLDED_BY: &str = "SELECT value FROM meta WHERE name = 'folded'";
        let folded = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        if self.connection.query_row(FOLDED_BY, [], folded).optional()? == Some(FOLDED_VERSION) {
            return Ok(());
        }
        let session = self.begin()?;
        // Another process may have been first.
        if session.0.query_row(FOLDED_BY, [], folded).optional()? != Some(FOLDED_VERSION) {
            session.rebuild()?;
        }
        session.commit()
    }
}

impl Session<'_> {
    /// Folds all events anew.
    pub fn rebuild(&self) -> Result<(), StoreError> {
        let mut issues: BTreeMap<IssueId, Issue> = BTreeMap::new();
        let events = self.events_after(0)?;
        for (_, event) in &events {
            issues.entry(event.issue()).or_default().apply(event);
        }
        self.0.execute("DELETE FROM issues", [])?;
        self.0.execute("INSERT INTO search (search) VALUES ('delete-all')", [])?;
        self.project(&issues)?;
        let mut set = self.0.prepare("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?;
        set.execute(params!["events", i64::try_from(events.len()).unwrap_or(i64::MAX)])?;
        set.execute(params!["folded", FOLDED_VERSION])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Words;
    use super::super::tests::{event, keep};
    use super::*;

    #[test]
    fn a_store_that_another_program_folded_is_folded_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::make(dir.path()).unwrap();
        let kept = event("found again");
        keep(&mut store, &kept);
        let before = store.snapshot().unwrap().issues;
        store.connection.execute("UPDATE issues SET folded = x'00'", []).unwrap();
        store.connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'folded'", []).unwrap();
        assert!(matches!(store.snapshot(), Err(StoreError::Damaged(_))));
        store.connection.execute("UPDATE meta SET value = 99 WHERE name = 'events'", []).unwrap();

        let mut store = Store::open(dir.path()).unwrap();
        let snapshot = store.snapshot().unwrap();
        assert_eq!((snapshot.issues, snapshot.events), (before, 1));
        assert_eq!(store.search(&Words::parse("again").unwrap()).unwrap(), [kept.issue()]);
    }
}
