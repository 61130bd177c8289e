//! What `gh issue list --json …` prints: one array of issues. [`read`] makes issues of ours of them.
//!
//! An issue is called `owner/repository#number` where its URL is in the file, else `#number`.

use libgrite_ipc::grite::{Comment, ForeignIssue, IssueState};
use serde::Deserialize;

use super::{Flaw, flaw, short};

/// The fields that it takes, as `gh` wants them named.
pub const FIELDS: &str = "number,title,body,state,author,labels,assignees,comments,createdAt,updatedAt,url";

/// An issue as GitHub's program prints it. What is not asked for there is absent here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Printed {
    number: u64,
    title: String,
    #[serde(default)]
    body: Option<String>,
    state: String,
    author: Option<Person>,
    #[serde(default)]
    labels: Vec<Label>,
    #[serde(default)]
    assignees: Vec<Person>,
    #[serde(default)]
    comments: Vec<Said>,
    created_at: String,
    updated_at: String,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Person {
    login: String,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    author: Option<Person>,
    body: String,
    created_at: String,
}

/// Reads the whole array.
///
/// # Errors
/// The index of the first issue that cannot be read, counted from one, and what is wrong; 0 where it is the
/// array itself.
pub fn read(bytes: &[u8]) -> Result<Vec<ForeignIssue>, (usize, Flaw)> {
    let items: Vec<serde_json::Value> =
        serde_json::from_slice(bytes).map_err(|error| (0, flaw("file", error.to_string())))?;
    let read = |(index, item)| {
        let printed = serde_json::from_value::<Printed>(item).map_err(|error| {
            let problem = format!("{error}; print it by `gh issue list --json {FIELDS}`");
            (index + 1, flaw("issue", problem))
        })?;
        issue(printed).map_err(|flaw| (index + 1, flaw))
    };
    items.into_iter().enumerate().map(read).collect()
}

fn issue(printed: Printed) -> Result<ForeignIssue, Flaw> {
    let name = |person: Option<Person>| person.map(|person| person.login).filter(|login| !login.is_empty());
    // GitHub itself shows somebody who is gone so.
    let author = |person| name(person).unwrap_or_else(|| "ghost".to_owned());
    let comments = printed.comments.into_iter().filter(|said| !said.body.trim().is_empty());
    let comments = comments.map(|said| Comment {
        author: author(said.author),
        created_at: said.created_at,
        body: said.body,
    });
    let issue = ForeignIssue {
        id: id(printed.number, printed.url.as_deref()),
        title: printed.title,
        body: printed.body.unwrap_or_default(),
        state: match printed.state.as_str() {
            "OPEN" | "open" => IssueState::Open,
            "CLOSED" | "closed" => IssueState::Closed,
            other => return Err(flaw("state", format!("{:?} is neither OPEN nor CLOSED", short(other)))),
        },
        labels: sorted(printed.labels.into_iter().map(|label| label.name)),
        assignees: sorted(printed.assignees.into_iter().map(|person| person.login)),
        depends_on: Vec::new(),
        author: author(printed.author),
        updated_at: printed.updated_at,
        created_at: printed.created_at,
        comments: comments.collect(),
    };
    crate::engine::check_foreign(&issue)?;
    Ok(issue)
}

/// In the order of an export, each once.
fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    names.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

fn id(number: u64, url: Option<&str>) -> String {
    let path = url.and_then(|url| url.split_once("://")).and_then(|(_, rest)| rest.split_once('/'));
    let repository = path.and_then(|(_, path)| path.strip_suffix(&format!("/issues/{number}")));
    format!("{}#{number}", repository.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = r#"[{"assignees":[{"id":"1","login":"bob","name":""}],"author":{"login":"ann","is_bot":false},
        "body":"Text","comments":[{"id":"c","author":{"login":"cyd"},"body":"said","createdAt":"2026-01-02T00:00:00Z"},
        {"author":null,"body":" ","createdAt":"2026-01-02T00:00:00Z"}],
        "createdAt":"2026-01-01T00:00:00Z","labels":[{"name":"ui","color":"x"},{"name":"bug"},{"name":"bug"}],
        "number":7,"state":"CLOSED","title":"T","updatedAt":"2026-01-03T00:00:00Z",
        "url":"https://github.com/o/r/issues/7"},
        {"number":8,"title":"U","state":"OPEN","author":{"login":""},"createdAt":"2026-01-01T00:00:00Z",
        "updatedAt":"2026-01-01T00:00:00Z"}]"#;

    #[test]
    fn issues_are_read_as_they_were_printed() {
        let issues = read(PRINTED.as_bytes()).unwrap();
        let [first, second] = issues.as_slice() else { panic!() };
        assert_eq!((first.id.as_str(), first.title.as_str(), first.body.as_str()), ("o/r#7", "T", "Text"));
        assert_eq!(
            (first.state, &first.labels[..]),
            (IssueState::Closed, &["bug".to_owned(), "ui".to_owned()][..])
        );
        assert_eq!((first.assignees[0].as_str(), first.author.as_str()), ("bob", "ann"));
        assert_eq!((first.comments.len(), first.comments[0].author.as_str()), (1, "cyd"));
        assert_eq!((second.id.as_str(), second.author.as_str()), ("#8", "ghost"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (change, place, words) in [
            (PRINTED.replace("\"number\":8,", ""), 2, "number"),
            (PRINTED.replace("\"OPEN\"", "\"DONE\""), 2, "neither OPEN nor CLOSED"),
            (PRINTED.replacen("2026-01-01", "yesterday", 1), 1, "yesterday"),
            ("[".to_owned(), 0, "EOF"),
        ] {
            let (index, flaw) = read(change.as_bytes()).unwrap_err();
            assert!(index == place && flaw.problem.contains(words), "{index} {}", flaw.problem);
        }
    }
}
