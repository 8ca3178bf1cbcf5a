//! EfficientNet (Tan & Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019) and
//! EfficientNet-Lite (Liu et al., 2020), which has no squeeze-and-excitation and ReLU6, so that it quantises well.
//!
//! Weights that come from TensorFlow need `SAME` padding, which is lopsided at stride 2, and 1e-3 added to the variances.
//! With PyTorch's defaults for either the network still runs, and is wrong.

use regraft_graph::{GraphError, Op};

use crate::builder::{Builder, Layer, Network, RELU6, Squeeze, Style};
use crate::inverted::{Block, Names, blocks, stem};

/// Blocks, kernel, the first block's stride, expansion and channels: Table 1 of the paper.
const B0: [[usize; 5]; 7] = [
    [1, 3, 1, 1, 16],
    [2, 3, 2, 6, 24],
    [2, 5, 2, 6, 40],
    [3, 3, 2, 6, 80],
    [3, 5, 1, 6, 112],
    [4, 5, 2, 6, 192],
    [1, 3, 1, 6, 320],
];

/// Tenths by which channels and blocks are multiplied, by the number in the network's name.
const SCALES: [[usize; 2]; 5] = [[10, 10], [10, 11], [11, 12], [12, 14], [14, 18]];

/// Whose conventions and names a network follows.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) names: Names,
    pub(crate) style: Style,
}

const PYTORCH: Style = Style { same_padding: false, epsilon: 1e-5 };
const TENSORFLOW: Style = Style { same_padding: true, epsilon: 1e-3 };

/// torchvision's EfficientNets.
pub(crate) const TORCHVISION: Origin = Origin { names: Names::TorchvisionEfficient, style: PYTORCH };
/// timm's, trained in PyTorch.
pub(crate) const TIMM: Origin = Origin { names: Names::Timm, style: PYTORCH };
/// timm's `tf_…`, converted from TensorFlow.
pub(crate) const TIMM_TF: Origin = Origin { names: Names::Timm, style: TENSORFLOW };
/// The first port's, converted from TensorFlow.
pub(crate) const PORT: Origin = Origin { names: Names::Port, style: TENSORFLOW };

/// EfficientNet-B0 … B4 by number. Input N×3×H×W, features N×1280 for B0.
pub(crate) fn efficientnet(number: usize, origin: Origin, classes: usize) -> Result<Network, GraphError> {
    let [width, depth] = scales(number);
    let ends = [32, 1280].map(|channels| scaled(channels, width));
    let stages = stages(ends[0], width, |_, blocks| (blocks * depth).div_ceil(10), Some(Op::Silu));
    build(origin, ends, Op::Silu, &stages, classes)
}

/// EfficientNet-Lite0 … 4 by number, whose stem, head, and numbers of blocks of the first and last stage are not scaled.
/// Input N×3×H×W, features N×1280.
pub(crate) fn efficientnet_lite(
    number: usize,
    origin: Origin,
    classes: usize,
) -> Result<Network, GraphError> {
    let [width, depth] = scales(number);
    let fixed = |stage| stage == 0 || stage == B0.len() - 1;
    let count = |stage, blocks: usize| if fixed(stage) { blocks } else { (blocks * depth).div_ceil(10) };
    build(origin, [32, 1280], RELU6, &stages(32, width, count, None), classes)
}

fn scales(number: usize) -> [usize; 2] {
    SCALES.get(number).copied().unwrap_or([10; 2])
}

/// Channels times tenths, to the nearest multiple of 8 that is not more than a tenth smaller.
fn scaled(channels: usize, tenths: usize) -> usize {
    let rounded = ((channels * tenths + 40) / 80 * 8).max(8);
    if 100 * rounded < 9 * channels * tenths { rounded + 8 } else { rounded }
}

/// The blocks of each stage; with a squeeze-and-excitation where its activation is given.
fn stages(
    stem: usize,
    width: usize,
    count: impl Fn(usize, usize) -> usize,
    squeeze: Option<Op>,
) -> Vec<Vec<Block>> {
    let activation = squeeze.clone().unwrap_or(RELU6);
    let inputs = std::iter::once(stem).chain(B0.map(|[.., channels]| scaled(channels, width)));
    let mut stages = Vec::new();
    for (stage, (row, input)) in B0.into_iter().zip(inputs).enumerate() {
        let [blocks, kernel, stride, expansion, channels] = row;
        let channels = scaled(channels, width);
        let block = |index| {
            let (stride, input) = if index == 0 { (stride, input) } else { (1, channels) };
            let gates = |activation| Squeeze { width: input / 4, activation, gate: Op::Sigmoid };
            let squeeze = squeeze.clone().map(gates);
            let (width, activation) = (expansion * input, activation.clone());
            Block { kernel, stride, width, channels, squeeze, activation }
        };
        stages.push((0..count(stage, blocks)).map(block).collect());
    }
    stages
}

fn build(
    Origin { names, style }: Origin,
    [first, last]: [usize; 2],
    activation: Op,
    stages: &[Vec<Block>],
    classes: usize,
) -> Result<Network, GraphError> {
    let mut net = Builder::new(style);
    stem(&mut net, names, first, activation.clone())?;
    blocks(&mut net, names, stages)?;
    let (head, pool, dropout, classifier) = match names {
        Names::Timm => (["conv_head", "bn2", "bn2.act"], "global_pool", "drop", "classifier"),
        Names::Port => (["_conv_head", "_bn1", "_relu6_1"], "_avg_pooling", "_dropout", "_fc"),
        _ => (["features.8.0", "features.8.1", "features.8.2"], "avgpool", "classifier.0", "classifier.1"),
    };
    net.conv_norm_act(head, Layer::dense(last, 1, 1), activation)?;
    let features = net.pool_to_vector(pool)?;
    net.node(dropout, Op::Dropout { ratio: 0.2 })?;
    net.classifier(classifier, features, classes)
}
