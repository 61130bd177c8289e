//! The built-in protocol [`Grite`]: what the `grite` issue tracker asks and answers.
//!
//! [`IpcCommand`] is the question, [`IpcResponse`] the answer. A command that the tracker refuses
//! is an answer too: [`IpcResponse::Refused`]. Whoever subscribes is told of each [`Notification`].

mod command;
mod list;
mod notification;
mod response;

pub use command::*;
pub use list::*;
pub use notification::*;
pub use response::*;

use crate::protocol::{Notifies, Protocol, Wire};

/// The protocol of the `grite` issue tracker.
#[derive(Debug)]
pub enum Grite {}

impl Protocol for Grite {
    type Request = IpcCommand;
    type Response = IpcResponse;
    const NAME: &'static str = "grite";
    const VERSION: u16 = 2;
    const NOTIFICATION: Option<u64> = Some(Notification::LAYOUT);

    fn may_repeat(request: &IpcCommand) -> bool {
        // Reads change nothing, and writes carry a key. A stop may meet the next daemon.
        !matches!(request, IpcCommand::Stop)
    }
}

impl Notifies for Grite {
    type Notification = Notification;
}
