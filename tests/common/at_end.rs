//! What is to happen whichever way a test ends: [`AtEnd`].

/// Does this when it is dropped. Made first in a scope of threads, it tells them to end when the test fails, too:
/// who waits for them would wait for ever.
#[must_use]
pub struct AtEnd<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
