//! What the integration tests share: an echo protocol, and the three ways to reach a server.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod at_end;
pub mod daemon;
pub mod gate;
#[cfg(target_os = "linux")]
pub mod hello;
pub mod not_tested;
pub mod process;
#[cfg(all(feature = "tokio", not(loom)))]
pub mod runtimes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use at_end::AtEnd;
use libgrite_ipc::{
    Client, ClientBuilder, Context, Error, Protocol, Server, ServerBuilder, ServerHandle, Transport, testing,
    wire,
};

wire! {
    /// What to do.
    pub enum Order {
        /// Give these bytes back.
        Echo(Vec<u8>),
        /// Answer with so many bytes.
        Make(u32),
        /// Answer after so many milliseconds.
        Wait(u64),
        /// Answer with so many bytes after so many milliseconds.
        MakeLate((u32, u64)),
        /// Answer with so many bytes once this gate is open: see [`gate::Gate`].
        AtGate((u32, u64)),
        /// Panic.
        Panic,
        /// Say which session this is.
        Session,
    }

    /// What was done.
    pub struct Done {
        /// The bytes asked for.
        pub bytes: Vec<u8>,
        /// The session.
        pub session: u64,
    }
}

/// The protocol of the tests.
#[derive(Debug)]
pub enum Work {}

impl Protocol for Work {
    type Request = Order;
    type Response = Done;
    const NAME: &'static str = "work";
    const VERSION: u16 = 1;

    fn may_repeat(order: &Order) -> bool {
        matches!(order, Order::Session)
    }
}

/// Does what it is told.
pub fn work(order: &ArchivedOrder, cx: &Context) -> Done {
    let bytes = match order {
        ArchivedOrder::Echo(bytes) => bytes.to_vec(),
        ArchivedOrder::Make(length) => pattern(length.to_native() as usize),
        ArchivedOrder::Wait(millis) => {
            std::thread::sleep(std::time::Duration::from_millis(millis.to_native()));
            Vec::new()
        }
        ArchivedOrder::MakeLate(late) => {
            std::thread::sleep(std::time::Duration::from_millis(late.1.to_native()));
            pattern(late.0.to_native() as usize)
        }
        ArchivedOrder::AtGate(held) => {
            gate::pass(held.1.to_native());
            pattern(held.0.to_native() as usize)
        }
        ArchivedOrder::Panic => panic!("as ordered"),
        ArchivedOrder::Session => Vec::new(),
    };
    Done { bytes, session: cx.session() }
}

/// Asks a server that runs on a thread of this scope, and stops it whichever way that ends.
pub fn stop_after(stop: &ServerHandle, ask: impl FnOnce()) {
    let _stop = AtEnd(|| stop.stop());
    ask();
}

/// Runs `serve` on a thread of its own, `ask` on this one, and stops the server.
pub fn served_by(
    builder: ServerBuilder<Work>,
    serve: impl FnOnce(&Server<Work>) + Send,
    ask: impl FnOnce(&Path),
) {
    let folder = tempfile::tempdir().unwrap();
    let server = builder.bind(folder.path().join("work.sock")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&server));
        stop_after(&server.handle(), || ask(server.path()));
    });
}

/// Bytes that show where they belong.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

/// A way from a client to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Rings in shared memory, the handshake over a socket.
    Ring,
    /// The socket alone.
    Socket,
    /// Rings on the heap of one process.
    Pair,
}

/// All ways that this system has.
pub const WAYS: &[Way] = if cfg!(all(target_os = "linux", not(grite_portable))) {
    &[Way::Ring, Way::Socket, Way::Pair]
} else {
    &[Way::Socket, Way::Pair]
};

/// Those that lead to a server's socket.
pub fn served_ways() -> Vec<Way> {
    WAYS.iter().copied().filter(|&way| way != Way::Pair).collect()
}

/// A server on a thread of this process, in a folder of its own; gone when dropped.
pub struct Running {
    folder: tempfile::TempDir,
    handle: ServerHandle,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Running {
    /// Starts a server that does what it is told.
    pub fn start() -> Self {
        Self::start_with(Server::<Work>::builder)
    }

    /// Starts a server with choices.
    pub fn start_with(builder: impl FnOnce() -> ServerBuilder<Work>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = builder().bind(folder.path().join("work.sock")).unwrap();
        let handle = server.handle();
        let thread = std::thread::spawn(move || server.serve(work));
        Running { folder, handle, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("work.sock")
    }

    /// A client by way of `way`, which must not be a pair.
    pub fn client(&self, way: Way) -> Client<Work> {
        builder_for(way).connect(self.socket()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        let served = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            served.unwrap().unwrap();
        }
    }
}

/// A builder for a client of that way.
pub fn builder_for(way: Way) -> ClientBuilder<Work> {
    Client::builder().transport(match way {
        Way::Ring => Transport::Ring,
        Way::Socket => Transport::Socket,
        Way::Pair => Transport::Auto,
    })
}

/// A client with what must live as long as it does.
pub struct Reached {
    /// The client.
    pub client: Client<Work>,
    _server: Option<Arc<Running>>,
}

/// A client by way of `way`, with the choices of `choose`.
pub fn reach(way: Way, choose: impl FnOnce(ClientBuilder<Work>) -> ClientBuilder<Work>) -> Reached {
    let builder = choose(builder_for(way));
    match way {
        Way::Pair => Reached { client: testing::pair_with(&builder, work), _server: None },
        Way::Ring | Way::Socket => {
            let server = Running::start();
            let client = builder.connect(server.socket()).unwrap();
            Reached { client, _server: Some(Arc::new(server)) }
        }
    }
}
