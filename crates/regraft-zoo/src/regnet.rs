//! RegNetY (Radosavovic et al., "Designing network design spaces", CVPR 2020): residual blocks of grouped convolutions with
//! squeeze-and-excitation, with torchvision's names or timm's.

use regraft_graph::{GraphError, Op};

use crate::builder::{Builder, Layer, Network, Squeeze, Style};

/// Sizes of a RegNetY.
pub(crate) struct Sizes {
    /// Blocks and channels of each stage.
    pub(crate) stages: [[usize; 2]; 4],
    /// Channels of a group.
    pub(crate) group_width: usize,
}

pub(crate) const Y400: Sizes = Sizes { stages: [[1, 48], [3, 104], [6, 208], [6, 440]], group_width: 8 };
/// torchvision's: it rounds channels to groups in another way than timm.
pub(crate) const Y800_TORCHVISION: Sizes =
    Sizes { stages: [[1, 64], [3, 144], [8, 320], [2, 784]], group_width: 16 };
pub(crate) const Y800_TIMM: Sizes =
    Sizes { stages: [[1, 64], [3, 128], [8, 320], [2, 768]], group_width: 16 };
pub(crate) const Y1600: Sizes = Sizes { stages: [[2, 48], [6, 120], [17, 336], [2, 888]], group_width: 24 };
pub(crate) const Y3200: Sizes = Sizes { stages: [[2, 72], [5, 216], [13, 576], [1, 1512]], group_width: 24 };

/// Whose names the layers get.
#[derive(Clone, Copy)]
pub(crate) enum Names {
    Timm,
    Torchvision,
}

/// Input N×3×H×W, features N×440 to N×1512.
pub(crate) fn regnet_y(names: Names, sizes: &Sizes, classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 1e-5 });
    net.conv_norm_act(names.layer("stem"), Layer::dense(32, 3, 2), Op::Relu)?;
    for (stage, [depth, channels]) in (1..).zip(sizes.stages) {
        for index in 0..depth {
            let stride = if index == 0 { 2 } else { 1 };
            let name = match names {
                Names::Timm => format!("s{stage}.b{}", index + 1),
                Names::Torchvision => format!("trunk_output.block{stage}.block{stage}-{index}"),
            };
            let middle =
                Layer { out_channels: channels, kernel: 3, stride, groups: channels / sizes.group_width };
            residual(&mut net, names, &name, middle)?;
        }
    }
    let (pool, classifier) = match names {
        Names::Timm => ("head.global_pool", "head.fc"),
        Names::Torchvision => ("avgpool", "fc"),
    };
    let features = net.pool_to_vector(pool)?;
    net.classifier(classifier, features, classes)
}

fn residual(net: &mut Builder, names: Names, name: &str, middle: Layer) -> Result<(), GraphError> {
    let (input, in_channels, out_channels) = (net.last(), net.channels(), middle.out_channels);
    let [first, second, squeeze, third, shortcut] = match names {
        Names::Timm => ["conv1", "conv2", "se", "conv3", "downsample"],
        Names::Torchvision => ["f.a", "f.b", "f.se", "f.c", "proj"],
    }
    .map(|part| format!("{name}.{part}"));
    let narrow = Layer::dense(out_channels, 1, 1);
    net.conv_norm_act(names.layer(&first), narrow, Op::Relu)?;
    net.conv_norm_act(names.layer(&second), middle, Op::Relu)?;
    let gates = Squeeze { width: in_channels / 4, activation: Op::Relu, gate: Op::Sigmoid };
    net.squeeze_excite(&squeeze, ["fc1", "fc2"], gates)?;
    let [conv, norm, _] = names.layer(&third);
    net.conv_norm([conv, norm], narrow)?;
    let end = net.last();
    net.branch_from(&input);
    if middle.stride != 1 || in_channels != out_channels {
        let [conv, norm, _] = names.layer(&shortcut);
        net.conv_norm([conv, norm], Layer::dense(out_channels, 1, middle.stride))?;
    }
    let shortcut = net.last();
    net.branch_from(&end);
    net.add(format!("{name}.add"), &shortcut)?;
    net.node(format!("{name}.relu"), Op::Relu)?;
    net.cut_here();
    Ok(())
}

impl Names {
    /// Names of a convolution, its normalisation and its activation.
    fn layer(self, name: &str) -> [String; 3] {
        let parts = match self {
            Self::Timm => ["conv", "bn", "bn.act"],
            Self::Torchvision => ["0", "1", "2"],
        };
        parts.map(|part| format!("{name}.{part}"))
    }
}
