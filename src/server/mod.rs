//! Answering: [`Server`] serves any number of clients, over rings and over the socket.
//!
//! Threads of two kinds share the work. A **poller** sweeps the rings of its clients in turn and answers what it finds;
//! when they stay empty it sleeps on all of them at once. One sleep has room for 127 of them, and each 127
//! more have a **watch**. There is one poller unless the builder asks for more. The **reactor** accepts, shakes hands,
//! serves the connections over the socket, and watches the lifelines of those over rings. Each calls the handler
//! itself, so no request changes threads on its way, but for those that may block, which a **pool** answers.
//!
//! | modules, in the order to read them | what they are for |
//! |---|---|
//! | `builder`, `shared` | what is chosen, and what all threads have in common |
//! | `listener`, `presence` | the socket's file, and whether it still leads here |
//! | `reactor`, on `events` | who comes, the clients over the socket, and the end of any |
//! | `connection`; `history`, `publisher` | one client, as all threads share it, and what it is told unasked |
//! | `poller`, `ports`, `port`, `watch` | the clients over rings |
//! | `control`, `mailbox` | what other threads tell a poller |
//! | `service`, `pool`, `responder` | from a request's bytes to the handler, and back |
//! | `incoming`, `asynchronous` | requests for a loop, and for tasks, in place of a handler |
//! | `crew` | for how long a server that stops answers, and when it has ended |

mod builder;
mod shared;
mod listener;
mod presence;
mod reactor;
mod events;
mod connection;
mod history;
mod publisher;
mod poller;
mod ports;
mod port;
mod watch;
mod control;
mod mailbox;
mod service;
mod pool;
mod responder;
mod incoming;
#[cfg(feature = "tokio")]
mod asynchronous;
mod crew;

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use rkyv::Archived;

use crate::error::Error;
use crate::payload::Bytes;
use crate::protocol::{Notifies, Protocol};
use crate::wait::coarse_now;

pub use builder::ServerBuilder;
pub use incoming::{Incoming, Request};
pub use publisher::Publisher;
pub use responder::{Context, Responder};
pub use shared::ServerHandle;

pub(crate) use connection::{Attendant, Connection, Lifeline};
pub(crate) use control::{Control, Note};
pub(crate) use history::History;
pub(crate) use poller::Poller;
pub(crate) use pool::Pool;
pub(crate) use port::Port;
#[cfg(all(any(fuzzing, test), not(loom), target_os = "linux", not(grite_portable)))]
pub(crate) use reactor::ByHand;
pub(crate) use service::Service;
pub(crate) use shared::AtEnd;

use listener::Listener;
use poller::Arrival;
use reactor::Reactor;
use service::MayBlock;
use shared::Shared;

/// A daemon's end: listens on a socket and answers the protocol `P`.
///
/// ```no_run
/// # use libgrite_ipc::{Protocol, wire};
/// # wire! { pub struct Query { pub text: String } pub struct Hits { pub count: u32 } }
/// # enum Search {}
/// # impl Protocol for Search { type Request = Query; type Response = Hits;
/// #     const NAME: &'static str = "search"; const VERSION: u16 = 1; }
/// # fn main() -> Result<(), libgrite_ipc::Error> {
/// use libgrite_ipc::{DaemonLock, Server};
///
/// let lock = DaemonLock::acquire("/run/user/1000/search")?;
/// let server = Server::<Search>::bind(lock.socket_path())?;
/// server.serve(|query, _cx| Hits { count: query.text.len() as u32 })?;
/// # Ok(()) }
/// ```
pub struct Server<P: Protocol> {
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    may_block: Option<Arc<MayBlock<P>>>,
    _protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> Server<P> {
    /// Listens at `path` with the defaults of [`ServerBuilder`].
    ///
    /// # Errors
    /// As [`ServerBuilder::bind`].
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, Error> {
        ServerBuilder::new().bind(path)
    }

    /// Starts from the defaults: limits and waiting can be chosen.
    pub fn builder() -> ServerBuilder<P> {
        ServerBuilder::new()
    }

    /// Where this server listens.
    pub fn path(&self) -> &Path {
        self.listener.path()
    }

    /// A handle with which any thread can end [`serve`](Self::serve).
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(Arc::clone(&self.shared))
    }

    /// The way to tell subscribers of changes.
    pub fn publisher(&self) -> Publisher<P>
    where
        P: Notifies,
    {
        Publisher::new(Arc::clone(&self.shared))
    }

    /// Answers requests with what `handler` returns, until a [`ServerHandle`] stops it, nobody was connected
    /// for the builder's idle time, a client of a later [release](ServerBuilder::release) asked it to make way, or
    /// the socket's file was taken away or replaced, so that no client would find it any more.
    ///
    /// The handler runs on two threads or [more](ServerBuilder::pollers), at once if requests come over rings
    /// and over sockets. While it runs, other clients of the same thread wait: requests for which that takes
    /// too long are told apart by [`may_block`](ServerBuilder::may_block), and run on threads of their own. A
    /// handler that panics answers its request with an error, and the daemon lives, unless the program is built with
    /// `panic = "abort"`. A response of a type of your own
    /// that panics while it is encoded ends its client's connection.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) when the system fails the reactor.
    ///
    /// # Panics
    /// When this server serves already, or has served, in whichever way; when a request's type is one of your own
    /// that panics while it is checked, once the server has stopped for that.
    pub fn serve<H>(&self, handler: H) -> Result<(), Error>
    where
        H: Fn(&Archived<P::Request>, &Context) -> P::Response + Sync,
    {
        self.serve_with(|request, responder| {
            let response = handler(request, responder.context());
            // Nobody is left to be told: the client is gone, or was told that the answer is too long.
            let _ = responder.reply(&response);
        })
    }

    /// As [`serve`](Self::serve), but the handler answers through a [`Responder`]: with bytes that
    /// were archived before, from another thread, or later.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    ///
    /// # Panics
    /// As [`serve`](Self::serve).
    pub fn serve_with<H>(&self, handler: H) -> Result<(), Error>
    where
        H: Fn(&Archived<P::Request>, Responder<P>) + Sync,
    {
        self.shared.mark_served();
        let limits = &self.shared.limits;
        let service = Service {
            handler,
            may_block: self.may_block.as_deref(),
            pool: Pool::new(limits.workers, limits.waiting, limits.memory),
            crew: Arc::clone(&self.shared.crew),
        };
        let service = &service;
        let shared = &*self.shared;
        let _end = AtEnd(|| shared.cut_off());
        std::thread::scope(|scope| {
            // A panic, too, must not leave the threads waiting for what nobody tells them.
            let end_pool = AtEnd(|| service.close());
            let end_pollers = AtEnd(|| shared.stop_pollers());
            let answer = move |connection: &Arc<Connection>, id: u64, bytes: &Bytes| {
                service.answer(scope, Arrival { connection, id, now: coarse_now(), bytes });
            };
            let poll = |control: &Arc<Control>| {
                let history = Arc::clone(&shared.history);
                let mut poller = Poller::new(&shared.crew, Arc::clone(control), history, shared.wait, true);
                let stop = self.handle();
                move || {
                    // A panic leaves its clients without anybody who answers them.
                    let _stop = AtEnd(|| stop.stop());
                    while let Some(arrival) = poller.next() {
                        service.answer(scope, arrival);
                    }
                }
            };
            let thread = || std::thread::Builder::new().name("ipc-poller".to_owned());
            let mut pollers = Vec::new();
            let start = |control| {
                pollers.push(thread().spawn_scoped(scope, poll(control))?);
                Ok(())
            };
            let served = shared
                .controls
                .iter()
                .try_for_each(start)
                .and_then(|()| Reactor::new(shared, &shared.controls, &self.listener))
                .and_then(|reactor| reactor.run(&answer, &|| service.close()));
            drop(end_pollers);
            // A reactor that the system has failed leaves work behind, for which the pollers would wait.
            drop(end_pool);
            // All of them end before a panic of one goes on.
            let ended: Vec<_> = pollers.into_iter().map(|poller| poller.join()).collect();
            if let Some(panic) = ended.into_iter().find_map(Result::err) {
                std::panic::resume_unwind(panic);
            }
            served.map_err(|error| Error::io("serve clients", error).at(self.path()))
        })
    }

    /// The requests one by one, for a loop that owns its state.
    ///
    /// An answer fails where its client has given up, is gone, or takes none so long: each is a matter of that
    /// client, which knows of it, and the loop goes on for the others.
    ///
    /// ```no_run
    /// # use libgrite_ipc::{Protocol, Server, wire};
    /// # wire! { pub struct Add { pub number: u64 } pub struct Sum { pub sum: u64 } }
    /// # enum Adder {}
    /// # impl Protocol for Adder { type Request = Add; type Response = Sum;
    /// #     const NAME: &'static str = "adder"; const VERSION: u16 = 1; }
    /// # fn main() -> Result<(), libgrite_ipc::Error> {
    /// let server = Server::<Adder>::bind("/run/user/1000/adder.sock")?;
    /// let mut sum = 0;
    /// let mut requests = server.incoming();
    /// for request in requests.by_ref() {
    ///     sum += request.number.to_native();
    ///     let _ = request.reply(&Sum { sum });
    /// }
    /// requests.end()
    /// # }
    /// ```
    ///
    /// # Panics
    /// As [`serve`](Self::serve).
    pub fn incoming(&self) -> Incoming<'_, P> {
        self.shared.mark_served();
        Incoming::start(self)
    }
}

impl<P: Protocol> fmt::Debug for Server<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("protocol", &P::NAME)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
