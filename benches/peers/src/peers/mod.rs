//! The peers, one file each.

mod futex;
mod grite;
mod socket;

use std::time::Duration;

use crate::peer::Peer;
use crate::results::LeftOut;

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

/// All that this program was built with, as they are reported.
pub fn all() -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    peers.extend(grite::ALL.map(|peer| Box::new(peer) as Box<dyn Peer>));
    peers.extend(futex::ALL.map(|peer| Box::new(peer) as Box<dyn Peer>));
    peers.extend(socket::ALL.map(|peer| Box::new(peer) as Box<dyn Peer>));
    peers
}

/// The peers that this program was built without, and why.
pub fn left_out() -> Vec<LeftOut> {
    Vec::new()
}
