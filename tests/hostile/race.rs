//! Peers that go on writing what they have published, while the other side reads it: lengths and payloads that
//! change between any two looks.
//!
//! `GRITE_TEST_SECONDS` says how long each race takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libgrite_ipc::{Encoded, ErrorKind, Protocol, Server, Transport, wire};
use memmap2::MmapRaw;

use crate::client::*;
use crate::common::{Done, Order, Running, Way, stop_after};
use crate::daemon::{Impostor, against_impostor};
use crate::random::Random;

wire! {
    /// Bytes, a text, and what they add up to.
    pub struct Parcel {
        /// The bytes: they lie at the start of the archive.
        pub bytes: Vec<u8>,
        /// The text.
        pub text: String,
        /// The sum of the bytes.
        pub sum: u64,
    }
}

/// A protocol whose requests tell whether they are whole.
pub enum Post {}

impl Protocol for Post {
    type Request = Parcel;
    type Response = u64;
    const NAME: &'static str = "post";
    const VERSION: u16 = 1;
}

/// The FNV-1a hash of some bytes.
fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What a handler has seen of the parcels that were accepted.
#[derive(Default)]
struct Seen {
    short: AtomicU64,
    long: AtomicU64,
    /// Those that were not what any check has let pass.
    torn: AtomicU64,
}

impl Seen {
    /// Looks at everything twice, some time apart: what was checked does not change any more.
    fn inspect(&self, parcel: &ArchivedParcel) -> [u64; 2] {
        let look = || [sum(&parcel.bytes), sum(parcel.text.as_bytes())];
        let first = look();
        if std::str::from_utf8(parcel.text.as_bytes()).is_err() {
            self.torn.fetch_add(1, Ordering::Relaxed);
        }
        (0..200).for_each(|_| std::hint::spin_loop());
        if look() != first {
            self.torn.fetch_add(1, Ordering::Relaxed);
        }
        let count = if parcel.bytes.len() < 100 { &self.short } else { &self.long };
        count.fetch_add(1, Ordering::Relaxed);
        first
    }
}

fn duration() -> Duration {
    let seconds = std::env::var("GRITE_TEST_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    seconds.map_or(Duration::from_millis(700), Duration::from_secs)
}

/// Serves `handler` for as long as `play` takes, which gets a way to join as a hostile client.
fn beside_server(handler: impl Fn(&ArchivedParcel) -> u64 + Sync, play: impl FnOnce(&dyn Fn() -> Hostile)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("post.sock");
    let server = Server::<Post>::bind(&path).unwrap();
    let handle = server.handle();
    let hello = honest_hello_of::<Post>(Transport::Ring);
    std::thread::scope(|scope| {
        scope.spawn(|| server.serve(|parcel, _| handler(parcel)).unwrap());
        stop_after(&handle, || play(&|| Hostile::join_with(&path, &hello)));
    });
}

/// The extent of each frame of the race for lengths: the ring holds 64 of them, so none crosses its end.
const EXTENT: usize = 1024;

/// The payload of a frame that is two honest messages: one in its first bytes, behind which another frame lies
/// that is none of the server's concern, and one in all of it. Says the length of the first.
fn two_in_one() -> (u32, Vec<u8>) {
    let parcel = |bytes: Vec<u8>| payload_of(&Parcel { sum: sum(&bytes), text: String::new(), bytes });
    let short = parcel(b"short".to_vec());
    let behind = short.len().next_multiple_of(16);
    let rest = EXTENT - 16 - behind - 16;
    let mut bytes = short.clone();
    bytes.resize(behind, 0);
    bytes.extend_from_slice(&header(rest as u32, CANCEL, 0).to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    while parcel(bytes.clone()).len().next_multiple_of(16) < EXTENT - 16 {
        bytes.push(7);
    }
    let long = parcel(bytes);
    assert!(long.starts_with(&short));
    (short.len() as u32, long)
}

/// Fault 7. A frame's length changes between two values all the time, and each of them makes an honest message
/// of other bytes: whatever the server takes is one of the two, whole.
#[test]
fn a_length_that_changes_while_it_is_read_tears_no_message() {
    let (short, payload) = two_in_one();
    let long = payload.len() as u32;
    let seen = Seen::default();
    let handler = |parcel: &ArchivedParcel| {
        let [bytes, _] = seen.inspect(parcel);
        if bytes != parcel.sum.to_native() {
            seen.torn.fetch_add(1, Ordering::Relaxed);
        }
        bytes
    };
    let mut breaches = 0;
    beside_server(handler, |join| {
        let mut random = Random::new(7);
        let end = Instant::now() + duration();
        // On a busy machine it takes some time until both have happened.
        let goes_on = || {
            let in_vain = [&seen.short, &seen.long].iter().any(|count| count.load(Ordering::Relaxed) == 0);
            Instant::now() < if in_vain { end + PATIENCE } else { end }
        };
        while goes_on() {
            let evil = join();
            let mut position = 0;
            while goes_on() {
                let at = DATA + position as usize % CAPACITY as usize;
                position = write_frame(&evil.ours, position, REQUEST, 1, &payload);
                // From some time on, no length will do.
                let wild = position > 2000 * EXTENT as u64;
                let lengths =
                    if wild { &[0, short, 7, CAPACITY / 4, u32::MAX, long][..] } else { &[short, long] };
                // The server may read before the first change, or sleep until after the last one.
                let mut change = || {
                    lengths.iter().for_each(|&length| evil.store(at, header(length, REQUEST, 0)));
                    let last = lengths[random.next() as usize % lengths.len()];
                    evil.store(at, header(last, REQUEST, 0));
                };
                change();
                evil.store(PUBLISHED, position);
                let read = evil.wait_until(|| {
                    change();
                    evil.wake_if_asleep();
                    evil.seen(CONSUMED) == position
                });
                if !read {
                    breaches += 1;
                    break;
                }
                evil.store(CONSUMED, evil.seen(PUBLISHED));
            }
        }
    });
    let Seen { short, long, torn } = seen;
    println!("{short:?} short messages, {long:?} long ones, {breaches} breaches, torn: {torn:?}");
    assert_eq!(torn.into_inner(), 0);
    assert!(short.into_inner() > 0 && long.into_inner() > 0, "the race took place");
}

/// Changes one byte of a word for a moment.
fn flip(map: &MmapRaw, at: usize, random: &mut Random) {
    let honest = word(map, at).load(Ordering::Relaxed);
    word(map, at).store(honest ^ 0xff << (random.next() % 8 * 8), Ordering::SeqCst);
    word(map, at).store(honest, Ordering::SeqCst);
}

/// Fault 8. Every byte of a message changes while it is copied and checked, its text between characters of
/// several bytes and what is none, its pointers and lengths to anything: what a handler gets is valid, and
/// stays as it is.
#[test]
fn a_payload_that_changes_while_it_is_checked_is_valid_or_refused() {
    let mut text = "à la carte ".repeat(20);
    let payload = loop {
        let parcel = Parcel { bytes: text.clone().into_bytes(), sum: 0, text: text.clone() };
        let payload = payload_of(&parcel);
        if payload.len().next_multiple_of(16) == EXTENT - 16 {
            break payload;
        }
        text.push('é');
    };
    let seen = Seen::default();
    let handler = |parcel: &ArchivedParcel| seen.inspect(parcel)[0];
    let mut breaches = 0;
    beside_server(handler, |join| {
        let mut random = Random::new(8);
        let end = Instant::now() + duration();
        // On a busy machine it takes some time until both have happened.
        let goes_on = |breaches| {
            let in_vain = breaches == 0 || seen.long.load(Ordering::Relaxed) == 0;
            Instant::now() < if in_vain { end + PATIENCE } else { end }
        };
        while goes_on(breaches) {
            let evil = join();
            let mut position = 0;
            while goes_on(breaches) {
                let at = DATA + 16 + position as usize % CAPACITY as usize;
                position = write_frame(&evil.ours, position, REQUEST, 1, &payload);
                // The server may have read before the first change: one frame in ten is broken and stays so.
                if random.next().is_multiple_of(10) {
                    evil.store(at + random.next() as usize % payload.len() / 8 * 8, u64::MAX);
                }
                evil.store(PUBLISHED, position);
                let read = evil.wait_until(|| {
                    for _ in 0..8 {
                        flip(&evil.ours, at + random.next() as usize % payload.len() / 8 * 8, &mut random);
                    }
                    evil.wake_if_asleep();
                    evil.seen(CONSUMED) == position
                });
                if !read {
                    breaches += 1;
                    break;
                }
                evil.store(CONSUMED, evil.seen(PUBLISHED));
            }
        }
    });
    let Seen { long, torn, .. } = seen;
    println!("{long:?} messages were accepted, {breaches} refused, torn: {torn:?}");
    assert_eq!(torn.into_inner(), 0);
    assert!(long.into_inner() > 0 && breaches > 0, "the race took place");
}

/// Faults 7 and 8, the other way round. A daemon goes on writing the answer that it has published, length and
/// payload: its client gets a valid answer that stays as it is, or an error.
#[test]
fn an_answer_that_changes_while_it_is_read_is_valid_or_an_error() {
    let answer = Done { bytes: vec![7; 500], session: 1 };
    let archive = Encoded::new(&answer).unwrap();
    let (mut good, mut bad) = (0, 0);
    let end = Instant::now() + duration();
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    while Instant::now() < end {
        let seed = good + bad + 1;
        let (answer, archive) = (&answer, &archive);
        let play = move |evil: &Impostor| {
            let mut random = Random::new(seed);
            let mut position = 0;
            let mut heard = 0;
            while position < 32_000 && evil.wait_until(|| evil.seen(PUBLISHED) > heard) {
                let id = evil.seen(DATA + heard as usize + 8);
                heard = evil.seen(PUBLISHED);
                let start = DATA + position as usize;
                position = evil.reply(position, id, answer);
                // All but the id, which may be that of an answer that comes late. Some are left as they are.
                for _ in 0..random.next() % 3 * 20 {
                    let at = start + random.next() as usize % (16 + archive.len()) / 8 * 8;
                    if at == start + 8 {
                        continue;
                    }
                    flip(&evil.ours, at, &mut random);
                }
            }
        };
        against_impostor("changing", play, |mut client| {
            for _ in 0..20 {
                match client.send(&Order::Make(1)) {
                    Ok(reply) => {
                        let first = sum(&reply.bytes);
                        (0..200).for_each(|_| std::hint::spin_loop());
                        assert_eq!(sum(&reply.bytes), first, "an answer stays as it is");
                        good += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{error}");
                        let error = client.send(&Order::Make(1)).unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "from then on: {error}");
                        bad += 1;
                        break;
                    }
                }
            }
        });
    }
    println!("{good} answers, {bad} errors");
    assert!(answers(&mut polite));
    assert!(good > 0);
}
