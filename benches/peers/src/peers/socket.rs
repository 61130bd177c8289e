//! A bare Unix socket: bytes whose number both ends know, and nothing around them.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::Wait;
use crate::peer::{About, Client, Failure, Peer, Reads, Seat, Side, request_bytes};
use crate::touch::Sum;
use crate::work::{Ask, Work};

pub const ALL: [Bare; 3] = [Bare(Wait::Spin), Bare(Wait::Adaptive), Bare(Wait::Park)];

pub struct Bare(Wait);

impl Peer for Bare {
    fn about(&self) -> About {
        let (name, title) = match self.0 {
            Wait::Spin => ("socket-spin", "bare Unix socket, spinning"),
            Wait::Adaptive => ("socket-adaptive", "bare Unix socket, adaptive"),
            Wait::Park => ("socket", "bare Unix socket, blocking"),
        };
        About { name, title, reads: Reads::Bytes, side: Side::Limit }
    }

    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure> {
        let listener = UnixListener::bind(seat.socket())?;
        ready();
        let (mut stream, _) = listener.accept()?;
        let warm = seat.stock.bytes(seat.work);
        let mut request = vec![0; seat.request_len()];
        loop {
            fill(&stream, &mut request, self.0)?;
            stream.write_all(if matches!(seat.work, Work::Echo(_)) { &request } else { &warm })?;
        }
    }

    fn client(&self, seat: &Seat) -> Result<Box<dyn Client>, Failure> {
        let stream = UnixStream::connect(seat.socket())?;
        Ok(Box::new(Asking { stream, reply: vec![0; seat.reply_len()], wait: self.0 }))
    }
}

struct Asking {
    stream: UnixStream,
    reply: Vec<u8>,
    wait: Wait,
}

impl Client for Asking {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        self.stream.write_all(request_bytes(ask))?;
        fill(&self.stream, &mut self.reply, self.wait)?;
        Ok(Sum::of(&self.reply))
    }
}

/// Reads until `buffer` is full.
fn fill(stream: &UnixStream, buffer: &mut [u8], wait: Wait) -> Result<(), Failure> {
    let mut filled = 0;
    while filled < buffer.len() {
        let end = wait.budget().map(|budget| Instant::now() + budget);
        let come = loop {
            let may_sleep = end.is_some_and(|end| Instant::now() >= end);
            let flags = if may_sleep { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
            match recv(stream, &mut buffer[filled..], flags) {
                Ok((come, _)) => break come,
                Err(Errno::AGAIN | Errno::INTR) => std::hint::spin_loop(),
                Err(error) => return Err(error.into()),
            }
        };
        if come == 0 {
            return Err("the other side has closed the socket".into());
        }
        filled += come;
    }
    Ok(())
}
