//! Random weights: what a network is before it has seen anything. The yardstick that a pretrained one must beat.

use std::collections::HashSet;
use std::f64::consts::SQRT_2;

use rand_distr::{Distribution as _, StandardNormal};
use regraft_graph::{Graph, GraphError, Node, Op, Parameter, ParameterKind, Tensor, Weights};
use regraft_system::random;

/// Weights for a graph: He initialisation (He et al., "Delving deep into rectifiers", ICCV 2015, eq. 10).
///
/// A convolution's weights are normal with standard deviation gain / √fan-in, where the gain is √2 in front of a
/// (clipped) ReLU and 1 elsewhere; a dense layer's with 1 / √fan-in. Biases and running means are 0, normalisation
/// weights and running variances 1. Every parameter has a random stream of its own, keyed by its name, so that the
/// same layer is the same in a network that was cut.
///
/// # Errors
/// None for a graph of a possible size.
pub fn random_weights(graph: &Graph, seed: u64) -> Result<Weights, GraphError> {
    let mut weights = Weights::new();
    let rectified = rectified(graph);
    for node in graph.nodes() {
        let gain = if rectified.contains(node.name.as_str()) { SQRT_2 } else { 1.0 };
        for parameter in node.parameters() {
            let values = values(node, &parameter, gain, seed);
            weights.insert(parameter.name, Tensor::from_f32(parameter.shape, &values)?);
        }
    }
    Ok(weights)
}

/// The wires that meet a (clipped) ReLU before the next layer with weights.
fn rectified(graph: &Graph) -> HashSet<&str> {
    let mut wires = HashSet::new();
    for node in graph.nodes().iter().rev() {
        let passes = match node.op {
            Op::Relu | Op::Clip(_) => true,
            Op::BatchNormalization(_) | Op::Add | Op::MaxPool(_) | Op::AveragePool(_) => {
                wires.contains(node.name.as_str())
            }
            _ => false,
        };
        if passes {
            wires.extend(node.inputs.iter().map(String::as_str));
        }
    }
    wires
}

fn values(node: &Node, parameter: &Parameter, gain: f64, seed: u64) -> Vec<f32> {
    let count: usize = parameter.shape.iter().product();
    let constant = match (parameter.kind, &node.op) {
        (ParameterKind::Weight, Op::BatchNormalization(_) | Op::LayerNormalization(_) | Op::Scale(_))
        | (ParameterKind::RunningVariance, _) => Some(1.0),
        (ParameterKind::Weight | ParameterKind::InputWeight | ParameterKind::StateWeight, _) => None,
        _ => Some(0.0),
    };
    constant.map_or_else(|| normal(parameter, gain, seed), |value| vec![value; count])
}

fn normal(parameter: &Parameter, gain: f64, seed: u64) -> Vec<f32> {
    let count: usize = parameter.shape.iter().product();
    let fan_in: usize = parameter.shape.iter().skip(1).product();
    let deviation = gain / (fan_in.max(1) as f64).sqrt();
    let stream = random::stream(seed, &format!("initial weights of {}", parameter.name), 0);
    let normal = StandardNormal.sample_iter(stream).take(count);
    normal.map(|value: f64| (value * deviation) as f32).collect()
}
