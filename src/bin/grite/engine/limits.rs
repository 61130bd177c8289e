//! What may be written: every bound, and the checks of what comes in.
//!
//! Together the bounds keep each issue of one clone within one answer. The command line checks a whole file with
//! [`check_foreign`] before it sends the first part of it; the engine checks again.

use libgrite_ipc::grite::{Comment, ForeignIssue};

use crate::model::{Issue, Moment};

/// The longest title, in bytes: it stands on one line.
pub const MAX_TITLE: usize = 1024;
/// The largest body or comment, in bytes; long logs belong into files.
pub const MAX_TEXT: usize = 1 << 20;
/// The most text of one issue, comments included, in bytes: half of what a message may carry.
pub const MAX_ISSUE: usize = 8 << 20;
/// The longest label, assignee or author, in bytes.
pub const MAX_NAME: usize = 128;
/// The most labels, assignees or dependencies of one issue.
pub const MAX_NAMES: usize = 256;
/// The most comments in one imported issue.
pub const MAX_COMMENTS: usize = 10_000;
/// The longest id of another tracker, and the longest id to ask for, in bytes.
pub const MAX_SOURCE: usize = 256;
/// The longest idempotency key, in bytes.
pub const MAX_KEY: usize = 128;
/// The longest text to search for, in bytes.
pub const MAX_SEARCH: usize = 1024;
/// A page ends early when it holds this much text, in bytes, so that it fits into one answer.
pub const MAX_PAGE: usize = 4 << 20;

/// What is wrong with what came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Where.
    pub field: String,
    /// What.
    pub problem: String,
}

impl Flaw {
    fn new(field: &str, problem: impl Into<String>) -> Self {
        Flaw { field: field.to_owned(), problem: problem.into() }
    }
}

/// Checks a title that somebody types.
pub fn check_title(title: &str) -> Result<(), Flaw> {
    if title.contains(['\n', '\r']) {
        return Err(Flaw::new("title", "it must be one line"));
    }
    check_foreign_title(title)
}

/// Checks a body.
pub fn check_body(body: &str) -> Result<(), Flaw> {
    check_length("body", body, MAX_TEXT)
}

/// Checks a comment.
pub fn check_comment(body: &str) -> Result<(), Flaw> {
    check_present("comment", body)?;
    check_length("comment", body, MAX_TEXT)
}

/// Checks a label, assignee, author or id of another tracker.
pub fn check_name(field: &str, name: &str, max: usize) -> Result<(), Flaw> {
    check_present(field, name)?;
    if name.chars().any(char::is_control) {
        return Err(Flaw::new(field, "it must not hold control characters"));
    }
    check_length(field, name, max)
}

/// Checks several names.
pub fn check_names(field: &str, names: &[String], max: usize) -> Result<(), Flaw> {
    check_count(field, names.len(), MAX_NAMES)?;
    names.iter().try_for_each(|name| check_name(field, name, max))
}

/// Checks how many of something there are.
pub fn check_count(field: &str, count: usize, max: usize) -> Result<(), Flaw> {
    if count > max {
        return Err(Flaw::new(field, format!("there are {count}, and at most {max} are allowed")));
    }
    Ok(())
}

/// Checks how much text an issue would hold.
pub fn check_issue_text(bytes: usize) -> Result<(), Flaw> {
    if bytes > MAX_ISSUE {
        return Err(Flaw::new("issue", format!("its text would have {bytes} bytes, more than {MAX_ISSUE}")));
    }
    Ok(())
}

/// Checks what `after` has more of than `before`, the issue as it was. It may have been too large: clones that
/// were apart make it so together. Nothing that lets it grow is right then, and all else still is.
pub fn check_growth(before: Option<&Issue>, after: &Issue) -> Result<(), Flaw> {
    let grown = |size: fn(&Issue) -> usize| {
        let now = size(after);
        if before.is_some_and(|before| now <= size(before)) { 0 } else { now }
    };
    check_issue_text(grown(Issue::text_len))?;
    check_count("label", grown(|issue| issue.labels().values().len()), MAX_NAMES)?;
    check_count("assignee", grown(|issue| issue.assignees().values().len()), MAX_NAMES)?;
    check_count("dependency", grown(|issue| issue.depends_on().values().len()), MAX_NAMES)?;
    check_count("comments", grown(|issue| issue.remarks().len()), MAX_COMMENTS)
}

/// Checks an issue of another tracker.
pub fn check_foreign(issue: &ForeignIssue) -> Result<(), Flaw> {
    check_name("id", &issue.id, MAX_SOURCE)?;
    check_foreign_title(&issue.title)?;
    check_body(&issue.body)?;
    check_names("labels", &issue.labels, MAX_NAME)?;
    check_names("assignees", &issue.assignees, MAX_NAME)?;
    check_names("depends_on", &issue.depends_on, MAX_SOURCE)?;
    check_name("author", &issue.author, MAX_NAME)?;
    check_moment("created_at", &issue.created_at)?;
    check_moment("updated_at", &issue.updated_at)?;
    check_count("comments", issue.comments.len(), MAX_COMMENTS)?;
    for (index, comment) in issue.comments.iter().enumerate() {
        check_foreign_comment(comment)
            .map_err(|flaw| Flaw::new(&format!("comments[{index}].{}", flaw.field), flaw.problem))?;
    }
    let said: usize = issue.comments.iter().map(|comment| comment.body.len()).sum();
    check_issue_text(issue.title.len() + issue.body.len() + said)
}

fn check_foreign_comment(comment: &Comment) -> Result<(), Flaw> {
    check_name("author", &comment.author, MAX_NAME)?;
    check_moment("created_at", &comment.created_at)?;
    check_present("body", &comment.body)?;
    check_body(&comment.body)
}

/// Other trackers let a title have several lines.
fn check_foreign_title(title: &str) -> Result<(), Flaw> {
    check_present("title", title)?;
    check_length("title", title, MAX_TITLE)
}

fn check_moment(field: &str, text: &str) -> Result<(), Flaw> {
    match Moment::parse(text) {
        Some(_) => Ok(()),
        None => {
            let shown: String = text.chars().take(40).collect();
            Err(Flaw::new(field, format!("{shown:?} is not an RFC 3339 timestamp with a zone")))
        }
    }
}

fn check_present(field: &str, text: &str) -> Result<(), Flaw> {
    if text.trim().is_empty() {
        return Err(Flaw::new(field, "it must not be empty"));
    }
    Ok(())
}

fn check_length(field: &str, text: &str, max: usize) -> Result<(), Flaw> {
    if text.len() > max {
        return Err(Flaw::new(field, format!("it has {} bytes, and at most {max} are allowed", text.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign() -> ForeignIssue {
        ForeignIssue {
            id: "a-1".to_owned(),
            title: "T".to_owned(),
            body: String::new(),
            state: libgrite_ipc::grite::IssueState::Open,
            labels: Vec::new(),
            assignees: Vec::new(),
            depends_on: Vec::new(),
            author: "ann".to_owned(),
            created_at: "2026-01-01T00:00:00Z".to_owned(),
            updated_at: "2026-01-01T00:00:00Z".to_owned(),
            comments: Vec::new(),
        }
    }

    #[test]
    fn every_bound_holds_at_the_limit_and_not_one_past_it() {
        let text = |length| "x".repeat(length);
        type Check = fn(&str) -> Result<(), Flaw>;
        let checks: [(usize, Check); 6] = [
            (MAX_TITLE, check_title),
            (MAX_TITLE, check_foreign_title),
            (MAX_TEXT, check_body),
            (MAX_TEXT, check_comment),
            (MAX_NAME, |name| check_name("label", name, MAX_NAME)),
            (MAX_SOURCE, |id| check_name("id", id, MAX_SOURCE)),
        ];
        for (max, check) in checks {
            assert_eq!(check(&text(max)), Ok(()));
            assert!(check(&text(max + 1)).is_err(), "{max}");
        }
        assert!(check_names("labels", &vec![text(1); MAX_NAMES], MAX_NAME).is_ok());
        assert!(check_names("labels", &vec![text(1); MAX_NAMES + 1], MAX_NAME).is_err());
        assert!(check_issue_text(MAX_ISSUE).is_ok());
        assert!(check_issue_text(MAX_ISSUE + 1).is_err());
        let comment =
            Comment { author: text(1), created_at: "2026-01-01T00:00:00Z".to_owned(), body: text(1) };
        let mut issue = ForeignIssue { comments: vec![comment.clone(); MAX_COMMENTS], ..foreign() };
        assert_eq!(check_foreign(&issue), Ok(()));
        issue.comments.push(comment);
        assert!(check_foreign(&issue).is_err());
    }

    #[test]
    fn what_is_empty_or_out_of_line_is_refused() {
        assert!(check_title(" ").is_err());
        assert!(check_title("a\nb").is_err());
        assert!(check_foreign_title("a\nb").is_ok());
        assert!(check_comment("\n").is_err());
        assert!(check_body("").is_ok());
        assert!(check_name("label", "a\u{1b}[2J", MAX_NAME).is_err());
    }

    #[test]
    fn a_flaw_of_a_foreign_issue_names_its_field() {
        let field = |change: fn(&mut ForeignIssue)| {
            let mut issue = foreign();
            change(&mut issue);
            check_foreign(&issue).unwrap_err().field
        };
        assert_eq!(check_foreign(&foreign()), Ok(()));
        assert_eq!(field(|issue| issue.id.clear()), "id");
        assert_eq!(field(|issue| issue.title.clear()), "title");
        assert_eq!(field(|issue| issue.author.clear()), "author");
        assert_eq!(field(|issue| issue.updated_at = "today".to_owned()), "updated_at");
        assert_eq!(field(|issue| issue.depends_on.push(String::new())), "depends_on");
        let comment =
            || Comment { author: "a".to_owned(), created_at: "never".to_owned(), body: "b".to_owned() };
        let mut issue = foreign();
        issue.comments.push(comment());
        assert_eq!(check_foreign(&issue).unwrap_err().field, "comments[0].created_at");
    }
}
