//! Images a second of an architecture with random weights, at the size of its preprocessing:
//! `zoo_throughput ARCHITECTURE|encoder [batch] [threads] [runs] [avx512|avx2+fma|portable] [f32|bf16|int8] [size]`.
//!
//! `encoder` has 6 layers, 384 wide, and reads sequences of 128 tokens. Prints the median over the runs; with `--json`,
//! as JSON, with the peak memory. With `--steps`, runs on one thread and prints where the time goes instead. With
//! `--serve=FOLDER`, takes the weights and the input that
//! `oracles/bench_peers.py` wrote there and answers as that script does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "an example"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ndarray::{ArrayD, Dimension as _};
use regraft_engine::{Calibrator, InstructionSet, Precision, Program, Settings};
use regraft_formats::{npy, read_weights};
use regraft_graph::{Bindings, Card, Model};
use regraft_system::{clock::Stopwatch, memory::peak_resident_bytes};
use regraft_zoo::{Encoder, Network, architecture, random_weights, transformer_encoder};
use serde_json::json;

fn main() {
    let (flags, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let folder = flags.iter().find_map(|flag| flag.strip_prefix("--serve=")).map(PathBuf::from);
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    let number = |index: usize, default: usize| word(index).parse().unwrap_or(default);
    let (batch, threads, runs) = (number(1, 8), number(2, 2), number(3, 5));
    let (model, mut shape) = model(word(0), folder.as_deref());
    if shape.len() == 3 {
        let size = number(6, *shape.last().unwrap());
        shape.splice(1.., [size; 2]);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let set = InstructionSet::ALL.into_iter().find(|set| set.name() == word(4));
    let precision = Precision::ALL.into_iter().find(|precision| precision.name() == word(5));
    let settings = Settings {
        instruction_set: set.unwrap_or(InstructionSet::detect()),
        precision: precision.unwrap_or_default(),
    };
    let outputs: Vec<&str> = model.graph().outputs().iter().map(String::as_str).collect();
    // A token is a pixel of one row.
    let size = if let [_, height, width] = shape[..] { [height, width] } else { [1, shape[0]] };
    let input = match &folder {
        Some(folder) => npy::read_f32(&folder.join("input.npy")).unwrap(),
        None => ArrayD::from_shape_fn([&[batch], &shape[..]].concat(), |index| noise(index.slice())),
    };
    let stopwatch = Stopwatch::start();
    let compile = || {
        if settings.precision != Precision::Int8 {
            return Program::compile_with(&model, size, &outputs, settings);
        }
        let set = settings.instruction_set;
        let mut calibrator = Calibrator::new(&model, size, &outputs, set)?;
        calibrator.observe(input.view())?;
        Program::compile_int8(&model, size, &outputs, set, &calibrator.finish())
    };
    let program = pool.install(compile).unwrap();
    let compiled = stopwatch.seconds();
    let macs = model.graph().cost(&Bindings { batch: 1, height: size[0], width: size[1] }).unwrap().macs;
    drop(model);
    if flags.iter().any(|flag| flag == "--steps") {
        return steps(&program, &input, runs);
    }
    let run = || pool.install(|| program.run(input.view())).unwrap().remove(0);
    if let Some(folder) = folder {
        return serve(&run, &folder, macs);
    }
    run();
    let seconds = median((0..runs).map(|_| seconds_of(&run)).collect());
    let (speed, set) = (batch as f64 / seconds, program.instruction_set());
    if flags.iter().any(|flag| flag == "--json") {
        let peak = peak_megabytes();
        println!("{}", json!({"images_per_second": speed, "peak_rss_mb": peak, "macs": macs}));
    } else {
        println!("{speed:.2} images/s, {set}, compiled in {compiled:.3} s");
    }
}

fn peak_megabytes() -> Option<f64> {
    peak_resident_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20))
}

fn seconds_of(run: &impl Fn() -> ArrayD<f32>) -> f64 {
    let stopwatch = Stopwatch::start();
    run();
    stopwatch.seconds()
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// What `oracles/bench_peers.py run` does.
fn serve(run: &impl Fn() -> ArrayD<f32>, folder: &Path, macs: u64) {
    let expected = npy::read_f32(&folder.join("logits.npy")).unwrap();
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
    };
    let difference = norm(&mut run().iter().zip(&expected).map(|(ours, theirs)| ours - theirs));
    let difference = difference / norm(&mut expected.iter().copied());
    let (version, setting) = (env!("CARGO_PKG_VERSION"), "default");
    let peak = peak_megabytes();
    answer(
        &json!({"version": version, "setting": setting, "difference": difference, "peak_rss_mb": peak, "macs": macs}),
    );
    for _ in std::io::stdin().lines() {
        let (mut seconds, stopwatch) = (Vec::new(), Stopwatch::start());
        while seconds.len() < 3 || stopwatch.seconds() < 1.0 {
            seconds.push(seconds_of(run));
        }
        answer(&json!({"seconds": median(seconds)}));
    }
}

fn answer(values: &serde_json::Value) {
    println!("answer {values}");
}

/// The model, with the weights in the folder or random ones, and the shape of one of its inputs.
fn model(name: &str, folder: Option<&Path>) -> (Model, Vec<usize>) {
    let base = architecture("resnet50").unwrap();
    let (network, card, shape) = if name == "encoder" {
        let sizes = Encoder { layers: 6, width: 384, heads: 12, feed_forward: 1536 };
        (transformer_encoder(sizes, 128).unwrap(), base.card("random numbers"), vec![128, 384])
    } else {
        let architecture =
            architecture(&name.replace("_lite0", "-lite0")).expect("an architecture of the zoo");
        let [height, width] = architecture.preprocessing.crop;
        (architecture.network(1000).unwrap(), architecture.card("random numbers"), vec![3, height, width])
    };
    let Network { graph, roles } = network;
    let weights = match folder {
        Some(folder) => read_weights(&folder.join("weights.safetensors")).unwrap().weights,
        None => random_weights(&graph, 0).unwrap(),
    };
    (Model::new(graph, weights, Card { roles, ..card }).unwrap(), shape)
}

/// In −1 … 1.
fn noise(index: &[usize]) -> f32 {
    let hash = index.iter().fold(1u32, |hash, place| (hash ^ *place as u32).wrapping_mul(2_654_435_761));
    (hash >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// Milliseconds of each step for one group of images: the smallest of the runs.
fn steps(program: &Program, input: &ArrayD<f32>, runs: usize) {
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
