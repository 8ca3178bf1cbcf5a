//! BERT (Devlin et al., "BERT: pre-training of deep bidirectional transformers", NAACL 2019) and what is built like it, such
//! as the sentence encoders of the MiniLM family, with the names of Hugging Face's transformers.
//!
//! The input are numbers of tokens, N×S, for one length S: there is no padding. All of a batch are of that length, and there is one segment: its learned vector is
//! added to those of the places beforehand. Query, key and value are one product, as everywhere here.

use regraft_graph::{
    Attention, Dim, Embedding, Fact, GraphError, Op, ParameterKind, PositionEmbedding, Reduce, ReduceKind,
    Symbol, Tensor, Weights,
};

use crate::builder::{Builder, Network, Style};
use crate::names::{Rule, renamed};
use crate::transformer::{Encoder, feed_forward};

/// Sizes of such an encoder beside those of its layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bert {
    pub(crate) encoder: Encoder,
    /// Number of words.
    pub(crate) vocabulary: usize,
    /// Largest number of tokens.
    pub(crate) places: usize,
    /// Added to the variances.
    pub(crate) epsilon: f64,
}

/// Input N×S for `length` tokens, features N×D: the mean over the tokens.
///
/// # Errors
/// The heads do not divide the width, or there are fewer places than tokens.
pub(crate) fn bert(sizes: Bert, length: usize) -> Result<Network, GraphError> {
    let Bert { encoder, vocabulary: entries, places: tokens, epsilon } = sizes;
    let features = encoder.width;
    let ids = Fact::new([Dim::symbol(Symbol::Batch), length.into()]);
    let mut net = Builder::with_input(Style { same_padding: false, epsilon }, ids);
    net.node("embeddings.word_embeddings", Op::Embedding(Embedding { entries, features }))?;
    let places = Op::PositionEmbedding(PositionEmbedding { tokens, features, shorter: true });
    net.named("embeddings.add", places, [(ParameterKind::Position, PLACES)])?;
    net.layer_norm("embeddings.LayerNorm")?;
    for index in 0..encoder.layers {
        layer(&mut net, &format!("encoder.layer.{index}"), encoder)?;
    }
    net.node("mean", Op::Reduce(Reduce { kind: ReduceKind::Mean, axes: vec![1], keep_axes: false }))?;
    let features = net.last();
    net.finish(features, None)
}

const PLACES: &str = "embeddings.position_embeddings.weight";
const SEGMENTS: &str = "embeddings.token_type_embeddings.weight";

/// Normalises behind attention and feed-forward.
fn layer(net: &mut Builder, layer: &str, sizes: Encoder) -> Result<(), GraphError> {
    let name = |part: &str| format!("{layer}.{part}");
    let input = net.last();
    net.gemm(name("attention.self.qkv"), 3 * sizes.width)?;
    net.node(name("attention.self"), Op::Attention(Attention { heads: sizes.heads }))?;
    net.gemm(name("attention.output.dense"), sizes.width)?;
    net.add(name("attention.output.add"), &input)?;
    net.layer_norm(name("attention.output.LayerNorm"))?;
    let middle = net.last();
    feed_forward(
        net,
        ["intermediate.dense", "intermediate.gelu", "output.dense"].map(name),
        sizes.feed_forward,
    )?;
    net.add(name("output.add"), &middle)?;
    net.layer_norm(name("output.LayerNorm"))?;
    net.cut_here();
    Ok(())
}

const RULES: [Rule; 3] = [
    Rule::part("encoder.layer.#.attention.self.query", "encoder.layer.{0}.attention.self.qkv", [0, 3]),
    Rule::part("encoder.layer.#.attention.self.key", "encoder.layer.{0}.attention.self.qkv", [1, 3]),
    Rule::part("encoder.layer.#.attention.self.value", "encoder.layer.{0}.attention.self.qkv", [2, 3]),
];

/// The tensors of such a file as the network's.
///
/// # Errors
/// Query, key and value, or the tables of places and segments, do not fit each other.
pub(crate) fn translated(weights: &Weights) -> Result<Weights, GraphError> {
    let mut weights = renamed(weights, &RULES)?;
    let segment = weights.remove(SEGMENTS).map(|table| table.to_f32());
    if let (Some(places), Some(segment)) = (weights.get(PLACES), segment) {
        let width = places.shape().get(1).copied().unwrap_or(0);
        let first = segment.iter().take(width).cycle();
        let values: Vec<f32> =
            places.to_f32().iter().zip(first).map(|(place, segment)| place + segment).collect();
        let table = Tensor::from_f32(places.shape().to_vec(), &values)?;
        weights.insert(PLACES, table);
    }
    Ok(weights)
}
