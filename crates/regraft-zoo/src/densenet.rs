//! DenseNet (Huang et al., "Densely connected convolutional networks", CVPR 2017), with torchvision's names.

use regraft_graph::{GraphError, Op, Padding, Pool};

use crate::builder::{Builder, Layer, Network, Style};

/// Channels that each layer adds.
const GROWTH: usize = 32;

/// DenseNet-121 with that many classes. Input N×3×H×W, features N×1024.
///
/// # Errors
/// None for a possible number of classes.
pub fn densenet121(classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 1e-5 });
    let stem = Layer { name: "features.conv0", out_channels: 64, kernel: 7, stride: 2, groups: 1 };
    net.conv_norm(stem, "features.norm0")?;
    net.node("features.relu0", Op::Relu)?;
    net.node("features.pool0", Op::MaxPool(Pool::new([3; 2], [2; 2], Padding::all(1))))?;
    for (block, depth) in (1..).zip([6, 12, 24, 16]) {
        if block > 1 {
            transition(&mut net, &format!("features.transition{}", block - 1))?;
        }
        dense_block(&mut net, &format!("features.denseblock{block}"), depth)?;
    }
    net.batch_norm("features.norm5")?;
    net.node("relu", Op::Relu)?;
    net.node("adaptive_avg_pool2d", Op::GlobalAveragePool)?;
    net.node("flatten", Op::Flatten)?;
    let features = net.last();
    net.classifier("classifier", features, classes)
}

/// Every layer reads the block's input and all layers before it.
fn dense_block(net: &mut Builder, block: &str, depth: usize) -> Result<(), GraphError> {
    let mut wires = vec![net.last()];
    for index in 1..=depth {
        let layer = format!("{block}.denselayer{index}");
        if wires.len() > 1 {
            net.concat(format!("{layer}.cat"), &wires)?;
        }
        dense_layer(net, &layer)?;
        wires.push(net.last());
    }
    net.concat(format!("{block}.cat"), &wires)?;
    net.cut_here();
    Ok(())
}

fn dense_layer(net: &mut Builder, layer: &str) -> Result<(), GraphError> {
    let name = |part: &str| format!("{layer}.{part}");
    net.batch_norm(name("norm1"))?;
    net.node(name("relu1"), Op::Relu)?;
    let narrow = Layer { name: &name("conv1"), out_channels: 4 * GROWTH, kernel: 1, stride: 1, groups: 1 };
    net.conv_norm(narrow, &name("norm2"))?;
    net.node(name("relu2"), Op::Relu)?;
    net.conv_alone(Layer { name: &name("conv2"), out_channels: GROWTH, kernel: 3, stride: 1, groups: 1 })
}

/// Half the channels on half the rows and columns.
fn transition(net: &mut Builder, name: &str) -> Result<(), GraphError> {
    net.batch_norm(format!("{name}.norm"))?;
    net.node(format!("{name}.relu"), Op::Relu)?;
    let out_channels = net.channels() / 2;
    net.conv_alone(Layer { name: &format!("{name}.conv"), out_channels, kernel: 1, stride: 1, groups: 1 })?;
    net.node(format!("{name}.pool"), Op::AveragePool(Pool::new([2; 2], [2; 2], Padding::all(0))))
}
