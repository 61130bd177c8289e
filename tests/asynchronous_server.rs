//! What is promised of handlers that are async.
#![cfg(all(feature = "tokio", not(loom)))]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::runtimes::{connect, everywhere};
use common::{ArchivedOrder, Done, Order, Work, builder_for, pattern};
use libgrite_ipc::{ErrorKind, Message, Server, ServerBuilder};
use tokio::task::JoinSet;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a server with an async handler in the current runtime, and `ask` with its path; stops it afterwards.
async fn served_async<F>(
    builder: ServerBuilder<Work>,
    handler: impl Fn(Message<Order>) -> F + Send + Sync + 'static,
    ask: impl AsyncFnOnce(&Path),
) where
    F: Future<Output = Done> + Send + 'static,
{
    let folder = tempfile::tempdir().unwrap();
    let server = builder.bind(folder.path().join("work.sock")).unwrap();
    let (stop, path) = (server.handle(), server.path().to_owned());
    let serving = tokio::spawn(async move { server.serve_async(move |order, _cx| handler(order)).await });
    ask(&path).await;
    stop.stop();
    tokio::time::timeout(PATIENCE, serving).await.expect("the server stops").unwrap().unwrap();
}

fn done(bytes: Vec<u8>) -> Done {
    Done { bytes, session: 0 }
}

#[test]
fn async_handlers_run_side_by_side_and_answer_as_they_end() {
    const COUNT: usize = 200;
    everywhere(async |way| {
        let barrier = Arc::new(tokio::sync::Barrier::new(COUNT));
        let handler = move |order: Message<Order>| {
            let barrier = Arc::clone(&barrier);
            async move {
                let ArchivedOrder::Echo(bytes) = &*order else { return done(Vec::new()) };
                // None of them ends before all have begun.
                barrier.wait().await;
                done(bytes.to_vec())
            }
        };
        served_async(Server::builder(), handler, async |path| {
            let client = connect(way, path).await;
            let mut all = JoinSet::new();
            for number in 0..COUNT {
                let client = client.clone();
                all.spawn(async move {
                    let answer = client.send(&Order::Echo(pattern(number))).await.unwrap();
                    assert!(answer.bytes == pattern(number)[..], "{number} over {way:?}");
                });
            }
            client.send(&Order::Session).await.unwrap();
            while let Some(asked) = all.join_next().await {
                asked.unwrap();
            }
        })
        .await;
    });
}

#[test]
fn an_async_handler_that_panics_answers_its_request_alone() {
    everywhere(async |way| {
        let handler = |order: Message<Order>| async move {
            tokio::task::yield_now().await;
            assert!(!matches!(&*order, ArchivedOrder::Panic), "as ordered");
            done(Vec::new())
        };
        served_async(Server::builder(), handler, async |path| {
            let client = connect(way, path).await;
            for _ in 0..3 {
                let error = client.send(&Order::Panic).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
                assert!(error.to_string().contains("panicked"), "{error}");
                client.send(&Order::Session).await.unwrap();
            }
        })
        .await;
    });
}

#[test]
fn an_async_handler_is_dropped_when_its_request_is_given_up() {
    /// Counts how many of it were dropped.
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    everywhere(async |way| {
        let (begun, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = [Arc::clone(&begun), Arc::clone(&dropped)];
        let handler = move |_| {
            counts[0].fetch_add(1, Ordering::SeqCst);
            let counted = Counted(Arc::clone(&counts[1]));
            async move {
                std::future::pending::<()>().await;
                drop(counted);
                done(Vec::new())
            }
        };
        let reaches = async |count: &AtomicUsize, goal| {
            let reached = async {
                while count.load(Ordering::SeqCst) < goal {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(PATIENCE, reached).await.expect("it comes to that");
        };
        served_async(Server::builder(), handler, async |path| {
            let client = connect(way, path).await;
            tokio::select! {
                _ = client.send(&Order::Session) => panic!("nobody answers"),
                () = reaches(&begun, 1) => {}
            }
            reaches(&dropped, 1).await;
            let gone = connect(way, path).await;
            let asking = tokio::spawn(async move { gone.send(&Order::Session).await.map(drop) });
            reaches(&begun, 2).await;
            asking.abort();
            reaches(&dropped, 2).await;
            let hasty =
                builder_for(way).timeout(Duration::from_millis(20)).connect_async(path).await.unwrap();
            assert_eq!(hasty.send(&Order::Session).await.unwrap_err().kind(), ErrorKind::Timeout);
            reaches(&dropped, 3).await;
            // Who looks later is told of the time that is up, and not of a handler that gave no answer.
            let (path, ended) = (path.to_owned(), Arc::clone(&dropped));
            let asked_and_looked = move || {
                let client = builder_for(way).timeout(Duration::from_millis(20)).connect(path).unwrap();
                let asked = client.start(&Order::Session).unwrap();
                while ended.load(Ordering::SeqCst) < 4 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                asked.wait().map(drop).unwrap_err().kind()
            };
            let looked = tokio::task::spawn_blocking(asked_and_looked);
            let kind = tokio::time::timeout(PATIENCE, looked).await.expect("it comes to that").unwrap();
            assert_eq!(kind, ErrorKind::Timeout, "{way:?}");
        })
        .await;
    });
}

#[test]
fn one_more_than_may_run_is_refused_and_can_be_repeated() {
    everywhere(async |way| {
        let go = Arc::new(tokio::sync::Semaphore::new(0));
        let (wait, begun) = (Arc::clone(&go), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&begun);
        let handler = move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let wait = Arc::clone(&wait);
            async move {
                wait.acquire().await.unwrap().forget();
                done(Vec::new())
            }
        };
        served_async(Server::builder().max_waiting(3), handler, async |path| {
            let client = connect(way, path).await;
            let mut all = JoinSet::new();
            for _ in 0..3 {
                let client = client.clone();
                all.spawn(async move { client.send(&Order::Session).await.map(drop) });
            }
            while begun.load(Ordering::SeqCst) < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let error = client.send(&Order::Session).await.unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Refused, true), "{error}");
            go.add_permits(4);
            while let Some(asked) = all.join_next().await {
                asked.unwrap().unwrap();
            }
            client.send(&Order::Session).await.unwrap();
        })
        .await;
    });
}

#[test]
fn a_server_whose_future_is_dropped_stops() {
    everywhere(async |way| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("work.sock");
        let server = Server::<Work>::bind(&path).unwrap();
        let serving =
            tokio::spawn(async move { server.serve_async(|_, _cx| async { done(Vec::new()) }).await });
        let client = connect(way, &path).await;
        client.send(&Order::Session).await.unwrap();
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        let gone = async { while client.send(&Order::Session).await.is_ok() {} };
        tokio::time::timeout(PATIENCE, gone).await.expect("the server stops");
    });
}
