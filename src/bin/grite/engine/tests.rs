//! The engine as its callers see it: commands in, answers out.

use std::sync::atomic::{AtomicU64, Ordering};

use libgrite_ipc::grite::{
    Comment, ForeignIssue, IssueChanges, IssueFilter, IssueImportResult, IssueListResult, IssueShowResult,
    IssueState, MAX_LIMIT, RefusalCode, WriteContext,
};
use tempfile::TempDir;

use super::limits::{MAX_KEY, MAX_NAMES, MAX_SEARCH};
use super::*;

pub(super) fn open(dir: &Path) -> Engine {
    Engine::make(dir).unwrap()
}

pub(super) fn by(key: &str) -> WriteContext {
    WriteContext { actor: "ann".to_owned(), idempotency_key: key.to_owned() }
}

/// A write context with a key of its own.
pub(super) fn write() -> WriteContext {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    by(&format!("key {}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn creating(write: WriteContext, title: &str) -> IpcCommand {
    IpcCommand::IssueCreate {
        write,
        title: title.to_owned(),
        body: "a body".to_owned(),
        labels: vec!["bug".to_owned()],
        assignees: Vec::new(),
    }
}

pub(super) fn create(engine: &Engine, title: &str) -> String {
    match engine.execute(&creating(write(), title)) {
        IpcResponse::IssueCreate(made) => made.id,
        other => panic!("{other:?}"),
    }
}

pub(super) fn show(engine: &Engine, id: &str) -> IpcResponse {
    engine.execute(&IpcCommand::IssueShow { id: id.to_owned() })
}

pub(super) fn shown(engine: &Engine, id: &str) -> IssueShowResult {
    match show(engine, id) {
        IpcResponse::IssueShow(issue) => issue,
        other => panic!("{other:?}"),
    }
}

fn any() -> IssueFilter {
    IssueFilter::default()
}

fn list(engine: &Engine, filter: IssueFilter, limit: u32, cursor: Option<String>) -> IssueListResult {
    match engine.execute(&IpcCommand::IssueList { filter, limit, cursor }) {
        IpcResponse::IssueList(page) => page,
        other => panic!("{other:?}"),
    }
}

fn refused(response: IpcResponse) -> RefusalCode {
    match response {
        IpcResponse::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

pub(super) fn nothing() -> IssueChanges {
    IssueChanges::default()
}

pub(super) fn foreign(id: &str) -> ForeignIssue {
    ForeignIssue {
        id: id.to_owned(),
        title: format!("Title of {id}"),
        body: "text".to_owned(),
        state: IssueState::Closed,
        labels: vec!["p:1".to_owned(), "t:bug".to_owned()],
        assignees: vec!["bob".to_owned()],
        depends_on: vec!["x-9".to_owned()],
        author: "cyd".to_owned(),
        created_at: "2025-11-02T21:58:07.295058-08:00".to_owned(),
        updated_at: "2025-11-02T21:58:07.295058-08:00".to_owned(),
        comments: vec![
            comment("2025-12-30T15:44:43.356435-08:00", "later, and first in the file"),
            comment("2025-12-30T00:41:45.168318-08:00", "earlier"),
            comment("2025-12-30T00:41:45.168318-08:00", "earlier"),
        ],
    }
}

fn comment(created_at: &str, body: &str) -> Comment {
    Comment { author: "dee".to_owned(), created_at: created_at.to_owned(), body: body.to_owned() }
}

pub(super) fn import(engine: &Engine, issues: &[ForeignIssue]) -> [u64; 3] {
    match engine.execute(&IpcCommand::IssueImport { issues: issues.to_vec() }) {
        IpcResponse::IssueImport(IssueImportResult { created, updated, unchanged }) => {
            [created, updated, unchanged]
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn scratch() -> (TempDir, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    (dir, engine)
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let Err(error) = Engine::open(&dir.path().join("gone")) else { panic!("it opened") };
    assert!(error.to_string().contains("gone") && matches!(error.cause(), OpenCause::Missing));
}

#[test]
fn an_issue_lives_from_creation_to_comment() {
    let (dir, engine) = scratch();
    let id = create(&engine, "Title");
    let changes = IssueChanges {
        title: Some("New".to_owned()),
        add_labels: vec!["ui".to_owned()],
        remove_labels: vec!["bug".to_owned(), "absent".to_owned()],
        add_assignees: vec!["bob".to_owned()],
        ..nothing()
    };
    let update = |changes| IpcCommand::IssueUpdate { write: write(), id: id.clone(), changes };
    let IpcResponse::IssueUpdate(updated) = engine.execute(&update(changes.clone())) else { panic!() };
    assert!(updated.changed);
    let IpcResponse::IssueUpdate(updated) = engine.execute(&update(changes)) else { panic!() };
    assert!(!updated.changed);

    let close = || engine.execute(&IpcCommand::IssueClose { write: write(), id: id[..8].to_owned() });
    for expected in [true, false] {
        let IpcResponse::IssueState(state) = close() else { panic!() };
        assert_eq!((state.state, state.changed), (IssueState::Closed, expected));
    }
    let IpcResponse::IssueState(state) =
        engine.execute(&IpcCommand::IssueReopen { write: write(), id: id.clone() })
    else {
        panic!()
    };
    assert_eq!((state.state, state.changed), (IssueState::Open, true));
    for count in 1..=2 {
        let command =
            IpcCommand::IssueComment { write: write(), id: id.clone(), body: format!("no. {count}") };
        let IpcResponse::Comment(said) = engine.execute(&command) else { panic!() };
        assert_eq!(said.comment_count, count);
    }

    let issue = shown(&engine, &id);
    assert_eq!((issue.title.as_str(), issue.body.as_str(), issue.state), ("New", "a body", IssueState::Open));
    assert_eq!((issue.labels, issue.assignees), (vec!["ui".to_owned()], vec!["bob".to_owned()]));
    assert_eq!(issue.author, "ann");
    assert!(issue.created_at.ends_with('Z') && issue.created_at < issue.updated_at);
    assert_eq!(issue.comments.iter().map(|said| said.body.as_str()).collect::<Vec<_>>(), ["no. 1", "no. 2"]);
    // What memory holds is what the store holds.
    assert_eq!(show(&open(dir.path()), &id), show(&engine, &id));
}

#[test]
fn a_repeated_write_is_answered_as_before_and_changes_nothing() {
    let (dir, engine) = scratch();
    let first = engine.execute(&creating(by("k"), "once"));
    assert_eq!(engine.execute(&creating(by("k"), "once")), first);
    assert_eq!(open(dir.path()).execute(&creating(by("k"), "once")), first);
    assert_eq!(refused(engine.execute(&creating(by("k"), "other"))), RefusalCode::Conflict);
    assert_eq!(list(&engine, any(), 0, None).total, 1);

    let IpcResponse::IssueCreate(made) = first else { panic!() };
    let say = || {
        engine.execute(&IpcCommand::IssueComment {
            write: by("c"),
            id: made.id.clone(),
            body: "hi".to_owned(),
        })
    };
    assert_eq!(say(), say());
    assert_eq!(shown(&engine, &made.id).comments.len(), 1);
}

#[test]
fn a_refused_write_does_not_use_its_key_up() {
    let (_dir, engine) = scratch();
    assert_eq!(refused(engine.execute(&creating(by("k"), " "))), RefusalCode::Invalid);
    assert!(matches!(engine.execute(&creating(by("k"), "title")), IpcResponse::IssueCreate(_)));
    for (key, good) in [("x".repeat(MAX_KEY), true), ("x".repeat(MAX_KEY + 1), false), (String::new(), false)]
    {
        assert_eq!(matches!(engine.execute(&creating(by(&key), "t")), IpcResponse::IssueCreate(_)), good);
    }
}

#[test]
fn a_list_is_newest_first_and_its_cursor_survives_new_issues() {
    let (_dir, engine) = scratch();
    for number in 0..5 {
        create(&engine, &number.to_string());
    }
    let titles =
        |page: &IssueListResult| page.items.iter().map(|item| item.title.clone()).collect::<Vec<_>>();
    let first = list(&engine, any(), 2, None);
    let mut expected: Vec<IssueShowResult> =
        list(&engine, any(), 0, None).items.iter().map(|item| shown(&engine, &item.id)).collect();
    expected.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
    let expected: Vec<String> = expected.into_iter().map(|issue| issue.title).collect();
    assert_eq!((titles(&first), first.total), (expected[..2].to_vec(), 5));

    create(&engine, "newer than the page");
    for filter in [any(), IssueFilter { state: Some(IssueState::Open), ..any() }] {
        let second = list(&engine, filter.clone(), 2, first.next.clone());
        assert_eq!((titles(&second), second.total), (expected[2..4].to_vec(), 6));
        let last = list(&engine, filter, 2, second.next.clone());
        assert_eq!((titles(&last), last.next), (expected[4..].to_vec(), None));
    }
    let all = list(&engine, any(), 6, None);
    assert_eq!((all.items.len(), all.next), (6, None));
    assert_eq!(list(&engine, any(), u32::MAX, None).items.len(), 6);
    const { assert!(MAX_LIMIT < u32::MAX) };
    let broken = IpcCommand::IssueList { filter: any(), limit: 1, cursor: Some("zzz".to_owned()) };
    assert_eq!(refused(engine.execute(&broken)), RefusalCode::Invalid);
}

#[test]
fn a_list_shows_what_matches_every_part() {
    let (_dir, engine) = scratch();
    import(
        &engine,
        &[
            foreign("x-1"),
            ForeignIssue { state: IssueState::Open, labels: vec!["p:1".to_owned()], ..foreign("x-2") },
        ],
    );
    let total = |filter| list(&engine, filter, 0, None).total;
    let labels = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>();
    let text = |text: &str| IssueFilter { text: Some(text.to_owned()), ..any() };
    assert_eq!(total(IssueFilter { state: Some(IssueState::Open), ..any() }), 1);
    assert_eq!(total(IssueFilter { labels: labels(&["p:1"]), ..any() }), 2);
    assert_eq!(total(IssueFilter { labels: labels(&["p:1", "t:bug"]), ..any() }), 1);
    assert_eq!(total(IssueFilter { assignee: Some("bob".to_owned()), ..any() }), 2);
    assert_eq!(total(IssueFilter { assignee: Some("bo".to_owned()), ..any() }), 0);
    assert_eq!(total(text("TITLE x-1")), 1);
    assert_eq!(total(text("earl")), 2);
    assert_eq!(total(IssueFilter { state: Some(IssueState::Open), ..text("earlier") }), 1);
    for wrong in ["--".to_owned(), String::new(), "x".repeat(MAX_SEARCH + 1)] {
        let command = IpcCommand::IssueList { filter: text(&wrong), limit: 0, cursor: None };
        assert_eq!(refused(engine.execute(&command)), RefusalCode::Invalid);
    }
    assert_eq!(total(text(&"x".repeat(MAX_SEARCH))), 0);
}

#[test]
fn ids_resolve_exactly_then_by_prefix() {
    let (_dir, engine) = scratch();
    import(&engine, &[foreign("x-1")]);
    let id = shown(&engine, "x-1").id;
    for name in [id.as_str(), &id[..4], &id.to_uppercase(), &id[..15]] {
        assert_eq!(shown(&engine, name).id, id);
    }
    for name in [&id[..3], "x-", "x-2", "ffffffffffffffff", "é"] {
        assert_eq!(refused(show(&engine, name)), RefusalCode::NotFound, "{name}");
    }
    assert_eq!(refused(show(&engine, "")), RefusalCode::Invalid);
    // An issue whose own foreign id is a prefix of the other one's id.
    import(&engine, &[foreign(&id[..6])]);
    assert_eq!(shown(&engine, &id[..6]).source_id.as_deref(), Some(&id[..6]));

    // Enough issues for two that share four digits.
    let many: Vec<_> = (0..1500).map(|number| foreign(&format!("m-{number}"))).collect();
    import(&engine, &many);
    let page = list(&engine, any(), MAX_LIMIT, None);
    let mut ids: Vec<_> = page.items.iter().map(|item| item.id.as_str()).collect();
    ids.sort_unstable();
    let twins = ids
        .windows(2)
        .find(|pair| pair[0][..4] == pair[1][..4])
        .expect("1,500 ids share four digits somewhere");
    let IpcResponse::Refused(refusal) = show(&engine, &twins[0][..4]) else { panic!() };
    assert_eq!(refusal.code, RefusalCode::Ambiguous);
    assert!(refusal.message.contains(twins[0]) && refusal.message.contains(twins[1]), "{}", refusal.message);
}

#[test]
fn an_import_shows_what_the_file_said_and_a_repeat_changes_nothing() {
    let (dir, engine) = scratch();
    assert_eq!(import(&engine, &[foreign("x-1"), foreign("x-2")]), [2, 0, 0]);
    let generation = engine.generation();
    assert_eq!(import(&engine, &[foreign("x-1"), foreign("x-2")]), [0, 0, 2]);
    assert_eq!(engine.generation(), generation);
    let (issue, file) = (shown(&engine, "x-1"), foreign("x-1"));
    assert_eq!(issue.source_id.as_deref(), Some("x-1"));
    assert_eq!((issue.title, issue.body, issue.state), (file.title, file.body, file.state));
    assert_eq!((issue.labels, issue.assignees, issue.author), (file.labels, file.assignees, file.author));
    assert_eq!((issue.created_at, issue.updated_at), (file.created_at, file.updated_at));
    assert_eq!(issue.comments, file.comments);
    assert_eq!(issue.depends_on[0].source_id.as_deref(), Some("x-9"));
    import(&engine, &[foreign("x-9")]);
    assert_eq!(issue.depends_on[0].id, shown(&engine, "x-9").id);
    assert_eq!(show(&open(dir.path()), "x-1"), show(&engine, "x-1"));
}

#[test]
fn a_file_imported_in_two_places_makes_the_same_events() {
    let ((_a, here), (_b, there)) = (scratch(), scratch());
    import(&here, &[foreign("x-1"), foreign("x-2")]);
    import(&there, &[foreign("x-2")]);
    import(&there, &[foreign("x-1")]);
    let events = |engine: &Engine| {
        let mut store = follow::lock(&engine.store);
        let session = store.begin().unwrap();
        let mut ids: Vec<_> = session.events_after(0).unwrap().iter().map(|(_, event)| event.id()).collect();
        ids.sort();
        ids
    };
    assert_eq!(events(&here), events(&there));
}

#[test]
fn a_changed_line_updates_what_changed_and_leaves_what_people_did() {
    let (_dir, engine) = scratch();
    import(&engine, &[foreign("x-1")]);
    let changes = IssueChanges {
        body: Some("mine".to_owned()),
        add_labels: vec!["local".to_owned()],
        remove_labels: vec!["p:1".to_owned()],
        ..nothing()
    };
    engine.execute(&IpcCommand::IssueUpdate { write: write(), id: "x-1".to_owned(), changes });
    assert_eq!(import(&engine, &[foreign("x-1")]), [0, 0, 1]);

    let mut second = foreign("x-1");
    second.title = "Second".to_owned();
    second.state = IssueState::Open;
    second.labels = vec!["new".to_owned(), "p:1".to_owned()];
    second.comments.push(comment("2026-02-01T00:00:00Z", "more"));
    assert_eq!(import(&engine, &[second.clone()]), [0, 1, 0]);
    assert_eq!(import(&engine, &[second.clone()]), [0, 0, 1]);
    let issue = shown(&engine, "x-1");
    assert_eq!(
        (issue.title.as_str(), issue.body.as_str(), issue.state),
        ("Second", "mine", IssueState::Open)
    );
    assert_eq!(issue.labels, ["local", "new"]);
    assert_eq!(issue.comments.len(), 4);

    // The first file again: a label that had gone comes back, although its time is the same.
    assert_eq!(import(&engine, &[foreign("x-1")]), [0, 1, 0]);
    let issue = shown(&engine, "x-1");
    assert_eq!(
        (issue.title, issue.labels),
        (foreign("x-1").title, vec!["local".to_owned(), "t:bug".to_owned()])
    );
    // One command may name an issue twice; of two lines of one time the later line wins.
    assert_eq!(import(&engine, &[second.clone(), foreign("x-3"), foreign("x-3")]), [1, 1, 1]);
}

#[test]
fn an_import_with_a_flaw_changes_nothing() {
    let (_dir, engine) = scratch();
    let command = IpcCommand::IssueImport {
        issues: vec![foreign("x-1"), ForeignIssue { created_at: "never".to_owned(), ..foreign("x-2") }],
    };
    let IpcResponse::Refused(refusal) = engine.execute(&command) else { panic!() };
    assert!(refusal.message.contains("created_at") && refusal.message.contains("x-2"), "{}", refusal.message);
    assert_eq!(list(&engine, any(), 0, None).total, 0);
}

#[test]
fn an_export_is_oldest_first_and_pages() {
    let (_dir, engine) = scratch();
    let dated =
        |id: &str, created_at: &str| ForeignIssue { created_at: created_at.to_owned(), ..foreign(id) };
    // The same instant twice, and an earlier one whose text sorts later.
    import(
        &engine,
        &[
            dated("b", "2025-01-02T00:00:00Z"),
            dated("a", "2025-01-02T01:00:00+01:00"),
            dated("c", "2025-01-02T08:00:00+09:00"),
        ],
    );
    let mut sources = Vec::new();
    let mut cursor = None;
    loop {
        let command = IpcCommand::IssueExport { limit: 1, cursor };
        let IpcResponse::IssueExport(page) = engine.execute(&command) else { panic!() };
        sources.extend(page.items.into_iter().map(|issue| (issue.id, issue.source_id.unwrap())));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(sources.len(), 3);
    assert_eq!(sources[0].1, "c");
    assert!(sources[1].0 < sources[2].0);
}

#[test]
fn changes_that_cannot_be_are_refused() {
    let (_dir, engine) = scratch();
    let id = create(&engine, "t");
    let update = |changes| {
        refused(engine.execute(&IpcCommand::IssueUpdate { write: write(), id: id.clone(), changes }))
    };
    assert_eq!(update(nothing()), RefusalCode::Invalid);
    let both = vec!["x".to_owned()];
    assert_eq!(
        update(IssueChanges { add_labels: both.clone(), remove_labels: both, ..nothing() }),
        RefusalCode::Invalid
    );
    assert_eq!(update(IssueChanges { title: Some(String::new()), ..nothing() }), RefusalCode::Invalid);
    // One label is there already.
    let labels: Vec<String> = (0..MAX_NAMES).map(|number| number.to_string()).collect();
    assert_eq!(update(IssueChanges { add_labels: labels.clone(), ..nothing() }), RefusalCode::Invalid);
    let fitting = IssueChanges { add_labels: labels[1..].to_vec(), ..nothing() };
    let command = IpcCommand::IssueUpdate { write: write(), id: id.clone(), changes: fitting };
    assert!(matches!(engine.execute(&command), IpcResponse::IssueUpdate(_)));
    let empty = IpcCommand::IssueComment { write: write(), id: id.clone(), body: " \n".to_owned() };
    assert_eq!(refused(engine.execute(&empty)), RefusalCode::Invalid);
    let close = IpcCommand::IssueClose { write: write(), id: "0000".to_owned() };
    assert_eq!(refused(engine.execute(&close)), RefusalCode::NotFound);
}

#[test]
fn meta_commands_are_answered() {
    let (dir, engine) = scratch();
    create(&engine, "t");
    let IpcResponse::Doctor(found) = engine.execute(&IpcCommand::Doctor { fix: false }) else { panic!() };
    assert!(found.findings.iter().any(|finding| finding.check == "store" && finding.ok));
    assert_eq!(refused(engine.execute(&IpcCommand::Doctor { fix: true })), RefusalCode::Unsupported);
    assert_eq!(engine.execute(&IpcCommand::Ping), IpcResponse::Pong);
    assert_eq!(engine.execute(&IpcCommand::Stop), IpcResponse::Stopping);
    let IpcResponse::Status(status) = engine.execute(&IpcCommand::Status) else { panic!() };
    assert_eq!((status.issues, status.open, status.events), (1, 1, 2));
    assert_eq!((status.pid, status.store), (std::process::id(), dir.path().display().to_string()));
}

#[test]
fn a_damaged_store_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(Store::path(dir.path()), vec![7; 8192]).unwrap();
    let Err(error) = Engine::open(dir.path()) else { panic!("it opened") };
    assert!(matches!(error.cause(), OpenCause::Store(StoreError::Damaged(_))), "{error}");
}

pub(super) fn update(engine: &Engine, id: &str, changes: IssueChanges) -> IpcResponse {
    engine.execute(&IpcCommand::IssueUpdate { write: write(), id: id.to_owned(), changes })
}

fn waiting_for(on: &[&str]) -> IssueChanges {
    IssueChanges { add_dependencies: on.iter().map(|id| (*id).to_owned()).collect(), ..nothing() }
}

#[test]
fn an_issue_is_ready_when_nothing_open_is_before_it_and_no_cycle_is_made() {
    let (_dir, engine) = scratch();
    let [first, second, third] = ["first", "second", "third"].map(|title| create(&engine, title));
    for (id, on) in [(&second, &first), (&third, &second)] {
        let IpcResponse::IssueUpdate(updated) = update(&engine, id, waiting_for(&[on])) else { panic!() };
        assert!(updated.changed);
    }
    for (id, on) in [(&first, &first), (&first, &second), (&first, &third)] {
        assert_eq!(refused(update(&engine, id, waiting_for(&[on]))), RefusalCode::Conflict);
    }
    let ready = || {
        let page = list(&engine, IssueFilter { ready: true, ..any() }, 0, None);
        page.items.into_iter().map(|item| item.id).collect::<Vec<_>>()
    };
    assert_eq!(ready(), std::slice::from_ref(&first));
    engine.execute(&IpcCommand::IssueClose { write: write(), id: first.clone() });
    assert_eq!(ready(), std::slice::from_ref(&second));

    let ask = |id: &String| engine.execute(&IpcCommand::IssueDependencies { id: id.clone() });
    let IpcResponse::Dependencies(found) = ask(&second) else { panic!() };
    assert!(found.ready);
    assert_eq!((found.before[0].id.as_str(), found.after[0].id.as_str()), (first.as_str(), third.as_str()));
    assert_eq!(found.before[0].state, Some(IssueState::Closed));
    let gone = IssueChanges { remove_dependencies: vec![second.clone()], ..nothing() };
    let IpcResponse::IssueUpdate(updated) = update(&engine, &third, gone) else { panic!() };
    assert!(updated.changed);
    let IpcResponse::Dependencies(found) = ask(&third) else { panic!() };
    assert!(found.ready && found.before.is_empty());
    assert_eq!(refused(update(&engine, &third, waiting_for(&["nothing"]))), RefusalCode::NotFound);
}

#[test]
fn a_dependency_on_an_issue_that_nobody_has_keeps_nobody_and_can_go() {
    let (_dir, engine) = scratch();
    import(&engine, &[ForeignIssue { state: IssueState::Open, ..foreign("x-1") }]);
    assert_eq!(list(&engine, IssueFilter { ready: true, ..any() }, 0, None).total, 1);
    let gone = IssueChanges { remove_dependencies: vec!["x-9".to_owned()], ..nothing() };
    let IpcResponse::IssueUpdate(updated) = update(&engine, "x-1", gone) else { panic!() };
    assert!(updated.changed);
    assert!(shown(&engine, "x-1").depends_on.is_empty());
}

#[test]
fn one_author_claims_an_open_issue_and_the_others_are_told_who() {
    let (_dir, engine) = scratch();
    let id = create(&engine, "t");
    let claim = |actor: &str| {
        let write = WriteContext { actor: actor.to_owned(), ..write() };
        engine.execute(&IpcCommand::IssueClaim { write, id: id.clone() })
    };
    let engines: Vec<IpcResponse> = std::thread::scope(|scope| {
        let claim = &claim;
        let claims = ["ann", "bob", "cyd", "dee"].map(|actor| scope.spawn(move || claim(actor)));
        claims.into_iter().map(|claim| claim.join().unwrap()).collect()
    });
    assert_eq!(engines.iter().filter(|answer| matches!(answer, IpcResponse::IssueUpdate(_))).count(), 1);
    let holders = shown(&engine, &id).assignees;
    let [holder] = holders.as_slice() else { panic!("{holders:?}") };
    let IpcResponse::IssueUpdate(again) = claim(holder) else { panic!() };
    assert!(!again.changed);
    let IpcResponse::Refused(refusal) = claim("eve") else { panic!() };
    assert!(refusal.code == RefusalCode::Conflict && refusal.message.contains(holder.as_str()));
    engine.execute(&IpcCommand::IssueClose { write: write(), id: id.clone() });
    assert_eq!(refused(claim(holder)), RefusalCode::Conflict);
}
