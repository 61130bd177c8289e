//! ipc-channel: bytes through a pair of its byte channels.

use std::fs;

use ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender};

use crate::peer::{About, Client, Failure, Peer, Reads, Seat, Side, request_bytes};
use crate::touch::Sum;
use crate::work::{Ask, Work};

pub struct IpcChannel;

/// What the client sends first: the end that it is answered by, and the way back to it.
type Greeting = (IpcBytesSender, IpcSender<IpcBytesSender>);

impl Peer for IpcChannel {
    fn about(&self) -> About {
        About { name: "ipc-channel", title: "ipc-channel 0.23, bytes", reads: Reads::Bytes, side: Side::Peer }
    }

    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure> {
        let (server, name) = IpcOneShotServer::<Greeting>::new()?;
        fs::write(seat.folder.join("name"), name)?;
        ready();
        let (_first, (answers, back)) = server.accept()?;
        let (sender, asks) = ipc::bytes_channel()?;
        back.send(sender)?;
        let warm = seat.stock.bytes(seat.work);
        loop {
            let request = asks.recv()?;
            answers.send(if matches!(seat.work, Work::Echo(_)) { &request } else { &warm })?;
        }
    }

    fn client(&self, seat: &Seat) -> Result<Box<dyn Client>, Failure> {
        let first = IpcSender::<Greeting>::connect(fs::read_to_string(seat.folder.join("name"))?)?;
        let (sender, answers) = ipc::bytes_channel()?;
        let (back, there) = ipc::channel()?;
        first.send((sender, back))?;
        Ok(Box::new(Asking { asks: there.recv()?, answers }))
    }
}

struct Asking {
    asks: IpcBytesSender,
    answers: IpcBytesReceiver,
}

impl Client for Asking {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        self.asks.send(request_bytes(ask))?;
        Ok(Sum::of(&self.answers.recv()?))
    }
}
