//! Images a second of an architecture with random weights, at the size of its preprocessing:
//! `zoo_throughput ARCHITECTURE|encoder [batch] [threads] [runs] [avx512|avx2+fma|portable] [f32|bf16]`.
//!
//! `encoder` has 6 layers, 384 wide, and reads sequences of 128 tokens. Prints the median over the runs. With `--steps`,
//! runs on one thread and prints where the time goes instead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "an example")]

use std::{collections::BTreeMap, sync::Mutex};

use ndarray::Array4;
use regraft_engine::{InstructionSet, Precision, Program, Settings};
use regraft_graph::{Card, Model};
use regraft_system::clock::Stopwatch;
use regraft_zoo::{Encoder, Network, architecture, random_weights, transformer_encoder};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--steps").collect();
    let number = |index: usize, default: usize| {
        arguments.get(index).map_or(default, |argument| argument.parse().expect("a number"))
    };
    let (model, [channels, height, width]) = model(arguments.first().map_or("resnet50", String::as_str));
    let (batch, threads, runs) = (number(1, 8), number(2, 2), number(3, 5));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let stopwatch = Stopwatch::start();
    let named = |set: &InstructionSet| arguments.get(4).is_some_and(|name| name == set.name());
    let set = InstructionSet::ALL.into_iter().find(named).unwrap_or(InstructionSet::detect());
    let named = |precision: &Precision| arguments.get(5).is_some_and(|name| name == precision.name());
    let precision = Precision::ALL.into_iter().find(named).unwrap_or_default();
    let settings = Settings { instruction_set: set, precision };
    let outputs: Vec<&str> = model.graph().outputs().iter().map(String::as_str).collect();
    let compile = || Program::compile_with(&model, [height, width], &outputs, settings);
    let program = pool.install(compile).unwrap();
    let compiled = stopwatch.seconds();
    let input = Array4::from_shape_fn([batch, channels, height, width], |(n, c, y, x)| noise(&[n, c, y, x]));
    if std::env::args().any(|argument| argument == "--steps") {
        return steps(&program, &input, runs);
    }
    let run = || program.run(input.view()).unwrap();
    pool.install(run);
    let mut seconds: Vec<f64> = (0..runs)
        .map(|_| {
            let stopwatch = Stopwatch::start();
            pool.install(run);
            stopwatch.seconds()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let rate = batch as f64 / seconds.get(runs / 2).unwrap();
    println!("{rate:.2} images/s, {}, compiled in {compiled:.3} s", program.instruction_set());
}

/// The model, and the channels, height and width of its input as the engine sees it: a token is a pixel of one row.
fn model(name: &str) -> (Model, [usize; 3]) {
    let base = architecture("resnet50").unwrap();
    let (network, card, size) = if name == "encoder" {
        let sizes = Encoder { layers: 6, width: 384, heads: 12, feed_forward: 1536 };
        (transformer_encoder(sizes, 128).unwrap(), base.card("random numbers"), [384, 1, 128])
    } else {
        let architecture = architecture(name).expect("an architecture of the zoo");
        let [height, width] = architecture.preprocessing.crop;
        (architecture.network(1000).unwrap(), architecture.card("random numbers"), [3, height, width])
    };
    let Network { graph, roles } = network;
    let weights = random_weights(&graph, 0).unwrap();
    (Model::new(graph, weights, Card { roles, ..card }).unwrap(), size)
}

/// In −1 … 1.
fn noise(index: &[usize]) -> f32 {
    let hash = index.iter().fold(1u32, |hash, place| (hash ^ *place as u32).wrapping_mul(2_654_435_761));
    (hash >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// Milliseconds of each step for one group of images: the smallest of the runs.
fn steps(program: &Program, input: &Array4<f32>, runs: usize) {
    let best: Mutex<BTreeMap<usize, (String, f64)>> = Mutex::default();
    for _ in 0..runs.max(2) {
        let state = Mutex::new((Stopwatch::start(), 0));
        let after = |name: &str| {
            let mut state = state.lock().unwrap();
            let (seconds, mut best) = (state.0.seconds(), best.lock().unwrap());
            let entry = best.entry(state.1).or_insert((name.to_owned(), f64::MAX));
            entry.1 = entry.1.min(seconds);
            *state = (Stopwatch::start(), state.1 + 1);
        };
        program.trace(input.view(), &after).unwrap();
    }
    let best = best.into_inner().unwrap();
    let total: f64 = best.values().map(|(_, seconds)| seconds).sum();
    for (name, seconds) in best.values() {
        println!("{:8.3} ms {:5.1} %  {name}", seconds * 1e3, seconds / total * 100.0);
    }
    println!("{:8.3} ms", total * 1e3);
}
