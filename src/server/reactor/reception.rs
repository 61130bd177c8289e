//! How a connection becomes a client: accepted, heard out, welcomed or turned away.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::super::connection::{Attendant, Connection, Lifeline};
use super::super::events::Interest;
use super::super::poller::STOPPING;
use super::super::responder::Context;
use super::{AnswerRequest, BATCH, Entry, LISTENER, Reactor};
use crate::fault;
use crate::handshake::{self, Answer, Grant, Heard, Mode, Refuse, RefuseCode, Welcome, judge};
use crate::stream::{Stream, new_socket, own_uid};
use crate::transport::{Inbox, Outbox, Outgoing};

/// How long no connection is accepted after the system had no descriptors or memory for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Reactor<'_> {
    /// Accepts who has come, a batch at most: others are to be served as well.
    pub(super) fn accept(&mut self, answer: &AnswerRequest<'_>) -> io::Result<()> {
        for _ in 0..BATCH {
            match self.listener.accept() {
                Ok(stream) => self.greet(stream, answer),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::MFILE | Errno::NFILE) if self.turn_one_away(no_more_files()) => {}
                // No descriptors, no memory, or something else that may pass.
                Err(_) => {
                    self.accept_after = Some(Instant::now() + ACCEPT_PAUSE);
                    return self.events.change(self.listener, LISTENER, Interest::Nothing);
                }
            }
        }
        Ok(())
    }

    /// Gives the spare descriptor to one who has come while there is no other, to say so: nobody waits for a
    /// handshake that does not come. Says whether there was one.
    pub(super) fn turn_one_away(&mut self, refuse: Refuse) -> bool {
        let Some(spare) = self.spare.take() else { return false };
        drop(spare);
        let accepted = self.listener.accept();
        if let Ok(stream) = &accepted {
            self.refuse(stream, refuse);
        }
        let turned_away = accepted.is_ok();
        drop(accepted);
        self.spare = new_socket().ok();
        turned_away
    }

    /// Takes in a new connection of our own user, and hears what it has said already.
    pub(super) fn greet(&mut self, stream: Stream, answer: &AnswerRequest<'_>) {
        fault::point("daemon.accepted");
        let Ok(peer) = stream.peer() else { return };
        if peer.uid != own_uid() {
            let text = format!("this daemon serves user {} only", own_uid());
            self.refuse(&stream, Refuse { code: RefuseCode::Foreign, text });
            return;
        }
        if self.greeting.len() >= self.shared.limits.unauthenticated
            && let Some((&oldest, _)) = self.greeting.iter().next()
        {
            self.evict(oldest, answer);
        }
        let token = self.next_token;
        self.next_token += 2;
        if self.events.add(&stream, token, Interest::Read).is_err() {
            return;
        }
        let entry = Entry::Greeting { stream: Arc::new(stream), peer, bytes: Vec::new() };
        self.entries.insert(token, entry);
        self.greeting.insert(token, Instant::now() + self.shared.limits.handshake);
        self.listen_to(token, answer);
    }

    /// Makes room for another handshake, unless this one is done now.
    fn evict(&mut self, token: u64, answer: &AnswerRequest<'_>) {
        self.listen_to(token, answer);
        if let Some(Entry::Greeting { stream, .. }) = self.entries.get(&token) {
            let text = "too many connections whose handshake is not done: connect again".to_owned();
            self.refuse(stream, Refuse { code: RefuseCode::Busy, text });
            self.remove(token);
        }
    }

    /// Sends a refusal as far as it goes at once: who is refused gets no more of our time.
    pub(super) fn refuse(&self, stream: &Stream, refuse: Refuse) {
        let answer = Answer { daemon: self.shared.party, verdict: Err(refuse) };
        let _ = stream.write(&answer.to_bytes());
    }

    /// Reads on in a hello, and judges it.
    pub(super) fn listen_to(&mut self, token: u64, answer: &AnswerRequest<'_>) {
        let limits = handshake::Limits { sizes: self.shared.limits.sizes, rings: has_rings() };
        let Some(Entry::Greeting { stream, bytes, .. }) = self.entries.get_mut(&token) else { return };
        let stream = Arc::clone(stream);
        let mut buffer = [0; handshake::MAX_LENGTH];
        match stream.read_refusing(&mut buffer) {
            Ok((0, _)) | Ok((_, true)) => return self.remove(token),
            Ok((read, false)) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => return self.remove(token),
        }
        match judge(bytes, self.shared.party, limits) {
            Heard::Part => {}
            Heard::Refused(refuse) => {
                self.refuse(&stream, refuse);
                self.remove(token);
            }
            Heard::Granted(grant) => self.welcome(token, grant, answer),
            Heard::Retired => {
                self.refuse(&stream, Refuse { code: RefuseCode::Stopping, text: STOPPING.to_owned() });
                self.remove(token);
                self.shared.stop();
            }
        }
    }

    /// Makes a connection of a handshake.
    fn welcome(&mut self, token: u64, grant: Grant, answer: &AnswerRequest<'_>) {
        fault::point("daemon.heard");
        self.greeting.remove(&token);
        let established = self.entries.len() - self.greeting.len() - 1;
        let Some(Entry::Greeting { stream, peer, bytes }) = self.entries.remove(&token) else { return };
        let context = Context { session: token, peer, ring: grant.mode == Mode::Ring };
        let entry = if established >= self.shared.limits.connections {
            let text = format!("{established} clients are connected, which is the limit");
            Err(Refuse { code: RefuseCode::Limit, text })
        } else {
            self.establish(context, &stream, grant, &bytes[grant.length..])
        };
        match entry {
            Ok(entry) => {
                let over_rings = matches!(entry, Entry::Ring { .. });
                self.entries.insert(token, entry);
                if over_rings {
                    self.watch_process(token);
                } else {
                    self.watch_later(token);
                }
                self.serve(token, answer);
            }
            Err(refuse) => {
                self.refuse(&stream, refuse);
                self.events.remove(&stream, token);
            }
        }
    }

    /// Over rings where they are wished and can be had, else over the socket.
    fn establish(
        &mut self,
        context: Context,
        stream: &Arc<Stream>,
        grant: Grant,
        already: &[u8],
    ) -> Result<Entry, Refuse> {
        if grant.mode == Mode::Ring {
            if !already.is_empty() {
                let text = "frames on the socket of a client that asks for rings".to_owned();
                return Err(Refuse { code: RefuseCode::Malformed, text });
            }
            // Without memory for rings, or the means to hand it over, a client may still be served.
            if let Ok(entry) = self.over_rings(context.clone(), stream, grant) {
                return Ok(entry);
            }
        }
        let grant = Grant { mode: Mode::Socket, ..grant };
        Ok(self.over_socket(Context { ring: false, ..context }, stream, grant, already))
    }

    fn answer_with(&self, session: u64, grant: Grant) -> [u8; handshake::ANSWER_LENGTH] {
        let in_flight = self.shared.limits.in_flight;
        let welcome = Welcome { mode: grant.mode, session, sizes: grant.sizes, in_flight };
        Answer { daemon: self.shared.party, verdict: Ok(welcome) }.to_bytes()
    }

    fn over_socket(&self, context: Context, stream: &Arc<Stream>, grant: Grant, already: &[u8]) -> Entry {
        let limit = grant.sizes.max_message as usize;
        let mut outbox = Outbox::new(Arc::clone(stream), limit);
        outbox.preface(&self.answer_with(context.session, grant));
        Entry::Socket {
            connection: Connection::new(
                context,
                Lifeline::Socket(Arc::clone(stream)),
                Outgoing::Socket(outbox),
                self.shared.limits.in_flight,
                Arc::clone(&self.shared.crew),
                Arc::clone(&self.shared.history),
                Attendant::Reactor(Arc::clone(&self.shared.waker)),
            ),
            stream: Arc::clone(stream),
            inbox: Inbox::new(Arc::clone(stream), limit, already),
            interest: Interest::Read,
        }
    }
}

#[cfg(all(target_os = "linux", not(grite_portable)))]
impl Reactor<'_> {
    /// Makes both regions, sends them, and hands the connection to the poller.
    fn over_rings(&mut self, context: Context, stream: &Arc<Stream>, grant: Grant) -> io::Result<Entry> {
        use std::os::fd::AsFd;

        use super::super::control::Note;
        use super::super::port::Port;
        use crate::channel::Sender;
        use crate::ring::Regions;
        use crate::shm::{Role, create};

        let memory = u64::from(grant.sizes.reply) + u64::from(grant.sizes.request);
        if self.ring_memory + memory > self.shared.limits.memory {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let (daemon, ours) = create(Role::Daemon, grant.sizes.reply)?;
        fault::point("daemon.half-made");
        let (client, theirs) = create(Role::Client, grant.sizes.request)?;
        fault::point("daemon.made");
        let regions = Regions { ours, theirs };
        let token = context.session;
        let answer = self.answer_with(token, grant);
        let ports = self.pollers.iter().map(|(_, ports)| ports);
        let poller = ports.enumerate().min_by_key(|(_, ports)| **ports).map_or(0, |(poller, _)| poller);
        let (control, ports) = &mut self.pollers[poller];
        let limit = grant.sizes.max_message as usize;
        let connection = Connection::new(
            context,
            Lifeline::Socket(Arc::clone(stream)),
            Outgoing::Ring(Box::new(
                Sender::new(regions.clone(), 0, limit).with_bell(Some(Arc::clone(stream) as _)),
            )),
            self.shared.limits.in_flight,
            Arc::clone(&self.shared.crew),
            Arc::clone(&self.shared.history),
            Attendant::Poller(Arc::clone(control)),
        );
        // The poller knows the client before the client knows of its rings.
        control.tell(Note::Arrived(Box::new(Port::new(Arc::clone(&connection), regions, limit))));
        fault::point("daemon.arrived");
        if let Err(error) = stream.write_with(&answer, [daemon.as_fd(), client.as_fd()]) {
            use io::ErrorKind::{BrokenPipe, ConnectionReset, WriteZero};
            if !matches!(error.kind(), BrokenPipe | ConnectionReset | WriteZero) {
                // The system does not pass the descriptors on, and nothing was sent.
                control.tell(Note::Left(token));
                return Err(error);
            }
            // It has gone already: the reactor hears of that as of any other end.
            stream.shut_down();
        }
        *ports += 1;
        self.ring_memory += memory;
        fault::point("daemon.welcomed");
        Ok(Entry::Ring { connection, stream: Arc::clone(stream), poller, memory })
    }
}

/// Whether this system has rings, and the means to sleep on many of them.
#[cfg(all(target_os = "linux", not(grite_portable)))]
fn has_rings() -> bool {
    crate::shm::HAS_RINGS && crate::wait::can_sleep_on_many()
}

/// Whether this system has rings.
#[cfg(not(all(target_os = "linux", not(grite_portable))))]
fn has_rings() -> bool {
    false
}

#[cfg(not(all(target_os = "linux", not(grite_portable))))]
impl Reactor<'_> {
    fn over_rings(&mut self, _: Context, _: &Arc<Stream>, _: Grant) -> io::Result<Entry> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Why somebody is not taken in for whom there is no descriptor.
fn no_more_files() -> Refuse {
    Refuse { code: RefuseCode::Resources, text: "the daemon may open no more files".to_owned() }
}
