//! What a person sees of a measurement while it runs.

use std::io::{IsTerminal, Write, stderr};

/// Shows what is being done, where somebody watches; an empty text takes that away again.
pub fn progress(text: &str) {
    let mut stderr = stderr();
    if stderr.is_terminal() {
        // Whoever stops watching misses nothing.
        let _ = write!(stderr, "\r\x1b[K{text}");
        let _ = stderr.flush();
    }
}
