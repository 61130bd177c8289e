//! Random histories of several clones: whatever order, repetition and delay their chunks arrive with, all
//! clones end with the same issues.
//!
//! `GRITE_TEST_HISTORIES=5000` for the long run; a seed that fails is named.

use std::collections::BTreeMap;

use super::chunk::{self, Chunk};
use crate::dice::Dice;
use crate::model::{
    AddWins, Event, EventId, Issue, IssueId, LogicalTime, Moment, Operation, Origin, Sealed, State,
};

/// A clone: what it has seen, and the chunks that it published.
#[derive(Default)]
struct Clone {
    name: String,
    /// Its clock is off by so many milliseconds.
    skew: i64,
    issues: BTreeMap<IssueId, Issue>,
    unpublished: Vec<Sealed>,
    published: Vec<Chunk>,
    /// By clone and chunk, what it has not seen yet.
    coming: Vec<(usize, usize)>,
}

impl Clone {
    fn write(&mut self, dice: &mut Dice, now: i64) {
        let known: Vec<IssueId> =
            self.issues.iter().filter(|(_, issue)| issue.creation().is_some()).map(|(id, _)| *id).collect();
        let word = (*dice.pick(&["x", "y", "z"])).to_owned();
        let (issue, op) = if known.is_empty() || dice.roll(8) == 0 {
            // Half of them come from a file that several clones import.
            let source = (dice.roll(2) == 0).then(|| format!("s-{}", dice.roll(3)));
            let nonce = source.is_none().then(|| dice.roll(usize::MAX).to_string());
            let id = source.as_deref().map(IssueId::of_source);
            (id, Operation::Create { source, nonce, title: word, body: String::new() })
        } else {
            let id = *dice.pick(&known);
            let held = &self.issues[&id];
            let op = match dice.roll(10) {
                0 => Operation::SetTitle(word),
                1 => Operation::SetBody(word),
                2 => Operation::SetState(*dice.pick(&[State::Open, State::Closed])),
                3 => Operation::AddLabel(word),
                4 => Operation::RemoveLabel(tags(held.labels(), &word)),
                5 => Operation::AddAssignee(word),
                6 => Operation::RemoveAssignee(tags(held.assignees(), &word)),
                7 => Operation::AddDependency { issue: *dice.pick(&known), source: None },
                8 => Operation::RemoveDependency(held.depends_on().tags(|_| true)),
                _ => Operation::Comment(word),
            };
            (Some(id), op)
        };
        let latest = issue.and_then(|id| self.issues.get(&id)).and_then(Issue::latest);
        let event = Event {
            v: Event::VERSION,
            actor: self.name.clone(),
            time: LogicalTime::after(latest.map(|stamp| stamp.time), now + self.skew),
            at: Moment::parse("2026-01-02T03:04:05Z").unwrap(),
            origin: Origin::Command,
            issue,
            cause: latest.map(|stamp| stamp.id),
            op,
        };
        let sealed = Sealed::seal(event).unwrap();
        self.see(&sealed);
        self.unpublished.push(sealed);
    }

    fn see(&mut self, event: &Sealed) {
        self.issues.entry(event.issue()).or_default().apply(event);
    }
}

fn tags(set: &AddWins<String>, word: &str) -> Vec<EventId> {
    set.tags(|held| held == word)
}

/// Lets a history happen, and says whether all clones have the same issues at its end.
fn converges(seed: u64) -> bool {
    let mut dice = Dice(seed);
    let count = 2 + dice.roll(4);
    let mut clones: Vec<Clone> = (0..count)
        .map(|number| Clone {
            name: (*dice.pick(&["ann", "bob"])).to_owned(),
            skew: [0, -5_000, 60_000][number % 3],
            ..Clone::default()
        })
        .collect();
    let steps = 20 + dice.roll(120);
    for step in 0..steps {
        let number = dice.roll(count);
        match dice.roll(3) {
            0 | 1 => clones[number].write(&mut dice, step as i64 / 4),
            _ => {
                publish(&mut clones, number);
                let arrivals = dice.roll(4);
                (0..arrivals).for_each(|_| arrive(&mut clones, number, &mut dice));
            }
        }
    }
    for number in 0..count {
        publish(&mut clones, number);
    }
    for number in 0..count {
        while !clones[number].coming.is_empty() {
            arrive(&mut clones, number, &mut dice);
        }
    }
    // Equal moments may have different texts, and the text is what people see.
    let shown = |clone: &Clone| format!("{:?}", clone.issues);
    let first = shown(&clones[0]);
    clones.iter().all(|clone| clone.issues == clones[0].issues && shown(clone) == first)
}

fn publish(clones: &mut [Clone], number: usize) {
    let events = std::mem::take(&mut clones[number].unpublished);
    // One event a chunk, so that they come apart from each other and before what they are about.
    for event in &events {
        let chunk = chunk::write([event.bytes()]).remove(0);
        let place = (number, clones[number].published.len());
        clones[number].published.push(chunk);
        let others = clones.iter_mut().enumerate().filter(|(other, _)| *other != number);
        others.for_each(|(_, clone)| clone.coming.push(place));
    }
}

/// Lets a clone see some chunk that it has not seen, and perhaps one that it has.
fn arrive(clones: &mut [Clone], number: usize, dice: &mut Dice) {
    if clones[number].coming.is_empty() {
        return;
    }
    let index = dice.roll(clones[number].coming.len());
    let (from, place) = if dice.roll(5) == 0 {
        clones[number].coming[index]
    } else {
        clones[number].coming.swap_remove(index)
    };
    let chunk = &clones[from].published[place];
    let events = chunk::read(&chunk.name, &chunk.bytes).unwrap();
    events.iter().for_each(|event| clones[number].see(event));
}

#[test]
fn clones_converge_whatever_the_order_and_repetition() {
    let histories =
        std::env::var("GRITE_TEST_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(200);
    for seed in 0..histories {
        assert!(converges(seed), "seed {seed}");
    }
}
