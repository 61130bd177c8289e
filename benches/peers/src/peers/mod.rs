//! The peers, one file each, and who is there.

#[cfg(all(feature = "capnproto", capnp_compiler))]
mod capnproto;
mod futex;
mod grite;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "iceoryx2")]
mod iceoryx2;
#[cfg(feature = "ipc-channel")]
mod ipc_channel;
#[cfg(feature = "published")]
mod published;
mod rkyv_socket;
#[cfg(feature = "shmipc")]
mod shmipc;
mod socket;
#[cfg(feature = "tarpc")]
mod tarpc;
#[cfg(feature = "tonic")]
mod tonic;

use std::time::Duration;

use crate::peer::Peer;
use crate::results::LeftOut;

/// All that this program was built with, as they are reported, and those that it was built without.
pub fn all() -> Table {
    let mut table = Table::default();
    table.peers.extend(grite::ALL.map(|peer| Box::new(peer) as Box<dyn Peer>));
    table.peers.extend(futex::ALL.map(|peer| Box::new(peer) as Box<dyn Peer>));
    table.peers.extend(socket::ALL.map(|peer| Box::new(peer) as Box<dyn Peer>));
    table.peers.push(Box::new(rkyv_socket::RkyvSocket));

    #[cfg(feature = "iceoryx2")]
    table.peers.push(Box::new(iceoryx2::Requests));
    #[cfg(feature = "iceoryx2")]
    table.peers.extend(iceoryx2::ALL.map(|peer| Box::new(peer) as Box<dyn Peer>));
    #[cfg(not(feature = "iceoryx2"))]
    table.without("iceoryx2");

    #[cfg(feature = "published")]
    table.peers.push(Box::new(published::Published));
    #[cfg(not(feature = "published"))]
    table.without("published");

    #[cfg(feature = "ipc-channel")]
    table.peers.push(Box::new(ipc_channel::IpcChannel));
    #[cfg(not(feature = "ipc-channel"))]
    table.without("ipc-channel");

    #[cfg(feature = "tonic")]
    table.peers.push(Box::new(tonic::Tonic));
    #[cfg(not(feature = "tonic"))]
    table.without("tonic");

    #[cfg(feature = "shmipc")]
    table.peers.push(Box::new(shmipc::Shmipc));
    #[cfg(not(feature = "shmipc"))]
    table.without("shmipc");

    #[cfg(feature = "tarpc")]
    table.peers.push(Box::new(tarpc::Tarpc));
    #[cfg(not(feature = "tarpc"))]
    table.without("tarpc");

    #[cfg(feature = "http")]
    table.peers.push(Box::new(http::Http));
    #[cfg(not(feature = "http"))]
    table.without("http-json");

    #[cfg(all(feature = "capnproto", capnp_compiler))]
    table.peers.push(Box::new(capnproto::CapnProto));
    #[cfg(all(feature = "capnproto", not(capnp_compiler)))]
    table.left_out("capnproto", "its schema compiler, the program `capnp`, was not there");
    #[cfg(not(feature = "capnproto"))]
    table.without("capnproto");

    table
}

/// Who is there and who is not.
#[derive(Default)]
pub struct Table {
    pub peers: Vec<Box<dyn Peer>>,
    pub left_out: Vec<LeftOut>,
}

#[allow(dead_code, reason = "with all features nobody is left out")]
impl Table {
    fn without(&mut self, name: &str) {
        self.left_out(name, "the program was built without its feature");
    }

    fn left_out(&mut self, name: &str, reason: &str) {
        self.left_out.push(LeftOut { name: name.to_owned(), reason: reason.to_owned() });
    }
}

/// How the two ends of a limit wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// They look all the time.
    Spin,
    /// They look for about as long as a sleep costs, then sleep.
    Adaptive,
    /// They sleep at once.
    Park,
}

impl Wait {
    /// For how long to look before sleeping; nothing means for ever.
    fn budget(self) -> Option<Duration> {
        match self {
            Wait::Spin => None,
            Wait::Adaptive => Some(Duration::from_micros(50)),
            Wait::Park => Some(Duration::ZERO),
        }
    }
}

/// A runtime of one thread: with one question under way, more would only hand it around.
#[cfg(any(
    feature = "capnproto",
    feature = "http",
    feature = "shmipc",
    feature = "tarpc",
    feature = "tonic"
))]
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
