//! What can be chosen before connecting.

use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use super::Client;
use crate::error::Error;
use crate::handshake::{MIN_MAX_MESSAGE, Sizes, Stance, grant_sizes};
use crate::payload::LONGEST;
use crate::protocol::{Message, Protocol};
use crate::shm::MAX_CAPACITY;
use crate::wait::WaitStrategy;

/// How requests travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Through rings where both sides have them, else over the socket.
    #[default]
    Auto,
    /// Through rings in shared memory, or not at all. One question by [`ClientBuilder::ask`] or
    /// [`ClientBuilder::ask_or_spawn`] goes over the socket whatever is chosen.
    Ring,
    /// Over the socket. Connecting is cheaper: right for a question or two.
    Socket,
}

/// Builds a [`Client`]: every choice has a default that suits an agent with many questions.
///
/// | choice | default |
/// |---|---|
/// | [`transport`](Self::transport) | [`Transport::Auto`] |
/// | [`wait`](Self::wait) | [`WaitStrategy::Adaptive`] |
/// | [`timeout`](Self::timeout) of a request | 30 s |
/// | [`handshake_timeout`](Self::handshake_timeout) | 5 s |
/// | [`spawn_timeout`](Self::spawn_timeout) | 10 s |
/// | [`request_ring`](Self::request_ring), [`reply_ring`](Self::reply_ring) | 64 KiB each |
/// | [`max_message`](Self::max_message) | 16 MiB |
/// | [`release`](Self::release) | none: take the daemon that is there |
///
/// ```no_run
/// use std::time::Duration;
/// use libgrite_ipc::{IpcClient, Transport};
///
/// let client = IpcClient::builder()
///     .transport(Transport::Socket)
///     .timeout(Duration::from_secs(2))
///     .connect("/run/user/1000/grite/daemon.sock")?;
/// # Ok::<(), libgrite_ipc::Error>(())
/// ```
#[derive(Debug)]
pub struct ClientBuilder<P: Protocol> {
    pub(super) transport: Transport,
    pub(super) wait: WaitStrategy,
    pub(super) timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) spawn_timeout: Duration,
    pub(super) sizes: Sizes,
    pub(super) release: u32,
    pub(super) _protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> Clone for ClientBuilder<P> {
    fn clone(&self) -> Self {
        ClientBuilder { sizes: self.sizes, _protocol: PhantomData, ..*self }
    }
}

/// What both rings have by default, in bytes.
pub(crate) const DEFAULT_RING: u32 = 64 << 10;

/// The longest message by default, in bytes.
pub(crate) const DEFAULT_MAX_MESSAGE: u32 = 16 << 20;

impl<P: Protocol> Default for ClientBuilder<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Protocol> ClientBuilder<P> {
    /// The defaults.
    pub fn new() -> Self {
        ClientBuilder {
            transport: Transport::default(),
            wait: WaitStrategy::default(),
            timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(5),
            spawn_timeout: Duration::from_secs(10),
            sizes: Sizes { request: DEFAULT_RING, reply: DEFAULT_RING, max_message: DEFAULT_MAX_MESSAGE },
            release: 0,
            _protocol: PhantomData,
        }
    }

    /// How requests travel.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// How to wait for an answer.
    pub fn wait(mut self, strategy: WaitStrategy) -> Self {
        self.wait = strategy;
        self
    }

    /// How long a request may take, its sending included.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a handshake may take, connecting included. With [`Transport::Auto`] there is a second one for the
    /// socket, with as much time, where rings cannot be mapped.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// How long it may take in all until a daemon is ready that has to be started. A daemon of an older
    /// release that has to end first may take five seconds for what it has accepted, or as long as its
    /// longest handler: more than that must be left here.
    pub fn spawn_timeout(mut self, timeout: Duration) -> Self {
        self.spawn_timeout = timeout;
        self
    }

    /// How large the ring for requests should be, in bytes: a power of two from 4 KiB to 1 GiB, or
    /// the next one up. Where that is more than the daemon's
    /// [`max_ring`](crate::ServerBuilder::max_ring), 1 MiB by default, it grants that much, without a word.
    pub fn request_ring(mut self, bytes: u32) -> Self {
        self.sizes.request = bytes;
        self
    }

    /// As [`request_ring`](Self::request_ring), for replies; the daemon has the same limit for both.
    pub fn reply_ring(mut self, bytes: u32) -> Self {
        self.sizes.reply = bytes;
        self
    }

    /// The longest request or response, in bytes, from 4 KiB to 1 GiB. A request has 8 of them for its deadline.
    /// The daemon may grant less.
    pub fn max_message(mut self, bytes: u32) -> Self {
        self.sizes.max_message = bytes.clamp(MIN_MAX_MESSAGE, LONGEST);
        self
    }

    /// Which release of the program this client is: a number that grows from one release to the next,
    /// apart from the protocol's version. 0, as without this, says nothing.
    ///
    /// After an upgrade, [`connect_or_spawn`](Self::connect_or_spawn) and
    /// [`ask_or_spawn`](Self::ask_or_spawn) find the daemon of the release before. They ask it to end,
    /// which it does once all that it has accepted is answered, start their own, and go on with that one;
    /// others who ask meanwhile wait as long. This works across protocol versions and layouts, for the
    /// same [`Protocol::NAME`], where the daemon tells its release, too
    /// ([`ServerBuilder::release`](crate::ServerBuilder::release)).
    ///
    /// A newer daemon serves older clients that understand it, and refuses the others with
    /// [`VersionMismatch`](crate::ErrorKind::VersionMismatch), which says that the client is to be
    /// upgraded. It never ends for them, so that two versions in use at once do not take turns.
    /// [`connect`](Self::connect) and [`ask`](Self::ask) take the daemon that is there.
    ///
    /// ```no_run
    /// use std::process::Command;
    /// use libgrite_ipc::IpcClient;
    ///
    /// let client = IpcClient::builder()
    ///     .release(1_004_002) // 1.4.2
    ///     .connect_or_spawn("/run/user/1000/grite", || Command::new("grited"))?;
    /// assert!(client.daemon_release() >= 1_004_002);
    /// # Ok::<(), libgrite_ipc::Error>(())
    /// ```
    pub fn release(mut self, release: u32) -> Self {
        self.release = release;
        self
    }

    /// The sizes of a pair in one process: what is wished, as rings can have it.
    pub(crate) fn granted_sizes(&self) -> Sizes {
        let most = Sizes { request: MAX_CAPACITY, reply: MAX_CAPACITY, max_message: u32::MAX };
        grant_sizes(self.sizes, most)
    }

    /// Connects to the daemon at `path`.
    ///
    /// # Errors
    /// - [`NotRunning`](crate::ErrorKind::NotRunning): nobody listens there.
    /// - [`Unresponsive`](crate::ErrorKind::Unresponsive): somebody does, but does not answer in time.
    /// - [`VersionMismatch`](crate::ErrorKind::VersionMismatch), [`Refused`](crate::ErrorKind::Refused):
    ///   the daemon says why.
    /// - [`Sandboxed`](crate::ErrorKind::Sandboxed): the system does not let us near the socket.
    /// - [`PeerDied`](crate::ErrorKind::PeerDied), [`PeerMisbehaved`](crate::ErrorKind::PeerMisbehaved),
    ///   [`Io`](crate::ErrorKind::Io).
    pub fn connect(&self, path: impl AsRef<Path>) -> Result<Client<P>, Error> {
        self.shake_hands(path.as_ref(), Stance::Take)
    }

    /// Connects, asks one question and disconnects, in one round trip over the socket.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) and [`Client::send`]. The daemon's half of the handshake may come together with
    /// the reply, so a handler that takes longer than the builder's timeout is
    /// [`Unresponsive`](crate::ErrorKind::Unresponsive) here; it may carry out the request all the same.
    pub fn ask(&self, path: impl AsRef<Path>, request: &P::Request) -> Result<Message<P::Response>, Error> {
        self.ask_as(path.as_ref(), Stance::Take, request)
    }

    pub(super) fn ask_as(
        &self,
        path: &Path,
        stance: Stance,
        request: &P::Request,
    ) -> Result<Message<P::Response>, Error> {
        let mut client = self.approach(path, stance)?;
        client.exchange(request)?;
        client.into_message()
    }
}
