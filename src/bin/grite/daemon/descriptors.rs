//! How many descriptors a daemon may have: each client takes two, and shells mostly allow a process 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Two for each of the 1,024 clients that a server takes by default, and some for everything else.
const WANTED: u64 = 4096;

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
