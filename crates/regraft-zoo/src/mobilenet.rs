//! MobileNetV2 (Sandler et al., CVPR 2018) and V3 (Howard et al., "Searching for MobileNetV3", ICCV 2019).

use regraft_graph::{GraphError, Op};

use crate::builder::{Builder, Layer, Network, RELU6, Squeeze, Style, Window};
use crate::inverted::{Block, Names, blocks, stem};

/// Expansion, channels, blocks and the first block's stride: Table 2 of the paper on V2.
const V2: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

/// MobileNetV2 of width 1. Input N×3×H×W, features N×1280.
pub(crate) fn mobilenet_v2(names: Names, classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 1e-5 });
    stem(&mut net, names, 32, RELU6)?;
    let inputs = [32].into_iter().chain(V2.map(|[_, channels, ..]| channels));
    let stages = V2.into_iter().zip(inputs).map(|([expansion, channels, count, stride], input)| {
        let block = |index| {
            let (stride, input) = if index == 0 { (stride, input) } else { (1, channels) };
            let width = expansion * input;
            Block { kernel: 3, stride, width, channels, squeeze: None, activation: RELU6 }
        };
        (0..count).map(block).collect()
    });
    let count = blocks(&mut net, names, &stages.collect::<Vec<_>>())?;
    if names == Names::Timm {
        net.conv_norm_act(["conv_head", "bn2", "bn2.act"], Layer::dense(1280, 1, 1), RELU6)?;
        let features = net.pool_to_vector("global_pool")?;
        return net.classifier("classifier", features, classes);
    }
    let head = [0, 1, 2].map(|index| format!("features.{}.{index}", count + 1));
    net.conv_norm_act(head, Layer::dense(1280, 1, 1), RELU6)?;
    let features = net.pool_to_vector("adaptive_avg_pool2d")?;
    net.node("classifier.0", Op::Dropout { ratio: 0.2 })?;
    net.classifier("classifier.1", features, classes)
}

/// Kernel, width, channels, stride, and width of the squeeze-and-excitation or 0.
type Row = [usize; 5];

/// Sizes of a MobileNetV3.
pub(crate) struct V3 {
    /// Blocks of as many channels in a group: Tables 1 and 2 of the paper.
    stages: &'static [&'static [Row]],
    /// Stages from the first with hard swish; those before have ReLU.
    swish_from: usize,
    /// Channels of the last convolution and features behind it.
    head: [usize; 2],
}

pub(crate) const LARGE: V3 = V3 {
    stages: &[
        &[[3, 16, 16, 1, 0]],
        &[[3, 64, 24, 2, 0], [3, 72, 24, 1, 0]],
        &[[5, 72, 40, 2, 24], [5, 120, 40, 1, 32], [5, 120, 40, 1, 32]],
        &[[3, 240, 80, 2, 0], [3, 200, 80, 1, 0], [3, 184, 80, 1, 0], [3, 184, 80, 1, 0]],
        &[[3, 480, 112, 1, 120], [3, 672, 112, 1, 168]],
        &[[5, 672, 160, 2, 168], [5, 960, 160, 1, 240], [5, 960, 160, 1, 240]],
    ],
    swish_from: 3,
    head: [960, 1280],
};

pub(crate) const SMALL: V3 = V3 {
    stages: &[
        &[[3, 16, 16, 2, 8]],
        &[[3, 72, 24, 2, 0], [3, 88, 24, 1, 0]],
        &[[5, 96, 40, 2, 24], [5, 240, 40, 1, 64], [5, 240, 40, 1, 64]],
        &[[5, 120, 48, 1, 32], [5, 144, 48, 1, 40]],
        &[[5, 288, 96, 2, 72], [5, 576, 96, 1, 144], [5, 576, 96, 1, 144]],
    ],
    swish_from: 2,
    head: [576, 1024],
};

/// MobileNetV3 of width 1. torchvision adds 1e-3 to the variances, timm 1e-5. Input N×3×H×W, features N×1280 (large) or
/// N×1024 (small).
pub(crate) fn mobilenet_v3(names: Names, sizes: &V3, classes: usize) -> Result<Network, GraphError> {
    let epsilon = if names == Names::Timm { 1e-5 } else { 1e-3 };
    let mut net = Builder::new(Style { same_padding: false, epsilon });
    stem(&mut net, names, 16, Op::HardSwish)?;
    let stages = sizes.stages.iter().enumerate().map(|(stage, rows)| {
        let activation = if stage < sizes.swish_from { Op::Relu } else { Op::HardSwish };
        rows.iter().map(|row| block(*row, activation.clone())).collect()
    });
    let count = blocks(&mut net, names, &stages.collect::<Vec<_>>())?;
    let [channels, features] = sizes.head;
    if names == Names::Timm {
        let last = ["conv", "bn1", "bn1.act"].map(|part| format!("blocks.{}.0.{part}", sizes.stages.len()));
        net.conv_norm_act(last, Layer::dense(channels, 1, 1), Op::HardSwish)?;
        net.node("global_pool", Op::GlobalAveragePool)?;
        net.conv("conv_head", Window::square(features, 1, 1), true)?;
        net.node("act2", Op::HardSwish)?;
        net.node("flatten", Op::Flatten)?;
        let features = net.last();
        return net.classifier("classifier", features, classes);
    }
    let last = [0, 1, 2].map(|index| format!("features.{}.{index}", count + 1));
    net.conv_norm_act(last, Layer::dense(channels, 1, 1), Op::HardSwish)?;
    net.pool_to_vector("avgpool")?;
    net.gemm("classifier.0", features)?;
    net.node("classifier.1", Op::HardSwish)?;
    net.node("classifier.2", Op::Dropout { ratio: 0.2 })?;
    net.classifier("classifier.3", "classifier.1".to_owned(), classes)
}

fn block([kernel, width, channels, stride, squeeze]: Row, activation: Op) -> Block {
    let squeeze =
        (squeeze > 0).then_some(Squeeze { width: squeeze, activation: Op::Relu, gate: Op::HardSigmoid });
    Block { kernel, stride, width, channels, squeeze, activation }
}
