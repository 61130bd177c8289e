//! What is promised to those who subscribe: every notification in order, or word of what is missing.
#![cfg(not(loom))]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Way, served_ways, stop_after};
use libgrite_ipc::{
    Client, ErrorKind, Notice, Notifies, Protocol, Publisher, Server, Since, Transport, Wire, wire,
};

wire! {
    /// Publish so many.
    pub struct Publish {
        /// How many.
        pub count: u64,
        /// How many bytes each has.
        pub length: u32,
    }

    /// They were published.
    pub struct Published {
        /// The sequence number of the last one.
        pub last: u64,
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
    type Request = Publish;
    type Response = Published;
    const NAME: &'static str = "news";
    const VERSION: u16 = 1;
    const NOTIFICATION: Option<u64> = Some(Event::LAYOUT);
}

impl Notifies for News {
    type Notification = Event;
}

const SOON: Duration = Duration::from_secs(20);

/// Runs `ask` beside a server that publishes what it is told to.
fn served(ask: impl FnOnce(&Path, &Publisher<News>)) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::<News>::bind(folder.path().join("news.sock")).unwrap();
    let (stop, publisher) = (server.handle(), server.publisher());
    std::thread::scope(|scope| {
        let own = publisher.clone();
        let serving = scope.spawn(|| {
            server.serve(move |request, _cx| {
                let (count, length) = (request.count.to_native(), request.length.to_native());
                Published { last: publish(&own, count, length as usize) }
            })
        });
        let path = server.path();
        stop_after(&stop, || ask(path, &publisher));
        serving.join().unwrap().unwrap();
    });
}

/// Publishes `count` events; says which sequence number the last one has.
fn publish(publisher: &Publisher<News>, count: u64, length: usize) -> u64 {
    (0..count).fold(0, |_, number| publisher.publish(&Event { number, bytes: vec![7; length] }).unwrap())
}

fn connect(way: Way, path: &Path) -> Client<News> {
    let transport = if way == Way::Ring { Transport::Ring } else { Transport::Socket };
    Client::builder().transport(transport).connect(path).unwrap()
}

#[test]
fn every_subscriber_sees_every_event_in_order() {
    const COUNT: u64 = 3000;
    for way in served_ways() {
        served(|path, publisher| {
            std::thread::scope(|scope| {
                let (ready, subscribed) = std::sync::mpsc::channel();
                for _ in 0..10 {
                    let ready = ready.clone();
                    scope.spawn(move || {
                        let mut client = connect(way, path);
                        let mut events = client.subscribe(Since::Now).unwrap();
                        let Notice::Gap { mut next, lost: Some(0) } = events.next(SOON).unwrap() else {
                            panic!("the first notice says where the sequence stands")
                        };
                        ready.send(next).unwrap();
                        for expected in 0..COUNT {
                            let Notice::Event { sequence, event } = events.next(SOON).unwrap() else {
                                panic!("{expected} is lost")
                            };
                            assert_eq!((sequence, event.number.to_native()), (next, expected));
                            next += 1;
                        }
                    });
                }
                // Should one of them fail, nobody waits for its word.
                drop(ready);
                let firsts: Vec<u64> = (0..10).map(|_| subscribed.recv().unwrap()).collect();
                let last = publish(publisher, COUNT, 40);
                assert!(firsts.iter().all(|first| first + COUNT == last + 1));
            });
        });
    }
}

#[test]
fn a_subscriber_goes_on_where_it_left_off() {
    for way in served_ways() {
        served(|path, publisher| {
            let first = publish(publisher, 1, 0);
            publish(publisher, 9, 0);
            let mut client = connect(way, path);
            let mut events = client.subscribe(Since::Sequence(first + 3)).unwrap();
            assert!(
                matches!(events.next(SOON).unwrap(), Notice::Gap { next, lost: Some(0) } if next == first + 4)
            );
            for expected in first + 4..first + 10 {
                assert!(
                    matches!(events.next(SOON).unwrap(), Notice::Event { sequence, .. } if sequence == expected)
                );
            }
            let error = events.next(Duration::from_millis(7)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert!(error.to_string().ends_with("within 7ms"), "it says how long it waited: {error}");
            drop(events);
            // The connection goes on as an ordinary one, and can subscribe again.
            let last = client.send(&Publish { count: 2, length: 0 }).unwrap().last.to_native();
            let mut events = client.subscribe(Since::Sequence(last - 1)).unwrap();
            assert!(matches!(events.next(SOON).unwrap(), Notice::Gap { .. }));
            assert!(matches!(events.next(SOON).unwrap(), Notice::Event { sequence, .. } if sequence == last));
        });
    }
}

#[test]
fn a_subscriber_of_an_earlier_daemon_is_told_that_nobody_knows_what_it_missed() {
    for way in served_ways() {
        served(|path, publisher| {
            let first = publish(publisher, 1, 0);
            let last = publish(publisher, 4, 0);
            for seen in [1, first - 2, last + 1, u64::MAX] {
                let mut client = connect(way, path);
                let mut events = client.subscribe(Since::Sequence(seen)).unwrap();
                let notice = events.next(SOON).unwrap();
                assert!(
                    matches!(notice, Notice::Gap { next, lost: None } if next == first),
                    "{seen}: {notice:?}"
                );
                assert!(
                    matches!(events.next(SOON).unwrap(), Notice::Event { sequence, .. } if sequence == first)
                );
            }
        });
    }
}

#[test]
fn who_does_not_read_on_slows_nobody_and_is_told_what_it_missed() {
    /// More than are kept.
    const COUNT: u64 = 70_000;
    for way in served_ways() {
        served(|path, publisher| {
            let mut slow = connect(way, path);
            let mut missed = slow.subscribe(Since::Now).unwrap();
            assert!(matches!(missed.next(SOON).unwrap(), Notice::Gap { .. }));
            let mut quick = connect(way, path);
            let mut events = quick.subscribe(Since::Now).unwrap();
            assert!(matches!(events.next(SOON).unwrap(), Notice::Gap { .. }));
            for number in 0..COUNT {
                publisher.publish(&Event { number, bytes: vec![7; 40] }).unwrap();
                let Notice::Event { event, .. } = events.next(SOON).unwrap() else { panic!("lost {number}") };
                assert_eq!(event.number, number, "{way:?}");
            }
            let (mut expected, mut lost_in_all) = (0, 0);
            while expected < COUNT {
                match missed.next(SOON).unwrap() {
                    Notice::Event { event, .. } => {
                        assert_eq!(event.number, expected, "{way:?}");
                        expected += 1;
                    }
                    Notice::Gap { lost, .. } => {
                        lost_in_all += lost.unwrap();
                        expected += lost.unwrap();
                    }
                }
            }
            assert!(lost_in_all > 0 && lost_in_all < COUNT, "{lost_in_all} over {way:?}");
        });
    }
}

#[test]
fn an_event_that_is_too_long_for_one_subscriber_is_lost_to_that_one_alone() {
    for way in served_ways() {
        served(|path, publisher| {
            let transport = if way == Way::Ring { Transport::Ring } else { Transport::Socket };
            let mut small =
                Client::<News>::builder().transport(transport).max_message(4096).connect(path).unwrap();
            let mut large = connect(way, path);
            let mut told = small.subscribe(Since::Now).unwrap();
            let mut events = large.subscribe(Since::Now).unwrap();
            assert!(matches!(told.next(SOON).unwrap(), Notice::Gap { .. }));
            assert!(matches!(events.next(SOON).unwrap(), Notice::Gap { .. }));
            publish(publisher, 1, 10_000);
            publish(publisher, 1, 10);
            assert!(matches!(told.next(SOON).unwrap(), Notice::Gap { lost: Some(1), .. }));
            for length in [10_000, 10] {
                let Notice::Event { event, .. } = events.next(SOON).unwrap() else { panic!("lost") };
                assert_eq!(event.bytes.len(), length);
            }
            assert!(
                matches!(told.next(SOON).unwrap(), Notice::Event { event, .. } if event.bytes.len() == 10)
            );
        });
    }
}

#[test]
fn what_was_on_its_way_to_an_earlier_subscription_is_not_taken_for_news() {
    for way in served_ways() {
        served(|path, publisher| {
            let mut client = connect(way, path);
            for _ in 0..50 {
                let mut events = client.subscribe(Since::Now).unwrap();
                assert!(matches!(events.next(SOON).unwrap(), Notice::Gap { lost: Some(0), .. }));
                publish(publisher, 20, 10);
                assert!(matches!(events.next(SOON).unwrap(), Notice::Event { .. }));
                drop(events);
                let mut events = client.subscribe(Since::Now).unwrap();
                let Notice::Gap { next, lost: Some(0) } = events.next(SOON).unwrap() else {
                    panic!("{way:?}")
                };
                let last = publish(publisher, 1, 10);
                assert_eq!(next, last, "{way:?}");
                assert!(
                    matches!(events.next(SOON).unwrap(), Notice::Event { sequence, .. } if sequence == last)
                );
            }
        });
    }
}

#[test]
fn subscribers_hear_what_was_left_for_the_end_whatever_stops_the_server() {
    type Stop = fn(&libgrite_ipc::ServerHandle, &Path);
    let by_a_handle: Stop = |stop, _| stop.stop();
    let by_a_newer_release: Stop = |_, path| {
        // It starts no daemon of its own: the old one's end is all that is wanted of it.
        let folder = path.parent().unwrap().to_owned();
        let builder = Client::<News>::builder().release(2).spawn_timeout(Duration::from_millis(300));
        let _ = builder.connect_or_spawn(&folder, || std::process::Command::new("false"));
    };
    for way in served_ways() {
        for stops in [by_a_handle, by_a_newer_release] {
            let folder = tempfile::tempdir().unwrap();
            let lock = libgrite_ipc::DaemonLock::acquire(folder.path().join("run")).unwrap();
            let server = Server::<News>::builder().release(1).bind(lock.socket_path()).unwrap();
            let (stop, publisher) = (server.handle(), server.publisher());
            publisher.publish_at_end(&Event { number: 1, bytes: Vec::new() }).unwrap();
            publisher.publish_at_end(&Event { number: 2, bytes: vec![7; 500] }).unwrap();
            std::thread::scope(|scope| {
                let serving = scope.spawn(|| server.serve(|_, _| Published { last: 0 }));
                let mut client = connect(way, server.path());
                let mut events = client.subscribe(Since::Now).unwrap();
                assert!(matches!(events.next(SOON).unwrap(), Notice::Gap { lost: Some(0), .. }));
                let stopping = scope.spawn(|| stops(&stop, server.path()));
                let heard = match events.next(SOON).unwrap() {
                    Notice::Event { event, .. } => event.number.to_native(),
                    other => panic!("{way:?}: {other:?}"),
                };
                assert_eq!(heard, 2, "{way:?}");
                assert_eq!(events.next(SOON).unwrap_err().kind(), ErrorKind::PeerDied, "{way:?}");
                serving.join().unwrap().unwrap();
                stopping.join().unwrap();
            });
        }
    }
}
