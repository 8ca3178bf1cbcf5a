//! Threads that do one job after the other together, each job in parts.
//!
//! They wait for the next job awake: to wake a thread that sleeps for each of the some fifty layers of a network takes its
//! time. ResNet-50 on single images, Xeon (family 6, model 207), two threads: 1.02 times as fast as with a parallel loop of
//! rayon for each layer, and a sixth of the changes of context.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A part of a job.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) job: usize,
    pub(crate) part: usize,
    /// Number of the job's parts.
    pub(crate) of: usize,
}

/// What the threads know of the job that is being done.
pub(crate) struct Crew<F> {
    run: F,
    /// The job, its next part and the number of its parts in one word, see [`Part::packed`].
    next: AtomicU64,
    done: AtomicUsize,
}

/// Behind the last job.
const CLOSED: u64 = u64::MAX;

/// Most parts of a job.
const MOST_PARTS: usize = 1 << 15;

/// A thread that has looked so often for something to do lets others go first, some 100 µs.
const LOOKS: usize = 1_000;

/// Calls `lead` on this thread, while up to so many others, as they become idle, help with the jobs that it shares. `run`
/// does a part of a job.
pub(crate) fn lead<F: Fn(Part) + Sync>(helpers: usize, run: F, lead: impl FnOnce(&Crew<F>) + Send) {
    let crew = Crew {
        run,
        next: AtomicU64::new(Part { job: 0, part: 0, of: 0 }.packed()),
        done: AtomicUsize::new(0),
    };
    let lead = || {
        let _closing = Closing(&crew.next);
        lead(&crew);
    };
    match helpers.checked_sub(1) {
        Some(more) => _ = rayon::join(lead, || crew.help(more)),
        None => lead(),
    }
}

impl Part {
    fn packed(self) -> u64 {
        (self.job as u64) << 32 | (self.part as u64) << 16 | self.of as u64
    }

    fn unpacked(word: u64) -> Self {
        let field = |shift: u32| (word >> shift & 0xffff) as usize;
        Self { job: (word >> 32) as usize, part: field(16), of: field(0) }
    }
}

impl<F: Fn(Part) + Sync> Crew<F> {
    /// Does a job in so many parts, but no more than [`MOST_PARTS`], with whoever helps, and returns when it is done. Jobs
    /// have numbers below 2³².
    pub(crate) fn share(&self, job: usize, parts: usize) {
        let parts = parts.min(MOST_PARTS);
        self.done.store(0, Ordering::Relaxed);
        self.next.store(Part { job, part: 0, of: parts }.packed(), Ordering::Release);
        while self.do_part() {}
        let mut looks = 0;
        while self.done.load(Ordering::Acquire) < parts {
            wait(&mut looks);
        }
    }

    /// Helps until the last job is done, beside up to so many more threads.
    fn help(&self, more: usize) {
        if more > 0 {
            rayon::join(|| self.help(0), || self.help(more - 1));
            return;
        }
        let mut looks = 0;
        while self.next.load(Ordering::Relaxed) != CLOSED {
            if self.do_part() {
                looks = 0;
            } else {
                wait(&mut looks);
            }
        }
    }

    /// Does the next part, if there is one left.
    fn do_part(&self) -> bool {
        let advanced = |word| {
            let next = Part::unpacked(word);
            (word != CLOSED && next.part < next.of).then(|| Part { part: next.part + 1, ..next }.packed())
        };
        // Who takes a part sees all that was written before its job was shared; and until the part is done there is no
        // other job, so that nobody takes a part of one for that of another.
        let Ok(taken) = self.next.fetch_update(Ordering::Acquire, Ordering::Relaxed, advanced) else {
            return false;
        };
        let _done = Done(&self.done);
        (self.run)(Part::unpacked(taken));
        true
    }
}

/// Ends the help, also where the leader panics.
struct Closing<'a>(&'a AtomicU64);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.store(CLOSED, Ordering::Relaxed);
    }
}

/// Counts a part as done, also where it panics, which nobody may wait for.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

fn wait(looks: &mut usize) {
    *looks += 1;
    if *looks < LOOKS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::Mutex,
    };

    use super::*;

    /// What a crew of so many threads of a pool did: numbers of jobs and parts.
    fn done(pool: usize, threads: usize, jobs: &[usize]) -> Vec<[usize; 3]> {
        let done = Mutex::new(Vec::new());
        let run = |Part { job, part, of }| done.lock().unwrap().push([job, part, of]);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(pool).build().unwrap();
        pool.install(|| {
            lead(threads - 1, run, |crew| {
                jobs.iter().enumerate().for_each(|(job, parts)| crew.share(job, *parts));
            });
        });
        done.into_inner().unwrap()
    }

    #[test]
    fn every_part_is_done_once_and_no_job_before_the_one_before_it() {
        let jobs: Vec<usize> = (0..2_000).map(|job| job * 7 % 40).collect();
        let expected: Vec<[usize; 3]> = jobs
            .iter()
            .enumerate()
            .flat_map(|(job, of)| (0..*of).map(move |part| [job, part, *of]))
            .collect();
        for (pool, threads) in [(1, 1), (1, 3), (2, 2), (4, 4), (2, 5)] {
            let mut found = done(pool, threads, &jobs);
            assert!(found.is_sorted_by_key(|[job, ..]| *job), "{threads} threads in a pool of {pool}");
            found.sort_unstable();
            assert_eq!(found, expected, "{threads} threads in a pool of {pool}");
        }
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let run = |Part { part, .. }| assert!(part != 3);
        let led = || lead(1, run, |crew| crew.share(0, 8));
        assert!(catch_unwind(AssertUnwindSafe(|| pool.install(led))).is_err());
    }
}
