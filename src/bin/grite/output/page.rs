//! The shape of every list: [`Page`].

use serde::Serialize;

/// Part of a list.
#[derive(Serialize)]
pub struct Page<T> {
    /// The part.
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: u64,
    /// Whether more follow.
    pub truncated: bool,
    /// The cursor of the next part, if more follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A part that ends at `next`.
    pub fn new(items: Vec<T>, total: u64, next: Option<String>) -> Self {
        Page { items, total, truncated: next.is_some(), next }
    }
}
