//! Once buffers have grown, a request allocates nothing: counted on all threads of a process that has both
//! sides.
#![cfg(not(loom))]

mod common;

use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use common::{WAYS, Way};
use libgrite_ipc::{
    Client, ClientBuilder, Encoded, Lent, Pending, Protocol, Responder, Server, Transport, WaitStrategy,
    testing, wire,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

wire! {
    /// What is asked.
    pub enum Question {
        /// How long these words are.
        Count(Vec<String>),
        /// The same words again.
        Say(String),
        /// A story that was archived before.
        Story,
    }

    /// What is answered.
    pub enum Answer<'a> {
        /// So many bytes.
        Count(u64),
        /// What was to be said, lent by the question.
        Said(Lent<'a, str>),
        /// Chapters.
        Story(Vec<String>),
    }
}

enum Library {}

impl Protocol for Library {
    type Request = Question;
    type Response = Answer<'static>;
    const NAME: &'static str = "library";
    const VERSION: u16 = 1;
}

/// Answers without allocating anything itself.
fn librarian() -> impl Fn(&ArchivedQuestion, Responder<Library>) + Send + Sync + 'static {
    let chapters = (0..8).map(|chapter| format!("{chapter}: once upon a time. ").repeat(5)).collect();
    let story = Encoded::new(&Answer::Story(chapters)).unwrap();
    move |question, responder| {
        let answered = match question {
            ArchivedQuestion::Count(words) => {
                responder.reply(&Answer::Count(words.iter().map(|word| word.len() as u64).sum()))
            }
            ArchivedQuestion::Say(words) => responder.reply_lent(&Answer::Said(words.as_str().into())),
            ArchivedQuestion::Story => responder.reply_encoded(&story),
        };
        answered.unwrap();
    }
}

/// Reads all of an answer; says how long it is.
fn length_of(answer: &ArchivedAnswer<'_>) -> u64 {
    match answer {
        ArchivedAnswer::Count(length) => length.to_native(),
        ArchivedAnswer::Said(words) => words.len() as u64,
        ArchivedAnswer::Story(chapters) => chapters.iter().map(|chapter| chapter.len() as u64).sum(),
    }
}

/// Asks so many times, one question at a time.
fn ask_singly(client: &mut Client<Library>, question: &Question, length: u64, times: usize) {
    for _ in 0..times {
        assert_eq!(length_of(&client.send(question).unwrap()), length);
    }
}

/// Asks so many times, with eight questions on their way.
fn ask_ahead(client: &mut Client<Library>, question: &Question, length: u64, times: usize) {
    let mut open = [const { None }; 8];
    let claim = |pending: Option<Pending<'_, Library>>| {
        if let Some(pending) = pending {
            assert_eq!(length_of(&pending.wait().unwrap()), length);
        }
    };
    for turn in 0..times {
        claim(open[turn % 8].take());
        open[turn % 8] = Some(client.start(question).unwrap());
    }
    open.into_iter().for_each(claim);
}

/// What all threads allocate while `work` runs.
fn allocated_by(work: impl FnOnce()) -> Stats {
    let region = Region::new(COUNTING);
    work();
    region.change()
}

type Asking = fn(&mut Client<Library>, &Question, u64, usize);

/// How many requests are counted at a time.
const PART: usize = 2_000;

/// How many times a part may be tried.
///
/// What happens beside requests now and then is counted with them: the beat of a client's watchdog each second, the
/// first time that a busy machine lets a queue grow longer than before, and what the test's own harness says. What
/// each request did would be in every try.
const TRIES: u32 = 5;

/// Has all questions asked in both ways, on a client whose buffers have grown.
///
/// A server without epoll lists its sockets anew for each wait, of which there is one a request.
fn ask_ten_thousand_times(client: &mut Client<Library>, case: &str) {
    let polls = cfg!(not(all(target_os = "linux", not(grite_portable)))) && !client.uses_ring();
    let most = if polls { PART + 1 } else { 0 };
    let is_little = |stats: &Stats| stats.allocations + stats.reallocations <= most;
    let words = ["a", "few", "words", "of which one is longer than the others"].map(str::to_owned);
    let questions = [
        (Question::Count(words.into()), 47),
        (Question::Say("x".repeat(5_000)), 5_000),
        (Question::Story, 8 * 5 * 21),
    ];
    for (question, length) in &questions {
        for (way, ask) in [("singly", ask_singly as Asking), ("ahead", ask_ahead)] {
            ask(client, question, *length, 1_000);
            for _ in 0..10_000 / PART {
                let mut tries = (0..TRIES).map(|_| allocated_by(|| ask(client, question, *length, PART)));
                let least = tries.find(is_little);
                assert!(least.is_some(), "{case}, {way}, {length} bytes: each try allocated");
            }
        }
    }
}

/// One test, since another one would be counted, too.
#[test]
fn ten_thousand_hot_requests_allocate_nothing_on_either_side() {
    let elsewhere = allocated_by(|| std::thread::spawn(|| drop(Box::new(1))).join().unwrap());
    assert!(elsewhere.allocations > 0, "what other threads allocate is counted");
    for way in WAYS {
        let waits: &[WaitStrategy] = match way {
            Way::Ring => &[WaitStrategy::Adaptive, WaitStrategy::Spin, WaitStrategy::Park],
            Way::Socket | Way::Pair => &[WaitStrategy::Adaptive],
        };
        for wait in waits {
            let builder = Client::<Library>::builder().wait(*wait);
            let case = format!("{way:?}, {wait:?}");
            match way {
                Way::Pair => ask_ten_thousand_times(&mut testing::pair_serving(&builder, librarian()), &case),
                Way::Ring => ask_a_server(builder.transport(Transport::Ring), &case),
                Way::Socket => ask_a_server(builder.transport(Transport::Socket), &case),
            }
        }
    }
}

fn ask_a_server(builder: ClientBuilder<Library>, case: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("library.sock");
    let server = Server::<Library>::bind(&path).unwrap();
    let stop = server.handle();
    std::thread::scope(|scope| {
        let served = scope.spawn(|| server.serve_with(librarian()));
        let asked = catch_unwind(AssertUnwindSafe(|| {
            ask_ten_thousand_times(&mut builder.connect(&path).unwrap(), case);
        }));
        stop.stop();
        served.join().unwrap().unwrap();
        asked.unwrap_or_else(|panic| resume_unwind(panic));
    });
}
