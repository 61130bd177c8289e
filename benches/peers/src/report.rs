//! The tables of a run, from its file: what every peer took, where this library was slower, and how it stands
//! to the ratios that it promises.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::claims::claims;
use crate::peer::{Failure, Reads, Side};
use crate::plot::{Bar, Panel, Tint, draw, time};
use crate::results::{Described, Figures, Outcome, Results};
use crate::work::{Stock, Work};

/// Our default, which all else is held against.
pub const OURS: &str = "grite-ring";

/// Writes `FILE.md`, `FILE-hot.svg` and `FILE-paced.svg` beside `FILE.json`, and returns their names.
///
/// # Errors
/// The file cannot be read, or its neighbours cannot be written.
pub fn report(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let results = Results::read(path)?;
    let beside = |end: &str| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        path.with_file_name(format!("{stem}{end}"))
    };
    let [tables, hot, paced] = ["", "-hot", "-paced"].map(beside);
    let (tables, hot, paced) =
        (tables.with_extension("md"), hot.with_extension("svg"), paced.with_extension("svg"));

    let mut text = String::new();
    let mut written = vec![tables.clone()];
    let mut plot = |text: &mut String, path: PathBuf, title: &str, panels: Vec<Panel>| {
        if panels.is_empty() {
            return Ok(());
        }
        fs::write(&path, draw(title, &LEGEND, &panels))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(text, "![{title}]({name})\n")?;
        written.push(path);
        Ok::<_, Failure>(())
    };
    write_head(&mut text, &results)?;
    write_overview(&mut text, &results)?;
    plot(&mut text, hot, "Hot: the next question follows the answer", hot_panels(&results))?;
    write_claims(&mut text, &results)?;
    write_losses(&mut text, &results)?;
    if !paces(&results).is_empty() {
        write_paced(&mut text, &results)?;
        plot(&mut text, paced, "64 bytes at four paces", paced_panels(&results))?;
    }
    write_details(&mut text, &results)?;
    fs::write(&tables, text)?;
    Ok(written)
}

/// What the colours of the bars stand for.
const LEGEND: [(Tint, &str); 3] =
    [(Tint::Ours, "libgrite-ipc"), (Tint::Other, "peers"), (Tint::Limit, "the machine's limits")];

fn tint(side: Side) -> Tint {
    match side {
        Side::Ours => Tint::Ours,
        Side::Peer => Tint::Other,
        Side::Limit => Tint::Limit,
    }
}

/// What a question is called in a heading.
fn heading(work: Work) -> String {
    let bytes = |size: usize| match size {
        0..1024 => format!("{size} B"),
        1024..1_048_576 => format!("{} KiB", size >> 10),
        _ => format!("{} MiB", size >> 20),
    };
    match work {
        Work::Echo(size) => format!("echo, {}", bytes(size)),
        Work::Show => "show one issue".to_owned(),
        Work::List => "list 1,000 issues".to_owned(),
    }
}

fn pace_heading(pace: Option<u32>) -> String {
    match pace {
        None => "hot".to_owned(),
        Some(rate) => format!("{} a second", thousands(rate.into())),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// The peers that were seen at this, quickest first.
fn seen<'a>(results: &'a Results, work: Work, pace: Option<u32>) -> Vec<(&'a Described, Figures)> {
    let figures = |peer: &'a Described| Some((peer, results.median(&peer.name, &work.to_string(), pace)?));
    let mut seen: Vec<_> = results.peers.iter().filter_map(figures).collect();
    seen.sort_by_key(|(_, figures)| figures.p50_ns);
    seen
}

fn paces(results: &Results) -> Vec<Option<u32>> {
    let mut paces: Vec<_> = results.cells.iter().map(|cell| cell.pace).filter(Option::is_some).collect();
    paces.sort_unstable();
    paces.dedup();
    paces
}

/// The peers that were measured at any pace but hot.
fn paced(results: &Results, pace: Option<u32>) -> Vec<(&Described, Figures)> {
    let mut seen = seen(results, Work::Echo(64), pace);
    seen.retain(|(peer, _)| results.cells.iter().any(|cell| cell.peer == peer.name && cell.pace.is_some()));
    seen
}

fn write_head(text: &mut String, results: &Results) -> Result<(), Failure> {
    let machine = &results.machine;
    let rounds = results.cells.iter().map(|cell| cell.round).max().unwrap_or(0);
    let stock = Stock::new();
    let bytes = |work| thousands(stock.bytes(work).len() as u64);
    writeln!(text, "# libgrite-ipc {} beside its peers\n", machine.version)?;
    writeln!(
        text,
        "{} × {}, Linux {}, {}; commit {}. Reading the clock takes {} ns; each latency has one such reading in it.\n",
        machine.cpus, machine.cpu, machine.kernel, machine.compiler, machine.commit, machine.clock_ns
    )?;
    let mut commands = results.commands.clone();
    commands.dedup();
    let busy = if results.busy { " Meanwhile a loop kept each CPU busy." } else { "" };
    writeln!(
        text,
        "Medians of {rounds} interleaved rounds. Client and server are two processes, and the client reads every \
         byte of every answer.{busy} As an archive the issue has {} bytes, the list {}. Made by:\n",
        bytes(Work::Show),
        bytes(Work::List)
    )?;
    writeln!(text, "```sh")?;
    for command in &commands {
        let times = results.commands.iter().filter(|other| *other == command).count();
        let times = if times > 1 { format!("   # {times} times") } else { String::new() };
        writeln!(text, "cargo run --release -- {command}{times}")?;
    }
    writeln!(text, "```\n")?;
    let slowed = results.cells.iter().filter(|cell| cell.slowed).count();
    if slowed > 0 {
        let cells = results.cells.len();
        writeln!(
            text,
            "In {slowed} of {cells} cells somebody else on the host slowed a CPU each time that they were measured.\n"
        )?;
    }
    for left_out in &results.left_out {
        writeln!(text, "Left out: {}, because {}.\n", left_out.name, left_out.reason)?;
    }
    let mut failed: Vec<String> = Vec::new();
    for cell in &results.cells {
        if let Outcome::Failed { error } = &cell.outcome {
            failed.push(format!("- {} of {} in round {}: {error}", cell.work, cell.peer, cell.round));
        }
    }
    if !failed.is_empty() {
        writeln!(text, "Failed:\n\n{}\n", failed.join("\n"))?;
    }
    Ok(())
}

fn write_overview(text: &mut String, results: &Results) -> Result<(), Failure> {
    writeln!(text, "## Hot: p50 (p99)\n")?;
    let mut works = Work::ALL.to_vec();
    works.retain(|work| !seen(results, *work, None).is_empty());
    let headings: Vec<_> = works.iter().map(|work| heading(*work)).collect();
    writeln!(text, "| | {} | reads |\n|---|{}---|", headings.join(" | "), "---|".repeat(works.len()))?;
    for peer in &results.peers {
        let cells = works.iter().map(|work| {
            let figures = results.median(&peer.name, &work.to_string(), None);
            figures.map_or("—".to_owned(), |figures| {
                format!("{} ({})", time(figures.p50_ns), time(figures.p99_ns))
            })
        });
        let cells: Vec<String> = cells.collect();
        if cells.iter().all(|cell| cell == "—") {
            continue;
        }
        let title = if peer.side == Side::Ours { format!("**{}**", peer.title) } else { peer.title.clone() };
        writeln!(text, "| {title} | {} | {} |", cells.join(" | "), reads(peer.reads))?;
    }
    writeln!(
        text,
        "\nWhat a client reads of an answer: *fields* of a typed value that was checked or parsed, a string of *JSON* \
         that it does not parse, *bytes* that nothing has looked at, or one *word*.\n"
    )?;
    Ok(())
}

fn reads(reads: Reads) -> &'static str {
    match reads {
        Reads::Fields => "fields",
        Reads::Json => "JSON",
        Reads::Bytes => "bytes",
        Reads::Word => "a word",
    }
}

fn write_claims(text: &mut String, results: &Results) -> Result<(), Failure> {
    let claims = claims(results);
    if claims.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "## What is promised\n\nRatios of the medians, and the least and the greatest ratio within one round.\n"
    )?;
    writeln!(text, "| | here | rounds | promised | |\n|---|---|---|---|---|")?;
    for claim in claims {
        let held = if claim.holds() { "holds" } else { "**does not hold**" };
        writeln!(
            text,
            "| {} | {} | {}–{} | {} {} | {held} |",
            claim.what,
            ratio(claim.ratio),
            ratio(claim.range.0),
            ratio(claim.range.1),
            claim.sign(),
            claim.limit
        )?;
    }
    writeln!(text)?;
    Ok(())
}

/// A ratio with as many digits as say something.
fn ratio(ratio: f64) -> String {
    let digits = match ratio {
        ..0.1 => 4,
        10.0.. => 1,
        _ => 2,
    };
    format!("{ratio:.digits$}")
}

/// Who was quicker than this library's default, question by question.
fn write_losses(text: &mut String, results: &Results) -> Result<(), Failure> {
    writeln!(text, "## Where the adaptive ring is not the quickest\n")?;
    writeln!(text, "By the p50 of hot questions; its own other ways are left out.\n")?;
    for work in Work::ALL {
        let Some(ours) = results.median(OURS, &work.to_string(), None) else { continue };
        let quicker: Vec<String> = seen(results, work, None)
            .into_iter()
            .filter(|(peer, figures)| peer.side != Side::Ours && figures.p50_ns < ours.p50_ns)
            .map(|(peer, figures)| {
                let share = figures.p50_ns as f64 / ours.p50_ns as f64;
                format!("{} ({share:.2} of ours; reads {})", peer.title, reads(peer.reads))
            })
            .collect();
        let quicker = if quicker.is_empty() { "nobody is quicker".to_owned() } else { quicker.join("; ") };
        writeln!(text, "- {}: {quicker}.", heading(work))?;
    }
    writeln!(text)?;
    Ok(())
}

fn write_paced(text: &mut String, results: &Results) -> Result<(), Failure> {
    let paces = paces(results);
    writeln!(text, "## 64 bytes at four paces\n")?;
    writeln!(
        text,
        "A paced client has a time for each question, and a latency counts from that time on, so that what a late \
         answer holds up is counted, too. Who cannot keep up falls further behind until the cell ends: its latencies \
         say only that. A warm-up of the same pace comes before. The client sleeps until 0.2 ms before its time and \
         looks at the clock from then on, which its CPU time leaves out.\n"
    )?;
    for pace in std::iter::once(None).chain(paces) {
        writeln!(text, "### {}\n", pace_heading(pace))?;
        write_table(text, &paced(results, pace), pace)?;
    }
    Ok(())
}

fn write_details(text: &mut String, results: &Results) -> Result<(), Failure> {
    writeln!(text, "## Hot, each question\n")?;
    for work in Work::ALL {
        let rows = seen(results, work, None);
        if rows.is_empty() {
            continue;
        }
        writeln!(text, "### {}\n", heading(work))?;
        write_table(text, &rows, None)?;
    }
    Ok(())
}

fn write_table(text: &mut String, rows: &[(&Described, Figures)], pace: Option<u32>) -> Result<(), Failure> {
    writeln!(text, "| | p50 | p99 | p99.9 | a second | CPU of client | CPU of server |")?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|--:|")?;
    for (peer, figures) in rows {
        let title = if peer.side == Side::Ours { format!("**{}**", peer.title) } else { peer.title.clone() };
        writeln!(
            text,
            "| {title} | {} | {} | {} | {}{} | {:.0} % | {:.0} % |",
            time(figures.p50_ns),
            time(figures.p99_ns),
            time(figures.p999_ns),
            thousands(figures.rate_per_s as u64),
            if is_behind(figures, pace) { ", behind" } else { "" },
            100.0 * figures.client_cpu,
            100.0 * figures.server_cpu
        )?;
    }
    writeln!(text)?;
    Ok(())
}

fn bars(rows: Vec<(&Described, Figures)>, pace: Option<u32>) -> Vec<Bar> {
    let bar = |(peer, figures): (&Described, Figures)| Bar {
        label: peer.title.clone(),
        tint: tint(peer.side),
        latencies: (!is_behind(&figures, pace)).then_some([figures.p50_ns, figures.p99_ns, figures.p999_ns]),
    };
    rows.into_iter().map(bar).collect()
}

/// Whether a paced client did not come to ask as often as it was to.
fn is_behind(figures: &Figures, pace: Option<u32>) -> bool {
    pace.is_some_and(|rate| figures.rate_per_s < 0.98 * f64::from(rate))
}

fn hot_panels(results: &Results) -> Vec<Panel> {
    let panel = |work| Panel { title: heading(work), bars: bars(seen(results, work, None), None) };
    Work::ALL.into_iter().map(panel).filter(|panel| !panel.bars.is_empty()).collect()
}

fn paced_panels(results: &Results) -> Vec<Panel> {
    let panel = |pace| Panel { title: pace_heading(pace), bars: bars(paced(results, pace), pace) };
    let paces = std::iter::once(None).chain(paces(results));
    paces.map(panel).filter(|panel| !panel.bars.is_empty()).collect()
}

/// Says what was written.
pub fn say(paths: &[PathBuf]) -> io::Result<()> {
    use io::Write as _;
    paths.iter().try_for_each(|path| writeln!(io::stdout(), "{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_has_three_digits() {
        for (nanoseconds, expected) in [
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (12_340, "12.3 µs"),
            (999_400, "999 µs"),
            (1_234_000, "1.23 ms"),
            (2_000_000_000, "2.00 s"),
        ] {
            assert_eq!(time(nanoseconds), expected);
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(thousands(number), expected);
        }
    }
}
