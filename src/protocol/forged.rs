//! What [`check`] makes of bytes that no encoder wrote.

use std::time::Instant;

use super::*;
use crate::payload::{Bytes, Limited};

crate::wire! {
    /// All that a wire type may consist of.
    enum Everything {
        Nothing,
        Text(String),
        Tree { texts: Vec<String>, pairs: Vec<(u32, Option<String>)>, boxed: Box<String>, grid: [u16; 3] },
        Flags { yes: bool, letter: char, parts: Vec<Vec<u8>>, inner: Inner },
    }
    /// A struct within an enum.
    struct Inner { choice: Option<Box<u64>>, name: String }
}

fn bytes_of<T: Wire>(value: &T) -> Bytes {
    let mut bytes = Bytes::new();
    let sink = &mut Limited { bytes: &mut bytes, limit: 1 << 20 };
    encode(value, sink, &mut rkyv::ser::allocator::Arena::new()).unwrap();
    bytes
}

fn aligned(bytes: &[u8]) -> Bytes {
    let mut aligned = Bytes::new();
    aligned.extend_from_slice(bytes);
    aligned
}

/// A value of each shape, with texts short and long.
fn everything(number: usize) -> Everything {
    let text = |length: usize| "àb".repeat(length % 9);
    match number % 4 {
        0 if number == 0 => Everything::Nothing,
        0 | 1 => Everything::Text(text(number)),
        2 => Everything::Tree {
            texts: (0..number % 5).map(|index| text(number + index)).collect(),
            pairs: vec![(number as u32, Some(text(number))), (0, None)],
            boxed: Box::new(text(number + 4)),
            grid: [1, 2, 3],
        },
        _ => Everything::Flags {
            yes: number.is_multiple_of(3),
            letter: 'ß',
            parts: vec![vec![1; number % 7], vec![]],
            inner: Inner { choice: Some(Box::new(7)), name: text(number) },
        },
    }
}

/// Visits every byte that an archived value refers to, in safe code.
fn walk(value: &ArchivedEverything) -> usize {
    let valid = |text: &str| std::str::from_utf8(text.as_bytes()).expect("texts are UTF-8").chars().count();
    match value {
        ArchivedEverything::Nothing => 0,
        ArchivedEverything::Text(text) => valid(text),
        ArchivedEverything::Tree { texts, pairs, boxed, grid } => {
            let pairs = pairs.iter().map(|pair| pair.1.as_ref().map_or(0, |text| valid(text)));
            texts.iter().map(|text| valid(text)).sum::<usize>()
                + pairs.sum::<usize>()
                + valid(boxed)
                + grid.len()
        }
        ArchivedEverything::Flags { parts, inner, letter, yes } => {
            assert!(char::from_u32(letter.to_native().into()).is_some());
            let bytes = parts.iter().flat_map(|part| part.iter()).map(|&byte| usize::from(byte));
            bytes.sum::<usize>() + valid(&inner.name) + usize::from(*yes)
        }
    }
}

/// Fault 19. No archive is valid without its last bytes, where its root lies, or its first ones, to which the
/// root leads: each is refused, without a panic.
#[test]
fn an_archive_that_is_cut_off_anywhere_is_refused() {
    let mut cut = 0;
    for number in 0..100 {
        let bytes = bytes_of(&everything(number));
        assert!(check::<Everything>(&bytes).is_ok());
        for length in 0..bytes.len() {
            // What is left may be a smaller value by chance: then it is one, and can be walked.
            if let Ok(value) = check::<Everything>(&aligned(&bytes[..length])) {
                walk(value);
            } else {
                cut += 1;
            }
        }
        for start in (16..bytes.len()).step_by(16) {
            if let Ok(value) = check::<Everything>(&aligned(&bytes[start..])) {
                walk(value);
            }
        }
    }
    assert!(cut > 1000, "{cut} were refused");
}

/// Fault 20. A hundred archives with each of their bits flipped in turn: each is refused, or is a value all of
/// which can be visited. With AddressSanitizer a byte outside would end the test.
#[test]
fn an_archive_with_a_flipped_bit_is_refused_or_a_value() {
    let (mut refused, mut valid) = (0, 0);
    for number in 0..100 {
        let mut bytes = bytes_of(&everything(number));
        let whole = walk(check::<Everything>(&bytes).unwrap());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            match check::<Everything>(&bytes) {
                Ok(value) => {
                    walk(value);
                    valid += 1;
                }
                Err(_) => refused += 1,
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(walk(check::<Everything>(&bytes).unwrap()), whole);
    }
    println!("{refused} were refused, {valid} were other values");
    assert!(refused > 1000 && valid > 1000);
}

/// Fault 22. Whatever a vector or a text claims to hold, its archive is refused when it does not lie there, and
/// the work is bounded by the archive's length, not by the claim.
#[test]
fn a_forged_length_is_refused_and_costs_nothing() {
    fn forge<T: Wire>(value: &T) {
        let honest = bytes_of(value);
        let start = Instant::now();
        for at in (0..honest.len() / 4 * 4).step_by(4) {
            for claim in [17, 1 << 16, i32::MAX as u32, 1 << 31, u32::MAX - 3, u32::MAX] {
                let mut bytes = honest.clone();
                bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(claim));
                // Where it was no length, it may be as good as before.
                let _ = check::<T>(&bytes);
            }
        }
        // The root of a vector is a pointer and a length.
        let length = honest.len() - 4;
        for claim in [17, 1 << 16, i32::MAX as u32, 1 << 31, u32::MAX - 3, u32::MAX] {
            let mut bytes = honest.clone();
            bytes[length..].copy_from_slice(&u32::to_le_bytes(claim));
            assert!(check::<T>(&bytes).is_err(), "{claim} items");
        }
        assert!(start.elapsed().as_secs() < 20);
    }
    forge(&vec![1_u8; 16]);
    forge(&vec![1_u64; 16]);
    forge(&vec![String::from("a text that does not lie inline"); 16]);
    forge(&vec![vec![1_u8; 3]; 16]);
    forge(&vec![[0_u16; 0x100]; 16]);
}

/// Fault 21. A message that consists of nothing but the smallest values is honest, and is checked with a small
/// stack in a time that goes with its length. `GRITE_TEST_ROUNDS=2097136` makes it as long as messages may be.
#[test]
fn any_number_of_little_values_is_checked_with_a_small_stack() {
    let count = std::env::var("GRITE_TEST_ROUNDS").ok().and_then(|count| count.parse().ok());
    let count = count.unwrap_or(100_000).min((2 << 20) - 16);
    let small = std::thread::Builder::new().stack_size(2 << 20);
    let checking = small.spawn(move || {
        let mut bytes = Bytes::new();
        let values = vec![Vec::<u8>::new(); count];
        let sink = &mut Limited { bytes: &mut bytes, limit: 16 << 20 };
        encode(&values, sink, &mut rkyv::ser::allocator::Arena::new()).unwrap();
        assert_eq!(check::<Vec<Vec<u8>>>(&bytes).unwrap().len(), values.len());
    });
    checking.unwrap().join().unwrap();
}
