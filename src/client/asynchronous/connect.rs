//! From a path to an [`AsyncClient`].

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

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
        let path = path.as_ref().to_path_buf();
        let line = beside(self, move |builder| builder.connect(path)).await?;
        Ok(AsyncClient::new(line, self.clone()))
    }

    /// As [`connect_or_spawn`](Self::connect_or_spawn), for async code.
    ///
    /// # Errors
    /// As [`connect_or_spawn`](Self::connect_or_spawn).
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn connect_or_spawn_async(
        &self,
        directory: impl AsRef<Path>,
        command: impl FnMut() -> Command + Send + 'static,
    ) -> Result<AsyncClient<P>, Error> {
        let directory = directory.as_ref().to_path_buf();
        let line = beside(self, move |builder| builder.reach_or_spawn(&directory, command)).await?;
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
        let path = self.owner.0.path.clone();
        let connect = move |builder: ClientBuilder<P>| {
            let mut client = builder.connect(path)?;
            done(client.line.get_mut())?;
            Ok(client)
        };
        Ok(Alone::new(beside(&self.builder, connect).await?))
    }
}

/// Connects on a thread that may block.
async fn beside<P: Protocol>(
    builder: &ClientBuilder<P>,
    connect: impl FnOnce(ClientBuilder<P>) -> Result<Client<P>, Error> + Send + 'static,
) -> Result<Line, Error> {
    let builder = builder.clone();
    let connected = tokio::task::spawn_blocking(move || connect(builder).map(|client| client.line)).await;
    let lost = |error| Error::new(ErrorKind::Io, "connect to the daemon").because(error);
    Ok(connected.map_err(lost)??.into_inner())
}
