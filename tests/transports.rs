//! What every transport promises, tried over each of them.

mod common;

use std::time::{Duration, Instant};

use common::gate::Gate;
use common::{Order, Reached, WAYS, Way, pattern, reach};
use libgrite_ipc::{ErrorKind, WaitStrategy};

/// Runs a test over each way.
fn over_each_way(test: impl Fn(Way)) {
    for &way in WAYS {
        println!("over {way:?}");
        test(way);
    }
}

fn plain(way: Way) -> Reached {
    reach(way, |builder| builder)
}

#[test]
fn messages_of_every_length_come_back_unchanged() {
    over_each_way(|way| {
        let mut reached = plain(way);
        let client = &mut reached.client;
        let lengths = (0..70).chain([1000, 16_300, 16_368, 16_384, 20_000, 65_520, 65_536, 1 << 20]);
        for length in lengths {
            let bytes = pattern(length);
            let done = client.send(&Order::Echo(bytes.clone())).unwrap();
            assert!(done.bytes == bytes[..], "{length} bytes over {way:?}");
        }
    });
}

#[test]
fn ten_thousand_requests_are_answered_in_order() {
    over_each_way(|way| {
        let mut reached = plain(way);
        let client = &mut reached.client;
        for number in 0..10_000u32 {
            let length = (number % 300) as usize;
            let bytes: Vec<u8> = number.to_le_bytes().into_iter().cycle().take(length).collect();
            let done = client.send(&Order::Echo(bytes.clone())).unwrap();
            assert!(done.bytes == bytes[..], "request {number} over {way:?}");
        }
    });
}

#[test]
fn every_way_of_waiting_answers() {
    for strategy in [WaitStrategy::Adaptive, WaitStrategy::Spin, WaitStrategy::Park] {
        over_each_way(|way| {
            let mut reached = reach(way, |builder| builder.wait(strategy));
            let client = &mut reached.client;
            for length in [0, 64, 100_000] {
                let done = client.send(&Order::Make(length)).unwrap();
                assert!(done.bytes == pattern(length as usize)[..], "{length} bytes, {strategy:?}, {way:?}");
            }
        });
    }
}

#[test]
fn a_message_at_the_limit_fits_and_a_longer_one_loses_nothing() {
    const LIMIT: u32 = 64 << 10;
    /// What the archive of a request or an answer holds beside its bytes, at most.
    const OVERHEAD: u32 = 32;
    over_each_way(|way| {
        let mut reached = reach(way, |builder| builder.max_message(LIMIT));
        let client = &mut reached.client;
        let fits = pattern((LIMIT - OVERHEAD) as usize);
        let longer = pattern(LIMIT as usize);
        assert!(client.send(&Order::Echo(fits.clone())).unwrap().bytes == fits[..]);
        let error = client.send(&Order::Echo(longer)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "a request over {way:?}: {error}");
        let error = client.send(&Order::Make(LIMIT)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "an answer over {way:?}: {error}");
        assert!(client.send(&Order::Echo(fits.clone())).unwrap().bytes == fits[..]);
    });
}

/// Fault 46. A request ends at its deadline; its answer comes later, and is nobody's.
#[test]
fn a_late_answer_is_dropped_and_the_connection_goes_on() {
    over_each_way(|way| {
        let mut reached = reach(way, |builder| builder.timeout(Duration::from_millis(50)));
        let client = &mut reached.client;
        let gate = Gate::new();
        let start = Instant::now();
        let error = client.send(&gate.order(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}");
        assert!(start.elapsed() >= Duration::from_millis(50), "{way:?}");
        drop(gate);
        let end = Instant::now() + Duration::from_secs(20);
        // The machine may be too slow for the short timeout of this test once or twice.
        loop {
            match client.send(&Order::Make(9)) {
                Ok(done) => break assert!(done.bytes == pattern(9)[..], "{way:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}: {error}"),
            }
            assert!(Instant::now() < end, "{way:?} never recovers");
        }
    });
}

/// Fault 44. A handler that panics fails its request, and the daemon serves on.
#[test]
fn a_handler_that_panics_answers_with_an_error_and_the_server_lives() {
    over_each_way(|way| {
        let mut reached = plain(way);
        let client = &mut reached.client;
        let error = client.send(&Order::Panic).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{way:?}");
        assert!(error.to_string().contains("panicked"), "{error}");
        assert!(client.send(&Order::Make(3)).unwrap().bytes == pattern(3)[..]);
    });
}

#[test]
fn large_messages_flow_through_small_rings() {
    over_each_way(|way| {
        let mut reached = reach(way, |builder| builder.request_ring(4096).reply_ring(4096));
        let client = &mut reached.client;
        for length in [1, 1000, 1008, 1009, 4096, 100_000, 3 << 20] {
            let bytes = pattern(length);
            let done = client.send(&Order::Echo(bytes.clone())).unwrap();
            assert!(done.bytes == bytes[..], "{length} bytes over {way:?}");
        }
    });
}

/// Fault 46. Answers that come about when their requests end, some before and some behind: whatever is answered
/// is answered with its own answer.
#[test]
fn late_answers_are_never_those_of_other_requests() {
    over_each_way(|way| {
        let mut reached = reach(way, |builder| builder.timeout(Duration::from_millis(8)));
        let (mut answered, mut late) = (0, 0);
        // On a busy machine it takes some more until both have happened.
        for number in 0..8000u32 {
            if number >= 80 && answered > 0 && late > 0 {
                break;
            }
            let length = number * 97 % 6000;
            let delay = u64::from(number * 7 % 13);
            match reached.client.send(&Order::MakeLate((length, delay))) {
                Ok(done) => {
                    assert!(done.bytes == pattern(length as usize)[..], "request {number} over {way:?}");
                    answered += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}: {error}");
                    late += 1;
                }
            }
        }
        println!("{answered} in time, {late} late");
        assert!(answered > 0 && late > 0, "{way:?}: {answered} in time, {late} late");
    });
}

/// Fault 46. A late answer that fills the ring many times over holds up none that comes behind it.
#[test]
fn after_a_late_and_large_answer_requests_of_any_length_go_on() {
    over_each_way(|way| {
        let mut reached = reach(way, |builder| builder.timeout(Duration::from_millis(300)));
        let client = &mut reached.client;
        for length in [10, 1 << 20, 4 << 20] {
            let gate = Gate::new();
            let error = client.send(&gate.order(4 << 20)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}");
            drop(gate);
            let bytes = pattern(length);
            let end = Instant::now() + Duration::from_secs(20);
            // The machine may be too slow for the short timeout of this test once or twice.
            while client
                .send(&Order::Echo(bytes.clone()))
                .is_err_and(|error| error.kind() == ErrorKind::Timeout)
            {
                assert!(Instant::now() < end, "{length} bytes over {way:?} never arrive");
            }
            assert!(client.send(&Order::Make(9)).unwrap().bytes == pattern(9)[..], "{way:?}");
        }
    });
}

/// Fault 46. Requests that are under way in part when their time is up are given up whole.
#[test]
fn requests_that_time_out_on_a_busy_server_leave_the_connection_whole() {
    over_each_way(|way| {
        let choose = |builder: libgrite_ipc::ClientBuilder<common::Work>| {
            builder.timeout(Duration::from_millis(50)).request_ring(4096).reply_ring(4096)
        };
        let mut reached = reach(way, choose);
        let client = &mut reached.client;
        let gate = Gate::new();
        client.send(&gate.order(10)).unwrap_err();
        // Longer than the ring, so each is under way when its time is up.
        for _ in 0..3 {
            let error = client.send(&Order::Echo(pattern(1 << 20))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}: {error}");
        }
        drop(gate);
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match client.send(&Order::Make(9)) {
                Ok(done) => break assert!(done.bytes == pattern(9)[..]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{way:?}: {error}"),
            }
            assert!(Instant::now() < end, "{way:?} never recovers");
        }
    });
}

#[test]
fn the_smallest_max_message_still_carries_a_failure() {
    over_each_way(|way| {
        let mut reached = reach(way, |builder| builder.max_message(1));
        let client = &mut reached.client;
        for order in [Order::Make(100_000), Order::Echo(pattern(100_000))] {
            let error = client.send(&order).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{way:?}: {error}");
        }
        assert!(client.send(&Order::Make(9)).unwrap().bytes == pattern(9)[..], "{way:?}");
    });
}
