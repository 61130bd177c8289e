//! The files that issues come in and go out as, of JSON Lines: [`read`] and [`Record`].
//!
//! One object a line, with the fields of [`Record`] in any order. Fields that are not known are passed
//! over; every known one must be there and be right, or nothing of the file is taken. A file that begins
//! with `[` is what GitHub's program prints ([`github`]).

mod github;
pub mod markdown;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, BufRead, Read};

use libgrite_ipc::grite::{Comment, ForeignIssue, IssueLink, IssueShowResult, IssueState};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::engine::{Flaw, MAX_ISSUE, check_foreign};

/// The longest line, in bytes. An escape has six for one of the text that an issue may hold; the rest is for what else
/// a line says.
const MAX_LINE: u64 = 8 * MAX_ISSUE as u64;

/// The longest array of issues, in bytes.
const MAX_ARRAY: u64 = 256 << 20;

/// Reads issues, each once, in the order of the lines.
///
/// # Errors
/// [`BadInput`] for the first line that is not an issue.
pub fn read(mut input: impl BufRead) -> Result<Vec<ForeignIssue>, BadInput> {
    if input.fill_buf().map_err(BadInput::Io)?.trim_ascii_start().first() == Some(&b'[') {
        return read_github(input);
    }
    let mut issues: Vec<ForeignIssue> = Vec::new();
    let mut seen: HashMap<String, (usize, usize)> = HashMap::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = input.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line).map_err(BadInput::Io)?;
        if length == 0 {
            break;
        }
        let bad = |flaw| BadInput::Line { number, flaw };
        if length as u64 > MAX_LINE {
            return Err(bad(flaw("line", format!("it has more than {MAX_LINE} bytes"))));
        }
        let text = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if text.trim_ascii().is_empty() {
            continue;
        }
        let issue = parse(text).map_err(bad)?;
        match seen.entry(issue.id.clone()) {
            Entry::Vacant(place) => {
                place.insert((number, issues.len()));
                issues.push(issue);
            }
            Entry::Occupied(place) => {
                let (first, index) = *place.get();
                if issues.get(index) != Some(&issue) {
                    let problem = format!("{:?} is also on line {first}, with other content", issue.id);
                    return Err(bad(flaw("id", problem)));
                }
            }
        }
    }
    Ok(issues)
}

fn read_github(input: impl BufRead) -> Result<Vec<ForeignIssue>, BadInput> {
    let mut bytes = Vec::new();
    input.take(MAX_ARRAY + 1).read_to_end(&mut bytes).map_err(BadInput::Io)?;
    if bytes.len() as u64 > MAX_ARRAY {
        let flaw = flaw("file", format!("it has more than {MAX_ARRAY} bytes; print fewer issues at a time"));
        return Err(BadInput::Item { number: 0, flaw });
    }
    github::read(&bytes).map_err(|(number, flaw)| BadInput::Item { number, flaw })
}

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum BadInput {
    /// It cannot be read.
    #[error("{0}")]
    Io(io::Error),
    /// A line is not an issue.
    #[error("line {number}, {}: {}", flaw.field, flaw.problem)]
    Line {
        /// Counted from one.
        number: usize,
        /// Where in the line, and what.
        flaw: Flaw,
    },
    /// An item of an array is not an issue.
    #[error("issue {number} of the array, {}: {}", flaw.field, flaw.problem)]
    Item {
        /// Counted from one; 0 for the array itself.
        number: usize,
        /// Where in the item, and what.
        flaw: Flaw,
    },
}

/// An issue as a line of a file. The fields are written in this order.
#[derive(Serialize)]
pub struct Record<'a> {
    id: &'a str,
    title: &'a str,
    body: &'a str,
    state: &'static str,
    labels: &'a [String],
    assignees: &'a [String],
    author: &'a str,
    created_at: &'a str,
    updated_at: &'a str,
    comments: Vec<Remark<'a>>,
    depends_on: Vec<&'a str>,
}

/// A comment of a [`Record`], and of an issue that is shown.
#[derive(Serialize)]
pub struct Remark<'a> {
    author: &'a str,
    created_at: &'a str,
    body: &'a str,
}

impl<'a> From<&'a Comment> for Remark<'a> {
    fn from(comment: &'a Comment) -> Self {
        Remark { author: &comment.author, created_at: &comment.created_at, body: &comment.body }
    }
}

impl<'a> From<&'a IssueShowResult> for Record<'a> {
    fn from(issue: &'a IssueShowResult) -> Self {
        Record {
            id: name(&issue.id, issue.source_id.as_ref()),
            title: &issue.title,
            body: &issue.body,
            state: state_name(issue.state),
            labels: &issue.labels,
            assignees: &issue.assignees,
            author: &issue.author,
            created_at: &issue.created_at,
            updated_at: &issue.updated_at,
            comments: issue.comments.iter().map(Remark::from).collect(),
            depends_on: names(&issue.depends_on),
        }
    }
}

/// The name by which a file knows an issue: the id that it came with, or else its own.
fn name<'a>(id: &'a str, source: Option<&'a String>) -> &'a str {
    source.map_or(id, String::as_str)
}

/// The names by which a file knows the issues behind `links`, sorted.
fn names(links: &[IssueLink]) -> Vec<&str> {
    let mut names: Vec<&str> = links.iter().map(|link| name(&link.id, link.source_id.as_ref())).collect();
    names.sort_unstable();
    names
}

/// The word for a state.
pub fn state_name(state: IssueState) -> &'static str {
    match state {
        IssueState::Open => "open",
        IssueState::Closed => "closed",
    }
}

fn parse(line: &[u8]) -> Result<ForeignIssue, Flaw> {
    let value: Value =
        serde_json::from_slice(line).map_err(|error| flaw("line", format!("it is not JSON: {error}")))?;
    let Value::Object(mut object) = value else {
        return Err(flaw("line", format!("it is {}, and not an object", kind(&value))));
    };
    let issue = ForeignIssue {
        id: text(&mut object, "id")?,
        title: text(&mut object, "title")?,
        body: text(&mut object, "body")?,
        state: match text(&mut object, "state")?.as_str() {
            "open" => IssueState::Open,
            "closed" => IssueState::Closed,
            other => {
                return Err(flaw("state", format!("{:?} is neither \"open\" nor \"closed\"", short(other))));
            }
        },
        labels: texts(&mut object, "labels")?,
        assignees: texts(&mut object, "assignees")?,
        depends_on: texts(&mut object, "depends_on")?,
        author: text(&mut object, "author")?,
        created_at: text(&mut object, "created_at")?,
        updated_at: text(&mut object, "updated_at")?,
        comments: list(&mut object, "comments")?
            .into_iter()
            .enumerate()
            .map(|(index, value)| comment(index, value))
            .collect::<Result<_, _>>()?,
    };
    check_foreign(&issue)?;
    Ok(issue)
}

fn comment(index: usize, value: Value) -> Result<Comment, Flaw> {
    let place = format!("comments[{index}]");
    let Value::Object(mut object) = value else {
        return Err(flaw(&place, format!("it is {}, and not an object", kind(&value))));
    };
    let within = |flaw: Flaw| Flaw { field: format!("{place}.{}", flaw.field), ..flaw };
    Ok(Comment {
        author: text(&mut object, "author").map_err(within)?,
        created_at: text(&mut object, "created_at").map_err(within)?,
        body: text(&mut object, "body").map_err(within)?,
    })
}

fn text(object: &mut Map<String, Value>, field: &str) -> Result<String, Flaw> {
    match object.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(flaw(field, format!("it is {}, and not a string", kind(&other)))),
        None => Err(flaw(field, "it is missing".to_owned())),
    }
}

fn list(object: &mut Map<String, Value>, field: &str) -> Result<Vec<Value>, Flaw> {
    match object.remove(field) {
        Some(Value::Array(values)) => Ok(values),
        Some(other) => Err(flaw(field, format!("it is {}, and not an array", kind(&other)))),
        None => Err(flaw(field, "it is missing".to_owned())),
    }
}

fn texts(object: &mut Map<String, Value>, field: &str) -> Result<Vec<String>, Flaw> {
    let values = list(object, field)?.into_iter().enumerate();
    values
        .map(|(index, value)| match value {
            Value::String(text) => Ok(text),
            other => {
                Err(flaw(&format!("{field}[{index}]"), format!("it is {}, and not a string", kind(&other))))
            }
        })
        .collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

fn flaw(field: &str, problem: String) -> Flaw {
    Flaw { field: field.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"id":"a-1","title":"T","body":"","state":"open","labels":["x"],"assignees":[],"author":"ann","created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z","comments":[{"author":"b","created_at":"2026-01-01T00:00:00Z","body":"c"}],"depends_on":["a-2"],"extra":1}"#;

    fn message(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn unknown_fields_blank_lines_and_equal_repeats_are_passed_over() {
        let issues = read(format!("\u{feff}{GOOD}\n\n  \n{GOOD}\r\n{GOOD}").as_bytes()).unwrap();
        assert_eq!(issues.len(), 1);
        assert_eq!(
            (issues[0].labels.as_slice(), issues[0].comments[0].body.as_str()),
            (&["x".to_owned()][..], "c")
        );
        assert!(read(&b""[..]).unwrap().is_empty());
    }

    #[test]
    fn a_bad_line_is_named_by_number_and_field() {
        let title = r#""title":"T""#;
        for (change, expected) in [
            (GOOD.replace(title, r#""title":7"#), "line 2, title: it is a number, and not a string"),
            (GOOD.replace(title, r#""title":"""#), "line 2, title: it must not be empty"),
            (GOOD.replace(r#""title":"T","#, ""), "line 2, title: it is missing"),
            (GOOD.replace("\"open\"", "\"done\""), "line 2, state: \"done\" is neither"),
            (GOOD.replace("[\"x\"]", "[\"x\",null]"), "line 2, labels[1]: it is null"),
            (GOOD.replace("[\"x\"]", "\"x\""), "line 2, labels: it is a string"),
            (GOOD.replace("\"body\":\"c\"", "\"body\":[]"), "line 2, comments[0].body: it is an array"),
            (
                GOOD.replacen("2026-01-01T00:00:00Z", "2026-01-01", 1),
                "line 2, created_at: \"2026-01-01\" is not",
            ),
            (GOOD.replace("\"T\"", "\"Other\""), "line 2, id: \"a-1\" is also on line 1"),
            ("[]".to_owned(), "line 2, line: it is an array"),
            ("{".to_owned(), "line 2, line: it is not JSON"),
        ] {
            let message = message(&format!("{GOOD}\n{change}\n"));
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn a_line_that_is_no_text_is_named() {
        let error = read(&b"\"\xff\"\n"[..]).unwrap_err().to_string();
        assert!(error.starts_with("line 1, line: it is not JSON"), "{error}");
    }
}
