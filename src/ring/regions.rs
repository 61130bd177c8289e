//! The memory of a ring as it is, shared with another process ([`Regions`]), and the instructions that copy there
//! (`native`).
//!
//! This file may use `unsafe`: it reads memory that another process writes at any time, and writes
//! memory that another process reads at any time. No reference or slice over such memory exists
//! here, only atomics by pointer, copies by raw pointer of what is ours to write, and copies out of
//! the peer's ring that the compiler cannot see through.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU32, AtomicU64};

use super::memory::{Await, Memory, Word};
use super::position::offset;
use crate::frame::{ALIGN, HeaderWords, LINE};
use crate::payload::Bytes;
use crate::shm::{self, Region};
use crate::sync::{Ordering, fence};

/// Two regions in shared memory: ours, which only we write, and theirs, which only the peer writes.
#[derive(Clone, Debug)]
pub(crate) struct Regions {
    pub(crate) ours: Region,
    pub(crate) theirs: Region,
}

impl Regions {
    /// The word of `region` that a side sleeps on: the low 32 bits of a position.
    ///
    /// The reference is for the kernel only: our own code loads and stores the position as a whole, and atomic
    /// accesses of two sizes do not go together.
    pub(crate) fn futex(region: &Region, word: Word) -> &AtomicU32 {
        let low_half = if cfg!(target_endian = "big") { 4 } else { 0 };
        // SAFETY: `Region` maps `shm::DATA` bytes and more behind its base while it lives, and each
        // 8-byte `Word` lies below that.
        let half = unsafe { region.base().add(word as usize + low_half) };
        // SAFETY: in bounds, aligned to 4 (bases are page-aligned), valid while `region` is
        // borrowed, and not accessed through this reference but by the kernel, which only reads.
        unsafe { &*half.cast::<AtomicU32>() }
    }

    /// How far the peer is with a `word` of its region, for who waits for it to move. Relaxed: nothing that the peer
    /// has written before is looked at.
    pub(crate) fn glimpse(theirs: &Region, word: Word) -> u64 {
        Self::word64(theirs, word).load(Ordering::Relaxed)
    }

    #[inline]
    fn word64(region: &Region, word: Word) -> &AtomicU64 {
        // SAFETY: in bounds, since each `Word` lies below `shm::DATA`.
        let word = unsafe { region.base().add(word as usize) };
        // SAFETY: in bounds, aligned to 8, valid while borrowed, and accessed by atomics only. A
        // region that is mapped read-only is only ever loaded from, with `Relaxed`, which is
        // promised to work there.
        unsafe { &*word.cast::<AtomicU64>() }
    }

    /// Loads a word of the peer's region with acquire ordering.
    ///
    /// A relaxed load and a fence, since only relaxed loads are promised to work on memory that is
    /// mapped read-only. ThreadSanitizer sees no fences.
    #[inline]
    fn load_acquire(region: &Region, word: Word) -> u64 {
        let order = if cfg!(grite_tsan) { Ordering::Acquire } else { Ordering::Relaxed };
        let value = Self::word64(region, word).load(order);
        fence(Ordering::Acquire);
        value
    }

    /// A pointer to a position of a region's ring from which `length` bytes are mapped.
    #[inline]
    fn data(region: &Region, position: u64, length: usize) -> *mut u8 {
        let offset = offset(position, region.capacity());
        assert!(length as u64 <= region.capacity() - offset, "the ring asks for no bytes past its end");
        // SAFETY: `Region` maps `DATA + capacity` bytes, and the offset is less than the capacity.
        unsafe { region.base().add(shm::DATA + offset as usize) }
    }

    /// Appends `length` bytes at a position of a region's ring to `into`.
    ///
    /// # Safety
    /// The position is a multiple of 16. `copy` asks no more than [`copy_in_turns`] does, and has written the first
    /// `length` bytes of its target when it returns.
    #[inline]
    unsafe fn append(
        region: &Region,
        position: u64,
        length: usize,
        into: &mut Bytes,
        copy: unsafe fn(*const u8, *mut u8, usize),
    ) {
        let source = Self::data(region, position, length);
        into.reserve(length.next_multiple_of(ALIGN));
        let start = into.len();
        // SAFETY: `start` is within the allocation.
        let target = unsafe { into.as_mut_ptr().add(start) };
        // SAFETY: aligned to 16, as the caller promises, and mapped, as `data` checked; so are capacities, and rounding
        // up stays within the mapping. `target` has room for `length` rounded up to 16, as just reserved, and is
        // private memory, so they do not overlap.
        unsafe { copy(source, target, length) };
        // SAFETY: the first `start + length` bytes are initialised now, as the caller promises of `copy`, and fit the
        // capacity.
        unsafe { into.set_len(start + length) };
    }
}

/// Copies bytes that another process may be writing, in turns of 128 or 16: what arrives may be torn, nothing else can
/// happen, because no load here is one that the compiler reasons about.
///
/// # Safety
/// `source` is aligned to 16; `length` rounded up to a multiple of 16 is readable at `source` and
/// writable at `target`; the two do not overlap; no reference to the target exists.
#[inline]
unsafe fn copy_in_turns(source: *const u8, target: *mut u8, length: usize) {
    let mut copied = 0;
    if length >= SHORT {
        let blocks = length / native::BLOCK;
        // SAFETY: there is one block and more, and the caller vouches for all of them.
        if unsafe { native::copy_blocks(source, target, blocks) } {
            copied = blocks * native::BLOCK;
        }
    }
    while copied < length {
        // SAFETY: this piece lies within what the caller vouches for.
        unsafe { native::copy_piece(source, target, copied) };
        copied += ALIGN;
    }
}

/// Fewer bytes are copied sooner than it is found out whether the CPU has wide registers, and where they are looked
/// for: a call takes 30 instructions more.
pub(super) const SHORT: usize = 512;

/// What there are instructions for.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(loom, grite_tsan))))]
mod native {
    use std::arch::asm;
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    use super::LINE;

    pub(super) const HAS_WAYS: bool = true;

    /// What a turn of [`copy_blocks`] copies, in bytes.
    pub(super) const BLOCK: usize = 128;

    /// Has the line at `at` come, wherever that points.
    #[inline]
    pub(super) fn fetch(at: *const u8) {
        // SAFETY: a prefetch accesses nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }

    /// Copies blocks with registers of 32 bytes, if the CPU has them; says whether. On Zen 5, 4 KiB there and back take
    /// 0.65 µs in place of 0.69 with those of 16 bytes, and 16 KiB 1.65 in place of 1.8.
    ///
    /// # Safety
    /// As [`copy_in_turns`](super::copy_in_turns), for the length of so many blocks; there is one at least.
    #[inline(never)]
    pub(super) unsafe fn copy_blocks(source: *const u8, target: *mut u8, blocks: usize) -> bool {
        if !std::is_x86_feature_detected!("avx") {
            return false;
        }
        // SAFETY: the CPU has the instructions. All bytes are in the promised ranges, `target` private memory that
        // nobody refers to; the compiler assumes nothing about the bytes read. The upper halves of the registers are
        // zero behind it, as code that does not use them wants it.
        unsafe {
            asm!(
                "2:",
                "vmovups ymm0, [{source}]",
                "vmovups ymm1, [{source} + 32]",
                "vmovups ymm2, [{source} + 64]",
                "vmovups ymm3, [{source} + 96]",
                "vmovups [{target}], ymm0",
                "vmovups [{target} + 32], ymm1",
                "vmovups [{target} + 64], ymm2",
                "vmovups [{target} + 96], ymm3",
                "add {source}, 128",
                "add {target}, 128",
                "dec {left}",
                "jnz 2b",
                "vzeroupper",
                source = inout(reg) source => _,
                target = inout(reg) target => _,
                left = inout(reg) blocks => _,
                // All of them: `vzeroupper` writes each.
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                options(nostack)
            );
        }
        true
    }

    /// Copies 16 bytes.
    ///
    /// # Safety
    /// As [`copy_in_turns`](super::copy_in_turns); `index` is a multiple of 16 below the length.
    #[inline]
    pub(super) unsafe fn copy_piece(source: *const u8, target: *mut u8, index: usize) {
        // SAFETY: both pieces are in the promised ranges, `target` private memory that nobody refers to; the
        // compiler assumes nothing about the bytes read.
        unsafe {
            asm!(
                "movups {piece}, [{source} + {index}]",
                "movups [{target} + {index}], {piece}",
                source = in(reg) source,
                target = in(reg) target,
                index = in(reg) index,
                piece = out(xmm_reg) _,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Copies by one instruction.
    ///
    /// # Safety
    /// As [`copy_in_turns`](super::copy_in_turns).
    pub(super) unsafe fn copy_at_once(source: *const u8, target: *mut u8, length: usize) {
        // SAFETY: the instruction reads `length` bytes at `source` and writes as many at `target`,
        // both valid by the caller's promise; the direction flag is clear by the calling
        // convention; the compiler assumes nothing about the bytes read.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") length => _,
                inout("rsi") source => _,
                inout("rdi") target => _,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Stores lines past this CPU's cache, in front of all that is stored later.
    ///
    /// # Safety
    /// `target` is aligned to a line; `lines` fit there, and do not overlap it.
    pub(super) unsafe fn store_past(lines: &[[u8; LINE as usize]], target: *mut u8) {
        const { assert!(LINE == 64, "as many bytes as a turn of the loop stores") };
        if lines.is_empty() {
            return;
        }
        // SAFETY: as many lines are read as there are and written where the caller has room for them, in pieces that
        // are aligned to 16. Such stores keep no order among themselves; the fence ends them before this block does.
        unsafe {
            asm!(
                "2:",
                "movups {a}, [{source}]",
                "movups {b}, [{source} + 16]",
                "movups {c}, [{source} + 32]",
                "movups {d}, [{source} + 48]",
                "movntps [{target}], {a}",
                "movntps [{target} + 16], {b}",
                "movntps [{target} + 32], {c}",
                "movntps [{target} + 48], {d}",
                "add {source}, 64",
                "add {target}, 64",
                "dec {left}",
                "jnz 2b",
                "sfence",
                source = inout(reg) lines.as_ptr() => _,
                target = inout(reg) target => _,
                left = inout(reg) lines.len() => _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack)
            );
        }
    }
}

/// What stands in for them elsewhere, and where ThreadSanitizer is to see each access.
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(any(loom, grite_tsan)))))]
mod native {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::LINE;

    pub(super) const HAS_WAYS: bool = false;

    pub(super) const BLOCK: usize = 128;

    pub(super) fn fetch(_at: *const u8) {}

    /// # Safety
    /// None is needed.
    pub(super) unsafe fn copy_blocks(_source: *const u8, _target: *mut u8, _blocks: usize) -> bool {
        false
    }

    /// Copies 16 bytes.
    ///
    /// # Safety
    /// As [`copy_in_turns`](super::copy_in_turns); `index` is a multiple of 16 below the length.
    #[inline]
    pub(super) unsafe fn copy_piece(source: *const u8, target: *mut u8, index: usize) {
        for index in [index, index + size_of::<u64>()] {
            // SAFETY: the word is in the promised range.
            let from = unsafe { source.add(index) };
            // SAFETY: in range and aligned to 8, as `source` is and `index` is a multiple of 8; the peer's
            // writes race only with this atomic load.
            let word = unsafe { &*from.cast::<AtomicU64>() }.load(Ordering::Relaxed);
            // SAFETY: the word is in the promised range.
            let to = unsafe { target.add(index) };
            // SAFETY: in range of private memory that nobody refers to.
            unsafe { to.cast::<u64>().write_unaligned(word) };
        }
    }

    pub(super) use super::copy_in_turns as copy_at_once;

    /// # Safety
    /// `lines` fit at `target`, and do not overlap it.
    pub(super) unsafe fn store_past(lines: &[[u8; LINE as usize]], target: *mut u8) {
        // SAFETY: as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(lines.as_ptr().cast(), target, lines.as_flattened().len()) };
    }
}

impl Memory for Regions {
    const HAS_WAYS: bool = native::HAS_WAYS;

    fn outgoing_capacity(&self) -> u64 {
        self.ours.capacity()
    }

    fn incoming_capacity(&self) -> u64 {
        self.theirs.capacity()
    }

    #[inline]
    fn publish(&self, position: u64) {
        Self::word64(&self.ours, Word::Published).store(position, Ordering::Release);
    }

    #[inline]
    fn consume(&self, position: u64) {
        Self::word64(&self.ours, Word::Consumed).store(position, Ordering::Release);
    }

    fn set_await(&self, what: Await, mark: u64) {
        Self::word64(&self.ours, what.word()).store(mark, Ordering::Relaxed);
    }

    fn set_cpu(&self, cpu: u64) {
        Self::word64(&self.ours, Word::Cpu).store(cpu, Ordering::Relaxed);
    }

    #[inline]
    fn peer_published(&self) -> u64 {
        Self::load_acquire(&self.theirs, Word::Published)
    }

    #[inline]
    fn peer_consumed(&self) -> u64 {
        Self::load_acquire(&self.theirs, Word::Consumed)
    }

    #[inline]
    fn peer_await(&self, what: Await) -> u64 {
        Self::word64(&self.theirs, what.word()).load(Ordering::Relaxed)
    }

    fn peer_cpu(&self) -> u64 {
        Self::word64(&self.theirs, Word::Cpu).load(Ordering::Relaxed)
    }

    /// A word at a time, each from a register: copied as a whole, the header would be loaded from where its
    /// words were just stored, and that load waits until all stores before it have reached the ring.
    #[inline]
    fn write_header(&self, position: u64, header: HeaderWords) {
        let target = Self::data(&self.ours, position, size_of::<HeaderWords>()).cast::<u64>();
        // SAFETY: in bounds, as `data` checked both words.
        let second = unsafe { target.add(1) };
        // SAFETY: in bounds of our own region, aligned to 8; the peer's reads race only with this atomic
        // store.
        unsafe { AtomicU64::from_ptr(target) }.store(header[0], Ordering::Relaxed);
        // SAFETY: as for the first word.
        unsafe { AtomicU64::from_ptr(second) }.store(header[1], Ordering::Relaxed);
    }

    #[inline]
    fn write(&self, position: u64, bytes: &[u8]) {
        let target = Self::data(&self.ours, position, bytes.len());
        // Archives end in pieces of these lengths, for which a call of the copying function takes longer.
        if let Ok(word) = bytes.try_into().map(u64::from_ne_bytes) {
            // SAFETY: in bounds of our own region, as `data` checked; any bytes may lie there.
            unsafe { target.cast::<u64>().write_unaligned(word) };
        } else if let Ok(words) = bytes.try_into().map(u128::from_ne_bytes) {
            // SAFETY: as for one word.
            unsafe { target.cast::<u128>().write_unaligned(words) };
        } else if !bytes.is_empty() {
            // SAFETY: in bounds of our own region, which `bytes` cannot overlap since no slice over a
            // region exists.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        }
    }

    fn write_past(&self, position: u64, bytes: &[u8]) {
        let target = Self::data(&self.ours, position, bytes.len());
        let (head, tail) = bytes.split_at(bytes.len().min(target.align_offset(LINE as usize)));
        let (lines, rest) = tail.as_chunks();
        self.write(position, head);
        // SAFETY: behind the head, and in bounds of our own region as `data` checked for all of these bytes.
        let target = unsafe { target.add(head.len()) };
        // SAFETY: the lines are in bounds as well; they begin where a line does, or there are none. `lines` cannot
        // overlap them since no slice over a region exists.
        unsafe { native::store_past(lines, target) };
        self.write(position.wrapping_add((bytes.len() - rest.len()) as u64), rest);
    }

    #[inline]
    fn write_zeros(&self, position: u64, length: usize) {
        let target = Self::data(&self.ours, position, length);
        // Most archives end at a multiple of a word.
        if length == size_of::<u64>() {
            // SAFETY: in bounds of our own region, as `data` checked; any bytes may lie there.
            unsafe { target.cast::<u64>().write_unaligned(0) };
        } else {
            // SAFETY: as for one word.
            unsafe { target.write_bytes(0, length) };
        }
    }

    fn read_back(&self, position: u64, length: usize, into: &mut Bytes) {
        // SAFETY: frames start at multiples of 16; the copy is `copy_in_turns` itself.
        unsafe { Self::append(&self.ours, position, length, into, copy_in_turns) };
    }

    #[inline]
    fn fetch(&self, position: u64, length: u64) {
        for line in (0..length).step_by(LINE as usize) {
            let offset = offset(position.wrapping_add(line), self.theirs.capacity());
            native::fetch(self.theirs.base().wrapping_add(shm::DATA + offset as usize));
        }
    }

    #[inline]
    fn read_header(&self, position: u64) -> HeaderWords {
        let source = Self::data(&self.theirs, position, size_of::<HeaderWords>()).cast::<u64>();
        // SAFETY: the second word of a header is in bounds, as `data` checked both.
        let second = unsafe { source.add(1) };
        // SAFETY: in bounds, aligned to 8, mapped while `self` lives; the peer's writes race only
        // with this atomic load.
        let first = unsafe { &*source.cast::<AtomicU64>() }.load(Ordering::Relaxed);
        // SAFETY: as for the first word.
        let second = unsafe { &*second.cast::<AtomicU64>() }.load(Ordering::Relaxed);
        [first, second]
    }

    #[inline]
    fn read(&self, position: u64, length: usize, into: &mut Bytes) {
        // SAFETY: frames start at multiples of 16; the copy is `copy_in_turns` itself.
        unsafe { Self::append(&self.theirs, position, length, into, copy_in_turns) };
    }

    fn read_at_once(&self, position: u64, length: usize, into: &mut Bytes) {
        // SAFETY: frames start at multiples of 16; `copy_at_once` asks for the same.
        unsafe { Self::append(&self.theirs, position, length, into, native::copy_at_once) };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::shm::MIN_CAPACITY;

    #[test]
    fn a_pointer_into_the_ring_leads_to_its_last_byte() {
        let region = Region::on_heap(MIN_CAPACITY);
        let last = Regions::data(&region, u64::from(MIN_CAPACITY) - 1, 1);
        assert_eq!(last.addr() - region.base().addr(), shm::DATA + MIN_CAPACITY as usize - 1);
        Regions::data(&region, 0, MIN_CAPACITY as usize);
    }

    #[test]
    #[should_panic(expected = "the ring asks for no bytes past its end")]
    fn a_pointer_past_the_ring_is_never_made() {
        Regions::data(&Region::on_heap(MIN_CAPACITY), u64::from(MIN_CAPACITY) - 1, 2);
    }

    #[test]
    #[should_panic(expected = "the ring asks for no bytes past its end")]
    fn a_pointer_around_the_rings_end_is_never_made() {
        Regions::data(&Region::on_heap(MIN_CAPACITY), u64::MAX, 2);
    }

    #[test]
    fn what_goes_past_the_cache_is_written_exactly() {
        let region = Region::on_heap(MIN_CAPACITY);
        let regions = Regions { ours: region.clone(), theirs: region };
        let bytes: Vec<u8> = (0..).map(|byte: u32| byte as u8).take(500).collect();
        let last = u64::from(MIN_CAPACITY) - 200;
        for position in (0..2 * LINE).step_by(5).chain(last..last + 70) {
            for length in (0..200).chain([bytes.len()]) {
                let (end, mut seen) = (position as usize + length, Bytes::new());
                if end > MIN_CAPACITY as usize {
                    continue;
                }
                regions.write_zeros(0, MIN_CAPACITY as usize);
                regions.write_past(position, &bytes[..length]);
                regions.read_back(0, MIN_CAPACITY as usize, &mut seen);
                assert_eq!(seen[position as usize..end], bytes[..length], "{length} bytes at {position}");
                assert!(seen[..position as usize].iter().chain(&seen[end..]).all(|&byte| byte == 0));
            }
        }
    }

    /// Payloads begin at any multiple of 16, and may end with the ring.
    #[test]
    fn copies_of_every_length_out_of_a_ring_are_exact() {
        let bytes: Vec<u8> =
            (0u32..).map(|byte| (byte ^ byte >> 8) as u8).take(MIN_CAPACITY as usize).collect();
        let region = Region::on_heap(MIN_CAPACITY);
        let regions = Regions { ours: region.clone(), theirs: region };
        regions.write(0, &bytes);
        for (way, read) in
            [("in turns", Regions::read as fn(&_, _, _, &mut _)), ("at once", Regions::read_at_once)]
        {
            for length in 0..=2 * SHORT {
                let last = (bytes.len() - length) / ALIGN * ALIGN;
                for start in [0, 16, 32, 48, last] {
                    let mut into = Bytes::new();
                    into.extend_from_slice(b"kept");
                    read(&regions, start as u64, length, &mut into);
                    assert_eq!(&into[..4], b"kept");
                    assert_eq!(&into[4..], &bytes[start..start + length], "{length} bytes at {start}, {way}");
                }
            }
        }
    }
}
