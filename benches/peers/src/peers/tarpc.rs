//! tarpc over a Unix socket, with bincode. Typed; each end is one thread.

use futures::StreamExt;
use serde_bytes::ByteBuf;
use tarpc::context;
use tarpc::serde_transport::unix;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tokio::runtime::Runtime;

use super::runtime;
use crate::peer::{self, About, Failure, Peer, Reads, Seat, Side};
use crate::touch::{Sum, sum_of_issue, sum_of_summary};
use crate::work::{Ask, Issue, Stock, Summary};

use std::sync::Arc;

pub struct Tarpc;

#[tarpc::service]
trait Asked {
    async fn echo(bytes: ByteBuf) -> ByteBuf;
    async fn show() -> Issue;
    async fn list() -> Vec<Summary>;
}

#[derive(Clone)]
struct Answering(Arc<Stock>);

impl Asked for Answering {
    async fn echo(self, _: context::Context, bytes: ByteBuf) -> ByteBuf {
        bytes
    }

    async fn show(self, _: context::Context) -> Issue {
        self.0.issue.clone()
    }

    async fn list(self, _: context::Context) -> Vec<Summary> {
        self.0.list.clone()
    }
}

impl Peer for Tarpc {
    fn about(&self) -> About {
        About {
            name: "tarpc",
            title: "tarpc 0.38 over a Unix socket",
            reads: Reads::Fields,
            side: Side::Peer,
        }
    }

    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure> {
        runtime()?.block_on(async {
            let mut incoming = unix::listen(seat.socket(), Bincode::default).await?;
            ready();
            let transport = incoming.next().await.ok_or("nobody came")??;
            let answering = Answering(Arc::new(Stock::new()));
            let answers = BaseChannel::with_defaults(transport).execute(answering.serve());
            answers.for_each(|answer| answer).await;
            Ok(())
        })
    }

    fn client(&self, seat: &Seat) -> Result<Box<dyn peer::Client>, Failure> {
        let runtime = runtime()?;
        let client = runtime.block_on(async {
            let transport = unix::connect(seat.socket(), Bincode::default).await?;
            Ok::<_, Failure>(AskedClient::new(Default::default(), transport).spawn())
        })?;
        Ok(Box::new(Asking { runtime, client }))
    }
}

struct Asking {
    runtime: Runtime,
    client: AskedClient,
}

impl peer::Client for Asking {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        let mut sum = Sum::default();
        let context = context::current();
        match ask {
            Ask::Echo(bytes) => {
                let asked = self.client.echo(context, ByteBuf::from(bytes.clone()));
                sum.bytes(&self.runtime.block_on(asked)?);
            }
            Ask::Show => sum_of_issue!(sum, self.runtime.block_on(self.client.show(context))?),
            Ask::List => {
                let list = self.runtime.block_on(self.client.list(context))?;
                list.iter().for_each(|summary| sum_of_summary!(sum, summary));
            }
        }
        Ok(sum.total())
    }
}
