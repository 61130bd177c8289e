//! Holding requests back: [`Gate`].

use std::sync::{Condvar, Mutex};

use super::Order;
use super::process::PATIENCE;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// A request stands before it.
    Reached,
    Open,
}

/// All gates of this process. None is taken away: their keys are their places.
static GATES: Mutex<Vec<State>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();

/// Holds requests to a server of this process back until it is dropped: then they are answered, however long that
/// took the one who waits.
pub struct Gate {
    key: u64,
}

impl Gate {
    /// One that is closed.
    #[allow(clippy::new_without_default, reason = "it is said when one is closed")]
    pub fn new() -> Self {
        let mut gates = GATES.lock().unwrap();
        gates.push(State::Closed);
        Gate { key: gates.len() as u64 - 1 }
    }

    /// A request that is answered with so many bytes once this gate is open.
    pub fn order(&self, length: u32) -> Order {
        Order::AtGate((length, self.key))
    }

    /// Waits until a handler stands before it.
    pub fn until_reached(&self) {
        let is_closed = |gates: &mut Vec<State>| gates[self.key as usize] == State::Closed;
        let waited = CHANGED.wait_timeout_while(GATES.lock().unwrap(), PATIENCE, is_closed).unwrap();
        let is_late = waited.1.timed_out();
        drop(waited);
        assert!(!is_late, "no request stands before the gate");
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        GATES.lock().unwrap()[self.key as usize] = State::Open;
        CHANGED.notify_all();
    }
}

/// Waits until the gate with this key is open.
pub(super) fn pass(key: u64) {
    let mut gates = GATES.lock().unwrap();
    if gates[key as usize] == State::Closed {
        gates[key as usize] = State::Reached;
        CHANGED.notify_all();
    }
    drop(CHANGED.wait_while(gates, |gates| gates[key as usize] != State::Open).unwrap());
}
