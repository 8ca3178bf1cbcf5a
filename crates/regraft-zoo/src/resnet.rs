//! ResNet (He et al., "Deep residual learning for image recognition", CVPR 2016), with torchvision's names, which timm
//! shares. As in both, a bottleneck has its stride in the 3×3 convolution and not in the first 1×1 ("version 1.5").

use regraft_graph::{GraphError, Op, Padding, Pool};

use crate::builder::{Builder, Layer, Network, Style};

/// The two kinds of residual block.
#[derive(Clone, Copy)]
enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3, 1×1, the last one four times as wide.
    Bottleneck,
}

/// ResNet-18 with that many classes. Input N×3×H×W, features N×512.
///
/// # Errors
/// None for a possible number of classes.
pub fn resnet18(classes: usize) -> Result<Network, GraphError> {
    resnet(Block::Basic, [2, 2, 2, 2], classes)
}

/// ResNet-34 with that many classes. Input N×3×H×W, features N×512.
///
/// # Errors
/// None for a possible number of classes.
pub fn resnet34(classes: usize) -> Result<Network, GraphError> {
    resnet(Block::Basic, [3, 4, 6, 3], classes)
}

/// ResNet-50 with that many classes. Input N×3×H×W, features N×2048.
///
/// # Errors
/// None for a possible number of classes.
pub fn resnet50(classes: usize) -> Result<Network, GraphError> {
    resnet(Block::Bottleneck, [3, 4, 6, 3], classes)
}

/// ResNet-101 with that many classes. Input N×3×H×W, features N×2048.
///
/// # Errors
/// None for a possible number of classes.
pub fn resnet101(classes: usize) -> Result<Network, GraphError> {
    resnet(Block::Bottleneck, [3, 4, 23, 3], classes)
}

/// ResNet-152 with that many classes. Input N×3×H×W, features N×2048.
///
/// # Errors
/// None for a possible number of classes.
pub fn resnet152(classes: usize) -> Result<Network, GraphError> {
    resnet(Block::Bottleneck, [3, 8, 36, 3], classes)
}

fn resnet(block: Block, depths: [usize; 4], classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 1e-5 });
    net.conv_norm(Layer { name: "conv1", out_channels: 64, kernel: 7, stride: 2, groups: 1 }, "bn1")?;
    net.node("relu", Op::Relu)?;
    net.node("maxpool", Op::MaxPool(Pool::new([3; 2], [2; 2], Padding::all(1))))?;
    for ((layer, width), depth) in (1..).zip([64, 128, 256, 512]).zip(depths) {
        for index in 0..depth {
            let stride = if layer > 1 && index == 0 { 2 } else { 1 };
            residual(&mut net, &format!("layer{layer}.{index}"), block, width, stride)?;
        }
    }
    net.node("avgpool", Op::GlobalAveragePool)?;
    net.node("flatten", Op::Flatten)?;
    let features = net.last();
    net.classifier("fc", features, classes)
}

/// Kernel, width over the block's width, and whether it has the block's stride, for each convolution of a block.
fn convolutions(block: Block) -> &'static [(usize, usize, bool)] {
    match block {
        Block::Basic => &[(3, 1, true), (3, 1, false)],
        Block::Bottleneck => &[(1, 1, false), (3, 1, true), (1, 4, false)],
    }
}

fn residual(
    net: &mut Builder,
    name: &str,
    block: Block,
    width: usize,
    stride: usize,
) -> Result<(), GraphError> {
    let (input, in_channels) = (net.last(), net.channels());
    for (index, &(kernel, factor, strided)) in (1..).zip(convolutions(block)) {
        if index > 1 {
            net.node(relu(name, index - 2), Op::Relu)?;
        }
        let conv = &format!("{name}.conv{index}");
        let stride = if strided { stride } else { 1 };
        let layer = Layer { name: conv, out_channels: width * factor, kernel, stride, groups: 1 };
        net.conv_norm(layer, &format!("{name}.bn{index}"))?;
    }
    let (end, out_channels) = (net.last(), net.channels());
    net.branch_from(&input);
    if stride != 1 || in_channels != out_channels {
        let conv = &format!("{name}.downsample.0");
        let layer = Layer { name: conv, out_channels, kernel: 1, stride, groups: 1 };
        net.conv_norm(layer, &format!("{name}.downsample.1"))?;
    }
    let shortcut = net.last();
    net.branch_from(&end);
    net.add(format!("{name}.add"), &shortcut)?;
    net.node(relu(name, convolutions(block).len() - 1), Op::Relu)?;
    net.cut_here();
    Ok(())
}

/// The name that tracing gives to the repeated use of one activation: `relu`, `relu_1`, `relu_2`.
fn relu(block: &str, use_index: usize) -> String {
    if use_index == 0 { format!("{block}.relu") } else { format!("{block}.relu_{use_index}") }
}
