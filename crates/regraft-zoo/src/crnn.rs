//! CRNN (Shi, Bai & Yao, "An end-to-end trainable neural network for image-based sequence recognition and its application to
//! scene text recognition", TPAMI 2017): the characters in a picture of one line of text. Convolutions make a map that is
//! wide and flat, whose columns go through two recurrent layers in both directions.
//!
//! As EasyOCR's second generation of recognisers has it: a mean over the map's rows, so that the height is free, and half
//! the channels. The names are those of its files.

use regraft_graph::{
    Concat, Fact, GateFunction, GraphError, Node, Op, Padding, ParameterKind, Pool, Recurrent, Reduce,
    ReduceKind, Transpose,
};

use crate::builder::{Builder, Network, Style, Window, max_pool};

const STYLE: Style = Style { same_padding: false, epsilon: 1e-5 };

/// Length of a state of the recurrent layers, in one direction.
const HIDDEN: usize = 256;

/// Input N×1×H×W with sides of at least 32 and 8, features N×256×(H/16 − 1)×(W/4 − 1), output N×(W/4 − 1)×`characters`: for
/// each column one number a character, the first for none (connectionist temporal classification). Without characters, the
/// network ends at its features.
pub(crate) fn crnn(characters: usize) -> Result<Network, GraphError> {
    let mut net = Builder::with_input(STYLE, Fact::image(1));
    convolutions(&mut net)?;
    let features = net.last();
    if characters > 0 {
        let mean = Reduce { kind: ReduceKind::Mean, axes: vec![2], keep_axes: false };
        net.node("AdaptiveAvgPool", Op::Reduce(mean))?;
        net.node("columns", Op::Transpose(Transpose { axes: vec![0, 2, 1] }))?;
        for layer in 0..2 {
            both_directions(&mut net, &format!("SequenceModeling.{layer}"))?;
        }
        net.gemm("Prediction", characters)?;
    }
    net.finish(features, None)
}

fn convolutions(net: &mut Builder) -> Result<(), GraphError> {
    let layer = |index: usize| format!("FeatureExtraction.ConvNet.{index}");
    for (index, width) in [(0, 32), (3, 64), (6, 128), (8, 128)] {
        net.conv(layer(index), Window::square(width, 3, 1), true)?;
        net.node(layer(index + 1), Op::Relu)?;
        match index {
            0 | 3 => net.node(layer(index + 2), max_pool(2, 2, 0))?,
            8 => net.node(layer(10), halve_rows())?,
            _ => continue,
        }
        net.cut_here();
    }
    for index in [11, 14] {
        net.conv(layer(index), Window::square(256, 3, 1), false)?;
        net.batch_norm(layer(index + 1))?;
        net.node(layer(index + 2), Op::Relu)?;
    }
    net.node(layer(17), halve_rows())?;
    net.cut_here();
    net.conv(layer(18), Window::valid(256, 2, 1), true)?;
    net.node(layer(19), Op::Relu)
}

/// Characters are narrow, so the columns stay.
fn halve_rows() -> Op {
    Op::MaxPool(Pool::new([2, 1], [2, 1], Padding::all(0)))
}

/// A recurrent layer from left to right and one from right to left, side by side, and a dense layer.
fn both_directions(net: &mut Builder, name: &str) -> Result<(), GraphError> {
    let input = net.last();
    let mut sides = Vec::new();
    for (side, suffix) in [("forward", "_l0"), ("backward", "_l0_reverse")] {
        let layer = Recurrent {
            features: net.channels(),
            hidden: HIDDEN,
            reverse: side == "backward",
            gates: GateFunction::Sigmoid,
            reset_after: false,
        };
        use ParameterKind::{InputBias, InputWeight, StateBias, StateWeight};
        let names = [InputWeight, StateWeight, InputBias, StateBias]
            .map(|kind| (kind, format!("{name}.rnn.{}{suffix}", kind.suffix())));
        net.named(&format!("{name}.rnn.{side}"), Op::Lstm(layer), names)?;
        sides.push(net.last());
        net.branch_from(&input);
    }
    net.push(Node::new(format!("{name}.rnn"), Op::Concat(Concat { axis: 2 }), sides))?;
    net.gemm(format!("{name}.linear"), HIDDEN)
}
