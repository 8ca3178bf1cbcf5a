//! Vision transformers: ViT (Dosovitskiy et al., "An image is worth 16×16 words", ICLR 2021) with torchvision's names or
//! timm's, DeiT (Touvron et al., ICML 2021), which is the same network, and DINOv2 (Oquab et al., TMLR 2024), which has a
//! factor for each channel behind attention and feed-forward (layer scale).
//!
//! Every place of the image has a learned vector, so a network is built for one size of image.

use regraft_graph::{Attention, ClassToken, GraphError, Op, ParameterKind, PositionEmbedding};

use crate::builder::{Builder, Network, Style, Window};
use crate::transformer::{feed_forward, self_attention};

/// Sizes of a vision transformer of 12 layers whose heads have 64 channels.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Length of a token.
    pub(crate) width: usize,
    /// Height and width in pixels of a patch.
    pub(crate) patch: usize,
    /// Whether there is a factor for each channel behind attention and feed-forward.
    pub(crate) layer_scale: bool,
}

pub(crate) const TINY: Sizes = Sizes { width: 192, patch: 16, layer_scale: false };
pub(crate) const SMALL: Sizes = Sizes { width: 384, patch: 16, layer_scale: false };
pub(crate) const BASE: Sizes = Sizes { width: 768, patch: 16, layer_scale: false };
pub(crate) const DINO_SMALL: Sizes = Sizes { width: 384, patch: 14, layer_scale: true };

const LAYERS: usize = 12;

/// Attention of that name with so many heads, and the projections before and behind it.
type AttentionLayers = fn(&mut Builder, &str, usize) -> Result<(), GraphError>;

/// Names of a vision transformer's parts.
pub(crate) struct Names {
    patches: &'static str,
    class_token: &'static str,
    /// The node that adds a vector to each token, and the parameter with the vectors.
    positions: [&'static str; 2],
    /// Up to a layer's number.
    layer: &'static str,
    norms: [&'static str; 2],
    attention: (&'static str, AttentionLayers),
    dense: [&'static str; 3],
    norm: &'static str,
    classifier: &'static str,
}

pub(crate) const TORCHVISION: Names = Names {
    patches: "conv_proj",
    class_token: "class_token",
    positions: ["encoder.add", "encoder.pos_embedding"],
    layer: "encoder.layers.encoder_layer_",
    norms: ["ln_1", "ln_2"],
    attention: ("self_attention", self_attention),
    dense: ["mlp.0", "mlp.1", "mlp.3"],
    norm: "encoder.ln",
    classifier: "heads.head",
};

pub(crate) const TIMM: Names = Names {
    patches: "patch_embed.proj",
    class_token: "cls_token",
    positions: ["pos_embed", "pos_embed"],
    layer: "blocks.",
    norms: ["norm1", "norm2"],
    attention: ("attn", timm_attention),
    dense: ["mlp.fc1", "mlp.act", "mlp.fc2"],
    norm: "norm",
    classifier: "head",
};

/// Input N×3×H×W for that height and width, rounded down to whole patches; features N×D.
pub(crate) fn vision_transformer(
    names: &Names,
    sizes: Sizes,
    classes: usize,
    image: [usize; 2],
) -> Result<Network, GraphError> {
    let mut net = Builder::with_image(Style { same_padding: false, epsilon: 1e-6 }, image);
    embed_patches(&mut net, names, sizes, image)?;
    for index in 0..LAYERS {
        layer(&mut net, names, sizes, &format!("{}{index}", names.layer))?;
    }
    net.layer_norm(names.norm)?;
    net.node("token", Op::SelectToken { index: 0 })?;
    let features = net.last();
    net.classifier(names.classifier, features, classes)
}

/// A token for each patch, one more for the class, and each place's vector.
fn embed_patches(
    net: &mut Builder,
    names: &Names,
    Sizes { width: features, patch, .. }: Sizes,
    [height, width]: [usize; 2],
) -> Result<(), GraphError> {
    net.conv(names.patches, Window::valid(features, patch, patch), true)?;
    net.node("tokens", Op::Tokens)?;
    let token = Op::ClassToken(ClassToken { features });
    net.named(names.class_token, token, [(ParameterKind::Token, names.class_token)])?;
    let tokens = (height / patch).saturating_mul(width / patch).saturating_add(1);
    let [node, parameter] = names.positions;
    let positions = Op::PositionEmbedding(PositionEmbedding { tokens, features, shorter: false });
    net.named(node, positions, [(ParameterKind::Position, parameter)])
}

/// Normalises before attention and feed-forward.
fn layer(net: &mut Builder, names: &Names, sizes: Sizes, layer: &str) -> Result<(), GraphError> {
    let name = |part: &str| format!("{layer}.{part}");
    let [first, second] = names.norms;
    let input = net.last();
    net.layer_norm(name(first))?;
    let (part, attention) = names.attention;
    attention(net, &name(part), sizes.width / 64)?;
    scale(net, sizes, &name("ls1"))?;
    net.add(name("add"), &input)?;
    let middle = net.last();
    net.layer_norm(name(second))?;
    feed_forward(net, names.dense.map(name), 4 * sizes.width)?;
    scale(net, sizes, &name("ls2"))?;
    net.add(name("add_1"), &middle)?;
    net.cut_here();
    Ok(())
}

fn timm_attention(net: &mut Builder, name: &str, heads: usize) -> Result<(), GraphError> {
    let width = net.channels();
    net.gemm(format!("{name}.qkv"), 3 * width)?;
    net.node(name, Op::Attention(Attention { heads }))?;
    net.gemm(format!("{name}.proj"), width)
}

fn scale(net: &mut Builder, sizes: Sizes, name: &str) -> Result<(), GraphError> {
    if sizes.layer_scale { net.layer_scale(name, format!("{name}.gamma")) } else { Ok(()) }
}
