//! MobileNetV2 (Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018), with torchvision's
//! names.

use regraft_graph::{Clip, GraphError, Op};

use crate::builder::{Builder, Layer, Network, Style};

/// Expansion, channels, blocks and the first block's stride: Table 2 of the paper.
const STAGES: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

/// MobileNetV2 of width 1 with that many classes. Input N×3×H×W, features N×1280.
///
/// # Errors
/// None for a possible number of classes.
pub fn mobilenet_v2(classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 1e-5 });
    conv_norm_relu6(&mut net, "features.0", [32, 3, 2, 1])?;
    let blocks = STAGES.iter().flat_map(|[expansion, channels, blocks, stride]| {
        (0..*blocks).map(move |index| (*expansion, *channels, if index == 0 { *stride } else { 1 }))
    });
    for (index, (expansion, channels, stride)) in (1..).zip(blocks) {
        inverted_residual(&mut net, &format!("features.{index}"), expansion, channels, stride)?;
    }
    conv_norm_relu6(&mut net, "features.18", [1280, 1, 1, 1])?;
    net.node("adaptive_avg_pool2d", Op::GlobalAveragePool)?;
    net.node("flatten", Op::Flatten)?;
    let features = net.last();
    net.node("classifier.0", Op::Dropout { ratio: 0.2 })?;
    net.classifier("classifier.1", features, classes)
}

/// Widen, filter each channel by itself, narrow; the input is added where the shape allows it.
fn inverted_residual(
    net: &mut Builder,
    name: &str,
    expansion: usize,
    channels: usize,
    stride: usize,
) -> Result<(), GraphError> {
    let (input, in_channels) = (net.last(), net.channels());
    let width = in_channels * expansion;
    let mut parts = (0..).map(|index| format!("{name}.conv.{index}"));
    let mut part = || parts.next().unwrap_or_default();
    if expansion > 1 {
        conv_norm_relu6(net, &part(), [width, 1, 1, 1])?;
    }
    conv_norm_relu6(net, &part(), [width, 3, stride, width])?;
    let [project, norm] = [part(), part()];
    net.conv_norm(Layer { name: &project, out_channels: channels, kernel: 1, stride: 1, groups: 1 }, &norm)?;
    if stride == 1 && in_channels == channels {
        net.add(format!("{name}.add"), &input)?;
    }
    net.cut_here();
    Ok(())
}

/// Sizes are the channels out, the kernel, the stride and the number of groups.
fn conv_norm_relu6(
    net: &mut Builder,
    name: &str,
    [out_channels, kernel, stride, groups]: [usize; 4],
) -> Result<(), GraphError> {
    let conv = &format!("{name}.0");
    net.conv_norm(Layer { name: conv, out_channels, kernel, stride, groups }, &format!("{name}.1"))?;
    net.node(format!("{name}.2"), Op::Clip(Clip { min: 0.0, max: 6.0 }))
}
