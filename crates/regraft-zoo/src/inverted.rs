//! Inverted residuals (Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018): widen, filter
//! each channel by itself, narrow. MobileNets and EfficientNets are a stem, some stages of them and a head.
//!
//! Every library numbers and names their layers in a way of its own, and a file has the names of its library; so a builder
//! is told whose names to give.

use regraft_graph::{GraphError, Op};

use crate::builder::{Builder, Layer, Squeeze};

/// Whose names the layers get.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// timm's, the same for all of them.
    Timm,
    /// torchvision's MobileNetV2.
    TorchvisionMobileV2,
    /// torchvision's MobileNetV3.
    TorchvisionMobileV3,
    /// torchvision's EfficientNet.
    TorchvisionEfficient,
    /// The first PyTorch port of EfficientNet, which EfficientNet-Lite was published with.
    Port,
}

/// One inverted residual.
#[derive(Clone)]
pub(crate) struct Block {
    /// Height and width of the depthwise kernel.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Channels inside. There is no widening convolution where the input has as many.
    pub(crate) width: usize,
    /// Channels out.
    pub(crate) channels: usize,
    pub(crate) squeeze: Option<Squeeze>,
    pub(crate) activation: Op,
}

/// The first convolution, at stride 2.
pub(crate) fn stem(net: &mut Builder, names: Names, channels: usize, op: Op) -> Result<(), GraphError> {
    let layers = match names {
        Names::Timm => ["conv_stem", "bn1", "bn1.act"],
        Names::Port => ["_conv_stem", "_bn0", "_relu6"],
        _ => ["features.0.0", "features.0.1", "features.0.2"],
    };
    net.conv_norm_act(layers, Layer::dense(channels, 3, 2), op)
}

/// All blocks; how many there are.
pub(crate) fn blocks(net: &mut Builder, names: Names, stages: &[Vec<Block>]) -> Result<usize, GraphError> {
    let mut count = 0;
    for (stage, blocks) in stages.iter().enumerate() {
        for (index, block) in blocks.iter().enumerate() {
            let name = match names {
                Names::Timm => format!("blocks.{stage}.{index}"),
                Names::TorchvisionEfficient => format!("features.{}.{index}", stage + 1),
                Names::TorchvisionMobileV2 | Names::TorchvisionMobileV3 => format!("features.{}", count + 1),
                Names::Port => format!("_blocks.{count}"),
            };
            inverted_residual(net, names, &name, block)?;
            count += 1;
        }
    }
    Ok(count)
}

/// The input is added where the shape allows it.
fn inverted_residual(net: &mut Builder, names: Names, name: &str, block: &Block) -> Result<(), GraphError> {
    let (input, in_channels) = (net.last(), net.channels());
    let place = Place { names, name, widened: block.width != in_channels, squeezed: block.squeeze.is_some() };
    if place.widened {
        let widen = Layer::dense(block.width, 1, 1);
        net.conv_norm_act(place.layer(Part::Widen), widen, block.activation.clone())?;
    }
    let filter = Layer::depthwise(block.width, block.kernel, block.stride);
    net.conv_norm_act(place.layer(Part::Filter), filter, block.activation.clone())?;
    if let Some(squeeze) = &block.squeeze {
        let (name, layers) = place.squeeze();
        net.squeeze_excite(&name, layers, squeeze.clone())?;
    }
    let [conv, norm, _] = place.layer(Part::Narrow);
    net.conv_norm([conv, norm], Layer::dense(block.channels, 1, 1))?;
    if block.stride == 1 && in_channels == block.channels {
        net.add(format!("{name}.add"), &input)?;
    }
    net.cut_here();
    Ok(())
}

#[derive(Clone, Copy)]
enum Part {
    Widen,
    Filter,
    Narrow,
}

/// What the names of a block's layers depend on.
#[derive(Clone, Copy)]
struct Place<'a> {
    names: Names,
    name: &'a str,
    widened: bool,
    squeezed: bool,
}

impl Place<'_> {
    /// Names of a convolution, its normalisation and its activation.
    fn layer(self, part: Part) -> [String; 3] {
        let Self { names, name, widened, squeezed } = self;
        // Convolutions before it, without those of the squeeze-and-excitation.
        let before = match part {
            Part::Widen => 0,
            Part::Filter => usize::from(widened),
            Part::Narrow => usize::from(widened) + 1,
        };
        match (names, part) {
            (Names::Timm, _) => {
                let conv = match part {
                    Part::Filter => "conv_dw",
                    Part::Narrow if widened => "conv_pwl",
                    Part::Widen | Part::Narrow => "conv_pw",
                };
                let norm = format!("{name}.bn{}", before + 1);
                [format!("{name}.{conv}"), norm.clone(), format!("{norm}.act")]
            }
            (Names::Port, _) => {
                let (conv, norm) = match part {
                    Part::Widen => ("_expand_conv", "_bn0"),
                    Part::Filter => ("_depthwise_conv", "_bn1"),
                    Part::Narrow => ("_project_conv", "_bn2"),
                };
                let activation = if before == 0 { "_relu6" } else { "_relu6_1" };
                [conv, norm, activation].map(|part| format!("{name}.{part}"))
            }
            // The last one is not a sequence of its own.
            (Names::TorchvisionMobileV2, Part::Narrow) => {
                [0, 1, 2].map(|index| format!("{name}.conv.{}", before + index))
            }
            (Names::TorchvisionMobileV2, _) => [0, 1, 2].map(|index| format!("{name}.conv.{before}.{index}")),
            (Names::TorchvisionMobileV3 | Names::TorchvisionEfficient, _) => {
                let position = before + usize::from(squeezed && matches!(part, Part::Narrow));
                [0, 1, 2].map(|index| format!("{name}.block.{position}.{index}"))
            }
        }
    }

    /// Name of the squeeze-and-excitation, and of its two layers within it.
    fn squeeze(self) -> (String, [&'static str; 2]) {
        let Self { names, name, widened, .. } = self;
        match names {
            Names::Timm => (format!("{name}.se"), ["conv_reduce", "conv_expand"]),
            _ => (format!("{name}.block.{}", 1 + usize::from(widened)), ["fc1", "fc2"]),
        }
    }
}
