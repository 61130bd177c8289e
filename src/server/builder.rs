//! What can be chosen before binding.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Server;
use super::listener::Listener;
use super::shared::{Limits, Shared};
use crate::error::Error;
use crate::handshake::{MIN_MAX_MESSAGE, Sizes};
use crate::protocol::{Protocol, identity};
use crate::shm::MAX_CAPACITY;
use crate::wait::WaitStrategy;

/// Builds a [`Server`]: limits with safe defaults, and how to wait.
///
/// | choice | default |
/// |---|---|
/// | [`wait`](Self::wait) | [`WaitStrategy::Adaptive`] |
/// | [`max_connections`](Self::max_connections) | 1,024 |
/// | [`max_unauthenticated`](Self::max_unauthenticated) | 64 |
/// | [`max_ring`](Self::max_ring) | 1 MiB |
/// | [`max_message`](Self::max_message) | 16 MiB |
/// | [`handshake_timeout`](Self::handshake_timeout) | 5 s |
/// | [`idle_timeout`](Self::idle_timeout) | none: serve until stopped |
#[derive(Debug)]
pub struct ServerBuilder<P: Protocol> {
    limits: Limits,
    wait: WaitStrategy,
    _protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> Default for ServerBuilder<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Protocol> ServerBuilder<P> {
    /// The defaults.
    pub fn new() -> Self {
        let limits = Limits {
            connections: 1024,
            unauthenticated: 64,
            sizes: Sizes { request: 1 << 20, reply: 1 << 20, max_message: 16 << 20 },
            handshake: Duration::from_secs(5),
            idle: None,
        };
        ServerBuilder { limits, wait: WaitStrategy::default(), _protocol: PhantomData }
    }

    /// How the poller waits for requests in rings.
    pub fn wait(mut self, strategy: WaitStrategy) -> Self {
        self.wait = strategy;
        self
    }

    /// How many clients may be connected at once; one more is refused.
    pub fn max_connections(mut self, count: usize) -> Self {
        self.limits.connections = count;
        self
    }

    /// How many connections may be open before their handshake is done; for one more, the oldest of
    /// them is closed.
    pub fn max_unauthenticated(mut self, count: usize) -> Self {
        self.limits.unauthenticated = count.max(1);
        self
    }

    /// The largest ring that a client gets in either direction, in bytes: a power of two from 4 KiB
    /// to 1 GiB, or the next one down.
    pub fn max_ring(mut self, bytes: u32) -> Self {
        let capacity = match bytes.clamp(crate::shm::MIN_CAPACITY, MAX_CAPACITY) {
            power if power.is_power_of_two() => power,
            other => other.next_power_of_two() / 2,
        };
        self.limits.sizes.request = capacity;
        self.limits.sizes.reply = capacity;
        self
    }

    /// The longest request or response, in bytes, 4 KiB at least.
    pub fn max_message(mut self, bytes: u32) -> Self {
        self.limits.sizes.max_message = bytes.max(MIN_MAX_MESSAGE);
        self
    }

    /// How long a client may take for its half of the handshake, in all.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.limits.handshake = timeout;
        self
    }

    /// After how long without any connection [`Server::serve`] returns.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.limits.idle = Some(timeout);
        self
    }

    /// Listens at `path`, in a socket file that only our user can reach. A stale one is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io): the path is too long for a socket, something else
    /// than a socket is there, a live daemon listens there, or the system fails a call.
    pub fn bind(self, path: impl AsRef<Path>) -> Result<Server<P>, Error> {
        let listener = Listener::bind(path.as_ref())?;
        let shared = Shared::new(identity::<P>(), self.limits, self.wait)
            .map_err(|error| Error::io("make the daemon's wake-up socket", error))?;
        Ok(Server { shared: Arc::new(shared), listener: Arc::new(listener), _protocol: PhantomData })
    }
}
