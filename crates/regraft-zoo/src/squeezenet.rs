//! SqueezeNet (Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016), with torchvision's
//! names. Its classifier is a 1×1 convolution; the logits are the means of its maps.

use regraft_graph::{GraphError, Op};

use crate::builder::{Builder, Network, Style, Window, max_pool_ceil};
use crate::vgg::names;

/// A layer behind the stem.
#[derive(Clone, Copy)]
pub(crate) enum Layer {
    Pool,
    /// Channels of its 1×1 convolution, and of each of the two that read it.
    Fire(usize, usize),
}

use Layer::{Fire, Pool};

/// First channels and kernel, and what follows: Table 1 of the paper.
pub(crate) const V1_0: ([usize; 2], [Layer; 11]) = (
    [96, 7],
    [
        Pool,
        Fire(16, 64),
        Fire(16, 64),
        Fire(32, 128),
        Pool,
        Fire(32, 128),
        Fire(48, 192),
        Fire(48, 192),
        Fire(64, 256),
        Pool,
        Fire(64, 256),
    ],
);

/// With the pools earlier, so that it needs 2.4 times fewer operations.
pub(crate) const V1_1: ([usize; 2], [Layer; 11]) = (
    [64, 3],
    [
        Pool,
        Fire(16, 64),
        Fire(16, 64),
        Pool,
        Fire(32, 128),
        Fire(32, 128),
        Pool,
        Fire(48, 192),
        Fire(48, 192),
        Fire(64, 256),
        Fire(64, 256),
    ],
);

/// Input N×3×H×W, features N×512×h×w.
pub(crate) fn squeezenet(
    ([channels, kernel], layers): ([usize; 2], [Layer; 11]),
    classes: usize,
) -> Result<Network, GraphError> {
    let mut net = Builder::new(Style { same_padding: false, epsilon: 0.0 });
    let mut name = names("features");
    net.conv(name(), Window::valid(channels, kernel, 2), true)?;
    net.node(name(), Op::Relu)?;
    for layer in layers {
        match layer {
            Pool => net.node(name(), max_pool_ceil(3, 2))?,
            Fire(squeezed, expanded) => fire(&mut net, &name(), squeezed, expanded)?,
        }
    }
    let features = net.last();
    if classes == 0 {
        return net.finish(features, None);
    }
    net.node("classifier.0", Op::Dropout { ratio: 0.5 })?;
    net.conv("classifier.1", Window::square(classes, 1, 1), true)?;
    net.node("classifier.2", Op::Relu)?;
    let logits = net.pool_to_vector("classifier.3")?;
    net.finish(features, Some(logits))
}

fn fire(net: &mut Builder, name: &str, squeezed: usize, expanded: usize) -> Result<(), GraphError> {
    convolution(net, format!("{name}.squeeze"), Window::square(squeezed, 1, 1))?;
    let input = net.last();
    let branches = [1, 3].map(|kernel| {
        net.branch_from(&input);
        convolution(net, format!("{name}.expand{kernel}x{kernel}"), Window::square(expanded, kernel, 1))?;
        Ok(net.last())
    });
    let [first, second] = branches;
    net.concat(format!("{name}.cat"), &[first?, second?])?;
    net.cut_here();
    Ok(())
}

fn convolution(net: &mut Builder, name: String, window: Window) -> Result<(), GraphError> {
    let activation = format!("{name}_activation");
    net.conv(name, window, true)?;
    net.node(activation, Op::Relu)
}
