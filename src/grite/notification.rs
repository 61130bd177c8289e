//! What the tracker tells its subscribers.

use crate::wire;

wire! {
    /// Something that has happened.
    pub enum Notification {
        /// An issue is different now: whoever asks for it sees that.
        IssueChanged(IssueChange),
        /// A sync is done, and what it brought is told of.
        SyncDone(SyncDone),
        /// A command of this clone has taken, kept or given back a lock.
        LockChanged(LockChange),
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

    /// What a sync has moved.
    pub struct SyncDone {
        /// The git remote.
        pub remote: String,
        /// Events that came from other clones and are new.
        pub received: u64,
        /// Events that went to the remote.
        pub sent: u64,
    }

    /// Who holds a lock now.
    pub struct LockChange {
        /// What is or was locked.
        pub resource: String,
        /// Who holds it; nobody after a release.
        pub holder: Option<String>,
        /// For how many milliseconds it is the holder's.
        pub remaining_ms: u64,
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
