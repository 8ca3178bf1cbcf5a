//! GoogLeNet, or Inception v1 (Szegedy et al., "Going deeper with convolutions", CVPR 2015), with torchvision's names. The
//! auxiliary classifiers, which are there for training only, are not built.
//!
//! As torchvision's published weights, which come from TensorFlow, it has batch normalisation with 1e-3 added to the
//! variances, and 3×3 convolutions where the paper has 5×5.

use regraft_graph::GraphError;

use crate::branches::{basic, branch, end, pooled, square};
use crate::builder::{Builder, Network, Style, Window, max_pool, max_pool_ceil};

/// Channels of the 1×1 branch, of the two layers of each 3×3 branch, and behind the pool: Table 1 of the paper.
const BLOCKS: [(&str, [usize; 6]); 9] = [
    ("3a", [64, 96, 128, 16, 32, 32]),
    ("3b", [128, 128, 192, 32, 96, 64]),
    ("4a", [192, 96, 208, 16, 48, 64]),
    ("4b", [160, 112, 224, 24, 64, 64]),
    ("4c", [128, 128, 256, 24, 64, 64]),
    ("4d", [112, 144, 288, 32, 64, 64]),
    ("4e", [256, 160, 320, 32, 128, 128]),
    ("5a", [256, 160, 320, 32, 128, 128]),
    ("5b", [384, 192, 384, 48, 128, 128]),
];

/// Input N×3×H×W, features N×1024.
pub(crate) fn googlenet(classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 1e-3 });
    basic(&mut net, "", ("conv1", Window::square(64, 7, 2)))?;
    net.node("maxpool1", max_pool_ceil(3, 2))?;
    net.cut_here();
    basic(&mut net, "", square("conv2", 64, 1))?;
    basic(&mut net, "", square("conv3", 192, 3))?;
    net.node("maxpool2", max_pool_ceil(3, 2))?;
    net.cut_here();
    for (name, channels) in BLOCKS {
        match name {
            "4a" => net.node("maxpool3", max_pool_ceil(3, 2))?,
            "5a" => net.node("maxpool4", max_pool_ceil(2, 2))?,
            _ => {}
        }
        inception(&mut net, &format!("inception{name}"), channels)?;
    }
    let features = net.pool_to_vector("avgpool")?;
    net.classifier("fc", features, classes)
}

fn inception(
    net: &mut Builder,
    block: &str,
    [single, reduce2, branch2, reduce3, branch3, projected]: [usize; 6],
) -> Result<(), GraphError> {
    let input = net.last();
    let first = branch(net, block, &input, &[square("branch1", single, 1)])?;
    let second =
        branch(net, block, &input, &[square("branch2.0", reduce2, 1), square("branch2.1", branch2, 3)])?;
    let third =
        branch(net, block, &input, &[square("branch3.0", reduce3, 1), square("branch3.1", branch3, 3)])?;
    let largest = pooled(net, format!("{block}.branch4.0"), &input, max_pool(3, 1, 1))?;
    let fourth = branch(net, block, &largest, &[square("branch4.1", projected, 1)])?;
    end(net, format!("{block}.cat"), &[first, second, third, fourth])
}
