//! What a configuration of transformers changes in the operators of an architecture.
//!
//! Sizes are not looked at here: they show in the shapes of the weights. What is for training (dropout, initial values)
//! changes nothing. A field that is not there has the value that transformers' configuration class gives it.

use regraft_graph::{
    Approximation, Attention, BatchNormalization, Conv, Gelu, Graph, LayerNormalization, LeakyRelu, Model,
    Node, Op, Padding,
};
use serde_json::Value;

use crate::builder::RELU6;
use crate::folder::size;

/// What a node of the architecture computes in a model of that configuration.
pub(crate) type Setting = fn(&Value, &Node) -> Result<Op, String>;

/// What to do about a network that is not known.
pub(super) const OTHERWISE: &str =
    "such a network is not known here; export it as ONNX and give that file as the source";

/// The model as its configuration has it.
///
/// # Errors
/// A field has a value that is not known here.
pub(crate) fn with_settings(config: &Value, model: &Model, setting: Setting) -> Result<Model, String> {
    changed(model, |node| setting(config, node))
}

pub(crate) fn with_batch_norm_epsilon(model: &Model, epsilon: f64) -> Result<Model, String> {
    changed(model, |node| {
        Ok(match &node.op {
            Op::BatchNormalization(norm) => with_epsilon(norm, epsilon),
            op => op.clone(),
        })
    })
}

/// The model with each operator changed as told.
fn changed(model: &Model, change: impl Fn(&Node) -> Result<Op, String>) -> Result<Model, String> {
    let old = model.graph();
    let mut graph = Graph::new(old.input(), old.input_fact().clone());
    for node in old.nodes() {
        let op = change(node)?;
        graph.push(Node { op, ..node.clone() }).map_err(|error| error.to_string())?;
    }
    let outputs = old.outputs().iter().map(String::as_str);
    graph.set_outputs(outputs).map_err(|error| error.to_string())?;
    Model::new(graph, model.weights().clone(), model.card().clone()).map_err(|error| error.to_string())
}

/// The activations of the first convolution and of the blocks' ends; those within a block are always ReLU.
pub(super) fn resnet(config: &Value, node: &Node) -> Result<Op, String> {
    let basic = config.get("layer_type").and_then(Value::as_str) == Some("basic");
    let end = if basic { ".relu_1" } else { ".relu_2" };
    match &node.op {
        Op::Relu if node.name == "relu" || node.name.ends_with(end) => activation(config, &node.op),
        Op::Conv(conv) if !basic => {
            let step = bottleneck_step(config, &node.name)?;
            Ok(Op::Conv(Conv { stride: step.map_or(conv.stride, |step| [step; 2]), ..conv.clone() }))
        }
        op => Ok(op.clone()),
    }
}

/// Stride of the convolutions that may have one, by their names: those of a stage's first block.
fn bottleneck_step(config: &Value, name: &str) -> Result<Option<usize>, String> {
    let early = flag(config, "downsample_in_bottleneck", false)?;
    let first = flag(config, "downsample_in_first_stage", false)?;
    let Some((stage, part)) = name.split_once(".0.") else { return Ok(None) };
    let step = if stage == "layer1" && !first { 1 } else { 2 };
    Ok(match part {
        "downsample.0" => Some(step),
        "conv1" => Some(if early { step } else { 1 }),
        "conv2" => Some(if early { 1 } else { step }),
        _ => None,
    })
}

pub(super) fn vit(config: &Value, node: &Node) -> Result<Op, String> {
    vision_transformer(config, node, 1e-12)
}

pub(super) fn dinov2(config: &Value, node: &Node) -> Result<Op, String> {
    vision_transformer(config, node, 1e-6)
}

fn vision_transformer(config: &Value, node: &Node, usual: f64) -> Result<Op, String> {
    match &node.op {
        Op::Attention(_) => Ok(Op::Attention(Attention { heads: heads(config)? })),
        Op::LayerNormalization(norm) => layer_norm(norm, epsilon(config, usual)?),
        Op::Gelu(_) => activation(config, &node.op),
        op => Ok(op.clone()),
    }
}

/// The epsilon in the configuration is for the last normalisation alone.
pub(super) fn convnext(config: &Value, node: &Node) -> Result<Op, String> {
    match &node.op {
        Op::LayerNormalization(norm) if node.name == "head.norm" => layer_norm(norm, epsilon(config, 1e-12)?),
        Op::Gelu(_) => activation(config, &node.op),
        op => Ok(op.clone()),
    }
}

/// The activation of the squeeze-and-excitation is always ReLU.
pub(super) fn regnet(config: &Value, node: &Node) -> Result<Op, String> {
    let first = flag(config, "downsample_in_first_stage", true)?;
    match &node.op {
        Op::Relu if !node.name.contains(".se.") => activation(config, &node.op),
        Op::Conv(conv) if !first && ["s1.b1.conv2.conv", "s1.b1.downsample.conv"].contains(&&*node.name) => {
            Ok(Op::Conv(Conv { stride: [1; 2], ..conv.clone() }))
        }
        op => Ok(op.clone()),
    }
}

/// TensorFlow's lopsided padding, and what it adds to the variances.
pub(super) fn mobilenet_v2(config: &Value, node: &Node) -> Result<Op, String> {
    match &node.op {
        Op::BatchNormalization(norm) => Ok(with_epsilon(norm, epsilon(config, 1e-3)?)),
        Op::Conv(conv) => mobilenet_conv(config, &node.name, conv),
        Op::Clip(_) => activation(config, &node.op),
        op => Ok(op.clone()),
    }
}

fn mobilenet_conv(config: &Value, name: &str, conv: &Conv) -> Result<Op, String> {
    let limit = config.get("output_stride").map_or(Some(32), size).filter(|limit| *limit > 1);
    let limit = limit.ok_or_else(|| refused(config, "output_stride", "a number of at least 2"))?;
    let step = layer(name).and_then(|layer| step(limit, layer));
    let (stride, dilation) = step.map_or((conv.stride, 1), |[stride, dilation]| ([stride; 2], dilation));
    let padding = match conv.padding {
        Padding::Explicit(sides) if !flag(config, "tf_padding", true)? => {
            Padding::Explicit(sides.map(|side| side * dilation))
        }
        _ => Padding::SameUpper,
    };
    Ok(Op::Conv(Conv { stride, dilation: [dilation; 2], padding, ..conv.clone() }))
}

/// Which of transformers' layers a depthwise convolution is in.
fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("features.")?.strip_suffix(".conv.1.0")?.parse::<usize>().ok()?.checked_sub(2)
}

/// Stride and dilation of a layer where the map shrinks no further than to one part in `limit`: from there on steps
/// become distances within the kernels of all layers behind.
fn step(limit: usize, layer: usize) -> Option<[usize; 2]> {
    const STRIDES: [usize; 16] = [2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1];
    let (mut shrunk, mut dilation) = (2, 1);
    let mut steps = STRIDES.into_iter().map(|stride| {
        if shrunk == limit {
            let step = [1, dilation];
            dilation *= stride;
            return step;
        }
        shrunk *= stride;
        [stride, 1]
    });
    steps.nth(layer)
}

/// BERT's activation; the sizes and the epsilon are taken when the network is built.
pub(crate) fn bert(config: &Value, node: &Node) -> Result<Op, String> {
    if matches!(node.op, Op::Gelu(_)) { activation(config, &node.op) } else { Ok(node.op.clone()) }
}

/// The operator of an activation that transformers has under that name.
fn activation(config: &Value, usual: &Op) -> Result<Op, String> {
    let Some(name) = config.get("hidden_act") else { return Ok(usual.clone()) };
    Ok(match name.as_str().unwrap_or_default() {
        "gelu" | "gelu_python" => Op::Gelu(Gelu { approximate: Approximation::None }),
        "gelu_new" | "gelu_fast" | "gelu_accurate" | "gelu_pytorch_tanh" | "gelu_python_tanh" => {
            Op::Gelu(Gelu { approximate: Approximation::Tanh })
        }
        "relu" => Op::Relu,
        "relu6" => RELU6,
        "leaky_relu" => Op::LeakyRelu(LeakyRelu { alpha: 0.01 }),
        "silu" | "swish" => Op::Silu,
        "hardswish" => Op::HardSwish,
        "sigmoid" => Op::Sigmoid,
        "tanh" => Op::Tanh,
        _ => return Err(refused(config, "hidden_act", ACTIVATIONS)),
    })
}

const ACTIVATIONS: &str = "gelu, gelu_new, relu, relu6, leaky_relu, silu, hardswish, sigmoid or tanh";

fn heads(config: &Value) -> Result<usize, String> {
    let heads = config.get("num_attention_heads").map_or(Some(12), size);
    heads.ok_or_else(|| refused(config, "num_attention_heads", "a number of at least 1"))
}

pub(crate) fn epsilon(config: &Value, usual: f64) -> Result<f64, String> {
    let epsilon = config.get("layer_norm_eps").map_or(Some(usual), Value::as_f64);
    let epsilon = epsilon.filter(|epsilon| *epsilon >= 0.0);
    epsilon.ok_or_else(|| refused(config, "layer_norm_eps", "a number of at least 0"))
}

fn layer_norm(norm: &LayerNormalization, epsilon: f64) -> Result<Op, String> {
    Ok(Op::LayerNormalization(LayerNormalization { epsilon, ..norm.clone() }))
}

fn with_epsilon(norm: &BatchNormalization, epsilon: f64) -> Op {
    Op::BatchNormalization(BatchNormalization { epsilon, ..norm.clone() })
}

fn flag(config: &Value, key: &str, usual: bool) -> Result<bool, String> {
    let flag = config.get(key).map_or(Some(usual), Value::as_bool);
    flag.ok_or_else(|| refused(config, key, "true or false"))
}

/// # Errors
/// The configuration has another value, and with it another network.
pub(crate) fn expect_flag(config: &Value, key: &str, known: bool) -> Result<(), String> {
    if flag(config, key, known)? == known { Ok(()) } else { Err(refused(config, key, &known.to_string())) }
}

fn refused(config: &Value, key: &str, expected: &str) -> String {
    format!("'{key}' is {}, expected {expected}: {OTHERWISE}", config.get(key).unwrap_or(&Value::Null))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_is_named_with_what_is() {
        let norm = Op::LayerNormalization(LayerNormalization { features: 8, epsilon: 1e-6 });
        let attention = Op::Attention(Attention { heads: 3 });
        let cases: [(Setting, Op, &str, Value, &str); 7] = [
            (resnet, Op::Relu, "hidden_act", json!("mish"), "is \"mish\", expected gelu, "),
            (bert, Op::Gelu(Gelu { approximate: Approximation::None }), "hidden_act", json!(3), "is 3"),
            (vit, attention, "num_attention_heads", json!(0), "is 0, expected a number of at least 1"),
            (vit, norm, "layer_norm_eps", json!(-1), "is -1, expected a number of at least 0"),
            (regnet, Op::Relu, "downsample_in_first_stage", json!("no"), "is \"no\", expected true"),
            (mobilenet_v2, RELU6, "hidden_act", json!(null), "is null"),
            (convnext, Op::Gelu(Gelu { approximate: Approximation::None }), "hidden_act", json!("x"), "is"),
        ];
        for (setting, op, key, value, expected) in cases {
            let message = setting(&json!({ key: value }), &Node::new("relu", op, ["input"])).unwrap_err();
            assert!(message.starts_with(&format!("'{key}' {expected}")), "{message}");
        }
    }

    #[test]
    fn steps_become_distances_where_the_map_is_small_enough() {
        let steps = |limit| [0, 1, 2, 5, 6, 12, 13, 15].map(|layer| step(limit, layer).unwrap());
        assert_eq!(steps(32), [[2, 1], [1, 1], [2, 1], [2, 1], [1, 1], [2, 1], [1, 1], [1, 1]]);
        assert_eq!(steps(8), [[2, 1], [1, 1], [2, 1], [1, 1], [1, 2], [1, 2], [1, 4], [1, 4]]);
    }
}
