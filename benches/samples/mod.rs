//! Answers of the tracker as they mostly are, for benches: the same ones each time.

#![allow(dead_code, reason = "each bench uses its part")]

use libgrite_ipc::grite::{Comment, IssueListResult, IssueShowResult, IssueState, IssueSummary};
use libgrite_ipc::{Encoded, IpcResponse};

const MOMENT: &str = "2026-01-02T03:04:05Z";

/// An issue whose archive has so many bytes, a multiple of 4 from 600 on.
///
/// # Panics
/// When there is no such issue.
pub fn issue(length: usize) -> IpcResponse {
    let of_body = |length| {
        IpcResponse::IssueShow(IssueShowResult {
            id: "0123456789abcdef".to_owned(),
            source_id: Some("bd-0088".to_owned()),
            title: "Speed up the parser on slow disks".to_owned(),
            body: "It works on the first run. ".repeat(length / 27 + 1)[..length].to_owned(),
            state: IssueState::Open,
            labels: vec!["performance".to_owned(), "priority:1".to_owned()],
            assignees: vec!["margaret".to_owned()],
            depends_on: Vec::new(),
            author: "grace".to_owned(),
            created_at: MOMENT.to_owned(),
            updated_at: MOMENT.to_owned(),
            comments: vec![Comment {
                author: "ada".to_owned(),
                created_at: MOMENT.to_owned(),
                body: "See the attached trace; the third line is the interesting one.".to_owned(),
            }],
        })
    };
    let fits = |response: &IpcResponse| Encoded::new(response).is_ok_and(|archive| archive.len() == length);
    (16..length).map(of_body).find(fits).expect("a body fills the archive")
}

/// A page of so many issues.
pub fn list(count: usize) -> IpcResponse {
    let summary = |number: usize| IssueSummary {
        id: format!("{:016x}", (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        title: format!("Speed up the parser on slow disks, case {number}"),
        state: if number.is_multiple_of(3) { IssueState::Closed } else { IssueState::Open },
        labels: vec!["performance".to_owned(), format!("priority:{}", number % 4)],
        assignees: if number.is_multiple_of(2) { vec!["margaret".to_owned()] } else { Vec::new() },
        created_at: MOMENT.to_owned(),
        updated_at: MOMENT.to_owned(),
        comment_count: number as u32 % 5,
    };
    IpcResponse::IssueList(IssueListResult {
        items: (0..count).map(summary).collect(),
        total: count as u64,
        next: None,
    })
}
