//! What the two sides say to each other: a [`Protocol`] names a request and a response type.
//!
//! The types are rkyv types that implement [`Wire`]. This module turns them into bytes and checks
//! bytes that a peer sent; how bytes travel is the business of the layers beside it.

mod codec;
#[cfg(test)]
mod forged;
mod lent;
mod message;
mod wire;

pub use codec::Output;

use crate::identity::{Identity, MAX_NAME};
pub(crate) use codec::{check, encode};
pub use lent::Lent;
pub use message::{Encoded, Message};
pub use wire::{Checker, Encoder, Layout, Wire};

/// A question that a daemon answers: two wire types, a name and a version.
///
/// ```
/// use libgrite_ipc::{Protocol, wire};
///
/// wire! {
///     /// Words that start with a prefix.
///     pub struct Query { /// The prefix.
///         pub prefix: String }
///     /// The words found.
///     pub struct Hits { /// In order.
///         pub words: Vec<String> }
/// }
///
/// enum Search {}
/// impl Protocol for Search {
///     type Request = Query;
///     type Response = Hits;
///     const NAME: &'static str = "search";
///     const VERSION: u16 = 1;
/// }
/// # fn main() {}
/// ```
pub trait Protocol: 'static {
    /// What a client asks.
    type Request: Wire;
    /// What the daemon answers.
    type Response: Wire;
    /// Tells protocols apart: 1 to 32 bytes, none of them zero, checked at compile time.
    const NAME: &'static str;
    /// Raise it when the meaning of the types changes. A change of their layout is noticed anyway.
    const VERSION: u16;
    /// The layout of [`Notifies::Notification`] where the protocol has notifications.
    const NOTIFICATION: Option<u64> = None;

    /// Whether this request may be carried out twice as well as once: it only reads, or it carries a
    /// key by which the daemon knows the repeat. Decides what
    /// [`send_with_retry`](crate::Client::send_with_retry) repeats.
    fn may_repeat(request: &Self::Request) -> bool {
        let _ = request;
        false
    }
}

/// A protocol whose daemon tells its subscribers of changes.
///
/// ```
/// use libgrite_ipc::{Notifies, Protocol, Wire, wire};
///
/// wire! {
///     /// Read or replace the text.
///     pub struct Edit { /// The new text, if any.
///         pub text: Option<String> }
///     /// The text.
///     pub struct Text { /// All of it.
///         pub text: String }
///     /// The text has changed.
///     pub struct Changed { /// Its length now, in bytes.
///         pub length: u64 }
/// }
///
/// enum Pad {}
/// impl Protocol for Pad {
///     type Request = Edit;
///     type Response = Text;
///     const NAME: &'static str = "pad";
///     const VERSION: u16 = 1;
///     const NOTIFICATION: Option<u64> = Some(Changed::LAYOUT);
/// }
/// impl Notifies for Pad {
///     type Notification = Changed;
/// }
/// # fn main() {}
/// ```
pub trait Notifies: Protocol {
    /// What subscribers are told. [`Protocol::NOTIFICATION`] must be its layout, which is checked at
    /// compile time.
    type Notification: Wire;

    #[doc(hidden)]
    fn assert_notification() {
        const {
            let Some(layout) = Self::NOTIFICATION else {
                panic!("Protocol::NOTIFICATION is the layout of Notifies::Notification");
            };
            assert!(layout == <Self::Notification as Wire>::LAYOUT);
        }
    }
}

/// What both sides must agree on to speak `P`.
///
/// ```compile_fail,E0080
/// enum Odd {}
/// impl libgrite_ipc::Protocol for Odd {
///     type Request = ();
///     type Response = ();
///     const NAME: &'static str = "odd\0";
///     const VERSION: u16 = 1;
/// }
/// # fn main() {
/// let server = libgrite_ipc::Server::<Odd>::bind("/run/odd.sock");
/// # }
/// ```
pub(crate) fn identity<P: Protocol>() -> Identity {
    const {
        assert!(!P::NAME.is_empty() && P::NAME.len() <= MAX_NAME, "Protocol::NAME has 1 to 32 bytes");
        let mut rest = P::NAME.as_bytes();
        while let [byte, behind @ ..] = rest {
            assert!(*byte != 0, "Protocol::NAME has no zero bytes: those are its padding");
            rest = behind;
        }
    }
    let mut name = [0; MAX_NAME];
    name[..P::NAME.len()].copy_from_slice(P::NAME.as_bytes());
    let fingerprint = Layout::named("protocol")
        .number(codec::format_hash())
        .field("request", P::Request::LAYOUT)
        .field("response", P::Response::LAYOUT)
        .field("notification", P::NOTIFICATION.unwrap_or(0))
        .hash();
    Identity { name, version: P::VERSION, fingerprint }
}
