//! A forked child that uses its parent's handle, or drops it: an error there, and no harm here.
#![cfg(all(target_os = "linux", not(grite_portable), not(loom)))]
#![allow(unsafe_code, reason = "fork is what is tested")]

mod common;

use std::mem::ManuallyDrop;
#[cfg(feature = "tokio")]
use std::time::Duration;

use common::{Order, Running, Way, Work, pattern};
#[cfg(feature = "tokio")]
use common::{gate::Gate, process::PATIENCE};
use libgrite_ipc::{Client, DaemonLock, Error, ErrorKind, Pending, Server};

/// Fault 41. A forked child that uses a handle of its parent in any way gets an error, for an answer too that
/// had come before the fork; that it drops the handle, too, the parent does not notice.
///
/// One test in this program: a fork of a process with other tests' threads would be a trap.
#[test]
fn a_forked_child_gets_an_error_and_the_parent_goes_on() {
    let server = Running::start();
    for way in [Way::Ring, Way::Socket] {
        let mut client = server.client(way);
        assert!(client.send(&Order::Make(10)).unwrap().bytes == pattern(10)[..]);
        let status = in_a_child(|| {
            let sent = is_forked(client.send(&Order::Make(10)).map(drop));
            let again = is_forked(client.send_with_retry(&Order::Session).map(drop));
            let started = is_forked(client.start(&Order::Session).map(drop));
            let streamed = is_forked(client.stream(&Order::Session).map(drop));
            sent && again && started && streamed
        });
        assert_eq!(status, SUCCEEDED, "{way:?}");
        fork_amid_requests(&server, way);
        fork_amid_a_stream(&server, way);
        let mut client = ManuallyDrop::new(client);
        let status = in_a_child(|| {
            // SAFETY: it is not used again in the child, whose copy this is.
            unsafe { ManuallyDrop::drop(&mut client) };
            true
        });
        assert_eq!(status, SUCCEEDED, "{way:?}");
        assert!(client.send(&Order::Make(20)).unwrap().bytes == pattern(20)[..], "{way:?}");
        drop(ManuallyDrop::into_inner(client));
        #[cfg(feature = "tokio")]
        {
            fork_with_an_async_client(&server, way);
            fork_with_an_async_stream(&server, way);
            fork_amid_an_async_request(way);
        }
    }
    fork_with_a_server();
    fork_with_a_lock();
}

/// What a child ends with in which all was as it must be.
const SUCCEEDED: i32 = 7;

fn is_forked<T>(outcome: Result<T, Error>) -> bool {
    outcome.is_err_and(|error| error.kind() == ErrorKind::Forked)
}

/// Does something in a forked child, and says what that has ended with.
fn in_a_child(work: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child calls nothing that waits for the parent's other threads, and leaves
    // with `_exit`.
    let child = unsafe { nix::libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let status = if work() { SUCCEEDED } else { 1 };
        // SAFETY: ends the child without running the parent's destructors in it.
        unsafe { nix::libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child, into a local.
    assert_eq!(unsafe { nix::libc::waitpid(child, &mut status, 0) }, child);
    if nix::libc::WIFEXITED(status) { nix::libc::WEXITSTATUS(status) } else { -status }
}

/// Answers that are claimed later: one that had come, and one that had not.
fn fork_amid_requests(server: &Running, way: Way) {
    let client = server.client(way);
    let come = [client.start(&Order::Make(30)).unwrap(), client.start(&Order::Make(40)).unwrap()];
    while !come.iter().all(|answer| answer.is_ready().unwrap()) {
        std::thread::yield_now();
    }
    let coming = [client.start(&Order::Wait(20)).unwrap(), client.start(&Order::Wait(20)).unwrap()];
    let mut pending: Vec<_> = come.into_iter().chain(coming).map(Some).collect();
    let status = in_a_child(|| {
        // Those that the child does not wait for it drops at its end, were it not for `_exit`.
        let wait = |place: usize, pending: &mut Vec<Option<Pending<'_, Work>>>| {
            is_forked(pending[place].take().unwrap().wait().map(drop))
        };
        let not_ready = is_forked(pending[3].as_ref().unwrap().is_ready());
        wait(0, &mut pending) && wait(2, &mut pending) && not_ready && {
            drop(pending[1].take());
            true
        }
    });
    assert_eq!(status, SUCCEEDED, "{way:?}");
    let lengths: Vec<_> =
        pending.into_iter().map(|answer| answer.unwrap().wait().unwrap().bytes.len()).collect();
    assert_eq!(lengths, [30, 40, 0, 0], "{way:?}");
}

/// A stream of which nothing was read yet.
fn fork_amid_a_stream(server: &Running, way: Way) {
    let mut client = server.client(way);
    let mut parts = client.stream(&Order::Make(50)).unwrap();
    let status = in_a_child(|| is_forked(parts.next().map(drop)));
    assert_eq!(status, SUCCEEDED, "{way:?}");
    assert_eq!(parts.next().unwrap().unwrap().bytes.len(), 50, "{way:?}");
}

/// A child that drops its copy of a server takes neither the socket nor its file from the parent.
fn fork_with_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.sock");
    let mut server = ManuallyDrop::new(Server::<Work>::bind(&path).unwrap());
    let status = in_a_child(|| {
        // SAFETY: it is not used again in the child, whose copy this is.
        unsafe { ManuallyDrop::drop(&mut server) };
        true
    });
    assert_eq!(status, SUCCEEDED);
    let server = ManuallyDrop::into_inner(server);
    let stop = server.handle();
    std::thread::scope(|scope| {
        scope.spawn(|| server.serve(common::work).unwrap());
        let asked =
            Client::<Work>::connect(&path).and_then(|mut client| client.send(&Order::Session).map(drop));
        stop.stop();
        asked.unwrap();
    });
}

/// A child that drops its copy of a daemon's lock leaves the lock with the parent, which gives it back itself.
fn fork_with_a_lock() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    let mut lock = ManuallyDrop::new(DaemonLock::acquire(&dir).unwrap());
    let status = in_a_child(|| {
        // SAFETY: it is not used again in the child, whose copy this is.
        unsafe { ManuallyDrop::drop(&mut lock) };
        true
    });
    assert_eq!(status, SUCCEEDED);
    let daemon = DaemonLock::read(&dir).unwrap().expect("the parent is the daemon");
    assert_eq!(daemon.pid(), Some(std::process::id()));
    assert_eq!(DaemonLock::acquire(&dir).unwrap_err().kind(), ErrorKind::Refused);
    drop(ManuallyDrop::into_inner(lock));
    DaemonLock::acquire(&dir).unwrap();
}

/// The same as with a client, for an async one that the child even drops.
#[cfg(feature = "tokio")]
fn fork_with_an_async_client(server: &Running, way: Way) {
    let runtime = common::runtimes::one_thread();
    let mut client = ManuallyDrop::new(runtime.block_on(common::runtimes::connect(way, server.socket())));
    runtime.block_on(client.send(&Order::Wait(2))).unwrap();
    let status = in_a_child(|| {
        let own = common::runtimes::one_thread();
        let forked = is_forked(own.block_on(client.send(&Order::Make(10))));
        // SAFETY: it is not used again in the child, whose copy this is.
        unsafe { ManuallyDrop::drop(&mut client) };
        forked
    });
    assert_eq!(status, SUCCEEDED, "{way:?}");
    for millis in [0, 2] {
        runtime.block_on(client.send(&Order::Wait(millis))).unwrap();
    }
    drop(ManuallyDrop::into_inner(client));
}

/// A child that drops its copy of a stream that was waited for leaves the parent's runtime what wakes it.
#[cfg(feature = "tokio")]
fn fork_with_an_async_stream(server: &Running, way: Way) {
    let runtime = common::runtimes::one_thread();
    runtime.block_on(async {
        let builder = common::builder_for(way).timeout(3 * PATIENCE);
        let client = builder.connect_async(server.socket()).await.unwrap();
        let gate = Gate::new();
        let mut stream = ManuallyDrop::new(client.stream(&gate.order(10)).await.unwrap());
        tokio::time::timeout(Duration::from_millis(10), stream.next()).await.expect_err("the gate is closed");
        gate.until_reached();
        let status = in_a_child(|| {
            // SAFETY: it is not used again in the child, whose copy this is.
            unsafe { ManuallyDrop::drop(&mut stream) };
            true
        });
        assert_eq!(status, SUCCEEDED, "{way:?}");
        drop(gate);
        // It is for the socket to wake who waits: a timer would, too.
        let part = tokio::select! {
            biased;
            () = tokio::time::sleep(PATIENCE) => panic!("nobody is woken, {way:?}"),
            part = stream.next() => part.unwrap().unwrap(),
        };
        assert!(part.bytes == pattern(10)[..], "{way:?}");
        drop(ManuallyDrop::into_inner(stream));
    });
}

/// A request that is encoded while its process forks: to be encoded, it waits at a gate until that is done.
#[cfg(feature = "tokio")]
mod gated {
    use std::sync::Barrier;

    use libgrite_ipc::{Layout, Protocol, Wire};
    use rkyv::rancor::Fallible;
    use rkyv::{Archive, Place, Serialize};

    /// Passed twice: by who is being encoded, and by who waits for that.
    pub static GATE: Barrier = Barrier::new(2);

    pub struct Gated;

    impl Archive for Gated {
        type Archived = u8;
        type Resolver = ();

        fn resolve(&self, (): (), out: Place<u8>) {
            out.write(0);
        }
    }

    impl<S: Fallible + ?Sized> Serialize<S> for Gated {
        fn serialize(&self, _: &mut S) -> Result<(), S::Error> {
            GATE.wait();
            GATE.wait();
            Ok(())
        }
    }

    impl Wire for Gated {
        const LAYOUT: u64 = Layout::named("Gated").shape::<Gated>().hash();
    }

    pub enum Gate {}

    impl Protocol for Gate {
        type Request = Gated;
        type Response = super::common::Done;
        const NAME: &'static str = "gate";
        const VERSION: u16 = 1;
    }
}

/// Another thread works on the connection when the process forks. The child, where that thread is not, waits for it
/// neither to ask nor to drop the client.
#[cfg(feature = "tokio")]
fn fork_amid_an_async_request(way: Way) {
    use gated::{GATE, Gate, Gated};
    use libgrite_ipc::{AsyncClient, Transport};

    let folder = tempfile::tempdir().unwrap();
    let server = Server::<Gate>::bind(folder.path().join("gate.sock")).unwrap();
    let (stop, path) = (server.handle(), server.path().to_owned());
    std::thread::scope(|scope| {
        let session =
            |_: &_, cx: &libgrite_ipc::Context| common::Done { bytes: Vec::new(), session: cx.session() };
        scope.spawn(move || server.serve(session).unwrap());
        common::stop_after(&stop, || {
            let runtime = common::runtimes::one_thread();
            let transport = if way == Way::Socket { Transport::Socket } else { Transport::Ring };
            let builder = AsyncClient::<Gate>::builder().transport(transport);
            let client = runtime.block_on(builder.connect_async(&path)).unwrap();
            let status = std::thread::scope(|scope| {
                let asking = scope.spawn(|| runtime.block_on(client.send(&Gated)).map(drop));
                GATE.wait();
                let status = in_a_child(|| ask_and_drop(&client));
                GATE.wait();
                asking.join().unwrap().unwrap();
                status
            });
            assert_eq!(status, SUCCEEDED, "{way:?}");
        });
    });
}

/// What a child does with the client of a connection on which a thread of its parent works.
#[cfg(feature = "tokio")]
fn ask_and_drop(client: &libgrite_ipc::AsyncClient<gated::Gate>) -> bool {
    // SAFETY: ends the child should it wait for ever.
    unsafe { nix::libc::alarm(20) };
    let own = common::runtimes::one_thread();
    let sent = is_forked(own.block_on(client.send(&gated::Gated)));
    let streamed = is_forked(own.block_on(client.stream(&gated::Gated)));
    // SAFETY: the client is not used again in the child, whose copy it is.
    drop(unsafe { std::ptr::read(client) });
    sent && streamed
}
