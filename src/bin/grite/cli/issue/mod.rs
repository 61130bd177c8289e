//! `grite issue`: creates, finds and changes issues.

mod change;
mod create;
mod dep;
mod list;
mod show;

use clap::Subcommand;

use super::Global;
use crate::error::CliError;
use crate::output::Output;

/// What to do with issues.
#[derive(Subcommand)]
pub enum Issue {
    /// Create an issue
    Create(create::Create),
    /// List issues, newest first
    List(list::List),
    /// Show everything about an issue
    Show(show::Show),
    /// Change an issue's text, labels and assignees
    Update(change::Update),
    /// Close an issue
    Close(change::Close),
    /// Open a closed issue again
    Reopen(change::Reopen),
    /// Add a comment to an issue
    Comment(change::Comment),
    /// Add labels to an issue, or take them away
    Label(change::Label),
    /// Assign an issue to people, or take it from them
    Assign(change::Assign),
    /// Take an open issue that nobody has
    Claim(change::Claim),
    /// List open issues that wait for nothing that is open
    Ready(list::Ready),
    /// Say what an issue waits for
    #[command(subcommand)]
    Dep(dep::Dep),
}

pub fn run(issue: &Issue, global: &Global, output: &Output) -> Result<(), CliError> {
    match issue {
        Issue::Create(create) => create::run(create, global, output),
        Issue::List(list) => list::run(list, global, output),
        Issue::Show(show) => show::run(show, global, output),
        Issue::Update(update) => change::update(update, global, output),
        Issue::Close(close) => change::close(close, global, output),
        Issue::Reopen(reopen) => change::reopen(reopen, global, output),
        Issue::Comment(comment) => change::comment(comment, global, output),
        Issue::Label(label) => change::label(label, global, output),
        Issue::Assign(assign) => change::assign(assign, global, output),
        Issue::Claim(claim) => change::claim(claim, global, output),
        Issue::Ready(ready) => list::ready(ready, global, output),
        Issue::Dep(dep) => dep::run(dep, global, output),
    }
}
