//! `grite demo`: a real daemon in a temporary folder, asked by each way, and removed.
//!
//! Each answer must be the same bytes by every way. Whatever happens, the daemon is ended and waited
//! for, and the folder is removed.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use libgrite_ipc::grite::{ForeignIssue, IssueFilter, IssueState, WriteContext};
use libgrite_ipc::{DaemonLock, Encoded, IpcCommand, IpcResponse, WaitStrategy};
use serde::Serialize;

use super::import::{batches, read};
use crate::engine::Engine;
use crate::error::{CliError, Code};
use crate::measure::{Asker, DaemonProcess, Histogram, Interrupts, Way, issues, progress, slice, time};
use crate::output::{Output, Paint, Table, Terminal};
use crate::scratch::Scratch;

/// How many issues are made up where no file is given.
const MADE_UP: usize = 400;

/// How many issues are shown one by one.
const SHOWN: u32 = 100;

/// For how long each thing is measured by each way.
const SLICE: Duration = Duration::from_millis(200);

/// The ways that are shown.
const WAYS: [Way; 3] = [Way::Ring(WaitStrategy::Adaptive), Way::Socket, Way::Direct];

/// Arguments of `grite demo`.
#[derive(Args)]
pub struct Demo {
    /// Issues to show, as JSON Lines; some hundreds are made up where none are given
    pub file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    issues: u64,
    import_ms: u64,
    checks: Vec<Check>,
    runs: Vec<Run>,
    /// Whether the daemon has ended and the folder is gone: there is no report otherwise.
    removed: bool,
}

/// Questions that had the same answers by every way: there is no report otherwise.
#[derive(Serialize)]
struct Check {
    asked: String,
    answers: u64,
    bytes: u64,
    same: bool,
}

#[derive(Serialize)]
struct Run {
    transport: &'static str,
    command: &'static str,
    n: u64,
    p50_ns: u64,
    p99_ns: u64,
}

pub fn run(demo: &Demo, output: &Output) -> Result<(), CliError> {
    let issues = match &demo.file {
        Some(path) => read(path)?,
        None => issues(MADE_UP),
    };
    let interrupts = Interrupts::watch()?;
    let scratch = Scratch::new()?;
    let shown = show(issues, &scratch, &interrupts);
    progress("");
    let mut report = shown?;
    scratch.remove()?;
    report.removed = true;
    output.report(&report, |terminal| render(&report, terminal))
}

/// All of it; the daemon has ended when this returns.
fn show(issues: Vec<ForeignIssue>, scratch: &Scratch, interrupts: &Interrupts) -> Result<Report, CliError> {
    progress("starting a daemon");
    let state = scratch.path().join("state");
    fs::create_dir(&state).map_err(|error| CliError::io("make the folder", &state, &error))?;
    // Makes the store, and answers directly later on.
    let engine = Engine::make(&state)?;
    let daemon = DaemonProcess::start(&state, scratch.path(), interrupts)?;
    let socket = DaemonLock::socket_path_in(&daemon.place().runtime)?;
    let mut askers = Vec::new();
    for way in WAYS {
        if !way.is_there(&socket)? {
            continue;
        }
        let asker = match way.builder() {
            Some(builder) => Asker::Remote(Box::new(builder.connect(&socket)?)),
            None => Asker::Direct(&engine),
        };
        askers.push((way, asker));
    }

    let words = Words::of(&issues);
    let count = issues.len() as u64;
    let start = Instant::now();
    for issues in batches(issues) {
        interrupts.check()?;
        progress("importing");
        first(&mut askers)?.answer(&IpcCommand::IssueImport { issues })?;
    }
    let import_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);

    progress("asking by each way");
    let page = first(&mut askers)?.answer(&list(IssueFilter::default(), SHOWN))?;
    let IpcResponse::IssueList(page) = page else { return Err(CliError::mismatched()) };
    let shows: Vec<IpcCommand> =
        page.items.iter().map(|item| IpcCommand::IssueShow { id: item.id.clone() }).collect();
    let open = IssueFilter { state: Some(IssueState::Open), ..IssueFilter::default() };
    let labelled = IssueFilter { labels: words.label.iter().cloned().collect(), ..IssueFilter::default() };
    let search = list(IssueFilter { text: words.word.clone(), ..IssueFilter::default() }, 0);
    let questions = [
        ("the newest issues".to_owned(), vec![list(IssueFilter::default(), 0)]),
        ("all that are open".to_owned(), vec![list(open, 1000)]),
        (words.label.map_or_else(String::new, |label| format!("label {label}")), vec![list(labelled, 1000)]),
        (words.word.map_or_else(String::new, |word| format!("search {word:?}")), vec![search.clone()]),
        (format!("{} issues, one by one", shows.len()), shows.clone()),
        (
            "the first page of an export".to_owned(),
            vec![IpcCommand::IssueExport { limit: 500, cursor: None }],
        ),
    ];
    let mut checks = Vec::new();
    for (asked, questions) in questions.into_iter().filter(|(asked, _)| !asked.is_empty()) {
        interrupts.check()?;
        checks.push(compare(asked, &questions, &mut askers)?);
    }

    progress("writing");
    let made = first(&mut askers)?.answer(&creation())?;
    let IpcResponse::IssueCreate(made) = made else { return Err(CliError::mismatched()) };
    let asked = "an issue that was just written".to_owned();
    checks.push(compare(asked, &[IpcCommand::IssueShow { id: made.id.clone() }], &mut askers)?);

    let subjects = [
        ("ping", IpcCommand::Ping),
        ("issue show", IpcCommand::IssueShow { id: made.id }),
        ("issue list", list(IssueFilter::default(), 0)),
        ("search", search),
    ];
    let mut runs = Vec::new();
    for (command, question) in &subjects {
        for (way, asker) in &mut askers {
            progress(&format!("measuring {command} by {}", way.transport()));
            let mut histogram = Histogram::default();
            slice(SLICE, &mut histogram, interrupts, || asker.ask(question))?;
            let quantile = |share| histogram.quantile(share).unwrap_or(0);
            runs.push(Run {
                transport: way.transport(),
                command,
                n: histogram.total(),
                p50_ns: quantile(0.5),
                p99_ns: quantile(0.99),
            });
        }
    }
    progress("cleaning up");
    Ok(Report { issues: count, import_ms, checks, runs, removed: false })
}

/// The quickest way to the daemon, by which all is written: the ring, where there is one.
fn first<'a, 'b>(askers: &'a mut [(Way, Asker<'b>)]) -> Result<&'a mut Asker<'b>, CliError> {
    askers.first_mut().map(|(_, asker)| asker).ok_or_else(CliError::mismatched)
}

/// Asks by each way, and compares the archives of the answers byte for byte.
fn compare(
    asked: String,
    questions: &[IpcCommand],
    askers: &mut [(Way, Asker<'_>)],
) -> Result<Check, CliError> {
    let mut bytes = 0;
    for question in questions {
        let mut before: Option<(Way, Encoded<IpcResponse>)> = None;
        for (way, asker) in &mut *askers {
            let answer = archive(&asker.answer(question)?)?;
            if let Some((other, before)) = &before
                && before.as_bytes() != answer.as_bytes()
            {
                let (one, two) = (other.transport(), way.transport());
                let message = format!("{asked}: the answer by {two} is not the one by {one}");
                return Err(CliError::new(
                    Code::Integrity,
                    message,
                    "this is a mistake in grite: please report it",
                ));
            }
            bytes += answer.len() as u64;
            before = Some((*way, answer));
        }
    }
    let ways = askers.len().max(1) as u64;
    Ok(Check { asked, answers: questions.len() as u64 * ways, bytes: bytes / ways, same: true })
}

fn archive(answer: &IpcResponse) -> Result<Encoded<IpcResponse>, CliError> {
    Encoded::new(answer)
        .map_err(|error| CliError::new(Code::Failure, format!("cannot compare an answer: {error}"), ""))
}

/// What the issues can be asked for.
struct Words {
    label: Option<String>,
    word: Option<String>,
}

impl Words {
    fn of(issues: &[ForeignIssue]) -> Self {
        let label = issues.iter().flat_map(|issue| &issue.labels).next().cloned();
        let words = issues.iter().rev().take(1).flat_map(|issue| issue.title.split_whitespace());
        let plain = words.filter(|word| word.chars().all(char::is_alphabetic));
        let word = plain.max_by_key(|word| word.len()).map(str::to_owned);
        // Every text has some answer; this one has none.
        Words { label, word: word.or_else(|| Some("nothing".to_owned())) }
    }
}

fn list(filter: IssueFilter, limit: u32) -> IpcCommand {
    IpcCommand::IssueList { filter, limit, cursor: None }
}

fn creation() -> IpcCommand {
    IpcCommand::IssueCreate {
        write: WriteContext { actor: "demo".to_owned(), idempotency_key: "demo".to_owned() },
        title: "Written by one way, read by all".to_owned(),
        body: "The daemon answers it from memory; so does whoever opens the store directly.".to_owned(),
        labels: vec!["demo".to_owned()],
        assignees: Vec::new(),
    }
}

fn render(report: &Report, terminal: &Terminal) -> String {
    let Report { issues, import_ms, checks, runs, removed: _ } = report;
    let asked = |way: &&Way| runs.iter().any(|run| run.transport == way.transport());
    let ways: Vec<&'static str> = WAYS.iter().filter(asked).map(|way| way.transport()).collect();
    let first = ways.first().unwrap_or(&"");
    let mut text = format!("{issues} issues went through the {first} into a daemon, in {import_ms} ms.\n\n");
    text += "Asked by each way:\n";
    let mut table = Table::new(&["ASKED", "ANSWERS", "BYTES", ""], &[0]);
    for check in checks {
        table.row(vec![
            (Paint::Plain, crate::output::line(&check.asked)),
            (Paint::Plain, check.answers.to_string()),
            (Paint::Faint, check.bytes.to_string()),
            (Paint::Good, "the same, byte for byte".to_owned()),
        ]);
    }
    text += &table.render(terminal);
    text += "\nWhat an answer takes, read to its last byte (half of them take less):\n";
    let headings: Vec<&'static str> = std::iter::once("ASKED").chain(ways).collect();
    let mut table = Table::new(&headings, &[]);
    for row in runs.chunks(headings.len().saturating_sub(1).max(1)) {
        let mut cells = vec![(Paint::Plain, row.first().map_or("", |run| run.command).to_owned())];
        cells.extend(row.iter().map(|run| (Paint::Id, time(run.p50_ns))));
        table.row(cells);
    }
    text += &table.render(terminal);
    text += "\nThe daemon has ended, and its folder is gone.\n";
    text
}
