//! Telling subscribers of changes: [`Publisher`].

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::shared::Shared;
use crate::payload::TooLong;
use crate::protocol::{Encoded, Notifies};

/// Publishes notifications to all who subscribe, from any thread.
///
/// ```no_run
/// # use libgrite_ipc::{Notifies, Protocol, Wire, wire};
/// # wire! { pub struct Edit { pub text: String } pub struct Text { pub text: String }
/// #     pub struct Changed { pub length: u64 } }
/// # enum Pad {}
/// # impl Protocol for Pad { type Request = Edit; type Response = Text;
/// #     const NAME: &'static str = "pad"; const VERSION: u16 = 1;
/// #     const NOTIFICATION: Option<u64> = Some(Changed::LAYOUT); }
/// # impl Notifies for Pad { type Notification = Changed; }
/// # fn main() -> Result<(), libgrite_ipc::Error> {
/// # use libgrite_ipc::Server;
/// let server = Server::<Pad>::bind("/run/user/1000/pad.sock")?;
/// let changes = server.publisher();
/// server.serve(|edit, _cx| {
///     let text = edit.text.to_string();
///     let _ = changes.publish(&Changed { length: text.len() as u64 });
///     Text { text }
/// })?;
/// # Ok(()) }
/// ```
pub struct Publisher<P: Notifies> {
    shared: Arc<Shared>,
    _protocol: PhantomData<fn() -> P>,
}

impl<P: Notifies> Publisher<P> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        P::assert_notification();
        Publisher { shared, _protocol: PhantomData }
    }

    /// Tells all subscribers of `event`; waits for none of them. Says which sequence number it has.
    ///
    /// The last 65,536 notifications, of 16 MiB together at most, are kept for subscribers that are slow
    /// or come again.
    ///
    /// # Errors
    /// [`TooLong`] when the archive has more than 1 GiB. One that is longer than a subscriber's
    /// `max_message` is lost to that one, who is told so.
    pub fn publish(&self, event: &P::Notification) -> Result<u64, TooLong> {
        let sequence = self.shared.history.publish(Encoded::new(event)?.into_bytes());
        if self.shared.history.has_subscribers() {
            self.shared.rouse();
        }
        Ok(sequence)
    }

    /// Sleeps until somebody subscribes, if nobody does yet, and says `true`: for those who learn of changes
    /// only by looking, and need not look for nobody. Says `false` once
    /// [`end_waits`](Self::end_waits) was called.
    pub fn wait_for_subscribers(&self) -> bool {
        self.shared.history.wait_for_subscribers()
    }

    /// Ends all [`wait_for_subscribers`](Self::wait_for_subscribers) of this server, those to come included.
    pub fn end_waits(&self) {
        self.shared.history.close();
    }
}

impl<P: Notifies> Clone for Publisher<P> {
    fn clone(&self) -> Self {
        Publisher { shared: Arc::clone(&self.shared), _protocol: PhantomData }
    }
}

impl<P: Notifies> fmt::Debug for Publisher<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("protocol", &P::NAME).finish_non_exhaustive()
    }
}
