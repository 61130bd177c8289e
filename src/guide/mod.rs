//! Worked examples: one page a way to use this library, each with one whole program; and what it survives.
//!
//! | page | for whom |
//! |---|---|
//! | [`cli_and_daemon`] | a command-line tool that keeps what it knows warm in a daemon of its own |
//! | [`worker_pool`] | a daemon whose work takes long: jobs, builds, searches |
//! | [`prefix_query`] | an editor plugin, or whoever else asks on every key stroke |
//! | [`in_process_test`] | the tests of all these |
//! | [`faults`] | whoever must know what a peer, the system or time can do to it |
//!
//! The programs are compiled and run with this crate's tests, as they stand. Each works in a temporary
//! folder (of the crate `tempfile`), ends what it has started, and leaves nothing behind; what it asserts is what the page
//! says.

#[doc = include_str!("cli_and_daemon.md")]
pub mod cli_and_daemon {}

#[doc = include_str!("worker_pool.md")]
pub mod worker_pool {}

#[doc = include_str!("prefix_query.md")]
pub mod prefix_query {}

#[doc = include_str!("in_process_test.md")]
pub mod in_process_test {}

#[doc = include_str!("faults.md")]
pub mod faults {}
