//! Starting a daemon: one of all who would, a daemon that does not come up, and one that does not answer.
//!
//! The parts are played by this test program itself, started again with a role.
#![cfg(not(loom))]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::daemon::{answered_by, be_the_daemon, end_daemon, start_daemon, visit};
use common::process::{PATIENCE, Process, role as own_role, role_command, signal, stop, until};
use common::{ArchivedOrder, Order, Work, stop_after, work};
use libgrite_ipc::{
    Client, ClientBuilder, Context, DaemonLock, Error, ErrorKind, Readiness, Server, Transport,
};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};

/// The parts that this program plays when a test starts it again.
#[test]
fn role() {
    let Some((role, folder)) = own_role() else { return };
    match role.as_str() {
        "daemon" => be_the_daemon(&folder),
        "holder of the lock" => {
            let _lock = DaemonLock::acquire(&folder).unwrap();
            println!("holds it");
            std::thread::sleep(PATIENCE);
        }
        "slow daemon" => be_a_slow_daemon(&folder),
        "daemon with much to say" => Readiness::of_this_process().failed(&"ü".repeat(4000)),
        "visitor" => visit(&folder),
        other => panic!("no such role: {other}"),
    }
}

/// Is a daemon that has much to do between its lock and its socket.
fn be_a_slow_daemon(folder: &Path) {
    let lock = DaemonLock::acquire(folder).unwrap();
    println!("holds it");
    std::thread::sleep(DEADLINE);
    let server = Server::<Work>::builder().idle_timeout(PATIENCE).bind(lock.socket_path()).unwrap();
    server.serve(work).unwrap();
}

/// Fault 47, for any daemon: twelve visitors find none, one of them starts it, and it answers all.
#[test]
fn many_visitors_without_a_daemon_start_exactly_one() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let mut visitors: Vec<Process> = (0..12).map(|_| Process::start("visitor", &folder)).collect();
    let answers: Vec<String> = visitors
        .iter_mut()
        .map(|visitor| visitor.line("answered by ").expect("every visitor is answered"))
        .collect();
    end_daemon(&folder);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

/// How long a visitor waits here for a daemon that does not come; what it says before is said by then.
const DEADLINE: Duration = Duration::from_secs(1);

/// The command of a daemon that is this script.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Tries to start a daemon that is this script, until a deadline; what came of it, and when.
fn start(folder: &Path, script: &str, deadline: Duration) -> (Error, Duration) {
    let script = script.to_owned();
    let begin = Instant::now();
    let builder = Client::<Work>::builder().spawn_timeout(deadline);
    (builder.connect_or_spawn(folder, move || shell(&script)).unwrap_err(), begin.elapsed())
}

/// Whether a process has ended; whoever inherited it may not have looked yet.
fn is_gone(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    test_kill_process(process).is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
}

/// Fault 58. A daemon says why it does not start, or prints something and ends, or ends without a word:
/// whoever started it is told that, well before its deadline. One that is never ready is ended at the
/// deadline, with what it has started itself: no orphan is left.
#[test]
fn a_daemon_that_does_not_come_up_is_reported_in_its_own_words_and_leaves_no_orphan() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    for (script, reason) in [
        ("echo libgrite-ipc: failed: the disk is full; exec sleep 60", "the disk is full"),
        ("echo out of paper; exit 1", "it ended; its last words: out of paper"),
        ("exit 1", "it ended without a word"),
        ("kill -9 $$", "it ended without a word"),
        (
            "exec sleep 60 > /dev/null",
            "it closed its standard output without saying that it is ready, and was ended",
        ),
    ] {
        let (error, _) = start(&folder, script, PATIENCE);
        assert_eq!((error.kind(), error.reason()), (ErrorKind::NotRunning, Some(reason)), "{script}");
    }

    let processes = home.path().join("processes");
    let script = format!("sleep 60 & echo $$ $! > {}; wait", processes.display());
    let (error, elapsed) = start(&folder, &script, DEADLINE);
    assert_eq!(error.kind(), ErrorKind::Unresponsive, "{error}");
    assert!(elapsed >= DEADLINE && elapsed < PATIENCE, "{elapsed:?}");
    for process in std::fs::read_to_string(processes).unwrap().split_whitespace() {
        let process = Pid::from_raw(process.parse().unwrap()).unwrap();
        until("the daemon and its child are gone", || is_gone(process));
    }
    answered_by(&folder);
    end_daemon(&folder);
}

/// A reason that is longer than anybody wants to read is told in part, from its beginning.
#[test]
fn a_daemon_that_gives_a_long_reason_is_reported_with_the_beginning_of_it() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let command = {
        let folder = folder.clone();
        move || role_command("daemon with much to say", &folder)
    };
    let error = Client::<Work>::builder().connect_or_spawn(&folder, command).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotRunning, Some(&*"ü".repeat(512))));
}

/// One that is gone before anybody has asked it may have been killed. A second one shows what is the matter, and no
/// third is started.
#[test]
fn a_daemon_that_ends_as_soon_as_it_is_ready_is_started_twice() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let command = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        shell("echo libgrite-ipc: ready")
    };
    let builder = Client::<Work>::builder().spawn_timeout(PATIENCE);
    let error = builder.connect_or_spawn(&folder, command).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::NotRunning, Some(&*folder)), "{error}");
    assert_eq!(error.reason(), Some("it has said twice that it is ready, and ended each time"));
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

/// Fault 58. A program that writes to its standard output without end, and never says that it is ready, is ended at
/// the deadline like one that says nothing.
#[test]
fn a_daemon_that_writes_without_end_is_ended_at_the_deadline() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    // Of several writers one always runs: the starter never finds nothing to read.
    let many = "cat /dev/zero & cat /dev/zero & cat /dev/zero & cat /dev/zero & exec cat /dev/zero";
    for program in ["exec yes", "exec cat /dev/zero", many] {
        let process = home.path().join("process");
        let script = format!("echo $$ > {}; {program}", process.display());
        let (told, is_told) = std::sync::mpsc::channel();
        let starting = folder.clone();
        std::thread::spawn(move || told.send(start(&starting, &script, DEADLINE)));
        let told = is_told.recv_timeout(PATIENCE / 2);
        let process =
            Pid::from_raw(std::fs::read_to_string(process).unwrap().trim().parse().unwrap()).unwrap();
        // Nobody else does where the starter waits for ever.
        told.is_err().then(|| kill_process_group(process, Signal::KILL));
        let (error, elapsed) = told.unwrap_or_else(|_| panic!("{program}: the starter is not told"));
        assert_eq!(error.kind(), ErrorKind::Unresponsive, "{program}: {error}");
        assert!(elapsed >= DEADLINE, "{program}: {elapsed:?}");
        until("the daemon is gone", || is_gone(process));
    }
}

/// A starter has died and left a daemon behind that holds the lock and does not listen yet. The daemon of the
/// next starter comes second and ends; the starter has nothing to complain of, and waits for the first.
#[test]
fn a_starter_whose_daemon_comes_second_is_answered_by_the_first() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let first = Arc::new(Mutex::new(None));
    let command = {
        let (folder, first) = (folder.clone(), Arc::clone(&first));
        move || {
            // Just now nobody held the lock.
            let mut slow = Process::start("slow daemon", &folder);
            slow.line("holds it").unwrap();
            *first.lock().unwrap() = Some(slow);
            role_command("daemon", &folder)
        }
    };
    let mut client = Client::<Work>::builder().connect_or_spawn(&folder, command).unwrap();
    client.send(&Order::Session).unwrap();
    let first = first.lock().unwrap().take().expect("it was started");
    assert_eq!(DaemonLock::read(&folder).unwrap().unwrap().pid(), Some(first.id()));
}

/// The daemon that a client has started is gone, and the next one cannot start: the client is told why at once, and
/// tries it once.
#[test]
fn a_retry_starts_a_daemon_that_does_not_come_up_once_and_is_told_why() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let count = Arc::new(AtomicUsize::new(0));
    let command = {
        let (folder, count) = (folder.clone(), Arc::clone(&count));
        move || {
            if count.fetch_add(1, Ordering::Relaxed) == 0 {
                return role_command("daemon", &folder);
            }
            shell("echo libgrite-ipc: failed: out of paper; exit 1")
        }
    };
    let mut client = Client::<Work>::builder().timeout(PATIENCE).connect_or_spawn(&folder, command).unwrap();
    end_daemon(&folder);
    let begin = Instant::now();
    let error = client.send_with_retry(&Order::Session).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotRunning, Some("out of paper")));
    assert_eq!(count.load(Ordering::Relaxed), 2, "one has started, and one has failed to");
    assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
}

#[cfg(feature = "tokio")]
#[test]
fn an_async_client_starts_the_daemon_that_answers_it() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    common::runtimes::one_thread().block_on(async {
        let command = {
            let folder = folder.clone();
            move || role_command("daemon", &folder)
        };
        let client = Client::<Work>::builder().connect_or_spawn_async(&folder, command).await.unwrap();
        assert!(client.send(&Order::Make(10)).await.unwrap().bytes == common::pattern(10)[..]);
    });
    end_daemon(&folder);
}

/// It is called on another thread; its panic is for whoever has called, as without async.
#[cfg(feature = "tokio")]
#[test]
#[should_panic(expected = "no such program")]
fn a_panic_of_what_names_the_program_reaches_who_connects() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let builder = Client::<Work>::builder();
    let connecting = builder.connect_or_spawn_async(&folder, || panic!("no such program"));
    drop(common::runtimes::one_thread().block_on(connecting));
}

/// A visitor that counts how often it is to start a daemon.
fn counted(builder: ClientBuilder<Work>, folder: &Path) -> (Result<Client<Work>, Error>, usize) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let reached = builder.connect_or_spawn(folder, move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Command::new("false")
    });
    (reached, count.load(Ordering::Relaxed))
}

/// Fault 59. The daemon is stopped in the middle of its life, or by a debugger before it listens. Whoever
/// asks for it is told at the deadline that it does not answer, and starts no other. When it goes on, it
/// serves as before.
#[test]
fn a_stopped_daemon_is_unresponsive_at_the_deadline_and_no_other_is_started() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let builder = || {
        let builder = Client::<Work>::builder().transport(Transport::Socket).timeout(DEADLINE);
        builder.handshake_timeout(DEADLINE).spawn_timeout(DEADLINE)
    };
    let told = |error: Error, started: usize, begin: Instant| {
        assert_eq!(error.kind(), ErrorKind::Unresponsive, "{error}");
        assert_eq!(started, 0);
        let elapsed = begin.elapsed();
        assert!(elapsed >= DEADLINE && elapsed < PATIENCE, "{elapsed:?}");
    };

    let daemon = start_daemon(&folder);
    stop(daemon.id());
    for transport in [Transport::Auto, Transport::Socket] {
        let begin = Instant::now();
        let (reached, started) = counted(builder().transport(transport), &folder);
        told(reached.unwrap_err(), started, begin);
    }
    let begin = Instant::now();
    let asked = builder().ask_or_spawn(&folder, || unreachable!("a daemon lives"), &Order::Session);
    told(asked.unwrap_err(), 0, begin);
    assert_eq!(DaemonLock::read(&folder).unwrap().unwrap().pid(), Some(daemon.id()));
    signal(daemon.id(), Signal::CONT);
    assert_eq!(answered_by(&folder), daemon.id());
    drop(daemon);

    let mut holder = Process::start("holder of the lock", &folder);
    holder.line("holds it").unwrap();
    stop(holder.id());
    let begin = Instant::now();
    let (reached, started) = counted(builder(), &folder);
    told(reached.unwrap_err(), started, begin);
}

/// All its threads have work until the deadline, and it says so to whoever asks.
#[test]
fn whoever_finds_a_daemon_too_busy_is_told_so_at_the_deadline_and_may_ask_again() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("run");
    let lock = DaemonLock::acquire(&folder).unwrap();
    let builder = Server::<Work>::builder().may_block(|_| true).max_workers(1).max_waiting(1);
    let server = builder.bind(lock.socket_path()).unwrap();
    let kept = Mutex::new(());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let work_later = |order: &ArchivedOrder, cx: &Context| {
                drop(kept.lock().unwrap());
                work(order, cx)
            };
            server.serve(work_later).unwrap();
        });
        stop_after(&server.handle(), || {
            let keep = kept.lock().unwrap();
            let other = Client::<Work>::builder().timeout(PATIENCE).connect(server.path()).unwrap();
            let [first, second, third] = [1, 2, 3].map(|_| other.start(&Order::Session).unwrap());
            let refused = third.wait().map(drop).unwrap_err();
            let builder = Client::<Work>::builder().spawn_timeout(DEADLINE);
            let ask = || builder.ask_or_spawn(&folder, || unreachable!("a daemon lives"), &Order::Session);
            let error = ask().map(drop).unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Refused, true), "{error}");
            assert_eq!(error.reason(), refused.reason());
            drop(keep);
            [first, second].into_iter().for_each(|answer| drop(answer.wait().unwrap()));
            ask().unwrap();
        });
    });
}
