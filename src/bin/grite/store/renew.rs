//! A new store in the place of one that is damaged, gone, or not trusted: [`hold`] keeps others from writing to it
//! meanwhile, [`salvage`] reads what can be read, and [`replace`] makes a store of it and of what git holds.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::examine::open_existing;
use super::{Store, StoreError, Way, read_event};
use crate::fault;
use crate::model::{EventId, Moment, Sealed};

/// What comes behind the name of a store that was replaced.
pub const REPLACED: &str = "replaced";

/// After how many places without a readable event in a row the rest of a log is given up.
const PATIENCE: i64 = 100_000;

/// The tables that no event brings back: answers to writes, and locks of this clone alone.
const KEPT: [(&str, &str); 2] = [
    ("SELECT key, command, answer, at FROM answers", "INSERT OR IGNORE INTO answers VALUES (?1, ?2, ?3, ?4)"),
    ("SELECT resource, record FROM locks", "INSERT OR IGNORE INTO locks VALUES (?1, ?2)"),
];

/// How often others may write between two steps of [`hold`] before it takes the store for busy.
const ATTEMPTS: u32 = 100;

/// Keeps others from writing to a store, whose log is empty, until this is dropped.
#[derive(Default)]
pub struct Hold {
    connection: Option<Connection>,
    /// The store's file, where it was opened beside the connection. To close it releases the locks of that.
    opened: Option<File>,
}

/// Keeps others from writing to the store of the folder `dir` from now on, unless it is one that SQLite cannot use
/// and nobody can write to.
///
/// # Errors
/// [`StoreError::Busy`] when another process reads or writes for too long, or what the system says where others can
/// write all the same.
pub fn hold(dir: &Path) -> Result<Hold, StoreError> {
    if !Store::is_in(dir) {
        return Ok(Hold::default());
    }
    match hold_file(&Store::path(dir)) {
        Ok(connection) => Ok(Hold { connection: Some(connection), opened: None }),
        Err(error) => refrain(&Store::path(dir), error),
    }
}

/// Holds nothing, since `error` kept us from it, unless others can write all the same.
fn refrain(path: &Path, error: StoreError) -> Result<Hold, StoreError> {
    let begin = || Ok(open_existing(path)?.execute_batch("BEGIN IMMEDIATE")?);
    match error {
        StoreError::Busy => Err(error),
        // It may pass, and what they write meanwhile would not be in the new store.
        StoreError::Forbidden(_) | StoreError::System(_)
            if matches!(begin(), Ok(()) | Err(StoreError::Busy)) =>
        {
            Err(error)
        }
        // What can be read of it is salvaged all the same.
        _ => Ok(Hold::default()),
    }
}

fn hold_file(path: &Path) -> Result<Connection, StoreError> {
    let connection = open_existing(path)?;
    for _ in 0..ATTEMPTS {
        // Moves what is in the log to its place in the file, which cannot be done in a transaction.
        let busy = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
        if connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], busy)? {
            return Err(StoreError::Busy);
        }
        connection.execute_batch("BEGIN IMMEDIATE")?;
        if fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len()) == 0 {
            return Ok(connection);
        }
        connection.execute_batch("ROLLBACK")?;
    }
    Err(StoreError::Busy)
}

/// What could be read of a store.
#[derive(Default)]
pub struct Salvage {
    /// The events, each with how it came.
    pub events: Vec<(Sealed, Way)>,
    /// The places of the log that hold something that is no event any more: what the event was called, where that
    /// is known.
    pub lost: Vec<Option<EventId>>,
    /// How many hold an event that a newer program wrote.
    pub newer: u64,
}

/// Reads each event that can be read in the store of the folder `dir`.
pub fn salvage(dir: &Path) -> Salvage {
    let mut found = Salvage::default();
    if !Store::is_in(dir) {
        return found;
    }
    let Ok(connection) = open_existing(&Store::path(dir)) else {
        found.lost.push(None);
        return found;
    };
    let (mut next, mut failed) = (1, 0);
    while failed < PATIENCE {
        match read_from(&connection, next, &mut found) {
            // The log has ended.
            Ok(()) => break,
            // Something on the way cannot be read: the next place may be on another page.
            Err(last) => {
                failed = if last > next { 0 } else { failed + 1 };
                next = last + 1;
            }
        }
        if next > end(&connection) {
            break;
        }
    }
    if !found.lost.is_empty()
        && let Ok(names) = names(&connection)
    {
        let read: BTreeSet<EventId> = found.events.iter().map(|(event, _)| event.id()).collect();
        found.lost = names.into_iter().filter(|name| !read.contains(name)).map(Some).collect();
    }
    found
}

/// The names of all events of the log, which its index has on other pages than the events themselves.
fn names(connection: &Connection) -> Result<Vec<EventId>, rusqlite::Error> {
    let mut select = connection.prepare("SELECT hash FROM events INDEXED BY sqlite_autoindex_events_1")?;
    let names = select.query_map([], |row| row.get::<_, [u8; 32]>(0))?;
    names.map(|name| name.map(EventId::from)).collect()
}

/// Reads the log from the place `next` on; the place that could not be read is the error.
fn read_from(connection: &Connection, next: i64, found: &mut Salvage) -> Result<(), i64> {
    let mut place = next;
    let mut read = || -> Result<(), rusqlite::Error> {
        let mut statement = connection
            .prepare_cached("SELECT seq, received, hash, body FROM events WHERE seq >= ?1 ORDER BY seq")?;
        let mut rows = statement.query([next])?;
        while let Some(row) = rows.next()? {
            place = row.get(0)?;
            let way = if row.get(1)? { Way::Received } else { Way::Made };
            match read_event(row.get(2)?, row.get(3)?) {
                Ok(event) => found.events.push((event, way)),
                Err(StoreError::Newer { .. }) => found.newer += 1,
                Err(_) => found.lost.push(None),
            }
            place += 1;
        }
        Ok(())
    };
    let read = read();
    read.map_err(|_| {
        found.lost.push(None);
        place
    })
}

/// The last place that the log ever gave away, as far as that can be read.
fn end(connection: &Connection) -> i64 {
    let last =
        connection.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'events'", [], |row| row.get(0));
    last.unwrap_or(PATIENCE)
}

/// How far the events of a new store have come.
#[derive(Default)]
pub struct Marks {
    /// How many, from the first one on, are in this clone's ref.
    pub published: usize,
    /// This clone's ref, and the commit that it names, if it is there and all of it was read. Else none of the events
    /// count as published, and the next sync reads it and publishes them again.
    pub own: Option<(String, String)>,
    /// How many each remote has of these.
    pub pushed: Vec<(String, usize)>,
}

/// Makes a new store in the folder `dir`, of `events`, which have come as far as `marks` says. Where an old
/// one was, which is held, it is kept beside it, under the name that is given back.
///
/// The store's name leads to the old one or to the new one all the time, each with all that was committed. Whoever
/// waits to write to the old one finds that it is replaced.
///
/// # Errors
/// [`StoreError`]; the old store is in its place then.
pub fn replace(
    dir: &Path,
    mut held: Hold,
    events: &[(Sealed, Way)],
    marks: &Marks,
) -> Result<Option<PathBuf>, StoreError> {
    let workshop = dir.join("issues.db.new");
    let failed = |error: std::io::Error| StoreError::Damaged(format!("a new one cannot be made: {error}"));
    if workshop.exists() {
        fs::remove_dir_all(&workshop).map_err(failed)?;
    }
    fs::create_dir(&workshop).map_err(failed)?;
    let new = write(&workshop, dir, events, marks)?;
    let old = Store::path(dir);
    let kept = beside(&old, &format!(".{REPLACED}-{}", Moment::now().milliseconds()));
    let any = second_name(&mut held, &old, &kept).map_err(failed)?;
    fault::point("renew.kept");
    // The new store would take what is in the log for changes of its own.
    if held.connection.is_none() {
        set_log_aside(&old, &kept).map_err(failed)?;
    }
    fault::point("renew.replacing");
    fs::rename(Store::path(&workshop), &old).map_err(failed)?;
    fault::point("renew.replaced");
    // An empty one is open in this process and perhaps in others, which notice no other log as long as the store's
    // file is the old one.
    if held.connection.is_some() {
        remove_log(&old).map_err(failed)?;
    }
    // Nobody writes to the new one before it is there for good.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    drop((new, held));
    // With a log again: without one, those who read keep others from writing. Else the next command makes it.
    let _ = Store::open(dir);
    fs::remove_dir_all(&workshop).map_err(failed)?;
    Ok(any.then_some(kept))
}

/// Writes the new store, which nobody else can read or write until it is dropped.
fn write(workshop: &Path, old: &Path, events: &[(Sealed, Way)], marks: &Marks) -> Result<Store, StoreError> {
    let mut store = Store::make(workshop)?;
    let session = store.begin()?;
    let mut places = vec![0];
    for (event, way) in events {
        let last = places.last().copied().unwrap_or(0);
        places.push(session.append(event, *way)?.unwrap_or(last));
    }
    let place = |count: usize| places.get(count).or(places.last()).copied().unwrap_or(0);
    if let Some((name, tip)) = &marks.own {
        session.mark_published(place(marks.published), name, tip)?;
        for (remote, count) in &marks.pushed {
            session.mark_pushed_up_to(remote, place(*count))?;
        }
    }
    session.rebuild()?;
    if let Ok(old) = open_existing(&Store::path(old)) {
        for (from, into) in KEPT {
            // What cannot be read of these is lost with the old store, which is kept.
            let _ = copy(&old, &session.0, from, into);
        }
    }
    session.commit()?;
    // All of it in one file, before that is moved to where the old one's log is.
    store.connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    store.connection.execute_batch("BEGIN EXCLUSIVE")?;
    Ok(store)
}

fn copy(from: &Connection, into: &Connection, select: &str, insert: &str) -> Result<(), rusqlite::Error> {
    let mut select = from.prepare(select)?;
    let columns = select.column_count();
    let mut insert = into.prepare(insert)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let values: Result<Vec<rusqlite::types::Value>, _> =
            (0..columns).map(|column| row.get(column)).collect();
        insert.execute(rusqlite::params_from_iter(values?))?;
    }
    Ok(())
}

/// Gives the file `old`, if it is there, the name `new`, too, or makes a copy of it where a file has one name at
/// most.
fn second_name(held: &mut Hold, old: &Path, new: &Path) -> std::io::Result<bool> {
    match fs::hard_link(old, new) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(_) => {
            let old = held.opened.insert(File::open(old)?);
            let mut copy = File::create(new)?;
            copy.set_permissions(old.metadata()?.permissions())?;
            std::io::copy(old, &mut copy)?;
            copy.sync_all()?;
            Ok(true)
        }
    }
}

/// Gives the log of the store `old`, if there is one, the name that goes with `kept`.
fn set_log_aside(old: &Path, kept: &Path) -> std::io::Result<()> {
    for end in ["-wal", "-shm"] {
        match fs::rename(beside(old, end), beside(kept, end)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the log of the store `old`, in which nothing is.
fn remove_log(old: &Path) -> std::io::Result<()> {
    for end in ["-wal", "-shm"] {
        match fs::remove_file(beside(old, end)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The path of a file whose name is that of `path` and `end`.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::super::examine::{Examined, examine};
    use super::super::tests::{event, keep};
    use super::*;

    fn sound(dir: &Path) -> Vec<crate::model::EventId> {
        match examine(dir) {
            Ok(Examined::Sound(sound)) if sound.wrong.is_empty() && !sound.miscounted => sound.events,
            _ => panic!("it is not sound"),
        }
    }

    #[test]
    fn a_page_of_rubbish_loses_what_was_on_it_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::make(dir.path()).unwrap();
        for number in 0..400 {
            keep(&mut store, &event(&format!("number {number}, {}", "x".repeat(200))));
        }
        drop(store);
        assert_eq!(sound(dir.path()).len(), 400);
        let page: i64 = 4096;
        let mut file = fs::File::options().write(true).open(Store::path(dir.path())).unwrap();
        // A leaf of the log: it was filled from the first pages on.
        file.seek(SeekFrom::Start(20 * page.unsigned_abs())).unwrap();
        file.write_all(&vec![0xa5; 4096]).unwrap();
        drop(file);
        assert!(matches!(examine(dir.path()), Ok(Examined::Damaged(_))));

        let held = hold(dir.path()).unwrap();
        let found = salvage(dir.path());
        assert!(found.events.len() > 300, "{} read, {} lost", found.events.len(), found.lost.len());
        assert_eq!(found.events.len() + found.lost.len(), 400);
        assert!(found.lost.iter().all(Option::is_some), "the index has their names");
        let kept = replace(dir.path(), held, &found.events, &Marks::default()).unwrap().unwrap();
        assert!(kept.exists());
        assert_eq!(sound(dir.path()).len(), found.events.len());
    }

    #[test]
    fn a_store_that_is_gone_is_made_of_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(examine(dir.path()), Ok(Examined::Missing)));
        assert!(salvage(dir.path()).events.is_empty());
        let events = [(event("one"), Way::Made), (event("two"), Way::Made)];
        let own = Some(("own".to_owned(), "tip".to_owned()));
        let marks = Marks { published: 1, own, pushed: vec![("origin".to_owned(), 1)] };
        let held = hold(dir.path()).unwrap();
        assert_eq!(replace(dir.path(), held, &events, &marks).unwrap(), None);
        assert_eq!(sound(dir.path()).len(), 2);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.unpublished(usize::MAX).unwrap().events, [events[1].0.bytes().to_vec()]);
        assert_eq!((store.unpushed("origin").unwrap(), store.unpushed("other").unwrap()), (0, 1));
        assert_eq!(
            fs::read_dir(dir.path())
                .unwrap()
                .filter_map(Result::ok)
                .filter(|entry| entry.path().is_dir())
                .count(),
            0
        );
    }

    #[test]
    fn nobody_writes_to_a_store_that_is_being_replaced_or_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::make(dir.path()).unwrap();
        keep(&mut store, &event("kept"));
        store.limit_patience(std::time::Duration::ZERO).unwrap();
        let held = hold(dir.path()).unwrap();
        assert!(matches!(store.begin(), Err(StoreError::Busy)));
        let found = salvage(dir.path());
        replace(dir.path(), held, &found.events, &Marks::default()).unwrap().unwrap();
        assert!(matches!(store.begin(), Err(StoreError::Replaced)));
        let mut new = Store::open(dir.path()).unwrap();
        keep(&mut new, &event("written to the new one"));
        drop((store, new));
        assert_eq!(sound(dir.path()).len(), 2);
        // The new one and the old one, and no log of either.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_failure_that_may_pass_ends_a_rebuild_unless_nobody_can_write() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::make(dir.path()).unwrap());
        let path = Store::path(dir.path());
        let full = || StoreError::System("database or disk is full".to_owned());
        assert!(matches!(refrain(&path, full()), Err(StoreError::System(_))));
        assert!(refrain(&path, StoreError::Damaged("a page".to_owned())).is_ok());
        fs::write(&path, "rubbish").unwrap();
        assert!(refrain(&path, full()).is_ok());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_store_that_is_copied_stays_held() {
        use nix::fcntl::{FcntlArg, fcntl};
        use nix::libc::{F_UNLCK, F_WRLCK, SEEK_SET, flock};

        let dir = tempfile::tempdir().unwrap();
        drop(Store::make(dir.path()).unwrap());
        let (old, kept) = (Store::path(dir.path()), dir.path().join("kept"));
        let other = File::options().write(true).open(&old).unwrap();
        let is_locked = || {
            let mut lock =
                flock { l_type: F_WRLCK as i16, l_whence: SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
            fcntl(&other, FcntlArg::F_OFD_GETLK(&mut lock)).unwrap();
            i32::from(lock.l_type) != F_UNLCK
        };
        assert!(!is_locked());
        let mut held = hold(dir.path()).unwrap();
        assert!(is_locked());
        // No file gets a name that another one has.
        File::create(&kept).unwrap();
        assert!(second_name(&mut held, &old, &kept).unwrap());
        assert!(is_locked());
        drop(held);
        assert_eq!(fs::read(&kept).unwrap(), fs::read(&old).unwrap());
    }

    #[test]
    fn a_row_that_was_changed_by_hand_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::make(dir.path()).unwrap();
        let kept = event("one");
        keep(&mut store, &kept);
        store.connection.execute("UPDATE issues SET folded = zeroblob(length(folded))", []).unwrap();
        let Ok(Examined::Sound(found)) = examine(dir.path()) else { panic!() };
        assert_eq!(found.wrong, [kept.issue()]);
    }
}
