//! What the system lets us do: shared memory and its seals, limits, and which transport follows from it.

use std::thread;
use std::time::Duration;

use libgrite_ipc::{Error, IpcClient, IpcCommand, IpcResponse, IpcServer, Transport};
use rustix::process::{Resource, getrlimit};

use super::checkup::Checkup;
use crate::scratch::Scratch;

/// For how long the attempt at each transport.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The fewest open files with which a daemon serves a handful of clients.
const FILES: u64 = 64;

/// The smallest file size limit with which rings can be made and a store grow, in bytes.
const FILE_SIZE: u64 = 64 << 20;

pub fn check(checkup: &mut Checkup<'_>) {
    kernel(checkup);
    limits(checkup);
    transport(checkup);
}

#[cfg(target_os = "linux")]
fn kernel(checkup: &mut Checkup<'_>) {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

    let system = rustix::system::uname();
    let release = system.release().to_string_lossy().into_owned();
    let memory = memfd_create("grite-doctor", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let seals = memory.as_ref().map_err(|error| *error).and_then(|memory| {
        ftruncate(memory, 4096)?;
        fcntl_add_seals(memory, SealFlags::GROW | SealFlags::SHRINK | SealFlags::FUTURE_WRITE)
    });
    let pidfd = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty());
    let word = |name: &str, missing: bool| format!("{name} {}", if missing { "missing" } else { "there" });
    let waitv = has_waitv(&release);
    let detail = [
        format!("Linux {release}"),
        word("memfd", memory.is_err()),
        word("seals", seals.is_err()),
        word("futex_waitv", !waitv),
        word("pidfd", pidfd.is_err()),
    ]
    .join(", ");
    // Without them there is the socket, which the check of transports looks at.
    checkup.good("kernel", detail);
}

#[cfg(not(target_os = "linux"))]
fn kernel(checkup: &mut Checkup<'_>) {
    checkup.good("kernel", "not Linux: there is the socket alone");
}

/// Whether a kernel of this release has `futex_waitv`, which came with 5.16.
#[cfg(target_os = "linux")]
fn has_waitv(release: &str) -> bool {
    let mut parts = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 16),
        _ => false,
    }
}

fn limits(checkup: &mut Checkup<'_>) {
    let files = getrlimit(Resource::Nofile).current;
    let size = getrlimit(Resource::Fsize).current;
    let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let detail = format!("open files {}, file size {}", shown(files), shown(size));
    if files.is_some_and(|files| files < FILES) {
        checkup.bad("limits", detail, &format!("ulimit -n {FILES}, or more"));
    } else if size.is_some_and(|size| size < FILE_SIZE) {
        checkup.bad("limits", detail, "ulimit -f unlimited");
    } else {
        checkup.good("limits", detail);
    }
}

fn transport(checkup: &mut Checkup<'_>) {
    match (attempt(Transport::Ring), attempt(Transport::Socket)) {
        (Ok(()), _) => checkup.good("transport", "rings for many questions, the socket for one"),
        (Err(error), Ok(())) => {
            checkup.good("transport", format!("the socket for all, since rings are refused: {error}"));
        }
        (Err(_), Err(error)) => {
            let fix =
                "let the sandbox allow Unix sockets; until then commands work directly, as with --direct";
            checkup.bad("transport", format!("no daemon can be reached: {error}"), fix);
        }
    }
}

/// Serves and asks once in this process, over `transport`.
fn attempt(transport: Transport) -> Result<(), String> {
    let scratch = Scratch::new().map_err(|error| error.message)?;
    let words = |error: Error| error.to_string();
    let server = IpcServer::bind(scratch.path().join("doctor.sock")).map_err(words)?;
    let stop = server.handle();
    thread::scope(|scope| {
        let served = thread::Builder::new()
            .spawn_scoped(scope, || server.serve(|_, _| IpcResponse::Pong))
            .map_err(|error| format!("the system gives no thread: {error}"))?;
        let asked = IpcClient::builder()
            .transport(transport)
            .timeout(TIMEOUT)
            .connect(server.path())
            .and_then(|mut client| client.send(&IpcCommand::Ping).map(drop))
            .map_err(words);
        stop.stop();
        match served.join() {
            Ok(served) => asked.and(served.map_err(words)),
            Err(_) => Err("the attempt failed".to_owned()),
        }
    })
}
