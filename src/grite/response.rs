//! What the tracker answers.

use super::{Comment, IssueListResult, IssueState};
use crate::wire;

wire! {
    /// One answer of the tracker.
    pub enum IpcResponse {
        /// To `Ping`.
        Pong,
        /// To `Status`.
        Status(StatusResult),
        /// To `Stop`: the daemon is on its way out. To any other command: it is so, too, since its store is gone,
        /// and has done nothing of the command, which the next daemon carries out.
        Stopping,
        /// To `IssueList`.
        IssueList(IssueListResult),
        /// To `IssueShow`.
        IssueShow(IssueShowResult),
        /// To `IssueCreate`.
        IssueCreate(IssueCreateResult),
        /// To `IssueUpdate`.
        IssueUpdate(IssueUpdateResult),
        /// To `IssueClose` and `IssueReopen`.
        IssueState(IssueStateResult),
        /// To `IssueComment`.
        Comment(CommentResult),
        /// To `IssueImport`.
        IssueImport(IssueImportResult),
        /// To `IssueExport`.
        IssueExport(IssueExportResult),
        /// To `IssueDependencies`.
        Dependencies(DependenciesResult),
        /// A part of the answer to a `Sync`, `SyncPull` or `SyncPush` that wishes for it; the last part is a
        /// [`Sync`](IpcResponse::Sync).
        Progress(Progress),
        /// To `Sync`, `SyncPull` and `SyncPush`.
        Sync(SyncResult),
        /// To `LockAcquire`, `LockRenew` and `LockRelease`.
        Lock(LockResult),
        /// To `LockStatus`.
        Locks(LocksResult),
        /// To `Doctor`.
        Doctor(DoctorResult),
        /// To any command that the tracker does not carry out.
        Refused(Refusal),
    }

    /// What the daemon is and what it holds.
    pub struct StatusResult {
        /// The process that answered.
        pub pid: u32,
        /// The version of the program that answered.
        pub version: String,
        /// The folder of the store.
        pub store: String,
        /// How many issues there are.
        pub issues: u64,
        /// How many of them are open.
        pub open: u64,
        /// How many events they are made of.
        pub events: u64,
    }

    /// Everything about one issue.
    pub struct IssueShowResult {
        /// Its id.
        pub id: String,
        /// The id that it was imported with; absent where that is the own id of an issue that is here, too.
        pub source_id: Option<String>,
        /// Its title.
        pub title: String,
        /// Its text.
        pub body: String,
        /// Whether it is done.
        pub state: IssueState,
        /// Its labels, in order.
        pub labels: Vec<String>,
        /// Who works on it, in order.
        pub assignees: Vec<String>,
        /// The issues that it waits for, in order of their ids.
        pub depends_on: Vec<IssueLink>,
        /// Who wrote it.
        pub author: String,
        /// When it was written, RFC 3339.
        pub created_at: String,
        /// When it last changed, RFC 3339.
        pub updated_at: String,
        /// What was said of it, oldest first.
        pub comments: Vec<Comment>,
    }

    /// Another issue that an issue names; it may not be there.
    pub struct IssueLink {
        /// Its id.
        pub id: String,
        /// The id that it was imported with.
        pub source_id: Option<String>,
    }

    /// The issue that was made.
    pub struct IssueCreateResult {
        /// Its id.
        pub id: String,
    }

    /// The issue that was changed.
    pub struct IssueUpdateResult {
        /// Its id.
        pub id: String,
        /// Whether anything is different now.
        pub changed: bool,
    }

    /// The issue that was closed or opened again.
    pub struct IssueStateResult {
        /// Its id.
        pub id: String,
        /// Its state now.
        pub state: IssueState,
        /// Whether it had the other state before.
        pub changed: bool,
    }

    /// The issue that was commented on.
    pub struct CommentResult {
        /// The issue's id.
        pub id: String,
        /// How many comments it has now.
        pub comment_count: u32,
    }

    /// What an import did.
    pub struct IssueImportResult {
        /// How many issues are new.
        pub created: u64,
        /// How many were known and are different now.
        pub updated: u64,
        /// How many were known and stayed as they were.
        pub unchanged: u64,
    }

    /// A page of all issues in full.
    pub struct IssueExportResult {
        /// The page, ordered by creation, then id.
        pub items: Vec<IssueShowResult>,
        /// The cursor of the next page, if there is one.
        pub next: Option<String>,
    }

    /// What an issue waits for, and what waits for it, each in order of their ids.
    pub struct DependenciesResult {
        /// The issue's id.
        pub id: String,
        /// Whether it is open and waits for nothing that is.
        pub ready: bool,
        /// What it waits for.
        pub before: Vec<DependencyState>,
        /// What waits for it.
        pub after: Vec<DependencyState>,
    }

    /// An issue that another one names.
    pub struct DependencyState {
        /// Its id.
        pub id: String,
        /// Its title; absent where the issue is not there.
        pub title: Option<String>,
        /// Its state; absent likewise.
        pub state: Option<IssueState>,
    }

    /// How far a sync is.
    pub struct Progress {
        /// What is done now.
        pub stage: SyncStage,
        /// How many events are done with.
        pub done: u64,
    }

    /// What a sync does, in this order.
    #[derive(Copy, Eq)]
    pub enum SyncStage {
        /// It writes what was made here into git.
        Publishing,
        /// It fetches what others have pushed.
        Fetching,
        /// It reads and stores what is new.
        Importing,
        /// It pushes what was made here.
        Pushing,
    }

    /// What a sync moved.
    pub struct SyncResult {
        /// The git remote.
        pub remote: String,
        /// Events that came from other clones and are new.
        pub received: u64,
        /// Events that went to the remote.
        pub sent: u64,
        /// What could not be read and was skipped, each with its name and what is wrong with it.
        pub damaged: Vec<String>,
        /// Whether this clone goes by a new name, since another one used its old one.
        pub renamed: bool,
    }

    /// A lock that was taken, kept or given back.
    pub struct LockResult {
        /// What is or was locked, and who holds it now.
        pub lock: LockState,
        /// The git remote that keeps it; absent where there is none and it holds within this clone alone.
        pub remote: Option<String>,
    }

    /// Locks that are held.
    pub struct LocksResult {
        /// The locks, in order of their resources.
        pub locks: Vec<LockState>,
        /// The git remote that keeps them; absent where there is none and they hold within this clone alone.
        pub remote: Option<String>,
    }

    /// Who holds a lock.
    pub struct LockState {
        /// What is locked.
        pub resource: String,
        /// Who holds it; nobody after a release.
        pub holder: Option<String>,
        /// Which clone that is, by the name of its ref.
        pub clone: Option<String>,
        /// For how many milliseconds more it is the holder's.
        pub remaining_ms: u64,
        /// After how many milliseconds others can take it; more, by the margin for clocks that differ.
        pub free_in_ms: u64,
    }

    /// What doctor found.
    pub struct DoctorResult {
        /// One entry a check.
        pub findings: Vec<Finding>,
    }

    /// What one check found.
    pub struct Finding {
        /// The check's name.
        pub check: String,
        /// Whether all is well.
        pub ok: bool,
        /// What was found.
        pub detail: String,
        /// What mends it, where something does.
        pub fix: Option<String>,
        /// Whether it was mended just now.
        pub fixed: bool,
    }

    /// Why a command was not carried out, and what to do now.
    pub struct Refusal {
        /// What kind of refusal it is.
        pub code: RefusalCode,
        /// What was wrong, in one line.
        pub message: String,
        /// What to do now, in one line; may be empty.
        pub hint: String,
        /// Whether the same command can succeed later.
        pub retryable: bool,
    }

    /// What kind of refusal it is.
    #[derive(Copy, Eq)]
    pub enum RefusalCode {
        /// No such issue.
        NotFound,
        /// The id prefix fits several issues.
        Ambiguous,
        /// An argument cannot be right.
        Invalid,
        /// Something else stands in the way, such as an idempotency key used for another write.
        Conflict,
        /// The store is damaged.
        Integrity,
        /// The store cannot be read or written just now.
        Storage,
        /// Not this program's to do: a newer one wrote what it is about, or a daemon cannot do it to itself.
        Unsupported,
        /// Git or a remote did not do what was asked of it.
        Git,
        /// It was not done in time.
        Timeout,
    }
}
