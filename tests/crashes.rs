//! Processes that are killed between any two steps: what they leave behind, and whom they harm.
//!
//! Of a build with `--cfg grite_faults`: a process stops itself at a point that this test names or a seed
//! chooses, and is killed there. `GRITE_TEST_ROUNDS=10000` for the long run.
#![cfg(all(grite_faults, target_os = "linux", not(grite_portable), not(loom)))]

mod common;
mod held;
mod rounds;
mod sources;
mod victim;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::daemon::{be_the_daemon, end_daemon};
use common::process::{role as own_role, role_command, until};
use common::{Order, Way, Work, builder_for, pattern};
use held::{held, private, until_no_more_than, watched};
use libgrite_ipc::fault::POINTS;
use libgrite_ipc::{Client, ClientBuilder, DaemonLock, Error, ErrorKind};
use rounds::rounds;
use sources::sources;
use victim::{PATIENCE, Seen, Victim, seeds};

/// Each test counts what this process holds.
static ALONE: Mutex<()> = Mutex::new(());

/// The parts that this program plays when a test starts it again.
#[test]
fn role() {
    let Some((role, folder)) = own_role() else { return };
    match role.as_str() {
        "daemon" => be_the_daemon(&folder),
        "client" => be_a_client(&folder),
        "starter" => {
            let mut client = started(&folder).unwrap();
            assert!(client.send(&Order::Make(10)).unwrap().bytes == pattern(10)[..]);
        }
        other => panic!("no such role: {other}"),
    }
}

/// Passes every point of a client again and again, and checks every answer.
fn be_a_client(folder: &Path) {
    for _ in 0..20 {
        let mut client = small().connect(folder.join("daemon.sock")).unwrap();
        for round in 0..20 {
            let orders: Vec<Order> = (0..6).map(|n| Order::Echo(pattern(n * 31 + round))).collect();
            for (length, answer) in client.start_all(&orders).unwrap().into_iter().enumerate() {
                // The last one is given up.
                if length < 5 {
                    assert!(answer.wait().unwrap().bytes == pattern(length * 31 + round)[..]);
                }
            }
            let long = pattern(9000 + round * 16);
            assert!(client.send(&Order::Echo(long.clone())).unwrap().bytes == long[..]);
            // The daemon goes to sleep.
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

/// Messages wrap soon in rings of the smallest size, and some come in pieces.
fn small() -> ClientBuilder<Work> {
    builder_for(Way::Ring).request_ring(4096).reply_ring(4096).timeout(PATIENCE).handshake_timeout(PATIENCE)
}

/// A client of the daemon of `folder`, which is started if need be.
fn started(folder: &Path) -> Result<Client<Work>, Error> {
    let home = folder.to_owned();
    small().spawn_timeout(PATIENCE).connect_or_spawn(folder, move || {
        let mut command = role_command("daemon", &home);
        command.env_remove("GRITE_FAULT");
        command
    })
}

/// This program with a role to be killed in.
fn victim(role: &str, folder: &Path, fault: &str) -> Victim {
    let mut command = role_command(role, folder);
    command.stdout(Stdio::null());
    Victim::start(command, fault)
}

/// Each point whose name begins so, at its first and at a later passage if it has one; then wherever seeds
/// choose.
fn faults(sides: &[&str], few: u64) -> Vec<String> {
    let named = POINTS.iter().filter(|point| sides.iter().any(|side| point.starts_with(side)));
    let once = |point: &&str| ["lock.", "bind.", "ready."].iter().any(|step| point.starts_with(step));
    let named = named.flat_map(|point| {
        let passages: &[u32] = if once(point) { &[1] } else { &[1, 3] };
        passages.iter().map(move |passage| format!("{point} {passage}"))
    });
    named.chain(seeds(few).map(|seed| format!("* {seed}"))).collect()
}

/// What is in the daemon's folder that does not belong there.
fn litter(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !["daemon.lock", "spawn.lock", "daemon.sock"].contains(&name.as_str())).collect()
}

/// The process of the live daemon.
fn daemon(folder: &Path) -> u32 {
    DaemonLock::read(folder).unwrap().expect("a daemon lives").pid().unwrap()
}

/// Fault 37. A client is killed at each of its steps: in the handshake, while it writes and reads, before it
/// sleeps and wakes. While it is stopped there and when it is gone, others are answered, and all that the
/// daemon held for it is given back.
#[test]
fn a_client_that_is_killed_at_any_step_harms_nobody_and_leaves_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(|alone| alone.into_inner());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("run");
    let mut polite = started(&folder).unwrap();
    let mut other = builder_for(Way::Socket).connect(folder.join("daemon.sock")).unwrap();
    let server = daemon(&folder);
    let mut ask = |length: u32| {
        assert!(polite.send(&Order::Make(length)).unwrap().bytes == pattern(length as usize)[..]);
        assert!(other.send(&Order::Make(length)).unwrap().bytes == pattern(length as usize)[..]);
    };
    ask(9000);
    // The daemon watches the processes of these two clients, over the socket after a while only.
    until("both are watched", || watched(server) == 2);
    let (before, mut private_before) = (held(server), private(server));
    let (mut killed, mut ended) = (0, 0);
    for (round, fault) in faults(&["client.", "ring.", "channel."], 40).iter().enumerate() {
        let mut victim = victim("client", &folder, fault);
        match victim.until(|| false) {
            Seen::Ended => {
                assert!(fault.starts_with('*'), "{fault} is never passed");
                assert!(victim.child().wait().unwrap().success(), "{fault}");
                ended += 1;
                continue;
            }
            _ => ask(100),
        }
        victim.kill();
        killed += 1;
        ask(9000);
        let mut next = small().connect(folder.join("daemon.sock")).unwrap();
        assert!(next.send(&Order::Make(77)).unwrap().bytes == pattern(77)[..], "{fault}");
        drop(next);
        if round % 50 == 0 {
            until_no_more_than(before, server);
        }
        if killed % 1000 == 0 {
            println!("{killed} clients killed so far");
        }
        // What the allocator keeps for the largest crowd that there was is no leak.
        if round == 100 {
            private_before = private(server);
        }
    }
    until_no_more_than(before, server);
    let private_after = private(server);
    println!(
        "{killed} clients killed, {ended} ended first; {before:?} before, {:?} after; {private_before} KiB of private \
         memory before, {private_after} after",
        held(server)
    );
    assert!(killed > 100 || rounds(40) < 100, "most seeds choose a step");
    assert!(private_after < private_before + 1024);
    assert_eq!((litter(&folder), daemon(&folder)), (Vec::new(), server));
    end_daemon(&folder);
}

/// Faults 37 and 50. A daemon is killed at each of its steps: while it takes the lock, binds and says that it
/// is ready, while it welcomes and while it answers. Who asks meanwhile sees no error but that its connection
/// was lost, and none at all where it may repeat its request; the next daemon finds nothing in its way, and
/// nothing is left behind, neither in the folder nor in the client.
#[test]
fn a_daemon_that_is_killed_at_any_step_is_replaced_and_leaves_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(|alone| alone.into_inner());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("run");
    drop(started(&folder).unwrap());
    end_daemon(&folder);
    let mut before = None;
    let (mut killed, mut outlived) = (0, 0);
    let sides = [
        "lock.",
        "bind.",
        "ready.",
        "daemon.",
        "memory.",
        "ring.",
        "channel.part",
        "channel.fragment",
        "channel.wake",
    ];
    for fault in faults(&sides, 40) {
        let mut command = role_command("daemon", &folder);
        let (said, way) = std::io::pipe().unwrap();
        let stat = rustix::fs::fstat(&way).unwrap();
        command.env("LIBGRITE_IPC_READINESS", format!("{}:{}", stat.st_dev, stat.st_ino)).stdout(way);
        let victim = Victim::start(command, &fault);
        std::thread::spawn(move || BufReader::new(said).lines().for_each(drop));
        // Until it has the lock, another daemon could take it.
        victim.until(|| DaemonLock::read(&folder).unwrap().and_then(|d| d.pid()) == Some(victim.id()));
        let (gone, done) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let customer = scope.spawn(|| {
                let asked = ask_on(&folder, &gone);
                done.store(true, Ordering::Relaxed);
                asked
            });
            let seen = victim.until(|| done.load(Ordering::Relaxed));
            assert_ne!(seen, Seen::Ended, "{fault}");
            assert!(seen == Seen::Stopped || fault.starts_with('*'), "{fault} is never passed");
            if seen == Seen::Stopped {
                killed += 1
            } else {
                outlived += 1
            }
            let process = victim.id();
            victim.kill();
            gone.store(true, Ordering::Relaxed);
            customer.join().unwrap().unwrap_or_else(|error| panic!("{fault}: {error}"));
            // One that was killed before it had asked for the lock is no daemon.
            let mut next = started(&folder).unwrap();
            assert!(next.send(&Order::Make(77)).unwrap().bytes == pattern(77)[..], "{fault}");
            assert_ne!(daemon(&folder), process);
        });
        assert_eq!(litter(&folder), Vec::<String>::new(), "{fault}");
        end_daemon(&folder);
        // The first rounds leave what is made once.
        let first = *before.get_or_insert_with(|| held(std::process::id()));
        until_no_more_than(first, std::process::id());
        if killed % 1000 == 0 {
            println!("{killed} daemons killed so far");
        }
    }
    println!("{killed} daemons killed, {outlived} outlived their customers");
}

/// Asks the daemon of `folder` until it is `gone` and another one answers, or for long enough.
fn ask_on(folder: &Path, gone: &AtomicBool) -> Result<(), Error> {
    for _ in 0..30 {
        let mut client = started(folder)?;
        for round in 0..10 {
            let was_gone = gone.load(Ordering::Relaxed);
            let length = 100 + 9000 * (round % 2);
            match client.send(&Order::Make(length)) {
                Ok(done) => assert!(done.bytes == pattern(length as usize)[..]),
                Err(error) if error.kind() == ErrorKind::PeerDied => {}
                Err(error) => return Err(error),
            }
            client.send_with_retry(&Order::Session)?;
            if was_gone {
                return Ok(());
            }
            // The daemon goes to sleep.
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    Ok(())
}

/// Who starts a daemon is killed before, while and after it does: the next one who asks is answered, by the one
/// daemon that there is then.
#[test]
fn a_starter_that_is_killed_at_any_step_keeps_nobody_from_the_daemon() {
    let _alone = ALONE.lock().unwrap_or_else(|alone| alone.into_inner());
    for fault in POINTS.iter().filter(|point| point.starts_with("spawn.")) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("run");
        let victim = victim("starter", &folder, &format!("{fault} 1"));
        assert_eq!(victim.until(|| false), Seen::Stopped, "{fault}");
        victim.kill();
        let mut client = started(&folder).unwrap();
        assert!(client.send(&Order::Make(10)).unwrap().bytes == pattern(10)[..], "{fault}");
        assert_eq!(litter(&folder), Vec::<String>::new(), "{fault}");
        end_daemon(&folder);
        // Should two have been started, the second one may come to the lock only now.
        std::thread::sleep(Duration::from_millis(100));
        if DaemonLock::read(&folder).unwrap().is_some() {
            end_daemon(&folder);
        }
    }
}

/// A point that nobody passes would be one at which nothing is ever killed.
#[test]
fn every_point_stands_in_the_sources_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text: String =
        sources(&root.join("src")).into_iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for point in POINTS {
        assert_eq!(text.matches(&format!("fault::point(\"{point}\")")).count(), 1, "{point}");
    }
    assert_eq!(text.matches("fault::point(\"").count(), POINTS.len());
}
