//! Whole networks in several precisions: what 16 bits cost, and that a batch changes no bit. The small networks of the
//! engine's own tests have too few weights to be divided into stages; these are.
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
use regraft_engine::{Calibrator, InstructionSet, Precision, Program, Settings};
use regraft_graph::{Card, Model};
use regraft_zoo::{Network, architecture, random_weights};

/// Rounding to 8 significant bits is off by 2⁻⁹ of a number on average, in every layer anew; residual connections and
/// sums over many channels keep the total below this. With trained weights and real images it is more: 8.6 % for
/// MobileNetV2 (`oracles/study_precision.py`).
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

fn images(count: usize, size: [usize; 2]) -> Array4<f32> {
    let shape = [count, 3, size[0], size[1]];
    let numbers = unit_numbers("images", shape.iter().product()).map(|unit| (unit * 4.0) as f32);
    Array4::from_shape_vec(shape, numbers.collect()).unwrap()
}

fn features(model: &Model, precision: Precision) -> ArrayD<f32> {
    let images = images(2, SIZE);
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

#[test]
fn a_batch_gives_the_bits_of_its_images_alone() {
    let (size, count) = ([48, 80], 21);
    let images = images(count, size);
    let set = InstructionSet::detect();
    for name in ["resnet50", "densenet121"] {
        let model = untrained(name);
        // A wire in the middle too, and one that later layers add to.
        let outputs: &[&str] = match name {
            "resnet50" => &["fc", "layer2.3.relu", "layer3.0.bn1", "layer4.1.conv2"],
            _ => &["classifier", "features.transition2.pool", "features.denseblock4.denselayer3.conv2"],
        };
        let mut calibrator = Calibrator::new(&model, size, outputs, set).unwrap();
        calibrator.observe(images.slice(ndarray::s![..2, .., .., ..])).unwrap();
        let calibration = calibrator.finish();
        for precision in Precision::ALL {
            let settings = Settings { precision, instruction_set: set };
            let program = match precision {
                Precision::Int8 => Program::compile_int8(&model, size, outputs, set, &calibration),
                _ => Program::compile_with(&model, size, outputs, settings),
            };
            let program = program.unwrap();
            let whole = program.run(images.view()).unwrap();
            for (index, image) in images.outer_iter().enumerate().step_by(5) {
                let alone = program.run(image.insert_axis(ndarray::Axis(0))).unwrap();
                for (output, (whole, alone)) in outputs.iter().zip(whole.iter().zip(&alone)) {
                    let of_batch = whole.index_axis(ndarray::Axis(0), index);
                    let case = format!("{name}, {}, {output}, image {index}", precision.name());
                    assert!(of_batch.iter().eq(alone.iter()), "{case}");
                }
            }
        }
    }
}
