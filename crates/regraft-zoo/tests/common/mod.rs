//! What the tests share: golden files, and weights that are a formula.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

use regraft_graph::{DType, Graph, Tensor, Weights};
use regraft_zoo::Encoder;

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&regraft_system::files::read(&golden(name)).unwrap()).unwrap()
}

/// Names and shapes of the original's tensors.
pub(crate) fn original_tensors(architecture: &str) -> Vec<(String, Vec<usize>)> {
    let mut names = json("names.json")[architecture].take();
    if names.is_null() {
        names = json("networks.json")[architecture]["tensors"].take();
    }
    let lines = names.as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let parsed = lines.map(|line| {
        let (name, shape) = line.split_once(' ').unwrap();
        (name.to_owned(), serde_json::from_str(shape).unwrap())
    });
    parsed.collect()
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

/// The original's tensors with a classifier of so many rows, filled by [`hashed`].
pub(crate) fn hashed_weights(architecture: &str, classifier: &str, classes: usize) -> Weights {
    let tensors = original_tensors(architecture).into_iter().map(|(name, mut shape)| {
        if name.starts_with(&format!("{classifier}.")) {
            shape[0] = classes;
        }
        let counter = Tensor::new(DType::I64, vec![], 0i64.to_le_bytes().to_vec().into()).unwrap();
        let variance = if ["vgg16", "inception_v3"].contains(&architecture) { 2.0 } else { 1.0 };
        let counted = name.ends_with("num_batches_tracked");
        let tensor = if counted { counter } else { hashed(&name, shape, variance) };
        (name, tensor)
    });
    tensors.collect()
}

/// Every tensor that a graph names, filled by [`hashed`].
pub(crate) fn formula_weights(graph: &Graph) -> Weights {
    let parameters = graph.parameters().into_iter();
    parameters
        .map(|parameter| (parameter.name.clone(), hashed(&parameter.name, parameter.shape, 1.0)))
        .collect()
}

/// The formula of `oracles/zoo_logits.py`: the same numbers there and here, so that no weight file need be kept.
fn hashed(name: &str, shape: Vec<usize>, variance: f64) -> Tensor {
    let fan_in: usize = shape.iter().skip(1).product();
    let (scale, offset) = match name {
        _ if name.ends_with("running_var") => (1.0, 1.0),
        _ if name.ends_with("running_mean") || name.ends_with("bias") => (0.5, 0.0),
        _ if name.ends_with("class_token") || name.ends_with("pos_embedding") => (1.0, 0.0),
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

fn fnv1a64(name: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    name.bytes().fold(0xCBF2_9CE4_8422_2325, step)
}

fn splitmix64(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
