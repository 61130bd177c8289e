//! What the kernel lets a client do to either region, and what it may do to its own.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::MmapOptions;
use rustix::fs::{FallocateFlags, MemfdFlags, OFlags, SealFlags};
use rustix::io::Errno;

use crate::client::*;
use crate::common::at_end::AtEnd;
use crate::common::{Order, Running, Way};
use crate::daemon::{CLIENT_SEALS, DAEMON_SEALS};
use crate::rounds::rounds;

/// Fault 13. Each way to write the daemon's region is refused by the kernel: by mapping, by protection, by
/// descriptor, by size and by hole, and no less through the name that `/proc` has for the descriptor.
#[test]
fn the_daemons_region_cannot_be_written_by_a_client() {
    let server = Running::start();
    let evil = Hostile::join(&server.socket());
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&evil.daemon));
    let again = rustix::fs::open(again, OFlags::RDWR | OFlags::CLOEXEC, rustix::fs::Mode::empty()).unwrap();
    for fd in [evil.daemon.as_fd(), again.as_fd()] {
        let writable = MmapOptions::new().len(LENGTH).map_raw(&fd).unwrap_err();
        assert_eq!(writable.kind(), std::io::ErrorKind::PermissionDenied);
        assert_eq!(rustix::io::pwrite(fd, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(fd, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(fd, 1 << 30), Err(Errno::PERM));
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert_eq!(rustix::fs::fallocate(fd, punch, 0, 4096), Err(Errno::PERM));
    }
    // SAFETY: only the protection of our own mapping would change.
    let protect = unsafe {
        let base = evil.theirs.as_mut_ptr().cast();
        rustix::mm::mprotect(base, LENGTH, rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE)
    };
    assert_eq!(protect, Err(Errno::ACCESS));
}

/// Fault 14. A client can change the size of neither region, and can add no seal that would keep either side
/// from writing its own; the seals are those that the design names, and one against execution where the
/// kernel has it.
#[test]
fn sizes_and_seals_of_both_regions_are_fixed() {
    let server = Running::start();
    let evil = Hostile::join(&server.socket());
    for fd in [evil.daemon.as_fd(), evil.own.as_fd()] {
        assert_eq!(rustix::fs::ftruncate(fd, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(fd, LENGTH as u64 - 1), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(fd, LENGTH as u64 + 1), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(fd, 1 << 30), Err(Errno::PERM));
        assert_eq!(rustix::fs::fstat(fd).unwrap().st_size as usize, LENGTH);
        for seal in [SealFlags::WRITE, SealFlags::FUTURE_WRITE, SealFlags::SEAL] {
            assert_eq!(rustix::fs::fcntl_add_seals(fd, seal), Err(Errno::PERM));
        }
    }
    let sealable = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL;
    let exec = match rustix::fs::memfd_create("probe", sealable) {
        Ok(_) => SealFlags::EXEC,
        Err(errno) => {
            assert_eq!(errno, Errno::INVAL, "a kernel before 6.3");
            SealFlags::empty()
        }
    };
    let seals = |fd: BorrowedFd<'_>| rustix::fs::fcntl_get_seals(fd).unwrap();
    assert_eq!(seals(evil.daemon.as_fd()), DAEMON_SEALS | exec);
    assert_eq!(seals(evil.own.as_fd()), CLIENT_SEALS | exec);
}

/// Fault 17. A client may punch holes into its own region, amid its requests: what it had written reads as
/// zeros, which is a breach or nothing at all, and no access to a hole ends the daemon.
#[test]
fn holes_in_the_clients_own_region_kill_nobody() {
    let server = Running::start();
    let mut polite = server.client(Way::Ring);
    let mut cut_off = 0;
    for round in 0..rounds(50) {
        let evil = Hostile::join(&server.socket());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stop = AtEnd(|| stop.store(true, Ordering::Relaxed));
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                    rustix::fs::fallocate(&evil.own, punch, 0, LENGTH as u64).unwrap();
                    std::thread::yield_now();
                }
            });
            let mut position = 0;
            for id in 0..50 {
                if evil.has_ended() || position > u64::from(CAPACITY) - 4096 {
                    break;
                }
                position = evil.request(position, id, &Order::Make(10));
            }
            assert!(answers(&mut polite), "in round {round}");
            cut_off += u32::from(evil.has_ended());
        });
    }
    println!("{cut_off} were cut off");
    assert!(answers(&mut polite));
}
