//! Ask a warm daemon on the same machine a typed question.
//!
//! A client connects over a Unix socket only to receive two sealed pieces of shared memory. From then
//! on questions and answers, which are rkyv archives, flow through two lock-free rings; while both
//! sides are awake no system call is made. Systems and sandboxes without shared memory, and one-shot
//! commands for which mapping it does not pay, send the same frames over the socket.
//!
//! # A daemon and its client
//!
//! ```no_run
//! use std::process::Command;
//! use std::time::Duration;
//! use libgrite_ipc::{Client, DaemonLock, Error, Protocol, Readiness, Server, wire};
//!
//! wire! {
//!     /// What a client asks.
//!     pub struct Query { pub text: String }
//!     /// What the daemon answers.
//!     pub struct Hits { pub count: u32 }
//! }
//!
//! enum Search {}
//! impl Protocol for Search {
//!     type Request = Query;
//!     type Response = Hits;
//!     const NAME: &'static str = "search";
//!     const VERSION: u16 = 1;
//! }
//!
//! fn daemon(dir: &str) -> Result<(), Error> {
//!     let (_lock, server) = listen(dir).inspect_err(|error| {
//!         Readiness::of_this_process().failed(&error.to_string()); // whoever starts us is told
//!     })?;
//!     Readiness::of_this_process().ready();
//!     server.serve(|query, _cx| Hits { count: query.text.len() as u32 })
//! }
//!
//! fn listen(dir: &str) -> Result<(DaemonLock, Server<Search>), Error> {
//!     let lock = DaemonLock::acquire(dir)?;
//!     let unused = Duration::from_secs(600);
//!     let server = Server::builder().idle_timeout(unused).bind(lock.socket_path())?;
//!     Ok((lock, server))
//! }
//!
//! fn ask(dir: &str, text: &str) -> Result<u32, Error> {
//!     let searchd = || {
//!         let mut command = Command::new("searchd");
//!         command.arg(dir);
//!         command
//!     };
//!     let query = Query { text: text.to_owned() };
//!     let hits = Client::<Search>::builder().ask_or_spawn(dir, searchd, &query)?;
//!     Ok(hits.count.to_native())
//! }
//! ```
//!
//! That is for one question, and goes over the socket. For many, [`ClientBuilder::connect_or_spawn`] makes a client
//! that stays, and has rings.
//!
//! # What to trust
//!
//! Both sides run as one user, and neither trusts the other with its memory: each writes one region,
//! which the kernel keeps the other from writing, and checks every word that it reads. A peer that
//! breaks the rules loses its own connection, with [`ErrorKind::PeerMisbehaved`]; a peer that is
//! killed is noticed within milliseconds, with [`ErrorKind::PeerDied`]. Who may already act as the
//! same user can stop the daemon or read its files, and nothing here is meant to prevent that.
//! [The list of faults](guide::faults) says what may happen, and what happens then.
//!
//! # Where to read on
//!
//! [`Client`] and [`Server`] are the two ends, [`wire!`] and [`Protocol`] say what they exchange,
//! [`DaemonLock`] finds the one daemon of a directory, [`testing`] has both ends in one process, and
//! [`grite`] is the protocol of the issue tracker that comes with this library. With the feature `tokio`,
//! `AsyncClient` and `Server::serve_async` are both ends for async code.
//!
//! [`guide`] has whole programs, with what they cost and what goes wrong: [a command and its
//! daemon](guide::cli_and_daemon), [a worker pool](guide::worker_pool), [an editor that asks on every key
//! stroke](guide::prefix_query), and [tests in one process](guide::in_process_test).

// The modules, in the order in which they are best read; each uses only those before it.
#[cfg(not(grite_faults))]
mod fault;
#[cfg(grite_faults)]
#[doc(hidden)]
pub mod fault;
mod frame;
mod identity;
mod payload;
mod cpu;
mod sync;
mod shm;
mod ring;
mod wait;
mod stream;
mod channel;
mod handshake;
pub mod protocol;
mod error;
mod transport;
mod lock;
mod client;
mod server;
pub mod grite;
pub mod testing;
#[cfg(feature = "inside")]
#[doc(hidden)]
pub mod inside;
pub mod guide;
#[doc(hidden)]
#[cfg(all(any(fuzzing, test), not(loom)))]
pub mod fuzz;

#[cfg(feature = "tokio")]
pub use client::{AsyncClient, AsyncStream, AsyncSubscription};
pub use client::{
    Claimed, Client, ClientBuilder, Notice, Pending, Reply, Since, Stream, Subscription, Transport,
};
pub use error::{Blame, Error, ErrorKind};
pub use grite::{Grite, IpcCommand, IpcResponse};
pub use lock::{Daemon, DaemonLock, Readiness};
pub use payload::TooLong;
pub use protocol::{Encoded, Layout, Lent, Message, Notifies, Protocol, Wire};
pub use server::{Context, Incoming, Publisher, Request, Responder, Server, ServerBuilder, ServerHandle};
pub use shm::ChangeCounter;
pub use wait::WaitStrategy;

#[doc(hidden)]
pub use rkyv;

/// A client of the built-in protocol.
pub type IpcClient = Client<Grite>;

/// An async client of the built-in protocol.
#[cfg(feature = "tokio")]
pub type IpcAsyncClient = AsyncClient<Grite>;

/// A server of the built-in protocol.
pub type IpcServer = Server<Grite>;

/// The README's examples are compiled and run as tests; one of them is async.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;
