//! Vision transformers as Google published them, in `.npz` archives with the names and layouts of its JAX code.
//!
//! A dense kernel has its inputs first, a convolution its channels last, and query, key and value have an axis for the
//! heads. The names here become timm's.

use regraft_graph::{GraphError, Tensor, Weights};

use crate::names::{Rule, renamed};

/// With the slashes of the names as dots.
const RULES: [Rule; 17] = [
    Rule::new("cls", "cls_token"),
    Rule::new("embedding", "patch_embed.proj"),
    Rule::new("Transformer.posembed_input.pos_embedding", "pos_embed"),
    Rule::new("Transformer.encoder_norm", "norm"),
    Rule::new("Transformer.encoderblock_#.LayerNorm_0", "blocks.{0}.norm1"),
    Rule::new("Transformer.encoderblock_#.LayerNorm_2", "blocks.{0}.norm2"),
    // Models of 2022 and later leave out the attention's own number.
    Rule::new("Transformer.encoderblock_#.LayerNorm_1", "blocks.{0}.norm2"),
    Rule::part(
        "Transformer.encoderblock_#.MultiHeadDotProductAttention_1.query",
        "blocks.{0}.attn.qkv",
        [0, 3],
    ),
    Rule::part(
        "Transformer.encoderblock_#.MultiHeadDotProductAttention_1.key",
        "blocks.{0}.attn.qkv",
        [1, 3],
    ),
    Rule::part(
        "Transformer.encoderblock_#.MultiHeadDotProductAttention_1.value",
        "blocks.{0}.attn.qkv",
        [2, 3],
    ),
    Rule::new("Transformer.encoderblock_#.MultiHeadDotProductAttention_1.out", "blocks.{0}.attn.proj"),
    Rule::part(
        "Transformer.encoderblock_#.MultiHeadDotProductAttention_0.query",
        "blocks.{0}.attn.qkv",
        [0, 3],
    ),
    Rule::part(
        "Transformer.encoderblock_#.MultiHeadDotProductAttention_0.key",
        "blocks.{0}.attn.qkv",
        [1, 3],
    ),
    Rule::part(
        "Transformer.encoderblock_#.MultiHeadDotProductAttention_0.value",
        "blocks.{0}.attn.qkv",
        [2, 3],
    ),
    Rule::new("Transformer.encoderblock_#.MultiHeadDotProductAttention_0.out", "blocks.{0}.attn.proj"),
    Rule::new("Transformer.encoderblock_#.MlpBlock_#.Dense_#", "blocks.{0}.mlp.fc{2+1}"),
    Rule::new("pre_logits", "pre_logits"),
];

/// Such weights under timm's names, and how many they were; other weights as they are. A prefix such as `opt/target/`
/// goes.
///
/// # Errors
/// Query, key and value have shapes that do not fit each other.
pub(crate) fn translated(weights: Weights) -> Result<(Weights, usize), GraphError> {
    let mark = "Transformer/encoderblock_0/LayerNorm_0/scale";
    let Some(prefix) = weights.iter().find_map(|(name, _)| name.strip_suffix(mark)) else {
        return Ok((weights, 0));
    };
    let tensors = weights.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
    let tensors: Result<Weights, GraphError> =
        tensors.map(|(name, tensor)| Ok((with_dots(name), row_major(name, tensor)?))).collect();
    let tensors = tensors?;
    Ok((renamed(&tensors, &RULES)?, tensors.len()))
}

/// The last parts of the names are PyTorch's already.
fn with_dots(name: &str) -> String {
    let (module, last) = name.rsplit_once('/').unwrap_or(("", name));
    let last = match last {
        "kernel" | "scale" => "weight",
        other => other,
    };
    let name = if module.is_empty() { last.to_owned() } else { format!("{module}/{last}") };
    name.replace('/', ".")
}

/// The tensor in PyTorch's layout: outputs first.
fn row_major(name: &str, tensor: &Tensor) -> Result<Tensor, GraphError> {
    let bias_of_heads = name.ends_with("/bias") && tensor.shape().len() == 2;
    match (tensor.shape(), name.ends_with("/kernel")) {
        // Heads and their channels become one axis: of the outputs of query, key and value, of the inputs behind them.
        ([inputs, heads, channels], true) if !name.ends_with("/out/kernel") => {
            transposed(tensor, [*inputs, heads * channels])
        }
        ([heads, channels, outputs], true) => transposed(tensor, [heads * channels, *outputs]),
        ([inputs, outputs], true) => transposed(tensor, [*inputs, *outputs]),
        ([height, width, inputs, outputs], true) => {
            let [height, width, inputs, outputs] = [*height, *width, *inputs, *outputs];
            let places_last = transposed(tensor, [height * width * inputs, outputs])?;
            let rows = places_last.to_f32();
            let mut values = Vec::with_capacity(rows.len());
            for row in rows.chunks(rows.len().checked_div(outputs).unwrap_or(0).max(1)) {
                for channel in 0..inputs {
                    values.extend(row.iter().skip(channel).step_by(inputs.max(1)));
                }
            }
            Tensor::from_f32(vec![outputs, inputs, height, width], &values)
        }
        _ if bias_of_heads => Tensor::new(tensor.dtype(), vec![tensor.len()], tensor.data().clone()),
        _ => Ok(tensor.clone()),
    }
}

/// A matrix of that many rows and columns with the two exchanged.
fn transposed(tensor: &Tensor, [rows, columns]: [usize; 2]) -> Result<Tensor, GraphError> {
    let values = tensor.to_f32();
    let column = |column: usize| values.iter().skip(column).step_by(columns.max(1)).copied();
    let exchanged: Vec<f32> = (0..columns).flat_map(column).collect();
    Tensor::from_f32(vec![columns, rows], &exchanged)
}
