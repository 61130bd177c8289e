//! What a request is answered with: [`Desk`], asked from two threads at once.
//!
//! Reads that repeat are answered with bytes that were archived before, without deserializing the
//! command or allocating anything. All else is the engine's.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use libgrite_ipc::grite::{
    ArchivedExchange, ArchivedIpcCommand, ArchivedIssueFilter, ArchivedIssueState, Progress,
};
use libgrite_ipc::{Encoded, Error, Grite, IpcCommand, IpcResponse, Responder, ServerHandle};
use rkyv::rancor;
use rustix::time::{ClockId, clock_gettime};

use super::cache::Cache;
use crate::engine::Engine;

/// Answers requests.
pub struct Desk<'a> {
    engine: &'a Engine,
    server: ServerHandle,
    /// The answer to a ping, which nothing changes.
    pong: Option<Encoded<IpcResponse>>,
    /// Locked for a look-up, never while an answer is made or sent.
    cache: Mutex<Cache>,
    /// The second in which a read has last found the store in its place.
    looked: AtomicI64,
}

thread_local! {
    /// Memory for the key of a thread's next look-up.
    static KEY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Tells seconds apart, and costs a read as little as can be.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::MonotonicCoarse;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// A longer key is not kept in [`KEY`], in bytes.
const MAX_KEPT: usize = 64 << 10;

impl<'a> Desk<'a> {
    /// A desk that can end `server`.
    pub fn new(engine: &'a Engine, server: ServerHandle) -> Self {
        let pong = Encoded::new(&IpcResponse::Pong).ok();
        Desk { engine, server, pong, cache: Mutex::default(), looked: AtomicI64::new(0) }
    }

    /// Answers one request. Whether the client is still there for the answer makes no difference here.
    pub fn answer(&self, request: &ArchivedIpcCommand, responder: Responder<Grite>) {
        let _ = match (request, &self.pong) {
            (ArchivedIpcCommand::Ping, Some(pong)) => responder.reply_encoded(pong),
            (ArchivedIpcCommand::Stop, _) => self.stop(responder),
            _ if self.is_lost(request) => self.stop(responder),
            _ => self.read_or_execute(request, responder),
        };
    }

    fn stop(&self, responder: Responder<Grite>) -> Result<(), Error> {
        // In this order, so that whoever asked hears of it.
        let replied = responder.reply(&IpcResponse::Stopping);
        self.server.stop();
        replied
    }

    /// Whether the store is known to be gone from its place: nobody would find what is written to it, and a
    /// daemon for the store that is there now cannot start beside this one.
    ///
    /// A read asks the system once a second at most. What the daemon is, it says wherever its store may be.
    fn is_lost(&self, request: &ArchivedIpcCommand) -> bool {
        match request {
            ArchivedIpcCommand::Status => false,
            ArchivedIpcCommand::IssueShow { .. } | ArchivedIpcCommand::IssueList { .. } => {
                let now = clock_gettime(CLOCK).tv_sec;
                if self.looked.load(Ordering::Relaxed) == now {
                    return false;
                }
                let is_lost = !self.engine.is_in_place();
                if !is_lost {
                    self.looked.store(now, Ordering::Relaxed);
                }
                is_lost
            }
            _ => !self.engine.is_in_place(),
        }
    }

    fn read_or_execute(
        &self,
        request: &ArchivedIpcCommand,
        responder: Responder<Grite>,
    ) -> Result<(), Error> {
        if exchange(request).is_some() {
            let replied = self.sync(request, responder);
            self.engine.write_back();
            return replied;
        }
        let mut key = KEY.take();
        key.clear();
        let replied = if write_key(request, &mut key) {
            self.look_up(&key, request, responder)
        } else {
            match self.response(request) {
                Some(response) => responder.reply(&response),
                None => Ok(()),
            }
        };
        if key.capacity() <= MAX_KEPT {
            KEY.set(key);
        }
        replied
    }

    /// Answers a read from the cache, and keeps the answer there if it was not in it.
    fn look_up(
        &self,
        key: &[u8],
        request: &ArchivedIpcCommand,
        responder: Responder<Grite>,
    ) -> Result<(), Error> {
        // First of all: an answer made later is at least as new as what this number stands for.
        let generation = self.engine.generation();
        let found = self.cache().find(generation, key);
        if let Some(answer) = found {
            return responder.reply_encoded(&answer);
        }
        let Some(response) = self.response(request) else { return Ok(()) };
        // What is too long to be archived ahead of its way is too long for any way.
        let Ok(answer) = Encoded::new(&response).map(Arc::new) else { return responder.reply(&response) };
        // A refusal may be of the moment: the store is busy, say.
        if !matches!(response, IpcResponse::Refused(_)) {
            self.cache().keep(generation, key, &answer);
        }
        responder.reply_encoded(&answer)
    }

    /// Answers a sync, and says how far it is where that is wished for.
    fn sync(&self, request: &ArchivedIpcCommand, mut responder: Responder<Grite>) -> Result<(), Error> {
        let Ok(command) = rkyv::deserialize::<IpcCommand, rancor::Error>(request) else { return Ok(()) };
        if !exchange(request).is_some_and(|exchange| exchange.progress) {
            return responder.reply(&self.engine.execute(&command));
        }
        // A part waits for its reader, and the sync must not: it holds what others wait for.
        let response = thread::scope(|scope| {
            let (sender, parts) = channel::<Progress>();
            let command = &command;
            let work = thread::Builder::new().spawn_scoped(scope, move || {
                self.engine.execute_in_parts(command, &mut |progress| drop(sender.send(progress)))
            });
            // Nobody is told how far it is where the system gives no thread.
            let Ok(work) = work else { return Ok(self.engine.execute(command)) };
            while let Ok(part) = parts.recv() {
                let latest = parts.try_iter().last().unwrap_or(part);
                // Whoever asked may be gone; the sync goes on.
                let _ = responder.send_part(&IpcResponse::Progress(latest));
            }
            work.join()
        });
        // A responder that is dropped answers that the handler failed.
        response.map_or(Ok(()), |response| responder.reply(&response))
    }

    /// What the engine answers. Every checked archive deserializes; one that did not would be answered
    /// by its responder, with an error.
    fn response(&self, request: &ArchivedIpcCommand) -> Option<IpcResponse> {
        let command = rkyv::deserialize::<IpcCommand, rancor::Error>(request).ok()?;
        Some(self.engine.execute(&command))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request may keep a thread waiting: all that runs git, and all that writes while somebody else does
/// (`is_written_to`), who may take long.
pub fn may_block(request: &ArchivedIpcCommand, is_written_to: impl Fn() -> bool) -> bool {
    match request {
        ArchivedIpcCommand::LockAcquire { .. }
        | ArchivedIpcCommand::LockRenew { .. }
        | ArchivedIpcCommand::LockRelease { .. }
        | ArchivedIpcCommand::LockStatus { .. }
        | ArchivedIpcCommand::Doctor { .. } => true,
        ArchivedIpcCommand::IssueCreate { .. }
        | ArchivedIpcCommand::IssueUpdate { .. }
        | ArchivedIpcCommand::IssueClose { .. }
        | ArchivedIpcCommand::IssueReopen { .. }
        | ArchivedIpcCommand::IssueComment { .. }
        | ArchivedIpcCommand::IssueClaim { .. }
        | ArchivedIpcCommand::IssueImport { .. } => is_written_to(),
        other => exchange(other).is_some(),
    }
}

/// How a request talks to other clones, if it is a sync.
fn exchange(request: &ArchivedIpcCommand) -> Option<&ArchivedExchange> {
    match request {
        ArchivedIpcCommand::Sync { exchange }
        | ArchivedIpcCommand::SyncPull { exchange }
        | ArchivedIpcCommand::SyncPush { exchange } => Some(exchange),
        _ => None,
    }
}

/// Writes what tells this read from all others into `key`; says whether it is a read to be kept.
///
/// Each part says how long it is before it comes, so no two reads have the same key. An export is
/// large and asked for once; it is not kept.
fn write_key(request: &ArchivedIpcCommand, key: &mut Vec<u8>) -> bool {
    match request {
        ArchivedIpcCommand::Status => key.push(b'?'),
        ArchivedIpcCommand::IssueShow { id } => {
            key.push(b's');
            write_text(id, key);
        }
        ArchivedIpcCommand::IssueList { filter, limit, cursor } => {
            let ArchivedIssueFilter { state, labels, assignee, text, ready } = filter;
            key.push(b'l');
            key.push(match state.as_ref() {
                None => 0,
                Some(ArchivedIssueState::Open) => 1,
                Some(ArchivedIssueState::Closed) => 2,
            });
            write_length(labels.len(), key);
            labels.iter().for_each(|label| write_text(label, key));
            for text in [assignee, text, cursor] {
                key.push(u8::from(text.is_some()));
                if let Some(text) = text.as_ref() {
                    write_text(text, key);
                }
            }
            key.push(u8::from(*ready));
            key.extend_from_slice(&limit.to_native().to_le_bytes());
        }
        _ => return false,
    }
    true
}

fn write_text(text: &str, key: &mut Vec<u8>) {
    write_length(text.len(), key);
    key.extend_from_slice(text.as_bytes());
}

fn write_length(length: usize, key: &mut Vec<u8>) {
    key.extend_from_slice(&(length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use libgrite_ipc::grite::{IssueFilter, IssueState};

    use super::*;

    fn key(command: &IpcCommand) -> Option<Vec<u8>> {
        let encoded = Encoded::new(command).unwrap();
        let request = rkyv::access::<ArchivedIpcCommand, rancor::Error>(encoded.as_bytes()).unwrap();
        let mut key = Vec::new();
        write_key(request, &mut key).then_some(key)
    }

    #[test]
    fn reads_that_differ_have_keys_that_differ() {
        let text = |text: &str| Some(text.to_owned());
        let list = |filter, limit, cursor| IpcCommand::IssueList { filter, limit, cursor };
        let any = IssueFilter::default();
        let with = |change: &dyn Fn(&mut IssueFilter)| {
            let mut filter = any.clone();
            change(&mut filter);
            list(filter, 5, None)
        };
        let commands = [
            IpcCommand::Status,
            IpcCommand::IssueShow { id: "a".to_owned() },
            IpcCommand::IssueShow { id: "b".to_owned() },
            IpcCommand::IssueShow { id: String::new() },
            list(any.clone(), 5, None),
            list(any.clone(), 6, None),
            list(any.clone(), 5, text("a")),
            with(&|filter| filter.state = Some(IssueState::Open)),
            with(&|filter| filter.state = Some(IssueState::Closed)),
            with(&|filter| filter.labels = vec!["a".to_owned()]),
            with(&|filter| filter.labels = vec!["a".to_owned(), "b".to_owned()]),
            with(&|filter| filter.labels = vec!["ab".to_owned()]),
            with(&|filter| filter.assignee = text("a")),
            with(&|filter| filter.ready = true),
            with(&|filter| filter.text = text("a")),
            with(&|filter| filter.text = text("")),
        ];
        let keys: HashSet<Vec<u8>> = commands.iter().map(|command| key(command).unwrap()).collect();
        assert_eq!(keys.len(), commands.len());
        assert_eq!(key(&commands[1].clone()), key(&commands[1]));
    }

    #[test]
    fn writes_and_exports_are_not_kept() {
        assert_eq!(key(&IpcCommand::IssueExport { limit: 1, cursor: None }), None);
        assert_eq!(key(&IpcCommand::IssueImport { issues: Vec::new() }), None);
        assert_eq!(key(&IpcCommand::Stop), None);
    }
}
