//! `grite issue`: creates, finds and changes issues.

mod change;
mod create;
mod dep;
mod list;
mod show;

use clap::Subcommand;

use super::question::Question;

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

impl Issue {
    /// What shows the issue `id`.
    pub fn show(id: String) -> Self {
        Issue::Show(show::Show { id })
    }

    /// Each of these commands is one question.
    pub fn question(&self) -> &dyn Question {
        match self {
            Issue::Create(create) => create,
            Issue::List(list) => list,
            Issue::Show(show) => show,
            Issue::Update(update) => update,
            Issue::Close(close) => close,
            Issue::Reopen(reopen) => reopen,
            Issue::Comment(comment) => comment,
            Issue::Label(label) => label,
            Issue::Assign(assign) => assign,
            Issue::Claim(claim) => claim,
            Issue::Ready(ready) => ready,
            Issue::Dep(dep) => dep.question(),
        }
    }
}
