//! EfficientNet-Lite (Liu et al., 2020, after Tan & Le, "EfficientNet", ICML 2019): inverted residuals without
//! squeeze-and-excitation and with ReLU6, so that they quantise well.
//!
//! The weights come from TensorFlow and were named by the first PyTorch port: `SAME` padding, which is lopsided at
//! stride 2, and 1e-3 added to the variances. With PyTorch's defaults for either the network still runs, and is wrong.

use regraft_graph::{Clip, GraphError, Op};

use crate::builder::{Builder, Layer, Network, Style};

/// A row of Table 1 of the paper: blocks of one width.
struct Stage {
    blocks: usize,
    kernel: usize,
    /// Of the first block; the others have 1.
    stride: usize,
    /// Width inside a block over its input's width.
    expansion: usize,
    channels: usize,
}

#[rustfmt::skip]
const STAGES: [Stage; 7] = [
    Stage { blocks: 1, kernel: 3, stride: 1, expansion: 1, channels:  16 },
    Stage { blocks: 2, kernel: 3, stride: 2, expansion: 6, channels:  24 },
    Stage { blocks: 2, kernel: 5, stride: 2, expansion: 6, channels:  40 },
    Stage { blocks: 3, kernel: 3, stride: 2, expansion: 6, channels:  80 },
    Stage { blocks: 3, kernel: 5, stride: 1, expansion: 6, channels: 112 },
    Stage { blocks: 4, kernel: 5, stride: 2, expansion: 6, channels: 192 },
    Stage { blocks: 1, kernel: 3, stride: 1, expansion: 6, channels: 320 },
];

/// EfficientNet-Lite0 with that many classes. Input N×3×H×W, features N×1280.
///
/// # Errors
/// None for a possible number of classes.
pub fn efficientnet_lite0(classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: true, epsilon: 1e-3 });
    net.conv_norm(Layer { name: "_conv_stem", out_channels: 32, kernel: 3, stride: 2, groups: 1 }, "_bn0")?;
    net.node("_relu6", relu6())?;
    let blocks = STAGES.iter().flat_map(|stage| (0..stage.blocks).map(move |index| (stage, index == 0)));
    for (index, (stage, first)) in blocks.enumerate() {
        inverted_residual(
            &mut net,
            &format!("_blocks.{index}"),
            stage,
            if first { stage.stride } else { 1 },
        )?;
    }
    net.conv_norm(Layer { name: "_conv_head", out_channels: 1280, kernel: 1, stride: 1, groups: 1 }, "_bn1")?;
    net.node("_relu6_1", relu6())?;
    net.node("_avg_pooling", Op::GlobalAveragePool)?;
    net.node("flatten", Op::Flatten)?;
    let features = net.last();
    net.node("_dropout", Op::Dropout { ratio: 0.2 })?;
    net.classifier("_fc", features, classes)
}

/// Widen, filter each channel by itself, narrow; the input is added where the shape allows it.
fn inverted_residual(net: &mut Builder, block: &str, stage: &Stage, stride: usize) -> Result<(), GraphError> {
    let name = |part: &str| format!("{block}.{part}");
    let (input, in_channels) = (net.last(), net.channels());
    let width = in_channels * stage.expansion;
    if stage.expansion > 1 {
        let expand = &name("_expand_conv");
        net.conv_norm(
            Layer { name: expand, out_channels: width, kernel: 1, stride: 1, groups: 1 },
            &name("_bn0"),
        )?;
        net.node(name("_relu6"), relu6())?;
    }
    let depthwise = Layer {
        name: &name("_depthwise_conv"),
        out_channels: width,
        kernel: stage.kernel,
        stride,
        groups: width,
    };
    net.conv_norm(depthwise, &name("_bn1"))?;
    net.node(name(if stage.expansion > 1 { "_relu6_1" } else { "_relu6" }), relu6())?;
    let project = &name("_project_conv");
    net.conv_norm(
        Layer { name: project, out_channels: stage.channels, kernel: 1, stride: 1, groups: 1 },
        &name("_bn2"),
    )?;
    if stride == 1 && in_channels == stage.channels {
        net.add(name("add"), &input)?;
    }
    net.cut_here();
    Ok(())
}

fn relu6() -> Op {
    Op::Clip(Clip { min: 0.0, max: 6.0 })
}
