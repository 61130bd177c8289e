//! Reading an answer to its last byte, the same way for every peer: [`Sum`].
//!
//! A sum cannot be had without loading each byte, and a wrong one gives a wrong answer away.

use rkyv::rend::u32_le;

/// The wrapping sum of all bytes, eight at a time.
#[derive(Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of one run of bytes.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut sum = Sum::default();
        sum.bytes(bytes);
        sum.total()
    }

    /// Adds bytes.
    ///
    /// Texts are mostly short. Of the shortest both ends are taken, whether or not these overlap, and of others pieces:
    /// a CPU that has to guess for each where its last word is guesses wrong too often.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        let sum = match bytes.len() {
            65.. => None,
            33.. => in_pieces::<16>(bytes),
            _ => ends::<16>(bytes).or_else(|| ends::<8>(bytes)).or_else(|| ends::<4>(bytes)),
        };
        self.number(sum.unwrap_or_else(|| piece(bytes)));
    }

    /// Adds a text.
    #[inline]
    pub fn text(&mut self, text: impl AsRef<str>) {
        self.bytes(text.as_ref().as_bytes());
    }

    /// Adds a number.
    #[inline]
    pub fn number(&mut self, number: impl Number) {
        self.0 = self.0.wrapping_add(number.number());
    }

    /// All that was added.
    pub fn total(&self) -> u64 {
        self.0
    }
}

#[inline]
fn ends<const N: usize>(bytes: &[u8]) -> Option<u64> {
    Some(piece(bytes.first_chunk::<N>()?).wrapping_add(piece(bytes.last_chunk::<N>()?)))
}

/// The sum of pieces of `N` bytes, the last of which may overlap with the one before; nothing of fewer bytes.
#[inline]
fn in_pieces<const N: usize>(bytes: &[u8]) -> Option<u64> {
    let last = bytes.last_chunk::<N>()?;
    let (before, _) = bytes[..bytes.len() - 1].as_chunks::<N>();
    Some(before.iter().fold(piece(last), |sum, bytes| sum.wrapping_add(piece(bytes))))
}

/// The sum of a piece as words, the last of which may be shorter.
#[inline]
fn piece(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let rest = rest.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    words.iter().fold(rest, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// A number of an answer, archived or not.
pub trait Number {
    /// As the sum takes it.
    fn number(self) -> u64;
}

impl Number for u64 {
    fn number(self) -> u64 {
        self
    }
}

impl Number for u32 {
    fn number(self) -> u64 {
        self.into()
    }
}

impl Number for u32_le {
    fn number(self) -> u64 {
        self.to_native().into()
    }
}

impl Number for bool {
    fn number(self) -> u64 {
        self.into()
    }
}

/// Adds every field of an issue, whatever type of that shape it is.
macro_rules! sum_of_issue {
    ($sum:expr, $issue:expr) => {{
        let (sum, issue) = (&mut $sum, &$issue);
        for text in
            [&issue.id, &issue.title, &issue.body, &issue.author, &issue.created_at, &issue.updated_at]
        {
            sum.text(text.as_str());
        }
        sum.number(issue.open);
        issue.labels.iter().chain(issue.assignees.iter()).for_each(|text| sum.text(text.as_str()));
        for comment in issue.comments.iter() {
            for text in [&comment.author, &comment.created_at, &comment.body] {
                sum.text(text.as_str());
            }
        }
    }};
}

/// Adds every field of a summary, whatever type of that shape it is.
macro_rules! sum_of_summary {
    ($sum:expr, $summary:expr) => {{
        let (sum, summary) = (&mut $sum, $summary);
        for text in [&summary.id, &summary.title, &summary.created_at, &summary.updated_at] {
            sum.text(text.as_str());
        }
        sum.number(summary.open);
        sum.number(summary.comment_count);
        summary.labels.iter().chain(summary.assignees.iter()).for_each(|text| sum.text(text.as_str()));
    }};
}

pub(crate) use {sum_of_issue, sum_of_summary};
