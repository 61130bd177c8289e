//! The refs in which events travel: whether they name something, whether their chunks are whole, and
//! whether store and refs hold the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use super::checkup::Checkup;
use crate::engine::Engine;
use crate::git::{Git, GitError, Object, Ref, Remote};
use crate::model::{EventId, Sealed};
use crate::scratch::Scratch;
use crate::store::Sound;
use crate::sync::{ALL, Actor, EVENTS, EVENTS_PATTERN, TRACKING, history};

/// For how long a remote may take to send what is damaged here.
const TIMEOUT: Duration = Duration::from_secs(600);

/// How many names a finding has.
const NAMED: usize = 5;

/// What the refs hold.
#[derive(Default)]
struct Contents {
    /// The events, by the ref that holds them.
    events: BTreeMap<String, BTreeSet<EventId>>,
    /// What cannot be read, by the ref that holds it.
    damaged: BTreeMap<String, Vec<String>>,
    /// What a newer program wrote, likewise.
    newer: BTreeMap<String, Vec<String>>,
}

impl Contents {
    /// Whether a ref of the clone `actor`, here or as a remote has it, holds what a newer program wrote.
    fn is_newer(&self, actor: &Actor) -> bool {
        let end = format!("/{actor}");
        self.newer.keys().any(|name| name.ends_with(&end))
    }
}

pub fn check(checkup: &mut Checkup<'_>, git: &Git, sound: Option<&Sound>) {
    if let Err(error) = dangling(checkup, git) {
        return checkup.bad("refs", error, "see what git says");
    }
    let contents = match read(git) {
        Ok(contents) => contents,
        Err(error) => return checkup.bad("chunks", error, "see what git says"),
    };
    let contents = chunks(checkup, git, contents);
    if let Some(sound) = sound {
        exchange(checkup, git, sound, &contents);
    }
}

/// The refs that hold events: this clone's, and what we know of others'.
///
/// # Errors
/// [`GitError`] when git could not be run.
pub fn event_refs(git: &Git) -> Result<Vec<Ref>, GitError> {
    let mut refs = git.refs(EVENTS)?;
    let tracking = git.refs(TRACKING)?;
    refs.extend(tracking.into_iter().filter(|found| found.name.contains("/events/")));
    Ok(refs)
}

/// All events that can be read in the ref `found`, and whether these are all that it holds.
///
/// # Errors
/// [`GitError`] when git could not be run.
pub fn events(git: &Git, found: &Ref) -> Result<(Vec<Sealed>, bool), GitError> {
    let chunks = match history::list(git, &[&found.id], &[]) {
        Ok(chunks) => chunks,
        // A history that git cannot follow has nothing for us.
        Err(GitError::Failed { .. }) => return Ok((Vec::new(), false)),
        Err(error) => return Err(error),
    };
    let (mut all, mut whole) = (Vec::new(), true);
    history::read(git, &chunks, &mut |_, events| match events {
        Ok(events) => all.extend(events),
        Err(_) => whole = false,
    })?;
    Ok((all, whole))
}

/// Refs that name what is not there, which git stumbles over.
fn dangling(checkup: &mut Checkup<'_>, git: &Git) -> Result<(), GitError> {
    let refs = git.refs(ALL)?;
    let ids: Vec<_> = refs.iter().map(|found| found.id.clone()).collect();
    let mut bad: Vec<String> = Vec::new();
    git.objects(&ids, u64::MAX, &mut |index, object| {
        if matches!(object, Object::Unreadable) {
            bad.push(refs[index].name.clone());
        }
    })?;
    bad.extend(git.broken_refs(ALL)?);
    if bad.is_empty() {
        checkup.good("refs", format!("{} refs, and each names something", refs.len()));
        return Ok(());
    }
    let detail = format!("{} refs name nothing that git can read: {}", bad.len(), some(&bad));
    let fix = format!("git update-ref -d {}", bad[0]);
    let own = Actor::read(&checkup.place.state).ok().flatten().map(|actor| actor.events());
    checkup.mend("refs", detail, &fix, |checkup| {
        for name in &bad {
            if git.delete_ref(name).is_err() {
                // What is no ref at all is a file in the way of one.
                fs::remove_file(git.dir().join(name)).map_err(|error| format!("{name}: {error}"))?;
            }
        }
        if own.is_some_and(|own| bad.contains(&own)) {
            publish_anew(checkup, git)?;
            return Ok("removed them, and published the events of this clone again".to_owned());
        }
        Ok::<_, String>("removed them; the next sync fetches what there is".to_owned())
    });
    Ok(())
}

fn read(git: &Git) -> Result<Contents, GitError> {
    let mut contents = Contents::default();
    // Most chunks are in this clone's ref and in what we know of it on the remote.
    let mut known = BTreeMap::new();
    for found in event_refs(git)? {
        let chunks = match history::list(git, &[&found.id], &[]) {
            Ok(chunks) => chunks,
            Err(GitError::Failed { said, .. }) => {
                contents.damaged.entry(found.name).or_default().push(said);
                continue;
            }
            Err(error) => return Err(error),
        };
        let new: Vec<_> = chunks.iter().filter(|chunk| !known.contains_key(*chunk)).cloned().collect();
        history::read(git, &new, &mut |chunk, events| {
            let ids = events.map(|events| events.iter().map(Sealed::id).collect::<Vec<_>>());
            known.insert(chunk.clone(), ids);
        })?;
        for chunk in &chunks {
            match &known[chunk] {
                Ok(ids) => contents.events.entry(found.name.clone()).or_default().extend(ids),
                Err(problem) => {
                    let name = chunk.name.as_deref().unwrap_or("without a name");
                    let words = format!("chunk {name}, blob {}: {problem}", chunk.blob);
                    let kind = if problem.is_newer() { &mut contents.newer } else { &mut contents.damaged };
                    kind.entry(found.name.clone()).or_default().push(words);
                }
            }
        }
    }
    Ok(contents)
}

/// Chunks that are not whole: a remote may have them, and what is this clone's own is in its store.
fn chunks(checkup: &mut Checkup<'_>, git: &Git, contents: Contents) -> Contents {
    if !contents.newer.is_empty() {
        let named = named(&contents.newer);
        let detail = format!("{} are of a newer program, and are left alone: {}", named.len(), some(&named));
        checkup.bad("newer chunks", detail, "use the newer program");
    }
    if contents.damaged.is_empty() {
        let events: usize = contents.events.values().map(BTreeSet::len).sum();
        checkup
            .good("chunks", format!("all are whole, with {events} events in {} refs", contents.events.len()));
        return contents;
    }
    let named = named(&contents.damaged);
    let detail = format!("{} cannot be read: {}", named.len(), some(&named));
    let mut after = None;
    checkup.mend("chunks", detail, "fetch them anew: `grite doctor --fix`", |checkup| {
        let mut done = Vec::new();
        let remotes = git.remotes().map_err(|error| error.to_string())?;
        let patient = Git::around(&checkup.place.state, TIMEOUT).map_err(|error| error.to_string())?;
        for remote in &remotes {
            match mend_from(&patient, remote) {
                Ok(count) => done.push(format!("fetched {count} objects from {} anew", remote.name())),
                Err(error) => done.push(format!("could not fetch from {}: {error}", remote.name())),
            }
        }
        let mut now = read(git).map_err(|error| error.to_string())?;
        let own = Actor::read(&checkup.place.state).map_err(|error| error.to_string())?;
        let own = own.filter(|own| now.damaged.contains_key(&own.events()));
        if own.as_ref().is_some_and(|own| now.is_newer(own)) {
            done.push("left the ref of this clone alone, which a newer program has written to".to_owned());
        } else if let Some(own) = own {
            publish_as_another(checkup, git, &own, &remotes)?;
            done.push("published the events of this clone again, under a new name".to_owned());
            now = read(git).map_err(|error| error.to_string())?;
        }
        // The remote keeps the old ref, whole or not, until its next push.
        let left: Vec<&String> = now.damaged.keys().collect();
        let done = done.join(", ");
        let result = if left.is_empty() {
            Ok(done)
        } else {
            let left: Vec<String> = left.into_iter().cloned().collect();
            Err(format!(
                "{done}, and {} is damaged still; run `grite doctor --fix` in the clone that made it",
                some(&left)
            ))
        };
        after = Some(now);
        result
    });
    after.unwrap_or(contents)
}

/// Each with the ref that holds it.
fn named(problems: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let named =
        problems.iter().flat_map(|(name, each)| each.iter().map(move |each| format!("{name}: {each}")));
    named.collect()
}

/// Puts what `remote` has in the place of what is damaged here.
fn mend_from(git: &Git, remote: &Remote) -> Result<usize, String> {
    let scratch = Scratch::new().map_err(|error| error.message)?;
    let mend = || {
        let aside = git.aside(&scratch.path().join("git"))?;
        let refs = aside.fetch(remote, EVENTS_PATTERN)?;
        git.mend_from(&aside, &refs)
    };
    mend().map_err(|error: GitError| error.to_string())
}

/// Whether the store has what the refs hold, and this clone's ref what the store says it holds.
fn exchange(checkup: &mut Checkup<'_>, git: &Git, sound: &Sound, contents: &Contents) {
    let stored: BTreeSet<&EventId> = sound.events.iter().collect();
    let missing: BTreeSet<&EventId> =
        contents.events.values().flatten().filter(|event| !stored.contains(event)).collect();
    if missing.is_empty() {
        checkup.good("events", "the store has all that the refs hold");
    } else {
        let detail = format!("{} events are in refs and not in the store", missing.len());
        checkup.mend("events", detail, "grite rebuild", |checkup| {
            let engine = Engine::open(&checkup.place.state).map_err(|error| error.to_string())?;
            let refs = event_refs(git).map_err(|error| error.to_string())?;
            let taken = engine.read_again(git, refs).map_err(|refusal| refusal.message)?;
            Ok::<_, String>(format!("took in {taken}"))
        });
    }
    let own = match Actor::read(&checkup.place.state) {
        Ok(Some(own)) if contents.is_newer(&own) => {
            return checkup.good("published", "a newer program has written to the ref of this clone");
        }
        Ok(own) => own.and_then(|own| contents.events.get(&own.events())),
        Err(error) => {
            let fix = "remove the file `actor` in the state folder; the next sync makes another";
            return checkup.bad("published", format!("the file `actor` cannot be used: {error}"), fix);
        }
    };
    let published = match published(checkup) {
        Ok(published) => published,
        Err(error) => return checkup.bad("published", error, "grite rebuild"),
    };
    let absent = published.iter().filter(|event| own.is_none_or(|own| !own.contains(event))).count();
    if absent == 0 {
        return checkup.good("published", format!("{} events of this clone are in its ref", published.len()));
    }
    let detail = format!("{absent} events of this clone are said to be in its ref, and are not");
    checkup.mend("published", detail, "grite doctor --fix", |checkup| {
        publish_anew(checkup, git)?;
        Ok::<_, String>("published them again; the next sync sends them".to_owned())
    });
}

fn published(checkup: &Checkup<'_>) -> Result<Vec<EventId>, String> {
    let store = crate::store::Store::open(&checkup.place.state).map_err(|error| error.to_string())?;
    store.published_events().map_err(|error| error.to_string())
}

/// Publishes all that was made here once more.
fn publish_anew(checkup: &Checkup<'_>, git: &Git) -> Result<(), String> {
    let engine = Engine::open(&checkup.place.state).map_err(|error| error.to_string())?;
    engine.publish_again(git).map_err(|refusal| refusal.message)
}

/// Publishes all that was made here under a new name, pushes it, and takes the old ref away everywhere.
fn publish_as_another(
    checkup: &Checkup<'_>,
    git: &Git,
    old: &Actor,
    remotes: &[Remote],
) -> Result<(), String> {
    let words = |error: GitError| error.to_string();
    let engine = Engine::open(&checkup.place.state).map_err(|error| error.to_string())?;
    let new = engine.publish_as_another(git).map_err(|refusal| refusal.message)?;
    for remote in remotes {
        // Nothing of the old ref goes before the new one is there.
        git.push(remote, &format!("{0}:{0}", new.events()), None).map_err(words)?;
        let tracking = old.tracking(remote);
        if let Some(there) = git.resolve(&tracking).map_err(words)? {
            git.push(remote, &format!(":{}", old.events()), Some(Some(&there))).map_err(words)?;
        }
        git.delete_ref(&tracking).map_err(words)?;
    }
    git.delete_ref(&old.events()).map_err(words)
}

fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let mut shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let rest = format!("and {more} more");
    if more > 0 {
        shown.push(&rest);
    }
    shown.join("; ")
}
