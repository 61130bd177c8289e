//! Reading every byte of an answer: [`Touch`], for archived answers and for plain ones alike.
//!
//! A way that handed out answers without anybody looking at them would look quicker than it is. So all
//! bytes of all texts are added up, and all numbers, by the same code for both forms.

use libgrite_ipc::grite::*;
use rkyv::option::ArchivedOption;
use rkyv::string::ArchivedString;
use rkyv::vec::ArchivedVec;

/// Can be read to the last byte.
pub trait Touch {
    /// The sum of all its bytes and numbers.
    fn touch(&self) -> u64;
}

impl Touch for str {
    fn touch(&self) -> u64 {
        self.bytes().map(u64::from).sum()
    }
}

impl Touch for String {
    fn touch(&self) -> u64 {
        self.as_str().touch()
    }
}

impl Touch for ArchivedString {
    fn touch(&self) -> u64 {
        self.as_str().touch()
    }
}

impl<T: Touch> Touch for Vec<T> {
    fn touch(&self) -> u64 {
        self.iter().map(T::touch).sum()
    }
}

impl<T: Touch> Touch for ArchivedVec<T> {
    fn touch(&self) -> u64 {
        self.iter().map(T::touch).sum()
    }
}

impl<T: Touch> Touch for Option<T> {
    fn touch(&self) -> u64 {
        self.as_ref().map_or(0, T::touch)
    }
}

impl<T: Touch> Touch for ArchivedOption<T> {
    fn touch(&self) -> u64 {
        self.as_ref().map_or(0, T::touch)
    }
}

macro_rules! numbers {
    ($($plain:ty, $archived:ty;)*) => {$(
        impl Touch for $plain {
            fn touch(&self) -> u64 {
                u64::from(*self)
            }
        }
        impl Touch for $archived {
            fn touch(&self) -> u64 {
                self.to_native().touch()
            }
        }
    )*};
}

numbers! {
    u32, rkyv::rend::u32_le;
    u64, rkyv::rend::u64_le;
}

impl Touch for &str {
    fn touch(&self) -> u64 {
        (**self).touch()
    }
}

impl Touch for Texts<'_> {
    fn touch(&self) -> u64 {
        self.clone().map(str::touch).sum()
    }
}

impl Touch for ArchivedIssueSummaries {
    fn touch(&self) -> u64 {
        // A page that cannot be read has another sum than the one that it was made of.
        self.iter().map_while(Result::ok).map(|summary| summary.touch()).sum()
    }
}

macro_rules! fields {
    ($($plain:ident, $archived:ty { $($field:ident),* })*) => {$(
        impl Touch for $plain {
            fn touch(&self) -> u64 {
                0 $(+ self.$field.touch())*
            }
        }
        impl Touch for $archived {
            fn touch(&self) -> u64 {
                0 $(+ self.$field.touch())*
            }
        }
    )*};
}

fields! {
    IssueListResult, ArchivedIssueListResult { items, total, next }
    IssueSummary, ArchivedIssueSummary<'_> {
        id, title, state, labels, assignees, created_at, updated_at, comment_count
    }
    IssueShowResult, ArchivedIssueShowResult {
        id, source_id, title, body, state, labels, assignees, depends_on, author, created_at, updated_at,
        comments
    }
    IssueLink, ArchivedIssueLink { id, source_id }
    Comment, ArchivedComment { author, created_at, body }
    StatusResult, ArchivedStatusResult { pid, version, store, issues, open, events }
}

macro_rules! states {
    ($($state:ident),*) => {$(
        impl Touch for $state {
            fn touch(&self) -> u64 {
                match self {
                    $state::Open => 0,
                    $state::Closed => 1,
                }
            }
        }
    )*};
}

states!(IssueState, ArchivedIssueState);
