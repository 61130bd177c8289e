//! How clones exchange events through git, as refs beside the user's own.
//!
//! Each clone appends to one ref that is its own, `refs/grite/events/<actor>`, where `actor` is its
//! [`Actor`]; so no push meets another clone's. A commit of that ref holds, as blobs, the [`chunk`]s of
//! events that were new then, each under the name of its hash. Whoever fetches lists what is new in the
//! refs ([`history`]), reads and verifies the chunks, and hands the events to the engine.
//!
//! What an event means, and what the store does with it, is the engine's business.

mod actor;
pub mod chunk;
#[cfg(test)]
mod convergence;
pub mod history;
mod publish;
mod turn;

pub use actor::Actor;
pub use publish::publish;
pub use turn::Turn;

/// The folder of the refs in which clones publish events.
pub const EVENTS: &str = "refs/grite/events/";

/// The same below `refs/grite/`, as a pattern for a fetch.
pub const EVENTS_PATTERN: &str = "events/*";

/// The folder of all tracking refs.
pub const TRACKING: &str = "refs/grite/remotes/";

/// The file whose lock is held while this clone syncs.
pub const SYNCING: &str = "sync.lock";

/// All refs of ours.
pub const ALL: &str = "refs/grite/";
