//! `grite issue create`.

use clap::Args;
use libgrite_ipc::{IpcCommand, IpcResponse};
use serde::Serialize;

use crate::cli::Global;
use crate::cli::question::Question;
use crate::cli::writing::{Body, Writing};
use crate::error::CliError;
use crate::output::{Output, Paint};

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

impl Question for Create {
    fn command(&self, global: &Global) -> Result<IpcCommand, CliError> {
        Ok(IpcCommand::IssueCreate {
            write: self.writing.context(global),
            title: self.title.as_ref().or(self.title_option.as_ref()).cloned().unwrap_or_default(),
            body: self.body.read(global)?.unwrap_or_default(),
            labels: self.labels.clone(),
            assignees: self.assignees.clone(),
        })
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        match answer {
            IpcResponse::IssueCreate(made) => {
                let created = Created { id: made.id };
                output.report(&created, |terminal| {
                    format!("created {}\n", terminal.paint(Paint::Id, &created.id))
                })
            }
            _ => Err(CliError::mismatched()),
        }
    }
}
