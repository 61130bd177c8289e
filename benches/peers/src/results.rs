//! What a run leaves behind: every cell of every round, and where it was measured.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::peer::{Failure, Reads, Side};

/// The file that `run` writes and `report` reads.
#[derive(Default, Serialize, Deserialize)]
pub struct Results {
    /// Where it was measured.
    pub machine: Machine,
    /// Whether a loop kept each CPU busy meanwhile.
    pub busy: bool,
    /// How: each command that added rounds.
    pub commands: Vec<String>,
    /// Who was measured.
    pub peers: Vec<Described>,
    /// Who could not be, and why.
    pub left_out: Vec<LeftOut>,
    /// What was seen, in the order in which it was measured.
    pub cells: Vec<Cell>,
}

/// Facts without which a number means little.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cpus: usize,
    pub kernel: String,
    pub compiler: String,
    /// Of the library that is measured.
    pub version: String,
    /// Of the source, where git tells.
    pub commit: String,
    /// What reading the clock takes. Each latency has one such reading in it.
    pub clock_ns: u64,
}

/// A peer, for the tables.
#[derive(Clone, Serialize, Deserialize)]
pub struct Described {
    pub name: String,
    pub title: String,
    pub reads: Reads,
    pub side: Side,
}

/// A peer that this program has no part of.
#[derive(Clone, Serialize, Deserialize)]
pub struct LeftOut {
    pub name: String,
    pub reason: String,
}

/// One peer, one question, one pace, one round.
#[derive(Clone, Serialize, Deserialize)]
pub struct Cell {
    pub round: u32,
    pub peer: String,
    pub work: String,
    /// Questions a second; none where the next one follows the answer.
    pub pace: Option<u32>,
    /// Whether somebody else slowed a CPU each time that it was measured.
    pub slowed: bool,
    /// What was seen, or why nothing was.
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    Seen(Figures),
    Failed { error: String },
}

/// What one client saw.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub n: u64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub max_ns: u64,
    pub rate_per_s: f64,
    /// CPU time of all threads of the process, as a share of the time that passed: 1 is one CPU.
    pub client_cpu: f64,
    pub server_cpu: f64,
}

impl Results {
    /// Reads a file that an earlier run wrote.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| format!("read {}: {error}", path.display()))?;
        Ok(serde_json::from_str(&text).map_err(|error| format!("read {}: {error}", path.display()))?)
    }

    /// Replaces the file, all of it or nothing. One cell a line, so that two runs can be compared.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let lines = |items: Vec<String>| format!("[\n    {}\n  ]", items.join(",\n    "));
        let text = format!(
            "{{\n  \"machine\": {},\n  \"busy\": {},\n  \"commands\": {},\n  \"peers\": {},\n  \"left_out\": {},\n  \"cells\": {}\n}}\n",
            serde_json::to_string(&self.machine)?,
            self.busy,
            serde_json::to_string(&self.commands)?,
            lines(self.peers.iter().map(serde_json::to_string).collect::<Result<_, _>>()?),
            serde_json::to_string(&self.left_out)?,
            lines(self.cells.iter().map(serde_json::to_string).collect::<Result<_, _>>()?),
        );
        let fresh = path.with_extension("json.new");
        fs::write(&fresh, text)?;
        Ok(fs::rename(fresh, path)?)
    }

    /// The medians over all rounds of one peer, question and pace; nothing if no round has seen any.
    pub fn median(&self, peer: &str, work: &str, pace: Option<u32>) -> Option<Figures> {
        let seen: Vec<Figures> = self.rounds(peer, work, pace).map(|(_, figures)| figures).collect();
        let whole = |pick: fn(&Figures) -> u64| median(seen.iter().map(|figures| pick(figures) as f64));
        let part = |pick: fn(&Figures) -> f64| median(seen.iter().map(pick));
        Some(Figures {
            n: seen.iter().map(|figures| figures.n).sum(),
            p50_ns: whole(|figures| figures.p50_ns)? as u64,
            p99_ns: whole(|figures| figures.p99_ns)? as u64,
            p999_ns: whole(|figures| figures.p999_ns)? as u64,
            max_ns: seen.iter().map(|figures| figures.max_ns).max()?,
            rate_per_s: part(|figures| figures.rate_per_s)?,
            client_cpu: part(|figures| figures.client_cpu)?,
            server_cpu: part(|figures| figures.server_cpu)?,
        })
    }

    /// What each round has seen of one peer, question and pace, by the round's number.
    pub fn rounds(&self, peer: &str, work: &str, pace: Option<u32>) -> impl Iterator<Item = (u32, Figures)> {
        let cells = self.cells.iter();
        let cells = cells.filter(move |cell| cell.peer == peer && cell.work == work && cell.pace == pace);
        cells.filter_map(|cell| match &cell.outcome {
            Outcome::Seen(figures) => Some((cell.round, *figures)),
            Outcome::Failed { .. } => None,
        })
    }
}

/// The middle value, or the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    let lower = values.len().checked_sub(1)? / 2;
    Some((values[lower] + values[upper]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![9.0, 1.0], Some(5.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
        ] {
            assert_eq!(median(values.into_iter()), expected);
        }
    }
}
