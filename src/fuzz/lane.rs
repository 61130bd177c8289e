//! Two regions on the heap, kept from one input to the next, and payloads to send through them.

use std::sync::{Arc, LazyLock};

use crate::channel::Bell;
use crate::ring::{Await, Memory, Regions};
use crate::shm::{MIN_CAPACITY, Region};

/// The capacity of each ring, in bytes: the smallest that there is.
pub(super) const CAPACITY: usize = MIN_CAPACITY as usize;

/// A connection's memory, as each side sees it. What the far side may write, it writes through `far`.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) near: Regions,
    pub(super) far: Regions,
    pub(super) bell: Arc<dyn Bell>,
}

thread_local! {
    static LANE: Lane = {
        let (ours, theirs) = (Region::on_heap(MIN_CAPACITY), Region::on_heap(MIN_CAPACITY));
        let near = Regions { ours: ours.clone(), theirs: theirs.clone() };
        Lane { near, far: Regions { ours: theirs, theirs: ours }, bell: Arc::new(Mute) }
    };
}

/// Runs `work` on a lane whose rings are filled with zeros and whose positions all are `base`.
pub(super) fn with_lane(base: u64, work: impl FnOnce(&Lane)) {
    with_lane_at(base, |lane| {
        lane.near.write(0, &[0; CAPACITY]);
        lane.far.write(0, &[0; CAPACITY]);
        work(lane);
    });
}

/// Runs `work` on a lane whose rings hold what they held before, and whose positions all are `base`.
pub(super) fn with_lane_at(base: u64, work: impl FnOnce(&Lane)) {
    LANE.with(|lane| {
        for side in [&lane.near, &lane.far] {
            side.publish(base);
            side.consume(base);
            side.set_await(Await::Data, 0);
            side.set_await(Await::Space, 0);
            side.set_cpu(0);
        }
        work(lane);
    });
}

/// A bell that nobody hears.
#[derive(Debug)]
struct Mute;

impl Bell for Mute {
    fn ring(&self) {}
}

/// The longest payload that [`payload`] makes, in bytes.
pub(super) const MAX_PAYLOAD: usize = 16 << 10;

/// The payload of the message `id`: bytes that are others at each place, and from one id to the next.
pub(super) fn payload(id: u64, length: usize) -> &'static [u8] {
    static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let next = |state: &u64| Some(state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
        let states = std::iter::successors(Some(1u64), next);
        states.map(|state| (state >> 56) as u8).take(MAX_PAYLOAD + 256).collect()
    });
    &TABLE[id as usize % 256..][..length]
}
