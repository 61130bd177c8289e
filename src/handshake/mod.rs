//! The first words: a client's [`Hello`], a daemon's [`Answer`]. One round trip.
//!
//! Both are fixed layouts of little-endian bytes, not rkyv, so that any two versions can tell each
//! other apart. This module reads and writes them, and judges a hello ([`judge()`]); sockets and
//! memory are the callers' business.

mod answer;
mod hello;
mod judge;

pub(crate) use answer::{Answer, LENGTH as ANSWER_LENGTH, Refuse, RefuseCode, Welcome};
pub(crate) use hello::{Hello, MAX_LENGTH, MIN_MAX_MESSAGE, Mode, Sizes, Stance};
pub(crate) use judge::{Grant, Heard, Limits, differ, grant_sizes, judge, whom_to_upgrade};
