//! A bounded number of threads for requests that may block: [`Pool`].
//!
//! Threads start when there is work for them and end when there has been none for a while. Work that
//! has no thread yet waits, as many jobs and bytes of it as may; what is more is given back.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope};
use std::time::Duration;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// Work in a queue, and the threads that do it.
#[derive(Debug)]
pub(crate) struct Pool<J> {
    max_workers: usize,
    max_waiting: usize,
    max_bytes: u64,
    state: Mutex<State<J>>,
    /// There is work, or the pool has closed.
    news: Condvar,
}

#[derive(Debug)]
struct State<J> {
    /// Each with the bytes that count, which are none where a thread is about to take it.
    jobs: VecDeque<(J, u64)>,
    /// All of these.
    bytes: u64,
    workers: usize,
    /// Workers that have a job, and those that wait for one.
    busy: usize,
    idle: usize,
    closed: bool,
}

impl<J: Send> Pool<J> {
    /// A pool of at most `max_workers` threads, 1 at least, before which `max_waiting` jobs of `max_bytes`
    /// together may wait.
    pub(crate) fn new(max_workers: usize, max_waiting: usize, max_bytes: u64) -> Self {
        let state = State { jobs: VecDeque::new(), bytes: 0, workers: 0, busy: 0, idle: 0, closed: false };
        Pool {
            max_workers: max_workers.max(1),
            max_waiting: max_waiting.max(1),
            max_bytes,
            state: Mutex::new(state),
            news: Condvar::new(),
        }
    }

    /// Has `job`, which takes so many `bytes`, done by `work` on a thread of the pool.
    ///
    /// # Errors
    /// Gives the job back when too many wait, or no thread can be started.
    pub(crate) fn submit<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        job: J,
        bytes: u64,
        work: impl Fn(J) + Send + 'scope,
    ) -> Result<(), J>
    where
        J: 'scope,
    {
        let mut state = self.lock();
        // Jobs that a thread is about to take do not wait.
        let waiting = state.jobs.len().checked_sub(self.max_workers - state.busy);
        let bytes = if waiting.is_some() { bytes } else { 0 };
        let full = waiting.is_some_and(|count| count >= self.max_waiting)
            || bytes > self.max_bytes.saturating_sub(state.bytes);
        if state.closed || full {
            return Err(job);
        }
        state.jobs.push_back((job, bytes));
        state.bytes += bytes;
        if state.idle >= state.jobs.len() {
            self.news.notify_one();
        } else if state.workers < self.max_workers {
            let started = Builder::new().name("ipc-worker".to_owned()).spawn_scoped(scope, move || {
                let mut was_busy = false;
                while let Some(job) = self.next(was_busy) {
                    work(job);
                    was_busy = true;
                }
            });
            match started {
                Ok(_) => state.workers += 1,
                Err(_) if state.workers == 0 => {
                    state.bytes -= bytes;
                    return Err(state.jobs.pop_back().expect("the job is there").0);
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Takes no more work, and gives back what waits. Jobs that were begun are done.
    pub(crate) fn close(&self) -> impl Iterator<Item = J> + use<J> {
        let mut state = self.lock();
        state.closed = true;
        state.bytes = 0;
        self.news.notify_all();
        std::mem::take(&mut state.jobs).into_iter().map(|(job, _)| job)
    }

    /// The next job; nothing when the calling thread is to end.
    fn next(&self, was_busy: bool) -> Option<J> {
        let mut state = self.lock();
        state.busy -= usize::from(was_busy);
        let mut in_vain = false;
        loop {
            if let Some((job, bytes)) = state.jobs.pop_front() {
                state.bytes -= bytes;
                state.busy += 1;
                return Some(job);
            }
            if state.closed || in_vain {
                state.workers -= 1;
                return None;
            }
            state.idle += 1;
            let (woken, timeout) =
                self.news.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            (state, in_vain) = (woken, timeout.timed_out());
            state.idle -= 1;
        }
    }

    /// Nothing panics with the lock held.
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn as_many_jobs_run_at_once_as_there_are_threads_and_as_many_wait_as_may() {
        let pool = Pool::new(2, 3, 0);
        let (running, done) = (Barrier::new(3), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let work = |blocks: bool| {
                if blocks {
                    running.wait();
                    running.wait();
                }
                done.fetch_add(1, Ordering::SeqCst);
            };
            for _ in 0..2 {
                assert!(pool.submit(scope, true, 0, work).is_ok());
            }
            running.wait();
            for _ in 0..3 {
                assert!(pool.submit(scope, false, 0, work).is_ok());
            }
            assert_eq!(pool.submit(scope, false, 0, work), Err(false), "one more than may wait");
            assert_eq!(done.load(Ordering::SeqCst), 0);
            assert_eq!(pool.close().count(), 3, "those that wait are given back");
            running.wait();
        });
        assert_eq!(done.load(Ordering::SeqCst), 2, "what was begun is done, also after the close");
    }

    #[test]
    fn a_job_for_which_there_is_a_thread_does_not_count_as_waiting() {
        for _ in 0..100 {
            let pool = Pool::new(2, 1, 0);
            let running = Barrier::new(3);
            std::thread::scope(|scope| {
                let work = |blocks: bool| {
                    if blocks {
                        running.wait();
                    }
                };
                for _ in 0..2 {
                    assert!(pool.submit(scope, true, 0, work).is_ok());
                }
                assert!(pool.submit(scope, false, 0, work).is_ok(), "one waits");
                running.wait();
                drop(pool.close());
            });
        }
    }

    #[test]
    fn as_many_bytes_wait_as_may_and_others_do_not_count() {
        let pool = Pool::new(1, 9, 100);
        let running = Barrier::new(2);
        std::thread::scope(|scope| {
            let work = |blocks: bool| {
                if blocks {
                    running.wait();
                    running.wait();
                }
            };
            assert!(
                pool.submit(scope, true, 101, work).is_ok(),
                "one for which a thread is free does not wait"
            );
            running.wait();
            assert!(pool.submit(scope, false, 60, work).is_ok());
            assert!(pool.submit(scope, false, 40, work).is_ok());
            assert_eq!(pool.submit(scope, false, 1, work), Err(false), "one byte more than may wait");
            running.wait();
            drop(pool.close());
        });
        assert_eq!(pool.lock().bytes, 0);
    }

    #[test]
    fn a_closed_pool_takes_nothing() {
        let pool = Pool::new(1, 1, 0);
        std::thread::scope(|scope| {
            drop(pool.close());
            assert_eq!(pool.submit(scope, 7, 0, |_| ()), Err(7));
        });
    }
}
