//! iceoryx2 through two publish-subscribe services, one each way, which is quicker here than its pattern for
//! questions and answers ([`Requests`], measured beside it). What comes is read where it lies.
//!
//! Polling, both ends look for samples all the time; blocking, each sends an event behind its sample and
//! sleeps until the other one's comes. Both carry bytes, untyped. The third way polls, too, and carries what
//! this library carries: rkyv archives that both ends validate.

mod requests;

use std::fs;
use std::path::Path;

use iceoryx2::config::Config;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::sample::Sample;
use rkyv::api::high::{HighSerializer, to_bytes_in};
use rkyv::ser::allocator::ArenaHandle;
use rkyv::ser::writer::Buffer;
use rkyv::util::AlignedVec;
use rkyv::{Serialize, rancor};

use super::grite::touch;
use crate::peer::{About, Client, Failure, Peer, Reads, Seat, Side, request_bytes};
use crate::touch::Sum;
use crate::work::{Answer, ArchivedAnswer, ArchivedAsk, Ask, Work};

pub use requests::Requests;

pub const ALL: [Iceoryx2; 3] = [Iceoryx2::Polling, Iceoryx2::PollingArchives, Iceoryx2::Events];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Iceoryx2 {
    Polling,
    PollingArchives,
    Events,
}

impl Peer for Iceoryx2 {
    fn about(&self) -> About {
        let (name, title, reads) = match self {
            Iceoryx2::Polling => ("iceoryx2-polling", "iceoryx2 0.10, busy polling", Reads::Bytes),
            Iceoryx2::PollingArchives => {
                ("iceoryx2-rkyv", "iceoryx2 0.10, busy polling, with rkyv", Reads::Fields)
            }
            Iceoryx2::Events => ("iceoryx2-events", "iceoryx2 0.10, blocking on events", Reads::Bytes),
        };
        About { name, title, reads, side: Side::Peer }
    }

    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure> {
        let end = End::open(seat, *self == Iceoryx2::Events, ["ask", "answer"], seat.reply_len())?;
        let warm = seat.stock.bytes(seat.work);
        ready();
        let mut length = None;
        loop {
            let request = end.take()?;
            if *self != Iceoryx2::PollingArchives {
                end.send(if matches!(seat.work, Work::Echo(_)) { request.payload() } else { &warm })?;
                continue;
            }
            match rkyv::access::<ArchivedAsk, rancor::Error>(request.payload())? {
                ArchivedAsk::Echo(bytes) => {
                    end.send_archive(&Answer::Echo(bytes.as_slice().into()), &mut length)?;
                }
                ArchivedAsk::Show | ArchivedAsk::List => end.send(&warm)?,
            }
        }
    }

    fn client(&self, seat: &Seat) -> Result<Box<dyn Client>, Failure> {
        let end = End::open(seat, *self == Iceoryx2::Events, ["answer", "ask"], seat.request_len())?;
        match self {
            Iceoryx2::PollingArchives => Ok(Box::new(Archives { end, length: None })),
            Iceoryx2::Polling | Iceoryx2::Events => Ok(Box::new(end)),
        }
    }

    fn remove_leftovers(&self, seat: &Seat) -> Result<(), Failure> {
        remove_segments(seat)
    }
}

impl Client for End {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        self.send(request_bytes(ask))?;
        Ok(Sum::of(self.take()?.payload()))
    }
}

/// An end whose samples are archives.
struct Archives {
    end: End,
    /// That of a question, once one was archived.
    length: Option<usize>,
}

impl Client for Archives {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        self.end.send_archive(ask, &mut self.length)?;
        Ok(touch(rkyv::access::<ArchivedAnswer, rancor::Error>(self.end.take()?.payload())?))
    }
}

/// One process's ends of the services.
struct End {
    inbound: Subscriber<ipc::Service, [u8], ()>,
    outbound: Publisher<ipc::Service, [u8], ()>,
    events: Option<(Listener<ipc::Service>, Notifier<ipc::Service>)>,
    _node: Node<ipc::Service>,
}

impl End {
    fn open(
        seat: &Seat,
        events: bool,
        [inbound, outbound]: [&str; 2],
        longest: usize,
    ) -> Result<Self, Failure> {
        let node = node(seat)?;
        let samples = |name: &str| {
            let builder = node.service_builder(&name.try_into()?).publish_subscribe::<[u8]>();
            // One client, one server, one sample under way, aligned for archives.
            let builder = builder.payload_alignment(Alignment::new(16).ok_or("16 is a power of two")?);
            let builder = builder.max_publishers(1).max_subscribers(1).history_size(0);
            Ok::<_, Failure>(
                builder.subscriber_max_buffer_size(2).enable_safe_overflow(false).open_or_create()?,
            )
        };
        let events = events.then(|| {
            let signals = |name: &str| {
                Ok::<_, Failure>(node.service_builder(&name.try_into()?).event().open_or_create()?)
            };
            let listener = signals(inbound)?.listener_builder().create()?;
            Ok::<_, Failure>((listener, signals(outbound)?.notifier_builder().create()?))
        });
        Ok(End {
            inbound: samples(inbound)?.subscriber_builder().create()?,
            outbound: samples(outbound)?
                .publisher_builder()
                .initial_max_slice_len(longest + ARCHIVE)
                .create()?,
            events: events.transpose()?,
            _node: node,
        })
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.outbound.loan_slice_uninit(bytes.len())?.write_from_slice(bytes).send()?;
        self.notify()
    }

    /// Archives `value` into the sample itself. An archive's root is at its end, so the sample must be as long: all
    /// archives of a seat are.
    fn send_archive<T>(&self, value: &T, length: &mut Option<usize>) -> Result<(), Failure>
    where
        T: for<'a, 'b> Serialize<HighSerializer<Buffer<'a>, ArenaHandle<'b>, rancor::Error>>
            + for<'b> Serialize<HighSerializer<AlignedVec, ArenaHandle<'b>, rancor::Error>>,
    {
        let length = match *length {
            Some(length) => length,
            None => *length.insert(rkyv::to_bytes(value)?.len()),
        };
        let mut sample = self.outbound.loan_slice_uninit(length)?;
        let archive = to_bytes_in::<_, rancor::Error>(value, Buffer::from(sample.payload_mut()))?;
        if archive.len() != length {
            return Err(format!("an archive of {} bytes behind one of {length}", archive.len()).into());
        }
        // SAFETY: the archive has as many bytes as the sample, and lies in it from its start.
        unsafe { sample.assume_init() }.send()?;
        self.notify()
    }

    fn notify(&self) -> Result<(), Failure> {
        if let Some((_, notifier)) = &self.events {
            notifier.notify()?;
        }
        Ok(())
    }

    fn take(&self) -> Result<Sample<ipc::Service, [u8], ()>, Failure> {
        loop {
            if let Some(sample) = self.inbound.receive()? {
                return Ok(sample);
            }
            match &self.events {
                Some((listener, _)) => drop(listener.blocking_wait(|_| {})?),
                None => std::hint::spin_loop(),
            }
        }
    }
}

/// How much longer than its payload an archive is at most, in bytes.
const ARCHIVE: usize = 128;

/// What the names of this seat's segments begin with.
fn prefix(seat: &Seat) -> String {
    let names: Vec<_> = seat.folder.iter().rev().take(2).map(|name| name.to_string_lossy()).collect();
    format!("{}-{}_", names[1], names[0])
}

/// Removes the segments that the ends' samples lay in.
fn remove_segments(seat: &Seat) -> Result<(), Failure> {
    let prefix = prefix(seat);
    for entry in fs::read_dir("/dev/shm")? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn node(seat: &Seat) -> Result<Node<ipc::Service>, Failure> {
    set_log_level(LogLevel::Error);
    Ok(NodeBuilder::new().config(&config(seat)?).create::<ipc::Service>()?)
}

fn config(seat: &Seat) -> Result<Config, Failure> {
    let mut config = Config::default();
    let root = seat.folder.join("iceoryx2");
    fs::create_dir_all(&root)?;
    config.global.set_root_path(&path(&root)?);
    config.global.prefix = FileName::new(prefix(seat).as_bytes())?;
    Ok(config)
}

fn path(path: &Path) -> Result<iceoryx2::prelude::Path, Failure> {
    Ok(iceoryx2::prelude::Path::new(path.as_os_str().as_encoded_bytes())?)
}
