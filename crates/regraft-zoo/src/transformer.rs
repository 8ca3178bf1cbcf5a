//! The transformer's encoder (Vaswani et al., "Attention is all you need", NeurIPS 2017) as BERT uses it, with the names of
//! `torch.nn.TransformerEncoder`, and what it shares with vision transformers.

use regraft_graph::{Approximation, Attention, Fact, Gelu, GraphError, Op, ParameterKind};

use crate::builder::{Builder, Network, Style};

/// Sizes of an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoder {
    /// Number of layers.
    pub layers: usize,
    /// Length of a token.
    pub width: usize,
    /// Heads of each attention; divides `width`.
    pub heads: usize,
    /// Width between the two dense layers behind each attention.
    pub feed_forward: usize,
}

/// An encoder for sequences of `tokens` embedded tokens, as `torch.nn.TransformerEncoder` with GELU and otherwise its
/// defaults: normalisation behind attention and feed-forward. Input N×S×D, features N×S×D; there is no head.
///
/// # Errors
/// The heads do not divide the width.
pub fn transformer_encoder(sizes: Encoder, tokens: usize) -> Result<Network, GraphError> {
    let style = Style { same_padding: false, epsilon: 1e-5 };
    let mut net = Builder::with_input(style, Fact::sequence(tokens, sizes.width));
    for index in 0..sizes.layers {
        encoder_layer(&mut net, &format!("layers.{index}"), sizes)?;
    }
    let features = net.last();
    net.finish(features, None)
}

/// Normalises behind attention and feed-forward.
fn encoder_layer(net: &mut Builder, layer: &str, sizes: Encoder) -> Result<(), GraphError> {
    let name = |part: &str| format!("{layer}.{part}");
    let input = net.last();
    self_attention(net, &name("self_attn"), sizes.heads)?;
    net.add(name("add"), &input)?;
    net.layer_norm(name("norm1"))?;
    let middle = net.last();
    feed_forward(net, ["linear1", "gelu", "linear2"].map(name), sizes.feed_forward)?;
    net.add(name("add_1"), &middle)?;
    net.layer_norm(name("norm2"))?;
    net.cut_here();
    Ok(())
}

/// The projections' names are those of `torch.nn.MultiheadAttention`.
pub(crate) fn self_attention(net: &mut Builder, name: &str, heads: usize) -> Result<(), GraphError> {
    let width = net.channels();
    let project = Op::Gemm(net.dense(3 * width));
    let names = [
        (ParameterKind::Weight, format!("{name}.in_proj_weight")),
        (ParameterKind::Bias, format!("{name}.in_proj_bias")),
    ];
    net.named(&format!("{name}.in_proj"), project, names)?;
    net.node(name, Op::Attention(Attention { heads }))?;
    net.gemm(format!("{name}.out_proj"), width)
}

pub(crate) fn feed_forward(
    net: &mut Builder,
    [widen, gelu, narrow]: [String; 3],
    width: usize,
) -> Result<(), GraphError> {
    let features = net.channels();
    net.gemm(widen, width)?;
    net.node(gelu, Op::Gelu(Gelu { approximate: Approximation::None }))?;
    net.gemm(narrow, features)
}
