//! The store: its pages, its events, and what is derived from them. [`rebuild`] makes it anew.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::checkup::Checkup;
use super::refs;
use crate::git::{Git, GitError};
use crate::model::{EventId, IssueId, Sealed, State};
use crate::runtime::Place;
use crate::store::{Examined, Marks, Sound, Store, Way, examine, hold, replace, salvage};
use crate::sync::{Actor, TRACKING};

/// How many issues a finding names.
const NAMED: usize = 5;

/// What is in the store, where its events are sound.
pub fn check(checkup: &mut Checkup<'_>, git: Option<&Git>) -> Option<Sound> {
    let state = checkup.place.state.clone();
    let mut made = None;
    match examine(&state) {
        Err(error) => checkup.bad("store", error, "look for free space and the folder's permissions"),
        Ok(Examined::Newer(found)) => {
            let detail = format!("{found}, which a newer program made; it is left alone");
            checkup.bad("store", detail, "use the newer program");
        }
        Ok(Examined::Missing) => {
            let detail = format!("there is no store in {}", state.display());
            checkup.mend("store", detail, "grite rebuild", |checkup| {
                anew(checkup, git).map(|anew| made.insert(anew).done.clone())
            });
        }
        Ok(Examined::Damaged(problems)) => {
            let detail = format!("it is damaged: {}", problems.join("; "));
            checkup.mend("store", detail, "grite rebuild", |checkup| {
                anew(checkup, git).map(|anew| made.insert(anew).done.clone())
            });
        }
        Ok(Examined::Sound(sound)) => {
            checkup.good("store", format!("{} events, each as its name says", sound.events.len()));
            projection(checkup, &sound);
            cycles(checkup, &sound);
            return Some(sound);
        }
    }
    if let Some(lost) = made.as_ref().and_then(|made| made.lost.as_ref()) {
        checkup.bad("lost events", lost, "take them from another clone, or import an export that has them");
    }
    match made.map(|_| examine(&state)) {
        Some(Ok(Examined::Sound(sound))) => Some(sound),
        _ => None,
    }
}

/// What came of making a store anew, in words.
pub struct Anew {
    /// What was done.
    pub done: String,
    /// What is in neither the old store nor git, if anything is.
    pub lost: Option<String>,
}

/// Makes the store of `place` anew from its events and from those that git holds.
///
/// # Errors
/// Why that is not possible, in words.
pub fn rebuild(place: &Place) -> Result<Anew, String> {
    let git = Git::around(&place.state, std::time::Duration::from_secs(600)).ok();
    if let Ok(Examined::Newer(found)) = examine(&place.state) {
        return Err(format!("{found}, which a newer program made; it is left alone; use the newer program"));
    }
    anew(&mut Checkup::new(place, true), git.as_ref())
}

fn anew(checkup: &mut Checkup<'_>, git: Option<&Git>) -> Result<Anew, String> {
    checkup.quiesce()?;
    let state = &checkup.place.state;
    let held = hold(state).map_err(|error| error.to_string())?;
    let found = salvage(state);
    if found.newer > 0 {
        let newer = found.newer;
        return Err(format!(
            "a newer program wrote {newer} of its events; it is left alone; use the newer program"
        ));
    }
    let read = found.events.len();
    let mut seen: BTreeSet<EventId> = BTreeSet::new();
    let mut events: Vec<(Sealed, Way)> = Vec::new();
    let mut add = |event: Sealed, way| {
        let new = seen.insert(event.id());
        if new {
            events.push((event, way));
        }
        new
    };
    let mut from_git = Vec::new();
    let mut marks = Marks::default();
    if let Some(git) = git {
        let contents = contents(git, state).map_err(|error| error.to_string())?;
        // What this clone's own ref holds comes first, and of that what remotes have.
        let have = |event: &Sealed| contents.pushed.values().filter(|ids| ids.contains(&event.id())).count();
        let mut own = contents.own;
        marks.own = contents.tip;
        own.sort_by_cached_key(|event| Reverse(have(event)));
        for (remote, ids) in contents.pushed {
            let count = own.iter().take_while(|event| ids.contains(&event.id())).count();
            marks.pushed.push((remote, count));
        }
        for event in own {
            marks.published += usize::from(add(event, Way::Made));
        }
        from_git = contents.others;
    }
    for (event, way) in found.events {
        add(event, way);
    }
    for event in from_git {
        add(event, Way::Received);
    }
    let from_git = events.len().saturating_sub(read);
    let kept = replace(state, held, &events, &marks).map_err(|error| error.to_string())?;
    let kept = kept.map_or_else(String::new, |kept| format!("; the old one is {}", kept.display()));
    let done = format!(
        "made it anew of {} events: {read} from the old store, {from_git} more from git{kept}",
        events.len()
    );
    let lost = found.lost.iter().filter(|name| name.is_none_or(|name| !seen.contains(&name))).count();
    Ok(Anew { done, lost: loss(lost, read) })
}

/// What it means that `lost` places of a log could not be read and `read` could, in words.
fn loss(lost: usize, read: usize) -> Option<String> {
    match (lost, read) {
        (0, _) => None,
        (_, 0) => {
            Some("nothing of the log could be read, and git may not have all that was in it".to_owned())
        }
        _ => {
            Some(format!("{lost} places of the log could not be read, and git does not have what was there"))
        }
    }
}

/// What git holds.
#[derive(Default)]
struct Contents {
    /// In this clone's own ref, each event once.
    own: Vec<Sealed>,
    /// That ref, and the commit that it names, if all of it can be read.
    tip: Option<(String, String)>,
    /// Which of these each remote has.
    pushed: BTreeMap<String, BTreeSet<EventId>>,
    /// In the refs of others.
    others: Vec<Sealed>,
}

fn contents(git: &Git, state: &Path) -> Result<Contents, GitError> {
    let mut found = Contents::default();
    let own = Actor::read(state).ok().flatten().map(|actor| actor.events());
    for each in refs::event_refs(git)? {
        let (events, whole) = refs::events(git, &each)?;
        // `refs/grite/remotes/<remote>/events/<actor>`, which ends as our own does.
        let tracked = each.name.strip_prefix(TRACKING).and_then(|rest| rest.split_once('/'));
        let ends_as_own = own.as_ref().is_some_and(|own| own.ends_with(tracked.map_or("?", |(_, end)| end)));
        match tracked {
            None if own.as_ref() == Some(&each.name) => {
                let mut seen = BTreeSet::new();
                found.own = events.into_iter().filter(|event| seen.insert(event.id())).collect();
                found.tip = whole.then(|| (each.name, each.id.to_string()));
            }
            Some((remote, _)) if ends_as_own => {
                found.pushed.insert(remote.to_owned(), events.iter().map(Sealed::id).collect());
                found.others.extend(events);
            }
            _ => found.others.extend(events),
        }
    }
    Ok(found)
}

fn projection(checkup: &mut Checkup<'_>, sound: &Sound) {
    if sound.wrong.is_empty() && !sound.miscounted {
        return checkup
            .good("projection", format!("{} issues are what their events make", sound.issues.len()));
    }
    let detail = if sound.wrong.is_empty() {
        "the number of events is not the one that is remembered".to_owned()
    } else {
        format!("{} issues are not what their events make: {}", sound.wrong.len(), names(&sound.wrong))
    };
    checkup.mend("projection", detail, "grite rebuild", |checkup| {
        // A daemon may have read the wrong rows, and would go on with them.
        checkup.quiesce()?;
        let fold = || {
            let mut store = Store::open(&checkup.place.state)?;
            let session = store.begin()?;
            session.rebuild()?;
            session.commit()
        };
        fold().map_err(|error| error.to_string())?;
        Ok::<_, String>("folded all events anew".to_owned())
    });
}

/// Issues that wait for each other, which two clones can bring about together.
fn cycles(checkup: &mut Checkup<'_>, sound: &Sound) {
    let find = |id| sound.issues.get(&id).filter(|issue| issue.creation().is_some());
    let open = |id: &IssueId| find(*id).is_some_and(|issue| issue.state() == State::Open);
    let mut left: BTreeSet<IssueId> = sound.issues.keys().copied().filter(open).collect();
    // Whatever waits for nothing that is left cannot be in a cycle, nor what waits for such alone.
    loop {
        let free: BTreeSet<IssueId> = left
            .iter()
            .copied()
            .filter(|id| !sound.issues[id].depends_on().any(|held| left.contains(&held.on(find))))
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|id| !free.contains(id));
    }
    if left.is_empty() {
        return checkup.good("dependencies", "no open issue waits for itself");
    }
    let stuck: Vec<IssueId> = left.into_iter().collect();
    let detail = format!("{} open issues wait for themselves, or for such: {}", stuck.len(), names(&stuck));
    checkup.bad("dependencies", detail, "take a dependency away: `grite issue dep remove`");
}

fn names(ids: &[IssueId]) -> String {
    let mut names: Vec<String> = ids.iter().take(NAMED).map(IssueId::to_string).collect();
    if ids.len() > NAMED {
        names.push("…".to_owned());
    }
    names.join(", ")
}
