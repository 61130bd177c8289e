//! What the tracker tells its subscribers.

use crate::wire;

wire! {
    /// Something that has happened.
    pub enum Notification {
        /// An issue is different now: whoever asks for it sees that.
        IssueChanged(IssueChange),
        /// The daemon is on its way out, and publishes nothing more.
        Stopping,
    }

    /// What has happened to an issue.
    pub struct IssueChange {
        /// The issue's id.
        pub id: String,
        /// What kind of change it is.
        pub kind: ChangeKind,
        /// Whose doing it was.
        pub actor: String,
        /// When, RFC 3339: for an import, as the imported file says.
        pub at: String,
    }

    /// What kind of change it is. Of several that one command has made at once, the first in this list.
    #[derive(Copy, Eq, PartialOrd, Ord)]
    pub enum ChangeKind {
        /// An import has brought the issue, or what was new about it.
        Imported,
        /// It was made.
        Created,
        /// It was closed.
        Closed,
        /// It was opened again.
        Reopened,
        /// Somebody said something about it.
        Commented,
        /// Its text, labels, assignees or dependencies are others now.
        Updated,
    }
}
