//! Time: [`Moment`], an instant with the text that named it, and [`LogicalTime`], which orders
//! writes.

use std::cmp::Ordering;

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant, with the RFC 3339 text that it was given as.
///
/// The text is kept as it was written, offset and digits included, because an issue that goes out
/// must equal the one that came in. Moments compare as instants; two texts of one instant are equal.
#[derive(Clone, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Moment {
    text: String,
    /// Since the Unix epoch.
    nanoseconds: i128,
}

impl Moment {
    /// The longest text that is taken for a timestamp, in bytes.
    const MAX_TEXT: usize = 64;

    /// Now, in UTC, to the microsecond.
    pub fn now() -> Self {
        let now = Timestamp::now();
        let now = now.round(Unit::Microsecond).unwrap_or(now);
        Moment { text: format!("{now:.6}"), nanoseconds: now.as_nanosecond() }
    }

    /// Reads RFC 3339, or says `None`.
    pub fn parse(text: &str) -> Option<Self> {
        // The parser also takes other forms of ISO 8601; a file that holds those is not ours to guess at.
        let shape = text.as_bytes().get(..19)?;
        let punctuation = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if text.len() > Self::MAX_TEXT || punctuation.iter().any(|&(index, mark)| shape[index] != mark) {
            return None;
        }
        // A character of several bytes may lie across the end of the seconds.
        let zone = text.get(19..)?;
        if zone.contains(['[', ','])
            || !(zone.ends_with('Z') || zone.as_bytes().iter().rev().nth(2) == Some(&b':'))
        {
            return None;
        }
        let instant: Timestamp = text.parse().ok()?;
        Some(Moment { text: text.to_owned(), nanoseconds: instant.as_nanosecond() })
    }

    /// The text that it was given as.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Nanoseconds since the Unix epoch.
    pub fn nanoseconds(&self) -> i128 {
        self.nanoseconds
    }

    /// Milliseconds since the Unix epoch, rounded down.
    pub fn milliseconds(&self) -> i64 {
        // The years -9999 to 9999, all that the parser knows, fit many times.
        self.nanoseconds.div_euclid(1_000_000) as i64
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanoseconds.cmp(&other.nanoseconds)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Moment::parse(&text).ok_or_else(|| de::Error::custom("not an RFC 3339 timestamp"))
    }
}

/// A hybrid logical time: the writer's clock, and a counter for writes that the clock cannot order.
///
/// A write is always later than everything of the issue that its writer had seen, whatever the
/// clocks say.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
#[serde(from = "(i64, u32)", into = "(i64, u32)")]
pub struct LogicalTime {
    /// Since the Unix epoch, in milliseconds.
    milliseconds: i64,
    /// Tells writes within one millisecond apart.
    counter: u32,
}

impl LogicalTime {
    /// The end of the last year that has four digits, in milliseconds since the Unix epoch.
    const LATEST: i64 = 253_402_300_800_000;

    /// Whether a clock can have shown it.
    pub fn is_plausible(self) -> bool {
        (-Self::LATEST..=Self::LATEST).contains(&self.milliseconds)
    }

    /// The first time that is at `milliseconds`, and later than `seen`.
    pub fn after(seen: Option<LogicalTime>, milliseconds: i64) -> Self {
        let wanted = LogicalTime { milliseconds, counter: 0 };
        match seen {
            Some(seen) if seen >= wanted => match seen.counter.checked_add(1) {
                Some(counter) => LogicalTime { counter, ..seen },
                None => LogicalTime { milliseconds: seen.milliseconds.saturating_add(1), counter: 0 },
            },
            _ => wanted,
        }
    }
}

impl From<(i64, u32)> for LogicalTime {
    fn from((milliseconds, counter): (i64, u32)) -> Self {
        LogicalTime { milliseconds, counter }
    }
}

impl From<LogicalTime> for (i64, u32) {
    fn from(time: LogicalTime) -> Self {
        (time.milliseconds, time.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_their_text_and_compare_as_instants() {
        let here = Moment::parse("2025-11-02T21:58:07.295058-08:00").unwrap();
        let there = Moment::parse("2025-11-03T05:58:07.295058Z").unwrap();
        assert_eq!(here, there);
        assert_ne!(here.text(), there.text());
        assert!(Moment::parse("2025-11-03T05:58:07.295058001+00:00").unwrap() > there);
        assert_eq!(Moment::parse("1970-01-01T00:00:00.0019Z").unwrap().milliseconds(), 1);
        assert_eq!(Moment::parse("1969-12-31T23:59:59.9999Z").unwrap().milliseconds(), -1);
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for wrong in [
            "",
            "yesterday",
            "2025-11-02",
            "2025-11-02T21:58:07",
            "2025-11-02 21:58:07Z",
            "2025-13-02T21:58:07Z",
            "2025-11-02T25:58:07Z",
            "2025-11-02T21:58:07Z[UTC]",
            "2025-11-02T21:58:07-08",
            "20251102T215807Z",
            "2025-11-02T21:58:0éZ",
            "2025-11-02T21:58:0é",
            "éééééééééééééééé",
        ] {
            assert!(Moment::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn now_is_utc_and_reads_back() {
        let now = Moment::now();
        assert!(now.text().ends_with('Z') && now.text().len() == 27, "{}", now.text());
        assert_eq!(Moment::parse(now.text()).unwrap(), now);
    }

    #[test]
    fn a_time_is_later_than_what_was_seen() {
        let time = |milliseconds, counter| LogicalTime { milliseconds, counter };
        for (seen, clock, expected) in [
            (None, 5, time(5, 0)),
            (Some(time(4, 9)), 5, time(5, 0)),
            (Some(time(5, 0)), 5, time(5, 1)),
            (Some(time(9, 3)), 5, time(9, 4)),
            (Some(time(9, u32::MAX)), 5, time(10, 0)),
        ] {
            assert_eq!(LogicalTime::after(seen, clock), expected);
        }
    }
}
