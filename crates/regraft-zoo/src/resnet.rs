//! ResNet (He et al., "Deep residual learning for image recognition", CVPR 2016), ResNeXt (Xie et al., "Aggregated
//! residual transformations for deep neural networks", CVPR 2017) and wide ResNet (Zagoruyko & Komodakis, BMVC 2016),
//! with torchvision's names, which timm shares. As in both, a bottleneck has its stride in the 3×3 convolution and not in
//! the first 1×1 ("version 1.5").

use regraft_graph::{GraphError, Op};

use crate::builder::{Builder, Layer, Network, Style, max_pool};

/// The two kinds of residual block.
#[derive(Clone, Copy)]
pub(crate) enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3, 1×1, the last one four times as wide as the first in a plain ResNet.
    Bottleneck {
        /// Of the 3×3 convolution.
        groups: usize,
        /// Channels of a group of the first stage; they double from stage to stage.
        group_width: usize,
    },
}

/// The bottleneck of ResNet-50 and deeper.
pub(crate) const PLAIN: Block = Block::Bottleneck { groups: 1, group_width: 64 };

/// Input N×3×H×W, features N×512 for basic blocks and N×2048 for bottlenecks.
pub(crate) fn resnet(block: Block, depths: [usize; 4], classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 1e-5 });
    net.conv_norm_act(["conv1", "bn1", "relu"], Layer::dense(64, 7, 2), Op::Relu)?;
    net.node("maxpool", max_pool(3, 2, 1))?;
    for (stage, depth) in depths.into_iter().enumerate() {
        for index in 0..depth {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            residual(&mut net, &format!("layer{}.{index}", stage + 1), convolutions(block, stage), stride)?;
        }
    }
    let features = net.pool_to_vector("avgpool")?;
    net.classifier("fc", features, classes)
}

/// Channels, kernel, groups, and whether it has the block's stride, for each convolution of a block of that stage.
fn convolutions(block: Block, stage: usize) -> Vec<(usize, usize, usize, bool)> {
    let width = 64 << stage;
    match block {
        Block::Basic => vec![(width, 3, 1, true), (width, 3, 1, false)],
        Block::Bottleneck { groups, group_width } => {
            let inner = (groups * group_width) << stage;
            vec![(inner, 1, 1, false), (inner, 3, groups, true), (4 * width, 1, 1, false)]
        }
    }
}

fn residual(
    net: &mut Builder,
    name: &str,
    convolutions: Vec<(usize, usize, usize, bool)>,
    stride: usize,
) -> Result<(), GraphError> {
    let (input, in_channels, last) = (net.last(), net.channels(), convolutions.len() - 1);
    for (index, (out_channels, kernel, groups, strided)) in convolutions.into_iter().enumerate() {
        if index > 0 {
            net.node(relu(name, index - 1), Op::Relu)?;
        }
        let names = ["conv", "bn"].map(|part| format!("{name}.{part}{}", index + 1));
        let stride = if strided { stride } else { 1 };
        net.conv_norm(names, Layer { out_channels, kernel, stride, groups })?;
    }
    let (end, out_channels) = (net.last(), net.channels());
    net.branch_from(&input);
    if stride != 1 || in_channels != out_channels {
        let names = [0, 1].map(|index| format!("{name}.downsample.{index}"));
        net.conv_norm(names, Layer::dense(out_channels, 1, stride))?;
    }
    let shortcut = net.last();
    net.branch_from(&end);
    net.add(format!("{name}.add"), &shortcut)?;
    net.node(relu(name, last), Op::Relu)?;
    net.cut_here();
    Ok(())
}

/// The name that tracing gives to the repeated use of one activation: `relu`, `relu_1`, `relu_2`.
fn relu(block: &str, use_index: usize) -> String {
    if use_index == 0 { format!("{block}.relu") } else { format!("{block}.relu_{use_index}") }
}
