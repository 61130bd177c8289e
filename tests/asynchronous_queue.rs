//! What is promised of async requests that wait to be sent: one that nobody polls on holds up no other.
#![cfg(all(feature = "tokio", not(loom)))]

mod common;

use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use common::runtimes::everywhere;
use common::{Order, Running, Work, builder_for, pattern};
use libgrite_ipc::{AsyncClient, Server};

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Polls it once; says whether it has ended.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

/// Asks from several tasks, each of which is answered.
async fn ask_from_others(client: &AsyncClient<Work>) {
    let others = (0..3).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            for order in [Order::Wait(1), Order::Session, Order::Echo(pattern(100_000))] {
                client.send(&order).await.unwrap();
            }
        })
    });
    for other in others.collect::<Vec<_>>() {
        tokio::time::timeout(PATIENCE, other).await.expect("it is answered").unwrap();
    }
}

#[test]
fn a_request_that_waits_for_space_and_is_left_alone_holds_up_no_other() {
    everywhere(async |way| {
        let server = Running::start();
        let builder = builder_for(way).request_ring(4096);
        let client: AsyncClient<Work> = builder.connect_async(server.socket()).await.unwrap();
        let orders = [Order::Echo(pattern(1 << 20)), Order::Session, Order::Session];
        let [mut long, mut left, mut given_up] = orders.each_ref().map(|order| Box::pin(client.send(order)));
        assert!(!poll_once(long.as_mut()).await);
        poll_once(left.as_mut()).await;
        poll_once(given_up.as_mut()).await;
        drop(given_up);
        assert!(tokio::time::timeout(PATIENCE, long).await.expect("it is answered").is_ok());
        ask_from_others(&client).await;
        drop(left);
        ask_from_others(&client).await;
    });
}

#[test]
fn a_request_that_waits_for_a_place_and_is_left_alone_holds_up_no_other() {
    for places in [1, 2] {
        everywhere(async |way| {
            let server = Running::start_with(|| Server::<Work>::builder().max_in_flight(places));
            let client: AsyncClient<Work> = builder_for(way).connect_async(server.socket()).await.unwrap();
            assert_eq!(client.max_open(), places as usize);
            let slow = Order::Wait(20);
            let asked = (0..places).map(|_| Box::pin(client.send(&slow)));
            let mut asked: Vec<_> = asked.collect();
            for slow in &mut asked {
                poll_once(slow.as_mut()).await;
            }
            let mut left = pin!(client.send(&Order::Session));
            poll_once(left.as_mut()).await;
            let waiting = tokio::spawn({
                let client = client.clone();
                async move { client.send(&Order::Session).await.map(drop) }
            });
            for slow in asked {
                assert!(tokio::time::timeout(PATIENCE, slow).await.expect("it is answered").is_ok());
            }
            let waited = tokio::time::timeout(PATIENCE, waiting).await.expect("it is answered");
            waited.unwrap().unwrap();
            ask_from_others(&client).await;
        });
    }
}

/// Who asks again and again in one task takes no place from those who have waited for it.
#[test]
fn a_request_that_waits_for_a_place_gets_the_next_one() {
    everywhere(async |way| {
        let server = Running::start_with(|| Server::<Work>::builder().max_in_flight(1));
        let client: AsyncClient<Work> = builder_for(way).connect_async(server.socket()).await.unwrap();
        let greedy = tokio::spawn({
            let client = client.clone();
            async move {
                loop {
                    client.send(&Order::Session).await.unwrap();
                }
            }
        });
        for _ in 0..20 {
            tokio::time::timeout(PATIENCE, client.send(&Order::Session)).await.expect("in time").unwrap();
        }
        greedy.abort();
    });
}
