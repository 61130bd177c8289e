//! The [`Actor`]: which clone this is, to all others.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::EVENTS;
use crate::git::Remote;
use crate::random;

/// The name of the file that says which one this is.
const FILE: &str = "actor";

/// Names a clone: random, kept in its state folder, and the last part of the name of its ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(String);

impl Actor {
    /// Who the clone with the state folder `state` is, if that was settled.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub fn read(state: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(path(state)) {
            Ok(text) => match Actor::parse(text.trim_end()) {
                Some(actor) => Ok(Some(actor)),
                None => Err(io::Error::new(io::ErrorKind::InvalidData, "it does not hold 32 digits")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Who the clone is; settled now if it was not, by whoever of several processes is first.
    ///
    /// # Errors
    /// As [`read`](Actor::read), and when the file cannot be written.
    pub fn of(state: &Path) -> io::Result<Self> {
        Actor::settle(state, |draft, path| fs::hard_link(draft, path))
    }

    /// As [`of`](Actor::of), where `link` gives a file a second name unless that is taken.
    fn settle(state: &Path, link: impl FnOnce(&Path, &Path) -> io::Result<()>) -> io::Result<Self> {
        if let Some(actor) = Actor::read(state)? {
            return Ok(actor);
        }
        let (actor, draft) = Actor::draft(state)?;
        match link(&draft, &path(state)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // Not every file system has second names. The lock keeps others from looking before this has its name.
            Err(_) => {
                let folder = File::open(state)?;
                folder.lock()?;
                if Actor::read(state)?.is_none() {
                    fs::rename(&draft, path(state))?;
                    return Ok(actor);
                }
            }
        }
        fs::remove_file(&draft)?;
        Actor::read(state)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Makes the clone a new one, whoever it was.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn renew(state: &Path) -> io::Result<Self> {
        let (actor, draft) = Actor::draft(state)?;
        fs::rename(&draft, path(state))?;
        Ok(actor)
    }

    /// A new one in a file of another name: a reader of the right name finds a whole file or none.
    fn draft(state: &Path) -> io::Result<(Self, PathBuf)> {
        let actor = Actor(random::digits());
        let draft = state.join(format!("{FILE}.{}", actor.0));
        let mut file = File::create_new(&draft)?;
        writeln!(file, "{actor}")?;
        file.sync_all()?;
        Ok((actor, draft))
    }

    /// Reads what is no more than a name, or says `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (digits && text.len() == 32).then(|| Actor(text.to_owned()))
    }

    /// The ref to which it appends.
    pub fn events(&self) -> String {
        format!("{EVENTS}{}", self.0)
    }

    /// Where its ref on `remote` is kept here.
    pub fn tracking(&self, remote: &Remote) -> String {
        format!("{}events/{self}", remote.tracking())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn path(state: &Path) -> PathBuf {
    state.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_who_ask_first_all_get_one_answer() {
        let no_links = |_: &Path, _: &Path| Err(io::ErrorKind::PermissionDenied.into());
        for round in 0..40 {
            let dir = tempfile::tempdir().unwrap();
            let names: Vec<String> = std::thread::scope(|scope| {
                let ask = || match round % 2 {
                    0 => Actor::of(dir.path()).unwrap().to_string(),
                    _ => Actor::settle(dir.path(), no_links).unwrap().to_string(),
                };
                let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
                asked.into_iter().map(|asked| asked.join().unwrap()).collect()
            });
            assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
        }
    }

    #[test]
    fn a_clone_stays_who_it_is_until_it_is_renewed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Actor::read(dir.path()).unwrap(), None);
        let actor = Actor::of(dir.path()).unwrap();
        assert_eq!(Actor::of(dir.path()).unwrap(), actor);
        assert_ne!(Actor::renew(dir.path()).unwrap(), actor);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
        fs::write(path(dir.path()), "../../heads/main").unwrap();
        assert!(Actor::of(dir.path()).is_err());
    }
}
