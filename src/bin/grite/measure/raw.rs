//! The limits of the machine: what it takes to get there and back between two processes, with nothing
//! but a cache line, a futex or a socket in between. No way to a daemon can be quicker.
//!
//! The other process is this program again, as [`be_peer`]. Its standard input is a socket to the process that
//! measures; it ends when that does. For the cache line and the futex, two counters lie in files that
//! both map: one side moves the first and waits for the second, the other side the other way round.
//! Raising a counter is one locked instruction, and looking at it one load.

use std::io::{Read, Write, stdin};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use libgrite_ipc::ChangeCounter;

use super::process::Owned;
use super::{Histogram, Interrupts, slice};
use crate::error::{CliError, Code};

/// What lies between the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Limit {
    /// A cache line that both look at all the time.
    Spin,
    /// A futex on which who waits sleeps.
    Futex,
    /// A Unix socket, 64 bytes each way.
    Socket,
}

impl Limit {
    /// The limits, the quickest first.
    pub const ALL: [Limit; 3] = [Limit::Spin, Limit::Futex, Limit::Socket];
}

/// Arguments of the hidden `grite bench-peer`.
#[derive(Args)]
pub struct Peer {
    limit: Limit,
    folder: PathBuf,
}

/// How much is sent over the socket each way, in bytes: a small frame.
const PACKET: usize = 64;

/// For how long the other process may stay silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a spinning process looks before it looks at anything else.
const LOOKS: u32 = 1 << 20;

/// The two counters, each in a page of its own.
struct Pair {
    ping: ChangeCounter,
    pong: ChangeCounter,
}

impl Pair {
    fn open(folder: &Path) -> Result<Self, CliError> {
        let open = |name| {
            let path = folder.join(name);
            ChangeCounter::open(&path).map_err(|error| CliError::io("map", &path, &error))
        };
        Ok(Pair { ping: open("ping")?, pong: open("pong")? })
    }
}

/// Measures `limit` with counters in `folder`. Returns how long all that was recorded took together.
///
/// # Errors
/// A [`CliError`] when the other process cannot be started or falls silent.
pub fn measure(
    limit: Limit,
    folder: &Path,
    time: Duration,
    histogram: &mut Histogram,
    interrupts: &Interrupts,
) -> Result<Duration, CliError> {
    let pair = Pair::open(folder)?;
    let ready = pair.pong.load();
    let failed = |error| CliError::io("reach", Path::new("the other process"), &error);
    let (mut near, far) = UnixStream::pair().map_err(failed)?;
    near.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut peer = start(limit, folder, far)?;
    let begin = Instant::now();
    while pair.pong.load() == ready {
        interrupts.check()?;
        if peer.has_ended() || begin.elapsed() > PATIENCE {
            return Err(silent());
        }
        thread::sleep(Duration::from_millis(1));
    }

    let mut seen = pair.pong.load();
    match limit {
        Limit::Spin => slice(time, histogram, interrupts, || {
            pair.ping.bump();
            seen = spin(&pair.pong, seen, || {
                interrupts.check()?;
                if peer.has_ended() { Err(silent()) } else { Ok(()) }
            })?;
            Ok(seen)
        }),
        Limit::Futex => slice(time, histogram, interrupts, || {
            pair.ping.bump();
            pair.ping.wake();
            let now = pair.pong.park(seen, PATIENCE);
            if now == seen {
                return Err(silent());
            }
            seen = now;
            Ok(now)
        }),
        Limit::Socket => {
            let mut packet = [1; PACKET];
            slice(time, histogram, interrupts, || {
                near.write_all(&packet).and_then(|()| near.read_exact(&mut packet)).map_err(failed)?;
                Ok(packet.iter().map(|&byte| u64::from(byte)).sum())
            })
        }
    }
}

fn start(limit: Limit, folder: &Path, far: UnixStream) -> Result<Owned, CliError> {
    let name = limit.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let mut command = Command::new(std::env::current_exe().unwrap_or_else(|_| "grite".into()));
    command
        .arg("bench-peer")
        .arg(name)
        .arg(folder)
        .stdin(OwnedFd::from(far))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Owned::start(&mut command)
}

/// Looks at the counter until it has moved; does `between` now and then.
#[inline]
fn spin(
    counter: &ChangeCounter,
    seen: u64,
    mut between: impl FnMut() -> Result<(), CliError>,
) -> Result<u64, CliError> {
    loop {
        for _ in 0..LOOKS {
            let now = counter.load();
            if now != seen {
                return Ok(now);
            }
            std::hint::spin_loop();
        }
        between()?;
    }
}

fn silent() -> CliError {
    CliError::new(Code::Failure, "the other process of a measurement ended or fell silent", "")
}

/// Is the other process, until the one that measures goes away.
///
/// # Errors
/// A [`CliError`] when the counters cannot be mapped. Nobody reads it.
pub fn be_peer(peer: &Peer) -> Result<(), CliError> {
    let pair = Pair::open(&peer.folder)?;
    let failed = |error| CliError::io("use", Path::new("standard input"), &error);
    let mut stream = UnixStream::from(stdin().as_fd().try_clone_to_owned().map_err(failed)?);
    let mut seen = pair.ping.load();
    pair.pong.bump();
    if peer.limit == Limit::Socket {
        let mut packet = [0; PACKET];
        while stream.read_exact(&mut packet).and_then(|()| stream.write_all(&packet)).is_ok() {}
        return Ok(());
    }
    let watch = move || {
        let _ = stream.read(&mut [0]);
        std::process::exit(0);
    };
    thread::Builder::new().spawn(watch).map_err(failed)?;
    loop {
        match peer.limit {
            Limit::Futex => {
                let now = pair.ping.park(seen, PATIENCE);
                if now != seen {
                    pair.pong.bump();
                    pair.pong.wake();
                }
                seen = now;
            }
            Limit::Spin | Limit::Socket => {
                seen = spin(&pair.ping, seen, || Ok(()))?;
                pair.pong.bump();
            }
        }
    }
}
