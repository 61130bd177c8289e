//! Whether clients still find the server: its socket's file may be taken away, or another put in its place.
//!
//! A socket that was unlinked cannot be linked again, and whoever put something in its place may serve there.
//! So a server that is not found any more ends, as it does when it is told to: its process gives the lock
//! back, and the next client starts another. The server looks now and then. Linux would tell of a change at
//! once, by inotify, but the kernel takes its time to let a killed process's watches go, and the process's lock
//! is held meanwhile: the next daemon could not start at once.

use std::time::{Duration, Instant};

use super::listener::Listener;

/// How long until the next look: a client that waits for a daemon's end has time left for the next one's start.
const PERIOD: Duration = Duration::from_secs(4);

/// When to look for the socket's file.
#[derive(Debug)]
pub(super) struct Presence {
    due: Instant,
}

impl Presence {
    /// A first look is due.
    pub(super) fn new() -> Self {
        Presence { due: Instant::now() }
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Looks, if that is due: whether the file of `listener` is known to lead elsewhere or nowhere.
    pub(super) fn is_lost(&mut self, listener: &Listener, now: Instant) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now + PERIOD;
        !listener.is_in_place()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// Changes the file of a socket or what lies beside it; says whether it is lost by that at the next look.
    fn is_lost_by(change: impl FnOnce(&Path)) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = Listener::bind(&path).unwrap();
        let mut presence = Presence::new();
        assert!(!presence.is_lost(&listener, presence.due()));
        change(&path);
        let due = presence.due();
        assert!(!presence.is_lost(&listener, due - Duration::from_millis(1)), "it does not look before");
        assert_eq!(presence.due(), due);
        let is_lost = presence.is_lost(&listener, due);
        assert_eq!(presence.due(), due + PERIOD);
        is_lost
    }

    #[test]
    fn a_socket_whose_file_is_gone_or_another_is_lost() {
        assert!(is_lost_by(|path| fs::remove_file(path).unwrap()));
        assert!(is_lost_by(|path| fs::rename(path, path.with_extension("elsewhere")).unwrap()));
        assert!(is_lost_by(|path| fs::remove_dir_all(path.parent().unwrap()).unwrap()));
        assert!(is_lost_by(|path| {
            let other = path.with_extension("other");
            fs::write(&other, "x").unwrap();
            fs::rename(other, path).unwrap();
        }));
    }

    /// Other changes of the file and its folder end nobody.
    #[test]
    fn a_socket_whose_rights_and_neighbours_change_is_not_lost() {
        assert!(!is_lost_by(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap()));
        assert!(!is_lost_by(|path| {
            fs::write(path.with_extension("other"), "x").unwrap();
            fs::hard_link(path, path.with_extension("link")).unwrap();
            fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o750)).unwrap();
        }));
    }
}
