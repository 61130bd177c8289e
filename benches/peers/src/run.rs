//! The run: every cell of a round, then the next round, so that a machine that gets slower or busier does so
//! for all. Within a round the peers of one question follow each other, and each round starts with another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::child::Owned;
use crate::machine;
use crate::measure::{Pace, measure};
use crate::peer::{Failure, Peer, Seat, Side};
use crate::peers;
use crate::results::{Cell, Described, Figures, LeftOut, Outcome, Results};
use crate::work::Work;

/// For how long a child may take beyond its measurement.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is measured beside hot questions, for this library and for the machine's limits.
const PACES: [u32; 3] = [1_000, 10_000, 100_000];

/// A paced cell takes at least so long: a thousand questions at the slowest pace.
const PACED: Duration = Duration::from_secs(1);

/// What to measure.
pub struct Plan {
    /// Where the results go; rounds are added to what is there.
    pub out: PathBuf,
    pub rounds: u32,
    /// How long each cell is measured in each round.
    pub time: Duration,
    /// Peers by name; all where empty.
    pub only: Vec<String>,
    /// Questions; all where empty.
    pub works: Vec<Work>,
    /// Paces; where empty, hot for all and [`PACES`] for this library and the limits.
    pub paces: Vec<Pace>,
    /// What was typed, for the results.
    pub command: String,
}

/// Measures all of `plan` and writes the results after each round.
///
/// # Errors
/// The results cannot be read or written, or were made on another machine or of another source. A peer that
/// fails is an entry in the results.
pub fn run(plan: &Plan) -> Result<(), Failure> {
    let (peers, left_out) = chosen(&plan.only)?;
    let mut results = if plan.out.exists() { Results::read(&plan.out)? } else { Results::default() };
    let mut machine = machine::look();
    if !results.cells.is_empty() {
        machine.clock_ns = results.machine.clock_ns;
        if machine != results.machine {
            return Err(
                "the file holds rounds of another machine or another source: name another file".into()
            );
        }
    }
    results.machine = machine;
    results.left_out = left_out;
    results.commands.push(plan.command.clone());
    for peer in &peers {
        let about = peer.about();
        if !results.peers.iter().any(|known| known.name == about.name) {
            let (name, title) = (about.name.to_owned(), about.title.to_owned());
            results.peers.push(Described { name, title, reads: about.reads, side: about.side });
        }
    }
    let done = results.cells.iter().map(|cell| cell.round).max().unwrap_or(0);
    let scratch = Scratch::new()?;
    for round in done + 1..=done + plan.rounds {
        let start = Instant::now();
        for (work, pace) in questions(plan) {
            let takes = |peer: &&Box<dyn Peer>| peer.carries(work) && wants(plan, peer.about().side, pace);
            let mut turn: Vec<_> = peers.iter().filter(takes).collect();
            let first = round as usize % turn.len().max(1);
            turn.rotate_left(first);
            for peer in turn {
                let outcome = match cell(peer.as_ref(), work, pace, plan.time, &scratch) {
                    Ok(figures) => Outcome::Seen(figures),
                    Err(error) => Outcome::Failed { error: error.to_string() },
                };
                say(peer.about().name, work, pace, &outcome);
                results.cells.push(Cell {
                    round,
                    peer: peer.about().name.to_owned(),
                    work: work.to_string(),
                    pace: match pace {
                        Pace::Hot => None,
                        Pace::PerSecond(rate) => Some(rate),
                    },
                    outcome,
                });
            }
        }
        results.write(&plan.out)?;
        eprintln!("round {round} took {:.0} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// The peers of these names, or all; and who is not there.
fn chosen(only: &[String]) -> Result<(Vec<Box<dyn Peer>>, Vec<LeftOut>), Failure> {
    let (mut peers, left_out) = peers::all();
    if let Some(unknown) = only.iter().find(|name| !peers.iter().any(|peer| peer.about().name == **name)) {
        let names: Vec<_> = peers.iter().map(|peer| peer.about().name).collect();
        return Err(format!("there is no peer {unknown:?}, only {}", names.join(", ")).into());
    }
    peers.retain(|peer| only.is_empty() || only.iter().any(|name| name == peer.about().name));
    Ok((peers, left_out))
}

/// Each question with each pace, hot ones first.
fn questions(plan: &Plan) -> Vec<(Work, Pace)> {
    let works = if plan.works.is_empty() { Work::ALL.to_vec() } else { plan.works.clone() };
    let hot = works.iter().map(|work| (*work, Pace::Hot));
    if !plan.paces.is_empty() {
        return works.iter().flat_map(|work| plan.paces.iter().map(|pace| (*work, *pace))).collect();
    }
    let paced = PACES.iter().map(|rate| (Work::Echo(64), Pace::PerSecond(*rate)));
    hot.chain(paced.filter(|(work, _)| works.contains(work))).collect()
}

fn wants(plan: &Plan, side: Side, pace: Pace) -> bool {
    !plan.paces.is_empty() || !plan.only.is_empty() || pace == Pace::Hot || side != Side::Peer
}

/// Starts both processes, has the client measure, and ends both.
fn cell(
    peer: &dyn Peer,
    work: Work,
    pace: Pace,
    time: Duration,
    scratch: &Scratch,
) -> Result<Figures, Failure> {
    let time = if pace == Pace::Hot { time } else { time.max(PACED) };
    let folder = scratch.folder()?;
    let seat = Seat::new(&folder, work);
    let outcome = converse(peer, work, pace, time, &folder);
    let leftovers = peer.remove_leftovers(&seat);
    fs::remove_dir_all(&folder)?;
    leftovers?;
    outcome
}

fn converse(
    peer: &dyn Peer,
    work: Work,
    pace: Pace,
    time: Duration,
    folder: &Path,
) -> Result<Figures, Failure> {
    let seat = [peer.about().name.to_owned(), work.to_string(), folder.display().to_string()];
    let args = |role: &str, more: &[String]| [&[role.to_owned()], &seat[..], more].concat();
    let complaints = |role: &str| folder.join(format!("{role}.stderr"));
    let explain = |role: &str, error: Failure| {
        let said = fs::read_to_string(complaints(role)).unwrap_or_default();
        let last = said.trim().lines().last().unwrap_or_default().replace(&seat[2], "");
        Failure::from(format!("the {role}: {error}: {last}"))
    };
    let mut server = Owned::start(&args("server", &[]), &complaints("server"))?;
    server.line(PATIENCE).map_err(|error| explain("server", error))?;
    let rate = match pace {
        Pace::Hot => 0,
        Pace::PerSecond(rate) => rate,
    };
    let more = [server.id().to_string(), rate.to_string(), time.as_secs_f64().to_string()];
    let mut client = Owned::start(&args("client", &more), &complaints("client"))?;
    let line = client.line(3 * time + PATIENCE).map_err(|error| explain("client", error))?;
    Ok(serde_json::from_str(&line)?)
}

/// The server's process.
pub fn serve(peer: &str, work: Work, folder: &Path) -> Result<(), Failure> {
    let (peers, _) = chosen(&[peer.to_owned()])?;
    peers[0].server(&Seat::new(folder, work), &mut || println!("ready"))
}

/// The client's process.
pub fn ask(
    peer: &str,
    work: Work,
    folder: &Path,
    server: u32,
    pace: Pace,
    time: Duration,
) -> Result<(), Failure> {
    let (peers, _) = chosen(&[peer.to_owned()])?;
    let server = i32::try_from(server).ok().and_then(Pid::from_raw).ok_or("a process id out of range")?;
    let figures = measure(peers[0].as_ref(), &Seat::new(folder, work), server, pace, time)?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

fn say(peer: &str, work: Work, pace: Pace, outcome: &Outcome) {
    let pace = match pace {
        Pace::Hot => "hot".to_owned(),
        Pace::PerSecond(rate) => format!("{rate}/s"),
    };
    match outcome {
        Outcome::Seen(figures) => eprintln!(
            "{work:<13} {pace:<9} {peer:<18} p50 {:>9} ns  p99 {:>10} ns  p99.9 {:>10} ns  {:>9.0}/s  CPU {:.2} + {:.2}",
            figures.p50_ns,
            figures.p99_ns,
            figures.p999_ns,
            figures.rate_per_s,
            figures.client_cpu,
            figures.server_cpu
        ),
        Outcome::Failed { error } => eprintln!("{work:<13} {pace:<9} {peer:<18} failed: {error}"),
    }
}

/// A folder that vanishes with this value, in memory where the system has that.
struct Scratch {
    path: PathBuf,
    used: std::cell::Cell<u32>,
}

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(format!("grite-peers-{}", process::id()));
        fs::create_dir(&path)?;
        Ok(Scratch { path, used: std::cell::Cell::new(0) })
    }

    /// A fresh folder within.
    fn folder(&self) -> Result<PathBuf, Failure> {
        self.used.set(self.used.get() + 1);
        let path = self.path.join(self.used.get().to_string());
        fs::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
