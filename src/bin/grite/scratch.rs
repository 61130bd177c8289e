//! A folder that is gone when its owner is: [`Scratch`].

use std::env;
use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// How many names are tried before somebody must be in our way.
const ATTEMPTS: u32 = 16;

/// A private folder, removed with all that is in it when this is dropped.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one in memory where the system has a place for that, else in the temporary folder.
    ///
    /// # Errors
    /// A [`CliError`] when neither place takes it.
    pub fn in_memory() -> Result<Self, CliError> {
        Self::within(Path::new("/dev/shm")).or_else(|_| Self::new())
    }

    /// Makes one in the temporary folder.
    ///
    /// # Errors
    /// A [`CliError`] when it cannot be made.
    pub fn new() -> Result<Self, CliError> {
        // Processes that work elsewhere are told of it.
        let temporary = env::temp_dir();
        let temporary = std::path::absolute(&temporary).unwrap_or(temporary);
        Self::within(&temporary)
            .map_err(|error| CliError::io("make a temporary folder in", &temporary, &error))
    }

    fn within(parent: &Path) -> io::Result<Self> {
        let mut result = Err(io::ErrorKind::AlreadyExists.into());
        for _ in 0..ATTEMPTS {
            // Short, since sockets lie in it, and their paths must be.
            let number = RandomState::new().hash_one(std::process::id()) as u32;
            let path = parent.join(format!("grite-{number:08x}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Scratch { path: fs::canonicalize(&path).unwrap_or(path) }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => result = Err(error),
                Err(error) => return Err(error),
            }
        }
        result
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder, and says whether that worked.
    ///
    /// # Errors
    /// A [`CliError`] that names what is left.
    pub fn remove(self) -> Result<(), CliError> {
        fs::remove_dir_all(&self.path).map_err(|error| CliError::io("remove", &self.path, &error))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After `remove` there is nothing left, and on any other way out nobody who could be told.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        fs::create_dir(path.join("inner")).unwrap();
        fs::write(path.join("inner/file"), "x").unwrap();
        assert_ne!(Scratch::new().unwrap().path(), path);
        drop(scratch);
        assert!(!path.exists());
        let scratch = Scratch::in_memory().unwrap();
        let path = scratch.path().to_owned();
        scratch.remove().unwrap();
        assert!(!path.exists());
    }
}
