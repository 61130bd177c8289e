//! Archives of wire types, made up from any bytes or damaged: what passes the check is walked to its last
//! field, and encodes to an archive that passes it, too.

use std::fmt::{self, Debug, Write};
use std::sync::LazyLock;

use rkyv::rancor::{Error, Strategy};
use rkyv::ser::allocator::Arena;
use rkyv::{Archived, Deserialize, de::Pool};

use super::script::Script;
use crate::grite::*;
use crate::payload::{Bytes, Limited};
use crate::protocol::{Wire, check, encode};
use crate::wire;

/// The longest archive that is made up, in bytes.
const LONGEST: usize = 4096;

wire! {
    /// Every shape that `wire!` can express.
    enum Shape {
        /// No value.
        Unit,
        /// A text.
        Text(String),
        /// Numbers of every length.
        Numbers { a: u8, b: i16, c: u32, d: i64, e: u128, f: i8, g: u16, h: i32, i: u64, j: i128 },
        /// What not all bits are values of.
        Picky { yes: bool, letter: char, half: f32, whole: f64, nothing: () },
        /// Lists in lists.
        Lists { texts: Vec<String>, lists: Vec<Vec<u16>>, flags: Vec<Option<bool>> },
        /// Boxes and pairs.
        Boxes { deep: Box<Option<Box<Leaf>>>, pair: (u8, String), pairs: Vec<(char, Box<u32>)> },
        /// Arrays.
        Arrays { texts: [String; 3], numbers: [u64; 2], none: [u8; 0] },
        /// Other types.
        Nested(Vec<Leaf>),
        /// Options.
        Options { text: Option<String>, list: Option<Vec<Option<Leaf>>>, large: Option<u128> },
    }

    /// Something in a shape.
    struct Leaf {
        name: String,
        value: Option<(i32, f64)>,
        sort: Sort,
    }

    /// A small choice.
    #[derive(Copy, Eq)]
    enum Sort {
        /// One.
        One,
        /// The other.
        Two,
    }
}

/// Checks and walks one archive.
pub fn archive(input: &[u8]) {
    let mut script = Script::new(input);
    match script.byte() % 4 {
        0 => try_one::<IpcCommand>(&COMMANDS, &mut script),
        1 => try_one::<IpcResponse>(&RESPONSES, &mut script),
        2 => try_one::<Notification>(&NOTIFICATIONS, &mut script),
        _ => try_one::<Shape>(&SHAPES, &mut script),
    }
}

/// The archive that the script makes up, or damages.
fn try_one<T: Wire<Archived: Debug + Deserialize<T, Strategy<Pool, Error>>>>(
    samples: &[Bytes],
    script: &mut Script<'_>,
) {
    let bytes = match script.byte() {
        255 => exact(script.rest()),
        sample => {
            let mut bytes = exact(&samples[usize::from(sample) % samples.len()]);
            while !script.is_over() {
                damage(&mut bytes, script);
            }
            bytes
        }
    };
    if let Ok(archived) = check::<T>(&bytes) {
        walk::<T>(archived, bytes.len());
    }
}

/// In an allocation of its own length, so that a sanitizer sees who reads on.
fn exact(bytes: &[u8]) -> Bytes {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let mut exact = Bytes::with_capacity(bytes.len());
    exact.extend_from_slice(bytes);
    exact
}

fn damage(bytes: &mut Bytes, script: &mut Script<'_>) {
    let (deed, place, value) = (script.byte(), usize::from(script.u16()), script.byte());
    let length = bytes.len();
    if length < 8 {
        return;
    }
    match deed % 8 {
        0 => bytes[place % length] ^= 1 << (value % 8),
        1 => bytes[place % length] = value,
        // Lengths and relative pointers are words of four bytes.
        2 | 3 => {
            let word = &mut bytes[place % (length / 4) * 4..][..4];
            let old = u32::from_le_bytes(word.try_into().expect("four bytes"));
            let new = if deed % 8 == 2 { old.wrapping_add_signed(i32::from(value as i8)) } else { !old };
            word.copy_from_slice(&new.to_le_bytes());
        }
        4 => {
            let value = i32::from_le_bytes([value, script.byte(), script.byte(), script.byte()]);
            bytes[place % (length / 4) * 4..][..4].copy_from_slice(&value.to_le_bytes());
        }
        5 => {
            let word: [u8; 4] =
                bytes[usize::from(value) % (length / 4) * 4..][..4].try_into().expect("a word");
            bytes[place % (length / 4) * 4..][..4].copy_from_slice(&word);
        }
        6 => *bytes = exact(&bytes[..place % length]),
        _ => *bytes = exact(&bytes[place % length..]),
    }
}

/// Reads every field of an archive of `length` bytes, as text and as a value.
fn walk<T: Wire<Archived: Debug + Deserialize<T, Strategy<Pool, Error>>>>(
    archived: &Archived<T>,
    length: usize,
) {
    let mut count = Count(0);
    write!(count, "{archived:?}").expect("counting does not fail");
    assert!(count.0 <= 64 * length + 4096, "{} bytes of text from {length} bytes of archive", count.0);
    let value = match rkyv::deserialize::<T, Error>(archived) {
        Ok(value) => value,
        // A page of issues is checked further when it is read.
        Err(error) if error.to_string().contains("read a page of issues") => return,
        Err(error) => panic!("what was checked is a value: {error}"),
    };
    let again = bytes_of(&value);
    assert!(again.len() <= 4 * length + 256, "{} bytes from {length}", again.len());
    let archived = check::<T>(&again).expect("our own archive is valid");
    let value: T = rkyv::deserialize::<T, Error>(archived).expect("what was checked is a value");
    assert_eq!(again[..], bytes_of(&value)[..]);
}

fn bytes_of<T: Wire>(value: &T) -> Bytes {
    thread_local! {
        static ARENA: std::cell::RefCell<Arena> = std::cell::RefCell::new(Arena::new());
    }
    let mut bytes = Bytes::with_capacity(512);
    let mut sink = Limited { bytes: &mut bytes, limit: 64 * LONGEST };
    ARENA.with_borrow_mut(|arena| encode(value, &mut sink, arena)).expect("it fits");
    bytes
}

/// Counts the text that is written to it.
struct Count(usize);

impl Write for Count {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Each byte is looked at, so that a sanitizer sees who reads on.
        self.0 += text.len() + usize::from(std::hint::black_box(text.bytes().fold(0, u8::max)) == 255);
        Ok(())
    }
}

fn text(length: usize) -> String {
    "äbc de".chars().cycle().take(length).collect()
}

fn exchange() -> Exchange {
    Exchange { remote: Some(text(12)), timeout_ms: 5000, progress: true }
}

fn write() -> WriteContext {
    WriteContext { actor: text(5), idempotency_key: text(20) }
}

static COMMANDS: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let foreign = ForeignIssue {
        id: text(6),
        title: text(20),
        body: text(40),
        state: IssueState::Closed,
        labels: vec![text(3), text(12)],
        assignees: vec![text(4)],
        depends_on: vec![text(6)],
        author: text(9),
        created_at: text(20),
        updated_at: text(20),
        comments: vec![Comment { author: text(4), created_at: text(20), body: text(30) }],
    };
    let filter = IssueFilter {
        state: Some(IssueState::Open),
        labels: vec![text(10), text(3)],
        assignee: Some(text(4)),
        text: Some(text(11)),
        ready: true,
    };
    let changes = IssueChanges {
        title: Some(text(10)),
        body: None,
        add_labels: vec![text(9)],
        remove_labels: vec![],
        add_assignees: vec![text(2), text(9)],
        remove_assignees: vec![],
        add_dependencies: vec![text(12)],
        remove_dependencies: vec![],
    };
    [
        IpcCommand::Ping,
        IpcCommand::IssueList { filter, limit: 20, cursor: Some(text(16)) },
        IpcCommand::IssueShow { id: text(12) },
        IpcCommand::IssueCreate {
            write: write(),
            title: text(14),
            body: text(50),
            labels: vec![text(4)],
            assignees: vec![text(9)],
        },
        IpcCommand::IssueUpdate { write: write(), id: text(7), changes },
        IpcCommand::IssueComment { write: write(), id: text(7), body: text(9) },
        IpcCommand::IssueImport { issues: vec![foreign] },
        IpcCommand::Sync { exchange: exchange() },
        IpcCommand::LockAcquire {
            resource: text(10),
            ttl_ms: 1000,
            margin_ms: 10,
            write: write(),
            exchange: exchange(),
        },
        IpcCommand::LockStatus { resource: None, exchange: exchange() },
        IpcCommand::Doctor { fix: true },
    ]
    .iter()
    .map(bytes_of)
    .collect()
});

static RESPONSES: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let summary = |length| IssueSummary {
        id: text(12),
        title: text(length),
        state: IssueState::Open,
        labels: vec![text(4), text(9)],
        assignees: vec![],
        created_at: text(20),
        updated_at: text(20),
        comment_count: 3,
    };
    let show = || IssueShowResult {
        id: text(12),
        source_id: Some(text(8)),
        title: text(20),
        body: text(60),
        state: IssueState::Closed,
        labels: vec![text(9)],
        assignees: vec![text(4)],
        depends_on: vec![IssueLink { id: text(12), source_id: None }],
        author: text(5),
        created_at: text(20),
        updated_at: text(20),
        comments: vec![Comment { author: text(5), created_at: text(20), body: text(25) }],
    };
    let dependency = DependencyState { id: text(12), title: Some(text(9)), state: Some(IssueState::Open) };
    let lock = || LockState {
        resource: text(9),
        holder: Some(text(9)),
        clone: None,
        remaining_ms: 7,
        free_in_ms: 9,
    };
    let finding = Finding { check: text(5), ok: false, detail: text(30), fix: Some(text(12)), fixed: true };
    [
        IpcResponse::Pong,
        IpcResponse::Status(StatusResult {
            pid: 7,
            version: text(5),
            store: text(20),
            issues: 1,
            open: 1,
            events: 9,
        }),
        IpcResponse::IssueList(IssueListResult {
            items: vec![summary(9), summary(30)],
            total: 2,
            next: Some(text(12)),
        }),
        IpcResponse::IssueShow(show()),
        IpcResponse::IssueExport(IssueExportResult { items: vec![show()], next: None }),
        IpcResponse::Dependencies(DependenciesResult {
            id: text(12),
            ready: false,
            before: vec![dependency],
            after: vec![],
        }),
        IpcResponse::Progress(Progress { stage: SyncStage::Importing, done: 9 }),
        IpcResponse::Sync(SyncResult {
            remote: text(6),
            received: 1,
            sent: 2,
            damaged: vec![text(20)],
            renamed: true,
        }),
        IpcResponse::Locks(LocksResult { locks: vec![lock(), lock()], remote: Some(text(6)) }),
        IpcResponse::Doctor(DoctorResult { findings: vec![finding] }),
        IpcResponse::Refused(Refusal {
            code: RefusalCode::Conflict,
            message: text(30),
            hint: text(3),
            retryable: true,
        }),
    ]
    .iter()
    .map(bytes_of)
    .collect()
});

static NOTIFICATIONS: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    [
        Notification::IssueChanged(IssueChange {
            id: text(12),
            kind: ChangeKind::Commented,
            actor: text(5),
            at: text(20),
        }),
        Notification::SyncDone(SyncDone { remote: text(9), received: 1, sent: 2 }),
        Notification::LockChanged(LockChange { resource: text(3), holder: Some(text(9)), remaining_ms: 5 }),
        Notification::Stopping,
    ]
    .iter()
    .map(bytes_of)
    .collect()
});

static SHAPES: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let leaf = |length, value| Leaf { name: text(length), value, sort: Sort::Two };
    [
        Shape::Unit,
        Shape::Text(text(9)),
        Shape::Numbers { a: 1, b: -2, c: 3, d: -4, e: 5, f: -6, g: 7, h: -8, i: 9, j: -10 },
        Shape::Picky { yes: true, letter: 'ä', half: 0.5, whole: f64::NAN, nothing: () },
        Shape::Lists {
            texts: vec![text(3), text(9)],
            lists: vec![vec![1, 2], vec![], vec![3]],
            flags: vec![None, Some(true)],
        },
        Shape::Boxes {
            deep: Box::new(Some(Box::new(leaf(9, None)))),
            pair: (1, text(9)),
            pairs: vec![('x', Box::new(1)), ('ü', Box::new(2))],
        },
        Shape::Arrays { texts: [text(1), text(9), text(0)], numbers: [1, 2], none: [] },
        Shape::Nested(vec![leaf(3, Some((1, 2.0))), leaf(12, None)]),
        Shape::Options {
            text: Some(text(10)),
            list: Some(vec![
                None,
                Some(leaf(9, Some((5, 0.1)))),
                Some(Leaf { sort: Sort::One, ..leaf(1, None) }),
            ]),
            large: Some(1),
        },
    ]
    .iter()
    .map(bytes_of)
    .collect()
});
