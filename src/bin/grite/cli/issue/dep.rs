//! `grite issue dep`: what an issue waits for.

use clap::{Args, Subcommand};
use libgrite_ipc::grite::{DependencyState, IssueChanges, IssueState};
use libgrite_ipc::{IpcCommand, IpcResponse};
use serde::Serialize;

use super::change::{Target, report_update};
use crate::cli::Global;
use crate::cli::question::Question;
use crate::error::CliError;
use crate::foreign::state_name;
use crate::output::{Output, Paint, Terminal, line};

/// What to do with dependencies.
#[derive(Subcommand)]
pub enum Dep {
    /// Let an issue wait for others; refused where one of them waits for it
    Add(Add),
    /// Let it wait for others no longer
    Remove(Remove),
    /// Show what an issue waits for, and what waits for it
    List(List),
}

/// Arguments of `grite issue dep add`.
#[derive(Args)]
pub struct Add {
    #[command(flatten)]
    target: Target,

    /// The issues that it waits for
    #[arg(value_name = "ON", required = true)]
    on: Vec<String>,
}

/// Arguments of `grite issue dep remove`.
#[derive(Args)]
pub struct Remove {
    #[command(flatten)]
    target: Target,

    /// The issues that it waits for no longer
    #[arg(value_name = "ON", required = true)]
    on: Vec<String>,
}

/// Arguments of `grite issue dep list`.
#[derive(Args)]
pub struct List {
    /// Its id, at least four digits of it, or the id that it was imported with
    id: String,
}

#[derive(Serialize)]
struct Dependencies<'a> {
    id: &'a str,
    ready: bool,
    before: Vec<Named<'a>>,
    after: Vec<Named<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    id: &'a str,
    title: Option<&'a str>,
    state: Option<&'static str>,
}

impl<'a> From<&'a DependencyState> for Named<'a> {
    fn from(issue: &'a DependencyState) -> Self {
        Named { id: &issue.id, title: issue.title.as_deref(), state: issue.state.map(state_name) }
    }
}

impl Dep {
    /// Each of these commands is one question.
    pub fn question(&self) -> &dyn Question {
        match self {
            Dep::Add(add) => add,
            Dep::Remove(remove) => remove,
            Dep::List(list) => list,
        }
    }
}

impl Question for Add {
    fn command(&self, global: &Global) -> Result<IpcCommand, CliError> {
        let changes = IssueChanges { add_dependencies: self.on.clone(), ..IssueChanges::default() };
        Ok(self.target.change(changes, global))
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        report_update(answer, output)
    }
}

impl Question for Remove {
    fn command(&self, global: &Global) -> Result<IpcCommand, CliError> {
        let changes = IssueChanges { remove_dependencies: self.on.clone(), ..IssueChanges::default() };
        Ok(self.target.change(changes, global))
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        report_update(answer, output)
    }
}

impl Question for List {
    fn command(&self, _global: &Global) -> Result<IpcCommand, CliError> {
        Ok(IpcCommand::IssueDependencies { id: self.id.clone() })
    }

    fn report(&self, answer: IpcResponse, output: &Output) -> Result<(), CliError> {
        let IpcResponse::Dependencies(found) = answer else { return Err(CliError::mismatched()) };
        let shown = Dependencies {
            id: &found.id,
            ready: found.ready,
            before: found.before.iter().map(Named::from).collect(),
            after: found.after.iter().map(Named::from).collect(),
        };
        output.report(&shown, |terminal| {
            let id = terminal.paint(Paint::Id, shown.id);
            let ready = if shown.ready { "is ready" } else { "is not ready" };
            format!("{id} {ready}\n")
                + &section("waits for", &found.before, terminal)
                + &section("is waited for by", &found.after, terminal)
        })
    }
}

fn section(heading: &str, issues: &[DependencyState], terminal: &Terminal) -> String {
    if issues.is_empty() {
        return String::new();
    }
    let row = |issue: &DependencyState| {
        let id = terminal.paint(Paint::Id, &issue.id);
        match (issue.state, &issue.title) {
            (Some(state), Some(title)) => {
                let paint = if state == IssueState::Open { Paint::Good } else { Paint::Done };
                format!("  {id}  {:<6}  {}\n", terminal.paint(paint, state_name(state)), line(title))
            }
            _ => format!("  {id}  {}\n", terminal.paint(Paint::Faint, "is not here")),
        }
    };
    let rows: String = issues.iter().map(row).collect();
    format!("{}\n{rows}", terminal.paint(Paint::Heading, heading))
}
