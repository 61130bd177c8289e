//! Cap'n Proto RPC over a Unix socket. Typed: fields are checked as they are read. Each end is one thread; a
//! show and a list are copied from messages that were built before.

use std::rc::Rc;

use capnp::message::{Builder, HeapAllocator};
use capnp::{text, text_list};
use capnp_rpc::rpc_twoparty_capnp::Side as Role;
use capnp_rpc::{RpcSystem, new_client, twoparty};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use super::runtime;
use crate::peer::{self, About, Failure, Peer, Reads, Seat, Side};
use crate::touch::Sum;
use crate::work::{Ask, Stock};

#[allow(clippy::all, reason = "the schema compiler wrote it")]
mod peers_capnp {
    include!(concat!(env!("OUT_DIR"), "/peers_capnp.rs"));
}

use peers_capnp::{asked, issue, issues};

pub struct CapnProto;

struct Answering {
    issue: Builder<HeapAllocator>,
    list: Builder<HeapAllocator>,
}

impl asked::Server for Answering {
    async fn echo(
        self: Rc<Self>,
        params: asked::EchoParams,
        mut results: asked::EchoResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_bytes(params.get()?.get_bytes()?);
        Ok(())
    }

    async fn show(
        self: Rc<Self>,
        _: asked::ShowParams,
        mut results: asked::ShowResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_issue(self.issue.get_root_as_reader::<issue::Reader>()?)
    }

    async fn list(
        self: Rc<Self>,
        _: asked::ListParams,
        mut results: asked::ListResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_issues(self.list.get_root_as_reader::<issues::Reader>()?)
    }
}

impl Peer for CapnProto {
    fn about(&self) -> About {
        About { name: "capnproto", title: "Cap'n Proto RPC 0.27", reads: Reads::Fields, side: Side::Peer }
    }

    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure> {
        let asked: asked::Client = new_client(Answering::new(&seat.stock));
        LocalSet::new().block_on(&runtime()?, async {
            let listener = UnixListener::bind(seat.socket())?;
            ready();
            let (stream, _) = listener.accept().await?;
            Ok(RpcSystem::new(network(stream, Role::Server), Some(asked.client)).await?)
        })
    }

    fn client(&self, seat: &Seat) -> Result<Box<dyn peer::Client>, Failure> {
        let (runtime, local) = (runtime()?, LocalSet::new());
        let asked = local.block_on(&runtime, async {
            let stream = UnixStream::connect(seat.socket()).await?;
            let mut system = RpcSystem::new(network(stream, Role::Client), None);
            let asked: asked::Client = system.bootstrap(Role::Server);
            tokio::task::spawn_local(system);
            Ok::<_, Failure>(asked)
        })?;
        Ok(Box::new(Asking { runtime, local, asked }))
    }
}

fn network(stream: UnixStream, role: Role) -> Box<dyn capnp_rpc::VatNetwork<Role>> {
    let (reader, writer) = stream.into_split();
    Box::new(twoparty::VatNetwork::new(reader.compat(), writer.compat_write(), role, Default::default()))
}

struct Asking {
    runtime: Runtime,
    local: LocalSet,
    asked: asked::Client,
}

impl peer::Client for Asking {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        let Asking { runtime, local, asked } = self;
        local.block_on(runtime, async {
            match ask {
                Ask::Echo(bytes) => {
                    let mut request = asked.echo_request();
                    request.get().set_bytes(bytes);
                    Ok(Sum::of(request.send().promise.await?.get()?.get_bytes()?))
                }
                Ask::Show => sum_of_issue(asked.show_request().send().promise.await?.get()?.get_issue()?),
                Ask::List => sum_of_list(asked.list_request().send().promise.await?.get()?.get_issues()?),
            }
        })
    }
}

fn texts(sum: &mut Sum, list: text_list::Reader) -> Result<(), Failure> {
    for text in list.iter() {
        sum.text(text?.to_str()?);
    }
    Ok(())
}

fn sum_of_issue(issue: issue::Reader) -> Result<u64, Failure> {
    let mut sum = Sum::default();
    let fields = [
        issue.get_id()?,
        issue.get_title()?,
        issue.get_body()?,
        issue.get_author()?,
        issue.get_created_at()?,
        issue.get_updated_at()?,
    ];
    for field in fields {
        sum.text(field.to_str()?);
    }
    sum.number(issue.get_open());
    texts(&mut sum, issue.get_labels()?)?;
    texts(&mut sum, issue.get_assignees()?)?;
    for comment in issue.get_comments()? {
        for field in [comment.get_author()?, comment.get_created_at()?, comment.get_body()?] {
            sum.text(field.to_str()?);
        }
    }
    Ok(sum.total())
}

fn sum_of_list(list: issues::Reader) -> Result<u64, Failure> {
    let mut sum = Sum::default();
    for item in list.get_items()? {
        for field in [item.get_id()?, item.get_title()?, item.get_created_at()?, item.get_updated_at()?] {
            sum.text(field.to_str()?);
        }
        sum.number(item.get_open());
        sum.number(item.get_comment_count());
        texts(&mut sum, item.get_labels()?)?;
        texts(&mut sum, item.get_assignees()?)?;
    }
    Ok(sum.total())
}

impl Answering {
    fn new(stock: &Stock) -> Self {
        let mut issue = Builder::new_default();
        let mut shown = issue.init_root::<issue::Builder>();
        let from = &stock.issue;
        shown.set_id(&from.id);
        shown.set_title(&from.title);
        shown.set_body(&from.body);
        shown.set_open(from.open);
        shown.set_author(&from.author);
        shown.set_created_at(&from.created_at);
        shown.set_updated_at(&from.updated_at);
        fill(shown.reborrow().init_labels(from.labels.len() as u32), &from.labels);
        fill(shown.reborrow().init_assignees(from.assignees.len() as u32), &from.assignees);
        let mut comments = shown.init_comments(from.comments.len() as u32);
        for (index, from) in from.comments.iter().enumerate() {
            let mut comment = comments.reborrow().get(index as u32);
            comment.set_author(&from.author);
            comment.set_created_at(&from.created_at);
            comment.set_body(&from.body);
        }

        let mut list = Builder::new_default();
        let mut items = list.init_root::<issues::Builder>().init_items(stock.list.len() as u32);
        for (index, from) in stock.list.iter().enumerate() {
            let mut item = items.reborrow().get(index as u32);
            item.set_id(&from.id);
            item.set_title(&from.title);
            item.set_open(from.open);
            item.set_created_at(&from.created_at);
            item.set_updated_at(&from.updated_at);
            item.set_comment_count(from.comment_count);
            fill(item.reborrow().init_labels(from.labels.len() as u32), &from.labels);
            fill(item.init_assignees(from.assignees.len() as u32), &from.assignees);
        }
        Answering { issue, list }
    }
}

fn fill(mut list: text_list::Builder, texts: &[String]) {
    for (index, text) in texts.iter().enumerate() {
        list.set(index as u32, text::Reader::from(text.as_str()));
    }
}
