//! Archives that no encoder makes, or that one of another build has made.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use libgrite_ipc::{Client, Encoded, ErrorKind, Layout, Protocol, Transport, Wire, wire};

use crate::client::*;
use crate::common::{Order, Running, Way};
use crate::daemon::hear;
use crate::serving::{Serving, connect, frame};

/// Fault 19. A request that is cut off at any of its bytes, by the end of the stream or by a length that says
/// less, is no request: nothing is answered, and nobody else notices.
#[test]
fn a_request_that_is_cut_off_anywhere_is_none() {
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    let payload = payload_of(&Order::Echo(vec![0xee; 64]));
    let whole = frame(REQUEST, 1, &payload);
    let hello = honest_hello(Transport::Socket);
    for length in 0..=whole.len() {
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[&hello[..], &whole[..length]].concat()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len() > 256, length == whole.len(), "{length} of {} bytes", whole.len());
    }
    for length in 0..payload.len() {
        let evil = Hostile::join(&server.socket());
        let end = write_frame(&evil.ours, 0, REQUEST, 1, &payload[..length]);
        evil.store(PUBLISHED, end);
        evil.wake();
        // What its last bytes are taken for may be a deadline that has passed: then nobody reads the rest.
        if evil.wait_until(|| evil.seen(PUBLISHED) > 0) {
            let first = word(&evil.theirs, DATA).load(Ordering::SeqCst);
            assert_eq!((first >> 32) as u16, FAILURE, "{length} of {} bytes", payload.len());
        }
    }
    assert!(answers(&mut polite));
}

/// A type that holds itself: an archive of it can nest as deep as it has bytes.
#[derive(Default, rkyv::Archive, rkyv::Serialize)]
#[rkyv(serialize_bounds(__S: rkyv::ser::Writer + rkyv::ser::Allocator, __S::Error: rkyv::rancor::Source))]
#[rkyv(bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)))]
struct Nest {
    #[rkyv(omit_bounds)]
    inner: Option<Box<Nest>>,
}

// No `wire!` type can do this; whoever implements the trait by hand is to be safe as well.
impl Wire for Nest {
    const LAYOUT: u64 = Layout::named("Nest").shape::<Nest>().hash();
}

enum Nesting {}

impl Protocol for Nesting {
    type Request = Nest;
    type Response = Nest;
    const NAME: &'static str = "nesting";
    const VERSION: u16 = 1;
}

/// An archive of as many boxes within boxes as `length` bytes can hold, eight bytes each.
fn bomb(length: usize) -> Vec<u8> {
    let one = Encoded::new(&Nest { inner: Some(Box::new(Nest::default())) }).unwrap();
    assert_eq!(one.len(), 16, "two of them");
    let (last, each) = one.as_bytes().split_at(8);
    [last, &each.repeat(length / 8 - 1)].concat()
}

/// Fault 21. Boxes within boxes, two million of them in one message, and every thread with the usual stack of
/// 2 MiB: the daemon closes that connection, a client gets an error, and nobody overflows a stack.
#[test]
fn an_archive_that_nests_without_end_is_refused_with_a_small_stack() {
    let bomb = bomb((16 << 20) - 4096);
    let server =
        Serving::start::<Nesting>(|nest| Nest { inner: nest.inner.as_ref().map(|_| Box::default()) });
    let (mut stream, welcome) = connect::<Nesting>(server.socket());
    // The daemon may hang up before it has read all of it.
    let _ = stream.write_all(&frame(REQUEST, 1, &[&bomb[..], &[0; 8]].concat()));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, [0; 0], "no answer, but the end");
    let mut polite = Client::<Nesting>::builder().connect(server.socket()).unwrap();
    assert!(polite.send(&Nest { inner: Some(Box::default()) }).unwrap().inner.is_some());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fake.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = hear(&listener);
            stream.write_all(&welcome).unwrap();
            let mut request = [0; 16];
            stream.read_exact(&mut request).unwrap();
            let id = u64::from_le_bytes(request[8..].try_into().unwrap());
            let _ = stream.write_all(&frame(REPLY, id, &bomb));
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let small = std::thread::Builder::new().stack_size(2 << 20);
        let asking = small.spawn_scoped(scope, || {
            let builder = Client::<Nesting>::builder().transport(Transport::Socket);
            let mut client = builder.connect(&path).unwrap();
            let error = client.send(&Nest::default()).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{error}");
        });
        asking.unwrap().join().unwrap();
    });
}

wire! {
    /// Two numbers.
    pub struct Narrow {
        /// The first.
        pub first: u32,
        /// The second.
        pub second: u32,
    }
    /// One number, in as many bytes.
    pub struct Broad {
        /// It.
        pub number: u64,
    }
}

enum Before {}

impl Protocol for Before {
    type Request = Narrow;
    type Response = Narrow;
    const NAME: &'static str = "same";
    const VERSION: u16 = 1;
}

/// The same name and version over types of the same size: only the fingerprint differs.
enum After {}

impl Protocol for After {
    type Request = Broad;
    type Response = Broad;
    const NAME: &'static str = "same";
    const VERSION: u16 = 1;
}

/// Faults 23 and 24. Two builds that call their protocol the same and lay out its types otherwise, be it
/// only by other names in as many bytes: both sides know it from the first words, in milliseconds, and no
/// byte is taken for what it is not.
#[test]
fn types_that_differ_are_told_apart_before_any_byte_is_read() {
    let server = Serving::start::<Before>(|_| panic!("a request was read"));
    for transport in [Transport::Ring, Transport::Socket, Transport::Auto] {
        let builder = Client::<After>::builder().transport(transport);
        let start = Instant::now();
        let error = builder.connect(server.socket()).map(drop).unwrap_err();
        let learned = start.elapsed();
        println!("{transport:?}: {error} after {learned:?}");
        assert_eq!(error.kind(), ErrorKind::VersionMismatch, "{error}");
        assert!(error.to_string().contains("other type layouts"), "{error}");
        assert!(learned < PATIENCE / 4, "long before the deadline of the handshake");
    }
    // The request travels with the hello, and is not read either.
    let error = Client::<After>::builder().ask(server.socket(), &Broad { number: 1 }).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch, "{error}");
    // The daemon is done with such a client as soon as it has answered.
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    let start = Instant::now();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&honest_hello_of::<After>(Transport::Ring)).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    println!("the daemon hung up after {:?}", start.elapsed());
    assert_eq!((answer.len(), answer[10], answer[14]), (256, 2, 1), "a refusal for the version");
    // A daemon that welcomes it all the same is refused by the client.
    let (_, welcome) = connect::<Before>(server.socket());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fake.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| hear(&listener).write_all(&welcome).unwrap());
        let builder = Client::<After>::builder().transport(Transport::Socket);
        let error = builder.connect(&path).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::VersionMismatch, "{error}");
    });
}

/// Fault 22. A vector, a text or an option that claims more than its message holds is refused, in a time that
/// the message's length bounds and not the claim.
#[test]
fn a_length_that_is_forged_is_refused_at_once() {
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    let payload = payload_of(&Order::Echo(vec![0xee; 64]));
    // The length of the vector is the one word of the root that says 64.
    let archive = payload.len() - 8;
    let place = (archive - 16..archive).step_by(4).find(|&at| payload[at..at + 4] == 64u32.to_le_bytes());
    let place = place.expect("the root tells the length");
    for length in [65, 72, 1 << 16, i32::MAX as u32, u32::MAX - 63, u32::MAX] {
        let mut forged = payload.clone();
        forged[place..place + 4].copy_from_slice(&length.to_le_bytes());
        let mut evil = Hostile::join(&server.socket());
        let start = Instant::now();
        let end = write_frame(&evil.ours, 0, REQUEST, 1, &forged);
        evil.store(PUBLISHED, end);
        evil.wake();
        evil.wait_for_the_end();
        assert_eq!(evil.seen(PUBLISHED), 0, "a claim of {length} bytes is not answered");
        assert!(start.elapsed() < Duration::from_secs(5), "and costs no time of its own");
    }
    assert!(answers(&mut polite));
}
