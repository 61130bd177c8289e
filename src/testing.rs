//! A client and its server in one process, for tests and embedding: no process, no socket, no files.
//!
//! The pair speaks through the same rings as two processes do, only that they lie on the heap. The
//! same frames, checks, errors and deadlines apply.
//!
//! ```
//! use libgrite_ipc::{Protocol, testing, wire};
//!
//! wire! {
//!     pub struct Query { pub prefix: String }
//!     pub struct Hits { pub words: Vec<String> }
//! }
//! enum Search {}
//! impl Protocol for Search {
//!     type Request = Query;
//!     type Response = Hits;
//!     const NAME: &'static str = "search";
//!     const VERSION: u16 = 1;
//! }
//!
//! # fn main() -> Result<(), libgrite_ipc::Error> {
//! let words = ["sail", "salt", "sand"];
//! let mut client = testing::pair::<Search>(move |query, _cx| {
//!     let fits = |word: &&str| word.starts_with(query.prefix.as_str());
//!     Hits { words: words.into_iter().filter(fits).map(str::to_owned).collect() }
//! });
//! let hits = client.send(&Query { prefix: "sa".to_owned() })?;
//! assert_eq!(hits.words.len(), 3);
//! # Ok(()) }
//! ```

use std::sync::Arc;
use std::thread::Scope;

use rkyv::Archived;

use crate::channel::{Receiver, Sender};
use crate::client::{self, Client, ClientBuilder};
use crate::protocol::Protocol;
use crate::ring::Regions;
use crate::server::{
    self, AtEnd, Attendant, Connection, Context, Control, History, Note, Poller, Pool, Port, Responder,
    Service,
};
use crate::shm::Region;
use crate::stream::{Peer, own_uid};
use crate::transport::{Incoming, LocalLine, Outgoing};
use crate::wait::WaitStrategy;

/// How many requests a pair takes before the first of them is answered.
const MAX_IN_FLIGHT: u32 = 256;

/// The only session of a pair's server.
const SESSION: u64 = 1;

/// A client whose requests `handler` answers on a thread of its own, until the client is dropped.
///
/// # Panics
/// When the system starts no thread.
pub fn pair<P: Protocol>(
    handler: impl Fn(&Archived<P::Request>, &Context) -> P::Response + Send + Sync + 'static,
) -> Client<P> {
    pair_with(&ClientBuilder::new(), handler)
}

/// As [`pair`], with the sizes, the timeout and the waiting of `builder`.
///
/// # Panics
/// When the system starts no thread.
pub fn pair_with<P: Protocol>(
    builder: &ClientBuilder<P>,
    handler: impl Fn(&Archived<P::Request>, &Context) -> P::Response + Send + Sync + 'static,
) -> Client<P> {
    pair_serving(builder, move |request, responder: Responder<P>| {
        let response = handler(request, responder.context());
        // As in `Server::serve`: nobody is left to be told.
        let _ = responder.reply(&response);
    })
}

/// As [`pair_with`], but the handler answers through a [`Responder`], as with
/// [`Server::serve_with`](crate::Server::serve_with).
///
/// # Panics
/// When the system starts no thread.
pub fn pair_serving<P: Protocol>(
    builder: &ClientBuilder<P>,
    handler: impl Fn(&Archived<P::Request>, Responder<P>) + Send + Sync + 'static,
) -> Client<P> {
    let (client, mut poller, line) = ends(builder);
    let serve = move || {
        // A client would wait for its whole time if a panic ended the thread, as a check of a request may.
        let _end = AtEnd(|| line.sever());
        let service = Service { handler, may_block: None, pool: Pool::new(1, 1, 0), crew: Arc::default() };
        std::thread::scope(|scope| while answer_next(&mut poller, &service, scope) {});
    };
    let thread = std::thread::Builder::new().name("ipc-pair".to_owned());
    thread.spawn(serve).expect("the system starts a thread for the pair's server");
    client
}

/// Waits for the next request and has it answered; says whether one has come before the pair's end.
#[inline]
pub(crate) fn answer_next<'scope, P: Protocol, H: Fn(&Archived<P::Request>, Responder<P>) + Sync>(
    poller: &mut Poller,
    service: &'scope Service<'_, P, H>,
    scope: &'scope Scope<'scope, '_>,
) -> bool {
    let Some(arrival) = poller.next() else { return false };
    service.answer(scope, arrival);
    true
}

/// A client, the poller at the other end of its rings, which somebody has to call, and the lifeline of both.
pub(crate) fn ends<P: Protocol>(builder: &ClientBuilder<P>) -> (Client<P>, Poller, Arc<LocalLine>) {
    let sizes = builder.granted_sizes();
    let limit = sizes.max_message as usize;
    let (requests, replies) = (Region::on_heap(sizes.request), Region::on_heap(sizes.reply));
    let near = Regions { ours: requests.clone(), theirs: replies.clone() };
    let far = Regions { ours: replies, theirs: requests };

    let control = Arc::<Control>::default();
    let history = Arc::<History>::default();
    let line = {
        let control = Arc::clone(&control);
        Arc::new(LocalLine::new(move || {
            // Nobody is left whose requests are to be answered before the end.
            control.tell(Note::Left(SESSION));
            control.tell(Note::Stop);
        }))
    };
    let connection = Connection::new(
        Context {
            session: SESSION,
            peer: Peer { uid: own_uid(), pid: Some(std::process::id()) },
            ring: true,
        },
        server::Lifeline::Local(Arc::clone(&line)),
        Outgoing::Ring(Box::new(Sender::new(far.clone(), 0, limit))),
        MAX_IN_FLIGHT,
        Arc::default(),
        Arc::clone(&history),
        Attendant::Poller(Arc::clone(&control)),
    );
    control.tell(Note::Arrived(Box::new(Port::new(connection, far, limit))));
    let client = builder.client(
        client::Welcomed {
            outgoing: Outgoing::Ring(Box::new(Sender::new(near.clone(), 0, limit))),
            incoming: Incoming::Ring(Box::new(Receiver::new(near, 0, limit))),
            lifeline: client::Lifeline::Local(Arc::clone(&line)),
            in_flight: MAX_IN_FLIGHT,
            daemon_release: 0,
        },
        None,
    );
    (client, Poller::new(&Arc::default(), control, history, WaitStrategy::Adaptive, true), line)
}
