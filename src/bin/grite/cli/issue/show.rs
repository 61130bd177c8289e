//! `grite issue show`.

use clap::Args;
use libgrite_ipc::grite::{IssueLink, IssueShowResult, IssueState};
use libgrite_ipc::{IpcCommand, IpcResponse};
use serde::Serialize;

use crate::cli::Global;
use crate::cli::question::Question;
use crate::error::CliError;
use crate::foreign::{Remark, state_name};
use crate::output::{Output, Paint, Terminal, line, text};

/// Arguments of `grite issue show`.
#[derive(Args)]
pub struct Show {
    /// Its id, at least four digits of it, or the id that it was imported with
    pub(super) id: String,
}

#[derive(Serialize)]
struct Issue<'a> {
    id: &'a str,
    source_id: Option<&'a str>,
    title: &'a str,
    body: &'a str,
    state: &'static str,
    labels: &'a [String],
    assignees: &'a [String],
    depends_on: Vec<&'a str>,
    author: &'a str,
    created_at: &'a str,
    updated_at: &'a str,
    comment_count: usize,
    comments: Vec<Remark<'a>>,
}

impl Question for Show {
    fn command(&self, _global: &Global) -> Result<IpcCommand, CliError> {
        Ok(IpcCommand::IssueShow { id: self.id.clone() })
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        match answer {
            IpcResponse::IssueShow(issue) => {
                output.report(&Issue::from(&issue), |terminal| render(&issue, terminal))
            }
            _ => Err(CliError::mismatched()),
        }
    }
}

impl<'a> From<&'a IssueShowResult> for Issue<'a> {
    fn from(issue: &'a IssueShowResult) -> Self {
        Issue {
            id: &issue.id,
            source_id: issue.source_id.as_deref(),
            title: &issue.title,
            body: &issue.body,
            state: state_name(issue.state),
            labels: &issue.labels,
            assignees: &issue.assignees,
            depends_on: issue.depends_on.iter().map(|link| link.id.as_str()).collect(),
            author: &issue.author,
            created_at: &issue.created_at,
            updated_at: &issue.updated_at,
            comment_count: issue.comments.len(),
            comments: issue.comments.iter().map(Remark::from).collect(),
        }
    }
}

fn render(issue: &IssueShowResult, terminal: &Terminal) -> String {
    let state = match issue.state {
        IssueState::Open => Paint::Good,
        IssueState::Closed => Paint::Done,
    };
    let mut page = terminal.paint(Paint::Heading, &line(&issue.title)) + "\n";
    let mut field = |name: &str, paint, value: &str| {
        if !value.is_empty() {
            page += &terminal.paint(Paint::Faint, &format!("{name:<11}"));
            page += &terminal.paint(paint, &line(value));
            page.push('\n');
        }
    };
    field("id", Paint::Id, &issue.id);
    field("source id", Paint::Plain, issue.source_id.as_deref().unwrap_or_default());
    field("state", state, state_name(issue.state));
    field("author", Paint::Plain, &issue.author);
    field("created", Paint::Plain, &issue.created_at);
    field("updated", Paint::Plain, &issue.updated_at);
    field("labels", Paint::Plain, &issue.labels.join(", "));
    field("assignees", Paint::Plain, &issue.assignees.join(", "));
    field("depends on", Paint::Plain, &issue.depends_on.iter().map(link).collect::<Vec<_>>().join(", "));
    if !issue.body.is_empty() {
        page += &format!("\n{}\n", text(issue.body.trim_end_matches('\n')));
    }
    for comment in &issue.comments {
        let heading = format!("{}, {}", line(&comment.author), line(&comment.created_at));
        page += &format!(
            "\n{}\n{}\n",
            terminal.paint(Paint::Heading, &heading),
            text(comment.body.trim_end_matches('\n'))
        );
    }
    page
}

fn link(link: &IssueLink) -> String {
    match &link.source_id {
        Some(source) => format!("{} ({source})", link.id),
        None => link.id.clone(),
    }
}
