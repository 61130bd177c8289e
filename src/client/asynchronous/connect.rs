//! From a path to an [`AsyncClient`].

use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokio::task::JoinError;

use super::alone::Alone;
use super::{AsyncClient, Owner, Shared};
use crate::client::line::Line;
use crate::client::{Client, ClientBuilder};
use crate::error::{Error, ErrorKind};
use crate::protocol::Protocol;

impl<P: Protocol> ClientBuilder<P> {
    /// Connects to the daemon at `path` for async code.
    ///
    /// The handshake blocks for one round trip, on a thread of the runtime's pool for that.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn connect_async(&self, path: impl AsRef<Path>) -> Result<AsyncClient<P>, Error> {
        let line = beside(self, path.as_ref(), |builder, path| builder.connect(path)).await?;
        Ok(AsyncClient::new(line, self.clone()))
    }

    /// As [`connect_or_spawn`](Self::connect_or_spawn), for async code.
    ///
    /// ```no_run
    /// use std::process::Command;
    /// use libgrite_ipc::{IpcAsyncClient, IpcCommand};
    ///
    /// # async fn ask() -> Result<(), libgrite_ipc::Error> {
    /// let daemon = || {
    ///     let mut command = Command::new("grite");
    ///     command.args(["daemon", "run"]);
    ///     command
    /// };
    /// let client = IpcAsyncClient::builder().connect_or_spawn_async("/run/user/1000/grite", daemon).await?;
    /// let answer = client.send(&IpcCommand::IssueShow { id: "bd-0088".to_owned() }).await?;
    /// println!("{answer:?}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`connect_or_spawn`](Self::connect_or_spawn).
    ///
    /// # Panics
    /// Outside of a Tokio runtime, and where `command` does.
    pub async fn connect_or_spawn_async(
        &self,
        directory: impl AsRef<Path>,
        command: impl FnMut() -> Command + Send + 'static,
    ) -> Result<AsyncClient<P>, Error> {
        let reach = |builder: ClientBuilder<P>, directory: &Path| builder.reach_or_spawn(directory, command);
        let line = beside(self, directory.as_ref(), reach).await?;
        Ok(AsyncClient::new(line, self.clone()))
    }
}

impl<P: Protocol> AsyncClient<P> {
    fn new(line: Line, builder: ClientBuilder<P>) -> Self {
        AsyncClient { owner: Arc::new(Owner(Shared::new(line))), builder }
    }

    /// Another connection to the same daemon, for one task alone, with what is to be `done` first there.
    pub(super) async fn another(
        &self,
        done: impl FnOnce(&mut Line) -> Result<(), Error> + Send + 'static,
    ) -> Result<Alone, Error> {
        self.owner.0.check_process("connect again")?;
        let connect = |builder: ClientBuilder<P>, path: &Path| {
            let mut client = builder.connect(path)?;
            done(client.line.get_mut())?;
            Ok(client)
        };
        Ok(Alone::new(beside(&self.builder, &self.owner.0.path, connect).await?))
    }
}

/// Connects to what is at `path` on a thread that may block.
async fn beside<P: Protocol>(
    builder: &ClientBuilder<P>,
    path: &Path,
    connect: impl FnOnce(ClientBuilder<P>, &Path) -> Result<Client<P>, Error> + Send + 'static,
) -> Result<Line, Error> {
    let (builder, to) = (builder.clone(), path.to_path_buf());
    let connected =
        tokio::task::spawn_blocking(move || connect(builder, &to).map(|client| client.line)).await;
    let lost = |error: JoinError| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(_) => Error::new(ErrorKind::Io, "connect to the daemon").at(path).saying("the runtime is ending"),
    };
    Ok(connected.map_err(lost)??.into_inner())
}
