//! Cases from the golden files: a graph, its tensors from the generator that the oracle shares, and PyTorch's results.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod networks;

use std::path::PathBuf;

use ndarray::{ArrayD, IxDyn};
use regraft_engine::{InstructionSet, Tape};
use regraft_graph::{
    Card, ChannelOrder, Graph, Model, Op, Preprocessing, Resize, ResizeFilter, Roles, Tensor, Weights,
};
use serde_json::Value;

pub(crate) const FAMILIES: [&str; 20] = [
    "conv",
    "conv_sizes",
    "conv_first",
    "conv_windows",
    "conv_groups",
    "depthwise",
    "pool",
    "pool_modes",
    "concat",
    "elementwise",
    "rows",
    "transformers",
    "networks",
    "normalisations",
    "functions",
    "windows",
    "moves",
    "pairs",
    "sequences",
    "trained",
];

/// Families of which PyTorch's gradients are known.
pub(crate) fn differentiable() -> impl Iterator<Item = &'static str> {
    FAMILIES.into_iter().filter(|family| *family != "windows")
}

#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) model: Model,
    pub(crate) input: ArrayD<f32>,
    /// Of an input of whole numbers how many there are.
    pub(crate) levels: Option<f64>,
    /// Wire and what PyTorch computes for it.
    pub(crate) outputs: Vec<(String, ArrayD<f32>)>,
}

impl Case {
    pub(crate) fn image(&self) -> [usize; 2] {
        image_of(&self.input)
    }

    pub(crate) fn wires(&self) -> Vec<&str> {
        self.outputs.iter().map(|(wire, _)| wire.as_str()).collect()
    }

    /// Another input, of the numbers of a name.
    pub(crate) fn batch(&self, name: &str) -> ArrayD<f32> {
        let numbers = numbers_of(name, self.input.len(), 1.0, self.levels);
        ArrayD::from_shape_vec(self.input.raw_dim(), numbers).unwrap()
    }

    /// Whether a node is of some kind.
    pub(crate) fn has(&self, is_it: impl Fn(&Op) -> bool) -> bool {
        self.model.graph().nodes().iter().any(|node| is_it(&node.op))
    }

    /// All wires of the graph that can be outputs.
    pub(crate) fn all_wires(&self) -> Vec<&str> {
        self.model.graph().nodes().iter().map(|node| node.name.as_str()).collect()
    }
}

pub(crate) fn available() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL.into_iter().filter(|set| set.is_available())
}

pub(crate) fn family(name: &str) -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let json = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let mut results = golden_numbers(name).into_iter();
    let cases: Vec<Value> = serde_json::from_str(&json).unwrap();
    cases.iter().map(|case| read(name, case, &mut results)).collect()
}

/// All numbers of a golden file.
pub(crate) fn golden_numbers(name: &str) -> Vec<f32> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let content = regraft_system::files::read(&folder.join(format!("{name}.npy"))).unwrap();
    npyz::NpyFile::new(&content[..]).unwrap().into_vec::<f32>().unwrap()
}

/// Of many numbers every n-th, as the oracle keeps them.
pub(crate) fn some(all: &[f32]) -> Vec<f32> {
    all.iter().copied().step_by(all.len().div_ceil(256)).collect()
}

/// What the sum of the outputs multiplies each number by.
pub(crate) fn factors(wire: &str, output: &ArrayD<f32>) -> ArrayD<f32> {
    let numbers = numbers(&format!("gradient of {wire}"), output.len(), 1.0, 0.0);
    ArrayD::from_shape_vec(IxDyn(output.shape()), numbers).unwrap()
}

/// Runs forward and back; returns the outputs.
pub(crate) fn run(case: &Case, tape: &mut Tape) -> Vec<ArrayD<f32>> {
    let outputs = tape.forward(case.input.view()).unwrap();
    let gradients: Vec<_> =
        case.wires().iter().zip(&outputs).map(|(wire, output)| factors(wire, output)).collect();
    let views: Vec<_> = gradients.iter().map(|gradient| gradient.view()).collect();
    tape.backward(&views).unwrap();
    outputs
}

pub(crate) fn every_case() -> Vec<Case> {
    FAMILIES.iter().flat_map(|name| family(name)).collect()
}

fn read(family: &str, case: &Value, results: &mut impl Iterator<Item = f32>) -> Case {
    let graph: Graph = serde_json::from_value(case["graph"].clone()).unwrap();
    let tensors = case["tensors"].as_object().unwrap();
    let weights: Weights =
        tensors.iter().map(|(name, tensor)| (name.clone(), weight(name, tensor))).collect();
    let shape = sizes(&case["input"]);
    let scale = case["input_scale"].as_f64().unwrap() as f32;
    let levels = case["input_levels"].as_f64();
    let input = numbers_of("input", shape.iter().product(), scale, levels);
    let outputs = case["outputs"].as_array().unwrap().iter().map(|output| {
        let shape = sizes(&output["shape"]);
        let values = results.by_ref().take(shape.iter().product()).collect();
        (output["wire"].as_str().unwrap().to_owned(), ArrayD::from_shape_vec(shape, values).unwrap())
    });
    Case {
        name: format!("{family}: {}", case["name"].as_str().unwrap()),
        outputs: outputs.collect(),
        model: model(graph, weights),
        input: ArrayD::from_shape_vec(shape, input).unwrap(),
        levels,
    }
}

/// Numbers of an input, whole ones from 0 if there are levels.
fn numbers_of(name: &str, count: usize, scale: f32, levels: Option<f64>) -> Vec<f32> {
    let mut numbers = numbers(name, count, scale, 0.0);
    if let Some(levels) = levels {
        numbers.iter_mut().for_each(|x| *x = ((f64::from(*x) + 1.0) / 2.0 * levels).floor() as f32);
    }
    numbers
}

/// Height and width of the images that a batch is taken for.
pub(crate) fn image_of(batch: &ArrayD<f32>) -> [usize; 2] {
    match batch.shape() {
        [_, _, height, width] => [*height, *width],
        [_, tokens, _] => [1, *tokens],
        _ => [1, 1],
    }
}

fn weight(name: &str, tensor: &Value) -> Tensor {
    let shape = sizes(&tensor["shape"]);
    let number = |key: &str| tensor[key].as_f64().unwrap() as f32;
    let values = match tensor["values"].as_array() {
        Some(values) => values.iter().map(|value| value.as_f64().unwrap() as f32).collect(),
        None => numbers(name, shape.iter().product(), number("scale"), number("shift")),
    };
    Tensor::from_f32(shape, &values).unwrap()
}

fn sizes(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect()
}

pub(crate) fn model(graph: Graph, weights: Weights) -> Model {
    let preprocessing = Preprocessing {
        channel_order: ChannelOrder::Rgb,
        resize: Resize::ShortSide(8),
        filter: ResizeFilter::Bilinear,
        crop: [8, 8],
        mean: vec![0.0; 3].into(),
        std: vec![1.0; 3].into(),
    };
    let roles = Roles { features: graph.outputs()[0].clone(), logits: None, cuts: Vec::new() };
    let card = Card {
        name: "case".to_owned(),
        origin: "generated".to_owned(),
        sha256: None,
        licence: None,
        preprocessing,
        labels: Vec::new(),
        source_task: None,
        source_accuracy: None,
        aliases: Default::default(),
        roles,
    };
    Model::new(graph, weights, card).unwrap()
}

/// `shift + scale · u` with u in [−1, 1) from a multiplicative hash of the index, as in `oracles/engine_cases.py`.
pub(crate) fn numbers(name: &str, count: usize, scale: f32, shift: f32) -> Vec<f32> {
    let seed = crc32(name.as_bytes());
    let number = |index: usize| {
        let mut x = (index as u32).wrapping_mul(2_654_435_761).wrapping_add(seed);
        x ^= x >> 15;
        x = x.wrapping_mul(2_246_822_519);
        x ^= x >> 13;
        let u = (x >> 8) as f32 / (1 << 23) as f32 - 1.0;
        shift + scale * u
    };
    (0..count).map(number).collect()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    };
    !bytes.iter().fold(!0, step)
}

/// Largest difference, relative to the largest expected magnitude.
pub(crate) fn error(expected: &ArrayD<f32>, found: &ArrayD<f32>) -> f64 {
    assert_eq!(expected.shape(), found.shape());
    let scale = expected.iter().fold(0.0f64, |scale, value| scale.max(f64::from(*value).abs()));
    let differences = expected.iter().zip(found).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    // A difference that is not a number must not get lost in a maximum.
    let largest = differences.fold(0.0f64, |largest, d| if d <= largest { largest } else { d });
    largest / scale.max(f64::MIN_POSITIVE)
}
