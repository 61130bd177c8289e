//! `grite import`: reads a whole file, then sends it, in parts that fit into a message.

use std::fs::File;
use std::io::{BufReader, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use libgrite_ipc::grite::{ForeignIssue, IssueImportResult};
use libgrite_ipc::{IpcCommand, IpcResponse};
use serde::Serialize;

use super::Global;
use crate::error::CliError;
use crate::foreign::{self, BadInput};
use crate::output::Output;
use crate::tracker;

/// How much text goes into one message, in bytes; a single issue that is larger goes alone.
const BATCH: usize = 4 << 20;

/// What an issue or comment takes in a message beside its texts, in bytes.
const FRAME: usize = 256;

/// Arguments of `grite import`.
#[derive(Args)]
pub struct Import {
    /// A file of JSON Lines, or what `gh issue list --json …` prints; - is stdin
    file: PathBuf,
}

#[derive(Serialize)]
struct Imported {
    created: u64,
    updated: u64,
    unchanged: u64,
}

pub fn run(import: &Import, global: &Global, output: &Output) -> Result<(), CliError> {
    if import.file == Path::new("-") {
        global.check_stdin()?;
    }
    let issues = read(&import.file)?;
    let mut tracker = global.tracker_for_several()?;
    let mut sum = Imported { created: 0, updated: 0, unchanged: 0 };
    for issues in batches(issues) {
        match tracker::ask(&mut *tracker, &IpcCommand::IssueImport { issues })? {
            IpcResponse::IssueImport(IssueImportResult { created, updated, unchanged }) => {
                sum.created += created;
                sum.updated += updated;
                sum.unchanged += unchanged;
            }
            _ => return Err(CliError::mismatched()),
        }
    }
    output.report(&sum, |_| {
        let Imported { created, updated, unchanged } = &sum;
        if *created == 0 && *updated == 0 {
            format!("nothing changed: {unchanged} unchanged\n")
        } else {
            format!("{created} created, {updated} updated, {unchanged} unchanged\n")
        }
    })
}

/// The issues in the file `path`, or on stdin where that is `-`.
pub(super) fn read(path: &Path) -> Result<Vec<ForeignIssue>, CliError> {
    let result = if path == Path::new("-") {
        foreign::read(stdin().lock())
    } else {
        let file = File::open(path).map_err(|error| CliError::io("open", path, &error))?;
        foreign::read(BufReader::new(file))
    };
    result.map_err(|error| match error {
        BadInput::Io(error) => CliError::io("read", path, &error),
        BadInput::Line { .. } | BadInput::Item { .. } => CliError::invalid(
            format!("cannot import {}: {error}", path.display()),
            "nothing was imported; mend the file and try again",
        ),
    })
}

/// Cuts `issues` into parts that fit into a message.
pub(super) fn batches(issues: Vec<ForeignIssue>) -> Vec<Vec<ForeignIssue>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut size = 0;
    for issue in issues {
        let added = weight(&issue);
        if size + added > BATCH && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            size = 0;
        }
        size += added;
        batch.push(issue);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

fn weight(issue: &ForeignIssue) -> usize {
    let names = [&issue.labels, &issue.assignees, &issue.depends_on];
    let names: usize = names.into_iter().flatten().map(|name| name.len() + FRAME / 8).sum();
    let said: usize = issue.comments.iter().map(|comment| comment.body.len() + FRAME).sum();
    FRAME + issue.title.len() + issue.body.len() + names + said
}

#[cfg(test)]
mod tests {
    use libgrite_ipc::grite::IssueState;

    use super::*;

    #[test]
    fn a_large_file_is_cut_into_parts_and_loses_nothing() {
        let issue = |id: usize, bytes: usize| ForeignIssue {
            id: id.to_string(),
            title: String::new(),
            body: "x".repeat(bytes),
            state: IssueState::Open,
            labels: Vec::new(),
            assignees: Vec::new(),
            depends_on: Vec::new(),
            author: String::new(),
            created_at: String::new(),
            updated_at: String::new(),
            comments: Vec::new(),
        };
        let issues = vec![
            issue(0, BATCH / 2),
            issue(1, BATCH / 4),
            issue(2, BATCH / 2),
            issue(3, 2 * BATCH),
            issue(4, 1),
        ];
        let parts = batches(issues.clone());
        let ids: Vec<Vec<&str>> =
            parts.iter().map(|part| part.iter().map(|issue| issue.id.as_str()).collect()).collect();
        assert_eq!(ids, [vec!["0", "1"], vec!["2"], vec!["3"], vec!["4"]]);
        assert_eq!(parts.concat(), issues);
        assert!(batches(Vec::new()).is_empty());
    }
}
