//! Made-up issues: [`issues`], the same ones each time, as an import takes them.

use libgrite_ipc::grite::{Comment, ForeignIssue, IssueState};

const VERBS: [&str; 8] = ["Fix", "Add", "Speed up", "Document", "Remove", "Test", "Rename", "Split"];
const THINGS: [&str; 9] = [
    "the parser",
    "retries",
    "the cache",
    "startup",
    "the installer",
    "error messages",
    "search",
    "the sync loop",
    "unicode titles – naïve café",
];
const PLACES: [&str; 7] =
    ["on slow disks", "after a crash", "for new users", "in worktrees", "under load", "on macOS", "at night"];
const LABELS: [&str; 6] = ["bug", "feature", "docs", "performance", "good first issue", "area:store"];
const PEOPLE: [&str; 5] = ["ada", "grace", "linus", "margaret", "ken"];
const SENTENCES: [&str; 5] = [
    "It works on the first run and fails on the second.",
    "The log says nothing, so this needs a look with a debugger.",
    "See the attached trace; the third line is the interesting one.",
    "Two people have seen it independently, both with large repositories.",
    "A workaround is to delete the folder and start again.",
];

/// So many issues, oldest first.
pub fn issues(count: usize) -> Vec<ForeignIssue> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    (0..count).map(|index| issue(index, &mut numbers)).collect()
}

fn issue(index: usize, numbers: &mut Numbers) -> ForeignIssue {
    let created = index as u64 * 25;
    let title = [numbers.pick(&VERBS), numbers.pick(&THINGS), numbers.pick(&PLACES)].join(" ");
    let comments: Vec<Comment> = (0..numbers.below(4))
        .map(|turn| Comment {
            author: numbers.pick(&PEOPLE).to_owned(),
            created_at: moment(created + turn * 3 + 1),
            body: text(numbers, 3),
        })
        .collect();
    let updated = comments.last().map_or_else(|| moment(created), |last| last.created_at.clone());
    let depends_on = match numbers.below(5) {
        0 if index > 0 => vec![id(numbers.below(index as u64) as usize)],
        _ => Vec::new(),
    };
    let mut labels = vec![numbers.pick(&LABELS).to_owned(), format!("priority:{}", numbers.below(4))];
    labels.sort_unstable();
    ForeignIssue {
        id: id(index),
        title,
        body: text(numbers, 12),
        state: if numbers.below(3) == 0 { IssueState::Open } else { IssueState::Closed },
        labels,
        assignees: (0..numbers.below(2)).map(|_| numbers.pick(&PEOPLE).to_owned()).collect(),
        depends_on,
        author: numbers.pick(&PEOPLE).to_owned(),
        created_at: moment(created),
        updated_at: updated,
        comments,
    }
}

fn id(index: usize) -> String {
    format!("demo-{index:04}")
}

/// So many minutes into a year, in days that every month has.
fn moment(minutes: u64) -> String {
    let (day, month) = (minutes / 1440 % 28 + 1, minutes / 1440 / 28 % 12 + 1);
    let year = 2025 + minutes / 1440 / 28 / 12;
    format!("{year}-{month:02}-{day:02}T{:02}:{:02}:00Z", minutes / 60 % 24, minutes % 60)
}

fn text(numbers: &mut Numbers, most: u64) -> String {
    let sentences = 1 + numbers.below(most);
    (0..sentences).map(|_| numbers.pick(&SENTENCES)).collect::<Vec<_>>().join(" ")
}

/// Numbers without a pattern that shows: a xorshift generator, good enough for made-up text.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        let index = self.below(words.len() as u64) as usize;
        words.get(index).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::engine::check_foreign;

    #[test]
    fn made_up_issues_are_right_and_the_same_each_time() {
        let made = issues(500);
        assert_eq!(made, issues(500));
        for issue in &made {
            assert!(check_foreign(issue).is_ok(), "{issue:?}");
        }
        assert_eq!(made.iter().map(|issue| &issue.id).collect::<HashSet<_>>().len(), 500);
        assert!(made.iter().any(|issue| !issue.comments.is_empty() && issue.state == IssueState::Open));
        assert!(made.windows(2).all(|pair| pair[0].created_at < pair[1].created_at));
    }
}
