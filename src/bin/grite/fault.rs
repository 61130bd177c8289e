//! The library's points at which a test has a process stop, for those of this program.

#[cfg(grite_faults)]
pub use libgrite_ipc::fault::point;

/// A step after which a crash makes a difference.
#[cfg(not(grite_faults))]
pub const fn point(_: &str) {}
