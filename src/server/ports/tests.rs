//! What the poller does for its clients by turns.

use super::super::connection::{Attendant, Connection, Lifeline, Turn};
use super::super::history::History;
use super::super::responder::Context;
use super::*;
use crate::channel::{Receiver, Sender};
use crate::frame::{Expiry, FROM_NOW, FailureCode, Header, Kind};
use crate::ring::{Await, Memory, Producer, Regions, Word};
use crate::shm::{MIN_CAPACITY, Region};
use crate::stream::{Peer, own_uid};
use crate::transport::{LocalLine, Outgoing};

const LIMIT: usize = 1024;

/// A port, and what its client has.
fn connect(session: u64) -> (Port, Regions) {
    connect_with(session, 1000, &Arc::default())
}

/// The same for a client that may have so many requests under way.
fn connect_with(session: u64, in_flight: u32, history: &Arc<History>) -> (Port, Regions) {
    let (near, far) = (Region::on_heap(MIN_CAPACITY), Region::on_heap(MIN_CAPACITY));
    let client = Regions { ours: near.clone(), theirs: far.clone() };
    let regions = Regions { ours: far, theirs: near };
    let connection = Connection::new(
        Context { session, peer: Peer { uid: own_uid(), pid: None }, ring: true },
        Lifeline::Local(Arc::new(LocalLine::new(|| {}))),
        Outgoing::Ring(Box::new(Sender::new(regions.clone(), 0, LIMIT))),
        in_flight,
        Arc::default(),
        Arc::clone(history),
        Attendant::Poller(Arc::<Control>::default()),
    );
    (Port::new(connection, regions, LIMIT), client)
}

/// The client of a new port of `ports`.
fn join(ports: &mut Ports, session: u64) -> Sender<Regions> {
    let (port, client) = connect(session);
    ports.add(port);
    Sender::new(client, 0, LIMIT)
}

fn ask(client: &mut Sender<Regions>) {
    let sent = client.send(Kind::Request, 1, |sink| sink.append(&Expiry::NEVER.to_bytes()));
    sent.expect("an honest peer").expect("it is short");
    client.announce();
}

/// Whose request the next sweep finds.
fn sweep(ports: &mut Ports) -> Option<u64> {
    let (place, ..) = ports.sweep()?;
    Some(ports.hot(place).session())
}

#[test]
fn a_quiet_client_is_heard_while_others_take_turns() {
    let mut ports = Ports::new(true);
    let mut clients = [0, 1, 2].map(|session| join(&mut ports, session));
    ports.cool();
    clients[1..].iter_mut().for_each(ask);
    let found = [sweep(&mut ports), sweep(&mut ports)].map(|found| found.expect("two have asked"));
    ports.cool();
    assert_eq!((ports.hot.len(), ports.near.len()), (2, 1), "who has not asked is quiet");
    let [first, mut last] = found.map(|session| session as usize);
    [first, 0].iter().for_each(|&session| ask(&mut clients[session]));
    let heard = (0..10).any(|_| {
        // Who was answered asks again while the other one is.
        let found = sweep(&mut ports).expect("somebody has asked");
        ask(&mut clients[last]);
        last = found as usize;
        found == 0
    });
    assert!(heard);
}

#[test]
fn a_quiet_client_is_heard_after_the_turn_of_one_whose_requests_take_long() {
    let mut ports = Ports::new(true);
    let mut clients: Vec<_> = (0..MAX_NEAR as u64).map(|session| join(&mut ports, session)).collect();
    ports.cool();
    ports.cool();
    clients.iter_mut().for_each(ask);
    ports.warm(0);
    let (mut others, mut requests) = (0, 0);
    while others == 0 {
        match sweep(&mut ports).expect("somebody has asked") {
            0 => requests += 1,
            _ => others += 1,
        }
        // Longer than a tick of the clock.
        std::thread::sleep(Duration::from_millis(10));
        ask(&mut clients[0]);
    }
    assert!(requests <= BATCH);
    assert!(ports.near.is_empty(), "the others are heard in the next turns");
}

/// One who asks while clients are handed over is looked at first, whatever comes of that: somebody is left over.
#[test]
fn a_sleep_that_leaves_somebody_out_is_a_nap() {
    let mut ports = Ports::new(true);
    let mut clients: Vec<_> = (0..=MAX_NEAR as u64).map(|session| join(&mut ports, session)).collect();
    ports.cool();
    ports.cool();
    let next = ports.near[0].session() as usize;
    ask(&mut clients[next]);
    assert!(!ports.hand_over(&Arc::default()));
    assert_eq!(ports.hot.len() + ports.near.len(), MAX_NEAR + 1);
    assert!(ports.hand_over(&Arc::default()), "another one is watched");
    assert_eq!((ports.hot.len(), ports.near.len(), ports.far.len()), (1, MAX_NEAR - 1, 1));
}

/// Lets the client ask as often as one turn allows, and answers at the end of each request as many
/// milliseconds later; says whether the next turn is to be a quick one.
fn turn(ports: &mut Ports, client: &mut Sender<Regions>, millis: u64) -> bool {
    (0..BATCH).for_each(|_| ask(client));
    for _ in 0..BATCH {
        let (place, id, _) = ports.sweep().expect("it has asked");
        ports.hot(place).connection().settle(id);
        std::thread::sleep(Duration::from_millis(millis));
    }
    assert_eq!(sweep(ports), None, "it has not asked again");
    ports.hot[0].is_quick
}

#[test]
fn a_turn_is_a_quick_one_after_one_that_was_soon_over() {
    let mut ports = Ports::new(true);
    let mut client = join(&mut ports, 0);
    let end = Instant::now() + Duration::from_secs(30);
    // What takes this long on a busy machine is not always soon over.
    while !turn(&mut ports, &mut client, 0) {
        assert!(Instant::now() < end, "none of these turns is a quick one");
    }
    assert!(!turn(&mut ports, &mut client, 1), "a millisecond is a long time");
}

/// Others than the poller answer, too, and see how far the client has read meanwhile.
#[test]
fn a_client_that_is_slow_to_read_knows_on_which_position_the_poller_sleeps() {
    let (mut port, regions) = connect(0);
    let connection = Arc::clone(port.connection());
    let mut client = Receiver::new(regions.clone(), 0, LIMIT);
    let answer = || connection.fail(1, FailureCode::Dropped, &"why not".repeat(50));
    // More than one look at the ring can move on.
    (0..20).for_each(|_| answer());
    for sleep in 0..3 {
        assert!(!port.fall_asleep(), "nobody has moved");
        let (_, word, position) = port.awaited_elsewhere().expect("the client's next move matters");
        assert_eq!((word, regions.peer_await(Await::Space)), (Word::Consumed, position | 1), "{sleep}");
        client.poll().expect("an honest peer").expect("an answer");
        answer();
        assert!(connection.is_backlogged() && !port.has_news(), "others have moved on what was waiting");
    }
}

/// Fills the client's ring and more with answers, until some wait for space.
fn hold_up(connection: &Connection) {
    while !connection.is_backlogged() {
        connection.fail(1, FailureCode::Dropped, &"why not".repeat(50));
    }
}

#[test]
fn an_answer_goes_on_its_way_to_the_end_after_a_stop() {
    let mut ports = Ports::new(true);
    let (port, regions) = connect(0);
    let connection = Arc::clone(port.connection());
    ports.add(port);
    ports.cool();
    ports.warm(0);
    hold_up(&connection);
    // It has asked nothing for a while, and the stop comes just before such are taken for quiet.
    ports.sweeps = COOLING - 1;
    ports.stop();
    let mut client = Receiver::new(regions, 0, LIMIT);
    for _ in 0..1000 {
        while client.poll().expect("an honest peer").is_some() {}
        assert_eq!(sweep(&mut ports), None);
    }
    assert!(!connection.is_backlogged() && ports.are_drained());
}

#[test]
fn a_request_that_has_come_in_part_is_turned_away_after_a_stop() {
    let mut ports = Ports::new(true);
    let (port, regions) = connect(0);
    ports.add(port);
    let mut client = Producer::new(regions.clone(), 0);
    let mut part = |length: u32, more| {
        let header = Header::new(Kind::Request, 1, length, more);
        assert_eq!(client.push(header, &vec![0; length as usize]), Ok(true));
        client.publish();
    };
    part(crate::ring::max_payload(MIN_CAPACITY.into()), true);
    assert_eq!(sweep(&mut ports), None);
    ports.stop();
    assert_eq!(sweep(&mut ports), None);
    assert!(!ports.are_drained(), "its client could not know whether it was carried out");
    part(16, false);
    assert_eq!(sweep(&mut ports), None);
    assert!(ports.are_drained());
    let mut client = Receiver::new(regions, 0, LIMIT);
    assert_eq!(client.poll().expect("an honest peer"), Some((Kind::Failure, 1)));
}

#[test]
fn a_subscriber_with_as_many_requests_as_may_be_hears_of_what_is_published() {
    let history = Arc::<History>::default();
    let (mut port, regions) = connect_with(0, 1, &history);
    let connection = Arc::clone(port.connection());
    assert!(connection.heed(Kind::Subscribe, FROM_NOW));
    connection.begin(Turn::Over);
    let mut client = Receiver::new(regions, 0, LIMIT);
    history.publish(Bytes::new());
    assert!(port.poll(false, true).is_none());
    assert!(!port.fall_asleep(), "nothing is left to do");
    let kinds: Vec<_> = std::iter::from_fn(|| client.poll().expect("an honest peer")).collect();
    assert!(kinds.iter().any(|(kind, _)| *kind == Kind::Notice), "{kinds:?}");
}
