//! No daemon: the engine in this process.

use std::path::{Path, PathBuf};

use libgrite_ipc::grite::Progress;
use libgrite_ipc::{IpcCommand, IpcResponse};

use super::Tracker;
use crate::engine::Engine;
use crate::error::CliError;

/// The engine in this process.
pub struct Direct {
    dir: PathBuf,
    engine: Engine,
}

impl Direct {
    /// Opens the store in the folder `dir`.
    ///
    /// # Errors
    /// A [`CliError`] when there is no store that can be used.
    pub fn open(dir: &Path) -> Result<Self, CliError> {
        Ok(Direct { dir: dir.to_owned(), engine: Engine::open(dir)? })
    }

    /// The engine of the store that lies there now: another process may have put a new one in its place.
    fn engine(&mut self) -> Result<&Engine, CliError> {
        if !self.engine.is_in_place() {
            self.engine = Engine::open(&self.dir)?;
        }
        Ok(&self.engine)
    }
}

impl Tracker for Direct {
    fn ask(&mut self, command: &IpcCommand) -> Result<IpcResponse, CliError> {
        Ok(self.engine()?.execute(command))
    }

    fn ask_in_parts(
        &mut self,
        command: &IpcCommand,
        part: &mut dyn FnMut(&Progress),
    ) -> Result<IpcResponse, CliError> {
        Ok(self.engine()?.execute_in_parts(command, &mut |progress| part(&progress)))
    }
}
