//! No daemon: the engine in this process.

use std::path::Path;

use libgrite_ipc::grite::Progress;
use libgrite_ipc::{IpcCommand, IpcResponse};

use super::Tracker;
use crate::engine::Engine;
use crate::error::CliError;

/// The engine in this process.
pub struct Direct(Engine);

impl Direct {
    /// Opens the store in the folder `dir`.
    ///
    /// # Errors
    /// A [`CliError`] when there is no store that can be used.
    pub fn open(dir: &Path) -> Result<Self, CliError> {
        Ok(Direct(Engine::open(dir)?))
    }
}

impl Tracker for Direct {
    fn ask(&mut self, command: &IpcCommand) -> Result<IpcResponse, CliError> {
        Ok(self.0.execute(command))
    }

    fn ask_in_parts(
        &mut self,
        command: &IpcCommand,
        part: &mut dyn FnMut(&Progress),
    ) -> Result<IpcResponse, CliError> {
        Ok(self.0.execute_in_parts(command, &mut |progress| part(&progress)))
    }
}
