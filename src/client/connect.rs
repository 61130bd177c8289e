//! From a path to a connection: the client's half of the handshake.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lifeline::Lifeline;
use super::line::{Line, Welcomed};
use super::retry::Origin;
use super::{Client, ClientBuilder, Transport};
use crate::error::{Error, ErrorKind, NothingDone};
use crate::fault;
use crate::handshake::{
    ANSWER_LENGTH, Answer, Hello, MIN_MAX_MESSAGE, Mode, Refuse, RefuseCode, Stance, Welcome, differ,
    whom_to_upgrade,
};
use crate::identity::Party;
use crate::protocol::{Message, Protocol, identity};
use crate::shm;
use crate::stream::{Stream, fits_a_socket, own_uid};
use crate::transport::{Inbox, Incoming, Outbox, Outgoing, wait_readable};
use crate::wait::{Deadline, Spin, WaitStrategy};

/// What a client remembers until the daemon has answered its hello.
pub(super) struct Unwelcomed {
    stream: Arc<Stream>,
    hello: Hello,
}

impl<P: Protocol> ClientBuilder<P> {
    /// Connects and waits for the daemon's answer.
    pub(super) fn shake_hands(&self, path: &Path, stance: Stance) -> Result<Client<P>, Error> {
        match self.transport {
            Transport::Socket => self.shake_hands_for(path, Mode::Socket, stance),
            Transport::Ring => self.shake_hands_for(path, MODE_OF_CHOICE, stance),
            // Where the rings' memory cannot be mapped, the socket serves as well.
            Transport::Auto => {
                self.shake_hands_for(path, MODE_OF_CHOICE, stance).or_else(|error| match error.kind() {
                    ErrorKind::Io | ErrorKind::Sandboxed if MODE_OF_CHOICE == Mode::Ring => {
                        self.shake_hands_for(path, Mode::Socket, stance)
                    }
                    _ => Err(error),
                })
            }
        }
    }

    fn shake_hands_for(&self, path: &Path, mode: Mode, stance: Stance) -> Result<Client<P>, Error> {
        let mut deadline = Deadline::starting_now(self.handshake_timeout);
        let stream = self.dial(path, &mut deadline)?;
        fault::point("client.dialled");
        self.greet(stream, path, mode, stance, &mut deadline)
    }

    /// Says hello over a socket that leads to `path`, and makes a client of the daemon's answer.
    fn greet(
        &self,
        stream: Arc<Stream>,
        path: &Path,
        mode: Mode,
        stance: Stance,
        deadline: &mut Deadline,
    ) -> Result<Client<P>, Error> {
        let hello = self.hello(mode, stance);
        match send_all(&stream, &hello.to_bytes(), deadline).map_err(|error| handshake_error(path, error)) {
            // A daemon that does not want the connection may say why without hearing who it is.
            Err(error) if error.kind() != ErrorKind::PeerDied => return Err(error),
            _ => {}
        }
        fault::point("client.hello");
        // To make the memory of rings takes longer than a sleep.
        let wait = if mode == Mode::Ring { WaitStrategy::Park } else { self.wait };
        let welcomed = Unwelcomed { stream, hello }.receive(path, &mut Spin::of_socket(wait), deadline)?;
        if self.transport == Transport::Ring && matches!(welcomed.outgoing, Outgoing::Socket(_)) {
            return Err(
                connect_error(ErrorKind::Refused, path).saying("no rings here: use the socket transport")
            );
        }
        Ok(self.client(welcomed, Some(path)))
    }

    /// The same over any connected socket, for those who try what may come of it.
    #[cfg(all(any(fuzzing, test), not(loom), target_os = "linux", not(grite_portable)))]
    pub(crate) fn greet_over(&self, socket: OwnedFd) -> Result<Client<P>, Error> {
        let mode = if self.transport == Transport::Socket { Mode::Socket } else { MODE_OF_CHOICE };
        let mut deadline = Deadline::starting_now(self.handshake_timeout);
        let stream = Arc::new(Stream::from(socket));
        self.greet(stream, Path::new("any socket"), mode, Stance::Take, &mut deadline)
    }

    /// Connects, and leaves the hello to travel with the first request.
    pub(super) fn approach(&self, path: &Path, stance: Stance) -> Result<Client<P>, Error> {
        let mut deadline = Deadline::starting_now(self.handshake_timeout);
        let stream = self.dial(path, &mut deadline)?;
        let hello = self.hello(Mode::Socket, stance);
        let mut outbox = Outbox::new(Arc::clone(&stream), self.sizes.max_message as usize);
        outbox.preface(&hello.to_bytes());
        let welcomed = Welcomed {
            outgoing: Outgoing::Socket(outbox),
            incoming: Incoming::Socket(Inbox::new(Arc::clone(&stream), 0, &[])),
            lifeline: Lifeline::Socket(Arc::clone(&stream)),
            in_flight: 1,
            daemon_release: 0,
        };
        let mut client = self.client(welcomed, Some(path));
        client.line.get_mut().unwelcomed = Some(Unwelcomed { stream, hello });
        Ok(client)
    }

    /// Asks the daemon at `path` to end if its release is older than ours; says whether it does. What
    /// else may have come of it shows when the daemon is looked for again.
    pub(super) fn retire(&self, path: &Path, deadline: &mut Deadline) -> bool {
        let Ok(stream) = self.dial(path, deadline) else { return false };
        let hello = self.hello(Mode::Socket, Stance::Retire);
        // A daemon that is ending already may say so without hearing who it is.
        let _ = send_all(&stream, &hello.to_bytes(), deadline);
        let answered = Unwelcomed { stream, hello }.receive(path, &mut Spin::of_socket(self.wait), deadline);
        answered.is_err_and(|error| error.nothing_done() == Some(NothingDone::Stopping))
    }

    fn hello(&self, mode: Mode, stance: Stance) -> Hello {
        let client = Party { identity: identity::<P>(), release: self.release };
        Hello::new(client, mode, stance, self.sizes)
    }

    /// Connects to a listener of our own user.
    fn dial(&self, path: &Path, deadline: &mut Deadline) -> Result<Arc<Stream>, Error> {
        let stream = Stream::connect(path, deadline.end()).map_err(|error| dial_error(path, error))?;
        let peer = stream.peer().map_err(|error| dial_error(path, error))?;
        if peer.uid != own_uid() {
            let reason = format!("the socket belongs to user {}, this process to {}", peer.uid, own_uid());
            return Err(connect_error(ErrorKind::Refused, path).saying(reason));
        }
        Ok(Arc::new(stream))
    }

    /// A client of what the handshake, or a pair in this process, has made.
    pub(crate) fn client(&self, welcomed: Welcomed, path: Option<&Path>) -> Client<P> {
        let origin = if path.is_some() { Origin::Socket } else { Origin::Pair };
        let line = Line::new(welcomed, self.wait, self.timeout, path.map(lasting));
        Client { line: RefCell::new(line), builder: self.clone(), origin }
    }
}

/// Rings where this system has them.
const MODE_OF_CHOICE: Mode = if shm::HAS_RINGS { Mode::Ring } else { Mode::Socket };

impl Line {
    /// Receives the answer to a hello that travelled with a request.
    pub(super) fn finish_handshake(&mut self, deadline: &mut Deadline) -> Result<(), Error> {
        let Some(unwelcomed) = self.unwelcomed.take() else { return Ok(()) };
        let path = self.path.clone().unwrap_or_default();
        let received = unwelcomed.receive(&path, &mut self.spin, deadline);
        let welcomed = received.map_err(|error| self.lose_with(error))?;
        self.incoming = welcomed.incoming;
        self.daemon_release = welcomed.daemon_release;
        Ok(())
    }
}

impl<P: Protocol> Client<P> {
    /// The answer that [`exchange`](Client::exchange) has received, checked, in memory of its own.
    pub(super) fn into_message(mut self) -> Result<Message<P::Response>, Error> {
        let mut bytes = Default::default();
        let line = self.line.get_mut();
        line.incoming.swap_message(&mut bytes);
        Message::check(bytes).map_err(|invalid| line.not_valid(invalid))
    }
}

impl Unwelcomed {
    /// Receives and judges the daemon's answer.
    fn receive(self, path: &Path, spin: &mut Spin, deadline: &mut Deadline) -> Result<Welcomed, Error> {
        let misbehaved = |reason: String| connect_error(ErrorKind::PeerMisbehaved, path).saying(reason);
        let mut bytes = [0; ANSWER_LENGTH];
        let mut descriptors = Vec::new();
        receive_all(&self.stream, &mut bytes, &mut descriptors, spin, deadline)
            .map_err(|error| handshake_error(path, error))?;
        fault::point("client.received");
        let answer = Answer::parse(&bytes).map_err(|bad| misbehaved(bad.to_string()))?;
        let (client, daemon) = (self.hello.client, answer.daemon);
        let refused = |mut refuse: Refuse| {
            if let (RefuseCode::Version, Some(whom)) = (refuse.code, whom_to_upgrade(client, daemon)) {
                refuse.text += "; ";
                refuse.text += &whom;
            }
            refusal(path, refuse)
        };
        let welcome = answer.verdict.map_err(refused)?;
        if let Some(text) = differ(client.identity, daemon.identity) {
            return Err(refused(Refuse { code: RefuseCode::Version, text }));
        }
        if !(MIN_MAX_MESSAGE..=self.hello.sizes.max_message).contains(&welcome.sizes.max_message) {
            return Err(misbehaved(format!("a max_message of {} bytes granted", welcome.sizes.max_message)));
        }
        match (welcome.mode, self.hello.mode) {
            (Mode::Socket, _) if descriptors.is_empty() => Ok(self.over_socket(welcome, daemon.release)),
            (Mode::Ring, Mode::Ring) => self.over_rings(path, welcome, daemon.release, descriptors),
            (mode, _) => Err(misbehaved(format!("mode {mode:?} with {} descriptors", descriptors.len()))),
        }
    }

    fn over_socket(self, welcome: Welcome, daemon_release: u32) -> Welcomed {
        let limit = welcome.sizes.max_message as usize;
        Welcomed {
            outgoing: Outgoing::Socket(Outbox::new(Arc::clone(&self.stream), limit)),
            incoming: Incoming::Socket(Inbox::new(Arc::clone(&self.stream), limit, &[])),
            lifeline: Lifeline::Socket(self.stream),
            in_flight: welcome.in_flight,
            daemon_release,
        }
    }

    #[cfg(all(target_os = "linux", not(grite_portable)))]
    fn over_rings(
        self,
        path: &Path,
        welcome: Welcome,
        daemon_release: u32,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Welcomed, Error> {
        use super::watchdog::Guard;
        use crate::channel::{Receiver, Sender};
        use crate::ring::Regions;
        use crate::shm::{Role, Unfit, judge};

        let [daemon, client] = <[OwnedFd; 2]>::try_from(descriptors)
            .map_err(|all| connect_error(ErrorKind::PeerMisbehaved, path).saying(not_two(all.len())))?;
        let unmapped = |error| Error::io("map the daemon's memory", error).at(path);
        let unfit = |unfit: Unfit| match unfit {
            Unfit::System(error) => unmapped(error),
            unfit => connect_error(ErrorKind::PeerMisbehaved, path).because(unfit),
        };
        let theirs = judge(&daemon, Role::Daemon, welcome.sizes.reply).map_err(unfit)?;
        let ours = judge(&client, Role::Client, welcome.sizes.request).map_err(unfit)?;
        let theirs = theirs.map().map_err(unmapped)?;
        fault::point("client.half-mapped");
        let ours = ours.map().map_err(unmapped)?;
        fault::point("client.mapped");
        let regions = Regions { ours, theirs };
        let limit = welcome.sizes.max_message as usize;
        Ok(Welcomed {
            outgoing: Outgoing::Ring(Box::new(Sender::new(regions.clone(), 0, limit))),
            lifeline: Lifeline::Guard(Guard::new(self.stream, regions.theirs.clone())),
            incoming: Incoming::Ring(Box::new(Receiver::new(regions, 0, limit))),
            in_flight: welcome.in_flight,
            daemon_release,
        })
    }

    #[cfg(not(all(target_os = "linux", not(grite_portable))))]
    fn over_rings(self, path: &Path, _: Welcome, _: u32, _: Vec<OwnedFd>) -> Result<Welcomed, Error> {
        Err(connect_error(ErrorKind::PeerMisbehaved, path).saying("rings granted that nobody asked for"))
    }
}

/// The path of a socket by a name that holds wherever this process works, for those who connect again; as it is where
/// a socket can have no name as long as that.
fn lasting(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).ok();
    absolute.filter(|path| fits_a_socket(path)).unwrap_or_else(|| path.to_path_buf())
}

fn send_all(stream: &Stream, mut bytes: &[u8], deadline: &mut Deadline) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !stream.wait_writable(deadline.end())? {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How many descriptors come with an answer at most: those of both regions.
const MOST_DESCRIPTORS: usize = 2;

/// Receives exactly as many bytes as fit, and all descriptors that come with them, if those are not too many.
fn receive_all(
    stream: &Stream,
    mut bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    spin: &mut Spin,
    deadline: &mut Deadline,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match receive_some(stream, bytes, descriptors) {
            // Each byte might bring as many as this process may have.
            Ok(_) if descriptors.len() > MOST_DESCRIPTORS => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, not_two(descriptors.len())));
            }
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => bytes = &mut bytes[read..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !wait_readable(stream, spin, deadline)? {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn not_two(descriptors: usize) -> String {
    format!("{descriptors} descriptors where two belong")
}

#[cfg(all(target_os = "linux", not(grite_portable)))]
fn receive_some(stream: &Stream, bytes: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
    stream.read_with(bytes, descriptors)
}

#[cfg(not(all(target_os = "linux", not(grite_portable))))]
fn receive_some(stream: &Stream, bytes: &mut [u8], _: &mut Vec<OwnedFd>) -> io::Result<usize> {
    stream.read(bytes)
}

fn connect_error(kind: ErrorKind, path: &Path) -> Error {
    Error::new(kind, "connect to the daemon").at(path)
}

/// Why nobody was reached.
fn dial_error(path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ErrorKind::NotRunning,
        io::ErrorKind::PermissionDenied => ErrorKind::Sandboxed,
        io::ErrorKind::WouldBlock => ErrorKind::Unresponsive,
        _ => ErrorKind::Io,
    };
    connect_error(kind, path).because(error)
}

/// Why somebody was reached, but no answer came.
fn handshake_error(path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut => ErrorKind::Unresponsive,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            ErrorKind::PeerDied
        }
        io::ErrorKind::InvalidData => ErrorKind::PeerMisbehaved,
        _ => ErrorKind::Io,
    };
    connect_error(kind, path).because(error)
}

fn refusal(path: &Path, refuse: Refuse) -> Error {
    let kind = match refuse.code {
        RefuseCode::Malformed => ErrorKind::PeerMisbehaved,
        RefuseCode::Version => ErrorKind::VersionMismatch,
        RefuseCode::Foreign
        | RefuseCode::Limit
        | RefuseCode::Resources
        | RefuseCode::Stopping
        | RefuseCode::Busy
        | RefuseCode::Older
        | RefuseCode::Current => ErrorKind::Refused,
    };
    let error = connect_error(kind, path).saying(refuse.text);
    match refuse.code {
        RefuseCode::Busy | RefuseCode::Limit => error.with_nothing_done(NothingDone::Busy),
        RefuseCode::Stopping => error.with_nothing_done(NothingDone::Stopping),
        RefuseCode::Older => error.with_nothing_done(NothingDone::Older),
        _ => error,
    }
}
