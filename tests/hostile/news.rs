//! A daemon of notifications that sends over the socket what nobody has asked for.

use std::io::{Read, Write};
use std::time::Duration;

use libgrite_ipc::{Client, ErrorKind, Notice, Notifies, Protocol, Since, Transport, Wire, wire};

use crate::client::*;
use crate::daemon::{beside, hear};
use crate::serving::{Serving, connect, frame};

wire! {
    /// Nothing is asked here.
    pub struct Nothing {
        /// Of no meaning.
        pub bytes: Vec<u8>,
    }

    /// What is told.
    pub struct Event {
        /// Of no meaning.
        pub number: u64,
    }
}

enum News {}

impl Protocol for News {
    type Request = Nothing;
    type Response = Nothing;
    const NAME: &'static str = "news";
    const VERSION: u16 = 1;
    const NOTIFICATION: Option<u64> = Some(Event::LAYOUT);
}

impl Notifies for News {
    type Notification = Event;
}

/// What a server of this protocol welcomes a client with.
fn honest_welcome() -> Vec<u8> {
    let server = Serving::start::<News>(|_| nothing(0));
    connect::<News>(server.socket()).1.to_vec()
}

fn nothing(length: usize) -> Nothing {
    Nothing { bytes: vec![0; length] }
}

/// How many notices a daemon sends before it has said where the sequence stands, as if they had been on their way
/// to an earlier subscription. It could as well send them without end.
const STRAY: usize = 100;

/// Who waits for the next notice passes over those of no subscription until the deadline, and no longer.
#[test]
fn notices_to_no_subscription_keep_nobody_longer_than_the_deadline() {
    let welcome = honest_welcome();
    let play = |listener| {
        let mut stream = hear(&listener);
        // None is lost, for the first subscription of the connection.
        let gap = frame(GAP, 7, &[[0; 8], 1u64.to_le_bytes()].concat());
        let strays = frame(NOTICE, 1, &[]).repeat(STRAY);
        // All of it is there before anybody waits for any of it.
        stream.write_all(&[&welcome[..], &strays, &gap].concat()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    beside(play, |path| {
        let mut client = Client::<News>::builder().transport(Transport::Socket).connect(path).unwrap();
        let mut news = client.subscribe(Since::Now).unwrap();
        for stray in 0..STRAY {
            let error = news.next(Duration::ZERO).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "at stray notice {stray}: {error}");
        }
        let first = news.next(PATIENCE).unwrap();
        assert!(matches!(first, Notice::Gap { next: 7, lost: Some(0) }), "{first:?}");
    });
}

/// What is no frame costs a task its connection, however it has asked, and it is told what that was.
#[cfg(feature = "tokio")]
#[test]
fn a_task_is_told_by_what_its_connection_was_lost() {
    use std::error::Error as _;

    let welcome = honest_welcome();
    let play = |listener| {
        // One for what is sent, and one each for the parts and for the notices.
        let connections = [(); 3].map(|()| {
            let mut stream = hear(&listener);
            stream.write_all(&welcome).unwrap();
            stream.read_exact(&mut [0; 16]).unwrap();
            stream.write_all(&[0xff; 16]).unwrap();
            stream
        });
        for mut stream in connections {
            let _ = stream.read_to_end(&mut Vec::new());
        }
    };
    beside(play, |path| {
        crate::common::runtimes::one_thread().block_on(async {
            let builder = Client::<News>::builder().transport(Transport::Socket).timeout(PATIENCE);
            let client = builder.connect_async(path).await.unwrap();
            let sent = client.send(&nothing(0)).await.map(drop).unwrap_err();
            let mut parts = client.stream(&nothing(0)).await.unwrap();
            let part = parts.next().await.map(drop).unwrap_err();
            let mut notices = client.subscribe(Since::Now).await.unwrap();
            let notice = notices.next(PATIENCE).await.map(drop).unwrap_err();
            for (asked, error) in [("send", sent), ("stream", part), ("subscribe", notice)] {
                assert_eq!(error.kind(), ErrorKind::PeerMisbehaved, "{asked}: {error}");
                assert!(error.source().is_some(), "{asked}: {error}");
            }
        });
    });
}

/// A daemon that reads nothing for a while hears of a subscription only when its client has given it up: it hears
/// that, too.
#[test]
fn a_subscription_that_timed_out_on_its_way_is_taken_back() {
    let welcome = honest_welcome();
    let (read, may_read) = std::sync::mpsc::channel();
    let play = move |listener| {
        let mut stream = hear(&listener);
        stream.write_all(&welcome).unwrap();
        may_read.recv_timeout(PATIENCE).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        heard
    };
    let (heard, ()) = beside(play, |path| {
        let builder =
            Client::<News>::builder().transport(Transport::Socket).timeout(Duration::from_millis(200));
        let mut client = builder.connect(path).unwrap();
        // More than there is space for: it holds up all that is sent behind it.
        client.send(&nothing(1 << 20)).map(drop).unwrap_err();
        let error = client.subscribe(Since::Now).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        read.send(()).unwrap();
        // What has waited goes before these, which are not answered.
        for _ in 0..5 {
            client.send(&nothing(0)).map(drop).unwrap_err();
        }
    });
    assert_eq!(kinds(&heard)[..4], [REQUEST, SUBSCRIBE, UNSUBSCRIBE, REQUEST]);
}

/// The kinds of frames that have come over a socket.
fn kinds(mut bytes: &[u8]) -> Vec<u16> {
    let mut kinds = Vec::new();
    while let Some((first, _)) = bytes.split_first_chunk() {
        let (length, kind) = (u64::from_le_bytes(*first) as u32, (u64::from_le_bytes(*first) >> 32) as u16);
        kinds.push(kind);
        bytes = bytes.get((16 + length as usize).next_multiple_of(16)..).unwrap_or_default();
    }
    kinds
}
