//! One cell: a client asks for a while, hot or paced, and says what it saw.

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::process::Pid;

use crate::cpu;
use crate::peer::{Client, Failure, Peer, Reads, Seat};
use crate::results::Figures;
use crate::work::{Ask, STAMP, stamp};

/// How hard the client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The next question follows the answer.
    Hot,
    /// So many questions a second, each at its own time, whether or not the one before it was late.
    PerSecond(u32),
}

/// A paced client sleeps until so long before its next question and looks at the clock from then on: a sleep
/// alone ends too late, which no peer is to blame for.
const EARLY: Duration = Duration::from_micros(200);

/// How long a client that waits for its time looks at most between two looks at the clock.
const LONGEST: Duration = Duration::from_secs(60);

/// Asks `peer` for `time`, after a warm-up, in the process of the client.
///
/// The warm-up is hot, so that all memory has been used, and then has the pace that is measured: hot questions leave both
/// sides on two CPUs, and the scheduler takes up to 100 of 1,000 a second to put them where these are quickest.
///
/// # Errors
/// The peer's own words, or that an answer was wrong.
pub fn measure(
    peer: &dyn Peer,
    seat: &Seat,
    server: Pid,
    pace: Pace,
    time: Duration,
) -> Result<Figures, Failure> {
    let mut asker = Asker::new(peer, seat)?;
    let warm_up = (time / 5).max(Duration::from_millis(20));
    asker.run(Pace::Hot, warm_up)?;
    if pace != Pace::Hot {
        asker.run(pace, warm_up)?;
    }
    asker.histogram.reset();

    let before = (cpu::of_this_process()?, cpu::of(server)?);
    let waited = asker.waited;
    let elapsed = asker.run(pace, time)?;
    let after = (cpu::of_this_process()?.saturating_sub(asker.waited - waited), cpu::of(server)?);

    let share = |after: Duration, before: Duration| {
        after.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64()
    };
    let histogram = &asker.histogram;
    Ok(Figures {
        n: histogram.len(),
        p50_ns: histogram.value_at_quantile(0.5),
        p99_ns: histogram.value_at_quantile(0.99),
        p999_ns: histogram.value_at_quantile(0.999),
        max_ns: histogram.max(),
        rate_per_s: histogram.len() as f64 / elapsed.as_secs_f64(),
        client_cpu: share(after.0, before.0),
        server_cpu: share(after.1, before.1),
    })
}

struct Asker {
    client: Box<dyn Client>,
    ask: Ask,
    count: u32,
    /// The sum of an answer without its stamp.
    rest: u64,
    /// Which bits of the stamp the answer brings back.
    part_of_stamp: u64,
    histogram: Histogram<u64>,
    /// How much CPU time went into waiting for the times of the questions.
    waited: Duration,
}

impl Asker {
    fn new(peer: &dyn Peer, seat: &Seat) -> Result<Self, Failure> {
        let client = peer.client(seat)?;
        let reads = peer.about().reads;
        let mut ask = seat.work.ask();
        // What is left of the sum when the stamp is all zeros.
        if let Ask::Echo(bytes) = &mut ask {
            bytes[..STAMP].fill(0);
        }
        let rest = reads.expected(seat.work, &ask, &seat.stock);
        let part_of_stamp = match (&ask, reads) {
            (Ask::Echo(_), Reads::Word) => u64::from(u32::MAX),
            (Ask::Echo(_), _) => u64::MAX,
            (Ask::Show | Ask::List, _) => 0,
        };
        // From 1 ns to a minute, three digits: allocated now, never while measuring.
        let histogram = Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, 3)?;
        Ok(Asker { client, ask, count: 0, rest, part_of_stamp, histogram, waited: Duration::ZERO })
    }

    /// Asks for `time`; returns how long that took.
    fn run(&mut self, pace: Pace, time: Duration) -> Result<Duration, Failure> {
        let start = Instant::now();
        let mut asked = 0;
        loop {
            let (intended, is_over) = match pace {
                Pace::Hot => {
                    let now = Instant::now();
                    (now, now - start >= time)
                }
                Pace::PerSecond(rate) => {
                    let due = start + Duration::from_secs(asked) / rate;
                    self.waited += until(due);
                    // Who is far behind its times is not asked for all of them.
                    (due, due - start >= time || start.elapsed() >= 2 * time)
                }
            };
            if is_over {
                return Ok(start.elapsed());
            }
            self.once()?;
            self.histogram.saturating_record(intended.elapsed().as_nanos() as u64);
            asked += 1;
        }
    }

    #[inline]
    fn once(&mut self) -> Result<(), Failure> {
        self.count = self.count.wrapping_add(1);
        let stamp = stamp(&mut self.ask, self.count);
        let expected = self.rest.wrapping_add(stamp & self.part_of_stamp);
        let sum = self.client.ask(&self.ask)?;
        if sum == expected {
            Ok(())
        } else {
            Err(format!("the sum of an answer is {sum}, not {expected}").into())
        }
    }
}

/// Waits for an instant, asleep as long as that is safe. Returns how much CPU time that took.
fn until(due: Instant) -> Duration {
    let before = cpu::of_this_thread();
    let now = Instant::now();
    if let Some(sleep) = due.checked_duration_since(now + EARLY) {
        thread::sleep(sleep);
    }
    look_until(due.checked_sub(cpu::LOOK).unwrap_or(due));
    let used = cpu::of_this_thread().saturating_sub(before);
    look_until(due);
    used
}

fn look_until(due: Instant) {
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}
