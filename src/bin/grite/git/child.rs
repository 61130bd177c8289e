//! A child process with a deadline, written to and read from at once: [`run`].
//!
//! It is the first of a process group of its own, so that at the deadline its own children, such as ssh,
//! end with it: asked first, so that git can take its lock files away, and killed if that is not enough. What has left
//! the group lives on, and keeps nobody.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::Finished;
use super::pipe::Pipe;
use super::running::{self, GRACE};

/// How much of what a child says is kept, in bytes.
const SAID: usize = 16 << 10;

/// How long to wait before looking again whether a child that closed its output has ended.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// Why a run has no end to tell of.
pub enum Failure {
    /// It did not start.
    Start(io::Error),
    /// The deadline passed.
    Late,
    /// What it printed could not be read.
    Read(io::Error),
}

/// Runs `command` until `end` at most.
pub fn run<T>(
    command: &mut Command,
    end: Instant,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
    read: impl FnOnce(&mut dyn BufRead) -> io::Result<T>,
) -> Result<(T, Finished), Failure> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut child, running) = running::start(command).map_err(Failure::Start)?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Failure::Start(io::ErrorKind::BrokenPipe.into()));
    };
    let group = running.group();
    // By then it was killed.
    let silence = end + GRACE;
    let mut stdin = Pipe::new(stdin, group, silence).map_err(Failure::Start)?;
    let mut stderr = Pipe::new(stderr, group, silence).map_err(Failure::Start)?;
    let stdout = Pipe::new(stdout, group, silence).map_err(Failure::Start)?;
    let late = AtomicBool::new(false);
    let ran = thread::scope(|scope| {
        let (done, watched) = channel::<()>();
        let late = &late;
        start(scope, group, move || watch(&watched, end, group, late))?;
        // A child that ends early does not read on, and says why itself.
        start(scope, group, move || feed(&mut stdin).and_then(|()| stdin.flush()))?;
        let said = start(scope, group, move || last_words(&mut stderr))?;
        let mut stdout = BufReader::with_capacity(64 << 10, stdout);
        let result = read(&mut stdout);
        if result.is_err() {
            // Nobody reads on, and a child that writes on would wait for that.
            let _ = kill_process_group(group, Signal::KILL);
        }
        drop(stdout);
        let said = said.join().unwrap_or_default();
        drop(done);
        Ok((result, said))
    });
    drop(running);
    let ended = wait(&mut child, end);
    let (result, said) = ran.map_err(Failure::Start)?;
    if late.load(Ordering::Relaxed) {
        return Err(Failure::Late);
    }
    match (result, ended) {
        (Ok(value), Ok(Some(status))) => Ok((value, Finished { status, said })),
        (Ok(_), Ok(None)) => Err(Failure::Late),
        (Err(error), _) | (_, Err(error)) => Err(Failure::Read(error)),
    }
}

/// Starts a thread that the child cannot do without: where there is none, its group ends.
fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    group: Pid,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    let started = thread::Builder::new().spawn_scoped(scope, work);
    if started.is_err() {
        let _ = kill_process_group(group, Signal::KILL);
    }
    started
}

/// Ends the group at the deadline, unless `done` comes first.
fn watch(done: &Receiver<()>, end: Instant, group: Pid, late: &AtomicBool) {
    let left = end.saturating_duration_since(Instant::now());
    if done.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
        return;
    }
    late.store(true, Ordering::Relaxed);
    // The child is not waited for before this thread has ended, so the number is still its own.
    let _ = kill_process_group(group, Signal::TERM);
    let _ = done.recv_timeout(GRACE);
    // The first of it may have ended without the others.
    let _ = kill_process_group(group, Signal::KILL);
}

/// Waits for a child that has closed its output, and kills it if it stays nevertheless.
fn wait(child: &mut Child, end: Instant) -> io::Result<Option<std::process::ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > end + GRACE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// The end of what a stream holds.
fn last_words(stream: &mut impl Read) -> String {
    let mut kept = Vec::new();
    let mut part = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut part) {
        kept.extend_from_slice(&part[..length]);
        if kept.len() > 2 * SAID {
            kept.drain(..kept.len() - SAID);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn text(stdout: &mut dyn BufRead) -> io::Result<String> {
        let mut text = String::new();
        stdout.read_to_string(&mut text)?;
        Ok(text)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn a_child_is_fed_and_read_at_once() {
        let input = vec![b'x'; 1 << 20];
        let fed = run(&mut shell("cat; echo said >&2"), soon(), |stdin| stdin.write_all(&input), text);
        let Ok((printed, finished)) = fed else { panic!("it ran") };
        assert_eq!((printed.len(), finished.said.as_str()), (1 << 20, "said\n"));
        assert!(finished.status.success());
    }

    #[test]
    fn a_child_that_does_not_read_or_fails_is_told_by_its_status() {
        let input = vec![b'x'; 1 << 20];
        let Ok((_, finished)) = run(&mut shell("exit 3"), soon(), |stdin| stdin.write_all(&input), text)
        else {
            panic!("it ran")
        };
        assert_eq!(finished.status.code(), Some(3));
    }

    #[test]
    fn at_the_deadline_a_child_ends_with_its_children() {
        let end = Instant::now() + Duration::from_millis(50);
        // The grandchild holds the output open.
        let late = run(&mut shell("sleep 600 & sleep 600"), end, |_| Ok(()), text);
        assert!(matches!(late, Err(Failure::Late)));
    }

    /// Runs `script`, in which `$left` starts a process that is in no group of ours and holds all that it is given.
    fn leaving(script: &str, end: Instant, input: &[u8]) -> Result<(String, Finished), Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let left = format!("exec 3<&0; left() {{ setsid sleep 20 & echo $! > {}; }};", file.path().display());
        let start = Instant::now();
        let ended = run(&mut shell(&format!("{left} {script}")), end, |stdin| stdin.write_all(input), text);
        let pid = std::fs::read_to_string(file.path()).unwrap().trim().parse().unwrap();
        let _ = rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        assert!(start.elapsed() < Duration::from_secs(10), "{script}");
        ended
    }

    #[test]
    fn a_process_that_has_left_the_group_keeps_nobody_beyond_the_deadline() {
        let end = Instant::now() + Duration::from_secs(1);
        assert!(matches!(leaving("left; sleep 20", end, b""), Err(Failure::Late)));
    }

    #[test]
    fn a_process_that_a_child_leaves_behind_keeps_nobody() {
        // It does not read what the child has not read, either.
        let input = vec![b'x'; 1 << 20];
        let Ok((printed, finished)) = leaving("left; echo said; exit 3", soon(), &input) else {
            panic!("it ran")
        };
        assert_eq!((printed.as_str(), finished.status.code()), ("said\n", Some(3)));
    }

    #[test]
    fn what_is_not_read_to_its_end_keeps_nobody() {
        let endless =
            run(&mut shell("yes"), soon(), |_| Ok(()), |_| Err::<(), _>(io::ErrorKind::InvalidData.into()));
        assert!(matches!(endless, Err(Failure::Read(_))));
    }
}
