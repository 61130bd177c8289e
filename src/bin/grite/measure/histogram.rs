//! How often each latency was seen: [`Histogram`], which allocates once, before anything is measured.

/// Each power of two is cut into so many buckets, so that a value is off by less than one percent.
const PARTS: u64 = 128;

/// The number of buckets: all values below [`PARTS`] have their own, and each of the larger powers of
/// two [`PARTS`] of them.
const BUCKETS: usize = ((64 - PARTS.ilog2() as usize) + 1) * PARTS as usize;

/// Latencies in nanoseconds.
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0 }
    }
}

impl Histogram {
    /// Adds one latency.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64) {
        if let Some(count) = self.counts.get_mut(bucket(nanoseconds)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// How many were added.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latency that `share` of them do not exceed; nothing if there are none.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(middle(found as u64))
    }
}

/// The bucket of a value.
fn bucket(value: u64) -> usize {
    if value < PARTS {
        return value as usize;
    }
    let shift = value.ilog2() - PARTS.ilog2();
    // The shifted value lies between PARTS and twice that.
    (u64::from(shift) * PARTS + (value >> shift)) as usize
}

/// The middle of a bucket.
fn middle(bucket: u64) -> u64 {
    if bucket < 2 * PARTS {
        return bucket;
    }
    let shift = bucket / PARTS - 1;
    let low = (bucket - shift * PARTS) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_off_by_less_than_one_percent() {
        let powers = (0..63).flat_map(|power| [1u64 << power, (1 << power) + 1, (1 << power) * 3 / 2]);
        for value in powers.chain([0, 127, 128, 129, 255, 256, 1000, u64::MAX / 2, u64::MAX]) {
            let index = bucket(value);
            assert!(index < BUCKETS, "{value}");
            let off = middle(index as u64).abs_diff(value);
            assert!(off as f64 <= value as f64 / 100.0, "{value} is off by {off}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.total(), histogram.quantile(0.5)), (0, None));
        (1..=100).for_each(|value| histogram.record(value));
        for (share, expected) in [(0.0, 1), (0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100)] {
            assert_eq!(histogram.quantile(share), Some(expected), "{share}");
        }
    }
}
