//! Filters that have the kernel answer a call of this process with an error, or end the process for it: as
//! a kernel without the call does, a sandbox that forbids it, or a system that has run out of something.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;

use nix::libc::{MAP_SHARED, SYS_mmap};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, apply_filter_all_threads,
};

/// Mappings of files, which rings are in; not those of the heap and of stacks.
pub const SHARED_MAPPINGS: Calls = Calls::with(SYS_mmap, 3, MAP_SHARED as u64);

/// Which calls a filter is for: all of one number, or those of them with an argument that has these bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    pub number: i64,
    pub argument: Option<(u8, u64)>,
}

impl Calls {
    /// All calls of that number.
    pub const fn all(number: i64) -> Self {
        Calls { number, argument: None }
    }

    /// Those whose argument at this place has these bits.
    pub const fn with(number: i64, place: u8, bits: u64) -> Self {
        Calls { number, argument: Some((place, bits)) }
    }

    fn program(self, action: SeccompAction) -> BpfProgram {
        let rules = self.argument.map(|(place, bits)| {
            let equal = SeccompCmpOp::MaskedEq(bits);
            let condition = SeccompCondition::new(place, SeccompCmpArgLen::Dword, equal, bits).unwrap();
            SeccompRule::new(vec![condition]).unwrap()
        });
        let architecture = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let rules = BTreeMap::from([(self.number, rules.into_iter().collect())]);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture);
        BpfProgram::try_from(filter.unwrap()).unwrap()
    }
}

/// From now on the kernel answers these calls of this thread, and of those that it starts, with an error.
pub fn forbid(calls: Calls, error: i32) {
    apply_filter(&calls.program(SeccompAction::Errno(error as u32))).unwrap();
}

/// The same for all threads of this process.
pub fn forbid_everywhere(calls: Calls, error: i32) {
    apply_filter_all_threads(&calls.program(SeccompAction::Errno(error as u32))).unwrap();
}

/// From now on the process of this thread is killed for such a call of it, or of a thread that it starts.
pub fn die_of(calls: Calls) {
    apply_filter(&calls.program(SeccompAction::KillProcess)).unwrap();
}
