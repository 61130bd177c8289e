//! The two ways in which concurrent writes become one value: [`Register`] and [`AddWins`].
//!
//! Both give the same value whatever the order of the writes, and however often each comes.

use std::collections::{BTreeMap, BTreeSet};

use rkyv::{Archive, Deserialize, Serialize};

use super::{EventId, LogicalTime};

/// When and by whom something was written; the later one wins.
///
/// The fields are compared in this order. The id makes the order total.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Archive, Serialize, Deserialize)]
pub struct Stamp {
    /// The logical time of the write.
    pub time: LogicalTime,
    /// Its author.
    pub actor: String,
    /// The event that wrote.
    pub id: EventId,
}

/// A value whose last writer wins.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Register<T> {
    /// When the value was written.
    pub stamp: Stamp,
    /// The value.
    pub value: T,
}

impl<T> Register<T> {
    /// Lets `slot` hold `value` if `stamp` is later than what it holds.
    pub fn write(slot: &mut Option<Self>, stamp: &Stamp, value: impl FnOnce() -> T) {
        if slot.as_ref().is_none_or(|held| held.stamp < *stamp) {
            *slot = Some(Register { stamp: stamp.clone(), value: value() });
        }
    }
}

/// A set in which an addition that a removal had not seen outlives it.
///
/// An addition is tagged with its event's id, a removal names the tags that it saw. A tag that was
/// removed stays removed, also when its addition arrives later.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct AddWins<T: Ord> {
    /// Never shares a tag with `removed`.
    live: BTreeMap<EventId, T>,
    removed: BTreeSet<EventId>,
}

impl<T: Ord> Default for AddWins<T> {
    fn default() -> Self {
        AddWins { live: BTreeMap::new(), removed: BTreeSet::new() }
    }
}

impl<T: Ord> AddWins<T> {
    /// Adds `value` under `tag`.
    pub fn add(&mut self, tag: EventId, value: T) {
        if !self.removed.contains(&tag) {
            self.live.insert(tag, value);
        }
    }

    /// Removes what `tags` added or will have added.
    pub fn remove(&mut self, tags: &[EventId]) {
        for tag in tags {
            self.live.remove(tag);
            self.removed.insert(*tag);
        }
    }

    /// The values, in order, each once.
    pub fn values(&self) -> BTreeSet<&T> {
        self.live.values().collect()
    }

    /// The tags under which a value that `is_it` stands in the set.
    pub fn tags(&self, is_it: impl Fn(&T) -> bool) -> Vec<EventId> {
        self.live.iter().filter(|(_, value)| is_it(value)).map(|(tag, _)| *tag).collect()
    }

    /// Whether an addition with this tag has come, or its removal.
    pub fn knows(&self, tag: EventId) -> bool {
        self.live.contains_key(&tag) || self.removed.contains(&tag)
    }

    /// Whether a value that `is_it` is in the set.
    pub fn any(&self, is_it: impl Fn(&T) -> bool) -> bool {
        self.live.values().any(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_addition_that_the_removal_had_not_seen_stays() {
        let [first, second] = [EventId::of(b"1"), EventId::of(b"2")];
        let mut set = AddWins::default();
        set.add(first, "x");
        let seen = set.tags(|value| *value == "x");
        set.add(second, "x");
        set.remove(&seen);
        assert_eq!(set.values(), BTreeSet::from([&"x"]));
        set.remove(&[second]);
        assert!(set.values().is_empty());
    }

    #[test]
    fn a_removal_that_comes_before_its_addition_holds() {
        let tag = EventId::of(b"1");
        let mut set = AddWins::default();
        set.remove(&[tag]);
        set.add(tag, "x");
        assert!(!set.any(|_| true));
    }

    #[test]
    fn equal_times_are_decided_by_actor_then_event() {
        let stamp = |actor: &str, name: &[u8]| Stamp {
            time: LogicalTime::from((1, 0)),
            actor: actor.to_owned(),
            id: EventId::of(name),
        };
        let mut slot = None;
        Register::write(&mut slot, &stamp("b", b"1"), || "b");
        Register::write(&mut slot, &stamp("a", b"2"), || "a");
        assert_eq!(slot.unwrap().value, "b");
    }
}
