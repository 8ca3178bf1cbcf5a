//! DenseNet (Huang et al., "Densely connected convolutional networks", CVPR 2017), with torchvision's names.

use regraft_graph::{GraphError, Op, Padding, Pool};

use crate::builder::{Builder, Layer, Network, Style, max_pool};

/// Sizes of a DenseNet.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Channels of the first convolution.
    pub(crate) stem: usize,
    /// Channels that each layer adds.
    pub(crate) growth: usize,
    /// Layers of each dense block.
    pub(crate) depths: [usize; 4],
}

/// Input N×3×H×W, features N×1024 for DenseNet-121.
pub(crate) fn densenet(sizes: Sizes, classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 1e-5 });
    let stem = ["features.conv0", "features.norm0", "features.relu0"];
    net.conv_norm_act(stem, Layer::dense(sizes.stem, 7, 2), Op::Relu)?;
    net.node("features.pool0", max_pool(3, 2, 1))?;
    for (block, depth) in (1..).zip(sizes.depths) {
        if block > 1 {
            transition(&mut net, &format!("features.transition{}", block - 1))?;
        }
        dense_block(&mut net, &format!("features.denseblock{block}"), depth, sizes.growth)?;
    }
    net.batch_norm("features.norm5")?;
    net.node("relu", Op::Relu)?;
    let features = net.pool_to_vector("adaptive_avg_pool2d")?;
    net.classifier("classifier", features, classes)
}

/// Every layer reads the block's input and all layers before it.
fn dense_block(net: &mut Builder, block: &str, depth: usize, growth: usize) -> Result<(), GraphError> {
    let mut wires = vec![net.last()];
    for index in 1..=depth {
        let layer = format!("{block}.denselayer{index}");
        if wires.len() > 1 {
            net.concat(format!("{layer}.cat"), &wires)?;
        }
        dense_layer(net, &layer, growth)?;
        wires.push(net.last());
    }
    net.concat(format!("{block}.cat"), &wires)?;
    net.cut_here();
    Ok(())
}

fn dense_layer(net: &mut Builder, layer: &str, growth: usize) -> Result<(), GraphError> {
    let name = |part: &str| format!("{layer}.{part}");
    net.batch_norm(name("norm1"))?;
    net.node(name("relu1"), Op::Relu)?;
    let narrow = ["conv1", "norm2", "relu2"].map(name);
    net.conv_norm_act(narrow, Layer::dense(4 * growth, 1, 1), Op::Relu)?;
    net.conv_alone(name("conv2"), Layer::dense(growth, 3, 1))
}

/// Half the channels on half the rows and columns.
fn transition(net: &mut Builder, name: &str) -> Result<(), GraphError> {
    net.batch_norm(format!("{name}.norm"))?;
    net.node(format!("{name}.relu"), Op::Relu)?;
    let out_channels = net.channels() / 2;
    net.conv_alone(format!("{name}.conv"), Layer::dense(out_channels, 1, 1))?;
    net.node(format!("{name}.pool"), Op::AveragePool(Pool::new([2; 2], [2; 2], Padding::all(0))))
}
