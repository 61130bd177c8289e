//! What subscribers are told of events: [`news`].

use libgrite_ipc::grite::{ChangeKind, IssueChange};

use crate::model::{Operation, Origin, Sealed, State};

/// What `events` have changed, in their order. Events that one command has made of one issue are one change,
/// and so are those that one import has.
pub fn news<'a>(events: impl IntoIterator<Item = &'a Sealed>) -> Vec<IssueChange> {
    let mut news: Vec<IssueChange> = Vec::new();
    let mut before: Option<&Sealed> = None;
    for sealed in events {
        let event = sealed.event();
        let kind = kind(sealed);
        match news.last_mut() {
            Some(last) if before.is_some_and(|before| belong_together(before, sealed)) => {
                last.kind = last.kind.min(kind);
                last.actor.clone_from(&event.actor);
                event.at.text().clone_into(&mut last.at);
            }
            _ => news.push(IssueChange {
                id: sealed.issue().to_string(),
                kind,
                actor: event.actor.clone(),
                at: event.at.text().to_owned(),
            }),
        }
        before = Some(sealed);
    }
    news
}

/// Whether one command has made both: all its events have one time.
fn belong_together(one: &Sealed, other: &Sealed) -> bool {
    let (one, other) = ((one.issue(), one.event()), (other.issue(), other.event()));
    one.0 == other.0
        && one.1.origin == other.1.origin
        && (one.1.origin == Origin::Import || one.1.actor == other.1.actor && one.1.at == other.1.at)
}

fn kind(sealed: &Sealed) -> ChangeKind {
    let event = sealed.event();
    match (event.origin, &event.op) {
        (Origin::Import, _) => ChangeKind::Imported,
        (Origin::Command, Operation::Create { .. }) => ChangeKind::Created,
        (Origin::Command, Operation::SetState(State::Closed)) => ChangeKind::Closed,
        (Origin::Command, Operation::SetState(State::Open)) => ChangeKind::Reopened,
        (Origin::Command, Operation::Comment(_)) => ChangeKind::Commented,
        (
            Origin::Command,
            Operation::SetTitle(_)
            | Operation::SetBody(_)
            | Operation::AddLabel(_)
            | Operation::RemoveLabel(_)
            | Operation::AddAssignee(_)
            | Operation::RemoveAssignee(_)
            | Operation::AddDependency { .. }
            | Operation::RemoveDependency(_),
        ) => ChangeKind::Updated,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use libgrite_ipc::IpcCommand;
    use libgrite_ipc::grite::{IssueChanges, Notification, WriteContext};

    use super::*;
    use crate::engine::Engine;
    use crate::engine::tests::{by, create, foreign, import, open};

    type Told = Arc<Mutex<Vec<IssueChange>>>;

    /// What `engine` tells from now on.
    fn listen(engine: &Engine) -> Told {
        let told = Told::default();
        let own = Arc::clone(&told);
        engine.observe(Box::new(move |told| {
            if let Notification::IssueChanged(change) = told {
                own.lock().unwrap().push(change);
            }
        }));
        told
    }

    fn kinds(told: &Told) -> Vec<ChangeKind> {
        told.lock().unwrap().iter().map(|change| change.kind).collect()
    }

    /// Makes an issue of several events, and changes it in every way; says its id.
    fn live(engine: &Engine) -> String {
        let write = |key: &str| WriteContext { actor: "ann".to_owned(), ..by(key) };
        let created = engine.execute(&IpcCommand::IssueCreate {
            write: write("1"),
            title: "t".to_owned(),
            body: String::new(),
            labels: vec!["a".to_owned(), "b".to_owned()],
            assignees: vec!["c".to_owned()],
        });
        let libgrite_ipc::IpcResponse::IssueCreate(created) = created else { panic!("{created:?}") };
        let id = created.id;
        let changes = |title: &str| IssueChanges {
            title: Some(title.to_owned()),
            body: Some("text".to_owned()),
            add_labels: vec!["d".to_owned()],
            remove_labels: vec!["a".to_owned()],
            ..IssueChanges::default()
        };
        for command in [
            IpcCommand::IssueUpdate { write: write("2"), id: id.clone(), changes: changes("u") },
            IpcCommand::IssueUpdate { write: write("3"), id: id.clone(), changes: changes("u") },
            IpcCommand::IssueClose { write: write("4"), id: id.clone() },
            IpcCommand::IssueClose { write: write("5"), id: id.clone() },
            IpcCommand::IssueReopen { write: write("6"), id: id.clone() },
            IpcCommand::IssueReopen { write: write("6"), id: id.clone() },
            IpcCommand::IssueComment { write: write("7"), id: id.clone(), body: "said".to_owned() },
            IpcCommand::IssueComment { write: write("8"), id: "none".to_owned(), body: "said".to_owned() },
        ] {
            engine.execute(&command);
        }
        id
    }

    const LIFE: [ChangeKind; 5] = [
        ChangeKind::Created,
        ChangeKind::Updated,
        ChangeKind::Closed,
        ChangeKind::Reopened,
        ChangeKind::Commented,
    ];

    #[test]
    fn each_command_that_changes_something_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        let told = listen(&engine);
        let id = live(&engine);
        assert_eq!(kinds(&told), LIFE);
        assert!(told.lock().unwrap().iter().all(|change| change.id == id && change.actor == "ann"));
    }

    #[test]
    fn what_another_process_wrote_is_told_as_if_it_had_been_written_here() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (open(dir.path()), open(dir.path()));
        let (ours, theirs) = (listen(&here), listen(&there));
        live(&there);
        import(&there, &[foreign("x-1"), foreign("x-2")]);
        assert_eq!(kinds(&ours), []);
        here.generation();
        assert_eq!(kinds(&theirs), [&LIFE[..], &[ChangeKind::Imported; 2]].concat());
        assert_eq!(*ours.lock().unwrap(), *theirs.lock().unwrap());
    }

    #[test]
    fn an_import_tells_of_every_issue_that_is_new_or_different() {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        let told = listen(&engine);
        import(&engine, &[foreign("x-1"), foreign("x-2"), foreign("x-3")]);
        assert_eq!(kinds(&told), [ChangeKind::Imported; 3]);
        let mut changed = foreign("x-2");
        changed.title = "another".to_owned();
        import(&engine, &[foreign("x-1"), changed, foreign("x-3")]);
        assert_eq!(told.lock().unwrap().len(), 4);
    }

    #[test]
    fn who_follows_learns_of_a_write_elsewhere_without_asking() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (open(dir.path()), open(dir.path()));
        let told = listen(&here);
        std::thread::scope(|scope| {
            let following = scope.spawn(|| {
                let deadline = std::time::Instant::now() + Duration::from_secs(20);
                while told.lock().unwrap().is_empty() && std::time::Instant::now() < deadline {
                    here.follow(Duration::from_secs(20)).unwrap();
                }
            });
            std::thread::sleep(Duration::from_millis(20));
            let id = create(&there, "elsewhere");
            following.join().unwrap();
            assert_eq!(told.lock().unwrap()[0].id, id);
            // Nothing more is written: only this ends it.
            let following = scope.spawn(|| here.follow(Duration::MAX));
            std::thread::sleep(Duration::from_millis(20));
            here.rouse();
            following.join().unwrap().unwrap();
        });
    }
}
