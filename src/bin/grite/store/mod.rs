//! The [`Store`]: one SQLite file that keeps events for good, and what is derived from them.
//!
//! Events are the truth. The folded issues, the search index and the remembered answers stand
//! beside them so that opening, searching and repeating are quick; the first two can be made anew
//! from the events at any time. Every change is one [`Session`]: an immediate transaction, on the
//! disk before [`Session::commit`] returns.
//!
//! The store does not decide what a command means: that is the engine's.

mod error;
mod examine;
mod exchange;
mod project;
mod rebuild;
mod renew;
mod schema;
mod search;
mod session;

use std::fs;
use std::io;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::fault;
use crate::model::{Issue, IssueId, Sealed};

pub use error::StoreError;
use examine::open_existing;
pub use examine::{Examined, Sound, examine};
pub use exchange::Damaged;
pub use renew::{Marks, REPLACED, hold, replace, salvage};
pub use search::Words;
pub use session::{Answer, Session};
use session::{answer, events_after, read_event};

/// How long a command waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a command of which others wait for the store sleeps before it looks again whether another process
/// still writes: at first, and at last.
const PAUSES: Range<Duration> = Duration::from_millis(1)..Duration::from_millis(32);

/// How much memory pages take at most, in KiB; what SQLite itself takes by default.
const NARROW: i64 = 2000;

/// How many pages the log has at most before the next write moves them; what SQLite itself takes by default.
const LOG: i64 = 1000;

/// The same as [`NARROW`] during a long transaction.
const WIDE: i64 = 64 << 10;

/// One connection to the store of a folder.
pub struct Store {
    connection: Connection,
    /// For how long it waits for another process that writes.
    patience: Duration,
    dir: PathBuf,
    file: FileId,
}

/// Which file a store is: its device and its inode. While one is open, no other file has the same.
pub type FileId = (u64, u64);

/// The place of an event in this store's log; each is greater than all before it.
pub type Sequence = i64;

/// How an event came into this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It was made here: this clone publishes it.
    Made,
    /// Another clone published it.
    Received,
}

impl Store {
    /// The store's file in the folder `dir`.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join("issues.db")
    }

    /// Which file this is.
    pub fn file(&self) -> FileId {
        self.file
    }

    /// Whether the store of the folder `dir` is `file`, as far as can be told.
    pub fn is_at(dir: &Path, file: FileId) -> bool {
        match file_in(dir) {
            Ok(found) => found == file,
            Err(error) => !matches!(error.kind(), NotFound | NotADirectory),
        }
    }

    /// Whether the folder `dir` has a store: its file is there and not empty, as far as can be told.
    pub fn is_in(dir: &Path) -> bool {
        match fs::metadata(Store::path(dir)) {
            Ok(found) => found.len() > 0,
            Err(error) => !matches!(error.kind(), NotFound | NotADirectory),
        }
    }

    /// Opens the store of the folder `dir`.
    ///
    /// # Errors
    /// [`StoreError`]: among others when there is none, or a newer program made it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        if !Store::is_in(dir) {
            return Err(StoreError::Missing);
        }
        loop {
            let file = file_in(dir)?;
            let connection = open_existing(&Store::path(dir))?;
            // With its first read SQLite opens the log, too, by its name.
            let prepared = schema::prepare(&connection);
            // Another one may have been put in its place meanwhile, whose log it may be.
            if file_in(dir)? == file {
                prepared?;
                return Store::of(connection, dir, file);
            }
        }
    }

    /// Opens the store of the folder `dir`, and makes it if there is none yet.
    ///
    /// # Errors
    /// [`StoreError`]: among others when a newer program made it.
    pub fn make(dir: &Path) -> Result<Self, StoreError> {
        let mut connection = Connection::open(Store::path(dir))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        schema::make(&mut connection)?;
        schema::prepare(&connection)?;
        Store::of(connection, dir, file_in(dir)?)
    }

    fn of(connection: Connection, dir: &Path, file: FileId) -> Result<Self, StoreError> {
        let mut store = Store { connection, patience: BUSY_TIMEOUT, dir: dir.to_owned(), file };
        store.rebuild_outdated()?;
        Ok(store)
    }

    /// Waits for another process that writes for no longer than `patience`.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn limit_patience(&mut self, patience: Duration) -> Result<(), StoreError> {
        self.patience = patience.min(BUSY_TIMEOUT);
        Ok(self.connection.busy_timeout(self.patience)?)
    }

    /// Lets transactions keep more pages in memory, until [`narrow`](Store::narrow): a long one would write
    /// them out and read them back again and again. What they commit is durable in the log, and stays there
    /// until [`write_back`](Store::write_back).
    pub fn widen(&self) -> Result<(), StoreError> {
        self.connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
        Ok(self.connection.pragma_update(None, "cache_size", -WIDE)?)
    }

    /// As it was before [`widen`](Store::widen).
    pub fn narrow(&self) -> Result<(), StoreError> {
        self.connection.pragma_update_and_check(None, "wal_autocheckpoint", LOG, |_| Ok(()))?;
        self.connection.pragma_update(None, "cache_size", -NARROW)?;
        self.connection.execute_batch("PRAGMA shrink_memory")?;
        Ok(())
    }

    /// Writes what is in the log of the store of `dir` to its place, beside all who read and write.
    pub fn write_back(dir: &Path) -> Result<(), StoreError> {
        let connection = open_existing(&Store::path(dir))?;
        connection.pragma_update_and_check(None, "wal_checkpoint", "PASSIVE", |_| Ok(()))?;
        fault::point("store.written-back");
        Ok(())
    }

    /// Starts a transaction that can write; waits for the one of another process.
    ///
    /// # Errors
    /// [`StoreError`]: among others when another store is in the place of this one, where nobody would find what is
    /// written here.
    pub fn begin(&mut self) -> Result<Session<'_>, StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Not before: the one that it waited for may have been that of whoever has replaced it.
        if !Store::is_at(&self.dir, self.file) {
            return Err(StoreError::Replaced);
        }
        Ok(Session::of(transaction))
    }

    /// Carries out `work` in a transaction, as of [`begin`](Store::begin). While it waits for the one of another
    /// process, `store` is anybody's.
    ///
    /// # Errors
    /// As `begin`, and as `work` says.
    pub fn in_turn<T, E: From<StoreError>>(
        store: &Mutex<Store>,
        work: impl FnOnce(Session<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let start = Instant::now();
        let mut pause = PAUSES.start;
        loop {
            // Whoever panicked with it left no half-made change: transactions roll back.
            let store = store.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(session) = store.attempt()? {
                if !Store::is_at(&store.dir, store.file) {
                    return Err(StoreError::Replaced.into());
                }
                return work(session);
            }
            if start.elapsed() >= store.patience {
                return Err(StoreError::Busy.into());
            }
            drop(store);
            thread::sleep(pause);
            pause = (2 * pause).min(PAUSES.end);
        }
    }

    /// As [`begin`](Store::begin), but waits for nobody: `None` while another process has a transaction.
    pub fn try_begin(&mut self) -> Result<Option<Session<'_>>, StoreError> {
        self.attempt()
    }

    /// Only where this connection has no transaction.
    fn attempt(&self) -> Result<Option<Session<'_>>, StoreError> {
        self.connection.busy_timeout(Duration::ZERO)?;
        let begun = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate);
        self.connection.busy_timeout(self.patience)?;
        match begun.map_err(StoreError::from) {
            Ok(transaction) => Ok(Some(Session::of(transaction))),
            Err(StoreError::Busy) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The committed events behind `place`, in order, whoever writes meanwhile.
    pub fn events_after(&self, place: Sequence) -> Result<Vec<(Sequence, Sealed)>, StoreError> {
        events_after(&self.connection, place)
    }

    /// The answer that a write with this key got before, whoever writes meanwhile.
    pub fn answer(&self, key: &str) -> Result<Option<Answer>, StoreError> {
        answer(&self.connection, key)
    }

    /// All folded issues, with how many events they are made of and where the log ends.
    pub fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        let transaction = self.connection.transaction()?;
        let end = transaction.query_row("SELECT ifnull(max(seq), 0) FROM events", [], |row| row.get(0))?;
        // Counting them would read them.
        let events: i64 =
            transaction.query_row("SELECT value FROM meta WHERE name = 'events'", [], |row| row.get(0))?;
        let mut issues = Vec::new();
        let mut statement = transaction.prepare("SELECT id, folded FROM issues")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = issue_id(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
            let folded = row.get_ref(1)?.as_bytes().map_err(rusqlite::Error::from)?;
            let issue = Issue::from_folded(folded).map_err(|error| {
                StoreError::Damaged(format!("the row of issue {id} cannot be read: {error}"))
            })?;
            issues.push((id, issue));
        }
        Ok(Snapshot { issues, events: events.unsigned_abs(), end })
    }

    /// The issues that hold all `words`.
    pub fn search(&self, words: &Words) -> Result<Vec<IssueId>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT issues.id FROM search JOIN issues ON issues.number = search.rowid WHERE search MATCH ?1",
        )?;
        let mut rows = statement.query([words.query()])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(issue_id(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
        }
        Ok(found)
    }
}

/// What is in the store at one point in time.
pub struct Snapshot {
    /// The folded issues.
    pub issues: Vec<(IssueId, Issue)>,
    /// How many events there are.
    pub events: u64,
    /// The last event's place.
    pub end: Sequence,
}

fn file_in(dir: &Path) -> io::Result<FileId> {
    fs::metadata(Store::path(dir)).map(|found| (found.dev(), found.ino()))
}

fn issue_id(text: &str) -> Result<IssueId, StoreError> {
    text.parse().map_err(|_| StoreError::Damaged(format!("{text:?} is no issue id")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Event, LogicalTime, Moment, Operation, Origin};

    pub(super) fn event(title: &str) -> Sealed {
        Sealed::seal(Event {
            v: Event::VERSION,
            actor: "ann".to_owned(),
            time: LogicalTime::from((1, 0)),
            at: Moment::now(),
            origin: Origin::Command,
            issue: None,
            cause: None,
            op: Operation::Create { source: None, nonce: None, title: title.to_owned(), body: String::new() },
        })
        .unwrap()
    }

    pub(super) fn keep(store: &mut Store, event: &Sealed) -> Issue {
        let mut issue = Issue::default();
        issue.apply(event);
        let session = store.begin().unwrap();
        session.append(event, Way::Made).unwrap().unwrap();
        session.count(1).unwrap();
        session.project(&BTreeMap::from([(event.issue(), issue.clone())])).unwrap();
        session.commit().unwrap();
        issue
    }

    #[test]
    fn what_was_committed_is_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let event = event("kept");
        let issue = keep(&mut Store::make(dir.path()).unwrap(), &event);
        let mut store = Store::open(dir.path()).unwrap();
        let snapshot = store.snapshot().unwrap();
        assert_eq!(snapshot.issues, [(event.issue(), issue)]);
        assert_eq!((snapshot.events, snapshot.end), (1, 1));
        let session = store.begin().unwrap();
        assert_eq!(session.events_after(0).unwrap(), [(1, event.clone())]);
        assert_eq!(session.events_of(event.issue()).unwrap(), std::slice::from_ref(&event));
        assert_eq!(session.append(&event, Way::Received).unwrap(), None);
    }

    #[test]
    fn what_a_long_transaction_commits_is_durable_at_once_and_written_to_its_place_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::make(dir.path()).unwrap();
        let length = || std::fs::metadata(Store::path(dir.path())).unwrap().len();
        store.widen().unwrap();
        let session = store.begin().unwrap();
        for number in 0..2000 {
            session
                .append(&event(&format!("{number} {}", "x".repeat(3000))), Way::Received)
                .unwrap()
                .unwrap();
        }
        session.commit().unwrap();
        store.narrow().unwrap();
        let before = length();
        assert!(before < 2000 * 3000, "it is in the log");
        let session = store.begin().unwrap();
        assert_eq!(session.events_after(0).unwrap().len(), 2000);
        drop(session);
        Store::write_back(dir.path()).unwrap();
        assert!(length() > before + 2000 * 3000, "it is in its place");
    }

    #[test]
    fn what_was_not_committed_never_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::make(dir.path()).unwrap();
        store.begin().unwrap().append(&event("lost"), Way::Made).unwrap().unwrap();
        assert_eq!(store.snapshot().unwrap().events, 0);
    }

    #[test]
    fn an_event_whose_bytes_were_changed_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::make(dir.path()).unwrap();
        keep(&mut store, &event("whole"));
        store
            .connection
            .execute("UPDATE events SET body = cast(replace(body, 'whole', 'other') AS BLOB)", [])
            .unwrap();
        let session = store.begin().unwrap();
        assert!(matches!(session.events_after(0), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn searching_finds_all_words_and_no_text_breaks_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::make(dir.path()).unwrap();
        let event = event("Warm Daemon answers: don't panic (bd-0088)");
        keep(&mut store, &event);
        let hits = |text: &str| Words::parse(text).map(|words| store.search(&words).unwrap().len());
        for text in
            ["warm", "DAEMON warm", "ans", "don't", "bd-0088", "warm AND", "warm -- answers", "warm\0an"]
        {
            let expected = usize::from(text != "warm AND");
            assert_eq!(hits(text), Some(expected), "{text}");
        }
        for text in [
            "cold",
            "war daemon",
            "\"",
            "title:warm",
            "warm OR cold",
            "NEAR(warm daemon)",
            "^cold",
            "*",
            "😀",
        ] {
            assert_ne!(hits(text), Some(1), "{text}");
        }
    }
}
