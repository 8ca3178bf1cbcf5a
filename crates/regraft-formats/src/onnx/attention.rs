//! Attention written out: two products of matrices with a softmax between them.

use regraft_graph::{Attention, Gemm, Op, ParameterKind, Tensor};

use super::net::Net;
use super::parameters::{Parameter, Parameters};
use super::patterns::close;
use super::view::View;

/// The sizes of an attention.
struct Sizes {
    heads: usize,
    tokens: usize,
    /// Features of a head.
    depth: usize,
}

/// The attention whose heads' outputs this view puts side by side, token by token. `sizes` is the result's shape.
pub(super) fn attention(
    net: &mut Net,
    name: &str,
    view: &View,
    sizes: &[usize],
) -> Result<Option<String>, String> {
    let Some((shape, [queries, keys, values])) = parts(net, view, sizes) else { return Ok(None) };
    let heads = shape.heads;
    let Some(projected) = projection(net, name, &shape, [&queries, &keys, &values])? else {
        return Ok(None);
    };
    net.push(name, Op::Attention(Attention { heads }), &[&projected], Vec::new()).map(Some)
}

/// Queries, keys and values as views of what they are taken from.
fn parts(net: &Net, view: &View, sizes: &[usize]) -> Option<(Sizes, [View; 3])> {
    let [heads, tokens, depth] = <[usize; 3]>::try_from(net.sizes(&view.base)?).ok()?;
    let side_by_side = view.is(0, &[(tokens, depth), (heads, tokens * depth), (depth, 1)]);
    let [weights, values] = product(net, &view.base)?;
    if !side_by_side || sizes != [tokens, heads * depth] || !matches!(net.op(&weights), Some(Op::Softmax)) {
        return None;
    }
    let scores = net.view(net.source(&weights)?)?;
    let [queries, keys] = product(net, &scores.base)?;
    let [queries, keys, values] = [net.view(&queries)?, net.view(&keys)?, net.view(&values)?];
    let in_order = scores.is(0, &[(heads, tokens * tokens), (tokens, tokens), (tokens, 1)]);
    let factor = scores.factor * queries.factor * keys.factor;
    let scaled = close(factor, 1.0 / (depth as f64).sqrt()) && values.factor == 1.0;
    (in_order && scaled).then_some((Sizes { heads, tokens, depth }, [queries, keys, values]))
}

fn product(net: &Net, wire: &str) -> Option<[String; 2]> {
    let node = net.node(wire).filter(|node| matches!(node.op, Op::MatMul))?;
    <[String; 2]>::try_from(node.inputs.clone()).ok()
}

/// The wire with query, key and value of each token: one dense layer's output, or that of three in one.
fn projection(net: &mut Net, name: &str, sizes: &Sizes, parts: [&View; 3]) -> Result<Option<String>, String> {
    let Sizes { heads, tokens, depth } = *sizes;
    let width = heads * depth;
    let [queries, keys, values] = parts;
    // Distance from token to token, and where the part begins.
    let fits = |row: usize, offsets: [usize; 3]| {
        queries.is(offsets[0], &[(heads, depth), (tokens, row), (depth, 1)])
            && keys.is(offsets[1], &[(heads, depth), (depth, 1), (tokens, row)])
            && values.is(offsets[2], &[(heads, depth), (tokens, row), (depth, 1)])
    };
    let bases = parts.map(|part| part.base.as_str());
    if bases[0] == bases[1] && bases[1] == bases[2] {
        let whole = net.sizes(bases[0]).as_deref() == Some(&[tokens, 3 * width]);
        return Ok((whole && fits(3 * width, [0, width, 2 * width])).then(|| bases[0].to_owned()));
    }
    if !fits(width, [0; 3]) {
        return Ok(None);
    }
    joined(net, name, bases)
}

/// Three dense layers on one wire as one.
fn joined(net: &mut Net, name: &str, layers: [&str; 3]) -> Result<Option<String>, String> {
    let [first, ..] = layers;
    let Some(source) = net.source(first).map(str::to_owned) else { return Ok(None) };
    let gemms = layers.iter().filter_map(|layer| match net.op(layer)? {
        Op::Gemm(gemm) if net.source(layer) == Some(source.as_str()) => Some(gemm.clone()),
        _ => None,
    });
    let gemms: Vec<Gemm> = gemms.collect();
    let [gemm, ..] = gemms.as_slice() else { return Ok(None) };
    if gemms.len() != 3 || gemms.iter().any(|other| other != gemm) {
        return Ok(None);
    }
    let parameters = layers.map(|layer| net.parameters(layer));
    let joined = Gemm { out_features: 3 * gemm.out_features, ..gemm.clone() };
    let mut tensors: Parameters =
        vec![(ParameterKind::Weight, stacked(net, &parameters, ParameterKind::Weight)?)];
    if gemm.bias {
        tensors.push((ParameterKind::Bias, stacked(net, &parameters, ParameterKind::Bias)?));
    }
    net.push(&format!("{name}.in_proj"), Op::Gemm(joined), &[&source], tensors).map(Some)
}

/// Tensors of several layers, one below the other.
fn stacked(net: &mut Net, layers: &[Parameters; 3], kind: ParameterKind) -> Result<Parameter, String> {
    let of = |layer: &Parameters| Some(layer.iter().find(|(other, _)| *other == kind)?.1.tensor.clone());
    let tensors = layers.iter().map(of).collect::<Option<Vec<Tensor>>>().ok_or("a weight is missing")?;
    let rows = tensors.iter().map(|tensor| tensor.shape().first().copied().unwrap_or(0)).sum();
    let inner = tensors.first().and_then(|tensor| tensor.shape().get(1..)).unwrap_or_default();
    let shape = [&[rows], inner].concat();
    net.budget.spend(&shape)?;
    let numbers: Vec<f32> = tensors.iter().flat_map(Tensor::to_f32).collect();
    Parameter::new(shape, &numbers)
}
