//! What is promised of the async client, over rings and over the socket, in both flavours of runtime.
#![cfg(all(feature = "tokio", not(loom)))]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Order, Running, WAYS, Way, Work, builder_for, pattern};
use libgrite_ipc::{AsyncClient, ErrorKind};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

fn ways() -> impl Iterator<Item = Way> {
    WAYS.iter().copied().filter(|&way| way != Way::Pair)
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn several_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap()
}

/// Runs `test` for each way in each flavour of runtime.
fn everywhere(test: impl AsyncFn(Way)) {
    for way in ways() {
        for runtime in [one_thread(), several_threads()] {
            runtime.block_on(test(way));
        }
    }
}

async fn connect(way: Way, path: impl AsRef<Path>) -> AsyncClient<Work> {
    builder_for(way).connect_async(path).await.unwrap()
}

#[test]
fn answers_come_to_those_who_asked() {
    everywhere(async |way| {
        let server = Running::start();
        let client = connect(way, server.socket()).await;
        for number in 0..200usize {
            let answer = client.send(&Order::Echo(pattern(number * 7))).await.unwrap();
            assert!(answer.bytes == pattern(number * 7)[..], "{number} over {way:?}");
        }
    });
}

#[test]
fn a_thousand_requests_at_once_are_all_answered() {
    everywhere(async |way| {
        let server = Running::start();
        let client = connect(way, server.socket()).await;
        for _ in 0..5 {
            let mut all = JoinSet::new();
            for number in 0..1000usize {
                let client = client.clone();
                all.spawn(async move {
                    let answer = client.send(&Order::Echo(pattern(number))).await.unwrap();
                    assert!(answer.bytes == pattern(number)[..], "{number} over {way:?}");
                });
            }
            while let Some(asked) = all.join_next().await {
                asked.unwrap();
            }
        }
    });
}

#[test]
fn a_request_ends_at_its_deadline_and_the_connection_goes_on() {
    everywhere(async |way| {
        let server = Running::start();
        let builder = builder_for(way).timeout(Duration::from_millis(20));
        let client: AsyncClient<Work> = builder.connect_async(server.socket()).await.unwrap();
        let error = client.send(&Order::Wait(200)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert!(client.send(&Order::Make(10)).await.unwrap().bytes == pattern(10)[..]);
    });
}
