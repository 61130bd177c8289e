//! Processes that do not die but stand still, and such as are interrupted all the time: the other side keeps
//! its deadlines, and everything goes on when they do.
//!
//! The parts are played by this test program itself, started again with a role.
#![cfg(all(not(loom), target_os = "linux", not(grite_portable)))]
#![allow(unsafe_code, reason = "a handler for a signal, and signals to threads")]

mod common;
mod held;
mod rounds;

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::process::{Daemon, PATIENCE, Process, role as own_role, role_command, signal, stop, until};
use common::{ArchivedOrder, Done, Order, Way, Work, builder_for, pattern, work};
use held::{cpu, is_stopped, resident, threads};
use libgrite_ipc::{Client, ErrorKind, Readiness, Responder, Server, Transport};
use nix::libc;
use rounds::{is_at_the_deadline, whole};
use rustix::process::{Signal, getpid, kill_process};

const WAYS: [Way; 2] = [Way::Ring, Way::Socket];

/// The parts that this program plays when a test starts it again.
#[test]
fn role() {
    let Some((role, folder)) = own_role() else { return };
    let path = folder.join("work.sock");
    match role.as_str() {
        "daemon" => serve(&path),
        "daemon that streams" => stream(&path),
        "daemon that hears signals" => {
            hear_signals();
            serve(&path);
        }
        "daemon whose starter goes" => outlive_the_starter(),
        "client that stops over rings" => ask_and_stop(&path, Way::Ring),
        "client that stops over the socket" => ask_and_stop(&path, Way::Socket),
        other => panic!("no such role: {other}"),
    }
}

fn serve(path: &Path) {
    let server = Server::<Work>::bind(path).unwrap();
    println!("ready");
    server.serve(work).unwrap();
}

/// Sends parts for as long as somebody wants them.
fn stream(path: &Path) {
    let server = Server::<Work>::builder().may_block(|_| true).bind(path).unwrap();
    println!("ready");
    let handler = |_: &ArchivedOrder, mut responder: Responder<Work>| {
        let part = Done { bytes: pattern(5000), session: 0 };
        while responder.send_part(&part).is_ok() {}
    };
    server.serve_with(handler).unwrap();
}

/// The parts wait for space, and so does the thread that sends them, for as long as its client likes.
#[test]
fn a_stream_that_nobody_reads_costs_its_daemon_next_to_nothing() {
    let time = Duration::from_secs(1);
    for way in WAYS {
        let daemon = Daemon::start("daemon that streams");
        let mut client = daemon.client(way);
        let mut parts = client.stream(&Order::Session).unwrap();
        parts.next().unwrap().unwrap();
        std::thread::sleep(time / 10);
        let before = cpu(daemon.id());
        std::thread::sleep(time);
        let used = cpu(daemon.id()) - before;
        println!("{way:?}: {used:?} of CPU time in {time:?}");
        assert!(used < time / 50, "{way:?}: {used:?} of CPU time in {time:?}");
    }
}

/// Says that it is ready when its starter is gone, in a program that a closed pipe ends.
fn outlive_the_starter() {
    // SAFETY: it is what a process has that says nothing of this signal.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    println!("waits");
    assert_eq!(std::io::stdin().read(&mut [0]).unwrap(), 0);
    Readiness::of_this_process().ready();
}

#[test]
fn a_daemon_that_is_ready_when_its_starter_is_gone_lives_on() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stat = rustix::fs::fstat(&theirs).unwrap();
    let mut command = role_command("daemon whose starter goes", folder.path());
    command.env("LIBGRITE_IPC_READINESS", format!("{}:{}", stat.st_dev, stat.st_ino));
    command.stdin(Stdio::piped()).stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
    let mut daemon = command.spawn().unwrap();
    let mut said = BufReader::new(ours).lines().map(Result::unwrap);
    said.find(|line| line == "waits").expect("it has begun");
    drop((said, daemon.stdin.take()));
    let status = daemon.wait().unwrap();
    assert!(status.success(), "{status}");
}

/// A request waits for space, and its daemon stands still. While no answer is owed, its thread sleeps: it looks now
/// and then whether the daemon lives, and no more often.
#[test]
fn who_waits_for_space_and_is_owed_nothing_sleeps() {
    let patience = Duration::from_millis(500);
    for way in WAYS {
        let daemon = Daemon::start("daemon");
        let mut client = builder_for(way).timeout(patience).connect(daemon.path()).unwrap();
        client.send(&Order::Session).unwrap();
        stop(daemon.id());
        let before = sleeps();
        let error = client.send(&Order::Echo(pattern(1 << 20))).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}: {error}");
        let slept = sleeps() - before;
        assert!(slept < 1000, "{way:?}: {slept} sleeps in {patience:?}");
    }
}

/// Who never waits, but looks whether the answer has come, has an end to look forward to as well.
#[test]
fn an_answer_whose_time_is_up_is_ready_to_say_so() {
    for way in WAYS {
        let daemon = Daemon::start("daemon");
        let client = builder_for(way).timeout(Duration::from_millis(300)).connect(daemon.path()).unwrap();
        client.start(&Order::Session).unwrap().wait().unwrap();
        stop(daemon.id());
        let answer = client.start(&Order::Session).unwrap();
        until("its time is up", || answer.is_ready().unwrap());
        assert_eq!(answer.wait().map(drop).unwrap_err().kind(), ErrorKind::Timeout, "{way:?}");
    }
}

/// How often this thread has slept.
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    sleeps.expect("the kernel tells").trim().parse().unwrap()
}

/// How many answers the client asks for that is stopped before it reads any, and how long each of them is.
const ANSWERS: u32 = 100;
const LENGTH: u32 = 30_000;

/// Asks for much more than its ring holds, stops itself, and reads on when somebody continues it.
fn ask_and_stop(path: &Path, way: Way) {
    let client = builder_for(way).reply_ring(4096).timeout(PATIENCE).connect(path).unwrap();
    let orders: Vec<_> = (0..ANSWERS).map(|number| Order::Make(LENGTH + number)).collect();
    let pending = client.start_all(&orders).unwrap();
    println!("asked");
    kill_process(getpid(), Signal::STOP).unwrap();
    for (number, answer) in (0..).zip(pending) {
        assert!(answer.wait().unwrap().bytes == pattern((LENGTH + number) as usize)[..], "answer {number}");
    }
    println!("answered");
}

/// The deadline of requests to a daemon that stands still, and for how long it does.
fn times() -> (Duration, Duration) {
    if whole().is_some() {
        (Duration::from_secs(1), Duration::from_secs(3))
    } else {
        (Duration::from_millis(300), Duration::from_millis(500))
    }
}

/// Fault 38. A request to a daemon that stands still ends at its deadline, whether the daemon has taken it
/// before or not. When the daemon goes on, so does the connection: the late answer is nobody's.
#[test]
fn a_daemon_that_stands_still_keeps_nobody_longer_than_the_deadline() {
    let (deadline, still) = times();
    let millis = deadline.as_millis() as u64 / 3;
    for way in WAYS {
        let daemon = Daemon::start("daemon");
        let mut client = builder_for(way).timeout(deadline).connect(daemon.path()).unwrap();
        // One that the daemon has begun to answer when it is stopped, and one that it has not.
        for taken in [true, false] {
            let order = Order::MakeLate((5000, millis));
            let mut ask = || {
                while client.send(&Order::Make(9)).is_err() {}
                let start = Instant::now();
                let answer = std::thread::scope(|scope| {
                    if taken {
                        let asked = scope.spawn(|| client.send(&order).map(drop));
                        std::thread::sleep(Duration::from_millis(millis / 2));
                        stop(daemon.id());
                        asked.join().unwrap()
                    } else {
                        stop(daemon.id());
                        client.send(&order).map(drop)
                    }
                });
                (start, answer)
            };
            let (start, error) = loop {
                match ask() {
                    (start, Err(error)) => break (start, error),
                    // The machine has kept this process for so long that the answer was there first.
                    (start, Ok(())) => {
                        assert!(
                            taken && start.elapsed() >= Duration::from_millis(millis),
                            "{way:?}, {taken}"
                        );
                        signal(daemon.id(), Signal::CONT);
                    }
                }
            };
            assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}, {taken}: {error}");
            assert!(is_at_the_deadline(start.elapsed(), deadline), "{way:?}, {taken}");
            std::thread::sleep(still.saturating_sub(start.elapsed()));
            signal(daemon.id(), Signal::CONT);
            answers_again(&mut client, 700);
        }
    }
}

/// That the answer to a request is its own, as soon as the daemon is there again.
fn answers_again(client: &mut Client<Work>, length: u32) {
    let end = Instant::now() + PATIENCE;
    loop {
        match client.send(&Order::Make(length)) {
            Ok(done) => return assert!(done.bytes == pattern(length as usize)[..]),
            // A machine may be slower than this deadline.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error}"),
        }
        assert!(Instant::now() < end, "it never answers again");
    }
}

/// Fault 38. Who connects to a daemon that stands still is told so when the time for the handshake is up.
#[test]
fn who_connects_to_a_daemon_that_stands_still_is_told_so() {
    let (deadline, _) = times();
    let daemon = Daemon::start("daemon");
    stop(daemon.id());
    for way in WAYS {
        let start = Instant::now();
        let error = builder_for(way).handshake_timeout(deadline).connect(daemon.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unresponsive, "{way:?}: {error}");
        assert!(is_at_the_deadline(start.elapsed(), deadline), "{way:?}");
    }
    let start = Instant::now();
    let builder = Client::<Work>::builder().timeout(deadline).handshake_timeout(deadline);
    let error = builder.ask(daemon.path(), &Order::Session).map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unresponsive | ErrorKind::Timeout), "{error}");
    assert!(is_at_the_deadline(start.elapsed(), deadline));
    signal(daemon.id(), Signal::CONT);
    answers_again(&mut builder_for(Way::Socket).connect(daemon.path()).unwrap(), 10);
}

/// Fault 38. The same for async clients, of which several requests wait at once.
#[cfg(feature = "tokio")]
#[test]
fn a_daemon_that_stands_still_keeps_no_task_longer_than_the_deadline() {
    let (deadline, still) = times();
    let runtime = common::runtimes::one_thread();
    for way in WAYS {
        let daemon = Daemon::start("daemon");
        runtime.block_on(async {
            let client = builder_for(way).timeout(deadline).connect_async(daemon.path()).await.unwrap();
            client.send(&Order::Make(9)).await.unwrap();
            stop(daemon.id());
            let start = Instant::now();
            let orders = [Order::Make(10), Order::Make(20)];
            let (one, other) = tokio::join!(client.send(&orders[0]), client.send(&orders[1]));
            for error in [one, other].map(|answer| answer.map(drop).unwrap_err()) {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}: {error}");
            }
            assert!(is_at_the_deadline(start.elapsed(), deadline), "{way:?}");
            tokio::time::sleep(still.saturating_sub(start.elapsed())).await;
            signal(daemon.id(), Signal::CONT);
            let end = Instant::now() + PATIENCE;
            loop {
                match client.send(&Order::Make(700)).await {
                    Ok(done) => break assert!(done.bytes == pattern(700)[..]),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error}"),
                }
                assert!(Instant::now() < end, "{way:?}: it never answers again");
            }
        });
    }
}

/// Fault 39. A client that stands still with full rings, and a hundred answers to come, holds up nobody and
/// costs the daemon the memory of an answer or two; when it goes on, it gets them all.
#[test]
fn a_client_that_stands_still_holds_up_only_itself() {
    let daemon = Daemon::start("daemon");
    let mut others = WAYS.map(|way| builder_for(way).timeout(PATIENCE).connect(daemon.path()).unwrap());
    let mut ask = |count: usize| {
        for number in 0..count {
            for other in &mut others {
                let bytes = pattern(number * 37 % 5000);
                assert!(other.send(&Order::Echo(bytes.clone())).unwrap().bytes == bytes[..]);
            }
        }
    };
    ask(300);
    let before = resident(daemon.id());
    for role in ["client that stops over rings", "client that stops over the socket"] {
        let mut clients: Vec<_> = (0..4).map(|_| Process::start(role, daemon.folder.path())).collect();
        for client in &mut clients {
            client.line("asked").unwrap();
        }
        until("all stand still", || clients.iter().all(|client| is_stopped(client.id())));
        ask(300);
        // All their answers are three times as much.
        let more = resident(daemon.id()).saturating_sub(before);
        println!("{} {role}: {more} KiB more", clients.len());
        assert!(more < 4 << 10, "{more} KiB more");
        for client in &clients {
            signal(client.id(), Signal::CONT);
        }
        for client in &mut clients {
            client.line("answered").expect("it gets all its answers");
        }
    }
}

/// How many signals this process has heard.
static HEARD: AtomicU64 = AtomicU64::new(0);

/// Has calls of the system that wait end with an error when a signal comes.
fn hear_signals() {
    extern "C" fn hear(_: libc::c_int) {
        HEARD.fetch_add(1, Ordering::Relaxed);
    }
    let mut action: libc::sigaction = {
        // SAFETY: all of it may be zeros: no flags, no mask, the default action.
        unsafe { std::mem::zeroed() }
    };
    action.sa_sigaction = hear as *const () as libc::sighandler_t;
    // SAFETY: the handler only counts; the action before is not asked for.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) }, 0);
}

/// Sends each thread of these processes a signal every millisecond.
fn pester(processes: &[u32], over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        for &process in processes {
            for thread in threads(process) {
                // SAFETY: a signal to one of our own processes, which hear it; it fails for a thread that ends.
                unsafe { libc::syscall(libc::SYS_tgkill, process as i32, thread, libc::SIGUSR1) };
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Fault 40. Both sides get a signal a millisecond on each of their threads, in whatever they are waiting for:
/// no call fails for it, deadlines are kept, and rings can still be made.
#[test]
fn signals_all_the_time_change_nothing() {
    hear_signals();
    let daemon = Daemon::start("daemon that hears signals");
    let over = AtomicBool::new(false);
    let time = Duration::from_secs(whole().unwrap_or(2));
    let processes = [std::process::id(), daemon.id()];
    std::thread::scope(|scope| {
        scope.spawn(|| pester(&processes, &over));
        let asking = WAYS.map(|way| {
            let path = daemon.path();
            scope.spawn(move || ask_while_pestered(way, &path, time))
        });
        let outcomes = asking.map(|asking| asking.join());
        over.store(true, Ordering::Relaxed);
        let asked = outcomes.map(|outcome| outcome.unwrap());
        println!("{asked:?} requests and {} signals in {time:?}", HEARD.load(Ordering::Relaxed));
    });
    assert!(HEARD.load(Ordering::Relaxed) > time.as_millis() as u64 / 10);
}

/// Asks in every way that waits, for so long at least; says how often.
fn ask_while_pestered(way: Way, path: &Path, time: Duration) -> u64 {
    const DEADLINE: Duration = Duration::from_millis(100);
    const LATE: Duration = Duration::from_millis(700);
    let start = Instant::now();
    let (mut asked, mut timed_out) = (0, 0);
    while start.elapsed() < time || timed_out == 0 {
        let rings =
            |builder: libgrite_ipc::ClientBuilder<Work>| builder.request_ring(1 << 20).reply_ring(1 << 20);
        let mut client = rings(builder_for(way)).timeout(PATIENCE).connect(path).unwrap();
        assert_eq!(client.uses_ring(), way == Way::Ring);
        for order in [Order::Wait(3), Order::Make(3 << 20), Order::Echo(pattern(3 << 20)), Order::Make(9)] {
            client.send(&order).unwrap();
            asked += 1;
        }
        Client::<Work>::builder().transport(Transport::Socket).ask(path, &Order::Make(100)).unwrap();
        let mut hasty = builder_for(way).timeout(DEADLINE).connect(path).unwrap();
        let before = Instant::now();
        match hasty.send(&Order::Wait(LATE.as_millis() as u64)) {
            // The machine has kept this process for so long that the answer was there first.
            Ok(_) => assert!(before.elapsed() >= LATE, "{way:?}: after {:?}", before.elapsed()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}: {error}");
                assert!(before.elapsed() >= DEADLINE, "{way:?}: after {:?}", before.elapsed());
                timed_out += 1;
            }
        }
        asked += 2;
        assert!(timed_out > 0 || start.elapsed() < time + PATIENCE, "{way:?}: no deadline is kept");
    }
    asked
}
