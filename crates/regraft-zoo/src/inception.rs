//! Inception v3 (Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016), with
//! torchvision's names. The auxiliary classifier, which is there for training only, is not built.
//!
//! torchvision's published weights come from TensorFlow: 1e-3 added to the variances, means that count the padding, and
//! pixels in −1 … 1 (torchvision's `transform_input`, which is part of the preprocessing here).

use regraft_graph::{GraphError, Op};

use crate::branches::{averaged, basic, branch, end, pooled, square, tall, valid, wide};
use crate::builder::{Builder, Network, Style, max_pool};

/// Input N×3×H×W with sides of at least 75, features N×2048.
pub(crate) fn inception_v3(classes: usize) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 1e-3 });
    stem(&mut net)?;
    for (block, pooled) in [("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)] {
        inception_a(&mut net, block, pooled)?;
    }
    inception_b(&mut net, "Mixed_6a")?;
    for (block, width) in [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)] {
        inception_c(&mut net, block, width)?;
    }
    inception_d(&mut net, "Mixed_7a")?;
    inception_e(&mut net, "Mixed_7b")?;
    inception_e(&mut net, "Mixed_7c")?;
    net.node("avgpool", Op::GlobalAveragePool)?;
    net.node("dropout", Op::Dropout { ratio: 0.5 })?;
    net.node("flatten", Op::Flatten)?;
    let features = net.last();
    net.classifier("fc", features, classes)
}

fn stem(net: &mut Builder) -> Result<(), GraphError> {
    basic(net, "", valid("Conv2d_1a_3x3", 32, 2))?;
    basic(net, "", valid("Conv2d_2a_3x3", 32, 1))?;
    basic(net, "", square("Conv2d_2b_3x3", 64, 3))?;
    net.node("maxpool1", max_pool(3, 2, 0))?;
    net.cut_here();
    basic(net, "", square("Conv2d_3b_1x1", 80, 1))?;
    basic(net, "", valid("Conv2d_4a_3x3", 192, 1))?;
    net.node("maxpool2", max_pool(3, 2, 0))?;
    net.cut_here();
    Ok(())
}

/// Figure 5 of the paper.
fn inception_a(net: &mut Builder, block: &str, pooled: usize) -> Result<(), GraphError> {
    let input = net.last();
    let branches = [
        branch(net, block, &input, &[square("branch1x1", 64, 1)])?,
        branch(net, block, &input, &[square("branch5x5_1", 48, 1), square("branch5x5_2", 64, 5)])?,
        branch(
            net,
            block,
            &input,
            &[
                square("branch3x3dbl_1", 64, 1),
                square("branch3x3dbl_2", 96, 3),
                square("branch3x3dbl_3", 96, 3),
            ],
        )?,
        mean(net, block, &input, pooled)?,
    ];
    end(net, format!("{block}.cat"), &branches)
}

/// Half the rows and columns.
fn inception_b(net: &mut Builder, block: &str) -> Result<(), GraphError> {
    let input = net.last();
    let branches = [
        branch(net, block, &input, &[valid("branch3x3", 384, 2)])?,
        branch(
            net,
            block,
            &input,
            &[
                square("branch3x3dbl_1", 64, 1),
                square("branch3x3dbl_2", 96, 3),
                valid("branch3x3dbl_3", 96, 2),
            ],
        )?,
        largest(net, block, &input)?,
    ];
    end(net, format!("{block}.cat"), &branches)
}

/// Figure 6 of the paper with n = 7.
fn inception_c(net: &mut Builder, block: &str, width: usize) -> Result<(), GraphError> {
    let input = net.last();
    let branches = [
        branch(net, block, &input, &[square("branch1x1", 192, 1)])?,
        branch(
            net,
            block,
            &input,
            &[square("branch7x7_1", width, 1), wide("branch7x7_2", width, 7), tall("branch7x7_3", 192, 7)],
        )?,
        branch(
            net,
            block,
            &input,
            &[
                square("branch7x7dbl_1", width, 1),
                tall("branch7x7dbl_2", width, 7),
                wide("branch7x7dbl_3", width, 7),
                tall("branch7x7dbl_4", width, 7),
                wide("branch7x7dbl_5", 192, 7),
            ],
        )?,
        mean(net, block, &input, 192)?,
    ];
    end(net, format!("{block}.cat"), &branches)
}

/// Half the rows and columns.
fn inception_d(net: &mut Builder, block: &str) -> Result<(), GraphError> {
    let input = net.last();
    let branches = [
        branch(net, block, &input, &[square("branch3x3_1", 192, 1), valid("branch3x3_2", 320, 2)])?,
        branch(
            net,
            block,
            &input,
            &[
                square("branch7x7x3_1", 192, 1),
                wide("branch7x7x3_2", 192, 7),
                tall("branch7x7x3_3", 192, 7),
                valid("branch7x7x3_4", 192, 2),
            ],
        )?,
        largest(net, block, &input)?,
    ];
    end(net, format!("{block}.cat"), &branches)
}

/// Figure 7 of the paper: two branches fork.
fn inception_e(net: &mut Builder, block: &str) -> Result<(), GraphError> {
    let input = net.last();
    let single = branch(net, block, &input, &[square("branch1x1", 320, 1)])?;
    let stem = branch(net, block, &input, &[square("branch3x3_1", 384, 1)])?;
    let forks = [
        branch(net, block, &stem, &[wide("branch3x3_2a", 384, 3)])?,
        branch(net, block, &stem, &[tall("branch3x3_2b", 384, 3)])?,
    ];
    net.concat(format!("{block}.cat"), &forks)?;
    let fork = net.last();
    let stem =
        branch(net, block, &input, &[square("branch3x3dbl_1", 448, 1), square("branch3x3dbl_2", 384, 3)])?;
    let forks = [
        branch(net, block, &stem, &[wide("branch3x3dbl_3a", 384, 3)])?,
        branch(net, block, &stem, &[tall("branch3x3dbl_3b", 384, 3)])?,
    ];
    net.concat(format!("{block}.cat_1"), &forks)?;
    let double = net.last();
    let pooled = mean(net, block, &input, 192)?;
    end(net, format!("{block}.cat_2"), &[single, fork, double, pooled])
}

fn mean(net: &mut Builder, block: &str, input: &str, channels: usize) -> Result<String, GraphError> {
    averaged(net, [block, "avg_pool2d"], input, true, square("branch_pool", channels, 1))
}

fn largest(net: &mut Builder, block: &str, input: &str) -> Result<String, GraphError> {
    pooled(net, format!("{block}.max_pool2d"), input, max_pool(3, 2, 0))
}
