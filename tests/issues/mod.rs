//! Issues to import: a project's real ones where they lie beside this one, and made-up ones elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A file of many issues, one a line as `grite export` writes them; in `folder` if they have to be made up.
pub fn file(folder: &Path) -> PathBuf {
    let given = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/issues.jsonl");
    if given.exists() {
        return given;
    }
    let made_up = folder.join("made-up.jsonl");
    fs::write(&made_up, (0..1_000).map(|number| format!("{}\n", issue(number))).collect::<String>())
        .expect("our own file");
    made_up
}

/// Each of them differs from the one before in all that an issue has.
fn issue(number: usize) -> Value {
    let at = |minute: usize| format!("2026-01-{:02}T10:{minute:02}:00.25+01:00", 1 + number % 28);
    let author = ["ann", "bob", "çem"][number % 3];
    let state = ["open", "closed"][number % 2];
    let kind = ["Crash", "Wish", "Größe"][number % 3];
    let comment = |of: usize| json!({"author": author, "created_at": at(10 + of), "body": format!("Seen again, number {of}.\n→ Later.")});
    json!({
        "id": format!("made-up-{number:04}"),
        "title": format!("{kind} {number} of the daemon"),
        "body": "What was seen, and where.\n".repeat(number % 40),
        "state": state,
        "labels": [format!("priority:{}", number % 4), "type:task"],
        "assignees": number.is_multiple_of(5).then_some(author).into_iter().collect::<Vec<_>>(),
        "author": author,
        "created_at": at(0),
        "updated_at": at(59),
        "comments": (0..number % 4).map(comment).collect::<Vec<_>>(),
        "depends_on": (number % 7 == 6).then(|| format!("made-up-{:04}", number - 1)).into_iter().collect::<Vec<_>>(),
    })
}
