//! From a path to an [`AsyncClient`].

use std::marker::PhantomData;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::{AsyncClient, Owner, Shared};
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
        let (builder, path) = (self.clone(), path.as_ref().to_path_buf());
        beside(move || builder.connect(path)).await
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
        let (builder, directory) = (self.clone(), directory.as_ref().to_path_buf());
        beside(move || builder.reach_or_spawn(&directory, command)).await
    }
}

/// Connects on a thread that may block.
async fn beside<P: Protocol>(
    connect: impl FnOnce() -> Result<Client<P>, Error> + Send + 'static,
) -> Result<AsyncClient<P>, Error> {
    let connected = tokio::task::spawn_blocking(connect).await;
    let client =
        connected.map_err(|error| Error::new(ErrorKind::Io, "connect to the daemon").because(error))??;
    let line = client.line.into_inner();
    let socket = Arc::clone(line.socket().expect("a client that has shaken hands has a socket"));
    Ok(AsyncClient { owner: Arc::new(Owner(Shared::new(line, socket))), _protocol: PhantomData })
}
