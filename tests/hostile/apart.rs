//! A server in a process of its own, whose descriptors, threads and mappings can be counted: [`Apart`].

use std::path::PathBuf;
use std::time::Duration;

use libgrite_ipc::Client;

use crate::common::process::{PATIENCE, Process};
use crate::common::{Way, Work, builder_for};
use crate::held::{Held, held, until_no_more_than};

/// A server that is a process; killed and waited for when dropped.
pub struct Apart {
    folder: tempfile::TempDir,
    process: Process,
}

impl Apart {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start("server", folder.path());
        process.line("ready").expect("the server starts");
        Apart { folder, process }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("work.sock")
    }

    pub fn client(&self, way: Way) -> Client<Work> {
        builder_for(way).timeout(PATIENCE).connect(self.socket()).unwrap()
    }

    pub fn held(&self) -> Held {
        held(self.process.id())
    }

    /// Waits until the server has no more than `before`; says how long that took.
    pub fn gives_back(&self, before: Held) -> Duration {
        until_no_more_than(before, self.process.id())
    }
}
