//! What is asked: a [`Work`], the [`Ask`] that is sent for it, and the [`Stock`] that answers come from.
//!
//! Every peer carries the same three questions: give these bytes back, show one issue, list a thousand. The
//! stock is the same in both processes, so that the client knows what the sum of every answer must be.

use std::fmt;
use std::str::FromStr;

use libgrite_ipc::grite::{IssueListResult, IssueState, IssueSummary};
use libgrite_ipc::{Lent, wire};
use rkyv::rancor;
use serde::{Deserialize, Serialize};

use crate::touch::{Sum, sum_of_issue, sum_of_summary};

wire! {
    /// One question.
    pub enum Ask {
        /// Give these bytes back. They are ASCII, for peers that carry text.
        Echo(Vec<u8>),
        /// Show the issue.
        Show,
        /// List all issues.
        List,
    }

    /// One answer, for the peers whose types are rkyv's.
    pub enum Answer<'a> {
        /// To `Echo`, lent by the question.
        Echo(Lent<'a, [u8]>),
        /// To `Show`. Boxed, so that an echo is not as large as an issue.
        Show(Box<Issue>),
        /// To `List`, as the tracker answers it.
        List(IssueListResult),
    }

    /// Everything about one issue.
    #[derive(Serialize, Deserialize)]
    pub struct Issue {
        pub id: String,
        pub title: String,
        pub body: String,
        pub open: bool,
        pub labels: Vec<String>,
        pub assignees: Vec<String>,
        pub author: String,
        pub created_at: String,
        pub updated_at: String,
        pub comments: Vec<Comment>,
    }

    /// Something said about an issue.
    #[derive(Serialize, Deserialize)]
    pub struct Comment {
        pub author: String,
        pub created_at: String,
        pub body: String,
    }
}

/// What a list shows of an issue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    pub id: String,
    pub title: String,
    pub open: bool,
    pub labels: Vec<String>,
    pub assignees: Vec<String>,
    pub created_at: String,
    pub updated_at: String,
    pub comment_count: u32,
}

impl From<Summary> for IssueSummary {
    fn from(summary: Summary) -> Self {
        let Summary { id, title, open, labels, assignees, created_at, updated_at, comment_count } = summary;
        let state = if open { IssueState::Open } else { IssueState::Closed };
        IssueSummary { id, title, state, labels, assignees, created_at, updated_at, comment_count }
    }
}

/// A question and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// So many bytes there and back.
    Echo(usize),
    /// One issue of about 900 bytes.
    Show,
    /// A thousand issues.
    List,
}

impl Work {
    /// All of them, as they are measured and reported.
    pub const ALL: [Work; 6] = [
        Work::Echo(64),
        Work::Echo(4 << 10),
        Work::Echo(64 << 10),
        Work::Echo(1 << 20),
        Work::Show,
        Work::List,
    ];

    /// The question that is sent for it.
    pub fn ask(self) -> Ask {
        match self {
            Work::Echo(size) => Ask::Echo((0..size).map(|index| b'a' + (index % 23) as u8).collect()),
            Work::Show => Ask::Show,
            Work::List => Ask::List,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Echo(size) => write!(f, "echo-{size}"),
            Work::Show => f.write_str("show"),
            Work::List => f.write_str("list"),
        }
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("echo-").map(str::parse)) {
            ("show", _) => Ok(Work::Show),
            ("list", _) => Ok(Work::List),
            (_, Some(Ok(size @ STAMP..=LONGEST))) => Ok(Work::Echo(size)),
            _ => Err(format!("work is show, list, or echo-N with {STAMP} to {LONGEST} bytes, not {text:?}")),
        }
    }
}

/// The most bytes that an echo may have: some peers take no longer messages.
const LONGEST: usize = 1 << 20;

/// How many digits [`stamp`] writes.
pub const STAMP: usize = 8;

/// Makes an echo differ from the one before it: writes `count` over its first bytes, in hexadecimal digits,
/// the lowest first. Returns the same digits as a number.
pub fn stamp(ask: &mut Ask, count: u32) -> u64 {
    let digits = std::array::from_fn::<u8, STAMP, _>(|place| {
        b"0123456789abcdef"[(count >> (4 * place) & 15) as usize]
    });
    if let Ask::Echo(bytes) = ask {
        bytes[..STAMP].copy_from_slice(&digits);
    }
    u64::from_le_bytes(digits)
}

/// What the server answers from, warm in its memory.
pub struct Stock {
    /// The issue that is shown.
    pub issue: Issue,
    /// The issues that are listed.
    pub list: Vec<Summary>,
}

impl Stock {
    /// Makes up the issues: the same ones each time.
    pub fn new() -> Self {
        let comment = |number: usize| Comment {
            author: ["ada", "grace", "edsger"][number % 3].to_owned(),
            created_at: format!("2026-03-{:02}T09:{:02}:00Z", 1 + number % 28, number % 60),
            body: "Seen again with 4 GiB rings; the skip frame is published before its header.".to_owned(),
        };
        let issue = Issue {
            id: "4f21c09ab7d35e6810b2".to_owned(),
            title: "Rings wrap late when a reader falls behind".to_owned(),
            body: "A reader that stays a whole ring behind sees the old length. ".repeat(6),
            open: true,
            labels: vec!["bug".to_owned(), "transport".to_owned()],
            assignees: vec!["grace".to_owned()],
            author: "ada".to_owned(),
            created_at: "2026-03-01T09:00:00Z".to_owned(),
            updated_at: "2026-03-02T10:30:00Z".to_owned(),
            comments: (0..2).map(comment).collect(),
        };
        let summary = |number: usize| Summary {
            id: format!("{:020x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            title: format!("Issue {number}: rings wrap late when a reader falls behind"),
            open: !number.is_multiple_of(3),
            labels: vec![["bug", "feature", "question"][number % 3].to_owned()],
            assignees: vec![["ada", "grace", "edsger"][number % 3].to_owned()],
            created_at: format!("2026-03-{:02}T09:{:02}:00Z", 1 + number % 28, number % 60),
            updated_at: format!("2026-04-{:02}T10:{:02}:00Z", 1 + number % 28, number % 60),
            comment_count: (number % 7) as u32,
        };
        Stock { issue, list: (0..1000).map(summary).collect() }
    }

    /// The answer to `work` as a typed value; nothing for an echo, whose answer is what was asked.
    pub fn answer(&self, work: Work) -> Option<Answer<'static>> {
        match work {
            Work::Echo(_) => None,
            Work::Show => Some(Answer::Show(Box::new(self.issue.clone()))),
            Work::List => Some(Answer::List(IssueListResult {
                items: self.list.iter().cloned().map(IssueSummary::from).collect(),
                total: self.list.len() as u64,
                next: None,
            })),
        }
    }

    /// The answer to `work` as bytes, for the peers that carry bytes: an rkyv archive.
    pub fn bytes(&self, work: Work) -> Vec<u8> {
        let Some(answer) = self.answer(work) else { return Vec::new() };
        rkyv::to_bytes::<rancor::Error>(&answer).expect("the stock can be archived").to_vec()
    }

    /// The answer to `work` as JSON.
    pub fn json(&self, work: Work) -> String {
        let json = match work {
            Work::Echo(_) => Ok(String::new()),
            Work::Show => serde_json::to_string(&self.issue),
            Work::List => serde_json::to_string(&self.list),
        };
        json.expect("the stock can be written as JSON")
    }

    /// What a client that reads every field of the answer must come to.
    pub fn sum_of_fields(&self, work: Work) -> u64 {
        let mut sum = Sum::default();
        match work {
            Work::Echo(_) => {}
            Work::Show => sum_of_issue!(sum, self.issue),
            Work::List => self.list.iter().for_each(|summary| sum_of_summary!(sum, summary)),
        }
        sum.total()
    }
}
