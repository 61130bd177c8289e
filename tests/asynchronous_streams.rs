//! What is promised of answers in parts and of notifications in async code.
#![cfg(all(feature = "tokio", not(loom)))]

mod common;

use std::time::Duration;

use common::runtimes::{one_thread, several_threads};
use common::{Way, pattern, served_ways, stop_after};
use libgrite_ipc::{
    AsyncClient, Client, Error, ErrorKind, Notice, Notifies, Protocol, Publisher, Responder, Server, Since,
    Transport, Wire, wire,
};

wire! {
    /// Answer in so many parts.
    pub struct Split {
        /// How many.
        pub count: u64,
        /// How many bytes each has.
        pub length: u32,
    }

    /// A part.
    pub struct Part {
        /// Which one.
        pub number: u64,
        /// So many bytes.
        pub bytes: Vec<u8>,
    }

    /// Something has happened.
    pub struct Event {
        /// Its sequence number, as its publisher counts.
        pub number: u64,
        /// So many bytes.
        pub bytes: Vec<u8>,
    }
}

enum News {}

impl Protocol for News {
    type Request = Split;
    type Response = Part;
    const NAME: &'static str = "parts and news";
    const VERSION: u16 = 1;
    const NOTIFICATION: Option<u64> = Some(Event::LAYOUT);
}

impl Notifies for News {
    type Notification = Event;
}

const SOON: Duration = Duration::from_secs(20);

fn send_parts(split: &ArchivedSplit, mut responder: Responder<News>) -> Result<(), Error> {
    let (count, length) = (split.count.to_native(), split.length.to_native() as usize);
    for number in 0..count {
        responder.send_part(&Part { number, bytes: pattern(length) })?;
    }
    responder.reply(&Part { number: count, bytes: Vec::new() })
}

/// Runs `ask` with a small ring in each flavour of runtime, beside a server that sends parts.
fn served(ask: impl AsyncFn(Way, AsyncClient<News>, &Publisher<News>)) {
    for way in served_ways() {
        for runtime in [one_thread(), several_threads()] {
            let folder = tempfile::tempdir().unwrap();
            let server =
                Server::<News>::builder().may_block(|_| true).bind(folder.path().join("news.sock")).unwrap();
            let (stop, publisher, path) = (server.handle(), server.publisher(), server.path().to_owned());
            std::thread::scope(|scope| {
                let serving = scope.spawn(|| {
                    server.serve_with(|split, responder| {
                        // A client that reads no further is told nothing.
                        let _ = send_parts(split, responder);
                    })
                });
                stop_after(&stop, || {
                    runtime.block_on(async {
                        let transport = if way == Way::Ring { Transport::Ring } else { Transport::Socket };
                        let builder = Client::<News>::builder().transport(transport).reply_ring(4096);
                        ask(way, builder.connect_async(&path).await.unwrap(), &publisher).await;
                    });
                });
                serving.join().unwrap().unwrap();
            });
        }
    }
}

#[test]
fn an_answer_in_parts_comes_whole_and_in_order_through_a_small_ring() {
    served(async |way, client, _| {
        for length in [0, 100, 5000, 100_000] {
            let mut parts = client.stream(&Split { count: 40, length }).await.unwrap();
            for number in 0..=40u64 {
                let part = parts.next().await.unwrap().expect("there is one more part");
                let expected = if number < 40 { pattern(length as usize) } else { Vec::new() };
                assert!(part.number == number && part.bytes == expected[..], "{length} bytes over {way:?}");
            }
            assert!(parts.next().await.unwrap().is_none());
        }
        // Who wants one piece is told.
        let error = client.send(&Split { count: 40, length: 5000 }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    });
}

#[test]
fn a_wait_for_a_part_that_is_dropped_loses_none() {
    served(async |way, client, _| {
        let mut parts = client.stream(&Split { count: 300, length: 700 }).await.unwrap();
        let mut number = 0;
        loop {
            let wait = Duration::from_micros(number * 7 % 50);
            match tokio::time::timeout(wait, parts.next()).await {
                Ok(Ok(Some(part))) => {
                    assert_eq!(part.number, number, "over {way:?}");
                    number += 1;
                }
                Ok(ended) => break assert!(ended.unwrap().is_none()),
                Err(_) => tokio::task::yield_now().await,
            }
        }
        assert_eq!(number, 301);
    });
}

#[test]
fn parts_that_nobody_reads_hold_up_no_other_request() {
    served(async |_, client, _| {
        let mut unread = client.stream(&Split { count: 1000, length: 3000 }).await.unwrap();
        assert_eq!(unread.next().await.unwrap().unwrap().number, 0);
        for _ in 0..20 {
            client.send(&Split { count: 0, length: 0 }).await.unwrap();
        }
        let mut other = client.stream(&Split { count: 5, length: 3000 }).await.unwrap();
        while other.next().await.unwrap().is_some() {}
    });
}

#[test]
fn a_subscriber_sees_every_event_in_order() {
    served(async |way, client, publisher| {
        let mut news = client.subscribe(Since::Now).await.unwrap();
        let Notice::Gap { next: first, .. } = news.next(SOON).await.unwrap() else {
            panic!("a gap is first")
        };
        let publish = |number| publisher.publish(&Event { number, bytes: pattern(40) }).unwrap();
        publish(0);
        for number in 0..500 {
            let Notice::Event { sequence, event } = news.next(SOON).await.unwrap() else {
                panic!("no event is lost over {way:?}")
            };
            assert_eq!((sequence, event.number.to_native()), (first + number, number), "{way:?}");
            if number % 50 == 0 {
                // Both sides sleep in between.
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            publish(number + 1);
        }
        let mut resumed = client.subscribe(Since::Sequence(first + 497)).await.unwrap();
        assert!(matches!(resumed.next(SOON).await.unwrap(), Notice::Gap { lost: Some(0), .. }));
        let Notice::Event { sequence, .. } = resumed.next(SOON).await.unwrap() else { panic!("an event") };
        assert_eq!(sequence, first + 498);
    });
}

#[test]
fn a_subscriber_that_reads_nothing_is_told_what_it_has_missed() {
    served(async |_, client, publisher| {
        let mut news = client.subscribe(Since::Now).await.unwrap();
        let Notice::Gap { next: first, .. } = news.next(SOON).await.unwrap() else {
            panic!("a gap is first")
        };
        const COUNT: u64 = 20_000;
        for number in 0..COUNT {
            publisher.publish(&Event { number, bytes: pattern(1000) }).unwrap();
        }
        let (mut expected, mut missed) = (first, 0);
        while expected < first + COUNT {
            match news.next(SOON).await.unwrap() {
                Notice::Event { sequence, event } => {
                    assert_eq!((sequence, event.number.to_native()), (expected, expected - first));
                    expected += 1;
                }
                Notice::Gap { next, lost } => {
                    assert_eq!(lost, Some(next - expected));
                    missed += next - expected;
                    expected = next;
                }
            }
        }
        assert!(missed > 0);
    });
}

#[test]
fn a_wait_for_news_ends_at_its_timeout_and_can_be_repeated() {
    served(async |_, client, publisher| {
        let mut news = client.subscribe(Since::Now).await.unwrap();
        news.next(SOON).await.unwrap();
        let error = news.next(Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(error.to_string().ends_with("within 5ms"), "it says how long it waited: {error}");
        publisher.publish(&Event { number: 0, bytes: Vec::new() }).unwrap();
        assert!(matches!(news.next(SOON).await.unwrap(), Notice::Event { .. }));
    });
}
