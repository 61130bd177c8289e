//! libgrite-ipc 0.5.3 as published: its client, and a server from its own framing and messages, since the
//! crate has none.
//!
//! Its commands are fixed. An echo is a comment whose text comes back as the answer's data; a show and a list
//! are its own, answered with JSON in a string, as its daemon does it. The client reads that string and does
//! not parse it.

use std::os::unix::net::UnixListener;

use published::framing::{read_framed, write_framed};
use published::messages::{ArchivedIpcCommand, ArchivedIpcRequest};
use published::{IpcClient, IpcCommand, IpcRequest, IpcResponse};
use rkyv::rancor;

use crate::peer::{About, Client, Failure, Peer, Reads, Seat, Side};
use crate::touch::Sum;
use crate::work::{Ask, Work};

pub struct Published;

impl Peer for Published {
    fn about(&self) -> About {
        About {
            name: "published",
            title: "libgrite-ipc 0.5.3 as published",
            reads: Reads::Json,
            side: Side::Peer,
        }
    }

    fn server(&self, seat: &Seat, ready: &mut dyn FnMut()) -> Result<(), Failure> {
        let listener = UnixListener::bind(seat.socket())?;
        ready();
        let (mut stream, _) = listener.accept()?;
        let (show, list) = (seat.stock.json(Work::Show), seat.stock.json(Work::List));
        loop {
            let bytes = read_framed(&mut stream)?;
            let request = rkyv::access::<ArchivedIpcRequest, rancor::Error>(&bytes)?;
            let data = match &request.command {
                ArchivedIpcCommand::IssueComment { body, .. } => body.as_str().to_owned(),
                ArchivedIpcCommand::IssueShow { .. } => show.clone(),
                ArchivedIpcCommand::IssueList { .. } => list.clone(),
                _ => return Err("a command that no client here sends".into()),
            };
            let response = IpcResponse::success(request.request_id.as_str().to_owned(), Some(data));
            write_framed(&mut stream, &rkyv::to_bytes::<rancor::Error>(&response)?)?;
        }
    }

    fn client(&self, seat: &Seat) -> Result<Box<dyn Client>, Failure> {
        let path = seat.socket();
        let client = IpcClient::connect(path.to_str().ok_or("a path that is not text")?)?;
        let issue_id = || seat.stock.issue.id.clone();
        let command = match seat.work {
            Work::Echo(size) => {
                IpcCommand::IssueComment { issue_id: issue_id(), body: String::with_capacity(size) }
            }
            Work::Show => IpcCommand::IssueShow { issue_id: issue_id() },
            Work::List => IpcCommand::IssueList { state: None, label: None },
        };
        let words = ["1", "repository", "0123456789abcdef", "data"].map(str::to_owned);
        let [request_id, repository, actor, data] = words;
        let request = IpcRequest::new(request_id, repository, actor, data, command);
        Ok(Box::new(Asking { client, request }))
    }
}

struct Asking {
    client: IpcClient,
    request: IpcRequest,
}

impl Client for Asking {
    fn ask(&mut self, ask: &Ask) -> Result<u64, Failure> {
        if let (IpcCommand::IssueComment { body, .. }, Ask::Echo(bytes)) = (&mut self.request.command, ask) {
            body.clear();
            body.push_str(std::str::from_utf8(bytes)?);
        }
        let response = self.client.send(&self.request)?;
        Ok(Sum::of(response.data.as_deref().unwrap_or_default().as_bytes()))
    }
}
