//! A watchdog that goes to rest while somebody goes to sleep.

use loom::thread;

use super::*;

/// One of the two sees the other: who begins to sleep calls a watchdog that rests, or the watchdog does not rest.
fn nobody_sleeps_unwatched() {
    let (sleeper, rest) = (Arc::new(Sleeper::new()), Arc::new(Rest(AtomicBool::new(false))));
    let sleeping = {
        let (sleeper, rest) = (Arc::clone(&sleeper), Arc::clone(&rest));
        thread::spawn(move || sleeper.begin(&rest))
    };
    let rests = rest.begin(|| sleeper.is_asleep());
    let called = sleeping.join().unwrap();
    assert!(called || !rests, "a sleeper that nobody wakes");
}

#[test]
fn a_watchdog_does_not_rest_while_somebody_sleeps() {
    loom::model(nobody_sleeps_unwatched);
}

/// Who begins to sleep sees that its daemon is gone, or is seen to sleep by who has found that out.
#[test]
fn nobody_sleeps_unseen_for_a_daemon_that_is_gone() {
    loom::model(|| {
        let sleeper = Arc::new(Sleeper::new());
        let sleeping = {
            let sleeper = Arc::clone(&sleeper);
            thread::spawn(move || {
                sleeper.begin(&Rest(AtomicBool::new(false)));
                sleeper.is_gone()
            })
        };
        sleeper.mark_gone();
        let seen = sleeper.is_asleep();
        assert!(sleeping.join().unwrap() || seen);
    });
}

#[test]
#[should_panic(expected = "a sleeper that nobody wakes")]
fn without_the_fence_a_watchdog_rests_beside_a_sleeper() {
    loom::model(|| {
        crate::sync::without_fence::turn_on();
        nobody_sleeps_unwatched();
    });
}
