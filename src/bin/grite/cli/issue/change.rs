//! `grite issue update`, `close`, `reopen`, `comment`, `label`, `assign` and `claim`: what changes one issue.

use std::path::Path;

use clap::Args;
use libgrite_ipc::grite::{IssueChanges, IssueStateResult};
use libgrite_ipc::{IpcCommand, IpcResponse};
use serde::Serialize;

use crate::cli::Global;
use crate::cli::question::Question;
use crate::cli::writing::{Body, Writing, read_text};
use crate::error::{CliError, Code};
use crate::foreign::state_name;
use crate::output::{Output, Paint};

/// Which issue, and how it is written.
#[derive(Args)]
pub(super) struct Target {
    /// Its id, at least four digits of it, or the id that it was imported with
    id: String,

    #[command(flatten)]
    writing: Writing,
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

impl Question for Update {
    fn command(&self, global: &Global) -> Result<IpcCommand, CliError> {
        let changes = IssueChanges {
            title: self.title.clone(),
            body: self.body.read(global)?,
            add_labels: self.add_label.clone(),
            remove_labels: self.remove_label.clone(),
            add_assignees: self.add_assignee.clone(),
            remove_assignees: self.remove_assignee.clone(),
            ..IssueChanges::default()
        };
        Ok(self.target.change(changes, global))
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        report_update(answer, output)
    }
}

impl Question for Label {
    fn command(&self, global: &Global) -> Result<IpcCommand, CliError> {
        let (add_labels, remove_labels) = (self.add.clone(), self.remove.clone());
        Ok(self.target.change(IssueChanges { add_labels, remove_labels, ..IssueChanges::default() }, global))
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        report_update(answer, output)
    }
}

impl Question for Assign {
    fn command(&self, global: &Global) -> Result<IpcCommand, CliError> {
        let (add_assignees, remove_assignees) = (self.add.clone(), self.remove.clone());
        Ok(self
            .target
            .change(IssueChanges { add_assignees, remove_assignees, ..IssueChanges::default() }, global))
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        report_update(answer, output)
    }
}

impl Question for Claim {
    fn command(&self, global: &Global) -> Result<IpcCommand, CliError> {
        let Target { id, writing } = &self.target;
        Ok(IpcCommand::IssueClaim { write: writing.context(global), id: id.clone() })
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        report_update(answer, output)
    }
}

impl Target {
    /// The command that makes `changes` to the issue.
    pub(super) fn change(&self, changes: IssueChanges, global: &Global) -> IpcCommand {
        IpcCommand::IssueUpdate { write: self.writing.context(global), id: self.id.clone(), changes }
    }
}

pub(super) fn report_update(answer: IpcResponse, output: &Output) -> Result<(), CliError> {
    match answer {
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

impl Question for Close {
    fn command(&self, global: &Global) -> Result<IpcCommand, CliError> {
        let Target { id, writing } = &self.target;
        Ok(IpcCommand::IssueClose { write: writing.context(global), id: id.clone() })
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        report_state(answer, output)
    }
}

impl Question for Reopen {
    fn command(&self, global: &Global) -> Result<IpcCommand, CliError> {
        let Target { id, writing } = &self.target;
        Ok(IpcCommand::IssueReopen { write: writing.context(global), id: id.clone() })
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        report_state(answer, output)
    }
}

fn report_state(answer: IpcResponse, output: &Output) -> Result<(), CliError> {
    match answer {
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

impl Question for Comment {
    fn command(&self, global: &Global) -> Result<IpcCommand, CliError> {
        let body = match self.text.as_deref() {
            Some("-") => Some(read_text(Path::new("-"), global)?),
            Some(text) => Some(text.to_owned()),
            None => self.body.read(global)?,
        };
        let Some(body) = body else {
            return Err(CliError::new(
                Code::Usage,
                "the comment is missing",
                "give TEXT, --body or --body-file",
            ));
        };
        let write = self.target.writing.context(global);
        Ok(IpcCommand::IssueComment { write, id: self.target.id.clone(), body })
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        match answer {
            IpcResponse::Comment(result) => {
                let said = Commented { id: result.id, comment_count: result.comment_count };
                output.report(&said, |terminal| {
                    format!("commented on {}\n", terminal.paint(Paint::Id, &said.id))
                })
            }
            _ => Err(CliError::mismatched()),
        }
    }
}
