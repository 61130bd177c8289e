//! Locks of one clone alone, in its store: [`LocalBoard`].

use std::sync::Mutex;

use super::{Board, BoardError, Held, Record};
use crate::store::Store;

/// The locks in a store.
pub struct LocalBoard<'a>(pub &'a Mutex<Store>);

impl Board for LocalBoard<'_> {
    fn read(&mut self, resource: &str) -> Result<Option<Held>, BoardError> {
        Store::in_turn(self.0, |session| session.lock_record(resource)?.map(held).transpose())
    }

    fn swap(
        &mut self,
        resource: &str,
        before: Option<&str>,
        after: Option<&Record>,
    ) -> Result<bool, BoardError> {
        Store::in_turn(self.0, |session| {
            if session.lock_record(resource)?.as_deref() != before {
                return Ok(false);
            }
            session.set_lock_record(resource, after.map(Record::text).as_deref())?;
            session.commit()?;
            Ok(true)
        })
    }

    fn all(&mut self) -> Result<Vec<Held>, BoardError> {
        Store::in_turn(self.0, |session| session.lock_records()?.into_iter().map(held).collect())
    }
}

fn held(text: String) -> Result<Held, BoardError> {
    let record =
        Record::read(text.as_bytes()).ok_or_else(|| BoardError::Unreadable("the store".to_owned()))?;
    Ok(Held { version: text, record })
}
