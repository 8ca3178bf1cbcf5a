//! CRAFT (Baek et al., "Character region awareness for text detection", CVPR 2019): for each pixel whether it is in the
//! middle of a character, and whether in the middle between two of a word. VGG-16 with batch normalisation up to its last
//! but one convolution, a dilated convolution in place of its dense layers, and maps of growing size from there.
//!
//! The names are those of the authors' files, which number VGG's layers as torchvision does. A slice ends in front of a
//! rectifier, but the rectifier of the next one works in place in the authors' code: what is tapped is behind it.

use regraft_graph::{
    Conv, Coordinates, GraphError, Interpolation, InterpolationMode, InterpolationSize, Node, Op, Padding,
};

use crate::builder::{Builder, Network, Style, Window, max_pool};

const STYLE: Style = Style { same_padding: false, epsilon: 1e-5 };

/// Channels and number of convolutions of VGG's stages, as far as they go.
const STAGES: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 2)];

/// VGG's last layer here, which no rectifier follows.
const LAST: usize = 38;

/// Input N×3×H×W with sides of at least 16, features N×1024×(H/16)×(W/16), output N×`scores`×(H/2)×(W/2) without a softmax;
/// the published network has two scores. The maps are brought to the size of what they are joined with, so sides need be
/// no multiples of 32, to which CRAFT pads its images. Without scores, the network ends at its features.
pub(crate) fn craft(scores: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(STYLE);
    let taps = trunk(&mut net)?;
    net.node("basenet.slice5.0", max_pool(3, 1, 1))?;
    let dilated = Conv {
        in_channels: net.channels(),
        out_channels: 1024,
        kernel: [3; 2],
        stride: [1; 2],
        dilation: [6; 2],
        padding: Padding::all(6),
        groups: 1,
        bias: true,
    };
    net.node("basenet.slice5.1", Op::Conv(dilated))?;
    net.conv("basenet.slice5.2", Window::square(1024, 1, 1), true)?;
    let features = net.last();
    if scores > 0 {
        for (index, (tap, width)) in taps.iter().rev().zip([512, 256, 128, 64]).enumerate() {
            join(&mut net, &format!("upconv{}", index + 1), tap, width)?;
        }
        for (layer, width, kernel) in [(0, 32, 3), (2, 32, 3), (4, 16, 3), (6, 16, 1)] {
            net.conv(format!("conv_cls.{layer}"), Window::square(width, kernel, 1), true)?;
            net.node(format!("conv_cls.{}", layer + 1), Op::Relu)?;
        }
        net.conv("conv_cls.8", Window::square(scores, 1, 1), true)?;
    }
    net.finish(features, None)
}

/// VGG's convolutions; the wires that the larger maps are joined with, the largest first.
fn trunk(net: &mut Builder) -> Result<Vec<String>, GraphError> {
    let (mut index, mut taps) = (0, Vec::new());
    for (stage, (width, depth)) in STAGES.into_iter().enumerate() {
        if stage > 0 {
            net.node(layer(index), max_pool(2, 2, 0))?;
            index += 1;
        }
        for step in 0..depth {
            net.conv(layer(index), Window::square(width, 3, 1), true)?;
            net.batch_norm(layer(index + 1))?;
            if index + 1 < LAST {
                net.node(layer(index + 2), Op::Relu)?;
            }
            index += 3;
            if stage > 0 && step == 1 {
                net.cut_here();
                taps.push(net.last());
            }
        }
    }
    Ok(taps)
}

/// The name of VGG's layer of that number.
fn layer(index: usize) -> String {
    let slice = match index {
        0..12 => 1,
        12..19 => 2,
        19..29 => 3,
        _ => 4,
    };
    format!("basenet.slice{slice}.{index}")
}

/// The last wire in the size of `tap`, and both through two convolutions, the second with half of `width` channels.
fn join(net: &mut Builder, name: &str, tap: &str, width: usize) -> Result<(), GraphError> {
    let part = |part: &str| format!("{name}.{part}");
    let resize = Op::Resize(Interpolation {
        size: InterpolationSize::LikeSecond,
        mode: InterpolationMode::Linear,
        coordinates: Coordinates::HalfPixel,
    });
    // The first has the size already.
    if name != "upconv1" {
        let input = net.last();
        net.push(Node::new(part("resize"), resize, [input.as_str(), tap]))?;
    }
    let input = net.last();
    net.concat(part("cat"), &[input, tap.to_owned()])?;
    for (layer, width, kernel) in [(0, width, 1), (3, width / 2, 3)] {
        net.conv(part(&format!("conv.{layer}")), Window::square(width, kernel, 1), true)?;
        net.batch_norm(part(&format!("conv.{}", layer + 1)))?;
        net.node(part(&format!("conv.{}", layer + 2)), Op::Relu)?;
    }
    Ok(())
}
