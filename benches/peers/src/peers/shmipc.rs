//! shmipc: bytes in shared memory, with wake-ups by eventfd, which it recommends for small messages. Each end
//! is one thread; slices are as large as what is sent, so that a message lies in one piece.

use std::os::unix::net::SocketAddr;

use shmipc::Listener;
use shmipc::buffer::{BufferReader, BufferWriter};
use shmipc::config::{Config, SizePercentPair};
use shmipc::session::{SessionManager, SessionManagerConfig};
use shmipc::stream::Stream;
use shmipc::transport::{DefaultUnixConnect, DefaultUnixListen};
use tokio::runtime::Runtime;

use super::runtime;
use crate::peer::{About, Client, Failure, Peer, Reads, Seat, Side, request_bytes};
use crate::touch::Sum;
use crate::work::{Ask, Work};

pub struct Shmipc;

impl Peer for Shmipc {
    fn about(&self) -> About {
        About { name: "shmipc", title: "shmipc 0.2, bytes", reads: Reads::Bytes, side: Side::Peer }
    }

    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure> {
        let (request_len, warm) = (seat.request_len(), seat.stock.bytes(seat.work));
        runtime()?.block_on(async {
            let address = SocketAddr::from_pathname(seat.socket())?;
            let mut listener = Listener::new(DefaultUnixListen, address, config(seat)).await?;
            ready();
            let mut stream = listener.accept().await?;
            loop {
                drop(stream.peek(request_len).await?);
                let request = stream.recv_buf().read_exact_bytes(request_len)?;
                let reply: &[u8] = if matches!(seat.work, Work::Echo(_)) { &request } else { &warm };
                stream.send_buf().write_bytes(reply)?;
                drop(request);
                stream.recv_buf().release_previous_read();
                stream.flush(false).await?;
            }
        })
    }

    fn client(&self, seat: &Seat) -> Result<Box<dyn Client>, Failure> {
        let runtime = runtime()?;
        let (sessions, stream) = runtime.block_on(async {
            let address = SocketAddr::from_pathname(seat.socket())?;
            let config = SessionManagerConfig::new().with_config(config(seat)).with_session_num(1);
            let sessions = SessionManager::new(config, DefaultUnixConnect, address).await?;
            let stream = sessions.get_stream()?;
            Ok::<_, Failure>((sessions, stream))
        })?;
        Ok(Box::new(Asking { runtime, stream, reply_len: seat.reply_len(), _sessions: sessions }))
    }
}

struct Asking {
    runtime: Runtime,
    stream: Stream,
    reply_len: usize,
    _sessions: SessionManager<DefaultUnixConnect>,
}

impl Client for Asking {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        let Asking { runtime, stream, reply_len, .. } = self;
        runtime.block_on(async {
            stream.write_bytes(request_bytes(ask))?;
            stream.flush(false).await?;
            let sum = Sum::of(&stream.read_exact_bytes(*reply_len).await?);
            stream.release_read_and_reuse();
            Ok(sum)
        })
    }
}

fn config(seat: &Seat) -> Config {
    let longest = seat.request_len().max(seat.reply_len()) as u32;
    Config {
        buffer_slice_sizes: vec![SizePercentPair { size: longest + 256, percent: 100 }],
        ..Config::default().with_v4_eventfd()
    }
}
