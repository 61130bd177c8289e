//! What is promised of this library, as ratios of two medians: [`claims`]. Those that do not hold are shown
//! like the others.

use crate::report::OURS;
use crate::results::{Figures, Results};
use crate::work::{Stock, Work};

/// A promise and what came of it.
pub struct Claim {
    /// What is divided by what.
    pub what: String,
    /// What came of it: the ratio of the medians.
    pub ratio: f64,
    /// The least and the greatest ratio within one round.
    pub range: (f64, f64),
    /// What it may be at most, or must be at least.
    pub limit: f64,
    /// Whether more is better.
    at_least: bool,
}

impl Claim {
    /// Whether it is so.
    pub fn holds(&self) -> bool {
        if self.at_least { self.ratio >= self.limit } else { self.ratio <= self.limit }
    }

    /// Between the ratio and its limit.
    pub fn sign(&self) -> &'static str {
        if self.at_least { "≥" } else { "≤" }
    }
}

type Pick = fn(&Figures) -> f64;

const P50: (&str, Pick) = ("p50", |figures| figures.p50_ns as f64);
const P99: (&str, Pick) = ("p99", |figures| figures.p99_ns as f64);
const P999: (&str, Pick) = ("p99.9", |figures| figures.p999_ns as f64);
const RATE: (&str, Pick) = ("requests a second", |figures| figures.rate_per_s);
const CPU: (&str, Pick) = ("CPU of both", |figures| figures.client_cpu + figures.server_cpu);

/// What is divided: a peer's figures, hot or at so many questions a second.
type Seen<'a> = (&'a str, &'a str, Option<u32>);

/// All promises for such a run for which it has both medians.
pub fn claims(results: &Results) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut claim = |(name, pick): (&str, Pick), above: Seen, below: Seen, limit: f64, at_least: bool| {
        let figures = |(peer, work, pace): Seen| results.median(peer, work, pace);
        let (Some(dividend), Some(divisor)) = (figures(above), figures(below)) else { return };
        let describe = |(peer, work, pace): Seen| match pace {
            Some(rate) => format!("{peer}, {work} at {rate}/s"),
            None => format!("{peer}, {work}"),
        };
        let (peer, work, pace) = below;
        let divisors: Vec<_> = results.rounds(peer, work, pace).collect();
        let (peer, work, pace) = above;
        let ratios = results.rounds(peer, work, pace).filter_map(|(round, figures)| {
            let (_, divisor) = divisors.iter().find(|(other, _)| *other == round)?;
            Some(pick(&figures) / pick(divisor))
        });
        let range =
            ratios.fold((f64::MAX, 0.0f64), |(least, most), ratio| (least.min(ratio), most.max(ratio)));
        claims.push(Claim {
            what: format!("{name}: {} ÷ {}", describe(above), describe(below)),
            ratio: pick(&dividend) / pick(&divisor),
            range,
            limit,
            at_least,
        });
    };
    // Both ways in which iceoryx2 can be asked: its own pattern for it, and the quickest.
    let iceoryx2 = ["iceoryx2-requests", "iceoryx2-polling"];
    let park = "grite-ring-park";
    let small = "echo-64";
    if results.busy {
        claim(P50, (OURS, small, None), ("socket", small, None), 1.0, false);
        return claims;
    }
    if results.machine.cpus == 1 {
        claim(P50, (OURS, small, None), ("futex", small, None), 1.2, false);
        return claims;
    }
    for peer in iceoryx2 {
        claim(P50, (OURS, small, None), (peer, small, None), 0.33, false);
    }
    claim(P50, (OURS, small, None), ("cache-line", small, None), 3.0, false);
    claim(P50, (OURS, small, None), ("published", small, None), 1.0 / 40.0, false);
    claim(RATE, (OURS, small, None), ("published", small, None), 50.0, true);
    for (work, limit) in [("echo-4096", 0.6), ("echo-65536", 0.9), ("echo-1048576", 1.0)] {
        for peer in iceoryx2 {
            claim(P50, (OURS, work, None), (peer, work, None), limit, false);
        }
    }
    for work in [small, "echo-4096", "echo-65536", "echo-1048576"] {
        for peer in iceoryx2 {
            claim(P999, (OURS, work, None), (peer, work, None), 1.0, false);
        }
    }
    claim(P50, (park, small, None), ("futex", small, None), 1.15, false);
    claim(P50, (park, small, None), ("socket", small, None), 1.0, false);
    let slow = Some(1_000);
    claim(P50, (OURS, small, slow), ("socket", small, slow), 0.8, false);
    claim(P99, (OURS, small, slow), ("socket", small, slow), 1.0, false);
    claim(CPU, (OURS, small, slow), ("socket", small, slow), 1.0, false);
    for work in [Work::Show, Work::List] {
        let twin = Work::Echo(Stock::new().bytes(work).len()).to_string();
        claim(P50, (OURS, &work.to_string(), None), (OURS, &twin, None), 2.0, false);
    }
    claims
}
