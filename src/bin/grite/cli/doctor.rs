//! `grite doctor` and `grite rebuild`: look for what is broken, and mend it.

use clap::Args;
use libgrite_ipc::grite::Finding;
use serde::Serialize;

use crate::doctor::{self, Anew};
use crate::engine::{self, OpenCause};
use crate::error::{CliError, Code};
use crate::folder;
use crate::output::{Output, Paint, Terminal, line};
use crate::runtime::Place;

/// Arguments of `grite doctor`.
#[derive(Args)]
pub struct Doctor {
    /// Fix what is safe to fix, and say what was done
    #[arg(long)]
    fix: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    /// Whether all is well now.
    healthy: bool,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    check: &'a str,
    ok: bool,
    detail: &'a str,
    fix: Option<&'a str>,
    fixed: bool,
}

#[derive(Serialize)]
struct Rebuilt {
    detail: String,
    /// What could not be saved.
    lost: Option<String>,
}

pub fn run(doctor: &Doctor, output: &Output) -> Result<(), CliError> {
    let place = place()?;
    let findings = doctor::examine(&place, doctor.fix);
    let healthy = findings.iter().all(|finding| finding.ok);
    let items = findings.iter().map(Item::from).collect();
    let printed = output.report(&Report { healthy, items }, |terminal| render(&findings, terminal));
    if healthy { printed } else { reported(printed, "something is broken") }
}

/// The end of a command that has found something, which counts for more than that nobody reads of it.
fn reported(printed: Result<(), CliError>, found: &str) -> Result<(), CliError> {
    match printed {
        Err(error) if error.code != Code::ClosedPipe => Err(error),
        _ => Err(CliError::new(Code::Reported, found, "")),
    }
}

/// The place whose store is looked at or made anew; another folder is left as it is.
fn place() -> Result<Place, CliError> {
    let place = Place::of(&folder::find()?)?;
    match engine::check(&place.state) {
        Err(error) if matches!(error.cause(), OpenCause::NoState) => Err(error.into()),
        _ => Ok(place),
    }
}

pub fn rebuild(output: &Output) -> Result<(), CliError> {
    let place = place()?;
    let Anew { done, lost } = doctor::rebuild(&place).map_err(|problem| {
        let message = format!("cannot make the store in {} anew: {problem}", place.state.display());
        CliError::new(Code::Integrity, message, "see `grite doctor`")
    })?;
    let rebuilt = Rebuilt { detail: done, lost };
    let printed = output.report(&rebuilt, |_| {
        let lost = rebuilt.lost.as_ref().map_or_else(String::new, |lost| format!("LOST: {}\n", line(lost)));
        format!("{}\n{lost}", line(&rebuilt.detail))
    });
    if rebuilt.lost.is_none() { printed } else { reported(printed, "something is lost") }
}

impl<'a> From<&'a Finding> for Item<'a> {
    fn from(finding: &'a Finding) -> Self {
        let Finding { check, ok, detail, fix, fixed } = finding;
        Item { check, ok: *ok, detail, fix: fix.as_deref(), fixed: *fixed }
    }
}

fn render(findings: &[Finding], terminal: &Terminal) -> String {
    let mut text = String::new();
    for finding in findings {
        let (paint, word) = match (finding.ok, finding.fixed) {
            (true, false) => (Paint::Good, "good"),
            (true, true) => (Paint::Done, "fixed"),
            (false, _) => (Paint::Heading, "BROKEN"),
        };
        let word = terminal.paint(paint, &format!("{word:<7}"));
        text += &format!("{word}{:<20}{}\n", finding.check, line(&finding.detail));
        if let Some(fix) = &finding.fix {
            text += &format!("{:<27}to fix it: {}\n", "", line(fix));
        }
    }
    let broken = findings.iter().filter(|finding| !finding.ok).count();
    let summary = match broken {
        0 => "all is well".to_owned(),
        1 => "1 thing is broken".to_owned(),
        broken => format!("{broken} things are broken"),
    };
    text + &terminal.paint(Paint::Faint, &summary) + "\n"
}
