//! What every peer is: a server and a client, in two processes.

use std::error::Error;
use std::path::{Path, PathBuf};

use crate::touch::Sum;
use crate::work::{Ask, STAMP, Stock, Work};

/// Why a peer could not do something, in its own words.
pub type Failure = Box<dyn Error + Send + Sync>;

/// One way to ask another process. To add one: write a file beside the others in `peers/`, and name it in
/// [`all`](crate::peers::all).
pub trait Peer {
    /// What it is.
    fn about(&self) -> About;

    /// Whether it can carry this.
    fn carries(&self, _work: Work) -> bool {
        true
    }

    /// Answers one client until this process is ended; calls `ready` once that client may connect.
    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure>;

    /// Connects to the server of the same seat.
    fn client(&self, seat: &Seat) -> Result<Box<dyn Client>, Failure>;

    /// Removes what both ends, which were killed, have left outside the seat's folder.
    fn remove_leftovers(&self, _seat: &Seat) -> Result<(), Failure> {
        Ok(())
    }
}

/// The asking end.
pub trait Client {
    /// Asks, waits for the answer and reads it to its last byte. Returns the sum of what it read.
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure>;
}

/// What a peer is.
pub struct About {
    /// Its name on the command line and in the results.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What of an answer its client reads.
    pub reads: Reads,
    /// Whose it is.
    pub side: Side,
}

/// What of an answer a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    /// Each field of a typed value that the peer has checked or parsed.
    Fields,
    /// A string of JSON, which it does not parse.
    Json,
    /// Bytes as they came: nothing has looked at them before.
    Bytes,
    /// One word, whatever is asked: the least that can be told.
    Word,
}

/// Whose a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// This library's.
    Ours,
    /// Somebody else's.
    Peer,
    /// Nobody's: what the machine itself can do.
    Limit,
}

impl Reads {
    /// What the sum of the answer must be.
    pub fn expected(self, work: Work, ask: &Ask, stock: &Stock) -> u64 {
        match (self, ask) {
            (Reads::Word, _) => 0,
            (_, Ask::Echo(bytes)) => Sum::of(bytes),
            (Reads::Fields, _) => stock.sum_of_fields(work),
            (Reads::Json, _) => Sum::of(stock.json(work).as_bytes()),
            (Reads::Bytes, _) => Sum::of(&stock.bytes(work)),
        }
    }
}

/// What both ends are told.
pub struct Seat {
    /// A folder of their own, in memory where the system has that.
    pub folder: PathBuf,
    /// What will be asked, so that buffers have the right size.
    pub work: Work,
    /// What is answered.
    pub stock: Stock,
}

impl Seat {
    /// Sits down in `folder`.
    pub fn new(folder: &Path, work: Work) -> Self {
        Seat { folder: folder.to_owned(), work, stock: Stock::new() }
    }

    /// Where to listen.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// How many bytes the question has, for the peers that carry bytes of a known length.
    pub fn request_len(&self) -> usize {
        match self.work {
            Work::Echo(size) => size,
            Work::Show | Work::List => STAMP,
        }
    }

    /// How many bytes the answer has, for the peers that carry bytes of a known length.
    pub fn reply_len(&self) -> usize {
        match self.work {
            Work::Echo(size) => size,
            Work::Show | Work::List => self.stock.bytes(self.work).len(),
        }
    }
}

/// The bytes of a question, for the peers that carry bytes: those of an echo, or nothing that matters.
pub fn request_bytes(ask: &Ask) -> &[u8] {
    match ask {
        Ask::Echo(bytes) => bytes,
        Ask::Show | Ask::List => &[0; STAMP],
    }
}
