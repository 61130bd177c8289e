//! What the frame of an answer must not tell: anything of the answers before it.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;

use libgrite_ipc::{Protocol, Transport, wire};

use crate::client::*;
use crate::serving::{Serving, connect, frame};

wire! {
    /// A value whose archive has gaps: between its fields, behind what a variant needs, and at its end.
    pub struct Hollow {
        /// Seven bytes follow.
        pub first: u8,
        /// At a multiple of eight.
        pub number: u64,
        /// Room for a number, used or not.
        pub maybe: Option<u64>,
        /// Room for the largest variant.
        pub choice: Choice,
        /// A text whose length needs padding.
        pub text: String,
        /// Items with gaps.
        pub list: Vec<Spotted>,
        /// What no multiple of eight ends with.
        pub last: u8,
    }
    /// Something small or large.
    pub enum Choice {
        /// Nothing.
        Nothing,
        /// One byte.
        Little(u8),
        /// Many.
        Large {
            /// Some of them.
            left: u64,
            /// The others.
            right: u64,
        },
    }
    /// A byte and a number.
    pub struct Spotted {
        /// Three bytes follow.
        pub spot: u8,
        /// At a multiple of four.
        pub number: u32,
    }
}

enum Secret {}

impl Protocol for Secret {
    type Request = u8;
    type Response = Hollow;
    const NAME: &'static str = "secret";
    const VERSION: u16 = 1;
}

/// The byte that full answers are full of.
const POISON: u8 = 0xa5;

/// An answer without any gap that is not filled, or one that is little but gaps.
fn hollow(full: bool, length: usize) -> Hollow {
    let word = u64::from_ne_bytes([POISON; 8]);
    if full {
        Hollow {
            first: POISON,
            number: word,
            maybe: Some(word),
            choice: Choice::Large { left: word, right: word },
            text: "\u{965}".repeat(length),
            list: (0..length).map(|_| Spotted { spot: POISON, number: word as u32 }).collect(),
            last: POISON,
        }
    } else {
        Hollow {
            first: 1,
            number: 2,
            maybe: None,
            choice: if length.is_multiple_of(2) { Choice::Nothing } else { Choice::Little(3) },
            text: "x".repeat(length % 24),
            list: (0..length % 3).map(|number| Spotted { spot: 4, number: number as u32 }).collect(),
            last: 5,
        }
    }
}

/// Fault 25. A frame of an answer tells nothing of earlier answers, which were full of one byte: not in the
/// padding behind it, not between its fields, not where an unused variant leaves room.
#[test]
fn an_answer_holds_no_byte_of_earlier_ones() {
    // A full answer first, then hollow ones where it lay, on the stack and in the ring.
    let server = Serving::start::<Secret>(|&length| hollow(length % 4 == 0, usize::from(length)));
    let evil = Hostile::join_with(&server.socket(), &honest_hello_of::<Secret>(Transport::Ring));
    let (mut asked, mut read, mut looked_at) = (0, 0, 0);
    for round in 0..2000_u64 {
        asked = evil.request(asked, 1, &(round as u8));
        assert!(evil.wait_until(|| evil.seen(PUBLISHED) > read));
        while read < evil.seen(PUBLISHED) {
            let at = |offset: u64| DATA + ((read + offset) % u64::from(CAPACITY)) as usize;
            let first = word(&evil.theirs, at(0)).load(Ordering::SeqCst);
            let (length, kind) = (first as u32, (first >> 32) as u16);
            let extent = 16 + u64::from(length).next_multiple_of(16);
            if kind == REPLY && !round.is_multiple_of(4) {
                let bytes = (0..extent)
                    .step_by(8)
                    .flat_map(|offset| word(&evil.theirs, at(offset)).load(Ordering::SeqCst).to_ne_bytes());
                let bytes: Vec<u8> = bytes.collect();
                assert!(!bytes.contains(&POISON), "answer {round}: {bytes:02x?}");
                assert!(bytes[16 + length as usize..].iter().all(|&byte| byte == 0), "the padding is zeros");
                looked_at += 1;
            }
            read += extent;
        }
        evil.store(CONSUMED, read);
        wake(&evil.ours, CONSUMED, 1);
    }
    assert_eq!(looked_at, 1500);

    let (mut stream, _) = connect::<Secret>(server.socket());
    for round in 0..500_u64 {
        stream.write_all(&frame(REQUEST, 1, &payload_of(&(round as u8)))).unwrap();
        let mut header = [0; 16];
        stream.read_exact(&mut header).unwrap();
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let mut bytes = vec![0; length.next_multiple_of(16)];
        stream.read_exact(&mut bytes).unwrap();
        assert!(round.is_multiple_of(4) || !bytes.contains(&POISON), "answer {round}: {bytes:02x?}");
        assert!(bytes[length..].iter().all(|&byte| byte == 0), "the padding is zeros");
    }
}
