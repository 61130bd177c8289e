//! Measuring: what `bench` and `demo` share.
//!
//! A scratch folder holds what is measured, with a daemon of its own; an [`Asker`] asks by one way; [`raw`]
//! knows the limits of the machine; a [`Histogram`] keeps what was measured. Each process and folder has an
//! owner whose drop ends it, so that an error, a panic or Ctrl-C, which [`Interrupts`] turns into an error,
//! leaves nothing behind.

mod chart;
mod histogram;
mod interrupts;
mod machine;
mod plot;
mod process;
mod progress;
pub mod raw;
mod sample;
mod slice;
mod touch;
mod way;

pub use chart::chart;
pub use histogram::Histogram;
pub use interrupts::Interrupts;
pub use machine::Machine;
pub use plot::{Bar, Panel, Tint, draw, time};
pub use process::DaemonProcess;
pub use progress::progress;
pub use sample::issues;
pub use slice::slice;
pub use way::{Asker, Way};
