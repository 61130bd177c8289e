//! Ask a warm daemon on the same machine a typed question.
#![doc(html_no_source)]

mod channel;
mod error;
mod frame;
pub mod grite;
mod payload;
pub mod protocol;
mod ring;
mod shm;
mod sync;
mod wait;

pub use error::{Blame, Error, ErrorKind};
pub use grite::{Grite, IpcCommand, IpcResponse};
pub use payload::TooLong;
pub use protocol::{Encoded, Layout, Message, Protocol, Wire};
#[doc(hidden)]
pub use rkyv;
pub use shm::ChangeCounter;
pub use wait::WaitStrategy;
