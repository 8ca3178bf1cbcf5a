//! Transformer encoders: the vision transformer (Dosovitskiy et al., "An image is worth 16×16 words", ICLR 2021) with
//! torchvision's names, and the encoder of Vaswani et al. ("Attention is all you need", NeurIPS 2017) as BERT uses it,
//! with the names of `torch.nn.TransformerEncoder`.

use regraft_graph::{
    Approximation, Attention, ClassToken, Dim, Fact, Gelu, GraphError, Node, Op, ParameterKind,
    PositionEmbedding, Symbol,
};

use crate::builder::{Builder, Network, Style, Window};

/// Height and width in pixels of the vision transformer's input.
const IMAGE: usize = 224;

/// Height and width in pixels of a patch.
const PATCH: usize = 16;

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

const BASE: Encoder = Encoder { layers: 12, width: 768, heads: 12, feed_forward: 3072 };

/// ViT-B/16 with that many classes. Input N×3×224×224 and no other, because every place has a learned vector;
/// features N×768.
///
/// # Errors
/// None for a possible number of classes.
pub fn vit_b_16(classes: usize) -> Result<Network, GraphError> {
    let image = Fact::new([Dim::symbol(Symbol::Batch), 3.into(), IMAGE.into(), IMAGE.into()]);
    let mut net = Builder::with_input(Style { same_padding: false, epsilon: 1e-6 }, image);
    embed_patches(&mut net)?;
    for index in 0..BASE.layers {
        vision_layer(&mut net, &format!("encoder.layers.encoder_layer_{index}"))?;
    }
    net.layer_norm("encoder.ln")?;
    net.node("token", Op::SelectToken { index: 0 })?;
    let features = net.last();
    net.classifier("heads.head", features, classes)
}

/// A token for each patch, one more for the class, and each place's vector.
fn embed_patches(net: &mut Builder) -> Result<(), GraphError> {
    let Encoder { width, .. } = BASE;
    let patch = Window { out_channels: width, kernel: [PATCH; 2], stride: PATCH, padding: [0; 2] };
    net.conv("conv_proj", patch, true)?;
    net.node("tokens", Op::Tokens)?;
    named(
        net,
        "class_token",
        Op::ClassToken(ClassToken { features: width }),
        [(ParameterKind::Token, "class_token")],
    )?;
    let tokens = (IMAGE / PATCH) * (IMAGE / PATCH) + 1;
    let embedding = Op::PositionEmbedding(PositionEmbedding { tokens, features: width, shorter: false });
    named(net, "encoder.add", embedding, [(ParameterKind::Position, "encoder.pos_embedding")])
}

/// Normalises before attention and feed-forward.
fn vision_layer(net: &mut Builder, layer: &str) -> Result<(), GraphError> {
    let name = |part: &str| format!("{layer}.{part}");
    let input = net.last();
    net.layer_norm(name("ln_1"))?;
    self_attention(net, &name("self_attention"), BASE.heads)?;
    net.add(name("add"), &input)?;
    let middle = net.last();
    net.layer_norm(name("ln_2"))?;
    feed_forward(net, ["mlp.0", "mlp.1", "mlp.3"].map(name), BASE.feed_forward)?;
    net.add(name("add_1"), &middle)?;
    net.cut_here();
    Ok(())
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
fn self_attention(net: &mut Builder, name: &str, heads: usize) -> Result<(), GraphError> {
    let width = net.channels();
    let project = Op::Gemm(net.dense(3 * width));
    let names = [
        (ParameterKind::Weight, format!("{name}.in_proj_weight")),
        (ParameterKind::Bias, format!("{name}.in_proj_bias")),
    ];
    named(net, &format!("{name}.in_proj"), project, names)?;
    net.node(name, Op::Attention(Attention { heads }))?;
    net.gemm(format!("{name}.out_proj"), width)
}

fn feed_forward(
    net: &mut Builder,
    [widen, gelu, narrow]: [String; 3],
    width: usize,
) -> Result<(), GraphError> {
    let features = net.channels();
    net.gemm(widen, width)?;
    net.node(gelu, Op::Gelu(Gelu { approximate: Approximation::None }))?;
    net.gemm(narrow, features)
}

/// A node that reads the last wire and whose parameters have names of their own.
fn named<N: Into<String>>(
    net: &mut Builder,
    name: &str,
    op: Op,
    names: impl IntoIterator<Item = (ParameterKind, N)>,
) -> Result<(), GraphError> {
    let input = net.last();
    net.push(Node::new(name, op, [input]).with_parameter_names(names))
}
