//! Opens inner layers to this package's own benches; no promise covers it.
//!
//! Each item here is as thin as it can be: what a bench measures through it is the layer.

use std::sync::Arc;

use rkyv::Archived;
use rkyv::ser::allocator::Arena;

use crate::channel::{Receiver, Sender};
use crate::client::{Client, ClientBuilder, Pending, Posed, Reply};
use crate::error::Error;
use crate::frame::{Header, Kind};
use crate::payload::{Bytes, Limited};
use crate::protocol::{Protocol, Wire, check, encode};
use crate::ring::{Consumer, Producer, Regions};
use crate::server::{Pool, Responder, Service};
use crate::shm::{MIN_CAPACITY, Region};
use crate::testing;

/// Turns a frame's header into words, and back into its id; nothing if the words are no header.
#[inline]
pub fn header_there_and_back(id: u64, length: u32) -> Option<u64> {
    let words = Header::new(Kind::Reply, id, length, false).to_words();
    Header::parse(std::hint::black_box(words)).ok().map(Header::id)
}

/// The two views of regions on the heap, of which the first writes a ring of `capacity` bytes.
fn regions(capacity: u32) -> (Regions, Regions) {
    let (one, other) = (Region::on_heap(capacity), Region::on_heap(MIN_CAPACITY));
    (Regions { ours: one.clone(), theirs: other.clone() }, Regions { ours: other, theirs: one })
}

/// Both ends of a ring.
#[derive(Debug)]
pub struct Ring {
    producer: Producer<Regions>,
    consumer: Consumer<Regions>,
    copied: Bytes,
}

impl Ring {
    /// A ring of `capacity` bytes, a power of two.
    pub fn new(capacity: u32) -> Self {
        let (near, far) = regions(capacity);
        Ring { producer: Producer::new(near, 0), consumer: Consumer::new(far, 0), copied: Bytes::new() }
    }

    /// The longest payload that fits one frame, in bytes.
    pub fn longest(&self) -> usize {
        self.producer.max_payload() as usize
    }

    /// Pushes a payload that fits one frame, publishes it, peeks, copies and releases it.
    ///
    /// # Panics
    /// When the payload is longer than [`longest`](Self::longest).
    #[inline]
    pub fn pass(&mut self, payload: &[u8]) -> &[u8] {
        let header = Header::new(Kind::Request, 1, payload.len() as u32, false);
        assert!(self.producer.push(header, payload).expect("our own positions"), "the ring was empty");
        self.producer.publish();
        let found = self.consumer.peek().expect("our own frames").expect("one was published");
        self.copied.clear();
        self.consumer.copy(found, &mut self.copied);
        self.consumer.release(found);
        &self.copied
    }
}

/// Both halves of a channel.
#[derive(Debug)]
pub struct Channel {
    sender: Sender<Regions>,
    receiver: Receiver<Regions>,
}

impl Channel {
    /// A channel over a ring of `capacity` bytes, a power of two.
    pub fn new(capacity: u32) -> Self {
        let (near, far) = regions(capacity);
        let limit = usize::MAX >> 1;
        Channel { sender: Sender::new(near, 0, limit), receiver: Receiver::new(far, 0, limit) }
    }

    /// Sends a message, in as many fragments as it needs, and receives it.
    #[inline]
    pub fn pass(&mut self, message: &[u8]) -> &[u8] {
        let sent = self.sender.send(Kind::Request, 1, |sink| sink.append(message));
        sent.expect("our own positions").expect("no limit");
        self.sender.announce();
        while self.receiver.poll().expect("our own frames").is_none() {
            self.sender.flush().expect("our own positions");
            self.sender.announce();
        }
        self.receiver.message()
    }
}

/// Turns values into bytes, and checks bytes.
#[derive(Default)]
pub struct Codec {
    bytes: Bytes,
    arena: Arena,
}

impl Codec {
    /// Archives `value`; says how long the archive is.
    #[inline]
    pub fn encode<T: Wire>(&mut self, value: &T) -> usize {
        self.bytes.clear();
        let mut sink = Limited { bytes: &mut self.bytes, limit: usize::MAX };
        encode(value, &mut sink, &mut self.arena).expect("no limit");
        self.bytes.len()
    }

    /// Checks what was archived last.
    ///
    /// # Panics
    /// When it was of another type.
    #[inline]
    pub fn check<T: Wire>(&self) -> &Archived<T> {
        check::<T>(&self.bytes).expect("our own archive")
    }
}

/// Hands `drive` both sides of a connection over rings, to be called by turns on one thread, so that neither
/// ever waits: all that a hot request costs, and nothing else.
pub fn on_one_thread<P: Protocol>(
    handler: impl Fn(&Archived<P::Request>, Responder<P>) + Sync,
    drive: impl FnOnce(Asking<P>, &mut dyn FnMut()),
) {
    let (client, mut poller, _) = testing::ends(&ClientBuilder::<P>::new());
    let service = Service { handler, may_block: None, pool: Pool::new(1, 1, 0), crew: Arc::default() };
    std::thread::scope(|scope| {
        let mut answer = || assert!(testing::answer_next(&mut poller, &service, scope), "one was asked");
        drive(Asking(client), &mut answer);
    });
}

/// A client that sends and receives in two steps.
#[derive(Debug)]
pub struct Asking<P: Protocol>(Client<P>);

/// A request that was sent.
#[must_use = "its answer is to be heard"]
pub struct Asked(Posed);

impl<P: Protocol> Asking<P> {
    /// The first half of [`Client::send`].
    ///
    /// # Errors
    /// As that.
    #[inline]
    pub fn pose(&mut self, request: &P::Request) -> Result<Asked, Error> {
        self.0.pose(request).map(Asked)
    }

    /// Sends all of these at once; each answer is waited for by itself.
    ///
    /// # Errors
    /// As [`Client::start_all`].
    #[inline]
    pub fn start_all<'r>(
        &self,
        requests: impl IntoIterator<Item = &'r P::Request>,
    ) -> Result<Vec<Pending<'_, P>>, Error> {
        self.0.start_all(requests)
    }

    /// The second half of [`Client::send`].
    ///
    /// # Errors
    /// As that.
    #[inline]
    pub fn hear(&mut self, asked: Asked) -> Result<Reply<'_, P>, Error> {
        self.0.hear(asked.0)?;
        self.0.reply()
    }
}
