//! An [`Issue`]: what a set of events adds up to.
//!
//! [`Issue::apply`] may be called in any order, any number of times for each event, and before the
//! event that creates the issue has come: the result depends on the set alone. Such an issue, of
//! which things are known but not its creation, exists in the store and is shown to nobody.

use rkyv::{Archive, Deserialize, Serialize};

use super::{AddWins, EventId, IssueId, LogicalTime, Moment, Operation, Origin, Register, Sealed, Stamp};

/// How many copies of copies are followed to the original: more than come about, and few to look at.
const MOST_COPIES: usize = 64;

/// What a set of events adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Issue {
    created: Option<Register<Creation>>,
    title: Option<Register<String>>,
    body: Option<Register<String>>,
    state: Option<Register<State>>,
    labels: AddWins<String>,
    assignees: AddWins<String>,
    depends_on: AddWins<Dependency>,
    /// Ordered by time, then id, without repetition.
    remarks: Vec<Remark>,
    touched: Option<Touch>,
    /// The latest event of all.
    latest: Option<Stamp>,
}

/// Where an issue came from.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Creation {
    /// Who wrote it.
    pub author: String,
    /// When.
    pub at: Moment,
    /// The id that it was imported with.
    pub source: Option<String>,
}

/// Whether work on an issue is done.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is not.
    Open,
    /// It is.
    Closed,
}

/// An issue that another one waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Archive, Serialize, Deserialize)]
pub struct Dependency {
    /// Its id.
    pub issue: IssueId,
    /// The id that it came with, where the dependency was imported.
    pub source: Option<String>,
}

impl Dependency {
    /// The issue that is waited for. Where `find` knows one that goes by its own id, and that is the name here, it
    /// is meant, and not an issue of another tracker.
    pub fn on<'a>(&self, find: impl Fn(IssueId) -> Option<&'a Issue>) -> IssueId {
        let named = self.source.as_ref().and_then(|source| source.parse().ok());
        let known = |id: &IssueId| find(*id).is_some_and(|issue| issue.goes_by_own_id(&find));
        named.filter(known).unwrap_or(self.issue)
    }
}

/// A comment.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Remark {
    /// Orders the comments of an issue.
    pub time: LogicalTime,
    /// The event that said it; orders comments of one time.
    pub id: EventId,
    /// How the event came into being.
    pub origin: Origin,
    /// Who said it.
    pub author: String,
    /// When.
    pub at: Moment,
    /// What was said.
    pub body: String,
}

impl Remark {
    /// Whether both are the same words of the same author at the same instant.
    fn says_as_much_as(&self, other: &Remark) -> bool {
        self.at == other.at && self.author == other.author && self.body == other.body
    }
}

/// When the values of an issue were written; a later write must be later than these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub creation: Option<LogicalTime>,
    pub title: Option<LogicalTime>,
    pub body: Option<LogicalTime>,
    pub state: Option<LogicalTime>,
}

/// When an issue last changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Archive, Serialize, Deserialize)]
struct Touch {
    at: Moment,
    /// Decides between two texts of one instant.
    stamp: Stamp,
}

impl Issue {
    /// Takes an event of this issue into account.
    pub fn apply(&mut self, sealed: &Sealed) {
        let event = sealed.event();
        let stamp = Stamp { time: event.time, actor: event.actor.clone(), id: sealed.id() };
        match &event.op {
            Operation::Create { source, nonce: _, title, body } => {
                let creation =
                    || Creation { author: event.actor.clone(), at: event.at.clone(), source: source.clone() };
                Register::write(&mut self.created, &stamp, creation);
                Register::write(&mut self.title, &stamp, || title.clone());
                Register::write(&mut self.body, &stamp, || body.clone());
                Register::write(&mut self.state, &stamp, || State::Open);
            }
            Operation::SetTitle(title) => Register::write(&mut self.title, &stamp, || title.clone()),
            Operation::SetBody(body) => Register::write(&mut self.body, &stamp, || body.clone()),
            Operation::SetState(state) => Register::write(&mut self.state, &stamp, || *state),
            Operation::AddLabel(label) => self.labels.add(sealed.id(), label.clone()),
            Operation::RemoveLabel(tags) => self.labels.remove(tags),
            Operation::AddAssignee(assignee) => self.assignees.add(sealed.id(), assignee.clone()),
            Operation::RemoveAssignee(tags) => self.assignees.remove(tags),
            Operation::AddDependency { issue, source } => {
                self.depends_on.add(sealed.id(), Dependency { issue: *issue, source: source.clone() });
            }
            Operation::RemoveDependency(tags) => self.depends_on.remove(tags),
            Operation::Comment(body) => self.say(Remark {
                time: event.time,
                id: sealed.id(),
                origin: event.origin,
                author: event.actor.clone(),
                at: event.at.clone(),
                body: body.clone(),
            }),
        }
        if touches(event.origin, &event.op) {
            let touch = Touch { at: event.at.clone(), stamp: stamp.clone() };
            self.touched = self.touched.take().max(Some(touch));
        }
        self.latest = self.latest.take().max(Some(stamp));
    }

    /// Where it came from; absent until the event that creates it has come.
    pub fn creation(&self) -> Option<&Creation> {
        self.created.as_ref().map(|register| &register.value)
    }

    /// Whether exports name it by its own id, and not by the one that it came with. So they name what was made with
    /// this program, and also a copy of that: a file brought it to a clone that had not seen the original yet, and
    /// the other name is the original's own.
    pub fn goes_by_own_id<'a>(&'a self, find: impl Fn(IssueId) -> Option<&'a Issue>) -> bool {
        let mut issue = self;
        for _ in 0..=MOST_COPIES {
            let Some(creation) = issue.creation() else { return false };
            let Some(source) = &creation.source else { return true };
            match source.parse().ok().and_then(&find) {
                Some(original) => issue = original,
                None => return false,
            }
        }
        false
    }

    pub fn title(&self) -> &str {
        self.title.as_ref().map_or("", |register| &register.value)
    }

    pub fn body(&self) -> &str {
        self.body.as_ref().map_or("", |register| &register.value)
    }

    pub fn state(&self) -> State {
        self.state.as_ref().map_or(State::Open, |register| register.value)
    }

    pub fn labels(&self) -> &AddWins<String> {
        &self.labels
    }

    pub fn assignees(&self) -> &AddWins<String> {
        &self.assignees
    }

    pub fn depends_on(&self) -> &AddWins<Dependency> {
        &self.depends_on
    }

    /// The comments, oldest first.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// When it last changed; when it was created, if it never did.
    pub fn updated_at(&self) -> Option<&Moment> {
        self.touched_at().or(self.creation().map(|creation| &creation.at))
    }

    /// When an event last said that it changed, if one ever did.
    pub fn touched_at(&self) -> Option<&Moment> {
        self.touched.as_ref().map(|touch| &touch.at)
    }

    /// When each of its values was written.
    pub fn times(&self) -> Times {
        fn time<T>(register: &Option<Register<T>>) -> Option<LogicalTime> {
            register.as_ref().map(|register| register.stamp.time)
        }
        Times {
            creation: time(&self.created),
            title: time(&self.title),
            body: time(&self.body),
            state: time(&self.state),
        }
    }

    /// The latest event of all.
    pub fn latest(&self) -> Option<&Stamp> {
        self.latest.as_ref()
    }

    /// How many bytes of text it holds.
    pub fn text_len(&self) -> usize {
        self.title().len()
            + self.body().len()
            + self.remarks.iter().map(|remark| remark.body.len()).sum::<usize>()
    }

    /// Takes in a comment. An imported one that repeats one made with this program came from an export of it,
    /// and is not a second one.
    fn say(&mut self, remark: Remark) {
        let key = (remark.time, remark.id);
        let instant = LogicalTime::from((remark.at.milliseconds(), 0));
        // Neither is older than its instant, which both have: what is older need not be looked at.
        if remark.time >= instant {
            let start = self.remarks.partition_point(|held| held.time < instant);
            let same = |held: &Remark| held.origin != remark.origin && held.says_as_much_as(&remark);
            match remark.origin {
                Origin::Import if self.remarks[start..].iter().any(same) => return,
                Origin::Import => {}
                Origin::Command => {
                    let later = self.remarks.split_off(start);
                    self.remarks.extend(later.into_iter().filter(|held| !same(held)));
                }
            }
        }
        if let Err(place) = self.remarks.binary_search_by_key(&key, |held| (held.time, held.id)) {
            self.remarks.insert(place, remark);
        }
    }
}

/// Whether an event says when its issue last changed.
///
/// An export states that outright, and its import carries the statement with the state. The other
/// events of an import are older than the statement or are covered by it.
fn touches(origin: Origin, op: &Operation) -> bool {
    match origin {
        Origin::Command => true,
        Origin::Import => matches!(op, Operation::SetState(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;
    use crate::model::Event;

    /// The first of the instants at which things happen, in milliseconds.
    const MIDNIGHT: i64 = 1_767_225_600_000;

    /// A history of one issue by several actors, most of whom have not seen all that came before.
    fn history(dice: &mut Dice) -> Vec<Sealed> {
        let source = "s-1";
        let issue = IssueId::of_source(source);
        let mut events: Vec<Sealed> = Vec::new();
        for _ in 0..2 + dice.roll(40) {
            // Coarse clocks, so that equal times are common, some of which are before the instants below.
            let milliseconds = MIDNIGHT - 3 + dice.roll(6) as i64;
            let word = ["x", "y", "z"][dice.roll(3)].to_owned();
            let tags = |dice: &mut Dice| {
                let count = if events.is_empty() { 0 } else { dice.roll(3) };
                (0..count).map(|_| events[dice.roll(events.len())].id()).collect::<Vec<_>>()
            };
            let op = match dice.roll(11) {
                0 => Operation::Create {
                    source: Some(source.to_owned()),
                    nonce: None,
                    title: word,
                    body: String::new(),
                },
                1 => Operation::SetTitle(word),
                2 => Operation::SetBody(word),
                3 => Operation::SetState([State::Open, State::Closed][dice.roll(2)]),
                4 => Operation::AddLabel(word),
                5 => Operation::RemoveLabel(tags(dice)),
                6 => Operation::AddAssignee(word),
                7 => Operation::RemoveAssignee(tags(dice)),
                8 => Operation::AddDependency { issue: IssueId::of_source(&word), source: Some(word) },
                9 => Operation::RemoveDependency(tags(dice)),
                _ => Operation::Comment(word),
            };
            let event = Event {
                v: Event::VERSION,
                actor: ["ann", "bob", "cyd"][dice.roll(3)].to_owned(),
                time: LogicalTime::from((milliseconds, dice.roll(2) as u32)),
                at: Moment::parse(
                    ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00.001Z"]
                        [dice.roll(3)],
                )
                .unwrap(),
                origin: [Origin::Command, Origin::Import][dice.roll(2)],
                issue: Some(issue),
                cause: None,
                op,
            };
            events.push(Sealed::seal(event).unwrap());
        }
        events
    }

    fn fold(events: &[Sealed]) -> Issue {
        let mut issue = Issue::default();
        events.iter().for_each(|event| issue.apply(event));
        issue
    }

    #[test]
    fn any_order_and_any_repetition_give_the_same_issue() {
        for seed in 0..300 {
            let mut dice = Dice(seed);
            let mut events = history(&mut dice);
            let expected = fold(&events);
            for _ in 0..5 {
                let again: Vec<Sealed> =
                    (0..dice.roll(10)).map(|_| events[dice.roll(events.len())].clone()).collect();
                events.extend(again);
                dice.shuffle(&mut events);
                let folded = fold(&events);
                assert_eq!(folded, expected, "seed {seed}");
                // Equal moments may have different texts, and the text is what people see.
                assert_eq!(format!("{folded:?}"), format!("{expected:?}"), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_folded_issue_that_was_stored_goes_on_as_if_it_had_not_been() {
        for seed in 0..100 {
            let mut dice = Dice(seed);
            let events = history(&mut dice);
            let (before, after) = events.split_at(dice.roll(events.len()));
            let stored = fold(before).to_folded().unwrap();
            let mut issue = Issue::from_folded(&stored).unwrap();
            after.iter().for_each(|event| issue.apply(event));
            assert_eq!(issue, fold(&events), "seed {seed}");
        }
    }

    #[test]
    fn an_issue_whose_creation_has_not_come_is_not_created() {
        let mut dice = Dice(1);
        let mut late: Vec<Sealed> = history(&mut dice);
        late.retain(|event| !matches!(event.event().op, Operation::Create { .. }));
        assert!(fold(&late).creation().is_none());
    }

    #[test]
    fn copies_of_copies_go_by_their_own_ids_where_the_original_is_known() {
        let mut issues: Vec<(IssueId, Issue)> = Vec::new();
        for number in 0..=MOST_COPIES + 1 {
            let source = issues.last().map(|(id, _)| id.to_string());
            let event = Event {
                v: Event::VERSION,
                actor: "ann".to_owned(),
                time: LogicalTime::from((MIDNIGHT, 0)),
                at: Moment::parse("2026-01-01T00:00:00Z").unwrap(),
                origin: Origin::Command,
                issue: source.as_deref().map(IssueId::of_source),
                cause: None,
                op: Operation::Create { source, nonce: None, title: number.to_string(), body: String::new() },
            };
            let sealed = Sealed::seal(event).unwrap();
            issues.push((sealed.issue(), fold(&[sealed])));
        }
        let by_own_id = |known: &[(IssueId, Issue)]| {
            let find = |id| known.iter().find(|(held, _)| *held == id).map(|(_, issue)| issue);
            known.iter().filter(|(_, issue)| issue.goes_by_own_id(find)).count()
        };
        assert_eq!(by_own_id(&issues), MOST_COPIES + 1);
        assert_eq!(by_own_id(&issues[1..]), 0);
    }
}
