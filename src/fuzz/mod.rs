//! What fuzzers call: each target takes any bytes, does with them what a peer or a file could do, and
//! panics where a promise is broken. Compiled for fuzzers and tests alone.
//!
//! | target | tries | holds it against |
//! |---|---|---|
//! | [`frame`](frame()) | the receiving end of a ring, on a snapshot of any bytes | a plain receiver |
//! | [`archive`](archive()) | archives of wire types, made up or damaged | what they encode to again |
//! | [`peer`](peer()) | a side whose peer writes what it may between any two steps | that, and what it was given to send |
//! | `handshake` | hello and answer over a socket, with any descriptors | the count of open descriptors |
//! | [`record`](record()) | the lock's record | what it is written as again |
//! | [`ring`](ring()) | both ends of a ring, honest, near the wraps of positions | a queue |
//!
//! Time and memory of an input are bounded by its length. The package `fuzz/` runs the targets; the inputs
//! that it has kept are replayed here, as an ordinary test.

mod archive;
mod frame;
#[cfg(all(target_os = "linux", not(grite_portable)))]
mod handshake;
mod lane;
mod model;
mod peer;
mod record;
mod ring;
mod script;

pub use archive::archive;
pub use frame::frame;
#[cfg(all(target_os = "linux", not(grite_portable)))]
pub use handshake::handshake;
pub use peer::peer;
pub use record::record;
pub use ring::ring;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::Path;

    /// Calls `target` with each input that its fuzzer has kept.
    fn replay(name: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut count = 0;
        for entry in fs::read_dir(&folder).expect("the fuzzer's inputs are there") {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            assert!(catch_unwind(|| target(&input)).is_ok(), "{}", path.display());
            count += 1;
        }
        assert!(count > 0, "{} is empty", folder.display());
    }

    /// Faults 3, 4 and 5. Rings of any bytes, with any position: what is received, and whether it is
    /// refused, is what a plain receiver makes of the same bytes.
    #[test]
    fn a_ring_of_any_bytes_is_received_as_a_plain_receiver_does_or_refused() {
        replay("frame", super::frame);
    }

    /// Faults 19, 20 and 22. Archives that are cut, flipped, overwritten or made up: refused, or a value
    /// all of which can be walked, with work that the archive's length bounds.
    #[test]
    fn a_damaged_archive_is_refused_or_a_value_that_can_be_walked() {
        replay("archive", super::archive);
    }

    /// Faults 1, 2, 3, 4, 5 and 6. A peer that writes any word it may between any two steps of ours: an error, or messages
    /// that hold together; what it has not given back is never written over.
    #[test]
    fn a_peer_that_writes_any_word_gets_an_error_or_is_understood() {
        replay("peer", super::peer);
    }

    /// Faults 15, 16, 29 and 30. Damaged first words with up to 253 descriptors of any kind: an error or a
    /// connection, nobody waits, and every descriptor is closed.
    #[test]
    #[cfg(all(target_os = "linux", not(grite_portable)))]
    fn first_words_with_any_descriptors_are_judged_and_none_stays_open() {
        // Other tests open descriptors in this process: they are counted in one of its own.
        let alone = "fuzz::tests::handshakes_alone";
        let this = std::env::current_exe().unwrap();
        let run = std::process::Command::new(this).args(["--exact", alone, "--ignored"]).output().unwrap();
        let report = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && report.contains("1 passed"), "{report}");
    }

    #[test]
    #[ignore = "counts its process's descriptors: the test above runs it alone"]
    #[cfg(all(target_os = "linux", not(grite_portable)))]
    fn handshakes_alone() {
        super::handshake::ALONE.store(true, std::sync::atomic::Ordering::Relaxed);
        replay("handshake", super::handshake);
    }

    /// Fault 49. What stands in a lock file reads as none, or as a record that is written and read again as
    /// it is.
    #[test]
    fn a_record_of_any_bytes_reads_as_none_or_as_it_is_written() {
        replay("record", super::record);
    }

    /// Fault 18. Messages of any length through a small ring, with positions near the wraps of 32 and 64
    /// bits: all come, in order.
    #[test]
    fn messages_come_in_order_across_the_wraps_of_positions() {
        replay("ring", super::ring);
    }
}
