//! No daemon: the engine in this process.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libgrite_ipc::grite::{Progress, Refusal, RefusalCode};
use libgrite_ipc::{IpcCommand, IpcResponse};

use super::Tracker;
use crate::engine::Engine;
use crate::error::{CliError, Code};

/// The engine in this process.
pub struct Direct {
    dir: PathBuf,
    engine: Engine,
    /// For how long a command may wait for another process.
    timeout: Duration,
}

impl Direct {
    /// Opens the store in the folder `dir`. A command waits for other processes until `timeout` at most.
    ///
    /// # Errors
    /// A [`CliError`] when there is no store that can be used.
    pub fn open(dir: &Path, timeout: Duration) -> Result<Self, CliError> {
        Ok(Direct { dir: dir.to_owned(), engine: engine(dir, timeout)?, timeout })
    }

    /// The engine of the store that lies there now: another process may have put a new one in its place.
    fn engine(&mut self) -> Result<&Engine, CliError> {
        if !self.engine.is_in_place() {
            self.engine = engine(&self.dir, self.timeout)?;
        }
        Ok(&self.engine)
    }
}

/// The engine of the store in the folder `dir`, whose commands wait for other processes until `timeout` at most.
fn engine(dir: &Path, timeout: Duration) -> Result<Engine, CliError> {
    let engine = Engine::open(dir)?;
    engine.limit_patience(timeout).map_err(Refusal::from)?;
    Ok(engine)
}

impl Tracker for Direct {
    fn ask(&mut self, command: &IpcCommand) -> Result<IpcResponse, CliError> {
        self.ask_in_parts(command, &mut |_| {})
    }

    fn ask_in_parts(
        &mut self,
        command: &IpcCommand,
        part: &mut dyn FnMut(&Progress),
    ) -> Result<IpcResponse, CliError> {
        let start = Instant::now();
        let mut answer = self.engine()?.execute_in_parts(command, &mut |progress| part(&progress));
        // A write that waited for a rebuild came too late for the old store.
        if matches!(answer, IpcResponse::Refused(_)) && !self.engine.is_in_place() {
            answer = self.engine()?.execute_in_parts(command, &mut |progress| part(&progress));
        }
        match answer {
            IpcResponse::Refused(Refusal {
                code: RefusalCode::Storage, message, retryable: true, ..
            }) if start.elapsed() >= self.timeout => {
                let message = format!("the command has not ended within {:?}: {message}", self.timeout);
                let late =
                    CliError::new(Code::Timeout, message, "repeat the command with a longer --timeout");
                Err(CliError { retryable: true, ..late })
            }
            answer => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use libgrite_ipc::grite::WriteContext;

    use super::*;
    use crate::store::{Marks, Store, hold, replace};

    #[test]
    fn a_write_beside_a_rebuild_is_in_the_new_store() {
        let dir = tempfile::tempdir().unwrap();
        Store::make(dir.path()).unwrap();
        let mut direct = Direct::open(dir.path(), Duration::from_secs(60)).unwrap();
        let write = WriteContext { actor: "ann".to_owned(), idempotency_key: "key".to_owned() };
        let create = IpcCommand::IssueCreate {
            write,
            title: "beside a rebuild".to_owned(),
            body: String::new(),
            labels: Vec::new(),
            assignees: Vec::new(),
        };
        let held = hold(dir.path()).unwrap();
        let answer = std::thread::scope(|scope| {
            let asked = scope.spawn(|| direct.ask(&create));
            replace(dir.path(), held, &[], &Marks::default()).unwrap();
            asked.join().unwrap().unwrap()
        });
        assert!(matches!(answer, IpcResponse::IssueCreate(_)), "{answer:?}");
        assert_eq!(Store::open(dir.path()).unwrap().snapshot().unwrap().issues.len(), 1);
    }
}
