//! The tables, and the check that this program knows them.

use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior};

use super::{BUSY_TIMEOUT, StoreError};
use crate::model::FOLDED_VERSION;

/// The version of the tables below.
pub const VERSION: i64 = 2;

/// How long to wait before the journal's mode is asked for again.
const PAUSE: Duration = Duration::from_millis(5);

/// The truth first, then what follows from it.
const TABLES: &str = "
    -- The versions of tables and folded issues, how many events there are, and up to which place in the log
    -- those that were made here have been published.
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

    -- The log. The hash names the body's bytes; seq is where it stands in this store alone; received is 1
    -- for what another clone published.
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        hash BLOB NOT NULL UNIQUE,
        issue TEXT NOT NULL,
        received INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX events_by_issue ON events (issue);
    CREATE INDEX events_made ON events (received) WHERE received = 0;

    -- Each issue as its events add up to, so that opening need not fold them all.
    CREATE TABLE issues (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, folded BLOB NOT NULL) STRICT;

    -- Words of each issue, under its number. The texts themselves are in the tables above.
    CREATE VIRTUAL TABLE search USING fts5 (title, body, comments, content='', contentless_delete=1);

    -- What each write was answered, by its idempotency key.
    CREATE TABLE answers (
        key TEXT PRIMARY KEY,
        command BLOB NOT NULL,
        answer TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX answers_by_age ON answers (at);

    -- The refs whose events are in the log, each up to this commit. One of them may be this clone's own: at this
    -- commit it holds all that is published.
    CREATE TABLE refs (name TEXT PRIMARY KEY, tip TEXT NOT NULL) STRICT, WITHOUT ROWID;

    -- Chunks of these refs that could not be read. They are tried again.
    CREATE TABLE damaged (blob TEXT PRIMARY KEY, name TEXT, problem TEXT NOT NULL) STRICT, WITHOUT ROWID;

    -- Up to which place in the log a remote has what was made here.
    CREATE TABLE pushed (remote TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;

    -- Locks of this clone alone, where there is no remote to keep them.
    CREATE TABLE locks (resource TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// Makes the tables where there are none.
pub fn make(connection: &mut Connection) -> Result<(), StoreError> {
    write_ahead(connection)?;
    if version(connection)?.is_none() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been first.
        if version(&transaction)?.is_none() {
            transaction.execute_batch(TABLES)?;
            transaction.execute("INSERT INTO meta (name, value) VALUES ('schema', ?1)", [VERSION])?;
            transaction.execute("INSERT INTO meta (name, value) VALUES ('events', 0)", [])?;
            transaction.execute("INSERT INTO meta (name, value) VALUES ('published', 0)", [])?;
            // Nothing is folded yet, in whatever form.
            transaction.execute("INSERT INTO meta (name, value) VALUES ('folded', ?1)", [FOLDED_VERSION])?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// Sets the connection up, and refuses tables of another program.
pub fn prepare(connection: &Connection) -> Result<(), StoreError> {
    write_ahead(connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    match version(connection)? {
        Some(VERSION) => Ok(()),
        Some(found) if found > VERSION => Err(StoreError::Newer { found, known: VERSION }),
        Some(found) => Err(StoreError::Damaged(format!("it has format {found}, which no release had"))),
        None => Err(StoreError::Damaged("the schema's version is missing".to_owned())),
    }
}

/// Turns write-ahead logging on, for good.
///
/// SQLite does not wait for another process that does the same at this moment, so this does.
fn write_ahead(connection: &Connection) -> Result<(), StoreError> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)) {
            Ok(_) => return Ok(()),
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The version of the tables; `None` in an empty file.
pub fn version(connection: &Connection) -> Result<Option<i64>, StoreError> {
    let known = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'meta'", [], |_| Ok(()))
        .optional()?
        .is_some();
    if !known {
        return Ok(None);
    }
    let found = connection.query_row("SELECT value FROM meta WHERE name = 'schema'", [], |row| row.get(0));
    Ok(found.optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_a_newer_program_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(dir.path().join("x.db")).unwrap();
        make(&mut connection).unwrap();
        make(&mut connection).unwrap();
        prepare(&connection).unwrap();
        connection.execute("UPDATE meta SET value = ?1 WHERE name = 'schema'", [VERSION + 1]).unwrap();
        let error = prepare(&connection).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found, .. } if found == VERSION + 1));
    }

    #[test]
    fn a_write_is_durable_when_it_returns() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(dir.path().join("x.db")).unwrap();
        make(&mut connection).unwrap();
        prepare(&connection).unwrap();
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        let synchronous: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }
}
