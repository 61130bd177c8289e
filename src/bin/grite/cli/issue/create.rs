//! `grite issue create`.

use clap::Args;
use libgrite_ipc::{IpcCommand, IpcResponse};
use serde::Serialize;

use crate::cli::Global;
use crate::cli::writing::{Body, Writing};
use crate::error::CliError;
use crate::output::{Output, Paint};
use crate::tracker;

/// Arguments of `grite issue create`.
#[derive(Args)]
pub struct Create {
    /// One line that says what it is about
    #[arg(value_name = "TITLE", required_unless_present = "title_option", conflicts_with = "title_option")]
    title: Option<String>,

    /// The same as the argument TITLE
    #[arg(long = "title", id = "title_option", value_name = "TITLE", allow_hyphen_values = true)]
    title_option: Option<String>,

    #[command(flatten)]
    body: Body,

    /// A label; may be given several times
    #[arg(long = "label", short, value_name = "LABEL")]
    labels: Vec<String>,

    /// Who works on it; may be given several times
    #[arg(long = "assignee", short, value_name = "NAME")]
    assignees: Vec<String>,

    #[command(flatten)]
    writing: Writing,
}

#[derive(Serialize)]
struct Created {
    id: String,
}

pub fn run(create: &Create, global: &Global, output: &Output) -> Result<(), CliError> {
    let command = IpcCommand::IssueCreate {
        write: create.writing.context(global),
        title: create.title.as_ref().or(create.title_option.as_ref()).cloned().unwrap_or_default(),
        body: create.body.read()?.unwrap_or_default(),
        labels: create.labels.clone(),
        assignees: create.assignees.clone(),
    };
    match tracker::ask(&mut *global.tracker()?, &command)? {
        IpcResponse::IssueCreate(made) => {
            let created = Created { id: made.id };
            output
                .report(&created, |terminal| format!("created {}\n", terminal.paint(Paint::Id, &created.id)))
        }
        _ => Err(CliError::mismatched()),
    }
}
