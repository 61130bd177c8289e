//! Descriptors: none but its own are a daemon's to keep, and it may need many. Each client takes two, and shells
//! mostly allow a process 1,024.

use std::fs;
use std::os::fd::RawFd;

use libgrite_ipc::Readiness;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Two for each of the 1,024 clients that a server takes by default, and some for everything else.
const WANTED: u64 = 4096;

/// Where the system lists the descriptors of a process to itself.
const OWN: &str = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };

/// Closes all but the standard streams, if a command started us in the background: whoever reads what that
/// command's shell writes waits for the last of its writers, and a lock that the shell holds is held by us, too.
///
/// Only before anything is opened here. In the foreground, what we were given is ours to keep.
pub fn close_inherited() {
    if !Readiness::is_awaited() {
        return;
    }
    let Ok(listed) = fs::read_dir(OWN) else { return };
    // The list is closed before anything that is in it.
    let numbers: Vec<RawFd> =
        listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|&number| number > 2) {
        let _ = nix::unistd::close(number);
    }
}

/// Raises this process's own limit as far as the system lets it, where it is lower.
///
/// Where it stays low, a client that comes when there is none left is accepted once there is one.
pub fn allow_for_many_clients() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}
