//! Waiting for a word to change: spin for as long as that pays, then sleep in the kernel.
//!
//! Nothing here reads data or knows what a word means. [`spin`] decides for how long to look
//! before sleeping; [`futex`] sleeps and wakes across processes; [`change`] lends both to a counter
//! that processes share.

mod change;
mod deadline;
mod futex;
mod meeting;
mod spin;

pub(crate) use deadline::{Deadline, coarse_now};
#[cfg(all(target_os = "linux", not(grite_portable)))]
pub(crate) use futex::can_sleep_on_many;
pub(crate) use futex::{Expected, MAX_WORDS, sleep, sleep_any, wake};
pub(crate) use spin::Spin;
pub use spin::WaitStrategy;
