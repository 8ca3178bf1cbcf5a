//! Runs a small network so many times on one thread: `small_graph convolutional|transformer f32|bf16|int8 RUNS`.
//!
//! For tools that count or trace: `cargo xtask instructions` runs it under callgrind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "an example that is run by developers, and the tests' networks"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use regraft_engine::Precision;
use support::networks::{compile, convolutional, images, transformer};

const USAGE: &str = "usage: small_graph convolutional|transformer f32|bf16|int8 RUNS";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [network, precision, runs] = &words[..] else { panic!("{USAGE}") };
    let model = match network.as_str() {
        "convolutional" => convolutional(1),
        "transformer" => transformer(1),
        _ => panic!("{USAGE}"),
    };
    let precision = Precision::ALL.into_iter().find(|known| known.name() == precision).expect(USAGE);
    let runs: usize = runs.parse().expect(USAGE);
    // One thread, and one job for all runs: threads that wait for each other would be counted too.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let program = compile(&model, precision);
        let input = images(2);
        (0..runs).for_each(|_| drop(program.run_pooled(input.view()).unwrap()));
    });
}
