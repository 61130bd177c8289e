//! Which descriptors have something to do: epoll on Linux, `poll` elsewhere.

pub(super) use system::Events;

/// What is waited for on a descriptor. Its end is always waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Read,
    Write,
    Both,
    Nothing,
}

#[cfg(all(target_os = "linux", not(grite_portable)))]
mod system {
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::time::Instant;

    use rustix::buffer::spare_capacity;
    use rustix::event::epoll::{self, EventData, EventFlags};
    use rustix::io::Errno;
    use rustix::time::Timespec;

    use super::Interest;

    pub(in super::super) struct Events {
        epoll: OwnedFd,
        ready: Vec<epoll::Event>,
    }

    impl Events {
        pub(in super::super) fn new() -> io::Result<Self> {
            Ok(Events { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, ready: Vec::with_capacity(64) })
        }

        pub(in super::super) fn add(
            &mut self,
            fd: impl AsFd,
            token: u64,
            interest: Interest,
        ) -> io::Result<()> {
            Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), flags(interest))?)
        }

        pub(in super::super) fn change(
            &mut self,
            fd: impl AsFd,
            token: u64,
            interest: Interest,
        ) -> io::Result<()> {
            Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags(interest))?)
        }

        pub(in super::super) fn remove(&mut self, fd: impl AsFd, _token: u64) {
            // It fails only when the descriptor is not there, which is what is wanted.
            let _ = epoll::delete(&self.epoll, fd);
        }

        /// Waits until there is something to do, `until` at most; the tokens with something to do are `into`
        /// then, and nothing else.
        pub(in super::super) fn wait(
            &mut self,
            until: Option<Instant>,
            into: &mut Vec<u64>,
        ) -> io::Result<()> {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.map(|left| Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            });
            self.ready.clear();
            into.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            into.extend(self.ready.iter().map(|event| event.data.u64()));
            Ok(())
        }
    }

    fn flags(interest: Interest) -> EventFlags {
        match interest {
            Interest::Read => EventFlags::IN | EventFlags::RDHUP,
            Interest::Write => EventFlags::OUT,
            Interest::Both => EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT,
            Interest::Nothing => EventFlags::empty(),
        }
    }
}

#[cfg(not(all(target_os = "linux", not(grite_portable))))]
mod system {
    use std::collections::HashMap;
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    use rustix::time::Timespec;

    use super::Interest;

    /// Holds a descriptor of its own for each that it watches.
    #[derive(Debug)]
    pub(in super::super) struct Events {
        watched: HashMap<u64, (OwnedFd, Interest)>,
    }

    impl Events {
        pub(in super::super) fn new() -> io::Result<Self> {
            Ok(Events { watched: HashMap::new() })
        }

        pub(in super::super) fn add(
            &mut self,
            fd: impl AsFd,
            token: u64,
            interest: Interest,
        ) -> io::Result<()> {
            self.watched.insert(token, (fd.as_fd().try_clone_to_owned()?, interest));
            Ok(())
        }

        pub(in super::super) fn change(
            &mut self,
            _fd: impl AsFd,
            token: u64,
            interest: Interest,
        ) -> io::Result<()> {
            if let Some(watched) = self.watched.get_mut(&token) {
                watched.1 = interest;
            }
            Ok(())
        }

        pub(in super::super) fn remove(&mut self, _fd: impl AsFd, token: u64) {
            self.watched.remove(&token);
        }

        pub(in super::super) fn wait(
            &mut self,
            until: Option<Instant>,
            into: &mut Vec<u64>,
        ) -> io::Result<()> {
            into.clear();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left =
                left.map(|left| Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ });
            let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(self.watched.len());
            fds.extend(self.watched.values().map(|(fd, interest)| match interest {
                Interest::Read => PollFd::new(fd, PollFlags::IN),
                Interest::Write => PollFd::new(fd, PollFlags::OUT),
                Interest::Both => PollFd::new(fd, PollFlags::IN | PollFlags::OUT),
                Interest::Nothing => PollFd::new(fd, PollFlags::empty()),
            }));
            match poll(&mut fds, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let ready = self.watched.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
            into.extend(ready.map(|((&token, _), _)| token));
            Ok(())
        }
    }
}
