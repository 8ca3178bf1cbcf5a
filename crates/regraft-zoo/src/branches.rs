//! What Inception networks are made of: branches of convolutions over one input, put together along their channels.

use regraft_graph::{GraphError, Op, Padding, Pool};

use crate::builder::{Builder, Window};

/// A convolution, its normalisation and ReLU: the last part of its name, and its window.
pub(crate) type Basic = (&'static str, Window);

/// A square kernel, padded by half of it.
pub(crate) const fn square(name: &'static str, channels: usize, kernel: usize) -> Basic {
    (name, Window::square(channels, kernel, 1))
}

/// One row, padded by half of it.
pub(crate) const fn wide(name: &'static str, channels: usize, columns: usize) -> Basic {
    (name, Window { out_channels: channels, kernel: [1, columns], stride: 1, padding: [0, columns / 2] })
}

/// One column, padded by half of it.
pub(crate) const fn tall(name: &'static str, channels: usize, rows: usize) -> Basic {
    (name, Window { out_channels: channels, kernel: [rows, 1], stride: 1, padding: [rows / 2, 0] })
}

/// 3×3 without padding.
pub(crate) const fn valid(name: &'static str, channels: usize, stride: usize) -> Basic {
    (name, Window::valid(channels, 3, stride))
}

/// Convolutions one after the other; the name of the last wire.
pub(crate) fn branch(
    net: &mut Builder,
    block: &str,
    input: &str,
    layers: &[Basic],
) -> Result<String, GraphError> {
    net.branch_from(input);
    layers.iter().try_for_each(|layer| basic(net, &format!("{block}."), *layer))?;
    Ok(net.last())
}

/// The mean of each 3×3 window called `pool`, and a convolution.
pub(crate) fn averaged(
    net: &mut Builder,
    [block, pool]: [&str; 2],
    input: &str,
    count_include_pad: bool,
    layer: Basic,
) -> Result<String, GraphError> {
    net.branch_from(input);
    let window = Pool { count_include_pad, ..Pool::new([3; 2], [1; 2], Padding::all(1)) };
    net.node(format!("{block}.{pool}"), Op::AveragePool(window))?;
    basic(net, &format!("{block}."), layer)?;
    Ok(net.last())
}

/// A pool called `name`.
pub(crate) fn pooled(net: &mut Builder, name: String, input: &str, pool: Op) -> Result<String, GraphError> {
    net.branch_from(input);
    net.node(name, pool)?;
    Ok(net.last())
}

/// The branches together: a cut point.
pub(crate) fn end(net: &mut Builder, name: String, branches: &[String]) -> Result<(), GraphError> {
    net.concat(name, branches)?;
    net.cut_here();
    Ok(())
}

pub(crate) fn basic(net: &mut Builder, prefix: &str, (name, window): Basic) -> Result<(), GraphError> {
    let part = |part: &str| format!("{prefix}{name}.{part}");
    net.conv(part("conv"), window, false)?;
    net.batch_norm(part("bn"))?;
    net.node(part("relu"), Op::Relu)
}
