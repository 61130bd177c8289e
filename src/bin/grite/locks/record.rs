//! What is written about a lock: [`Record`].

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// How many bytes of a resource's hash name its ref.
const NAME: usize = 16;

/// Who holds a lock, and until when. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this format.
    pub v: u32,
    /// What is locked.
    pub resource: String,
    /// The author's name.
    pub holder: String,
    /// The clone that the author works in.
    pub clone: String,
    /// The idempotency key of the command that took it: its repeat finds that it has it.
    pub key: String,
    /// When it was taken, or last renewed.
    pub from: i64,
    /// When its time is over.
    pub until: i64,
    /// By how much clocks may differ.
    pub margin: i64,
}

impl Record {
    /// The version that this program writes and reads.
    pub const VERSION: u32 = 1;

    /// Reads what was written, and of what a newer program wrote as much as it understands; `None` for anything
    /// else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let v = value["v"].as_u64().and_then(|v| u32::try_from(v).ok())?;
        if v <= Self::VERSION {
            return serde_json::from_value::<Record>(value).ok().filter(|record| record.v == Self::VERSION);
        }
        let text = |field: &str, otherwise: &str| value[field].as_str().unwrap_or(otherwise).to_owned();
        Some(Record {
            v,
            resource: text("resource", "(unknown)"),
            holder: text("holder", "(a newer program)"),
            clone: text("clone", ""),
            key: text("key", ""),
            from: value["from"].as_i64().unwrap_or(0),
            until: value["until"].as_i64().unwrap_or(i64::MAX),
            margin: value["margin"].as_i64().unwrap_or(0),
        })
    }

    /// Whether a newer program wrote it, so that only such a one may judge it.
    pub fn is_newer(&self) -> bool {
        self.v > Self::VERSION
    }

    /// The record as text.
    pub fn text(&self) -> String {
        // A record of texts and numbers can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The same for `ttl` milliseconds from `now` on.
    pub fn starting(self, now: i64, ttl: i64) -> Self {
        Record { from: now, until: now.saturating_add(ttl), ..self }
    }

    /// For how many milliseconds more it is its holder's, at `now`.
    pub fn remaining(&self, now: i64) -> u64 {
        u64::try_from(self.until.saturating_sub(now)).unwrap_or(0)
    }

    /// After how many milliseconds others can take it, at `now`.
    pub fn free_in(&self, now: i64) -> u64 {
        u64::try_from(self.until.saturating_add(self.margin.max(0)).saturating_sub(now)).unwrap_or(0)
    }

    /// Whether the author `holder` in `clone` has it.
    pub fn is_of(&self, holder: &str, clone: &str) -> bool {
        self.holder == holder && self.clone == clone
    }
}

/// What stands for `resource` in the name of a ref.
pub fn name(resource: &str) -> String {
    Sha256::digest(resource.as_bytes()).iter().take(NAME).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn record(holder: &str, key: &str, until: i64) -> Record {
        Record {
            v: Record::VERSION,
            resource: "deploy".to_owned(),
            holder: holder.to_owned(),
            clone: "c".to_owned(),
            key: key.to_owned(),
            from: 0,
            until,
            margin: 10,
        }
    }

    #[test]
    fn a_record_reads_back_and_nothing_else_does() {
        let record = record("ann", "k", 5);
        assert_eq!(Record::read(record.text().as_bytes()), Some(record.clone()));
        let none = Record { v: 0, ..record };
        for wrong in ["", "{}", "null", "[2]", "{\"v\":1}", "{\"v\":-2}", &none.text()] {
            assert_eq!(Record::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn what_a_newer_program_wrote_is_told_from_what_is_no_record() {
        let later = Record { v: 2, ..record("ann", "k", 5) };
        assert_eq!(Record::read(later.text().as_bytes()), Some(later.clone()));
        assert!(later.is_newer() && !record("ann", "k", 5).is_newer());
        let odd = Record::read(br#"{"v":3,"resource":{"name":"deploy"},"holder":"bob"}"#).unwrap();
        assert_eq!((odd.holder.as_str(), odd.resource.as_str(), odd.is_newer()), ("bob", "(unknown)", true));
        assert!(odd.free_in(0) > 0, "it is not known when it ends");
    }

    #[test]
    fn others_wait_for_the_margin_too() {
        let record = record("ann", "k", 100);
        for (now, remaining, free_in) in [(0, 100, 110), (100, 0, 10), (109, 0, 1), (110, 0, 0), (500, 0, 0)]
        {
            assert_eq!((record.remaining(now), record.free_in(now)), (remaining, free_in), "{now}");
        }
        let endless = Record { until: i64::MAX, ..record };
        assert!(endless.free_in(i64::MIN) > 0);
    }

    #[test]
    fn resources_have_names_of_their_own() {
        assert_eq!(name("deploy").len(), 2 * NAME);
        assert_ne!(name("deploy"), name("Deploy"));
    }
}
