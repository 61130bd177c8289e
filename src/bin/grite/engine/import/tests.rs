//! What an import leaves as it is.

use std::collections::BTreeMap;

use libgrite_ipc::IpcCommand;
use libgrite_ipc::grite::{ForeignIssue, IssueChanges, IssueState};

use crate::engine::Engine;
use crate::engine::follow::lock;
use crate::engine::tests::{create, foreign, import, nothing, scratch, shown, update, write};
use crate::model::{Issue, IssueId, Sealed};

/// Later than whatever is done here.
const LATER: &str = "2100-01-01T00:00:00Z";

fn set(engine: &Engine, id: &str, state: IssueState) {
    let (write, id) = (write(), id.to_owned());
    engine.execute(&match state {
        IssueState::Open => IpcCommand::IssueReopen { write, id },
        IssueState::Closed => IpcCommand::IssueClose { write, id },
    });
    assert_eq!(shown(engine, "x-1").state, state);
}

#[test]
fn a_state_that_was_set_here_outlives_a_line_where_only_its_time_is_new() {
    for (theirs, ours) in [(IssueState::Open, IssueState::Closed), (IssueState::Closed, IssueState::Open)] {
        let (_dir, engine) = scratch();
        let mut line = ForeignIssue { state: theirs, ..foreign("x-1") };
        import(&engine, &[line.clone()]);
        set(&engine, "x-1", ours);

        LATER.clone_into(&mut line.updated_at);
        assert_eq!(import(&engine, &[line.clone()]), [0, 1, 0]);
        assert_eq!(import(&engine, &[line.clone()]), [0, 0, 1]);
        let issue = shown(&engine, "x-1");
        assert_eq!((issue.state, issue.updated_at.as_str()), (ours, LATER));

        // What the tracker itself changes is taken over.
        "2100-01-02T00:00:00Z".clone_into(&mut line.updated_at);
        line.state = ours;
        import(&engine, &[line.clone()]);
        "2100-01-03T00:00:00Z".clone_into(&mut line.updated_at);
        line.state = theirs;
        assert_eq!(import(&engine, &[line]), [0, 1, 0]);
        assert_eq!(shown(&engine, "x-1").state, theirs);
    }
}

#[test]
fn of_two_states_of_a_file_the_later_one_stands_whichever_is_imported_last() {
    let earlier = ForeignIssue { state: IssueState::Open, ..foreign("x-1") };
    let mut later = ForeignIssue { updated_at: LATER.to_owned(), ..foreign("x-1") };
    "Later".clone_into(&mut later.title);
    later.labels.clear();
    for order in [[&earlier, &later], [&later, &earlier]] {
        let (_dir, engine) = scratch();
        for line in order {
            import(&engine, std::slice::from_ref(line));
        }
        let stood = shown(&engine, "x-1");
        assert_eq!((stood.state, &stood.title, &stood.labels), (later.state, &later.title, &later.labels));
        let before = events(&engine);
        for _ in 0..2 {
            assert_eq!(import(&engine, std::slice::from_ref(&earlier)), [0, 0, 1]);
            assert_eq!(import(&engine, std::slice::from_ref(&later)), [0, 0, 1]);
        }
        assert_eq!(events(&engine), before);
        // It holds within a file, too.
        let (_dir, engine) = scratch();
        import(&engine, &order.map(Clone::clone));
        assert_eq!(shown(&engine, "x-1").title, later.title);
    }
}

#[test]
fn of_an_earlier_file_the_comments_are_taken() {
    let (_dir, engine) = scratch();
    let mut later = ForeignIssue { updated_at: LATER.to_owned(), ..foreign("x-1") };
    later.comments.clear();
    "Later".clone_into(&mut later.title);
    let earlier = foreign("x-1");
    assert!(!earlier.comments.is_empty());
    assert_eq!(import(&engine, &[later]), [1, 0, 0]);
    assert_eq!(import(&engine, std::slice::from_ref(&earlier)), [0, 1, 0]);
    let shown = shown(&engine, "x-1");
    assert_eq!((shown.title.as_str(), shown.comments), ("Later", earlier.comments));
}

/// The line of a file that an export has for the imported issue `id`.
fn exported(engine: &Engine, id: &str) -> ForeignIssue {
    let shown = shown(engine, id);
    let links = shown.depends_on.into_iter().map(|link| link.source_id.unwrap_or(link.id));
    ForeignIssue {
        state: shown.state,
        labels: shown.labels,
        assignees: shown.assignees,
        depends_on: links.collect(),
        updated_at: shown.updated_at,
        ..foreign(id)
    }
}

#[test]
fn what_was_taken_away_here_stays_away_when_an_export_from_before_is_imported() {
    let (_dir, engine) = scratch();
    import(&engine, &[foreign("x-1"), foreign("x-2")]);
    let waited_for = vec!["x-2".to_owned(), create(&engine, "made here")];
    let ours = || vec!["ours".to_owned()];
    let add = IssueChanges {
        add_labels: ours(),
        add_assignees: ours(),
        add_dependencies: waited_for.clone(),
        ..nothing()
    };
    let remove = IssueChanges {
        remove_labels: ours(),
        remove_assignees: ours(),
        remove_dependencies: waited_for,
        ..nothing()
    };
    let before = shown(&engine, "x-1");
    update(&engine, "x-1", add);
    let mut line = exported(&engine, "x-1");
    assert_eq!((line.labels.len(), line.assignees.len(), line.depends_on.len()), (3, 2, 3));
    update(&engine, "x-1", remove);
    let after = shown(&engine, "x-1");
    assert_eq!((&after.labels, &after.assignees), (&before.labels, &before.assignees));
    for _ in 0..2 {
        assert_eq!(import(&engine, std::slice::from_ref(&line)), [0, 0, 1]);
        assert_eq!(shown(&engine, "x-1"), after);
    }
    // What the tracker itself adds is taken over.
    line.labels = [&before.labels[..], &["theirs".to_owned()]].concat();
    line.assignees.clone_from(&before.assignees);
    line.depends_on = vec!["x-9".to_owned()];
    LATER.clone_into(&mut line.updated_at);
    import(&engine, &[line]);
    let labels = shown(&engine, "x-1").labels;
    assert!(labels.contains(&"theirs".to_owned()) && !labels.contains(&"ours".to_owned()), "{labels:?}");
}

#[test]
fn what_the_tracker_adds_after_it_was_taken_away_here_is_taken_over() {
    let (_dir, engine) = scratch();
    import(&engine, &[foreign("x-1"), foreign("x-2")]);
    let ann = || vec!["ann".to_owned()];
    let waited_for = || vec!["x-2".to_owned()];
    let add =
        IssueChanges { add_labels: ann(), add_assignees: ann(), add_dependencies: waited_for(), ..nothing() };
    let remove = IssueChanges {
        remove_labels: ann(),
        remove_assignees: ann(),
        remove_dependencies: waited_for(),
        ..nothing()
    };
    update(&engine, "x-1", add);
    let with_it = shown(&engine, "x-1");
    let line = ForeignIssue { updated_at: LATER.to_owned(), ..exported(&engine, "x-1") };
    update(&engine, "x-1", remove.clone());
    assert_eq!(import(&engine, std::slice::from_ref(&line)), [0, 1, 0]);
    let taken_over = shown(&engine, "x-1");
    assert_eq!((&taken_over.labels, &taken_over.assignees), (&with_it.labels, &with_it.assignees));
    assert_eq!(taken_over.depends_on, with_it.depends_on);
    // What is taken away after that stays away.
    update(&engine, "x-1", remove);
    let after = shown(&engine, "x-1");
    assert!(!after.labels.contains(&"ann".to_owned()), "{after:?}");
    assert_eq!(import(&engine, &[line]), [0, 0, 1]);
    assert_eq!(shown(&engine, "x-1"), after);
}

/// All events of an engine.
fn events(engine: &Engine) -> Vec<Sealed> {
    let mut store = lock(&engine.store);
    let session = store.begin().unwrap();
    session.events_after(0).unwrap().into_iter().map(|(_, event)| event).collect()
}

/// The issues that two engines have once each knows all events of both.
fn met(here: &Engine, there: &Engine) -> BTreeMap<IssueId, Issue> {
    let mut issues: BTreeMap<IssueId, Issue> = BTreeMap::new();
    for event in events(here).iter().chain(&events(there)) {
        issues.entry(event.issue()).or_default().apply(event);
    }
    issues
}

/// A file of many issues, early and late: which of two equal times wins is then no accident.
fn early_and_late() -> [Vec<ForeignIssue>; 2] {
    let early: Vec<ForeignIssue> = (0..32).map(|number| foreign(&format!("x-{number}"))).collect();
    let late = |issue: &ForeignIssue| ForeignIssue {
        title: "Late".to_owned(),
        body: "late".to_owned(),
        updated_at: LATER.to_owned(),
        ..issue.clone()
    };
    let late = early.iter().map(late).collect();
    [early, late]
}

#[test]
fn of_two_states_of_a_file_that_clones_import_before_they_meet_the_later_one_stands() {
    let ((_a, here), (_b, there)) = (scratch(), scratch());
    let [early, late] = early_and_late();
    import(&here, &early);
    import(&there, &late);
    for (id, issue) in met(&here, &there) {
        assert_eq!((issue.title(), issue.body()), ("Late", "late"), "{id}");
    }
    // That takes no events of its own.
    assert_eq!(events(&here).len(), events(&there).len());
    let before = events(&there);
    assert_eq!(import(&there, &late), [0, 0, 32]);
    assert_eq!(events(&there), before);
}

#[test]
fn a_title_that_was_set_here_outlives_what_another_clone_imports_before_they_meet() {
    let ((_a, here), (_b, there)) = (scratch(), scratch());
    let [early, late] = early_and_late();
    import(&here, &early);
    import(&there, &late);
    for issue in &early {
        let changes = IssueChanges { title: Some("Ours".to_owned()), ..nothing() };
        update(&here, &issue.id, changes);
    }
    for (id, issue) in met(&here, &there) {
        assert_eq!((issue.title(), issue.body()), ("Ours", "late"), "{id}");
    }
}
