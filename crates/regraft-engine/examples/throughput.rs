//! Images a second of networks with random weights:
//! `throughput resnet50|efficientnet-lite0 [batch] [threads] [runs] [avx512|avx2+fma|portable]`.
//!
//! Prints the median over the runs. With `--steps`, runs on one thread and prints where the time goes instead.
//! `oracles/engine_throughput.py` runs this against ONNX Runtime.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "an example")]

use std::{collections::BTreeMap, sync::Mutex};

use ndarray::Array4;
use rand::Rng as _;
use regraft_engine::{InstructionSet, Program};
use regraft_graph::{
    BatchNormalization, Card, ChannelOrder, Clip, Conv, Fact, Gemm, Graph, Model, Node, Op, Padding,
    ParameterKind, Pool, Preprocessing, Resize, ResizeFilter, Roles, Tensor, Weights,
};
use regraft_system::{clock::Stopwatch, random};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--steps").collect();
    let number = |index: usize, default: usize| {
        arguments.get(index).map_or(default, |argument| argument.parse().expect("a number"))
    };
    let graph = match arguments.first().map(String::as_str) {
        Some("efficientnet-lite0") => efficientnet_lite0(),
        _ => resnet50(),
    };
    let (batch, threads, runs) = (number(1, 8), number(2, 2), number(3, 5));
    let model = with_random_weights(graph);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let stopwatch = Stopwatch::start();
    let named = |set: &InstructionSet| arguments.get(4).is_some_and(|name| name == set.name());
    let set = InstructionSet::ALL.into_iter().find(named).unwrap_or(InstructionSet::detect());
    let program = pool.install(|| Program::compile_for(&model, [224, 224], &["fc"], set)).unwrap();
    let compiled = stopwatch.seconds();
    let input =
        Array4::from_shape_vec([batch, 3, 224, 224], numbers("input", batch * 3 * 224 * 224, 1.0)).unwrap();
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

struct Builder(Graph, String);

impl Builder {
    fn new() -> Self {
        Self(Graph::new("input", Fact::image(3)), "input".to_owned())
    }

    fn push(&mut self, name: &str, op: Op, inputs: &[&str]) -> &mut Self {
        self.0.push(Node::new(name, op, inputs.iter().copied())).unwrap();
        self.1 = name.to_owned();
        self
    }

    fn then(&mut self, name: &str, op: Op) -> &mut Self {
        let last = self.1.clone();
        self.push(name, op, &[&last])
    }

    fn conv(
        &mut self,
        name: &str,
        from: &str,
        sizes: [usize; 2],
        window: [usize; 2],
        padding: Padding,
        groups: usize,
    ) -> &mut Self {
        let [in_channels, out_channels] = sizes;
        let [kernel, stride] = window.map(|size| [size; 2]);
        let conv = Conv {
            in_channels,
            out_channels,
            kernel,
            stride,
            dilation: [1; 2],
            padding,
            groups,
            bias: false,
        };
        self.push(name, Op::Conv(conv), &[from]);
        let norm = BatchNormalization { channels: out_channels, epsilon: 1e-5 };
        self.then(&format!("{name}_bn"), Op::BatchNormalization(norm))
    }

    fn finish(&mut self, features: usize) -> Graph {
        self.then("mean", Op::GlobalAveragePool).then("flat", Op::Flatten);
        self.then("fc", Op::Gemm(Gemm { in_features: features, out_features: 1000, bias: true }));
        self.0.set_output("fc").unwrap();
        self.0.clone()
    }
}

fn resnet50() -> Graph {
    let mut b = Builder::new();
    b.conv("stem", "input", [3, 64], [7, 2], Padding::all(3), 1).then("stem_relu", Op::Relu);
    b.then("pool", Op::MaxPool(Pool::new([3; 2], [2; 2], Padding::all(1))));
    let mut channels = 64;
    for (stage, (blocks, width)) in [(3, 64), (4, 128), (6, 256), (3, 512)].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            let (name, source) = (format!("layer{}.{block}", stage + 1), b.1.clone());
            let part = |part: &str| format!("{name}.{part}");
            b.conv(&part("conv1"), &source, [channels, width], [1, 1], Padding::all(0), 1)
                .then(&part("relu1"), Op::Relu);
            b.conv(&part("conv2"), &part("relu1"), [width, width], [3, stride], Padding::all(1), 1)
                .then(&part("relu2"), Op::Relu);
            b.conv(&part("conv3"), &part("relu2"), [width, 4 * width], [1, 1], Padding::all(0), 1);
            let shortcut = if block == 0 {
                b.conv(&part("down"), &source, [channels, 4 * width], [1, stride], Padding::all(0), 1);
                part("down_bn")
            } else {
                source
            };
            b.push(&part("add"), Op::Add, &[&part("conv3_bn"), &shortcut]).then(&part("out"), Op::Relu);
            channels = 4 * width;
        }
    }
    b.finish(channels)
}

fn efficientnet_lite0() -> Graph {
    let mut b = Builder::new();
    let six = || Op::Clip(Clip { min: 0.0, max: 6.0 });
    b.conv("stem", "input", [3, 32], [3, 2], Padding::SameUpper, 1).then("stem_relu", six());
    let mut channels = 32;
    let stages = [
        (1, 1, 16, 3, 1),
        (2, 6, 24, 3, 2),
        (2, 6, 40, 5, 2),
        (3, 6, 80, 3, 2),
        (3, 6, 112, 5, 1),
        (4, 6, 192, 5, 2),
        (1, 6, 320, 3, 1),
    ];
    for (stage, (blocks, expansion, width, kernel, first_stride)) in stages.into_iter().enumerate() {
        for block in 0..blocks {
            let (name, source) = (format!("{stage}.{block}"), b.1.clone());
            let part = |part: &str| format!("{name}.{part}");
            let stride = if block == 0 { first_stride } else { 1 };
            let middle = channels * expansion;
            if expansion > 1 {
                b.conv(&part("expand"), &source, [channels, middle], [1, 1], Padding::all(0), 1)
                    .then(&part("relu1"), six());
            }
            let last = b.1.clone();
            b.conv(&part("depthwise"), &last, [middle, middle], [kernel, stride], Padding::SameUpper, middle)
                .then(&part("relu2"), six());
            b.conv(&part("project"), &part("relu2"), [middle, width], [1, 1], Padding::all(0), 1);
            if channels == width && stride == 1 {
                b.push(&part("add"), Op::Add, &[&part("project_bn"), &source]);
            }
            channels = width;
        }
    }
    let last = b.1.clone();
    b.conv("head", &last, [320, 1280], [1, 1], Padding::all(0), 1).then("head_relu", six());
    b.finish(1280)
}

/// He's initialisation, so that activations keep their scale.
fn with_random_weights(graph: Graph) -> Model {
    let tensor = |parameter: regraft_graph::Parameter| {
        let count = parameter.shape.iter().product();
        let fan: usize = parameter.shape.iter().skip(1).product();
        let values = match parameter.kind {
            ParameterKind::Weight if fan > 1 || parameter.shape.len() > 1 => {
                numbers(&parameter.name, count, (6.0 / fan as f32).sqrt())
            }
            ParameterKind::Weight | ParameterKind::RunningVariance => vec![1.0; count],
            _ => vec![0.0; count],
        };
        (parameter.name, Tensor::from_f32(parameter.shape, &values).unwrap())
    };
    let weights: Weights = graph.parameters().into_iter().map(tensor).collect();
    Model::new(graph, weights, card()).unwrap()
}

/// Uniform in ±`scale`.
fn numbers(name: &str, count: usize, scale: f32) -> Vec<f32> {
    let mut stream = random::stream(0, name, 0);
    let mut number = || (stream.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
    (0..count).map(|_| scale * number()).collect()
}

fn card() -> Card {
    let preprocessing = Preprocessing {
        channel_order: ChannelOrder::Rgb,
        resize: Resize::ShortSide(256),
        filter: ResizeFilter::Bilinear,
        crop: [224; 2],
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    Card {
        name: "random".to_owned(),
        origin: "random numbers".to_owned(),
        sha256: None,
        licence: None,
        preprocessing,
        labels: Vec::new(),
        source_task: None,
        source_accuracy: None,
        roles: Roles { features: "flat".to_owned(), logits: Some("fc".to_owned()), cuts: Vec::new() },
    }
}
