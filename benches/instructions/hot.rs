//! Hot requests on one thread: what is counted.

use libgrite_ipc::inside::{Asking, on_one_thread};
use libgrite_ipc::rkyv::Archived;
use libgrite_ipc::{Encoded, Grite, IpcCommand, IpcResponse, Protocol, Responder, wire};

use crate::samples;

wire! {
    /// Bytes to give back.
    pub struct Load {
        /// The bytes.
        pub bytes: Vec<u8>,
    }
}

enum Echo {}

impl Protocol for Echo {
    type Request = Load;
    type Response = Load;
    const NAME: &'static str = "echo";
    const VERSION: u16 = 1;
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// The smallest request and the smallest answer of the tracker.
    Ping,
    /// An issue of 888 bytes that was archived before.
    Issue,
    /// 4 KiB there and back, put together by the handler.
    Echo,
    /// 48 bytes there and back, sixteen requests at once.
    Flight,
}

impl Case {
    pub const ALL: [Self; 4] = [Case::Ping, Case::Issue, Case::Echo, Case::Flight];

    pub fn name(self) -> &'static str {
        match self {
            Case::Ping => "ping",
            Case::Issue => "issue",
            Case::Echo => "echo",
            Case::Flight => "flight",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Case::ALL.into_iter().find(|case| case.name() == name)
    }

    /// Asks so many times.
    pub fn run(self, requests: u32) {
        match self {
            Case::Ping => ask::<Grite>(requests, &IpcCommand::Ping, |_, responder| {
                responder.reply(&IpcResponse::Pong).expect("the client is there");
            }),
            Case::Issue => {
                let issue = Encoded::new(&samples::issue(888)).expect("an issue is short");
                let show = IpcCommand::IssueShow { id: "bd-0088".to_owned() };
                ask::<Grite>(requests, &show, |_, responder| {
                    responder.reply_encoded(&issue).expect("the client is there");
                });
            }
            Case::Echo => ask(requests, &Load { bytes: vec![7; 4096] }, echo),
            Case::Flight => {
                let batch: [Load; 16] = std::array::from_fn(|_| Load { bytes: vec![7; 48] });
                ask_at_once(requests, &batch, echo);
            }
        }
    }
}

fn echo(load: &ArchivedLoad, responder: Responder<Echo>) {
    let bytes = load.bytes.to_vec();
    responder.reply(&Load { bytes }).expect("the client is there");
}

fn ask<P: Protocol>(
    requests: u32,
    request: &P::Request,
    handler: impl Fn(&Archived<P::Request>, Responder<P>) + Sync,
) {
    on_one_thread::<P>(handler, |mut client: Asking<P>, answer| {
        for _ in 0..requests {
            let asked = on_client_side(|| client.pose(request)).expect("the server is there");
            on_server_side(answer);
            on_client_side(|| client.hear(asked).map(drop)).expect("it has answered");
        }
    });
}

/// Asks so many times, as often at once as the batch is long.
fn ask_at_once<P: Protocol>(
    requests: u32,
    batch: &[P::Request],
    handler: impl Fn(&Archived<P::Request>, Responder<P>) + Sync,
) {
    on_one_thread::<P>(handler, |client: Asking<P>, answer| {
        for _ in 0..requests as usize / batch.len() {
            let open = on_client_side(|| client.start_all(batch)).expect("the server is there");
            for _ in batch {
                on_server_side(answer);
            }
            on_client_side(|| {
                for pending in open {
                    pending.wait().expect("it has answered");
                }
            });
        }
    });
}

/// What is counted as the client's.
#[inline(never)]
fn on_client_side<T>(work: impl FnOnce() -> T) -> T {
    std::hint::black_box(work())
}

/// What is counted as the server's.
#[inline(never)]
fn on_server_side(work: &mut dyn FnMut()) {
    work();
    // So that this function goes on after the call, and ends where it ends.
    std::hint::black_box(());
}
