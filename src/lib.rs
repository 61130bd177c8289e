//! Ask a warm daemon on the same machine a typed question.
#![doc(html_no_source)]

mod channel;
mod client;
mod error;
mod frame;
pub mod grite;
mod handshake;
mod identity;
mod lock;
mod payload;
pub mod protocol;
mod ring;
mod server;
mod shm;
mod stream;
mod sync;
pub mod testing;
mod transport;
mod wait;

pub use client::{Client, ClientBuilder, Reply, Transport};
pub use error::{Blame, Error, ErrorKind};
pub use grite::{Grite, IpcCommand, IpcResponse};
pub use lock::{Daemon, DaemonLock, Readiness};
pub use payload::TooLong;
pub use protocol::{Encoded, Layout, Message, Protocol, Wire};
#[doc(hidden)]
pub use rkyv;
pub use server::{Context, Incoming, Request, Responder, Server, ServerBuilder, ServerHandle};
pub use shm::ChangeCounter;
pub use wait::WaitStrategy;

/// A client of the built-in protocol.
pub type IpcClient = Client<Grite>;

/// A server of the built-in protocol.
pub type IpcServer = Server<Grite>;
