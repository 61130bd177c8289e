//! Locks among clones: a resource is somebody's until it is given back, or until its time is over.
//!
//! A lock is a [`Record`] on a [`Board`] that changes by compare-and-swap alone: a ref of the remote where
//! there is one ([`RemoteBoard`]), else a row of this clone's store ([`LocalBoard`]). So of any number that
//! try at once, exactly one wins. [`rules`] says what taking, keeping and giving back do with a board.
//!
//! Time is told by the clocks of those who take part. Each record states by how much they may differ: for
//! that long after its end a lock is nobody's and cannot be taken. Whoever holds one stops at its end.

mod board;
mod local;
mod record;
mod remote;
pub mod rules;

pub use board::{Board, BoardError, Held};
pub use local::LocalBoard;
pub use record::Record;
pub use remote::{LOCKS, LOCKS_PATTERN, RemoteBoard};
