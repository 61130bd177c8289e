//! Whether a store is sound: [`examine`], which changes nothing.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::schema::{self, VERSION};
use super::{Store, StoreError, read_event};
use crate::model::{EventId, Issue, IssueId};

/// How many problems of the file are named.
const NAMED: usize = 5;

/// What was found.
pub enum Examined {
    /// There is no file, or an empty one.
    Missing,
    /// A newer program made it, or something in it; what it has, in words.
    Newer(String),
    /// Pages or events cannot be as they were written; what was found, in words.
    Damaged(Vec<String>),
    /// The events are sound.
    Sound(Sound),
}

/// What is in a store whose events are sound.
#[derive(Default)]
pub struct Sound {
    /// The names of all events.
    pub events: Vec<EventId>,
    /// The issues whose rows are not what their events make.
    pub wrong: Vec<IssueId>,
    /// The issues as their events make them.
    pub issues: BTreeMap<IssueId, Issue>,
    /// Whether the number of events that is remembered is another one.
    pub miscounted: bool,
}

/// Reads all of the store in the folder `dir`.
///
/// # Errors
/// [`StoreError`] when the system does not let it be read.
pub fn examine(dir: &Path) -> Result<Examined, StoreError> {
    if !Store::is_in(dir) {
        return Ok(Examined::Missing);
    }
    match look(&Store::path(dir)) {
        Err(StoreError::Damaged(problem)) => Ok(Examined::Damaged(vec![problem])),
        other => other,
    }
}

/// Opens what is there, and makes nothing.
pub(super) fn open_existing(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(super::BUSY_TIMEOUT)?;
    Ok(connection)
}

fn look(path: &Path) -> Result<Examined, StoreError> {
    let mut connection = open_existing(path)?;
    match schema::version(&connection)? {
        None => return Ok(Examined::Damaged(vec!["the schema's version is missing".to_owned()])),
        Some(found) if found > VERSION => return Ok(Examined::Newer(format!("it has format {found}"))),
        Some(VERSION) => {}
        Some(found) => {
            return Ok(Examined::Damaged(vec![format!("it has format {found}, which no release had")]));
        }
    }
    // All of it at one point in time.
    let transaction = connection.transaction()?;
    let mut problems = damage(&transaction)?;
    let mut sound = Sound::default();
    if problems.is_empty() {
        let mut statement = transaction.prepare("SELECT hash, body FROM events ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            match read_event(row.get(0)?, row.get(1)?) {
                Ok(event) => {
                    sound.issues.entry(event.issue()).or_default().apply(&event);
                    sound.events.push(event.id());
                }
                // Whatever else is wrong is that program's to mend, which can read all of it.
                Err(StoreError::Newer { found, .. }) => {
                    return Ok(Examined::Newer(format!("an event in it has format {found}")));
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
    if !problems.is_empty() {
        problems.truncate(NAMED);
        return Ok(Examined::Damaged(problems));
    }
    compare_derived(&transaction, &mut sound)?;
    Ok(Examined::Sound(sound))
}

/// What SQLite finds wrong with the pages, in words.
fn damage(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut problems = Vec::new();
    let mut check = connection.prepare(&format!("PRAGMA integrity_check({NAMED})"))?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let problem: String = row.get(0)?;
        if problem != "ok" {
            problems.push(problem.replace('\n', "; "));
        }
    }
    Ok(problems)
}

/// Notes in `sound` what is not as its events make it.
fn compare_derived(connection: &Connection, sound: &mut Sound) -> Result<(), StoreError> {
    let mut rows_of = BTreeMap::new();
    let mut statement = connection.prepare("SELECT id, folded FROM issues")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, folded): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        rows_of.insert(id, folded);
    }
    for (id, issue) in &sound.issues {
        let row = rows_of.remove(&id.to_string()).and_then(|folded| Issue::from_folded(&folded).ok());
        if row.as_ref() != Some(issue) {
            sound.wrong.push(*id);
        }
    }
    // Rows of issues that no event speaks of.
    sound.wrong.extend(rows_of.keys().filter_map(|id| id.parse::<IssueId>().ok()));
    let counted: i64 =
        connection.query_row("SELECT value FROM meta WHERE name = 'events'", [], |row| row.get(0))?;
    sound.miscounted = usize::try_from(counted) != Ok(sound.events.len());
    Ok(())
}
