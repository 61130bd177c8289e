//! Arithmetic on positions, and the checks that a peer's words must pass. Opens nothing, waits for
//! nothing.
//!
//! Invariants of a ring of `capacity` bytes, a power of two:
//! - `consumed <= published <= consumed + capacity`, as differences modulo 2^64;
//! - both are multiples of [`ALIGN`](crate::frame::ALIGN);
//! - neither ever goes back.

use crate::frame::{self, BadHeader, Header, Kind, LINE};

/// What no honest peer does to a ring. The connection is lost for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("its published position moved by {moved} to {unread} unread bytes in a ring of {capacity}")]
    Published { moved: u64, unread: u64, capacity: u64 },
    #[error("its consumed position moved by {moved}, past {unread} unread bytes")]
    Consumed { moved: u64, unread: u64 },
    #[error("{0}")]
    Header(#[from] BadHeader),
    #[error("a frame of {extent} bytes where {unread} are published and {contiguous} lie before the end")]
    Extent { extent: u64, unread: u64, contiguous: u64 },
    #[error("a frame's payload of {length} bytes is longer than {limit}")]
    Length { length: u32, limit: u32 },
    #[error("a skip that ends {short} bytes before the end of a line")]
    Skip { short: u64 },
    #[error("skips behind skips, and no frame")]
    Skips,
}

/// Checks that a peer's published position went from `known` to `seen` honestly; gives it back.
pub(super) fn check_published(seen: u64, known: u64, consumed: u64, capacity: u64) -> Result<u64, Violation> {
    let moved = seen.wrapping_sub(known);
    let unread = known.wrapping_sub(consumed);
    if moved > capacity - unread || !moved.is_multiple_of(frame::ALIGN as u64) {
        return Err(Violation::Published { moved, unread: unread.wrapping_add(moved), capacity });
    }
    Ok(seen)
}

/// Checks that a peer's consumed position went from `known` to `seen` honestly; gives it back.
pub(super) fn check_consumed(seen: u64, known: u64, published: u64) -> Result<u64, Violation> {
    let moved = seen.wrapping_sub(known);
    let unread = published.wrapping_sub(known);
    if moved > unread || !moved.is_multiple_of(frame::ALIGN as u64) {
        return Err(Violation::Consumed { moved, unread });
    }
    Ok(seen)
}

/// Checks that the frame of `header` at `consumed` lies within what is published and does not cross
/// the end of the ring.
pub(super) fn check_frame(
    header: Header,
    consumed: u64,
    published: u64,
    capacity: u64,
    limit: u32,
) -> Result<(), Violation> {
    if header.length() > limit {
        return Err(Violation::Length { length: header.length(), limit });
    }
    let extent = header.extent();
    let unread = published.wrapping_sub(consumed);
    let contiguous = capacity - offset(consumed, capacity);
    if extent > unread || extent > contiguous {
        return Err(Violation::Extent { extent, unread, contiguous });
    }
    let short = rest_of_line(consumed.wrapping_add(extent));
    if header.kind() == Kind::Skip && short > 0 {
        return Err(Violation::Skip { short });
    }
    Ok(())
}

/// How many bytes lie between `position` and the next line; none at the start of one.
#[inline]
pub(super) fn rest_of_line(position: u64) -> u64 {
    position.wrapping_neg() & (LINE - 1)
}

/// Where in the ring a position lies.
pub(super) fn offset(position: u64, capacity: u64) -> u64 {
    position & (capacity - 1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const CAPACITY: u64 = 4096;
    /// Positions near which everything must hold, the wrap of 32 and 64 bits among them.
    const BASES: [u64; 4] = [0, 4080, u32::MAX as u64 - 15, u64::MAX - 15];

    #[test]
    fn a_published_position_may_move_to_the_capacity_and_not_past_it() {
        for base in BASES {
            let known = base.wrapping_add(64);
            let check = |seen: u64| check_published(seen, known, base, CAPACITY);
            assert_eq!(check(known), Ok(known), "base {base}");
            let full = base.wrapping_add(CAPACITY);
            assert_eq!(check(full), Ok(full), "base {base}");
            assert!(check(full.wrapping_add(16)).is_err(), "past the capacity, base {base}");
            assert!(check(full.wrapping_add(1)).is_err(), "one past the capacity, base {base}");
            assert!(check(known.wrapping_sub(16)).is_err(), "backwards, base {base}");
            assert!(check(known.wrapping_add(8)).is_err(), "misaligned, base {base}");
        }
    }

    #[test]
    fn a_consumed_position_may_move_to_the_published_one_and_not_past_it() {
        for base in BASES {
            let published = base.wrapping_add(256);
            let check = |seen: u64| check_consumed(seen, base, published);
            assert_eq!(check(base), Ok(base), "base {base}");
            assert_eq!(check(published), Ok(published), "base {base}");
            assert!(check(published.wrapping_add(16)).is_err(), "into the future, base {base}");
            assert!(check(base.wrapping_sub(16)).is_err(), "backwards, base {base}");
            assert!(check(base.wrapping_add(8)).is_err(), "misaligned, base {base}");
        }
    }

    #[test]
    fn a_frame_lies_within_what_is_published_and_before_the_end() {
        let limit = 1008;
        let header = |length| Header::new(Kind::Request, 1, length, false);
        let check =
            |length, consumed, published| check_frame(header(length), consumed, published, CAPACITY, limit);
        assert_eq!(check(0, 0, 16), Ok(()));
        assert_eq!(check(1008, 0, 1024), Ok(()));
        assert_eq!(check(1009, 0, 4096), Err(Violation::Length { length: 1009, limit }));
        assert_eq!(check(u32::MAX, 0, 4096), Err(Violation::Length { length: u32::MAX, limit }));
        assert_eq!(check(1, 0, 16), Err(Violation::Extent { extent: 32, unread: 16, contiguous: 4096 }));
        assert_eq!(check(16, 4064, 8000), Ok(()));
        assert_eq!(
            check(17, 4064, 8000),
            Err(Violation::Extent { extent: 48, unread: 3936, contiguous: 32 })
        );
    }

    #[test]
    fn a_skip_ends_with_a_line() {
        let skip = |length| Header::new(Kind::Skip, 0, length, false);
        let check = |length, consumed| check_frame(skip(length), consumed, 4096, CAPACITY, 1008);
        for (length, consumed) in [(48, 4032), (112, 3968), (0, 4080), (0, 48), (16, 32), (80, 32)] {
            assert_eq!(check(length, consumed), Ok(()), "{length} bytes at {consumed}");
        }
        assert_eq!(check(32, 4032), Err(Violation::Skip { short: 16 }));
        assert_eq!(check(0, 4032), Err(Violation::Skip { short: 48 }));
    }
}
