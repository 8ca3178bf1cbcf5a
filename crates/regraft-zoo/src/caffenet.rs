//! CaffeNet, Caffe's AlexNet (Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", NeurIPS
//! 2012) that pools before it normalises, with the names of its published layers.

use regraft_graph::{Conv, GraphError, Lrn, LrnRegion, Op, Padding};

use crate::builder::{Builder, Network, Style, max_pool_ceil};

/// Channels, kernel, stride, padding, groups, and whether a pool and a normalisation follow.
const LAYERS: [([usize; 5], bool, bool); 5] = [
    ([96, 11, 4, 0, 1], true, true),
    ([256, 5, 1, 2, 2], true, true),
    ([384, 3, 1, 1, 1], false, false),
    ([384, 3, 1, 1, 2], false, false),
    ([256, 3, 1, 1, 2], true, false),
];

const NORMALISATION: Lrn =
    Lrn { size: 5, alpha: 1e-4, beta: 0.75, bias: 1.0, region: LrnRegion::AcrossChannels };

/// Input N×3×H×W for that height and width, which its dense layers are as large as; features N×4096.
pub(crate) fn caffenet(classes: usize, image: [usize; 2]) -> Result<Network, GraphError> {
    let mut net = Builder::with_image(Style { same_padding: false, epsilon: 0.0 }, image);
    for (index, (sizes, pool, normalise)) in (1..).zip(LAYERS) {
        convolution(&mut net, format!("conv{index}"), sizes)?;
        net.node(format!("relu{index}"), Op::Relu)?;
        if pool {
            net.node(format!("pool{index}"), max_pool_ceil(3, 2))?;
        }
        if normalise {
            net.node(format!("norm{index}"), Op::Lrn(NORMALISATION))?;
        }
        net.cut_here();
    }
    net.node("flatten", Op::Flatten)?;
    for index in [6, 7] {
        net.gemm(format!("fc{index}"), 4096)?;
        net.node(format!("relu{index}"), Op::Relu)?;
        net.node(format!("drop{index}"), Op::Dropout { ratio: 0.5 })?;
    }
    net.classifier("fc8", "relu7".to_owned(), classes)
}

fn convolution(net: &mut Builder, name: String, sizes: [usize; 5]) -> Result<(), GraphError> {
    let [out_channels, kernel, stride, padding, groups] = sizes;
    let conv = Conv {
        in_channels: net.channels(),
        out_channels,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        padding: Padding::all(padding),
        groups,
        bias: true,
    };
    net.node(name, Op::Conv(conv))
}
