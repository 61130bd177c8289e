//! What can be chosen before binding.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rkyv::Archived;

use super::Server;
use super::listener::Listener;
use super::service::MayBlock;
use super::shared::{Limits, Shared};
use crate::error::Error;
use crate::handshake::{MIN_MAX_MESSAGE, Sizes};
use crate::identity::Party;
use crate::payload::LONGEST;
use crate::protocol::{Protocol, identity};
use crate::shm::MAX_CAPACITY;
use crate::wait::WaitStrategy;

/// More than any clock here has to count: sums with it are still moments.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Builds a [`Server`]: limits with safe defaults, and how to wait.
///
/// | choice | default |
/// |---|---|
/// | [`wait`](Self::wait) | [`WaitStrategy::Adaptive`] |
/// | [`max_connections`](Self::max_connections) | 1,024 |
/// | [`max_unauthenticated`](Self::max_unauthenticated) | 64 |
/// | [`max_ring`](Self::max_ring) | 1 MiB |
/// | [`max_message`](Self::max_message) | 16 MiB |
/// | [`max_memory`](Self::max_memory) | 1 GiB |
/// | [`max_in_flight`](Self::max_in_flight) | 256 |
/// | [`pollers`](Self::pollers) | 1 |
/// | [`max_workers`](Self::max_workers) | 8 |
/// | [`max_waiting`](Self::max_waiting) | 1,024 |
/// | [`handshake_timeout`](Self::handshake_timeout) | 5 s |
/// | [`idle_timeout`](Self::idle_timeout) | none: serve until stopped |
/// | [`release`](Self::release) | none: make way for nobody |
pub struct ServerBuilder<P: Protocol> {
    limits: Limits,
    wait: WaitStrategy,
    release: u32,
    may_block: Option<Arc<MayBlock<P>>>,
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
            memory: 1 << 30,
            in_flight: 256,
            pollers: 1,
            workers: 8,
            waiting: 1024,
            handshake: Duration::from_secs(5),
            idle: None,
        };
        ServerBuilder {
            limits,
            wait: WaitStrategy::default(),
            release: 0,
            may_block: None,
            _protocol: PhantomData,
        }
    }

    /// How the poller waits for requests in rings.
    pub fn wait(mut self, strategy: WaitStrategy) -> Self {
        self.wait = strategy;
        self
    }

    /// How many clients may be connected at once; one more is refused. All are of one user: a daemon serves
    /// nobody else.
    ///
    /// Each takes two descriptors; a process that serves many may have to raise its own limit. A client that connects
    /// when the process has no descriptor left is refused.
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

    /// The longest request or response, in bytes, from 4 KiB to 1 GiB. A request has 8 of them for its deadline.
    pub fn max_message(mut self, bytes: u32) -> Self {
        self.limits.sizes.max_message = bytes.clamp(MIN_MAX_MESSAGE, LONGEST);
        self
    }

    /// How many bytes the rings of all clients may have together. Requests that wait for a thread may take the same
    /// amount again.
    ///
    /// A client for whose rings there is no room gets the socket, or is refused if it wants nothing but
    /// rings; a request for which there is none is refused, and can be asked again. What [`Server::incoming`]
    /// and `Server::serve_async` have taken and not answered is not counted here: it is bounded by
    /// [`max_in_flight`](Self::max_in_flight) times [`max_message`](Self::max_message) for each client. Neither is
    /// a message that is under way in parts, one of each client in either direction, nor what is answered out of
    /// order (see [`may_block`](Self::may_block)) to a client that does not read: as many answers as it may have in
    /// flight.
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.limits.memory = bytes;
        self
    }

    /// How many requests of one client may be unanswered at once, from 1 to 65,535; its client knows, and
    /// what comes all the same stays in its ring or socket.
    pub fn max_in_flight(mut self, count: u16) -> Self {
        self.limits.in_flight = u32::from(count.max(1));
        self
    }

    /// How many threads answer clients over rings, 1 at least: each client has one of them.
    ///
    /// One thread serves any number of clients, and answers some millions of short requests a second. More
    /// of them pay where handlers take long and the machine has CPUs for them and for the clients.
    /// Of [`Server::serve`] and [`Server::serve_with`]; [`Server::incoming`] and `Server::serve_async` have one.
    pub fn pollers(mut self, count: usize) -> Self {
        self.limits.pollers = count.max(1);
        self
    }

    /// Says which requests may block: they are answered on threads of their own, so that nobody waits for
    /// them but who has asked, and out of order.
    ///
    /// Of [`Server::serve`] and [`Server::serve_with`]; whoever iterates over [`Server::incoming`] decides by itself,
    /// and `Server::serve_async`, whose requests are tasks, has no need of it.
    ///
    /// ```no_run
    /// # use libgrite_ipc::{Protocol, Server, wire};
    /// # wire! { pub enum Job { Look, Build } pub struct Done { pub ok: bool } }
    /// # enum Work {}
    /// # impl Protocol for Work { type Request = Job; type Response = Done;
    /// #     const NAME: &'static str = "work"; const VERSION: u16 = 1; }
    /// # fn main() -> Result<(), libgrite_ipc::Error> {
    /// # fn build() -> bool { true }
    /// let server = Server::<Work>::builder()
    ///     .may_block(|job| matches!(job, ArchivedJob::Build))
    ///     .bind("/run/user/1000/work.sock")?;
    /// server.serve(|job, _cx| Done { ok: matches!(job, ArchivedJob::Look) || build() })?;
    /// # Ok(()) }
    /// ```
    pub fn may_block(
        mut self,
        may_block: impl Fn(&Archived<P::Request>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.may_block = Some(Arc::new(may_block));
        self
    }

    /// How many requests that may block are worked on at once, 1 at least. Without [`may_block`](Self::may_block) there
    /// are none.
    pub fn max_workers(mut self, count: usize) -> Self {
        self.limits.workers = count;
        self
    }

    /// How many more of them may wait for a thread, 1 at least; one more is refused, and can be asked again. Under
    /// `Server::serve_async` this is how many requests are worked on at once, and [`may_block`](Self::may_block) and
    /// [`max_workers`](Self::max_workers) do not apply.
    pub fn max_waiting(mut self, count: usize) -> Self {
        self.limits.waiting = count;
        self
    }

    /// How long a client may take for its half of the handshake, in all; a year at most.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.limits.handshake = timeout.min(YEAR);
        self
    }

    /// After how long without any connection [`Server::serve`] returns; a year at most. A daemon that its clients start
    /// should have one, or it stays for ever.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.limits.idle = Some(timeout.min(YEAR));
        self
    }

    /// Which release of the program this daemon is: a number that grows from one release to the next,
    /// apart from the protocol's version. 0, as without this, says nothing.
    ///
    /// When a client of a later release asks for a daemon of its own
    /// ([`ClientBuilder::release`](crate::ClientBuilder::release)), this one makes way:
    /// [`Server::serve`] answers what has come and returns, as by
    /// [`ServerHandle::stop`](crate::ServerHandle::stop). The process should then give its lock back
    /// or end, since others wait for that. Its own release, an earlier one or another protocol's name
    /// never end it.
    pub fn release(mut self, release: u32) -> Self {
        self.release = release;
        self
    }

    /// Listens at `path`, in a socket file that only our user can reach. A stale one is replaced.
    ///
    /// # Errors
    /// - [`ErrorKind::Io`](crate::ErrorKind::Io): the path is too long for a socket, something else
    ///   than a socket is there, a live daemon listens there, or the system fails a call.
    /// - [`ErrorKind::Sandboxed`](crate::ErrorKind::Sandboxed): the system forbids it: a sandbox, a read-only
    ///   file system, or wrong permissions.
    pub fn bind(self, path: impl AsRef<Path>) -> Result<Server<P>, Error> {
        let listener = Listener::bind(path.as_ref())?;
        let party = Party { identity: identity::<P>(), release: self.release };
        let shared = Shared::new(party, self.limits, self.wait)
            .map_err(|error| Error::io("make the daemon's wake-up socket", error))?;
        Ok(Server {
            shared: Arc::new(shared),
            listener: Arc::new(listener),
            may_block: self.may_block,
            _protocol: PhantomData,
        })
    }
}

impl<P: Protocol> fmt::Debug for ServerBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("limits", &self.limits)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}
