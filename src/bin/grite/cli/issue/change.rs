//! `grite issue update`, `close`, `reopen` and `comment`: what changes one issue.

use std::path::Path;

use clap::Args;
use libgrite_ipc::grite::{IssueChanges, IssueStateResult};
use libgrite_ipc::{IpcCommand, IpcResponse};
use serde::Serialize;

use crate::cli::Global;
use crate::cli::writing::{Body, Writing, read_text};
use crate::error::{CliError, Code};
use crate::foreign::state_name;
use crate::output::{Output, Paint};
use crate::tracker;

/// Which issue, and how it is written.
#[derive(Args)]
pub(super) struct Target {
    /// Its id, at least four digits of it, or the id that it was imported with
    pub(super) id: String,

    #[command(flatten)]
    pub(super) writing: Writing,
}

/// Arguments of `grite issue update`.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    target: Target,

    /// The new title
    #[arg(long, value_name = "TITLE", allow_hyphen_values = true)]
    title: Option<String>,

    #[command(flatten)]
    body: Body,

    /// A label to add; may be given several times
    #[arg(long, value_name = "LABEL")]
    add_label: Vec<String>,

    /// A label to remove; may be given several times
    #[arg(long, value_name = "LABEL")]
    remove_label: Vec<String>,

    /// An assignee to add; may be given several times
    #[arg(long, value_name = "NAME")]
    add_assignee: Vec<String>,

    /// An assignee to remove; may be given several times
    #[arg(long, value_name = "NAME")]
    remove_assignee: Vec<String>,
}

/// Arguments of `grite issue close`.
#[derive(Args)]
pub struct Close {
    #[command(flatten)]
    target: Target,
}

/// Arguments of `grite issue reopen`.
#[derive(Args)]
pub struct Reopen {
    #[command(flatten)]
    target: Target,
}

/// Arguments of `grite issue comment`.
#[derive(Args)]
pub struct Comment {
    #[command(flatten)]
    target: Target,

    /// The comment itself; - reads it from stdin
    #[arg(value_name = "TEXT", conflicts_with_all = ["body", "body_file"])]
    text: Option<String>,

    #[command(flatten)]
    body: Body,
}

/// Arguments of `grite issue label`.
#[derive(Args)]
pub struct Label {
    #[command(flatten)]
    target: Target,

    /// Labels to add
    #[arg(value_name = "LABEL", required_unless_present = "remove")]
    add: Vec<String>,

    /// A label to take away; may be given several times
    #[arg(long, short, value_name = "LABEL")]
    remove: Vec<String>,
}

/// Arguments of `grite issue assign`.
#[derive(Args)]
pub struct Assign {
    #[command(flatten)]
    target: Target,

    /// People to assign it to
    #[arg(value_name = "NAME", required_unless_present = "remove")]
    add: Vec<String>,

    /// Somebody to take it from; may be given several times
    #[arg(long, short, value_name = "NAME")]
    remove: Vec<String>,
}

/// Arguments of `grite issue claim`.
#[derive(Args)]
pub struct Claim {
    #[command(flatten)]
    target: Target,
}

#[derive(Serialize)]
struct Updated {
    id: String,
    changed: bool,
}

#[derive(Serialize)]
struct Moved {
    id: String,
    state: &'static str,
    changed: bool,
}

#[derive(Serialize)]
struct Commented {
    id: String,
    comment_count: u32,
}

pub fn update(update: &Update, global: &Global, output: &Output) -> Result<(), CliError> {
    let changes = IssueChanges {
        title: update.title.clone(),
        body: update.body.read()?,
        add_labels: update.add_label.clone(),
        remove_labels: update.remove_label.clone(),
        add_assignees: update.add_assignee.clone(),
        remove_assignees: update.remove_assignee.clone(),
        ..nothing()
    };
    change(&update.target, changes, global, output)
}

pub fn label(label: &Label, global: &Global, output: &Output) -> Result<(), CliError> {
    let changes =
        IssueChanges { add_labels: label.add.clone(), remove_labels: label.remove.clone(), ..nothing() };
    change(&label.target, changes, global, output)
}

pub fn assign(assign: &Assign, global: &Global, output: &Output) -> Result<(), CliError> {
    let changes = IssueChanges {
        add_assignees: assign.add.clone(),
        remove_assignees: assign.remove.clone(),
        ..nothing()
    };
    change(&assign.target, changes, global, output)
}

pub fn claim(claim: &Claim, global: &Global, output: &Output) -> Result<(), CliError> {
    let write = claim.target.writing.context(global);
    updated(&IpcCommand::IssueClaim { write, id: claim.target.id.clone() }, global, output)
}

/// No change at all.
pub(super) fn nothing() -> IssueChanges {
    IssueChanges {
        title: None,
        body: None,
        add_labels: Vec::new(),
        remove_labels: Vec::new(),
        add_assignees: Vec::new(),
        remove_assignees: Vec::new(),
        add_dependencies: Vec::new(),
        remove_dependencies: Vec::new(),
    }
}

pub(super) fn change(
    target: &Target,
    changes: IssueChanges,
    global: &Global,
    output: &Output,
) -> Result<(), CliError> {
    let write = target.writing.context(global);
    updated(&IpcCommand::IssueUpdate { write, id: target.id.clone(), changes }, global, output)
}

fn updated(command: &IpcCommand, global: &Global, output: &Output) -> Result<(), CliError> {
    match tracker::ask(&mut *global.tracker()?, command)? {
        IpcResponse::IssueUpdate(result) => {
            let updated = Updated { id: result.id, changed: result.changed };
            output.report(&updated, |terminal| {
                let id = terminal.paint(Paint::Id, &updated.id);
                if updated.changed { format!("updated {id}\n") } else { format!("{id} is so already\n") }
            })
        }
        _ => Err(CliError::mismatched()),
    }
}

pub fn close(close: &Close, global: &Global, output: &Output) -> Result<(), CliError> {
    let write = close.target.writing.context(global);
    set_state(&IpcCommand::IssueClose { write, id: close.target.id.clone() }, global, output)
}

pub fn reopen(reopen: &Reopen, global: &Global, output: &Output) -> Result<(), CliError> {
    let write = reopen.target.writing.context(global);
    set_state(&IpcCommand::IssueReopen { write, id: reopen.target.id.clone() }, global, output)
}

fn set_state(command: &IpcCommand, global: &Global, output: &Output) -> Result<(), CliError> {
    match tracker::ask(&mut *global.tracker()?, command)? {
        IpcResponse::IssueState(IssueStateResult { id, state, changed }) => {
            let moved = Moved { id, state: state_name(state), changed };
            output.report(&moved, |terminal| {
                let id = terminal.paint(Paint::Id, &moved.id);
                let already = if changed { "now" } else { "already" };
                format!("{id} is {already} {}\n", moved.state)
            })
        }
        _ => Err(CliError::mismatched()),
    }
}

pub fn comment(comment: &Comment, global: &Global, output: &Output) -> Result<(), CliError> {
    let body = match comment.text.as_deref() {
        Some("-") => Some(read_text(Path::new("-"))?),
        Some(text) => Some(text.to_owned()),
        None => comment.body.read()?,
    };
    let Some(body) = body else {
        return Err(CliError::new(Code::Usage, "the comment is missing", "give TEXT, --body or --body-file"));
    };
    let write = comment.target.writing.context(global);
    let command = IpcCommand::IssueComment { write, id: comment.target.id.clone(), body };
    match tracker::ask(&mut *global.tracker()?, &command)? {
        IpcResponse::Comment(result) => {
            let said = Commented { id: result.id, comment_count: result.comment_count };
            output.report(&said, |terminal| format!("commented on {}\n", terminal.paint(Paint::Id, &said.id)))
        }
        _ => Err(CliError::mismatched()),
    }
}
