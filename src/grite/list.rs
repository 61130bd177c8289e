//! A page of issues: [`IssueListResult`], all of whose texts travel as one.
//!
//! Six texts an issue would be checked one by one, which takes longer than all else about a page. So an archived page
//! has one text, and for each of those in it where it ends: [`ArchivedIssueSummaries::iter`] cuts them out again.

use std::slice::Iter;

use rkyv::rancor::{Fallible, Source};
use rkyv::rend::u32_le;
use rkyv::ser::{Allocator, Writer};
use rkyv::with::{ArchiveWith, DeserializeWith, SerializeWith};
use rkyv::{Archive, Deserialize, Place, Serialize};

use super::{ArchivedIssueState, IssueState};
use crate::error::{Error, ErrorKind};
use crate::protocol::{Layout, Wire};
use crate::wire;

/// A page of issues, newest first, then by id.
#[derive(Clone, Debug, PartialEq, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct IssueListResult {
    /// The page.
    #[rkyv(with = IssueSummaries)]
    pub items: Vec<IssueSummary>,
    /// How many issues match, on all pages.
    pub total: u64,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
}

impl Wire for IssueListResult {
    const LAYOUT: u64 = Layout::named("IssueListResult")
        .field("items", IssueSummaries::LAYOUT)
        .field("id, title, created_at, updated_at, labels, assignees", String::LAYOUT)
        .field("total", u64::LAYOUT)
        .field("next", Option::<String>::LAYOUT)
        .shape::<Self>()
        .hash();
}

/// What a list shows of an issue. It travels within its page alone: it is no [`Wire`] type.
#[derive(Clone, Debug, PartialEq)]
pub struct IssueSummary {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Whether it is done.
    pub state: IssueState,
    /// Its labels, in order.
    pub labels: Vec<String>,
    /// Who works on it, in order.
    pub assignees: Vec<String>,
    /// When it was written, RFC 3339.
    pub created_at: String,
    /// When it last changed, RFC 3339.
    pub updated_at: String,
    /// How many comments it has.
    pub comment_count: u32,
}

/// An [`IssueSummary`] of an archived page.
#[derive(Clone, Debug)]
pub struct ArchivedIssueSummary<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its title.
    pub title: &'a str,
    /// Whether it is done.
    pub state: IssueState,
    /// Its labels, in order.
    pub labels: Texts<'a>,
    /// Who works on it, in order.
    pub assignees: Texts<'a>,
    /// When it was written, RFC 3339.
    pub created_at: &'a str,
    /// When it last changed, RFC 3339.
    pub updated_at: &'a str,
    /// How many comments it has.
    pub comment_count: u32,
}

wire! {
    /// The summaries of a page as they travel.
    pub struct IssueSummaries {
        /// The texts of all summaries, one behind the other; those of each in the order that [`IssueListResult`]'s
        /// layout names.
        texts: String,
        /// Where in it each of them ends.
        ends: Vec<u32>,
        rows: Vec<Row>,
    }

    /// What a summary has beside its texts.
    struct Row {
        state: IssueState,
        labels: u32,
        assignees: u32,
        comment_count: u32,
    }
}

impl IssueSummaries {
    fn pack(items: &[IssueSummary]) -> Self {
        // No message is longer than a u32 tells: a page that is will be refused whatever stands here.
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let mut packed = IssueSummaries { texts: String::new(), ends: Vec::new(), rows: Vec::new() };
        for item in items {
            let fixed = [&item.id, &item.title, &item.created_at, &item.updated_at];
            for text in fixed.into_iter().chain(&item.labels).chain(&item.assignees) {
                packed.texts.push_str(text);
                packed.ends.push(short(packed.texts.len()));
            }
            packed.rows.push(Row {
                state: item.state,
                labels: short(item.labels.len()),
                assignees: short(item.assignees.len()),
                comment_count: item.comment_count,
            });
        }
        packed
    }
}

impl ArchivedIssueSummaries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Each of them, checked as it is read; behind an error nothing follows.
    ///
    /// # Errors
    /// [`ErrorKind::PeerMisbehaved`]: the texts are not those that the issues name.
    pub fn iter(&self) -> impl Iterator<Item = Result<ArchivedIssueSummary<'_>, Error>> {
        let mut rest = Texts { texts: &self.texts, start: 0, ends: self.ends.iter() };
        let mut rows = self.rows.iter();
        std::iter::from_fn(move || {
            let summary = match rows.next() {
                Some(row) => rest.summary(row),
                None if rest.texts.is_empty() && rest.ends.as_slice().is_empty() => return None,
                // Texts of no issue.
                None => None,
            };
            if summary.is_none() {
                (rows, rest.texts, rest.ends) = Default::default();
            }
            Some(summary.ok_or_else(damaged))
        })
    }
}

#[cold]
fn damaged() -> Error {
    Error::new(ErrorKind::PeerMisbehaved, "read a page of issues")
        .saying("its texts are not those that its issues name")
}

/// The labels or assignees of one issue. Their ends were checked when the issue was read, so each can be cut out.
#[derive(Clone, Debug)]
pub struct Texts<'a> {
    /// These, one behind the other, and maybe others behind them.
    texts: &'a str,
    /// Where in the text of the page they start.
    start: usize,
    ends: Iter<'a, u32_le>,
}

impl<'a> Texts<'a> {
    /// Cuts the texts of a summary off, if they end where they may.
    #[inline]
    fn summary(&mut self, row: &ArchivedRow) -> Option<ArchivedIssueSummary<'a>> {
        Some(ArchivedIssueSummary {
            id: self.next()?,
            title: self.next()?,
            created_at: self.next()?,
            updated_at: self.next()?,
            labels: self.split(row.labels)?,
            assignees: self.split(row.assignees)?,
            state: match row.state {
                ArchivedIssueState::Open => IssueState::Open,
                ArchivedIssueState::Closed => IssueState::Closed,
            },
            comment_count: row.comment_count.into(),
        })
    }

    /// Splits so many texts off, if there are as many and they end where they may.
    #[inline]
    fn split(&mut self, count: u32_le) -> Option<Self> {
        let (taken, rest) = self.ends.as_slice().split_at_checked(count.to_native() as usize)?;
        let split = Texts { ends: taken.iter(), ..*self };
        for end in taken {
            self.cut(end)?;
        }
        self.ends = rest.iter();
        Some(split)
    }

    /// Cuts off what lies before `end`, if a text may end there.
    #[inline]
    fn cut(&mut self, end: &u32_le) -> Option<&'a str> {
        let end = end.to_native() as usize;
        // An end before the start wraps to more than any text has.
        let (text, rest) = self.texts.split_at_checked(end.wrapping_sub(self.start))?;
        (self.texts, self.start) = (rest, end);
        Some(text)
    }
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let end = self.ends.next()?;
        self.cut(end)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ends.size_hint()
    }
}

impl ExactSizeIterator for Texts<'_> {}

impl From<ArchivedIssueSummary<'_>> for IssueSummary {
    fn from(summary: ArchivedIssueSummary<'_>) -> Self {
        IssueSummary {
            id: summary.id.to_owned(),
            title: summary.title.to_owned(),
            state: summary.state,
            labels: summary.labels.map(str::to_owned).collect(),
            assignees: summary.assignees.map(str::to_owned).collect(),
            created_at: summary.created_at.to_owned(),
            updated_at: summary.updated_at.to_owned(),
            comment_count: summary.comment_count,
        }
    }
}

impl ArchiveWith<Vec<IssueSummary>> for IssueSummaries {
    type Archived = ArchivedIssueSummaries;
    type Resolver = (IssueSummaries, IssueSummariesResolver);

    fn resolve_with(_: &Vec<IssueSummary>, (packed, resolver): Self::Resolver, out: Place<Self::Archived>) {
        packed.resolve(resolver, out);
    }
}

impl<S> SerializeWith<Vec<IssueSummary>, S> for IssueSummaries
where
    S: Fallible<Error: Source> + Allocator + Writer + ?Sized,
{
    fn serialize_with(items: &Vec<IssueSummary>, serializer: &mut S) -> Result<Self::Resolver, S::Error> {
        let packed = IssueSummaries::pack(items);
        let resolver = packed.serialize(serializer)?;
        Ok((packed, resolver))
    }
}

impl<D> DeserializeWith<ArchivedIssueSummaries, Vec<IssueSummary>, D> for IssueSummaries
where
    D: Fallible<Error: Source> + ?Sized,
{
    fn deserialize_with(archived: &ArchivedIssueSummaries, _: &mut D) -> Result<Vec<IssueSummary>, D::Error> {
        // No more than there are texts for: the page is not checked yet.
        let mut items = Vec::with_capacity(archived.len().min(archived.ends.len()));
        for item in archived.iter() {
            items.push(item.map_err(Source::new)?.into());
        }
        Ok(items)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::Encoded;
    use crate::protocol::Message;

    fn sent<T: Wire>(value: &T) -> Message<T> {
        let mut bytes = crate::payload::Bytes::new();
        bytes.extend_from_slice(Encoded::new(value).unwrap().as_bytes());
        Message::check(bytes).unwrap()
    }

    fn summary(id: &str, labels: &[&str], assignees: &[&str]) -> IssueSummary {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        IssueSummary {
            id: id.to_owned(),
            title: format!("Über {id}"),
            state: if labels.is_empty() { IssueState::Open } else { IssueState::Closed },
            labels: texts(labels),
            assignees: texts(assignees),
            created_at: "2026-01-02T03:04:05Z".to_owned(),
            updated_at: String::new(),
            comment_count: 7,
        }
    }

    #[test]
    fn a_page_is_read_as_it_was_sent() {
        let items = vec![
            summary("", &[], &[]),
            summary("ä", &["x", "", "yy"], &["ü"]),
            summary("c", &[], &["a", "b"]),
        ];
        let page = IssueListResult { items, total: 3, next: None };
        let message = sent(&page);
        assert_eq!((message.items.len(), message.items.is_empty()), (3, false));
        let read: Vec<IssueSummary> =
            message.items.iter().map(|item| IssueSummary::from(item.unwrap())).collect();
        assert_eq!(read, page.items);
        let labels: Vec<usize> = message.items.iter().map(|item| item.unwrap().labels.len()).collect();
        assert_eq!(labels, [0, 3, 0]);
        assert_eq!(rkyv::deserialize::<IssueListResult, rkyv::rancor::Error>(&*message).unwrap(), page);
    }

    #[test]
    fn a_page_whose_texts_do_not_end_where_it_says_is_refused() {
        let row = |labels, assignees| Row { state: IssueState::Open, labels, assignees, comment_count: 0 };
        let page =
            |ends: &[u32], rows| IssueSummaries { texts: "äbcdef".to_owned(), ends: ends.to_vec(), rows };
        assert!(sent(&page(&[2, 3, 4, 7], vec![row(0, 0)])).iter().all(|item| item.is_ok()));
        for (ends, rows) in [
            (&[1, 3, 4, 7][..], vec![row(0, 0)]),
            (&[2, 3, 4, 5], vec![row(0, 0)]),
            (&[2, 4, 3, 7], vec![row(0, 0)]),
            (&[2, 3, 4, 8], vec![row(0, 0)]),
            (&[2, 3, 4, u32::MAX], vec![row(0, 0)]),
            (&[2, 3, 4], vec![row(0, 0)]),
            (&[2, 3, 4, 7], vec![row(1, 0)]),
            (&[2, 3, 4, 7, 4], vec![row(1, 0)]),
            (&[2, 3, 4, 5, 8], vec![row(0, 1)]),
            (&[2, 3, 4, 5, 7, 1], vec![row(2, 0)]),
            (&[2, 3, 4, 7], vec![row(u32::MAX, u32::MAX)]),
            (&[2, 3, 4, 7], vec![]),
            (&[], vec![]),
            (&[2, 3, 4, 7], vec![row(0, 0), row(0, 0)]),
        ] {
            let message = sent(&page(ends, rows));
            let mut items = message.iter().skip_while(Result::is_ok);
            let error = items.next().expect("it is damaged").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{ends:?}");
            assert!(items.next().is_none(), "{ends:?}");
        }
    }
}
