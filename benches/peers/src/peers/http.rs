//! JSON over HTTP: axum answers, ureq asks, over TCP on the loopback address with one connection kept open.
//! Typed; an echo carries its bytes as a JSON string.

use std::fs;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use ureq::Agent;

use super::runtime;
use crate::peer::{About, Client, Failure, Peer, Reads, Seat, Side};
use crate::touch::{Sum, sum_of_issue, sum_of_summary};
use crate::work::{Ask, Issue, Stock, Summary};

pub struct Http;

/// What an echo sends and brings back.
#[derive(Serialize, Deserialize)]
struct Echo<T> {
    text: T,
}

impl Peer for Http {
    fn about(&self) -> About {
        About {
            name: "http-json",
            title: "JSON over HTTP (axum, ureq)",
            reads: Reads::Fields,
            side: Side::Peer,
        }
    }

    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure> {
        let app = Router::new()
            .route("/echo", post(async |Json(echo): Json<Echo<String>>| Json(echo)))
            .route("/show", get(async |State(stock): State<Arc<Stock>>| Json(stock.issue.clone())))
            .route("/list", get(async |State(stock): State<Arc<Stock>>| Json(stock.list.clone())))
            .layer(DefaultBodyLimit::max(16 << 20))
            .with_state(Arc::new(Stock::new()));
        runtime()?.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            fs::write(seat.folder.join("address"), listener.local_addr()?.to_string())?;
            ready();
            // Nagle's algorithm would have an answer wait for an acknowledgement.
            axum::serve(listener.tap_io(|stream| drop(stream.set_nodelay(true))), app).await?;
            Ok(())
        })
    }

    fn client(&self, seat: &Seat) -> Result<Box<dyn Client>, Failure> {
        let address = fs::read_to_string(seat.folder.join("address"))?;
        let agent = Agent::new_with_defaults();
        let [echo, show, list] = ["echo", "show", "list"].map(|path| format!("http://{address}/{path}"));
        Ok(Box::new(Asking { agent, echo, show, list }))
    }
}

struct Asking {
    agent: Agent,
    echo: String,
    show: String,
    list: String,
}

impl Client for Asking {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        let mut sum = Sum::default();
        match ask {
            Ask::Echo(bytes) => {
                let text = std::str::from_utf8(bytes)?;
                let mut response = self.agent.post(&self.echo).send_json(Echo { text })?;
                sum.text(response.body_mut().read_json::<Echo<String>>()?.text);
            }
            Ask::Show => {
                let issue: Issue = self.agent.get(&self.show).call()?.body_mut().read_json()?;
                sum_of_issue!(sum, issue);
            }
            Ask::List => {
                let list: Vec<Summary> = self.agent.get(&self.list).call()?.body_mut().read_json()?;
                list.iter().for_each(|summary| sum_of_summary!(sum, summary));
            }
        }
        Ok(sum.total())
    }
}
