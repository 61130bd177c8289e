//! Shared memory: memfds that are sealed before they are sent, and mappings that are checked before
//! they are made.
//!
//! A [`Region`] is the memory that one side writes and the other one reads. The daemon makes both
//! regions of a connection, so that a client never sends a descriptor. What lies in a region is the
//! ring's business; this file says only how large it is, and who may do what to it.
//!
//! This file may use `unsafe`: it hands out raw pointers to mapped memory, and keeps the mapping
//! alive for as long as they may be used.
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use memmap2::{MmapOptions, MmapRaw};

/// Whether there are rings between processes here. Not with 32 bits: no atomic load of their words of 64 is promised to
/// work there on memory that is mapped read-only.
pub(crate) const HAS_RINGS: bool =
    cfg!(all(target_os = "linux", target_pointer_width = "64", not(grite_portable)));

/// Where a region's ring starts, in bytes; the control words lie before it.
pub(crate) const DATA: usize = 4096;

/// The smallest ring: four frames of 1 KiB.
pub(crate) const MIN_CAPACITY: u32 = 4096;

/// The largest ring: 1 GiB.
pub(crate) const MAX_CAPACITY: u32 = 1 << 30;

/// Whether a ring may have this many bytes.
pub(crate) fn is_capacity(bytes: u32) -> bool {
    bytes.is_power_of_two() && (MIN_CAPACITY..=MAX_CAPACITY).contains(&bytes)
}

/// Control words and a ring, in memory that stays mapped while the region lives.
///
/// Invariant: `DATA + capacity` bytes are mapped behind `base`, which is aligned to a page. They
/// stay mapped, and cannot shrink, until the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Region {
    base: NonNull<u8>,
    capacity: u32,
    _memory: Arc<Backing>,
}

/// What keeps a region's memory.
enum Backing {
    #[cfg(all(target_os = "linux", not(grite_portable)))]
    Mapped(#[expect(dead_code, reason = "held to keep the mapping")] MmapRaw),
    Heap(NonNull<u8>, Layout),
    /// For tests, which end if a byte behind the ring is touched: no sanitizer sees what assembly does.
    #[cfg(all(any(test, fuzzing), target_os = "linux"))]
    Guarded(#[expect(dead_code, reason = "held to keep the mapping")] MmapRaw),
}

// SAFETY: a region is a pointer to memory that any thread may use, by the rules that the ring's
// memory file keeps for other processes anyway.
unsafe impl Send for Region {}
// SAFETY: as for `Send`: every access through a shared region is atomic or to bytes that one
// producer alone writes.
unsafe impl Sync for Region {}
// SAFETY: the backing is only kept and dropped; both can happen on any thread.
unsafe impl Send for Backing {}
// SAFETY: nothing is done through a shared backing.
unsafe impl Sync for Backing {}

impl Drop for Backing {
    fn drop(&mut self) {
        match *self {
            #[cfg(all(target_os = "linux", not(grite_portable)))]
            Backing::Mapped(_) => {}
            #[cfg(all(any(test, fuzzing), target_os = "linux"))]
            Backing::Guarded(_) => {}
            // SAFETY: `base` came from `alloc_zeroed` with this layout and is freed once, here.
            Backing::Heap(base, layout) => unsafe { std::alloc::dealloc(base.as_ptr(), layout) },
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl Region {
    /// A region in this process alone, filled with zeros.
    ///
    /// # Panics
    /// When `capacity` is not one of a ring.
    pub(crate) fn on_heap(capacity: u32) -> Self {
        assert!(is_capacity(capacity));
        #[cfg(all(any(test, fuzzing), target_os = "linux"))]
        if let Ok(region) = Self::guarded(capacity) {
            return region;
        }
        let layout = Layout::from_size_align(DATA + capacity as usize, DATA).expect("sizes are bounded");
        // SAFETY: the layout's size is not zero.
        let base = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { std::alloc::handle_alloc_error(layout) };
        Region { base, capacity, _memory: Arc::new(Backing::Heap(base, layout)) }
    }

    /// A region behind which lies a page that nobody may touch.
    #[cfg(all(any(test, fuzzing), target_os = "linux"))]
    fn guarded(capacity: u32) -> io::Result<Self> {
        let length = DATA + capacity as usize;
        let map = MmapRaw::from(MmapOptions::new().len(length + DATA).map_anon()?);
        // SAFETY: the mapping has a page more, which begins here: capacities are multiples of a page.
        let guard = unsafe { map.as_mut_ptr().add(length) };
        // SAFETY: the whole of that page, which nobody knows yet.
        unsafe { rustix::mm::mprotect(guard.cast(), DATA, rustix::mm::MprotectFlags::empty()) }?;
        let base = NonNull::new(map.as_mut_ptr()).expect("a mapping is not at address zero");
        Ok(Region { base, capacity, _memory: Arc::new(Backing::Guarded(map)) })
    }

    /// A region in a mapping of exactly its size.
    #[cfg(all(target_os = "linux", not(grite_portable)))]
    fn mapped(map: MmapRaw, capacity: u32) -> Self {
        assert_eq!(map.len(), DATA + capacity as usize, "the mapping has the size that was asked for");
        let base = NonNull::new(map.as_mut_ptr()).expect("a mapping is not at address zero");
        Region { base, capacity, _memory: Arc::new(Backing::Mapped(map)) }
    }

    /// Where the control words start, page-aligned.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The ring's capacity in bytes.
    pub(crate) fn capacity(&self) -> u64 {
        u64::from(self.capacity)
    }
}

#[cfg(all(target_os = "linux", not(grite_portable)))]
pub(crate) use sealed::{Role, Unfit, create, judge};

/// Sealed memfds: making them in the daemon, judging them in the client.
#[cfg(all(target_os = "linux", not(grite_portable)))]
mod sealed {
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};

    use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
    use rustix::io::Errno;
    use rustix::process::{Resource, getrlimit};

    use super::*;

    /// Whose writes a region holds.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Role {
        /// The daemon's region S: nobody else can ever map it writable.
        Daemon,
        /// The client's region C: its size is fixed.
        Client,
    }

    impl Role {
        /// The seals that the daemon sets before it sends the region, and the client demands.
        fn seals(self) -> SealFlags {
            let fixed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
            match self {
                Role::Daemon => fixed | SealFlags::FUTURE_WRITE,
                Role::Client => fixed,
            }
        }
    }

    /// Why the client does not map a descriptor that it received.
    #[derive(Debug, thiserror::Error)]
    pub(crate) enum Unfit {
        #[error("a descriptor that is no memfd")]
        NoMemfd,
        #[error("a memfd with the seals {found:?} where {wanted:?} are needed")]
        Seals { found: SealFlags, wanted: SealFlags },
        #[error("a memfd of {found} bytes where {wanted} were granted")]
        Size { found: u64, wanted: u64 },
        /// The system does not let it be looked at.
        #[error(transparent)]
        System(#[from] io::Error),
    }

    /// Makes a region's memfd in the daemon: allocated whole, mapped by us, then sealed.
    ///
    /// The daemon maps its own region writable before the seal forbids that, and the client's
    /// region read-only.
    pub(crate) fn create(role: Role, capacity: u32) -> io::Result<(OwnedFd, Region)> {
        let length = DATA as u64 + u64::from(capacity);
        // Past this limit the kernel would end the process with a signal instead of an error.
        if getrlimit(Resource::Fsize).current.is_some_and(|limit| limit < length) {
            return Err(io::Error::from(Errno::FBIG));
        }
        let fd = new_memfd()?;
        rustix::fs::ftruncate(&fd, length)?;
        allocate(&fd, length)?;
        let mut options = MmapOptions::new();
        options.len(length as usize);
        let map = match role {
            Role::Daemon => options.map_raw(fd.as_raw_fd())?,
            Role::Client => options.map_raw_read_only(fd.as_raw_fd())?,
        };
        crate::fault::point("memory.unsealed");
        rustix::fs::fcntl_add_seals(&fd, role.seals())?;
        Ok((fd, Region::mapped(map, capacity)))
    }

    /// Has the kernel find memory for all of the file now, so that nobody is killed later for want of it.
    fn allocate(fd: &OwnedFd, length: u64) -> io::Result<()> {
        /// How much is asked for at once. A signal undoes what a call has done so far: a process that gets
        /// one every millisecond could not have a large ring in one call.
        const PIECE: u64 = 256 << 10;
        let mut done = 0;
        while done < length {
            let piece = PIECE.min(length - done);
            match rustix::fs::fallocate(fd, FallocateFlags::empty(), done, piece) {
                Ok(()) => done += piece,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn new_memfd() -> io::Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        match rustix::fs::memfd_create("libgrite-ipc", flags | MemfdFlags::NOEXEC_SEAL) {
            // Kernels before 6.3 do not know the flag that seals against execution.
            Err(Errno::INVAL) => Ok(rustix::fs::memfd_create("libgrite-ipc", flags)?),
            result => Ok(result?),
        }
    }

    /// A region that the daemon sent, whose seals and size are what they must be.
    pub(crate) struct Fit<'a> {
        fd: &'a OwnedFd,
        role: Role,
        capacity: u32,
    }

    /// Looks at the seals and then at the size of a region that the daemon sent.
    pub(crate) fn judge(fd: &OwnedFd, role: Role, capacity: u32) -> Result<Fit<'_>, Unfit> {
        let wanted = role.seals();
        let found = rustix::fs::fcntl_get_seals(fd).map_err(|errno| match errno {
            Errno::INVAL => Unfit::NoMemfd,
            errno => Unfit::System(errno.into()),
        })?;
        // A seal against execution may come on top; one against writing may not, where we write.
        if found.difference(SealFlags::EXEC) != wanted {
            return Err(Unfit::Seals { found, wanted });
        }
        let length = DATA as u64 + u64::from(capacity);
        let stat = rustix::fs::fstat(fd.as_fd()).map_err(io::Error::from)?;
        if stat.st_size as u64 != length {
            return Err(Unfit::Size { found: stat.st_size as u64, wanted: length });
        }
        Ok(Fit { fd, role, capacity })
    }

    impl Fit<'_> {
        /// Maps it: the client its own writable, and the daemon's read-only.
        pub(crate) fn map(self) -> io::Result<Region> {
            let mut options = MmapOptions::new();
            options.len(DATA + self.capacity as usize);
            let map = match self.role {
                Role::Daemon => options.map_raw_read_only(self.fd.as_raw_fd()),
                Role::Client => options.map_raw(self.fd.as_raw_fd()),
            };
            Ok(Region::mapped(map?, self.capacity))
        }
    }
}

/// A number that tells this process from those that it was forked from.
///
/// Costs one load from memory, so that a handle can ask at each use whether it was carried across a
/// fork. The kernel wipes the page that holds the number in a child; where it cannot, each call is
/// a system call for the process id.
#[inline]
pub(crate) fn process() -> u32 {
    static NUMBER: OnceLock<Option<&AtomicU32>> = OnceLock::new();
    let Some(number) = NUMBER.get_or_init(|| wiped_on_fork().ok()) else { return std::process::id() };
    match number.load(Ordering::Relaxed) {
        0 => name_process(number),
        named => named,
    }
}

/// Names this process by a number that none of its forefathers has: its process id may be that of one, in another
/// namespace.
#[cold]
fn name_process(number: &AtomicU32) -> u32 {
    /// How many numbers this process and its forefathers have taken: a child goes on from there.
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let next = TAKEN.fetch_add(1, Ordering::Relaxed) + 1;
    number
        .compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed)
        .map_or_else(|named| named, |_| next)
}

#[cfg(target_os = "linux")]
fn wiped_on_fork() -> io::Result<&'static AtomicU32> {
    let page = std::mem::ManuallyDrop::new(MmapRaw::from(MmapOptions::new().len(DATA).map_anon()?));
    // SAFETY: the whole of a private anonymous mapping that nobody else knows; the advice changes
    // only what a forked child finds there.
    unsafe { rustix::mm::madvise(page.as_mut_ptr().cast(), DATA, rustix::mm::Advice::LinuxWipeOnFork) }?;
    // SAFETY: a page of our own that stays mapped for ever, accessed through atomics only.
    Ok(unsafe { AtomicU32::from_ptr(page.as_mut_ptr().cast()) })
}

#[cfg(not(target_os = "linux"))]
fn wiped_on_fork() -> io::Result<&'static AtomicU32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A number in a file that all processes of one user can raise, and read without a system call.
///
/// A daemon that keeps a store's contents in memory asks it whether another process has written:
/// the writer calls [`bump`](ChangeCounter::bump) before its write becomes visible, within the lock or transaction
/// that it writes in; the daemon compares [`load`](ChangeCounter::load) with what it saw when it last read the store.
/// Load the counter and read the store while writers are locked out. Otherwise the new number may be paired with the
/// old content, and the change is never noticed. Where nothing locks writers out, bump before the write and after it.
///
/// The file must not be truncated while a counter has it open, as with any mapped file.
///
/// ```
/// use libgrite_ipc::ChangeCounter;
///
/// let folder = tempfile::tempdir()?;
/// let counter = ChangeCounter::open(folder.path().join("changes"))?;
/// let seen = counter.load();
/// ChangeCounter::open(folder.path().join("changes"))?.bump();
/// assert_ne!(counter.load(), seen);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ChangeCounter {
    map: MmapRaw,
}

impl ChangeCounter {
    const LENGTH: u64 = 8;

    /// Opens the counter in the file at `path`, and makes the file if there is none.
    ///
    /// # Errors
    /// What the system says of opening, extending or mapping the file.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() < Self::LENGTH {
            reserve(&file, Self::LENGTH)?;
        }
        Ok(ChangeCounter { map: MmapOptions::new().len(Self::LENGTH as usize).map_raw(&file)? })
    }

    /// The number now. Costs one load from memory.
    pub fn load(&self) -> u64 {
        self.number().load(Ordering::SeqCst)
    }

    /// Raises the number by one, for all processes at once.
    pub fn bump(&self) {
        self.number().fetch_add(1, Ordering::SeqCst);
    }

    /// The low half of the number, for the kernel to compare before a sleep.
    pub(crate) fn low_half(&self) -> &AtomicU32 {
        let offset = if cfg!(target_endian = "little") { 0 } else { 4 };
        // SAFETY: the mapping has eight bytes, so four more lie behind either offset.
        let half = unsafe { self.map.as_mut_ptr().add(offset) };
        // SAFETY: four bytes are mapped there for as long as `self` lives, aligned since a page's
        // start is; this crate hands the reference to the kernel only, which reads them.
        unsafe { AtomicU32::from_ptr(half.cast()) }
    }

    fn number(&self) -> &AtomicU64 {
        // SAFETY: eight bytes are mapped writable for as long as `self` lives, at a page's start,
        // and every process accesses them through this type's atomics.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast()) }
    }
}

/// Makes `file` so long, and room for it on the disk: what is mapped and finds none when it is written ends the
/// process with a signal.
#[cfg(target_os = "linux")]
fn reserve(file: &File, length: u64) -> io::Result<()> {
    use rustix::io::{Errno, retry_on_intr};

    match retry_on_intr(|| rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length)) {
        // Not all file systems can.
        Err(Errno::OPNOTSUPP) => file.set_len(length),
        reserved => Ok(reserved?),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)
}

#[cfg(all(test, target_os = "linux", not(loom), not(grite_portable)))]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::fs::{MemfdFlags, SealFlags};
    use rustix::io::Errno;
    use rustix::mm::{MapFlags, ProtFlags};

    use super::*;

    const CAPACITY: u32 = 8192;

    #[test]
    fn a_region_of_the_daemon_cannot_be_written_by_who_receives_it() {
        let (fd, _region) = create(Role::Daemon, CAPACITY).unwrap();
        let length = DATA + CAPACITY as usize;
        let writable = MmapOptions::new().len(length).map_raw(&fd);
        assert_eq!(writable.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(rustix::io::pwrite(&fd, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&fd, 1 << 20), Err(Errno::PERM));
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        assert_eq!(rustix::fs::fallocate(&fd, punch, 0, 4096), Err(Errno::PERM));
        let read_only = MmapOptions::new().len(length).map_raw_read_only(&fd).unwrap();
        // SAFETY: only the protection of a mapping that this test alone uses is changed.
        let writable = unsafe {
            rustix::mm::mprotect(read_only.as_mut_ptr().cast(), length, rustix::mm::MprotectFlags::WRITE)
        };
        assert_eq!(writable, Err(Errno::ACCESS));
        // SAFETY: a new mapping at an address of the kernel's choice.
        let fresh = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            rustix::mm::mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, &fd, 0)
        };
        assert_eq!(fresh.unwrap_err(), Errno::PERM);
    }

    #[test]
    fn a_region_of_the_client_keeps_its_size_and_its_seals() {
        let (fd, _region) = create(Role::Client, CAPACITY).unwrap();
        assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&fd, 1 << 20), Err(Errno::PERM));
        assert_eq!(rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE), Err(Errno::PERM));
        let seals = rustix::fs::fcntl_get_seals(&fd).unwrap();
        assert_eq!(seals.difference(SealFlags::EXEC), SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL);
    }

    #[test]
    fn a_sealed_region_is_adopted_at_its_size_only() {
        for role in [Role::Daemon, Role::Client] {
            let (fd, _region) = create(role, CAPACITY).unwrap();
            assert_eq!(judge(&fd, role, CAPACITY).unwrap().map().unwrap().capacity(), u64::from(CAPACITY));
            assert!(matches!(judge(&fd, role, 2 * CAPACITY), Err(Unfit::Size { .. })));
            assert!(matches!(judge(&fd, role, CAPACITY / 2), Err(Unfit::Size { .. })));
        }
    }

    /// The kernel is asked for its memory in several pieces.
    #[test]
    fn a_large_region_is_neither_shorter_nor_longer_than_was_asked_for() {
        let (fd, _region) = create(Role::Client, 1 << 20).unwrap();
        let stat = rustix::fs::fstat(&fd).unwrap();
        assert_eq!(stat.st_size as usize, DATA + (1 << 20));
        assert!(stat.st_blocks as usize * 512 >= DATA + (1 << 20), "all of it is there");
    }

    #[test]
    fn a_region_of_the_other_role_is_not_adopted() {
        let (daemon, _region) = create(Role::Daemon, CAPACITY).unwrap();
        assert!(matches!(judge(&daemon, Role::Client, CAPACITY), Err(Unfit::Seals { .. })));
        let (client, _region) = create(Role::Client, CAPACITY).unwrap();
        assert!(matches!(judge(&client, Role::Daemon, CAPACITY), Err(Unfit::Seals { .. })));
    }

    #[test]
    fn every_missing_seal_is_noticed() {
        for role in [Role::Daemon, Role::Client] {
            let all = role_seals(role);
            for missing in all.iter() {
                let fd = memfd_with(all.difference(missing));
                assert!(
                    matches!(judge(&fd, role, CAPACITY), Err(Unfit::Seals { .. })),
                    "without {missing:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_memfd_is_not_adopted() {
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        for fd in [file, event] {
            assert!(matches!(judge(&fd, Role::Client, CAPACITY), Err(Unfit::NoMemfd | Unfit::Seals { .. })));
        }
    }

    #[test]
    fn no_program_that_the_daemon_starts_inherits_a_region() {
        let (fd, _region) = create(Role::Daemon, CAPACITY).unwrap();
        assert_eq!(rustix::io::fcntl_getfd(&fd), Ok(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn a_counter_counts_for_all_who_have_its_file_open() {
        let folder = tempfile::tempdir().unwrap();
        let open = || ChangeCounter::open(folder.path().join("changes")).unwrap();
        let counter = open();
        counter.bump();
        open().bump();
        assert_eq!((counter.load(), open().load()), (2, 2));
        assert_eq!(counter.low_half().load(Ordering::SeqCst), 2);
    }

    fn role_seals(role: Role) -> SealFlags {
        let (fd, _region) = create(role, CAPACITY).unwrap();
        rustix::fs::fcntl_get_seals(&fd).unwrap().difference(SealFlags::EXEC)
    }

    fn memfd_with(seals: SealFlags) -> OwnedFd {
        let fd = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&fd, DATA as u64 + u64::from(CAPACITY)).unwrap();
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    }
}
