//! A Unix socket with rkyv, written by hand: a length before each archive, one write a message, buffers that
//! stay. What one would write without a library, with some care. Typed and validated on both sides.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use rkyv::rancor;
use rkyv::util::AlignedVec;

use super::grite::touch;
use crate::peer::{About, Client, Failure, Peer, Reads, Seat, Side};
use crate::work::{Answer, ArchivedAnswer, ArchivedAsk, Ask, Work};

pub struct RkyvSocket;

impl Peer for RkyvSocket {
    fn about(&self) -> About {
        About {
            name: "rkyv-socket",
            title: "Unix socket + rkyv, by hand",
            reads: Reads::Fields,
            side: Side::Peer,
        }
    }

    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure> {
        let listener = UnixListener::bind(seat.socket())?;
        ready();
        let mut line = Line::new(listener.accept()?.0);
        let (show, list) = (seat.stock.bytes(Work::Show), seat.stock.bytes(Work::List));
        let mut inbound = AlignedVec::new();
        loop {
            match rkyv::access::<ArchivedAsk, rancor::Error>(line.receive(&mut inbound)?)? {
                ArchivedAsk::Echo(bytes) => line.send(&Answer::Echo(bytes.as_slice().into()))?,
                ArchivedAsk::Show => line.send_archive(&show)?,
                ArchivedAsk::List => line.send_archive(&list)?,
            }
        }
    }

    fn client(&self, seat: &Seat) -> Result<Box<dyn Client>, Failure> {
        let line = Line::new(UnixStream::connect(seat.socket())?);
        Ok(Box::new(Asking { line, inbound: AlignedVec::new() }))
    }
}

struct Asking {
    line: Line,
    inbound: AlignedVec,
}

impl Client for Asking {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        self.line.send(ask)?;
        let answer = self.line.receive(&mut self.inbound)?;
        Ok(touch(rkyv::access::<ArchivedAnswer, rancor::Error>(answer)?))
    }
}

/// How many bytes the length before an archive has, so that the archive lies aligned behind it.
const HEAD: usize = 16;

/// A socket with a buffer for what is sent.
struct Line {
    stream: UnixStream,
    outbound: AlignedVec,
}

impl Line {
    fn new(stream: UnixStream) -> Self {
        Line { stream, outbound: AlignedVec::new() }
    }

    fn send<T>(&mut self, value: &T) -> Result<(), Failure>
    where
        T: for<'a> rkyv::Serialize<
                rkyv::api::high::HighSerializer<
                    AlignedVec,
                    rkyv::ser::allocator::ArenaHandle<'a>,
                    rancor::Error,
                >,
            >,
    {
        let mut outbound = std::mem::take(&mut self.outbound);
        outbound.clear();
        outbound.extend_from_slice(&[0; HEAD]);
        self.outbound = rkyv::api::high::to_bytes_in::<_, rancor::Error>(value, outbound)?;
        self.flush()
    }

    fn send_archive(&mut self, archive: &[u8]) -> Result<(), Failure> {
        self.outbound.clear();
        self.outbound.extend_from_slice(&[0; HEAD]);
        self.outbound.extend_from_slice(archive);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let length = (self.outbound.len() - HEAD) as u64;
        self.outbound[..8].copy_from_slice(&length.to_le_bytes());
        Ok(self.stream.write_all(&self.outbound)?)
    }

    fn receive<'a>(&mut self, inbound: &'a mut AlignedVec) -> Result<&'a [u8], Failure> {
        let mut head = [0; HEAD];
        self.stream.read_exact(&mut head)?;
        let [length, _] = head.as_chunks::<8>().0 else { return Err("a head is two words".into()) };
        inbound.resize(u64::from_le_bytes(*length) as usize, 0);
        self.stream.read_exact(inbound)?;
        Ok(inbound)
    }
}
