//! What a person sees of a measurement: how far it has come, and latencies that can be read.

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

/// A latency for people.
pub fn time(nanoseconds: u64) -> String {
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.1} µs", nanoseconds as f64 / 1e3),
        _ => format!("{:.1} ms", nanoseconds as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_has_the_unit_that_fits() {
        for (nanoseconds, expected) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.0 µs"),
            (1_250_000, "1.2 ms"),
            (12_000_000_000, "12000.0 ms"),
        ] {
            assert_eq!(time(nanoseconds), expected);
        }
    }
}
