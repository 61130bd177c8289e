//! What taking, keeping and giving back a lock do with a [`Board`].

use super::{Board, BoardError, Held, Record};

/// How often a swap is tried again after another one was faster. Whoever is faster holds the lock, or has
/// given it back at once; so many in a row are no chance.
const TRIES: u32 = 16;

/// How an attempt at a lock ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is ours, as the record says.
    Ours(Record),
    /// It is somebody else's.
    Theirs(Record),
    /// It became ours when its time was over already.
    Over,
    /// It is nobody's.
    Free,
    /// Others were faster every time.
    Busy,
}

/// Takes the lock that `wanted` says for `ttl` milliseconds, if it is free or its time and margin are over by the
/// clock `now`. The same command again finds that it has it, and takes it anew once its time is over.
///
/// # Errors
/// [`BoardError`] when the board could not be used; the lock may be ours then, and a repeat finds that.
pub fn acquire(
    board: &mut dyn Board,
    wanted: &Record,
    ttl: i64,
    now: &dyn Fn() -> i64,
) -> Result<Outcome, BoardError> {
    let mut before: Option<String> = None;
    for _ in 0..TRIES {
        let wanted = wanted.clone().starting(now(), ttl);
        if board.swap(&wanted.resource, before.as_deref(), Some(&wanted))? {
            return Ok(taken(wanted, now()));
        }
        match read(board, &wanted.resource)? {
            None => before = None,
            Some(held)
                if held.record.key == wanted.key && held.record.is_of(&wanted.holder, &wanted.clone) =>
            {
                if held.record.remaining(now()) > 0 {
                    return Ok(Outcome::Ours(held.record));
                }
                // Its holder may renew it now, and so may a repeat take it.
                before = Some(held.version);
            }
            Some(held) if held.record.free_in(now()) == 0 => before = Some(held.version),
            Some(held) => return Ok(Outcome::Theirs(held.record)),
        }
    }
    Ok(Outcome::Busy)
}

/// Lets the lock on `resource` be `holder`'s for `ttl` milliseconds more, if it is that holder's.
///
/// Also after its end, as long as nobody has taken it. A repeat says what it `kept` before: it finds that it has it,
/// or keeps it anew once its time is over, but not a lock that its holder has taken since.
///
/// # Errors
/// [`BoardError`] when the board could not be used.
pub fn renew(
    board: &mut dyn Board,
    resource: &str,
    holder: (&str, &str),
    kept: Option<&Record>,
    ttl: i64,
    now: &dyn Fn() -> i64,
) -> Result<Outcome, BoardError> {
    for _ in 0..TRIES {
        let Some(held) = read(board, resource)? else { return Ok(Outcome::Free) };
        if !held.record.is_of(holder.0, holder.1) {
            return Ok(Outcome::Theirs(held.record));
        }
        match kept {
            Some(kept) if kept.key != held.record.key => return Ok(Outcome::Theirs(held.record)),
            Some(_) if held.record.remaining(now()) > 0 => return Ok(Outcome::Ours(held.record)),
            _ => {}
        }
        let renewed = held.record.starting(now(), ttl);
        if board.swap(resource, Some(&held.version), Some(&renewed))? {
            return Ok(taken(renewed, now()));
        }
    }
    Ok(Outcome::Busy)
}

/// Gives the lock on `resource` back, if it is `holder`'s.
///
/// # Errors
/// [`BoardError`] when the board could not be used.
pub fn release(board: &mut dyn Board, resource: &str, holder: (&str, &str)) -> Result<Outcome, BoardError> {
    for _ in 0..TRIES {
        let Some(held) = read(board, resource)? else { return Ok(Outcome::Free) };
        if !held.record.is_of(holder.0, holder.1) {
            return Ok(Outcome::Theirs(held.record));
        }
        if board.swap(resource, Some(&held.version), None)? {
            return Ok(Outcome::Free);
        }
    }
    Ok(Outcome::Busy)
}

/// What a swap to `record` comes to, which may have waited for a remote for longer than the lock lasts.
fn taken(record: Record, now: i64) -> Outcome {
    if record.remaining(now) > 0 { Outcome::Ours(record) } else { Outcome::Over }
}

/// The lock of `resource`, which is this program's to judge.
fn read(board: &mut dyn Board, resource: &str) -> Result<Option<Held>, BoardError> {
    match board.read(resource)? {
        Some(held) if held.record.is_newer() => Err(BoardError::Newer(resource.to_owned(), held.record.v)),
        held => Ok(held),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Mutex;

    use super::super::LocalBoard;
    use super::super::record::tests::record;
    use super::*;
    use crate::store::Store;

    fn with_board(test: impl FnOnce(&mut dyn Board)) {
        let dir = tempfile::tempdir().unwrap();
        let store = Mutex::new(Store::make(dir.path()).unwrap());
        test(&mut LocalBoard(&store));
    }

    #[test]
    fn a_lock_is_one_holders_until_its_margin_is_over() {
        with_board(|board| {
            let (ann, bob) = (record("ann", "1", 100), record("bob", "2", 300));
            let other = record("ann", "3", 100);
            assert_eq!(acquire(board, &ann, 100, &|| 0).unwrap(), Outcome::Ours(ann.clone()));
            assert_eq!(acquire(board, &bob, 100, &|| 109).unwrap(), Outcome::Theirs(ann.clone()));
            // The same command again has it; another one of the same author does not.
            assert_eq!(acquire(board, &ann, 100, &|| 50).unwrap(), Outcome::Ours(ann.clone()));
            assert_eq!(acquire(board, &other, 100, &|| 50).unwrap(), Outcome::Theirs(ann));
            assert_eq!(acquire(board, &bob, 100, &|| 110).unwrap(), Outcome::Ours(bob.starting(110, 100)));
        });
    }

    #[test]
    fn a_repeat_takes_a_lock_anew_whose_time_is_over() {
        with_board(|board| {
            let first = record("ann", "1", 100);
            acquire(board, &first, 100, &|| 0).unwrap();
            assert_eq!(acquire(board, &first, 100, &|| 99).unwrap(), Outcome::Ours(first.clone()));
            // Also within its margin, in which nobody else can take it.
            for now in [100, 5000] {
                let again = Outcome::Ours(first.clone().starting(now, 100));
                assert_eq!(acquire(board, &first, 100, &|| now).unwrap(), again);
            }
        });
    }

    /// A board on which each swap takes as long as its number says.
    struct Slow<'a>(&'a mut dyn Board, &'a Cell<i64>, i64);

    impl Board for Slow<'_> {
        fn read(&mut self, resource: &str) -> Result<Option<Held>, BoardError> {
            self.0.read(resource)
        }

        fn swap(
            &mut self,
            resource: &str,
            before: Option<&str>,
            after: Option<&Record>,
        ) -> Result<bool, BoardError> {
            self.1.set(self.1.get() + self.2);
            self.0.swap(resource, before, after)
        }

        fn all(&mut self) -> Result<Vec<Held>, BoardError> {
            self.0.all()
        }
    }

    #[test]
    fn nobody_is_told_that_he_has_a_lock_whose_time_is_over() {
        with_board(|board| {
            let clock = Cell::new(0);
            let now = || clock.get();
            let (ann, bob) = (record("ann", "1", 0), record("bob", "2", 0));
            let slow = &mut Slow(board, &clock, 60);
            // The first try finds ann's, and the second one has the whole time.
            assert_eq!(acquire(slow, &ann, 40, &now).unwrap(), Outcome::Over);
            assert_eq!(acquire(slow, &bob, 61, &now).unwrap(), Outcome::Ours(bob.starting(120, 61)));
            let keep =
                |slow: &mut Slow<'_>, ttl| renew(slow, "deploy", ("bob", "c"), None, ttl, &now).unwrap();
            assert_eq!(keep(slow, 60), Outcome::Over);
            assert!(matches!(keep(slow, 61), Outcome::Ours(_)));
        });
    }

    #[test]
    fn only_its_holder_keeps_it_or_gives_it_back() {
        with_board(|board| {
            let ann = record("ann", "1", 100);
            assert_eq!(renew(board, "deploy", ("ann", "c"), None, 9, &|| 0).unwrap(), Outcome::Free);
            acquire(board, &ann, 100, &|| 0).unwrap();
            for other in [("bob", "c"), ("ann", "d")] {
                assert_eq!(
                    renew(board, "deploy", other, None, 9, &|| 0).unwrap(),
                    Outcome::Theirs(ann.clone())
                );
                assert_eq!(release(board, "deploy", other).unwrap(), Outcome::Theirs(ann.clone()));
            }
            // Nobody was there to take it after its end.
            let renewed = Outcome::Ours(ann.starting(500, 400));
            assert_eq!(renew(board, "deploy", ("ann", "c"), None, 400, &|| 500).unwrap(), renewed);
            assert_eq!(board.all().unwrap().len(), 1);
            assert_eq!(release(board, "deploy", ("ann", "c")).unwrap(), Outcome::Free);
            assert_eq!(release(board, "deploy", ("ann", "c")).unwrap(), Outcome::Free);
            assert!(board.all().unwrap().is_empty());
        });
    }

    #[test]
    fn a_repeat_keeps_the_lock_that_it_kept_before_and_no_other_one() {
        with_board(|board| {
            let (first, next) = (record("ann", "1", 100), record("ann", "2", 2100));
            acquire(board, &first, 100, &|| 0).unwrap();
            let keep = |board: &mut dyn Board, kept: Option<&Record>, now| {
                renew(board, "deploy", ("ann", "c"), kept, 100, &|| now).unwrap()
            };
            let kept = first.clone().starting(50, 100);
            assert_eq!(keep(board, None, 50), Outcome::Ours(kept.clone()));
            assert_eq!(keep(board, Some(&kept), 149), Outcome::Ours(kept.clone()));
            // Once its time is over, as often as it is repeated.
            for now in [150, 1000] {
                assert_eq!(keep(board, Some(&kept), now), Outcome::Ours(first.clone().starting(now, 100)));
            }
            assert_eq!(
                acquire(board, &next, 100, &|| 2000).unwrap(),
                Outcome::Ours(next.clone().starting(2000, 100))
            );
            assert_eq!(keep(board, Some(&kept), 2050), Outcome::Theirs(next.clone().starting(2000, 100)));
            assert_eq!(board.all().unwrap()[0].record, next.starting(2000, 100));
            release(board, "deploy", ("ann", "c")).unwrap();
            assert_eq!(keep(board, Some(&kept), 2050), Outcome::Free);
        });
    }

    #[test]
    fn a_lock_of_a_newer_program_is_its_own_to_take_keep_and_give_back() {
        with_board(|board| {
            let later = Record { v: 2, ..record("ann", "1", 100) };
            board.swap("deploy", None, Some(&later)).unwrap();
            let ours = record("ann", "1", 900);
            let newer = |done: Result<Outcome, BoardError>| matches!(done, Err(BoardError::Newer(_, 2)));
            assert!(newer(acquire(board, &ours, 400, &|| 500)));
            assert!(newer(renew(board, "deploy", ("ann", "c"), None, 400, &|| 500)));
            assert!(newer(release(board, "deploy", ("ann", "c"))));
            assert_eq!(board.all().unwrap()[0].record, later, "it can be seen");
        });
    }

    /// A board on which others are always faster.
    struct Crowded;

    impl Board for Crowded {
        fn read(&mut self, _: &str) -> Result<Option<Held>, BoardError> {
            Ok(None)
        }

        fn swap(&mut self, _: &str, _: Option<&str>, _: Option<&Record>) -> Result<bool, BoardError> {
            Ok(false)
        }

        fn all(&mut self) -> Result<Vec<Held>, BoardError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn an_attempt_ends_where_others_are_always_faster() {
        assert_eq!(acquire(&mut Crowded, &record("ann", "1", 1), 1, &|| 0).unwrap(), Outcome::Busy);
    }
}
