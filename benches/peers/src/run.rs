//! The run: every cell of a round, then the next round, so that a machine that gets slower or busier does so
//! for all. Within a round the peers of one question follow each other, and each round starts with another.

use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, iter};

use rustix::process::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::child::{Owned, complaints};
use crate::machine;
use crate::measure::{Pace, measure};
use crate::neighbours::{self, Neighbours};
use crate::peer::{Failure, Peer, Seat, Side};
use crate::peers::{self, Table};
use crate::results::{Cell, Described, Figures, Outcome, Results};
use crate::work::{Stock, Work};

/// For how long a child may take beyond its measurement.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is measured beside hot questions, for this library and for the machine's limits.
const PACES: [u32; 3] = [1_000, 10_000, 100_000];

/// How often a cell is measured while somebody else slows a CPU.
const TRIES: u32 = 3;

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
    /// Paces; hot where empty. Where nothing at all is chosen, this library and the limits are also asked at
    /// [`PACES`].
    pub paces: Vec<Pace>,
    /// Whether a loop keeps each CPU busy meanwhile.
    pub busy: bool,
    /// What was typed, for the results.
    pub command: String,
}

/// Measures all of `plan` and writes the results after each round.
///
/// # Errors
/// The results cannot be read or written, or were made on another machine or of another source. A peer that
/// fails is an entry in the results.
pub fn run(plan: &Plan) -> Result<(), Failure> {
    let Table { peers, left_out } = chosen(&plan.only)?;
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
    results.busy = plan.busy;
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
    let mut neighbours = Neighbours::new();
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let _loops: Vec<Owned> = if plan.busy { loops(scratch.folder()?.as_path())? } else { Vec::new() };
    for round in done + 1..=done + plan.rounds {
        let start = Instant::now();
        for Question { work, pace, is_for } in questions(plan) {
            let mut turn: Vec<&dyn Peer> = peers.iter().map(Box::as_ref).collect();
            turn.retain(|peer| peer.carries(work) && is_for(peer.about().side));
            let first = round as usize % turn.len().max(1);
            turn.rotate_left(first);
            for peer in turn {
                if interrupted.load(Ordering::Relaxed) {
                    return Err(format!("interrupted; round {round} is dropped").into());
                }
                let mut tries = 0;
                let (outcome, slowed) = loop {
                    let quiet_before = neighbours.wait()?;
                    let outcome = match cell(peer, work, pace, plan.time, &scratch) {
                        Ok(figures) => Outcome::Seen(figures),
                        Err(error) => Outcome::Failed { error: error.to_string() },
                    };
                    tries += 1;
                    let slowed = !(quiet_before && neighbours.are_quiet()?);
                    if !slowed || tries == TRIES {
                        break (outcome, slowed);
                    }
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
                    slowed,
                    outcome,
                });
            }
        }
        results.write(&plan.out)?;
        eprintln!("round {round} took {:.0} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// The peers of these names, or all.
fn chosen(only: &[String]) -> Result<Table, Failure> {
    let mut table = peers::all();
    let names: Vec<_> = table.peers.iter().map(|peer| peer.about().name).collect();
    if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("there is no peer {unknown:?}, only {}", names.join(", ")).into());
    }
    table.peers.retain(|peer| only.is_empty() || only.iter().any(|name| name == peer.about().name));
    Ok(table)
}

/// What is asked at which pace, of whom.
struct Question {
    work: Work,
    pace: Pace,
    is_for: fn(Side) -> bool,
}

/// Each question with each pace, hot ones first.
fn questions(plan: &Plan) -> Vec<Question> {
    if !plan.only.is_empty() || !plan.works.is_empty() || !plan.paces.is_empty() {
        let works = if plan.works.is_empty() { Work::ALL.to_vec() } else { plan.works.clone() };
        let paces = if plan.paces.is_empty() { vec![Pace::Hot] } else { plan.paces.clone() };
        let at = |work| paces.iter().map(move |pace| Question { work, pace: *pace, is_for: |_| true });
        return works.into_iter().flat_map(at).collect();
    }
    let stock = Stock::new();
    let hot = Work::ALL.into_iter().flat_map(|work| {
        // An echo of the same size, which nobody validates field by field, is compared with it.
        let twin = matches!(work, Work::Show | Work::List).then(|| {
            let work = Work::Echo(stock.bytes(work).len());
            Question { work, pace: Pace::Hot, is_for: |side| side == Side::Ours }
        });
        iter::once(Question { work, pace: Pace::Hot, is_for: |_| true }).chain(twin)
    });
    let paced = PACES.map(|rate| {
        let (work, pace) = (Work::Echo(64), Pace::PerSecond(rate));
        Question { work, pace, is_for: |side| side != Side::Peer }
    });
    hot.chain(paced).collect()
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
    let explain = |error: Failure| {
        let said =
            ["server", "client"].map(|role| fs::read_to_string(complaints(folder, role)).unwrap_or_default());
        let last = said.iter().filter_map(|said| said.trim().lines().last()).next().unwrap_or_default();
        Failure::from(format!("{error}: {}", last.replace(&seat[2], "")))
    };
    let mut server = Owned::start("server", &seat, folder)?;
    server.line(PATIENCE, None).map_err(explain)?;
    let rate = match pace {
        Pace::Hot => 0,
        Pace::PerSecond(rate) => rate,
    };
    let more = [server.id().to_string(), rate.to_string(), time.as_secs_f64().to_string()];
    let mut client = Owned::start("client", &[&seat[..], &more].concat(), folder)?;
    let line = client.line(3 * time + PATIENCE, Some(&server)).map_err(explain)?;
    Ok(serde_json::from_str(&line)?)
}

/// A loop for each CPU that we may use.
fn loops(folder: &Path) -> Result<Vec<Owned>, Failure> {
    neighbours::cpus()?.into_iter().map(|cpu| Owned::start("busy", &[cpu.to_string()], folder)).collect()
}

/// The process of such a loop.
pub fn be_busy(cpu: usize) -> Result<(), Failure> {
    neighbours::stay_on(cpu)?;
    loop {
        std::hint::spin_loop();
    }
}

/// The server's process.
pub fn serve(peer: &str, work: Work, folder: &Path) -> Result<(), Failure> {
    let peers = chosen(&[peer.to_owned()])?.peers;
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
    let peers = chosen(&[peer.to_owned()])?.peers;
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
