//! Milliseconds of a training step of an architecture with random weights, at the size of its preprocessing, or of `encoder` (of
//! the size of MiniLM: 6 layers of 384 features and 12 heads, 128 tokens) or `lstm` (256 units, 64 tokens): forward, softmax
//! cross-entropy, back, and plain gradient descent with a rate of zero:
//! `train_step ARCHITECTURE [batch] [threads] [profile] [json] [recompute] [avx512|avx2+fma|portable]`.
//!
//! `ARCHITECTURE@STAGE`, such as `resnet50@layer3`, is what stands behind the stage, as in an epoch for which the values there are
//! kept.
//!
//! Prints the median over the steps behind the first ones, and the peak memory; with `profile`, where the time goes too. With
//! `json`, the answer that `cargo xtask bench training` reads. With `recompute`, cheap values are computed again on the way back.
//! Batch normalisation goes by the statistics of the batch. `oracles/bench_training.py` measures PyTorch in the same way.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, reason = "an example")]

use std::cell::RefCell;
use std::collections::BTreeMap;

use ndarray::{Array2, ArrayD, ArrayView2, Axis, Dimension as _, Ix2};
use rayon::prelude::*;
use regraft_engine::{InstructionSet, Precision, Tape, TapeOptions};
use regraft_graph::{
    Approximation, Attention, Bindings, Card, Dim, Embedding, Fact, GateFunction, Gelu, Gemm, Graph,
    LayerNormalization, Model, Node, Op, PositionEmbedding, Recurrent, Reduce, ReduceKind, Roles, Symbol,
};
use regraft_system::{clock::Stopwatch, memory::peak_resident_bytes};
use regraft_zoo::{Network, architecture, random_weights};

/// Words that the sequences are of.
const WORDS: usize = 30_522;
const CLASSES: usize = 1000;
const WARM_UP: usize = 2;
/// Numbers that one thread updates at a time.
const CHUNK: usize = 1 << 14;
const STEPS: usize = 7;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    let number = |index: usize, default: usize| word(index).parse().unwrap_or(default);
    let (batch, threads) = (number(1, 16), number(2, 2));
    let set = InstructionSet::ALL.into_iter().find(|set| words.iter().any(|word| word == set.name()));
    let (name, cut) = word(0).split_once('@').unwrap_or((word(0), ""));
    let (model, shape) = if cut.is_empty() { network(name) } else { behind(network(name), cut) };
    let words_of = |index: usize| ((noise(&[index]) + 1.0) / 2.0 * WORDS as f32).floor();
    let is_text = shape.len() == 1;
    let input = ArrayD::from_shape_fn([&[batch], &shape[..]].concat(), |index| match is_text {
        true => words_of(index[0] * shape[0] + index[1]),
        false => noise(index.slice()),
    });
    let size = if is_text { [1, shape[0]] } else { [shape[1], shape[2]] };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let recompute = words.iter().any(|word| word == "recompute");
        let is_half = words.iter().any(|word| word == "bf16");
        let precision = if is_half { Precision::BFloat16 } else { Precision::Float32 };
        let instruction_set = set.unwrap_or(InstructionSet::detect());
        let options = TapeOptions { instruction_set, recompute, precision, ..TapeOptions::default() };
        let outputs: Vec<&str> = model.graph().outputs().iter().map(String::as_str).collect();
        let mut tape = Tape::compile(&model, size, &outputs[..1], &options).unwrap();
        measure(&mut tape, &input, words.iter().any(|word| word == "json"));
        if words.iter().any(|word| word == "profile") {
            profile(&mut tape, &input);
        }
    });
}

/// With random weights, and the sizes of its input behind the batch axis.
fn network(name: &str) -> (Model, Vec<usize>) {
    let text = |graph: Graph, tokens: usize| (Network { roles: roles(&graph), graph }, vec![tokens]);
    let known = architecture(if ["encoder", "lstm"].contains(&name) { "resnet18" } else { name }).unwrap();
    let [height, width] = known.preprocessing.crop;
    let (Network { graph, roles }, shape) = match name {
        "encoder" => text(encoder(), 128),
        "lstm" => text(lstm(), 64),
        _ => (known.network(CLASSES).unwrap(), vec![3, height, width]),
    };
    // Of a network of words nothing but the roles is looked at.
    let card = Card { roles, ..known.card("random numbers") };
    let weights = random_weights(&graph, 0).unwrap();
    (Model::new(graph, weights, card).unwrap(), shape)
}

/// What stands behind the last of a network's cuts that belongs to a stage, and the sizes of the values there.
fn behind((model, shape): (Model, Vec<usize>), stage: &str) -> (Model, Vec<usize>) {
    let cuts = &model.card().roles.cuts;
    let wire = cuts.iter().rfind(|wire| wire.split('.').next() == Some(stage)).unwrap();
    let [height, width] = [shape[1], shape[2]];
    let part = model.behind(wire, [height, width]).unwrap();
    let sizes = part.graph().input_fact().shape.iter().skip(1);
    let shape = sizes.map(|size| size.bind(&Bindings { batch: 1, height, width }).unwrap()).collect();
    (part, shape)
}

fn roles(graph: &Graph) -> Roles {
    Roles { features: graph.outputs()[0].clone(), logits: None, cuts: Vec::new() }
}

/// A graph whose next node reads the last one.
struct Chain {
    graph: Graph,
    last: String,
}

impl Chain {
    fn new(tokens: usize, features: usize) -> Self {
        let input = Fact::new([Dim::symbol(Symbol::Batch), tokens.into()]);
        let mut chain = Self { graph: Graph::new("input", input), last: "input".to_owned() };
        chain.push("words", Op::Embedding(Embedding { entries: WORDS, features }), None);
        chain
    }

    fn push(&mut self, name: &str, op: Op, second: Option<&str>) -> String {
        let inputs = [Some(self.last.as_str()), second].into_iter().flatten().map(str::to_owned);
        self.graph.push(Node::new(name, op, inputs.collect::<Vec<_>>())).unwrap();
        name.clone_into(&mut self.last);
        self.last.clone()
    }

    fn dense(&mut self, name: &str, in_features: usize, out_features: usize) {
        self.push(name, Op::Gemm(Gemm { in_features, out_features, bias: true }), None);
    }

    fn normalize(&mut self, name: &str, features: usize) -> String {
        self.push(name, Op::LayerNormalization(LayerNormalization { features, epsilon: 1e-12 }), None)
    }

    fn classify(mut self, features: usize) -> Graph {
        let mean = Reduce { kind: ReduceKind::Mean, axes: vec![1], keep_axes: false };
        self.push("mean", Op::Reduce(mean), None);
        self.dense("logits", features, CLASSES);
        self.graph.set_output(&self.last).unwrap();
        self.graph
    }
}

fn encoder() -> Graph {
    let (tokens, features) = (128, 384);
    let mut chain = Chain::new(tokens, features);
    let places = PositionEmbedding { tokens, features, shorter: false };
    chain.push("places", Op::PositionEmbedding(places), None);
    let mut before = chain.normalize("norm", features);
    for layer in 0..6 {
        let name = |part: &str| format!("{layer}.{part}");
        chain.dense(&name("qkv"), features, 3 * features);
        chain.push(&name("attention"), Op::Attention(Attention { heads: 12 }), None);
        chain.dense(&name("out"), features, features);
        chain.push(&name("add_1"), Op::Add, Some(&before));
        let middle = chain.normalize(&name("norm_1"), features);
        chain.dense(&name("widen"), features, 4 * features);
        chain.push(&name("gelu"), Op::Gelu(Gelu { approximate: Approximation::None }), None);
        chain.dense(&name("narrow"), 4 * features, features);
        chain.push(&name("add_2"), Op::Add, Some(&middle));
        before = chain.normalize(&name("norm_2"), features);
    }
    chain.classify(features)
}

fn lstm() -> Graph {
    let (features, hidden, gates) = (256, 256, GateFunction::Sigmoid);
    let mut chain = Chain::new(64, features);
    let layer = Recurrent { features, hidden, reverse: false, gates, reset_after: false };
    chain.push("lstm", Op::Lstm(layer), None);
    chain.classify(hidden)
}

fn measure(tape: &mut Tape, input: &ArrayD<f32>, json: bool) {
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    for step in 0..WARM_UP + STEPS {
        let milliseconds = train(tape, input);
        if step >= WARM_UP {
            parts.iter_mut().zip(milliseconds).for_each(|(part, time)| part.push(time));
        }
    }
    let totals = (0..STEPS).map(|step| parts.iter().map(|part| part[step]).sum()).collect();
    let [forward, backward, update] = parts.map(median);
    let peak = peak_resident_bytes().map_or(f64::NAN, |bytes| bytes as f64 / f64::from(1 << 20));
    let total = median(totals);
    if json {
        return println!("{{\"milliseconds\": {total:.3}, \"peak_mb\": {peak:.1}}}");
    }
    println!(
        "{total:.1} ms a step (forward {forward:.1}, back {backward:.1}, update {update:.1}), peak {peak:.0} MB"
    );
}

/// A step; milliseconds forward, back and of the update.
fn train(tape: &mut Tape, input: &ArrayD<f32>) -> [f64; 3] {
    let milliseconds = |stopwatch: Stopwatch| stopwatch.seconds() * 1e3;
    let stopwatch = Stopwatch::start();
    let logits = tape.forward(input.view()).unwrap().remove(0).into_dimensionality::<Ix2>().unwrap();
    let forward = milliseconds(stopwatch);
    let stopwatch = Stopwatch::start();
    let gradient = cross_entropy_gradient(logits.view()).into_dyn();
    tape.backward(&[gradient.view()]).unwrap();
    let backward = milliseconds(stopwatch);
    let stopwatch = Stopwatch::start();
    let (values, gradients) = tape.values_and_gradients();
    // In parallel, as an optimiser's step is.
    values.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK)).for_each(|(values, gradients)| {
        values.iter_mut().zip(gradients).for_each(|(value, gradient)| *value -= 0.0 * gradient);
    });
    [forward, backward, milliseconds(stopwatch)]
}

/// Of the mean over the batch: the probabilities without the one of the class, which is the row's number.
fn cross_entropy_gradient(logits: ArrayView2<'_, f32>) -> Array2<f32> {
    let (mut gradient, share) = (logits.to_owned(), 1.0 / logits.nrows() as f32);
    for (class, mut row) in gradient.axis_iter_mut(Axis(0)).enumerate() {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.mapv_inplace(|logit| (logit - largest).exp());
        let sum = row.sum();
        row.mapv_inplace(|number| number / sum * share);
        row[class % CLASSES] -= share;
    }
    gradient
}

/// Milliseconds of each step of the tape: the smallest of some runs; then sums of the steps of a kind.
fn profile(tape: &mut Tape, input: &ArrayD<f32>) {
    let best: RefCell<BTreeMap<usize, ([String; 2], f64)>> = RefCell::default();
    for _ in 0..3 {
        let (state, mut count) = (RefCell::new(Stopwatch::start()), 0);
        let counter = RefCell::new(&mut count);
        let after = |name: &str, kind: &str| {
            let (seconds, mut count) = (state.borrow().seconds(), counter.borrow_mut());
            let (mut best, index) = (best.borrow_mut(), **count);
            let entry = best.entry(index).or_insert(([name, kind].map(str::to_owned), f64::MAX));
            entry.1 = entry.1.min(seconds * 1e3);
            **count += 1;
            *state.borrow_mut() = Stopwatch::start();
        };
        // The values are asked for, so that the weights are packed again.
        tape.values_mut();
        tape.trace(input.view(), &after).unwrap();
    }
    let best = best.into_inner();
    let mut kinds: BTreeMap<String, f64> = BTreeMap::new();
    for ([name, kind], milliseconds) in best.values() {
        println!("{milliseconds:9.3} ms  {name}: {kind}");
        let back = if name.ends_with("(gradient)") { "back: " } else { "" };
        *kinds.entry(format!("{back}{kind}")).or_default() += milliseconds;
    }
    kinds.iter().for_each(|(kind, milliseconds)| println!("{milliseconds:9.3} ms  all of {kind}"));
    println!("{:9.3} ms  all", kinds.values().sum::<f64>());
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// In −1 … 1.
fn noise(index: &[usize]) -> f32 {
    let hash = index.iter().fold(1u32, |hash, place| (hash ^ *place as u32).wrapping_mul(2_654_435_761));
    (hash >> 8) as f32 / (1 << 23) as f32 - 1.0
}
