//! VGG (Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015) and
//! AlexNet as its author built it for one processor (Krizhevsky, "One weird trick for parallelizing convolutional neural
//! networks", 2014), with torchvision's names.

use regraft_graph::{GraphError, Op};

use crate::builder::{Builder, Network, Style, Window, max_pool};

/// Numbers of the 3×3 convolutions before each pool: configurations A, B, D and E of the paper.
pub(crate) const VGG11: [usize; 5] = [1, 1, 2, 2, 2];
pub(crate) const VGG13: [usize; 5] = [2, 2, 2, 2, 2];
pub(crate) const VGG16: [usize; 5] = [2, 2, 3, 3, 3];
pub(crate) const VGG19: [usize; 5] = [2, 2, 4, 4, 4];

/// A batch normalisation has PyTorch's epsilon; where there is none, this is not used.
const STYLE: Style = Style { same_padding: false, epsilon: 1e-5 };

/// Input N×3×H×W, features N×4096.
pub(crate) fn vgg(depths: [usize; 5], batch_norm: bool, classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(STYLE);
    let mut name = names("features");
    for (out_channels, depth) in [64, 128, 256, 512, 512].into_iter().zip(depths) {
        for _ in 0..depth {
            net.conv(name(), Window::square(out_channels, 3, 1), true)?;
            if batch_norm {
                net.batch_norm(name())?;
            }
            net.node(name(), Op::Relu)?;
        }
        net.node(name(), max_pool(2, 2, 0))?;
        net.cut_here();
    }
    net.node("avgpool", Op::AdaptiveAveragePool { size: [7; 2] })?;
    net.node("flatten", Op::Flatten)?;
    for [dense, relu, dropout] in [[0, 1, 2], [3, 4, 5]] {
        dense_relu(&mut net, dense, relu)?;
        net.node(format!("classifier.{dropout}"), DROPOUT)?;
    }
    net.classifier("classifier.6", "classifier.4".to_owned(), classes)
}

/// Input N×3×H×W with sides of at least 63, features N×4096.
pub(crate) fn alexnet(classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(STYLE);
    let mut name = names("features");
    let first = Window { out_channels: 64, kernel: [11; 2], stride: 4, padding: [2; 2] };
    for (window, pool) in [
        (first, true),
        (Window::square(192, 5, 1), true),
        (Window::square(384, 3, 1), false),
        (Window::square(256, 3, 1), false),
        (Window::square(256, 3, 1), true),
    ] {
        net.conv(name(), window, true)?;
        net.node(name(), Op::Relu)?;
        if pool {
            net.node(name(), max_pool(3, 2, 0))?;
        }
        net.cut_here();
    }
    net.node("avgpool", Op::AdaptiveAveragePool { size: [6; 2] })?;
    net.node("flatten", Op::Flatten)?;
    for [dropout, dense, relu] in [[0, 1, 2], [3, 4, 5]] {
        net.node(format!("classifier.{dropout}"), DROPOUT)?;
        dense_relu(&mut net, dense, relu)?;
    }
    net.classifier("classifier.6", "classifier.5".to_owned(), classes)
}

const DROPOUT: Op = Op::Dropout { ratio: 0.5 };

fn dense_relu(net: &mut Builder, dense: usize, relu: usize) -> Result<(), GraphError> {
    net.gemm(format!("classifier.{dense}"), 4096)?;
    net.node(format!("classifier.{relu}"), Op::Relu)
}

/// Names of the layers of a sequence, one after the other.
pub(crate) fn names(sequence: &str) -> impl FnMut() -> String {
    let mut index = 0..;
    move || format!("{sequence}.{}", index.next().unwrap_or(0))
}
