//! What the tests share: golden files, and weights that are a formula.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ndarray::{Array4, ArrayD};
use regraft_engine::Program;
use regraft_formats::safetensors;
use regraft_graph::{Bindings, Card, DType, Dim, Graph, Model, ParameterKind, Patch, Roles, Tensor, Weights};
use regraft_system::files;
use regraft_zoo::{Architecture, Encoder, architecture, random_weights};
use serde_json::Value;

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn json(name: &str) -> Value {
    serde_json::from_slice(&files::read(&golden(name)).unwrap()).unwrap()
}

/// The encoder of `oracles/zoo_networks.py`.
pub(crate) fn small_encoder() -> (Encoder, usize) {
    let sizes = &json("networks.json")["encoder"];
    let number = |key: &str| sizes[key].as_u64().unwrap() as usize;
    let encoder = Encoder {
        layers: number("layers"),
        width: number("width"),
        heads: number("heads"),
        feed_forward: number("feed_forward"),
    };
    (encoder, number("tokens"))
}

/// Weights of [`hashed`] for an architecture with so many classes and images of that size, and the counters that
/// PyTorch's files have beside them.
pub(crate) fn hashed_weights(name: &str, classes: usize, image: Option<[usize; 2]>) -> Weights {
    let architecture = architecture(name).unwrap();
    let image = image.unwrap_or(architecture.preprocessing.crop);
    let graph = architecture.network_for(classes, image).unwrap().graph;
    let variance = json("networks.json")[name]["variance"].as_f64().unwrap();
    let mut weights = hashed_parameters(&graph, variance);
    let norms =
        graph.parameters().into_iter().filter(|parameter| parameter.kind == ParameterKind::RunningMean);
    for parameter in norms {
        let counter = Tensor::new(DType::I64, vec![], 0i64.to_le_bytes().to_vec().into()).unwrap();
        weights.insert(parameter.name.replace("running_mean", "num_batches_tracked"), counter);
    }
    weights
}

/// Weights of [`hashed`] for a graph.
pub(crate) fn hashed_parameters(graph: &Graph, variance: f64) -> Weights {
    let parameters = graph.parameters().into_iter();
    let named = parameters.map(|parameter| {
        let tensor = hashed(&parameter.name, parameter.shape, variance);
        (parameter.name, tensor)
    });
    named.collect()
}

pub(crate) fn labels(classes: usize) -> Vec<String> {
    (0..classes).map(|class| format!("label {class}")).collect()
}

/// A model whose weights are all zero, which takes no memory.
pub(crate) fn zeros(architecture: &Architecture, classes: usize) -> Model {
    let network = architecture.network(classes).unwrap();
    let weights = blank_weights(architecture, classes);
    let card = Card { roles: network.roles, labels: labels(classes), ..architecture.card("zeros") };
    Model::new(network.graph, weights, card).unwrap()
}

/// A model of random weights.
pub(crate) fn random(name: &str, classes: usize) -> Model {
    let architecture = architecture(name).unwrap();
    let network = architecture.network(classes).unwrap();
    let weights = random_weights(&network.graph, 3).unwrap();
    let card = Card { roles: network.roles, labels: labels(classes), ..architecture.card("random") };
    Model::new(network.graph, weights, card).unwrap()
}

/// A model with the weights of [`hashed`], which keep the numbers of deep networks small: with random ones the logits of
/// RegNetY-1.6GF grow to 300 and rounding with them, to 1e-4 in PyTorch and 4e-4 here, where Winograd's transformation is used.
pub(crate) fn by_formula(name: &str, classes: usize) -> Model {
    let model = random(name, classes);
    let variance = json("networks.json")[name]["variance"].as_f64().unwrap();
    let weights = hashed_parameters(model.graph(), variance);
    Model::new(model.graph().clone(), weights, model.card().clone()).unwrap()
}

/// With the mean of the features for features, where they are a map (SqueezeNet).
fn averaged(model: Model) -> Model {
    let features = model.card().roles.features.clone();
    let is_map = matches!(
        model.graph().fact(&features).unwrap().shape.as_slice(),
        [_, _, height, _] if *height != Dim::Fixed(1)
    );
    if !is_map {
        return model;
    }
    let cut = Patch::cut(&features).apply(model).unwrap();
    Patch::average(&features).apply(cut).unwrap()
}

/// With a head of its own behind the features.
pub(crate) fn with_head(model: Model) -> Model {
    let model = averaged(model);
    let features = model.card().roles.features.clone();
    let width =
        model.graph().fact(&features).unwrap().bind(&Bindings { batch: 1, height: 224, width: 224 }).unwrap()
            [1];
    let weight: Vec<f32> = unit_numbers("head", 3 * width).map(|unit| unit as f32).collect();
    Patch::replace_head(&model, &features, &weight, &[0.5, -0.25, 0.125], labels(3))
        .unwrap()
        .apply(model)
        .unwrap()
}

/// What a network gives for the formula's image.
pub(crate) fn compute(model: &Model, [height, width]: [usize; 2]) -> Vec<f32> {
    let image = formula_image(model.card().preprocessing.channels(), [height, width]);
    let wire = last_wire(model.graph(), &model.card().roles);
    let output =
        Program::compile(model, [height, width], &[wire]).unwrap().run(image.view()).unwrap().remove(0);
    output.iter().copied().collect()
}

/// The image of `oracles/zoo_networks.py`.
pub(crate) fn formula_image(channels: usize, [height, width]: [usize; 2]) -> Array4<f32> {
    let count = channels * height * width;
    let numbers = unit_numbers(&format!("image {height}x{width}"), count).map(|unit| (unit * 4.0) as f32);
    Array4::from_shape_vec([1, channels, height, width], numbers.collect()).unwrap()
}

/// Where `cargo xtask assets` puts the published files.
pub(crate) fn assets() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/assets");
    std::env::var_os("REGRAFT_ASSETS").map_or_else(default, PathBuf::from)
}

/// The wire that a network ends with: its logits, or scores of places, which are no logits of an image.
pub(crate) fn last_wire<'m>(graph: &'m Graph, roles: &'m Roles) -> &'m str {
    roles.logits.as_ref().unwrap_or(&graph.outputs()[0])
}

/// Every n-th number, as the oracles keep them: at most `most`.
pub(crate) fn sampled(output: &ArrayD<f32>, most: usize) -> Vec<f32> {
    output.iter().copied().step_by(output.len().div_ceil(most)).collect()
}

/// The largest difference; none that is a number where a value is none, so that no tolerance is large enough for it.
pub(crate) fn largest_difference<'a>(
    found: impl IntoIterator<Item = &'a f32>,
    expected: impl IntoIterator<Item = &'a f32>,
) -> f32 {
    let pairs = found.into_iter().zip(expected);
    pairs.map(|(found, expected)| (found - expected).abs()).max_by(f32::total_cmp).unwrap()
}

/// The largest difference as a share of the largest value that is expected.
pub(crate) fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    largest_difference(found, expected) / largest
}

/// Weights of zeros, of which no page is touched.
pub(crate) fn blank_weights(architecture: &Architecture, classes: usize) -> Weights {
    let parameters = architecture.network(classes).unwrap().graph.parameters().into_iter();
    let named = parameters.map(|parameter| {
        let bytes = vec![0u8; 4 * parameter.shape.iter().product::<usize>()];
        (parameter.name, Tensor::new(DType::F32, parameter.shape, bytes.into()).unwrap())
    });
    named.collect()
}

/// The formula of `oracles/zoo_logits.py`: the same numbers there and here, so that no weight file need be kept.
pub(crate) fn hashed(name: &str, shape: Vec<usize>, variance: f64) -> Tensor {
    let fan_in: usize = shape.iter().skip(1).product();
    let (scale, offset) = match name {
        _ if name.ends_with("running_var") => (1.0, 1.0),
        _ if name.ends_with("running_mean") || name.ends_with("bias") => (0.5, 0.0),
        _ if ["class_token", "cls_token", "pos_embedding", "pos_embed"]
            .iter()
            .any(|end| name.ends_with(end)) =>
        {
            (1.0, 0.0)
        }
        _ if shape.len() == 1 => (0.5, 1.0),
        _ => ((12.0 * variance / fan_in as f64).sqrt(), 0.0),
    };
    let values = unit_numbers(name, shape.iter().product()).map(|unit| (unit * scale + offset) as f32);
    Tensor::from_f32(shape, &values.collect::<Vec<_>>()).unwrap()
}

/// Numbers in −1/2 … 1/2 that are a formula of a name.
pub(crate) fn unit_numbers(name: &str, count: usize) -> impl Iterator<Item = f64> + use<> {
    let seed = fnv1a64(name);
    (0..count as u64)
        .map(move |index| (splitmix64(seed.wrapping_add(index)) >> 40) as f64 / 16_777_216.0 - 0.5)
}

pub(crate) fn fnv1a64(name: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    name.bytes().fold(0xCBF2_9CE4_8422_2325, step)
}

fn splitmix64(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A tensor of `oracles/zoo_folders.py`.
fn reference_tensor(name: &str, shape: Vec<usize>) -> Tensor {
    if name.ends_with("num_batches_tracked") {
        return Tensor::new(DType::I64, shape, Bytes::from_static(&[0; 8])).unwrap();
    }
    hashed(name, shape, 1.0)
}

pub(crate) fn reference_weights(reference: &Value) -> Weights {
    let lines = reference["tensors"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let tensor = |line: &str| {
        let (name, shape) = line.split_once(' ').unwrap();
        (name.to_owned(), reference_tensor(name, serde_json::from_str(shape).unwrap()))
    };
    lines.map(tensor).collect()
}

/// A folder as transformers writes it, with the weights of the formula.
pub(crate) fn transformers_folder(reference: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    safetensors::write(&folder.path().join("model.safetensors"), &reference_weights(reference)).unwrap();
    let config = reference["config"].to_string();
    files::write_atomically(&folder.path().join("config.json"), config.as_bytes()).unwrap();
    folder
}

/// What an encoder gives for some tokens.
pub(crate) fn encode(model: &Model, tokens: &[f32]) -> Vec<f32> {
    let input = ndarray::Array2::from_shape_vec([1, tokens.len()], tokens.to_vec()).unwrap();
    let output = Program::compile(model, [1, tokens.len()], &[&model.card().roles.features]).unwrap();
    output.run(input.view()).unwrap().remove(0).iter().copied().collect()
}
