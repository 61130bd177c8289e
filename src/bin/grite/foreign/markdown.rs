//! An issue as Markdown, for people: [`write()`].

use std::fmt::Write;

use libgrite_ipc::grite::IssueShowResult;

use super::{names, state_name};
use crate::output::{line, text};

/// One section of a document.
///
/// Bodies and comments are quoted: whatever they hold, the next heading is ours.
pub fn write(issue: &IssueShowResult) -> String {
    let mut page = format!("## {}\n\n", escape(&line(&issue.title)));
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a string does not fail.
            let _ = writeln!(page, "- {name}: {}", escape(&line(value)));
        }
    };
    field("id", &issue.id);
    field("source id", issue.source_id.as_deref().unwrap_or_default());
    field("state", state_name(issue.state));
    field("author", &issue.author);
    field("created", &issue.created_at);
    field("updated", &issue.updated_at);
    field("labels", &issue.labels.join(", "));
    field("assignees", &issue.assignees.join(", "));
    field("depends on", &names(&issue.depends_on).join(", "));
    page.push('\n');
    if !issue.body.is_empty() {
        page += &quote(&issue.body);
    }
    for comment in &issue.comments {
        let heading = format!("{}, {}", line(&comment.author), line(&comment.created_at));
        page += &format!("### {}\n\n{}", escape(&heading), quote(&comment.body));
    }
    page
}

/// Each line behind a `>`, and an empty line after them.
fn quote(raw: &str) -> String {
    let text = text(raw.trim_end_matches('\n'));
    let lines: String = text
        .split('\n')
        .map(|line| if line.is_empty() { ">\n".to_owned() } else { format!("> {line}\n") })
        .collect();
    lines + "\n"
}

/// One line, in which nothing is markup.
fn escape(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    for character in line.chars() {
        if matches!(character, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '!' | '&') {
            plain.push('\\');
        }
        plain.push(character);
    }
    plain
}

#[cfg(test)]
mod tests {
    use libgrite_ipc::grite::{Comment, IssueLink, IssueState};

    use super::*;

    #[test]
    fn no_text_breaks_out_of_its_section() {
        let issue = IssueShowResult {
            id: "0123456789abcdef".to_owned(),
            source_id: None,
            title: "# *T*\n## x".to_owned(),
            body: "## heading\n\ntext\n".to_owned(),
            state: IssueState::Open,
            labels: vec!["a_b".to_owned()],
            assignees: Vec::new(),
            depends_on: vec![IssueLink { id: "f".to_owned(), source_id: Some("x-1".to_owned()) }],
            author: "ann".to_owned(),
            created_at: "2026-01-01T00:00:00Z".to_owned(),
            updated_at: "2026-01-01T00:00:00Z".to_owned(),
            comments: vec![Comment {
                author: "bob".to_owned(),
                created_at: "2026-01-02T00:00:00Z".to_owned(),
                body: "### said".to_owned(),
            }],
        };
        assert_eq!(
            write(&issue),
            "## \\# \\*T\\*\\\\n\\#\\# x\n\n\
             - id: 0123456789abcdef\n- state: open\n- author: ann\n- created: 2026-01-01T00:00:00Z\n\
             - updated: 2026-01-01T00:00:00Z\n- labels: a\\_b\n- depends on: x-1\n\n\
             > ## heading\n>\n> text\n\n\
             ### bob, 2026-01-02T00:00:00Z\n\n> ### said\n\n"
        );
    }
}
