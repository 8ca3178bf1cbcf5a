//! A run allocates its results and some bookkeeping a group of images, and nothing a layer: memory for what the layers
//! compute is there from the runs before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use regraft_engine::{Precision, Program};
use regraft_graph::Model;
use support::networks::{assorted, compile, convolutional, images, transformer};

/// Vectors that are cut and shared out: of a run, and of a group of images.
const CALLS: [usize; 2] = [30, 3];
/// Bytes of those vectors.
const BYTES: [usize; 2] = [4_000, 500];
/// So many runs are counted and the one with the fewest calls taken: a thread that never got a group before finds its
/// memory not there yet, and rayon's queue allocates a block for some dozens of jobs.
const RUNS: usize = 8;

/// A network of so many layers.
type Build = fn(usize) -> Model;

const NETWORKS: [(&str, Build); 3] =
    [("convolutional", convolutional), ("transformer", transformer), ("assorted", assorted)];

static COUNTED: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// The system's allocator, counted.
struct Counting;

fn count(bytes: usize) {
    let [calls, total] = &COUNTED;
    calls.fetch_add(1, Ordering::Relaxed);
    total.fetch_add(bytes, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator and bytes that a run asks for when everything is warm.
fn allocations(program: &Program, batch: usize) -> [usize; 2] {
    let input = images(batch);
    let run = || {
        let before = COUNTED.each_ref().map(|counter| counter.load(Ordering::SeqCst));
        let results = program.run_pooled(input.view()).unwrap();
        let after = COUNTED.each_ref().map(|counter| counter.load(Ordering::SeqCst));
        assert_eq!(results[0].dim(), (batch, 10));
        [0, 1].map(|index| after[index] - before[index])
    };
    run();
    (0..RUNS).map(|_| run()).min().unwrap()
}

// One test, so that nobody else allocates meanwhile.
#[test]
fn a_run_allocates_nothing_a_layer() {
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for (name, network) in NETWORKS {
            for precision in Precision::ALL {
                let [few, many] = [2, 5].map(|layers| compile(&network(layers), precision));
                for batch in [1, 4, 9, 20] {
                    let found = pool.install(|| allocations(&few, batch));
                    let of_many = pool.install(|| allocations(&many, batch));
                    let case = format!("{name}, {}, {batch} images, {threads} threads", precision.name());
                    assert_eq!(found, of_many, "{case}: 5 layers ask for more than 2");
                    // With weights as few as here, each image is a group.
                    let groups = batch;
                    let results = [0, batch * 10 * size_of::<f32>()];
                    for (index, bounds) in [CALLS, BYTES].into_iter().enumerate() {
                        let most = results[index] + bounds[0] + groups * bounds[1];
                        assert!(found[index] <= most, "{case}: {found:?} calls and bytes, at most {most}");
                    }
                }
            }
        }
    }
}
