//! VGG (Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015) without
//! batch normalisation, with torchvision's names.

use regraft_graph::{GraphError, Op, Padding, Pool};

use crate::builder::{Builder, Network, Style, Window};

/// Width and number of the 3×3 convolutions before each pool: configuration D of the paper.
const STAGES: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];

/// VGG-16 with that many classes. Input N×3×H×W, features N×4096.
///
/// # Errors
/// None for a possible number of classes.
pub fn vgg16(classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 0.0 });
    let mut index = (0..).map(|index| format!("features.{index}"));
    let mut name = || index.next().unwrap_or_default();
    for (out_channels, depth) in STAGES {
        for _ in 0..depth {
            net.conv(name(), Window { out_channels, kernel: [3; 2], stride: 1, padding: [1; 2] }, true)?;
            net.node(name(), Op::Relu)?;
        }
        net.node(name(), Op::MaxPool(Pool::new([2; 2], [2; 2], Padding::all(0))))?;
        net.cut_here();
    }
    net.node("avgpool", Op::AdaptiveAveragePool { size: [7; 2] })?;
    net.node("flatten", Op::Flatten)?;
    for [dense, relu, dropout] in [[0, 1, 2], [3, 4, 5]] {
        net.gemm(format!("classifier.{dense}"), 4096)?;
        net.node(format!("classifier.{relu}"), Op::Relu)?;
        net.node(format!("classifier.{dropout}"), Op::Dropout { ratio: 0.5 })?;
    }
    net.classifier("classifier.6", "classifier.4".to_owned(), classes)
}
