//! What 16 bits cost whole networks: features in bfloat16 beside those in single precision.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]
#![allow(clippy::print_stdout, reason = "a test reports its numbers")]

mod common;

use common::unit_numbers;
use ndarray::{Array4, ArrayD};
use regraft_engine::{Precision, Program, Settings};
use regraft_graph::{Card, Model};
use regraft_zoo::{Network, architecture, random_weights};

/// Rounding to 8 significant bits is off by 2⁻⁹ of a number on average, in every layer anew; residual connections and
/// sums over many channels keep the total below this.
const TOLERANCE: f64 = 0.01;
/// Height and width, of the networks' own preprocessing: the mean over a map evens out errors, and a small one less.
const SIZE: [usize; 2] = [224; 2];

/// With the random weights of an untrained network.
fn untrained(name: &str) -> Model {
    let architecture = architecture(name).unwrap();
    let Network { graph, roles } = architecture.network(10).unwrap();
    let weights = random_weights(&graph, 1).unwrap();
    let card = Card { roles, ..architecture.card("random") };
    Model::new(graph, weights, card).unwrap()
}

fn features(model: &Model, precision: Precision) -> ArrayD<f32> {
    let shape = [2, 3, SIZE[0], SIZE[1]];
    let numbers = unit_numbers("images", shape.iter().product()).map(|unit| (unit * 4.0) as f32);
    let images = Array4::from_shape_vec(shape, numbers.collect()).unwrap();
    let settings = Settings { precision, ..Settings::default() };
    let outputs = [model.card().roles.features.as_str()];
    let program = Program::compile_with(model, SIZE, &outputs, settings).unwrap();
    program.run(images.view()).unwrap().remove(0)
}

/// Euclidean length of the difference, relative to the length of what is expected.
fn relative_error(expected: &ArrayD<f32>, found: &ArrayD<f32>) -> f64 {
    let square = |value: f32| f64::from(value).powi(2);
    let error: f64 = expected.iter().zip(found).map(|(expected, found)| square(expected - found)).sum();
    let length: f64 = expected.iter().map(|value| square(*value)).sum();
    (error / length).sqrt()
}

#[test]
fn features_in_bfloat16_are_within_a_hundredth() {
    for name in ["resnet50", "mobilenet_v2"] {
        let model = untrained(name);
        let exact = features(&model, Precision::Float32);
        let error = relative_error(&exact, &features(&model, Precision::BFloat16));
        println!("{name}: relative error of bf16 {error:.2e}");
        // Not zero either: then nothing would have been rounded.
        assert!(error > 1e-5 && error <= TOLERANCE, "{name}: {error:.2e}");
    }
}
