//! Several nodes of a file that are one operator of the graph.
//!
//! Each rule looks from the last node back over nodes that are there already. The nodes before it stay until the end,
//! when those go that nobody reads, so no rule has to ask who else reads them.

use regraft_graph::{
    Approximation, Clip, Concat, Dim, Gelu, LayerNormalization, Op, Padding, Power, Reduce, ReduceKind,
    Transpose,
};

use super::attention;
use super::net::Net;
use super::parameters::Parameters;
use super::view::contiguous;

/// What a node is together with those before it: the wire that holds its values, or `None` where no rule fits.
pub(super) fn simplify(
    net: &mut Net,
    name: &str,
    op: &Op,
    inputs: &[&str],
    parameters: &Parameters,
) -> Result<Option<String>, String> {
    let [first, rest @ ..] = inputs else { return Ok(None) };
    if let Some(wire) = channels_last(net, name, op, inputs, parameters)? {
        return Ok(Some(wire));
    }
    match op {
        Op::Power(Power { scale: 1.0, shift: 0.0, power: 1.0 }) => Ok(Some((*first).to_owned())),
        Op::Power(_) | Op::Mul | Op::Clip(_) => match function(net, name, op, first, rest)? {
            None => joined(net, name, op, first),
            found => Ok(found),
        },
        Op::Transpose(_) | Op::Reshape(_) | Op::Flatten | Op::Slice(_) => moved(net, name, op, first),
        Op::Scale(scale) if scale.bias => normalized(net, name, first, parameters),
        Op::Conv(_) | Op::AveragePool(_) => padded(net, name, op, first, parameters),
        Op::Reduce(reduce) => mean(net, name, reduce, first),
        _ => Ok(None),
    }
}

/// A power of a linear function of a linear function.
fn joined(net: &mut Net, name: &str, op: &Op, input: &str) -> Result<Option<String>, String> {
    let (Op::Power(outer), Some(Op::Power(inner))) = (op, net.op(input)) else { return Ok(None) };
    let whole = Power {
        scale: inner.scale * outer.scale,
        shift: inner.shift * outer.scale + outer.shift,
        power: outer.power,
    };
    if inner.power != 1.0 || !(whole.scale.is_finite() && whole.shift.is_finite()) {
        return Ok(None);
    }
    let source = net.source(input).unwrap_or_default().to_owned();
    net.add(name, Op::Power(whole), &[&source], Vec::new()).map(Some)
}

/// The orders of axes that put the channels of images last, and first again.
const IMAGE_ORDERS: [[usize; 4]; 2] = [[0, 2, 3, 1], [0, 3, 1, 2]];

/// The wire whose axes a node puts into another order.
fn turned(net: &Net, wire: &str) -> Option<(String, Vec<usize>)> {
    match net.op(wire)? {
        Op::Transpose(Transpose { axes }) if IMAGE_ORDERS.iter().any(|order| order == axes.as_slice()) => {
            Some((net.source(wire)?.to_owned(), axes.clone()))
        }
        _ => None,
    }
}

/// Networks whose channels come last are computed with the channels first: the exchange of axes moves behind
/// each operator that does not care, until it meets the one that takes it back.
fn channels_last(
    net: &mut Net,
    name: &str,
    op: &Op,
    inputs: &[&str],
    parameters: &Parameters,
) -> Result<Option<String>, String> {
    let turned: Option<Vec<_>> = inputs.iter().map(|wire| turned(net, wire)).collect();
    let Some(turned) = turned else { return Ok(None) };
    let Some((_, order)) = turned.first().cloned() else { return Ok(None) };
    if turned.iter().any(|(_, other)| *other != order) {
        return Ok(None);
    }
    let sources: Vec<&str> = turned.iter().map(|(source, _)| source.as_str()).collect();
    let moved = match op {
        Op::Concat(Concat { axis }) => order.get(*axis).map(|axis| Op::Concat(Concat { axis: *axis })),
        Op::Reduce(reduce) => {
            let mut axes: Vec<usize> =
                reduce.axes.iter().filter_map(|axis| order.get(*axis).copied()).collect();
            axes.sort_unstable();
            let left = order.iter().filter(|axis| !axes.contains(axis));
            (reduce.keep_axes || left.is_sorted()).then_some(Op::Reduce(Reduce { axes, ..reduce.clone() }))
        }
        _ if minds_no_order(op) => Some(op.clone()),
        _ => None,
    };
    let Some(moved) = moved else { return Ok(None) };
    let result = net.add(name, moved, &sources, parameters.clone())?;
    let same_axes = !matches!(op, Op::Reduce(reduce) if !reduce.keep_axes);
    if same_axes {
        net.transpose(&format!("{name}.turned"), &result, &order).map(Some)
    } else {
        Ok(Some(result))
    }
}

/// Whether each value of the output depends on the values in the same place alone.
fn minds_no_order(op: &Op) -> bool {
    matches!(
        op,
        Op::Relu
            | Op::Clip(_)
            | Op::Sigmoid
            | Op::Silu
            | Op::HardSigmoid
            | Op::HardSwish
            | Op::Gelu(_)
            | Op::Tanh
            | Op::Elu(_)
            | Op::LeakyRelu(_)
            | Op::Softplus
            | Op::Exp
            | Op::Log
            | Op::Abs
            | Op::Power(_)
            | Op::Dropout { .. }
            | Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Max
            | Op::Min
    )
}

/// `Reshape`, `Transpose` and `Slice`: what the whole chain does.
fn moved(net: &mut Net, name: &str, op: &Op, input: &str) -> Result<Option<String>, String> {
    if let (Op::Transpose(outer), Some(Op::Transpose(inner))) = (op, net.op(input)) {
        let axes = outer.axes.iter().filter_map(|axis| inner.axes.get(*axis).copied()).collect::<Vec<_>>();
        let source = net.source(input).unwrap_or_default().to_owned();
        return net.transpose(name, &source, &axes).map(Some);
    }
    let Some(view) = net.view_with(op, input) else {
        let sizes = reshaped_sizes(op);
        return match (net.view(input), sizes) {
            (Some(view), Some(sizes)) => attention::attention(net, name, &view, &sizes),
            _ => Ok(None),
        };
    };
    let Some(base) = net.sizes(&view.base).filter(|_| view.factor == 1.0) else { return Ok(None) };
    let sizes: Vec<usize> = view.axes.iter().map(|(size, _)| *size).collect();
    let source = view.base.clone();
    if view.is(0, &contiguous(&base)) {
        if sizes == base {
            return Ok(Some(source));
        }
        if source != input {
            let dims: Vec<Dim> = sizes.into_iter().map(Dim::Fixed).collect();
            return net.reshape(name, &source, &dims).map(Some);
        }
        return Ok(None);
    }
    match (base.as_slice(), sizes.as_slice()) {
        ([channels, height, width], [_, features])
            if channels == features && view.is(0, &[(height * width, 1), (*channels, height * width)]) =>
        {
            net.push(name, Op::Tokens, &[&source], Vec::new()).map(Some)
        }
        ([_, width], [features]) if width == features && view.is(view.offset, &[(*width, 1)]) => {
            let index = view.offset.checked_div(*width).unwrap_or(0);
            net.push(name, Op::SelectToken { index }, &[&source], Vec::new()).map(Some)
        }
        _ => Ok(None),
    }
}

/// The sizes that a `Reshape` gives, if it states them all.
fn reshaped_sizes(op: &Op) -> Option<Vec<usize>> {
    let Op::Reshape(reshape) = op else { return None };
    reshape.shape.iter().map(|size| usize::try_from(*size).ok().filter(|size| *size > 0)).collect()
}

/// A wire as `scale · base + shift`.
struct Linear {
    base: String,
    scale: f64,
    shift: f64,
}

/// Powers in a row that are looked through.
const DEEPEST: usize = 4;

fn linear(net: &Net, wire: &str) -> Linear {
    let mut found = Linear { base: wire.to_owned(), scale: 1.0, shift: 0.0 };
    for _ in 0..DEEPEST {
        let Some(Op::Power(power)) = net.op(&found.base) else { break };
        let Power { scale, shift, power: 1.0 } = *power else { break };
        found.shift += found.scale * f64::from(shift);
        found.scale *= f64::from(scale);
        found.base = net.source(&found.base).unwrap_or_default().to_owned();
    }
    found
}

/// Equal but for the rounding of single precision.
pub(super) fn close(left: f64, right: f64) -> bool {
    (left - right).abs() <= 1e-5 * right.abs().max(1e-3)
}

/// Activations written as arithmetic.
fn function(
    net: &mut Net,
    name: &str,
    op: &Op,
    first: &str,
    rest: &[&str],
) -> Result<Option<String>, String> {
    let found = match op {
        Op::Clip(Clip { min: 0.0, max: 1.0 }) => {
            let Linear { base, scale, shift } = linear(net, first);
            (close(scale, 1.0 / 6.0) && close(shift, 0.5)).then_some((Op::HardSigmoid, base))
        }
        Op::Power(power) if (power.shift, power.power) == (0.0, 1.0) => {
            let factor = f64::from(power.scale);
            match (net.op(first), net.node(first).map(|node| node.inputs.clone())) {
                (Some(Op::Mul), Some(inputs)) => product(net, factor, &inputs),
                (Some(Op::Clip(Clip { min: 0.0, max: 6.0 })), Some(inputs)) if close(factor, 1.0 / 6.0) => {
                    let Linear { base, scale, shift } =
                        linear(net, inputs.first().map_or("", String::as_str));
                    (close(scale, 1.0) && close(shift, 3.0)).then_some((Op::HardSigmoid, base))
                }
                _ => None,
            }
        }
        Op::Mul => {
            let inputs: Vec<String> =
                std::iter::once(&first).chain(rest).map(|wire| (*wire).to_owned()).collect();
            product(net, 1.0, &inputs)
        }
        _ => None,
    };
    found.map(|(op, base)| net.add(name, op, &[&base], Vec::new())).transpose()
}

/// `factor · left · right`, if that is an activation of one of the two.
fn product(net: &Net, factor: f64, inputs: &[String]) -> Option<(Op, String)> {
    let [left, right] = inputs else { return None };
    gated(net, factor, left, right).or_else(|| gated(net, factor, right, left))
}

/// `factor · value · gate`, where the gate is a function of the value.
fn gated(net: &Net, factor: f64, value: &str, gate: &str) -> Option<(Op, String)> {
    let value = linear(net, value);
    let gate = linear(net, gate);
    let factor = factor * value.scale;
    let input = net.source(&gate.base)?;
    let reads_value = input == value.base;
    let plain = value.shift == 0.0 && gate.shift == 0.0 && close(factor * gate.scale, 1.0);
    let op = match net.op(&gate.base)? {
        Op::Sigmoid if plain && reads_value => Op::Silu,
        Op::HardSigmoid if plain && reads_value => Op::HardSwish,
        Op::Clip(Clip { min: 0.0, max: 6.0 }) if value.shift == 0.0 && gate.shift == 0.0 => {
            let inside = linear(net, input);
            let fits = inside.base == value.base && close(inside.scale, 1.0) && close(inside.shift, 3.0);
            (fits && close(factor * gate.scale, 1.0 / 6.0)).then_some(Op::HardSwish)?
        }
        Op::Custom(custom) if (custom.domain.as_str(), custom.operator.as_str()) == ("ai.onnx", "Erf") => {
            let inside = linear(net, input);
            let fits = inside.base == value.base
                && inside.shift == 0.0
                && close(inside.scale, std::f64::consts::FRAC_1_SQRT_2);
            half_and_half(factor, &value, &gate, fits)?;
            Op::Gelu(Gelu { approximate: Approximation::None })
        }
        Op::Tanh => {
            let root = (2.0 / std::f64::consts::PI).sqrt();
            let [constant, linear, square, cube] = polynomial(net, input, &value.base, 8)?;
            let fits =
                (constant, square) == (0.0, 0.0) && close(linear, root) && close(cube, root * 0.044_715);
            half_and_half(factor, &value, &gate, fits)?;
            Op::Gelu(Gelu { approximate: Approximation::Tanh })
        }
        _ => return None,
    };
    Some((op, value.base))
}

/// `x · (1 + f(x)) / 2`.
fn half_and_half(factor: f64, value: &Linear, gate: &Linear, fits: bool) -> Option<()> {
    let halves = close(factor * gate.scale, 0.5) && close(gate.shift, gate.scale);
    (fits && halves && value.shift == 0.0).then_some(())
}

/// A wire as a polynomial of another, lowest power first.
fn polynomial(net: &Net, wire: &str, variable: &str, depth: usize) -> Option<[f64; 4]> {
    if wire == variable {
        return Some([0.0, 1.0, 0.0, 0.0]);
    }
    let depth = depth.checked_sub(1)?;
    let of = |place: usize| polynomial(net, net.node(wire)?.inputs.get(place)?, variable, depth);
    match net.op(wire)? {
        Op::Power(power) => {
            let mut inside = of(0)?.map(|coefficient| coefficient * f64::from(power.scale));
            inside[0] += f64::from(power.shift);
            match power.power {
                1.0 => Some(inside),
                2.0 => times(inside, inside),
                3.0 => times(times(inside, inside)?, inside),
                _ => None,
            }
        }
        Op::Mul => times(of(0)?, of(1)?),
        Op::Add => {
            let (left, right) = (of(0)?, of(1)?);
            Some([left[0] + right[0], left[1] + right[1], left[2] + right[2], left[3] + right[3]])
        }
        _ => None,
    }
}

/// The product of two polynomials, if its degree is at most three.
fn times(left: [f64; 4], right: [f64; 4]) -> Option<[f64; 4]> {
    let mut result = [0.0; 4];
    for (power, coefficient) in left.iter().enumerate() {
        for (other, factor) in right.iter().enumerate() {
            let term = coefficient * factor;
            match result.get_mut(power + other) {
                Some(sum) => *sum += term,
                None if term == 0.0 => {}
                None => return None,
            }
        }
    }
    Some(result)
}

/// `(x − mean) / sqrt(variance + epsilon) · weight + bias` written out.
fn normalized(
    net: &mut Net,
    name: &str,
    input: &str,
    parameters: &Parameters,
) -> Result<Option<String>, String> {
    let Some((source, features, epsilon)) = standardized(net, input) else { return Ok(None) };
    let norm = Op::LayerNormalization(LayerNormalization { features, epsilon });
    net.push(name, norm, &[&source], parameters.clone()).map(Some)
}

/// The wire, its number of features and the epsilon of which this is the standardised value.
fn standardized(net: &Net, wire: &str) -> Option<(String, usize, f64)> {
    let node = net.node(wire)?;
    let [left, right] = node.inputs.as_slice() else { return None };
    let (centered, root, exponent) = match node.op {
        Op::Div => (left, right, 0.5),
        Op::Mul if matches!(net.op(left), Some(Op::Sub)) => (left, right, -0.5),
        Op::Mul => (right, left, -0.5),
        _ => return None,
    };
    let (variance, epsilon) = shifted_root(net, root, exponent)?;
    let square = mean_over_features(net, &variance)?;
    let squared = net.node(&square)?;
    let same = |other: &String| other == centered || alike(net, other, centered);
    let squares = match squared.op {
        Op::Power(Power { scale: 1.0, shift: 0.0, power: 2.0 }) => squared.inputs.iter().all(same),
        Op::Mul => squared.inputs.iter().all(same),
        _ => false,
    };
    let difference = net.node(centered).filter(|node| squares && matches!(node.op, Op::Sub))?;
    let [source, mean] = difference.inputs.as_slice() else { return None };
    let features = net.sizes(source)?.last().copied()?;
    (mean_over_features(net, mean).as_ref() == Some(source)).then(|| (source.clone(), features, epsilon))
}

fn alike(net: &Net, left: &str, right: &str) -> bool {
    match (net.node(left), net.node(right)) {
        (Some(left), Some(right)) => left.op == right.op && left.inputs == right.inputs,
        _ => false,
    }
}

/// What `(x + epsilon)^exponent` is taken of, through several powers.
fn shifted_root(net: &Net, wire: &str, exponent: f64) -> Option<(String, f64)> {
    let (mut wire, mut total, mut epsilon) = (wire.to_owned(), 1.0, 0.0);
    for _ in 0..DEEPEST {
        let Some(Op::Power(Power { scale: 1.0, shift, power })) = net.op(&wire) else { break };
        if epsilon != 0.0 {
            break;
        }
        (epsilon, total) = (f64::from(*shift), total * f64::from(*power));
        wire = net.source(&wire)?.to_owned();
    }
    (total == exponent && epsilon > 0.0).then_some((wire, epsilon))
}

/// What a wire is the mean of, over the features of vectors or tokens.
fn mean_over_features(net: &Net, wire: &str) -> Option<String> {
    let source = net.source(wire)?;
    let rank = net.dims(source).len();
    match net.op(wire)? {
        Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, keep_axes: true })
            if rank < 3 && axes.as_slice() == [rank] =>
        {
            Some(source.to_owned())
        }
        _ => None,
    }
}

/// A border of zeros that is the padding of the window operator behind it.
fn padded(
    net: &mut Net,
    name: &str,
    op: &Op,
    input: &str,
    parameters: &Parameters,
) -> Result<Option<String>, String> {
    let Some(Op::Pad(pad)) = net.op(input) else { return Ok(None) };
    let ([[0, 0], [0, 0], [top, bottom], [left, right]], regraft_graph::PadMode::Constant(0.0)) =
        (pad.borders.as_slice(), pad.mode)
    else {
        return Ok(None);
    };
    let border = [*top, *left, *bottom, *right];
    let source = net.source(input).unwrap_or_default().to_owned();
    let mut whole = op.clone();
    match &mut whole {
        Op::Conv(conv) => {
            let Padding::Explicit(own) = conv.padding else { return Ok(None) };
            let sums = own.iter().zip(border).map(|(own, border)| own.checked_add(border));
            let sums = sums.collect::<Option<Vec<_>>>().and_then(|sums| <[usize; 4]>::try_from(sums).ok());
            let Some(sums) = sums else { return Ok(None) };
            conv.padding = Padding::Explicit(sums);
        }
        Op::AveragePool(pool) if pool.padding == Padding::all(0) && !pool.ceil_mode => {
            let [height, width] = pool.kernel;
            if border.iter().zip([height, width, height, width]).any(|(border, kernel)| *border >= kernel) {
                return Ok(None);
            }
            (pool.padding, pool.count_include_pad) = (Padding::Explicit(border), true);
        }
        _ => return Ok(None),
    }
    net.push(name, whole, &[&source], parameters.clone()).map(Some)
}

/// The mean over height and width.
fn mean(net: &mut Net, name: &str, reduce: &Reduce, input: &str) -> Result<Option<String>, String> {
    let image = net.dims(input).len() == 3 && reduce.axes.as_slice() == [2, 3];
    if !image || reduce.kind != ReduceKind::Mean {
        return Ok(None);
    }
    if reduce.keep_axes {
        return net.push(name, Op::GlobalAveragePool, &[input], Vec::new()).map(Some);
    }
    let pool = net.push(&format!("{name}.pool"), Op::GlobalAveragePool, &[input], Vec::new())?;
    net.push(name, Op::Flatten, &[&pool], Vec::new()).map(Some)
}
