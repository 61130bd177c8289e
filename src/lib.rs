//! Ask a warm daemon on the same machine a typed question.
#![doc(html_no_source)]

mod error;
pub mod grite;
pub mod protocol;

pub use error::{Blame, Error, ErrorKind};
pub use grite::{Grite, IpcCommand, IpcResponse};
pub use protocol::{Encoded, Layout, Message, Protocol, TooLong, Wire};
#[doc(hidden)]
pub use rkyv;
