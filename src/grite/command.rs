//! What a client of the tracker may ask.

#![allow(
    missing_docs,
    reason = "the archived forms of the variants' fields, which a derive makes, have no docs"
)]

use crate::wire;

wire! {
    /// One question to the tracker.
    pub enum IpcCommand {
        /// Answer at once, with nothing. Measures the way.
        Ping,
        /// What the daemon is and what it holds.
        Status,
        /// End the daemon once its accepted work is answered.
        Stop,
        /// A page of the issues that match.
        IssueList {
            /// Which issues.
            filter: IssueFilter,
            /// How many at most; 0 means [`DEFAULT_LIMIT`].
            limit: u32,
            /// Where the page before this one ended, from [`IssueListResult::next`](super::IssueListResult::next).
            cursor: Option<String>,
        },
        /// Everything about one issue.
        IssueShow {
            /// The issue's id, a unique prefix of it, or the id that it was imported with.
            id: String,
        },
        /// A new issue.
        IssueCreate {
            /// Who writes, and the key that makes a repeat harmless.
            write: WriteContext,
            /// One line; must not be empty.
            title: String,
            /// Any text.
            body: String,
            /// Its first labels.
            labels: Vec<String>,
            /// Its first assignees.
            assignees: Vec<String>,
        },
        /// Changes to an issue's text, labels, assignees and dependencies.
        IssueUpdate {
            /// Who writes, and the key that makes a repeat harmless.
            write: WriteContext,
            /// Which issue, as in [`IssueShow`](IpcCommand::IssueShow).
            id: String,
            /// The changes; what is absent stays.
            changes: IssueChanges,
        },
        /// Close an issue.
        IssueClose {
            /// Who writes, and the key that makes a repeat harmless.
            write: WriteContext,
            /// Which issue, as in [`IssueShow`](IpcCommand::IssueShow).
            id: String,
        },
        /// Open a closed issue again.
        IssueReopen {
            /// Who writes, and the key that makes a repeat harmless.
            write: WriteContext,
            /// Which issue, as in [`IssueShow`](IpcCommand::IssueShow).
            id: String,
        },
        /// Add a comment to an issue.
        IssueComment {
            /// Who writes, and the key that makes a repeat harmless.
            write: WriteContext,
            /// Which issue, as in [`IssueShow`](IpcCommand::IssueShow).
            id: String,
            /// The comment; must not be empty.
            body: String,
        },
        /// Take over issues of another tracker. Repeating it changes nothing.
        IssueImport {
            /// The issues, each with the id that it had there.
            issues: Vec<ForeignIssue>,
        },
        /// A page of all issues in full, ordered by creation, then id.
        IssueExport {
            /// How many at most; 0 means [`DEFAULT_LIMIT`].
            limit: u32,
            /// Where the page before this one ended, from [`IssueExportResult::next`](super::IssueExportResult::next).
            cursor: Option<String>,
        },
        /// Take an issue, which must be open, and which nobody else may have: it is assigned to the author.
        IssueClaim {
            /// Who writes, and the key that makes a repeat harmless.
            write: WriteContext,
            /// Which issue, as in [`IssueShow`](IpcCommand::IssueShow).
            id: String,
        },
        /// What an issue waits for, and what waits for it.
        IssueDependencies {
            /// Which issue, as in [`IssueShow`](IpcCommand::IssueShow).
            id: String,
        },
        /// Fetch the events of other clones, and send ours.
        Sync {
            /// With which remote, and for how long.
            exchange: Exchange,
        },
        /// Fetch the events of other clones.
        SyncPull {
            /// With which remote, and for how long.
            exchange: Exchange,
        },
        /// Send our events to other clones.
        SyncPush {
            /// With which remote, and for how long.
            exchange: Exchange,
        },
        /// Take a named lock for some time.
        LockAcquire {
            /// What is locked.
            resource: String,
            /// For how many milliseconds; at most a day.
            ttl_ms: u64,
            /// By how many milliseconds the clocks of those who want the lock may differ: for as long after
            /// its end nobody else can take it.
            margin_ms: u64,
            /// Who writes, and the key that makes a repeat harmless.
            write: WriteContext,
            /// With which remote, and for how long.
            exchange: Exchange,
        },
        /// Keep a lock for longer.
        LockRenew {
            /// What is locked.
            resource: String,
            /// For how many milliseconds from now.
            ttl_ms: u64,
            /// Who writes, and the key that makes a repeat harmless.
            write: WriteContext,
            /// With which remote, and for how long.
            exchange: Exchange,
        },
        /// Give a named lock back.
        LockRelease {
            /// What was locked.
            resource: String,
            /// Who writes, and the key that makes a repeat harmless.
            write: WriteContext,
            /// With which remote, and for how long.
            exchange: Exchange,
        },
        /// Who holds which locks.
        LockStatus {
            /// Only this one.
            resource: Option<String>,
            /// With which remote, and for how long.
            exchange: Exchange,
        },
        /// Look for what is broken.
        Doctor {
            /// Mend what is safe to mend.
            fix: bool,
        },
    }

    /// How the tracker talks to other clones.
    pub struct Exchange {
        /// The git remote; without one `origin`, or else the only one that there is.
        pub remote: Option<String>,
        /// For how many milliseconds all runs of git together.
        pub timeout_ms: u64,
        /// Whether parts of the answer are wished that say how far it is
        /// ([`IpcResponse::Progress`](super::IpcResponse::Progress)).
        pub progress: bool,
    }

    /// Who writes, and the key that makes a repeated write harmless.
    pub struct WriteContext {
        /// The author's name.
        pub actor: String,
        /// Chosen by the client, unique for each intended write: a second write with the same key
        /// answers as the first one did and changes nothing. At most 128 bytes, not empty.
        pub idempotency_key: String,
    }

    /// Which issues a list shows: those that match every part. By default that is all.
    #[derive(Default)]
    pub struct IssueFilter {
        /// In this state only.
        pub state: Option<IssueState>,
        /// With each of these labels.
        pub labels: Vec<String>,
        /// Assigned to this person.
        pub assignee: Option<String>,
        /// With these words in title, body or comments.
        pub text: Option<String>,
        /// Open, and with nothing open that they wait for.
        pub ready: bool,
    }

    /// What becomes of an issue's text, labels, assignees and dependencies: by default nothing.
    #[derive(Default)]
    pub struct IssueChanges {
        /// The new title.
        pub title: Option<String>,
        /// The new body.
        pub body: Option<String>,
        /// Labels to add.
        pub add_labels: Vec<String>,
        /// Labels to take away.
        pub remove_labels: Vec<String>,
        /// Assignees to add.
        pub add_assignees: Vec<String>,
        /// Assignees to take away.
        pub remove_assignees: Vec<String>,
        /// Issues that this one waits for from now on, each as in [`IpcCommand::IssueShow`]. None may wait
        /// for this one, directly or by others.
        pub add_dependencies: Vec<String>,
        /// Issues that it waits for no longer; also an id that no issue has.
        pub remove_dependencies: Vec<String>,
    }

    /// Whether work on an issue is done.
    #[derive(Copy, Eq)]
    pub enum IssueState {
        /// It is not.
        Open,
        /// It is.
        Closed,
    }

    /// An issue of another tracker, as its export describes it.
    pub struct ForeignIssue {
        /// The id it has there; the issue answers to it here, too.
        pub id: String,
        /// One line.
        pub title: String,
        /// Any text.
        pub body: String,
        /// Whether it is done.
        pub state: IssueState,
        /// Its labels.
        pub labels: Vec<String>,
        /// Who works on it.
        pub assignees: Vec<String>,
        /// The ids, there, of the issues that it waits for.
        pub depends_on: Vec<String>,
        /// Who wrote it.
        pub author: String,
        /// When it was written, RFC 3339.
        pub created_at: String,
        /// When it last changed, RFC 3339.
        pub updated_at: String,
        /// What was said of it.
        pub comments: Vec<Comment>,
    }

    /// Something said about an issue.
    pub struct Comment {
        /// Who said it.
        pub author: String,
        /// When, RFC 3339.
        pub created_at: String,
        /// What was said.
        pub body: String,
    }
}

/// How many items a page holds when the command does not say.
pub const DEFAULT_LIMIT: u32 = 50;

/// The largest page; a larger limit is cut to it.
pub const MAX_LIMIT: u32 = 10_000;
