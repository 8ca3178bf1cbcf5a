//! Inception v4 (Szegedy et al., "Inception-v4, Inception-ResNet and the impact of residual connections on learning", AAAI
//! 2017), with timm's names. Its published weights come from TensorFlow: 1e-3 added to the variances, and means that do not
//! count the padding.

use regraft_graph::{GraphError, Op};

use crate::branches::{Basic, averaged, basic, branch, end, pooled, square, tall, valid, wide};
use crate::builder::{Builder, Network, Style, max_pool};

/// Input N×3×H×W with sides of at least 75, features N×1536.
pub(crate) fn inception_v4(classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 1e-3 });
    for layer in [valid("0", 32, 2), valid("1", 32, 1), square("2", 64, 3)] {
        basic(&mut net, "features.", layer)?;
    }
    stem(&mut net)?;
    for (index, block) in (6..22).map(|index| (index, format!("features.{index}"))) {
        match index {
            6..=9 => inception_a(&mut net, &block)?,
            10 => reduction_a(&mut net, &block)?,
            11..=17 => inception_b(&mut net, &block)?,
            18 => reduction_b(&mut net, &block)?,
            _ => inception_c(&mut net, &block)?,
        }
    }
    let features = net.pool_to_vector("global_pool")?;
    net.node("head_drop", Op::Dropout { ratio: 0.2 })?;
    net.classifier("last_linear", features, classes)
}

/// Figure 3 of the paper, behind its first three convolutions.
fn stem(net: &mut Builder) -> Result<(), GraphError> {
    let input = net.last();
    let branches = [
        largest(net, "features.3.maxpool", &input)?,
        branch(net, "features.3", &input, &[valid("conv", 96, 2)])?,
    ];
    end(net, "features.3.cat".to_owned(), &branches)?;
    let input = net.last();
    let long = [
        square("branch1.0", 64, 1),
        wide("branch1.1", 64, 7),
        tall("branch1.2", 64, 7),
        valid("branch1.3", 96, 1),
    ];
    let branches = [
        branch(net, "features.4", &input, &[square("branch0.0", 64, 1), valid("branch0.1", 96, 1)])?,
        branch(net, "features.4", &input, &long)?,
    ];
    end(net, "features.4.cat".to_owned(), &branches)?;
    let input = net.last();
    let branches = [
        branch(net, "features.5", &input, &[valid("conv", 192, 2)])?,
        largest(net, "features.5.maxpool", &input)?,
    ];
    end(net, "features.5.cat".to_owned(), &branches)
}

/// Figure 4 of the paper.
fn inception_a(net: &mut Builder, block: &str) -> Result<(), GraphError> {
    let second = [square("branch1.0", 64, 1), square("branch1.1", 96, 3)];
    let third = [square("branch2.0", 64, 1), square("branch2.1", 96, 3), square("branch2.2", 96, 3)];
    with_mean(net, block, [&[square("branch0", 96, 1)], &second, &third], 96)
}

/// Figure 5 of the paper.
fn inception_b(net: &mut Builder, block: &str) -> Result<(), GraphError> {
    let second = [square("branch1.0", 192, 1), wide("branch1.1", 224, 7), tall("branch1.2", 256, 7)];
    let third = [
        square("branch2.0", 192, 1),
        tall("branch2.1", 192, 7),
        wide("branch2.2", 224, 7),
        tall("branch2.3", 224, 7),
        wide("branch2.4", 256, 7),
    ];
    with_mean(net, block, [&[square("branch0", 384, 1)], &second, &third], 128)
}

/// Three branches, and the mean of each window with a convolution of so many channels.
fn with_mean(
    net: &mut Builder,
    block: &str,
    branches: [&[Basic]; 3],
    channels: usize,
) -> Result<(), GraphError> {
    let input = net.last();
    let mut wires = Vec::new();
    for layers in branches {
        wires.push(branch(net, block, &input, layers)?);
    }
    wires.push(mean(net, block, &input, channels)?);
    end(net, format!("{block}.cat"), &wires)
}

/// Half the rows and columns: figure 7 of the paper with k = 192, l = 224, m = 256, n = 384.
fn reduction_a(net: &mut Builder, block: &str) -> Result<(), GraphError> {
    let second = [square("branch1.0", 192, 1), square("branch1.1", 224, 3), valid("branch1.2", 256, 2)];
    reduction(net, block, [&[valid("branch0", 384, 2)], &second])
}

/// Half the rows and columns: figure 8 of the paper.
fn reduction_b(net: &mut Builder, block: &str) -> Result<(), GraphError> {
    let first = [square("branch0.0", 192, 1), valid("branch0.1", 192, 2)];
    let second = [
        square("branch1.0", 256, 1),
        wide("branch1.1", 256, 7),
        tall("branch1.2", 320, 7),
        valid("branch1.3", 320, 2),
    ];
    reduction(net, block, [&first, &second])
}

fn reduction(net: &mut Builder, block: &str, [first, second]: [&[Basic]; 2]) -> Result<(), GraphError> {
    let input = net.last();
    let branches = [
        branch(net, block, &input, first)?,
        branch(net, block, &input, second)?,
        largest(net, &format!("{block}.branch2"), &input)?,
    ];
    end(net, format!("{block}.cat"), &branches)
}

/// Figure 6 of the paper: two branches fork.
fn inception_c(net: &mut Builder, block: &str) -> Result<(), GraphError> {
    let input = net.last();
    let single = branch(net, block, &input, &[square("branch0", 256, 1)])?;
    let stem = branch(net, block, &input, &[square("branch1_0", 384, 1)])?;
    let second = [
        branch(net, block, &stem, &[wide("branch1_1a", 256, 3)])?,
        branch(net, block, &stem, &[tall("branch1_1b", 256, 3)])?,
    ];
    let long = [square("branch2_0", 384, 1), tall("branch2_1", 448, 3), wide("branch2_2", 512, 3)];
    let stem = branch(net, block, &input, &long)?;
    let third = [
        branch(net, block, &stem, &[wide("branch2_3a", 256, 3)])?,
        branch(net, block, &stem, &[tall("branch2_3b", 256, 3)])?,
    ];
    let pooled = mean(net, block, &input, 256)?;
    let wires = [single].into_iter().chain(second).chain(third).chain([pooled]);
    end(net, format!("{block}.cat"), &wires.collect::<Vec<_>>())
}

fn mean(net: &mut Builder, block: &str, input: &str, channels: usize) -> Result<String, GraphError> {
    averaged(net, [block, "branch3.0"], input, false, square("branch3.1", channels, 1))
}

fn largest(net: &mut Builder, name: &str, input: &str) -> Result<String, GraphError> {
    pooled(net, name.to_owned(), input, max_pool(3, 2, 0))
}
