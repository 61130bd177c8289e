//! What an issue is: a pure function of the set of its events.
//!
//! Nothing here opens a file, asks a clock or knows SQLite. The store keeps events, the engine
//! makes them, and both fold them with [`Issue::apply`]; clones that exchange events will do the
//! same and arrive at the same issues.

mod event;
mod folded;
mod id;
mod issue;
mod merge;
mod moment;

pub use event::{BadEvent, Event, Operation, Origin, Sealed};
pub use folded::FOLDED_VERSION;
pub use id::{EventId, IssueId};
pub use issue::{Creation, Dependency, Issue, Remark, State};
pub use merge::{AddWins, Register, Stamp};
pub use moment::{LogicalTime, Moment};
