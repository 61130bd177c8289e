//! A connection as all requests of an async client share it: [`Shared`].
//!
//! All that happens to it happens under one lock, which is never held while somebody waits. What is to be
//! woken is noted there and woken once the lock is free.
//!
//! Each runtime in which requests wait has a [`Post`]: the place of its [`Lookout`]. The rule that keeps
//! every request from waiting for ever: while one waits in a runtime, the post of that runtime looks or
//! listens, unless the request is the only one and looks itself.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Id};

use super::lookout::Lookout;
use super::queue::Queue;
use crate::client::line::Line;
use crate::client::open::RequestId;
use crate::error::{Error, ErrorKind};
use crate::payload::Bytes;
use crate::protocol::Wire;
use crate::shm;
use crate::stream::Stream;
use crate::transport::Broken;

/// A connection, with those who wait for it.
pub(super) struct Shared {
    state: Mutex<State>,
    /// The socket of the handshake: its bell, where messages travel through rings.
    pub(super) socket: Arc<Stream>,
    pub(super) ring: bool,
    pub(super) timeout: Duration,
    pub(super) max_open: usize,
    pub(super) daemon_release: u32,
    pub(super) path: PathBuf,
    /// The process that made this.
    process: u32,
}

pub(super) struct State {
    pub(super) line: Line,
    posts: Vec<Post>,
    pub(super) queue: Queue,
    /// Who is to be woken once the lock is free, and who is to be sent to a new post.
    due: Vec<Waker>,
    sent_out: Option<(Handle, Lookout)>,
    /// Whether the daemon was told that somebody listens.
    marked: bool,
    /// Since when nobody looks and all listen.
    listening_since: Option<Instant>,
    /// Whether the last look may have left something to move.
    unsettled: bool,
    /// How many glances in a row have found nothing.
    in_vain: u32,
    /// Why the connection was lost, for the first who asks.
    reason: Option<Error>,
    lost: bool,
}

/// What the lookout of one runtime is doing.
struct Post {
    runtime: Id,
    waker: Option<Waker>,
    phase: Phase,
}

/// | phase | its task | the daemon rings the bell |
/// |---|---|---|
/// | `Looking` | is about to run | if others listen |
/// | `Listening` | waits for the bell | yes |
/// | `Idle` | waits for the bell, which tells of the end alone | if others listen |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Looking,
    Listening,
    Idle,
}

/// After so many glances in vain they are left out …
const IN_VAIN: u32 = 8;

/// … but for one in so many.
const TRY_AGAIN: u32 = 64;

/// How often what is left in the rings is received once the socket has ended, many messages each time.
const LAST_LOOKS: u32 = 64;

impl Shared {
    pub(super) fn new(line: Line) -> Arc<Self> {
        let socket = Arc::clone(line.socket());
        let max_open = usize::from(line.open.limit());
        let (ring, timeout) = (line.is_ring(), line.timeout());
        let (daemon_release, path) = (line.daemon_release, line.path.clone().unwrap_or_default());
        let state = State {
            line,
            posts: Vec::new(),
            queue: Queue::default(),
            due: Vec::new(),
            sent_out: None,
            marked: false,
            listening_since: None,
            unsettled: false,
            in_vain: 0,
            reason: None,
            lost: false,
        };
        let (state, process) = (Mutex::new(state), shm::process());
        Arc::new(Shared { state, socket, ring, timeout, max_open, daemon_release, path, process })
    }

    /// An error in a forked child of the process that made this. The lock is not to be asked for there: a thread that
    /// has not come along may have held it.
    pub(super) fn check_process(&self, tried: &'static str) -> Result<(), Error> {
        if self.is_ours() { Ok(()) } else { Err(Error::new(ErrorKind::Forked, tried).at(&self.path)) }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.process == shm::process()
    }

    /// Works on the connection, then wakes those for whom that was what they have waited for; first these if the work
    /// panics, as a request may that is being encoded.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut state)));
        if !state.lost && state.line.is_broken() {
            // Whoever broke it was told; the others wait for an answer that does not come.
            state.lose(None);
        }
        state.call_the_next();
        let (due, sent_out) = (std::mem::take(&mut state.due), state.sent_out.take());
        drop(state);
        due.into_iter().for_each(Waker::wake);
        if let Some((runtime, lookout)) = sent_out {
            runtime.spawn(lookout);
        }
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Works on the connection as [`with`](Self::with) does; not in a forked child, where it is its parent's.
    pub(super) fn with_ours(&self, work: impl FnOnce(&mut State)) {
        if self.is_ours() {
            self.with(work);
        }
    }

    /// Ends the connection for both sides.
    pub(super) fn close(&self) {
        self.with_ours(|state| {
            self.socket.shut_down();
            state.lose(None);
        });
    }
}

impl State {
    /// Sends a request, unless it has to wait for a place or for space.
    pub(super) fn try_open<T: Wire>(&mut self, request: &T) -> Result<Option<RequestId>, Error> {
        let expiry = self.line.expiry();
        let opened = self.line.try_open(request, expiry)?;
        if opened.is_some() {
            self.stop_listening_here();
        }
        Ok(opened)
    }

    /// The answer to a request, if it has come or comes in a moment.
    pub(super) fn look_for(&mut self, id: RequestId) -> Option<Result<Bytes, Error>> {
        let claimed = self.line.try_claim(id);
        // Over a socket, each look is a system call: the lookout looks when there is something.
        if claimed.is_some() || !self.line.is_ring() {
            return claimed;
        }
        self.settle();
        self.line.try_claim(id).or_else(|| {
            if self.in_vain >= IN_VAIN && !self.in_vain.is_multiple_of(TRY_AGAIN) || !self.line.glance() {
                self.in_vain = self.in_vain.wrapping_add(1);
                return None;
            }
            self.in_vain = 0;
            self.settle();
            self.line.try_claim(id)
        })
    }

    /// Moves what can be moved without waiting, and notes whom to wake for it. Says whether there may be
    /// more to move.
    pub(super) fn settle(&mut self) -> bool {
        let more = self.line.progress().unwrap_or_else(|error| {
            self.lose(Some(error));
            false
        });
        let before = self.due.len();
        self.line.open.take_due(&mut self.due);
        if self.due.len() > before
            && let Some(since) = self.listening_since.take()
        {
            self.line.listened(since.elapsed());
        }
        // Those who listen have marked where the daemon was: it has moved on.
        self.unsettled = more || self.line.is_ring() && self.is_listening() && self.listen();
        self.unsettled
    }

    /// Whether one request is all that anybody waits for.
    pub(super) fn is_alone(&self) -> bool {
        self.line.open.count() == 1 && self.queue.is_empty()
    }

    /// Whether anybody waits for anything.
    pub(super) fn is_awaited(&self) -> bool {
        self.line.open.count() > 0 || !self.queue.is_empty() || self.line.has_backlog()
    }

    /// Calls the next request that waits to be sent, if one can be. Should it not come, a lookout passes it over for
    /// those behind it.
    fn call_the_next(&mut self) {
        if !self.queue.is_empty() && self.line.open.place().is_some() && !self.line.has_backlog() {
            self.due.extend(self.queue.call());
            if !self.queue.is_empty() {
                (0..self.posts.len()).for_each(|place| self.rouse(place));
            }
        }
    }

    /// Has the lookout of this runtime, if there is one, go on for the requests that are left.
    pub(super) fn keep_watch(&mut self) {
        if self.line.is_ring() && !self.posts.is_empty() && self.is_awaited() {
            let runtime = Handle::current().id();
            if let Some(place) = self.posts.iter().position(|post| post.runtime == runtime)
                && (self.posts[place].phase == Phase::Idle || self.unsettled)
            {
                self.rouse(place);
            }
        }
    }

    /// Gives up a request.
    pub(super) fn cancel(&mut self, id: RequestId) {
        self.line.cancel(id);
        if self.line.has_backlog() {
            (0..self.posts.len()).for_each(|place| self.rouse(place));
        }
    }

    /// Has a lookout look.
    fn rouse(&mut self, place: usize) {
        let post = &mut self.posts[place];
        if post.phase != Phase::Looking {
            post.phase = Phase::Looking;
            self.due.extend(post.waker.clone());
            self.have_quiet();
        }
    }

    /// Has the daemon ring the bell for what comes next; says whether something is there already.
    pub(super) fn listen(&mut self) -> bool {
        self.marked = true;
        self.line.listen()
    }

    /// Sees to it that somebody in this runtime watches the connection. Who `has_looked` for as long as
    /// that pays has the lookout listen at once.
    pub(super) fn attend(&mut self, shared: &Arc<Shared>, has_looked: bool) -> Result<(), Error> {
        if self.lost {
            return Ok(());
        }
        let runtime = Handle::current();
        let Some(place) = self.posts.iter().position(|post| post.runtime == runtime.id()) else {
            let lookout = Lookout::new(shared, runtime.id()).map_err(|error| {
                Error::io("register the connection with the runtime", error).at(&shared.path)
            })?;
            self.posts.push(Post { runtime: runtime.id(), waker: None, phase: Phase::Looking });
            self.sent_out = Some((runtime, lookout));
            return Ok(());
        };
        let phase = self.posts[place].phase;
        match phase {
            Phase::Looking => {}
            // It has to be told to wait for space, too.
            Phase::Listening if self.unsettled || self.line.has_backlog() => self.rouse(place),
            Phase::Listening => {}
            Phase::Idle if !has_looked || self.unsettled || self.listen() => self.rouse(place),
            Phase::Idle => {
                self.posts[place].phase = Phase::Listening;
                self.listening_since = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Takes over from a lookout that listens in this runtime: the caller looks itself.
    fn stop_listening_here(&mut self) {
        if self.line.is_ring() && self.is_listening() {
            let runtime = Handle::current().id();
            for post in &mut self.posts {
                if post.runtime == runtime && post.phase == Phase::Listening {
                    post.phase = Phase::Idle;
                }
            }
            self.have_quiet();
        }
    }

    fn is_listening(&self) -> bool {
        self.posts.iter().any(|post| post.phase == Phase::Listening)
    }

    /// Has the daemon ring no more if nobody listens.
    fn have_quiet(&mut self) {
        if self.marked && !self.is_listening() {
            self.marked = false;
            self.line.stop_listening();
        }
    }

    /// What a lookout notes of itself.
    pub(super) fn set_phase(&mut self, runtime: Id, phase: Phase, waker: &Waker) {
        if let Some(post) = self.posts.iter_mut().find(|post| post.runtime == runtime) {
            post.phase = phase;
            match &mut post.waker {
                Some(known) => known.clone_from(waker),
                None => post.waker = Some(waker.clone()),
            }
            if phase == Phase::Listening {
                self.listening_since = Some(Instant::now());
            } else {
                self.have_quiet();
            }
        }
    }

    /// A lookout is gone. Whoever has relied on it is to look for another one.
    pub(super) fn leave_post(&mut self, runtime: Id) {
        self.posts.retain(|post| post.runtime != runtime);
        self.have_quiet();
        self.line.open.tell_all();
        self.line.open.take_due(&mut self.due);
        self.queue.call_all(&mut self.due);
    }

    /// The socket has ended or failed: what came through rings before still counts.
    pub(super) fn sever(&mut self, broken: Broken) {
        // A peer that has ended its socket and goes on filling the ring is not waited for.
        for _ in 0..LAST_LOOKS {
            if self.lost || !self.settle() {
                break;
            }
        }
        if !self.lost {
            let error = self.line.sever(broken);
            self.lose(Some(error));
        }
    }

    fn lose(&mut self, reason: Option<Error>) {
        // Whatever fails from then on fails for that.
        if !self.lost {
            self.lost = true;
            self.reason = reason;
        }
        self.line.open.tell_all();
        self.line.open.take_due(&mut self.due);
        self.queue.call_all(&mut self.due);
        self.due.extend(self.posts.iter().filter_map(|post| post.waker.clone()));
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Why the connection is of no more use.
    pub(super) fn reason(&mut self, tried: &'static str) -> Error {
        self.reason.take().unwrap_or_else(|| match self.line.check_usable(tried) {
            Err(error) => error,
            Ok(()) => self.line.sever(Broken::Severed),
        })
    }
}
