//! `grite issue list`.

use clap::{Args, ValueEnum};
use libgrite_ipc::grite::{DEFAULT_LIMIT, IssueFilter, IssueListResult, IssueState, IssueSummary, MAX_LIMIT};
use libgrite_ipc::{IpcCommand, IpcResponse};
use serde::Serialize;

use crate::cli::Global;
use crate::cli::question::Question;
use crate::error::CliError;
use crate::foreign::state_name;
use crate::output::{Output, Page, Paint, Table, Terminal, line};

/// Arguments of `grite issue list`.
#[derive(Args)]
pub struct List {
    /// In this state
    #[arg(long, value_enum, default_value_t = Which::All, value_name = "STATE")]
    state: Which,

    /// With this label; with all of them where it is given several times
    #[arg(long = "label", short, value_name = "LABEL")]
    labels: Vec<String>,

    /// Assigned to this person
    #[arg(long, short, value_name = "NAME")]
    assignee: Option<String>,

    /// With these words in title, body or comments; the last one may be the beginning of a word
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    search: Option<String>,

    /// How many at most
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LIMIT)))]
    limit: u32,

    /// Where the page before ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// Arguments of `grite issue ready`.
#[derive(Args)]
pub struct Ready {
    /// With this label; with all of them where it is given several times
    #[arg(long = "label", short, value_name = "LABEL")]
    labels: Vec<String>,

    /// Assigned to this person
    #[arg(long, short, value_name = "NAME")]
    assignee: Option<String>,

    /// How many at most
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LIMIT)))]
    limit: u32,

    /// Where the page before ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Open,
    Closed,
    All,
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    title: &'a str,
    state: &'static str,
    labels: &'a [String],
    assignees: &'a [String],
    created_at: &'a str,
    updated_at: &'a str,
    comment_count: u32,
}

impl Question for List {
    fn command(&self, _global: &Global) -> Result<IpcCommand, CliError> {
        let filter = IssueFilter {
            state: match self.state {
                Which::Open => Some(IssueState::Open),
                Which::Closed => Some(IssueState::Closed),
                Which::All => None,
            },
            labels: self.labels.clone(),
            assignee: self.assignee.clone(),
            text: self.search.clone(),
            ready: false,
        };
        Ok(IpcCommand::IssueList { filter, limit: self.limit, cursor: self.cursor.clone() })
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        report(answer, output)
    }
}

impl Question for Ready {
    fn command(&self, _global: &Global) -> Result<IpcCommand, CliError> {
        let filter = IssueFilter {
            state: None,
            labels: self.labels.clone(),
            assignee: self.assignee.clone(),
            text: None,
            ready: true,
        };
        Ok(IpcCommand::IssueList { filter, limit: self.limit, cursor: self.cursor.clone() })
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        report(answer, output)
    }
}

fn report(answer: IpcResponse, output: &Output) -> Result<(), CliError> {
    match answer {
        IpcResponse::IssueList(found) => {
            let items = found.items.iter().map(Item::from).collect();
            let page = Page::new(items, found.total, found.next.clone());
            output.report(&page, |terminal| render(&found, terminal))
        }
        _ => Err(CliError::mismatched()),
    }
}

impl<'a> From<&'a IssueSummary> for Item<'a> {
    fn from(issue: &'a IssueSummary) -> Self {
        Item {
            id: &issue.id,
            title: &issue.title,
            state: state_name(issue.state),
            labels: &issue.labels,
            assignees: &issue.assignees,
            created_at: &issue.created_at,
            updated_at: &issue.updated_at,
            comment_count: issue.comment_count,
        }
    }
}

fn render(found: &IssueListResult, terminal: &Terminal) -> String {
    let mut text = String::new();
    if !found.items.is_empty() {
        let mut table = Table::new(&["ID", "STATE", "CREATED", "TITLE", "ASSIGNEES", "LABELS"], &[3, 4, 5]);
        for issue in &found.items {
            table.row(row(issue));
        }
        text = table.render(terminal);
    }
    let shown = match (found.items.len() as u64, found.total) {
        (_, 0) => "no issues".to_owned(),
        (1, 1) => "1 issue".to_owned(),
        (shown, total) if shown == total => format!("{total} issues"),
        (shown, total) => format!("{shown} of {total} issues"),
    };
    let next = found.next.as_ref().map_or_else(String::new, |next| format!("; next: --cursor={next}"));
    text + &terminal.paint(Paint::Faint, &format!("{shown}{next}")) + "\n"
}

fn row(issue: &IssueSummary) -> Vec<(Paint, String)> {
    let paint = match issue.state {
        IssueState::Open => Paint::Good,
        IssueState::Closed => Paint::Done,
    };
    let day = issue.created_at.split('T').next().unwrap_or_default();
    vec![
        (Paint::Id, issue.id.clone()),
        (paint, state_name(issue.state).to_owned()),
        (Paint::Faint, line(day)),
        (Paint::Plain, line(&issue.title)),
        (Paint::Plain, line(&issue.assignees.join(","))),
        (Paint::Faint, line(&issue.labels.join(","))),
    ]
}
