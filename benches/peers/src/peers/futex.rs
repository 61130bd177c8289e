//! Nothing but two words in shared memory: a cache line where both ends look all the time, else a futex.
//!
//! One side changes its word and waits for the other one to say the same.

use std::fs::OpenOptions;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Instant;

use memmap2::MmapRaw;
use rustix::thread::futex;

use super::Wait;
use crate::peer::{About, Client, Failure, Peer, Reads, Seat, Side};
use crate::work::{Ask, Work};

pub const ALL: [Words; 3] = [Words(Wait::Spin), Words(Wait::Adaptive), Words(Wait::Park)];

pub struct Words(Wait);

impl Peer for Words {
    fn about(&self) -> About {
        let (name, title) = match self.0 {
            Wait::Spin => ("cache-line", "bare cache line, spinning"),
            Wait::Adaptive => ("futex-adaptive", "bare futex, adaptive"),
            Wait::Park => ("futex", "bare futex, parked at once"),
        };
        About { name, title, reads: Reads::Word, side: Side::Limit }
    }

    fn carries(&self, work: Work) -> bool {
        work == Work::Echo(64)
    }

    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure> {
        let board = Board::open(seat)?;
        let (ping, pong) = board.words();
        let mut seen = ping.value.load(Ordering::Acquire);
        ready();
        loop {
            seen = ping.wait(seen, self.0)?;
            pong.publish(seen)?;
        }
    }

    fn client(&self, seat: &Seat) -> Result<Box<dyn Client>, Failure> {
        Ok(Box::new(Asking { board: Board::open(seat)?, wait: self.0 }))
    }
}

struct Asking {
    board: Board,
    wait: Wait,
}

impl Client for Asking {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        let Ask::Echo(bytes) = ask else { return Err("a word carries an echo alone".into()) };
        let value = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let (ping, pong) = self.board.words();
        let before = pong.value.load(Ordering::Relaxed);
        ping.publish(value)?;
        Ok(pong.wait(before, self.wait)?.into())
    }
}

/// One side's word, alone on its lines.
#[repr(C, align(128))]
struct Word {
    /// What the writer has said last.
    value: AtomicU32,
    /// Whether the reader sleeps, or is about to.
    sleeping: AtomicU32,
}

impl Word {
    fn publish(&self, value: u32) -> Result<(), Failure> {
        self.value.store(value, Ordering::Release);
        // Pairs with the fence in `wait`: the reader sees the value or we see that it sleeps.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) != 0 {
            futex::wake(&self.value, futex::Flags::empty(), 1)?;
        }
        Ok(())
    }

    /// Waits until the value is another one than `seen`.
    fn wait(&self, seen: u32, wait: Wait) -> Result<u32, Failure> {
        let look = || Some(self.value.load(Ordering::Acquire)).filter(|value| *value != seen);
        let end = wait.budget().map(|budget| Instant::now() + budget);
        while end.is_none_or(|end| Instant::now() < end) {
            // Reading the clock costs more than a look.
            for _ in 0..16 {
                if let Some(value) = look() {
                    return Ok(value);
                }
                std::hint::spin_loop();
            }
        }
        self.sleeping.store(1, Ordering::Relaxed);
        let value = loop {
            // Pairs with the fence in `publish`.
            fence(Ordering::SeqCst);
            if let Some(value) = look() {
                break value;
            }
            match futex::wait(&self.value, futex::Flags::empty(), seen, None) {
                Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        self.sleeping.store(0, Ordering::Relaxed);
        Ok(value)
    }
}

/// Both words, in memory that both processes map.
struct Board(MmapRaw);

impl Board {
    fn open(seat: &Seat) -> Result<Self, Failure> {
        let path = seat.folder.join("board");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(4096)?;
        Ok(Board(MmapRaw::map_raw(&file)?))
    }

    fn words(&self) -> (&Word, &Word) {
        let first = self.0.as_mut_ptr().cast::<Word>();
        // SAFETY: the mapping has 4,096 bytes, lies on a page boundary and lives as long as `self`; a word is
        // atomics alone, for which any bytes are valid, and both processes touch it through atomics only.
        unsafe { (&*first, &*first.add(1)) }
    }
}
