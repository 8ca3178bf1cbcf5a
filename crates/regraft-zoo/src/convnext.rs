//! ConvNeXt (Liu et al., "A ConvNet for the 2020s", CVPR 2022), with torchvision's names or timm's.

use regraft_graph::{Approximation, Gelu, GraphError, Op};

use crate::builder::{Builder, Layer, Network, Style, Window};

/// Blocks of each stage, and channels of the first; they double from stage to stage.
pub(crate) type Sizes = ([usize; 4], usize);

pub(crate) const TINY: Sizes = ([3, 3, 9, 3], 96);
pub(crate) const SMALL: Sizes = ([3, 3, 27, 3], 96);
pub(crate) const BASE: Sizes = ([3, 3, 27, 3], 128);

/// Whose names the layers get.
#[derive(Clone, Copy)]
pub(crate) enum Names {
    Timm,
    Torchvision,
}

/// Input N×3×H×W, features N×768 (tiny and small) or N×1024.
pub(crate) fn convnext(names: Names, (depths, width): Sizes, classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 1e-6 });
    for (stage, depth) in depths.into_iter().enumerate() {
        let [first, second] = names.downsample(stage);
        if stage == 0 {
            net.conv(first, Window::valid(width, 4, 4), true)?;
            net.layer_norm(second)?;
        } else {
            net.layer_norm(first)?;
            net.conv(second, Window::valid(width << stage, 2, 2), true)?;
        }
        (0..depth).try_for_each(|index| block(&mut net, &names.block(stage, index)))?;
    }
    let [pool, norm, classifier] = match names {
        Names::Timm => ["head.global_pool", "head.norm", "head.fc"],
        Names::Torchvision => ["avgpool", "classifier.0", "classifier.2"],
    };
    net.pool_to_vector(pool)?;
    net.layer_norm(norm)?;
    net.classifier(classifier, norm.to_owned(), classes)
}

/// Names of a block's parts.
struct Block {
    name: String,
    filter: &'static str,
    norm: &'static str,
    /// Two dense layers and what is between.
    dense: [&'static str; 3],
    scale: &'static str,
}

fn block(net: &mut Builder, names: &Block) -> Result<(), GraphError> {
    let (input, channels, name) = (net.last(), net.channels(), |part: &str| format!("{}.{part}", names.name));
    net.conv_layer(name(names.filter), Layer::depthwise(channels, 7, 1), true)?;
    net.layer_norm(name(names.norm))?;
    let [widen, activation, narrow] = names.dense.map(name);
    net.gemm(widen, 4 * channels)?;
    net.node(activation, Op::Gelu(Gelu { approximate: Approximation::None }))?;
    net.gemm(narrow, channels)?;
    net.layer_scale(&name("scale"), name(names.scale))?;
    net.add(name("add"), &input)?;
    net.cut_here();
    Ok(())
}

impl Names {
    /// Names of a stage's first two layers.
    fn downsample(self, stage: usize) -> [String; 2] {
        let name = match (self, stage) {
            (Self::Timm, 0) => "stem".to_owned(),
            (Self::Timm, _) => format!("stages.{stage}.downsample"),
            (Self::Torchvision, _) => format!("features.{}", 2 * stage),
        };
        [0, 1].map(|index| format!("{name}.{index}"))
    }

    fn block(self, stage: usize, index: usize) -> Block {
        match self {
            Self::Timm => Block {
                name: format!("stages.{stage}.blocks.{index}"),
                filter: "conv_dw",
                norm: "norm",
                dense: ["mlp.fc1", "mlp.act", "mlp.fc2"],
                scale: "gamma",
            },
            Self::Torchvision => Block {
                name: format!("features.{}.{index}", 2 * stage + 1),
                filter: "block.0",
                norm: "block.2",
                dense: ["block.3", "block.4", "block.5"],
                scale: "layer_scale",
            },
        }
    }
}
