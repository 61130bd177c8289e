//! What is promised when the encoding of a request panics, as that of a type with its own `Serialize` may.
#![cfg(not(loom))]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{WAYS, Way, stop_after};
use libgrite_ipc::{
    Client, ClientBuilder, ErrorKind, Layout, Protocol, Server, Transport, Wire, testing, wire,
};
use rkyv::rancor::Fallible;
use rkyv::{Archive, Place, Serialize};

/// Panics when it is archived, if it is set.
struct Trap(bool);

impl Archive for Trap {
    type Archived = u8;
    type Resolver = ();

    fn resolve(&self, (): (), out: Place<u8>) {
        out.write(u8::from(self.0));
    }
}

impl<S: Fallible + ?Sized> Serialize<S> for Trap {
    fn serialize(&self, _: &mut S) -> Result<(), S::Error> {
        assert!(!self.0, "as set");
        Ok(())
    }
}

/// The trap comes behind the bytes, some of which are on their way by then.
#[derive(Archive, Serialize)]
struct Load {
    bytes: Vec<u8>,
    trap: Trap,
}

impl Wire for Load {
    const LAYOUT: u64 = Layout::named("Load").shape::<Load>().hash();
}

wire! {
    /// How long the load is.
    pub struct Length {
        /// In bytes.
        pub length: u64,
    }
}

enum Weigh {}

impl Protocol for Weigh {
    type Request = Load;
    type Response = Length;
    const NAME: &'static str = "weigh";
    const VERSION: u16 = 1;
}

fn weigh(load: &ArchivedLoad) -> Length {
    Length { length: load.bytes.len() as u64 }
}

fn load(length: usize, trap: bool) -> Load {
    Load { bytes: vec![7; length], trap: Trap(trap) }
}

fn panics(client: &mut Client<Weigh>, length: usize) {
    let sent = catch_unwind(AssertUnwindSafe(|| client.send(&load(length, true)).map(drop)));
    assert!(sent.is_err(), "it panics");
}

#[test]
fn a_connection_in_which_a_panic_left_half_a_request_is_given_up() {
    for &way in WAYS {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::<Weigh>::bind(folder.path().join("weigh.sock")).unwrap();
        let stop = server.handle();
        let transport = if way == Way::Socket { Transport::Socket } else { Transport::Ring };
        let builder = ClientBuilder::<Weigh>::new().transport(transport);
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| server.serve(|load, _| weigh(load)));
            stop_after(&stop, || {
                for length in [10, 10_000, 1_000_000] {
                    let mut client = match way {
                        Way::Pair => testing::pair_with(&Client::builder(), |load, _| weigh(load)),
                        _ => builder.connect(server.path()).unwrap(),
                    };
                    assert_eq!(client.send(&load(length, false)).unwrap().length, length as u64);
                    panics(&mut client, length);
                    let error = client.send(&load(1, false)).map(drop).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::PeerDied, "{length} bytes over {way:?}: {error}");
                    assert!(error.reason().unwrap().contains("panicked"), "over {way:?}: {error}");
                    if way == Way::Pair {
                        continue;
                    }
                    // Nothing more is sent there, so this goes over another connection.
                    assert_eq!(client.send_with_retry(&load(1, false)).unwrap().length, 1, "over {way:?}");
                    panics(&mut client, length);
                    assert_eq!(client.send_with_retry(&load(2, false)).unwrap().length, 2, "over {way:?}");
                }
            });
            serving.join().unwrap().unwrap();
        });
    }
}

#[test]
#[cfg(feature = "tokio")]
fn who_waits_beside_an_async_request_that_panics_is_told_at_once() {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use common::runtimes::everywhere;
    use libgrite_ipc::AsyncClient;

    everywhere(async |way| {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::<Weigh>::bind(folder.path().join("weigh.sock")).unwrap();
        let stop = server.handle();
        let path = server.path().to_owned();
        let held = Arc::new(Mutex::new(Vec::new()));
        let holding = Arc::clone(&held);
        let serving = std::thread::spawn(move || {
            server.serve_with(|_, responder| holding.lock().unwrap().push(responder))
        });
        let transport = if way == Way::Socket { Transport::Socket } else { Transport::Ring };
        let builder = Client::<Weigh>::builder().transport(transport).timeout(Duration::from_secs(600));
        let client: AsyncClient<Weigh> = builder.connect_async(&path).await.unwrap();
        let ask = |trap| {
            let client = client.clone();
            tokio::spawn(async move { client.send(&load(10, trap)).await.map(drop) })
        };
        let waits = ask(false);
        // It waits by then, or is told by the panic.
        tokio::task::yield_now().await;
        assert!(ask(true).await.unwrap_err().is_panic());
        let told = tokio::time::timeout(Duration::from_secs(20), waits).await.expect("it is told");
        let error = told.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PeerDied, "over {way:?}: {error}");
        held.lock().unwrap().clear();
        stop.stop();
        serving.join().unwrap().unwrap();
    });
}
