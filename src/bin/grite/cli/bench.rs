//! `grite bench`: this machine's limits, and what commands take by each way.
//!
//! All in one run, in rounds: each round measures each thing for a short time, so that a machine that
//! gets slower or busier does so for all of them. Client and daemon are two processes. Each latency is
//! that of one question, from before it is sent until its answer is read to the last byte.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use libgrite_ipc::grite::{IssueFilter, IssueListResult};
use libgrite_ipc::{DaemonLock, Encoded, IpcCommand, IpcResponse};
use serde::Serialize;

use super::Global;
use crate::engine::Engine;
use crate::error::{CliError, Code};
use crate::folder;
use crate::measure::raw::{self, Limit};
use crate::measure::{
    Asker, Bar, DaemonProcess, Histogram, Interrupts, Machine, Panel, Tint, Way, chart, draw, issues,
    progress, slice, time,
};
use crate::output::{Output, Paint, Table, Terminal, line};
use crate::runtime::Place;
use crate::scratch::Scratch;
use crate::tracker;

/// How many issues are made up.
const MADE_UP: usize = 400;

/// Arguments of `grite bench`.
#[derive(Args)]
pub struct Bench {
    /// For how long to measure in all
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,

    /// Ask about the issues of the state folder, which are only read, and not about made-up ones
    #[arg(long)]
    own: bool,

    /// Draw the figures into FILE, too
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What is asked.
#[derive(Clone, Copy)]
enum Subject {
    Ping,
    Show,
    List,
}

impl Subject {
    const ALL: [Subject; 3] = [Subject::Ping, Subject::Show, Subject::List];

    fn name(self) -> &'static str {
        match self {
            Subject::Ping => "ping",
            Subject::Show => "issue show",
            Subject::List => "issue list",
        }
    }
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    issues: u64,
    rounds: u32,
    raw: Raw,
    runs: Vec<Run>,
}

/// There and back between two processes, at the least.
#[derive(Serialize)]
struct Raw {
    spin_p50_ns: u64,
    futex_p50_ns: u64,
    socket_p50_ns: u64,
}

#[derive(Serialize)]
struct Run {
    transport: &'static str,
    wait: Option<&'static str>,
    command: &'static str,
    bytes: usize,
    n: u64,
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    rate_per_s: u64,
}

/// One thing that is measured in each round.
struct Case {
    way: Way,
    subject: Subject,
    histogram: Histogram,
    spent: Duration,
}

/// What is asked, and who is asked.
struct Target {
    place: Place,
    engine: Engine,
    /// Ended when all is measured; none where the daemon is the user's own.
    _daemon: Option<DaemonProcess>,
    show: IpcCommand,
    list: IpcCommand,
    issues: u64,
}

pub fn run(bench: &Bench, global: &Global, output: &Output) -> Result<(), CliError> {
    let interrupts = Interrupts::watch()?;
    // That nothing can be drawn there is said before all is measured, and what stands there stays until then.
    let mut svg = None;
    if let Some(path) = &bench.svg {
        let file = File::options().create(true).write(true).truncate(false).open(path);
        svg = Some((path, file.map_err(|error| CliError::io("write", path, &error))?));
    }
    let scratch = Scratch::in_memory()?;
    let target = if bench.own { own(global)? } else { made_up(scratch.path(), &interrupts)? };
    let measured = measure(bench, &target, scratch.path(), &interrupts);
    progress("");
    let report = measured?;
    drop(target);
    scratch.remove()?;
    let panels = panels(&report);
    if let Some((path, mut file)) = svg {
        let svg = draw(&title(&report), &LEGEND, &panels);
        let written = file.set_len(0).and_then(|()| file.write_all(svg.as_bytes()));
        written.map_err(|error| CliError::io("write", path, &error))?;
    }
    output.report(&report, |terminal| render(&report, terminal) + &chart(&panels, terminal))
}

/// The issues of the state folder, with its own daemon, which stays as any command leaves it.
fn own(global: &Global) -> Result<Target, CliError> {
    let place = Place::of(&folder::find()?)?;
    let engine = Engine::open(&place.state)?;
    let wishes = global.wishes();
    place.prepare()?;
    tracker::connect(&place, &tracker::builder_for(&wishes), wishes.spawn)
        .map_err(|error| tracker::unreached(&place, wishes.spawn, error))?;
    Target::new(place, engine, None)
}

/// Made-up issues in the folder `scratch`, with a daemon that ends with the measurement.
fn made_up(scratch: &Path, interrupts: &Interrupts) -> Result<Target, CliError> {
    let state = scratch.join("state");
    fs::create_dir(&state).map_err(|error| CliError::io("make the folder", &state, &error))?;
    let engine = Engine::make(&state)?;
    Asker::Direct(&engine).answer(&IpcCommand::IssueImport { issues: issues(MADE_UP) })?;
    let daemon = DaemonProcess::start(&state, scratch, interrupts)?;
    Target::new(daemon.place().clone(), engine, Some(daemon))
}

impl Target {
    fn new(place: Place, engine: Engine, daemon: Option<DaemonProcess>) -> Result<Self, CliError> {
        let list = IpcCommand::IssueList { filter: IssueFilter::default(), limit: 0, cursor: None };
        let IpcResponse::IssueList(page) = Asker::Direct(&engine).answer(&list)? else {
            return Err(CliError::mismatched());
        };
        let IssueListResult { items, total, .. } = page;
        // Of the first page, the issue that is neither the smallest nor the largest.
        let mut shown = Vec::new();
        for item in items {
            let show = IpcCommand::IssueShow { id: item.id };
            shown.push((size(&Asker::Direct(&engine).answer(&show)?)?, show));
        }
        shown.sort_by_key(|(size, _)| *size);
        let middle = shown.len() / 2;
        let Some((_, show)) = shown.into_iter().nth(middle) else {
            return Err(CliError::invalid("there are no issues to ask about", "leave out --own"));
        };
        Ok(Target { place, engine, _daemon: daemon, show, list, issues: total })
    }

    fn command(&self, subject: Subject) -> &IpcCommand {
        match subject {
            Subject::Ping => &IpcCommand::Ping,
            Subject::Show => &self.show,
            Subject::List => &self.list,
        }
    }

    /// Measures one case for a while, over a connection of its own: others would cost it time.
    fn slice(&self, case: &mut Case, time: Duration, interrupts: &Interrupts) -> Result<(), CliError> {
        let mut asker = match case.way.builder() {
            Some(builder) => {
                let socket = DaemonLock::socket_path_in(&self.place.runtime)?;
                Asker::Remote(Box::new(builder.connect(socket)?))
            }
            None => Asker::Direct(&self.engine),
        };
        let command = self.command(case.subject);
        case.spent += slice(time, &mut case.histogram, interrupts, || asker.ask(command))?;
        Ok(())
    }
}

/// How many bytes an answer has on its way.
fn size(answer: &IpcResponse) -> Result<usize, CliError> {
    let encoded = Encoded::new(answer)
        .map_err(|error| CliError::new(Code::Failure, format!("cannot measure an answer: {error}"), ""))?;
    Ok(encoded.len())
}

fn measure(
    bench: &Bench,
    target: &Target,
    scratch: &Path,
    interrupts: &Interrupts,
) -> Result<Report, CliError> {
    let mut limits = Limit::ALL.map(|limit| (limit, Histogram::default()));
    let mut cases = cases(target)?;
    let rounds = bench.seconds.clamp(3, 10);
    let slices = u32::try_from(cases.len() + limits.len()).unwrap_or(u32::MAX).saturating_mul(rounds);
    let each = Duration::from_secs(bench.seconds.into()) / slices;
    for round in 1..=rounds {
        progress(&format!("measuring, round {round} of {rounds}"));
        for (limit, histogram) in &mut limits {
            raw::measure(*limit, scratch, each, histogram, interrupts)?;
        }
        for case in &mut cases {
            target.slice(case, each, interrupts)?;
        }
    }

    let p50 = |wanted: Limit| {
        let found = limits.iter().find(|(limit, _)| *limit == wanted);
        found.and_then(|(_, histogram)| histogram.quantile(0.5)).unwrap_or(0)
    };
    let raw = Raw {
        spin_p50_ns: p50(Limit::Spin),
        futex_p50_ns: p50(Limit::Futex),
        socket_p50_ns: p50(Limit::Socket),
    };
    let runs = cases.iter().map(|case| result(case, target)).collect::<Result<_, _>>()?;
    Ok(Report { machine: Machine::look(), issues: target.issues, rounds, raw, runs })
}

fn cases(target: &Target) -> Result<Vec<Case>, CliError> {
    let socket = DaemonLock::socket_path_in(&target.place.runtime)?;
    let mut cases = Vec::new();
    for subject in Subject::ALL {
        for way in Way::ALL {
            if way.is_there(&socket)? {
                let histogram = Histogram::default();
                cases.push(Case { way, subject, histogram, spent: Duration::ZERO });
            }
        }
    }
    Ok(cases)
}

fn result(case: &Case, target: &Target) -> Result<Run, CliError> {
    let Case { way, subject, histogram, spent } = case;
    let quantile = |share| histogram.quantile(share).unwrap_or(0);
    let n = histogram.total();
    Ok(Run {
        transport: way.transport(),
        wait: way.wait(),
        command: subject.name(),
        bytes: size(&Asker::Direct(&target.engine).answer(target.command(*subject))?)?,
        n,
        p50_ns: quantile(0.5),
        p99_ns: quantile(0.99),
        p999_ns: quantile(0.999),
        rate_per_s: (n as f64 / spent.as_secs_f64().max(f64::MIN_POSITIVE)) as u64,
    })
}

/// What the colours of the bars stand for.
const LEGEND: [(Tint, &str); 3] =
    [(Tint::Ours, "over rings"), (Tint::Other, "by other ways"), (Tint::Limit, "the machine's limits")];

/// Where this was measured, and how.
fn title(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        "{} × {}, Linux {}; grite {}; {} issues, {} rounds",
        machine.cpus,
        line(machine.cpu.as_deref().unwrap_or("CPU")),
        line(machine.kernel.as_deref().unwrap_or("unknown")),
        machine.version,
        report.issues,
        report.rounds
    )
}

/// The figures as bars: a panel a question, and the machine's limits in each.
fn panels(report: &Report) -> Vec<Panel> {
    let raw = &report.raw;
    let limits =
        [("cache line", raw.spin_p50_ns), ("futex", raw.futex_p50_ns), ("socket, bare", raw.socket_p50_ns)];
    let of = |subject: Subject| {
        let runs: Vec<&Run> = report.runs.iter().filter(|run| run.command == subject.name()).collect();
        let first = runs.first()?;
        let title = format!("{}, {} bytes there and back", first.command, first.bytes);
        let ours = runs.iter().map(|run| Bar {
            label: run
                .wait
                .map_or_else(|| run.transport.to_owned(), |wait| format!("{}, {wait}", run.transport)),
            tint: if run.transport == "ring" { Tint::Ours } else { Tint::Other },
            latencies: Some([run.p50_ns, run.p99_ns, run.p999_ns]),
        });
        let limits = limits.iter().map(|(name, p50)| Bar {
            label: (*name).to_owned(),
            tint: Tint::Limit,
            latencies: Some([*p50, *p50, *p50]),
        });
        Some(Panel { title, bars: ours.chain(limits).collect() })
    };
    Subject::ALL.into_iter().filter_map(of).collect()
}

fn render(report: &Report, terminal: &Terminal) -> String {
    let machine = &report.machine;
    let mut text = title(report) + "\n";
    if !machine.optimised {
        text += &(terminal.paint(Paint::Done, "built without optimisation: these numbers say little") + "\n");
    }
    let raw = &report.raw;
    let mut table = Table::new(
        &["WAY", "WAITS", "ASKED", "BYTES", "P50", "P99", "P99.9", "A SECOND", "× CACHE LINE", "SOCKET ÷"],
        &[],
    );
    let ratio = |above: Option<u64>, below: Option<u64>| match (above, below) {
        (Some(above), Some(below)) if below > 0 => format!("{:.1}", above as f64 / below as f64),
        _ => String::new(),
    };
    for (name, p50) in [
        ("a cache line there and back", raw.spin_p50_ns),
        ("a futex there and back", raw.futex_p50_ns),
        ("a socket there and back", raw.socket_p50_ns),
    ] {
        text += &format!("{name:<28}{}\n", time(p50));
    }
    text.push('\n');
    for run in &report.runs {
        let socket =
            report.runs.iter().find(|other| other.transport == "socket" && other.command == run.command);
        let paint = if run.transport == "ring" { Paint::Good } else { Paint::Plain };
        table.row(vec![
            (paint, run.transport.to_owned()),
            (Paint::Faint, run.wait.unwrap_or_default().to_owned()),
            (Paint::Plain, run.command.to_owned()),
            (Paint::Faint, run.bytes.to_string()),
            (Paint::Plain, time(run.p50_ns)),
            (Paint::Faint, time(run.p99_ns)),
            (Paint::Faint, time(run.p999_ns)),
            (Paint::Plain, run.rate_per_s.to_string()),
            (Paint::Plain, ratio(Some(run.p50_ns), Some(raw.spin_p50_ns))),
            (Paint::Plain, ratio(socket.map(|socket| socket.p50_ns), Some(run.p50_ns))),
        ]);
    }
    text + &table.render(terminal)
}
