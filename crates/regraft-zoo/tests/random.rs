//! Random weights have the spread that He et al. derive, and keep a signal alive through a deep network.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod common;

use common::golden;
use ndarray::Ix4;
use regraft_engine::Program;
use regraft_formats::npy;
use regraft_graph::{Model, Patch, Weights};
use regraft_zoo::{architecture, random_weights, resolve};

/// Root mean square of a tensor times √fan-in.
fn gain(weights: &Weights, name: &str) -> f64 {
    let tensor = weights.get(name).unwrap();
    let fan_in: usize = tensor.shape()[1..].iter().product();
    let squares: f64 = tensor.to_f32().iter().map(|value| f64::from(*value).powi(2)).sum();
    (squares / tensor.len() as f64 * fan_in as f64).sqrt()
}

#[test]
fn the_spread_follows_the_next_activation() {
    let weights =
        |name| random_weights(&architecture(name).unwrap().network(1000).unwrap().graph, 1).unwrap();
    let (lite, resnet, crnn) = (weights("efficientnet-lite0"), weights("resnet50"), weights("crnn"));
    let rectified = std::f64::consts::SQRT_2;
    for (weights, name, expected) in [
        (&lite, "_conv_head.weight", rectified),
        (&lite, "_blocks.12._expand_conv.weight", rectified),
        (&lite, "_blocks.12._depthwise_conv.weight", rectified),
        (&lite, "_blocks.12._project_conv.weight", 1.0),
        (&lite, "_fc.weight", 1.0),
        (&resnet, "layer3.0.conv1.weight", rectified),
        (&resnet, "layer3.0.conv3.weight", rectified),
        (&resnet, "layer3.0.downsample.0.weight", rectified),
        (&resnet, "fc.weight", 1.0),
        (&crnn, "SequenceModeling.0.rnn.weight_ih_l0", 1.0),
        (&crnn, "SequenceModeling.1.rnn.weight_hh_l0_reverse", 1.0),
    ] {
        let found = gain(weights, name);
        assert!((found - expected).abs() < 0.02, "{name}: {found}, expected {expected}");
    }
    assert_eq!(resnet.get("bn1.running_var").unwrap().to_f32(), [1.0; 64]);
    assert_eq!(resnet.get("bn1.weight").unwrap().to_f32(), [1.0; 64]);
    assert_eq!(resnet.get("bn1.running_mean").unwrap().to_f32(), [0.0; 64]);
    assert_eq!(lite.get("_fc.bias").unwrap().to_f32(), [0.0; 1000]);
}

#[test]
fn a_seed_and_a_name_decide_a_layer() {
    let model = resolve("efficientnet-lite0").unwrap();
    let whole = random_weights(model.graph(), 5).unwrap();
    let cut = Patch::cut("_blocks.4._bn2").apply(model.clone());
    let cut = cut.or_else(|_| Patch::cut("_blocks.4.add").apply(model.clone())).unwrap();
    let part = random_weights(cut.graph(), 5).unwrap();
    assert!(part.iter().all(|(name, tensor)| whole.get(name) == Some(tensor)));
    assert_eq!(random_weights(model.graph(), 5).unwrap(), whole);
    assert_ne!(random_weights(model.graph(), 6).unwrap(), whole);
}

#[test]
fn random_features_are_finite_and_differ() {
    let image = npy::read_f32(&golden("input_64x64.npy")).unwrap().into_dimensionality::<Ix4>().unwrap();
    for name in [
        "efficientnet-lite0",
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "densenet121",
        "vgg16",
        "squeezenet1_1",
        "regnety_004",
    ] {
        let architecture = architecture(name).unwrap();
        let network = architecture.network(2).unwrap();
        let weights = random_weights(&network.graph, 1).unwrap();
        let card = regraft_graph::Card { roles: network.roles, ..architecture.card("random") };
        let model = Model::new(network.graph, weights, card).unwrap();
        let features = model.card().roles.features.as_str();
        let program = Program::compile(&model, [64, 64], &[features]).unwrap();
        let features = &program.run(image.view()).unwrap()[0];
        assert!(features.iter().all(|value| value.is_finite()), "{}", architecture.name);
        let mean = features.mean().unwrap();
        let spread = features.iter().map(|value| (value - mean).powi(2)).sum::<f32>().sqrt();
        assert!(spread > 1e-3 * mean.abs(), "{}: mean {mean}, spread {spread}", architecture.name);
    }
}
