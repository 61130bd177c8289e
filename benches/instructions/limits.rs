//! What a request may take: `limits.txt`, which is committed.

use std::fs;
use std::path::PathBuf;

use crate::count::Side;
use crate::hot::Case;

/// How much more than what was counted is allowed.
const ROOM: f64 = 1.03;

/// The limits, and with which compiler they were counted.
pub struct Limits {
    pub compiler: String,
    limits: Vec<(Case, Side, u64)>,
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "benches", "instructions", "limits.txt"].iter().collect()
}

impl Limits {
    pub fn read() -> Self {
        let text = fs::read_to_string(path()).expect("the limits are committed");
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let compiler = lines.next().expect("the compiler comes first").to_owned();
        Limits { compiler, limits: lines.map(parse).collect() }
    }

    pub fn of(&self, case: Case, side: Side) -> Option<u64> {
        self.limits.iter().find(|limit| (limit.0, limit.1) == (case, side)).map(|limit| limit.2)
    }
}

fn parse(line: &str) -> (Case, Side, u64) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let limit = match words[..] {
        [case, side, limit] => Case::of_name(case)
            .zip(Side::ALL.into_iter().find(|other| other.name() == side))
            .zip(limit.parse().ok()),
        _ => None,
    };
    let ((case, side), limit) = limit.unwrap_or_else(|| panic!("no limit: {line:?}"));
    (case, side, limit)
}

/// Sets the limits by what was counted.
pub fn write(compiler: &str, counts: &[(Case, Side, f64)]) {
    let mut text = String::from(
        "# Instructions a hot request may take: as counted, and 3 % more. `LIMITS=write` sets them anew.\n",
    );
    text += &format!("{compiler}\n");
    for (case, side, counted) in counts {
        text += &format!("{} {} {}\n", case.name(), side.name(), (counted * ROOM).ceil());
    }
    fs::write(path(), text).expect("the limits can be written");
}
