//! Starting a daemon: one starter at a time, and a daemon that says when it is ready or why not.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::send;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::directory::private_directory;
use super::file::{self, Holder};
use crate::error::{Error, ErrorKind};
use crate::fault;
use crate::stream::{NO_SIGNAL, Stream, forbid_signals};
use crate::wait::Deadline;

/// The name of the file whose lock starters hold.
const SPAWN_FILE: &str = "spawn.lock";

/// The line that a daemon says when it is ready. Other lines, which programs may write to their
/// standard output as they start, are kept only for the case that it never says so.
const READY: &str = "libgrite-ipc: ready";

/// How a line begins in which a daemon says why it does not start.
const FAILED: &str = "libgrite-ipc: failed: ";

/// How much of what a daemon says is kept, in bytes.
const MAX_SAID: usize = 4096;

/// How long the reason may be that a daemon gives, in bytes: with the line's beginning it must be kept whole.
const MAX_REASON: usize = 1024;

/// How long a daemon whose standard output has closed may take to end.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// What its starter says of one that did not.
const CLOSED: &str = "it closed its standard output without saying that it is ready, and was ended";

/// The right to start a daemon in a directory. Others look on until it is dropped.
#[derive(Debug)]
pub(crate) struct SpawnLock {
    file: File,
}

impl Drop for SpawnLock {
    fn drop(&mut self) {
        // Closing the file gives the lock back anyway, if somewhat later.
        let _ = file::unlock(&self.file);
    }
}

impl SpawnLock {
    /// Takes the lock, unless somebody else is starting a daemon just now.
    pub(crate) fn try_take(directory: &Path) -> Result<Option<Self>, Error> {
        private_directory(directory)?;
        fault::point("spawn.directory");
        let path = directory.join(SPAWN_FILE);
        let failed = |error: io::Error| Error::io("take the lock on starting a daemon", error).at(&path);
        let file = file::open(&path).map_err(failed)?;
        match file::try_lock(&file).map_err(failed)? {
            Holder::Nobody => {
                fault::point("spawn.locked");
                Ok(Some(SpawnLock { file }))
            }
            Holder::Another => Ok(None),
        }
    }

    /// Runs `command` and waits until the daemon is ready. One that is not in time is ended.
    ///
    /// The daemon's standard output is the pipe through which it says so; see [`Readiness`].
    pub(crate) fn start(&self, mut command: Command, deadline: &mut Deadline) -> Result<(), Error> {
        use std::os::unix::process::CommandExt;

        let failed = |error: io::Error| Error::io("start the daemon", error).at(command_path(&command));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let theirs = OwnedFd::from(theirs);
        // The daemon says its word there, when its starter may be gone.
        forbid_signals(&theirs);
        let name = Readiness::name(&theirs).map_err(failed)?;
        // A group of its own, so that an interrupt typed at the starter does not reach the daemon.
        command
            .stdin(Stdio::null())
            .stdout(theirs)
            .stderr(Stdio::null())
            .process_group(0)
            .env(Readiness::VARIABLE, name);
        let spawned = command.spawn();
        fault::point("spawn.started");
        let path = command_path(&command);
        // Where the system forbids that, too, it is the program that is at fault, and not the way to the daemon.
        let not_started = |error| Error::new(ErrorKind::Io, "start the daemon").at(&path).because(error);
        let mut child = spawned.map_err(not_started)?;
        // The command holds our copy of the daemon's end, which must close for its end to show.
        drop(command);
        let (kind, reason) = match listen(&Stream::from(OwnedFd::from(ours)), deadline.end()) {
            Ok(Word::Ready) => {
                reap_in_time(child);
                return Ok(());
            }
            Ok(Word::Failed(reason)) => (ErrorKind::NotRunning, reason),
            Ok(Word::Last(said)) if ends_soon(&child) => (ErrorKind::NotRunning, last_words(&said)),
            Ok(Word::Last(_)) => (ErrorKind::NotRunning, CLOSED.to_owned()),
            Ok(Word::None) => {
                let limit = deadline.limit().unwrap_or_default();
                let reason = format!("it was not ready within the spawn timeout of {limit:?}, and was ended");
                (ErrorKind::Unresponsive, reason)
            }
            Err(error) => {
                end(&mut child);
                return Err(Error::io("wait for the daemon to be ready", error).at(path));
            }
        };
        end(&mut child);
        Err(Error::new(kind, "start the daemon").at(path).saying(reason))
    }
}

/// What a daemon has said of itself.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Ready,
    Failed(String),
    /// Neither, and there is nothing to come behind this.
    Last(Vec<u8>),
    /// Nothing in time.
    None,
}

fn command_path(command: &Command) -> std::path::PathBuf {
    command.get_program().into()
}

/// Ends our own child, which has never been ready, with all that it has started in its group.
fn end(child: &mut Child) {
    // Not waited for yet, so the number is still our child's and its group's.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

/// Whether our own child, which says nothing more, has ended or is about to: what it has open closes a moment before
/// its end. Leaves its number to it.
fn ends_soon(child: &Child) -> bool {
    let Some(child) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return true };
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let until = Instant::now() + LAST_MOMENT;
    loop {
        match waitid(WaitId::Pid(child), ended) {
            Ok(None) | Err(Errno::INTR) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(None) | Err(Errno::INTR) => return false,
            // A program that ignores the ends of its children has none left to wait for.
            Ok(Some(_)) | Err(_) => return true,
        }
    }
}

/// Lets no zombie remain if the daemon ends before its starter does.
fn reap_in_time(mut child: Child) {
    // Without the thread a zombie remains until the starter ends, which harms nobody.
    let _ = std::thread::Builder::new().name("ipc-reaper".to_owned()).spawn(move || child.wait());
}

/// Listens until the daemon says that it is ready or why not, or ends, or time runs out.
fn listen(stream: &Stream, until: Instant) -> io::Result<Word> {
    let mut said = Vec::new();
    let mut buffer = [0; 512];
    loop {
        if let Some(word) = understand(&said) {
            return Ok(word);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(Word::Last(said)),
            Ok(read) => {
                said.extend_from_slice(&buffer[..read]);
                let excess = said.len().saturating_sub(MAX_SAID);
                said.drain(..excess);
                // Whoever writes without end never has this side wait.
                if Instant::now() >= until {
                    return Ok(understand(&said).unwrap_or(Word::None));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !stream.wait_readable(until)? {
                    return Ok(Word::None);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Word::Last(said)),
            Err(error) => return Err(error),
        }
    }
}

/// The word in what was said so far, if it is among it.
fn understand(said: &[u8]) -> Option<Word> {
    let whole = &said[..said.iter().rposition(|&byte| byte == b'\n')?];
    whole.split(|&byte| byte == b'\n').find_map(|line| {
        let line = String::from_utf8_lossy(line);
        match line.strip_prefix(FAILED) {
            Some(reason) => Some(Word::Failed(reason.to_owned())),
            None => (line == READY).then_some(Word::Ready),
        }
    })
}

/// What a daemon that ended said last.
fn last_words(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.map_or_else(
        || "it ended without a word".to_owned(),
        |line| format!("it ended; its last words: {line}"),
    )
}

/// A daemon's word to whoever started it: ready, or why not.
///
/// The starter gives the daemon a socket as its standard output, and says which one in its environment:
/// `LIBGRITE_IPC_READINESS` is its device and inode, `9:4711` say. A program that the daemon starts, which inherits the
/// variable, has another standard output.
/// Other lines on standard output disturb nobody. A daemon calls
/// [`ready`](Readiness::ready) once it can be reached, or [`failed`](Readiness::failed) with the
/// reason, which its starter then reports. Started by hand, with another standard output, both do
/// nothing.
///
/// ```no_run
/// use libgrite_ipc::{DaemonLock, Error, Grite, Readiness, Server};
///
/// let (lock, server) = listen("/run/user/1000/grite").inspect_err(|error| {
///     Readiness::of_this_process().failed(&error.to_string());
/// })?;
/// Readiness::of_this_process().ready();
/// // server.serve(…)
///
/// fn listen(directory: &str) -> Result<(DaemonLock, Server<Grite>), Error> {
///     let lock = DaemonLock::acquire(directory)?;
///     let server = Server::bind(lock.socket_path())?;
///     Ok((lock, server))
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Readiness {
    starter: Option<OwnedFd>,
}

impl Readiness {
    /// The environment variable by which a daemon knows that its starter listens.
    pub(crate) const VARIABLE: &str = "LIBGRITE_IPC_READINESS";

    /// Whether this process's starter listens on our standard output.
    pub fn is_awaited() -> bool {
        std::env::var_os(Self::VARIABLE).is_some_and(|value| {
            Self::name(io::stdout()).is_ok_and(|name| value.as_os_str() == name.as_str())
        })
    }

    /// Which file that is, as the variable says it.
    fn name(file: impl AsFd) -> io::Result<String> {
        let stat = rustix::fs::fstat(file)?;
        Ok(format!("{}:{}", stat.st_dev, stat.st_ino))
    }

    /// The way to this process's starter, if one listens on our standard output.
    pub fn of_this_process() -> Self {
        let starter = Self::is_awaited().then(|| own_stdout().ok()).flatten();
        Readiness { starter }
    }

    /// Says that clients can connect, and closes the way: nothing else may be written there.
    pub fn ready(self) {
        self.say(&format!("{READY}\n"));
    }

    /// Says why the daemon does not start, in 1 KiB: what is longer is cut off. Its starter kills it then, with all
    /// of its process group: what is to be cleaned up or logged comes before.
    pub fn failed(self, reason: &str) {
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
        self.say(&format!("{FAILED}{}\n", reason.replace(['\r', '\n'], " ")));
    }

    fn say(self, words: &str) {
        let Some(starter) = self.starter else { return };
        fault::point("ready.saying");
        // A starter that has given up listens no more; the daemon goes its way, whatever it does at SIGPIPE.
        let _ = retry_on_intr(|| send(&starter, words.as_bytes(), NO_SIGNAL));
        fault::point("ready.said");
        close_own_stdout();
    }
}

/// A copy of standard output that is closed on exec.
fn own_stdout() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}

/// Puts the null device in the place of standard output.
fn close_own_stdout() {
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(null);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn start(script: &str, patience: Duration) -> Result<(), Error> {
        let folder = tempfile::tempdir().unwrap();
        let lock = SpawnLock::try_take(&folder.path().join("run")).unwrap().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        lock.start(command, &mut Deadline::starting_now(patience))
    }

    #[test]
    fn a_daemon_that_says_so_is_ready() {
        let script = "echo a banner; echo; echo libgrite-ipc: ready; exec sleep 0.2";
        start(script, Duration::from_secs(20)).unwrap();
    }

    #[test]
    fn a_daemon_that_fails_is_reported_with_its_own_words() {
        for (script, reason) in [
            ("echo a banner; echo libgrite-ipc: failed: the disk is full; exec sleep 60", "the disk is full"),
            ("echo panicked; exit 1", "it ended; its last words: panicked"),
            ("exit 1", "it ended without a word"),
            ("echo a banner; exec sleep 60 > /dev/null", CLOSED),
        ] {
            let error = start(script, Duration::from_secs(20)).unwrap_err();
            assert_eq!((error.kind(), error.reason()), (ErrorKind::NotRunning, Some(reason)));
        }
    }

    #[test]
    fn a_daemon_that_is_never_ready_is_ended() {
        let error = start("exec sleep 60", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unresponsive);
        let reason = "it was not ready within the spawn timeout of 50ms, and was ended";
        assert_eq!(error.reason(), Some(reason));
    }

    #[test]
    fn a_program_that_cannot_be_started_is_named_with_its_cause() {
        let folder = tempfile::tempdir().unwrap();
        let lock = SpawnLock::try_take(&folder.path().join("run")).unwrap().unwrap();
        let not_executable = folder.path().join("text");
        std::fs::write(&not_executable, "no program").unwrap();
        for (program, cause) in [
            (Path::new("/nowhere/at/all"), io::ErrorKind::NotFound),
            (&not_executable, io::ErrorKind::PermissionDenied),
        ] {
            let mut now = Deadline::starting_now(Duration::ZERO);
            let error = lock.start(Command::new(program), &mut now).unwrap_err();
            assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(program)), "{error}");
            let source =
                std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
            assert_eq!(source.map(io::Error::kind), Some(cause), "{error}");
        }
    }

    #[test]
    fn a_starter_listens_on_no_other_standard_output_than_its_own() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let name = Readiness::name(&theirs).unwrap();
        assert_eq!(Readiness::name(theirs.try_clone().unwrap()).unwrap(), name);
        assert_ne!(Readiness::name(ours).unwrap(), name);
    }

    #[test]
    fn one_starter_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("run");
        let first = SpawnLock::try_take(&directory).unwrap();
        assert!(first.is_some());
        assert!(SpawnLock::try_take(&directory).unwrap().is_none());
        drop(first);
        assert!(SpawnLock::try_take(&directory).unwrap().is_some());
    }
}
