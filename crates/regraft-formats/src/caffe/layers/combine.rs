//! Layers that combine numbers of several places or inputs.

use regraft_graph::{Concat, Gemm, Op, ParameterKind, Power, Reduce, ReduceKind, Reshape, Tensor};

use super::{Problem, Site, canonical, contradiction, fixed, unsupported};

pub(super) fn inner_product(site: &mut Site<'_>) -> Result<String, Problem> {
    let attributes = site.attributes("inner_product_param");
    let Some(outputs) = attributes.count("num_output")? else {
        return contradiction("'num_output' is missing");
    };
    let bias = attributes.flag("bias_term", true)?;
    let transposed = attributes.flag("transpose", false)?;
    let shape = site.shape(0)?;
    let axis = canonical(attributes.integer("axis")?.unwrap_or(1), shape.len())?;
    let mut input = site.input(0)?.to_owned();
    // The numbers of all axes from that one on make one sum; a dense layer takes the last axis of vectors and sequences.
    match (shape.len(), axis) {
        (2, 1) | (3, 2) => {}
        (_, 1) => input = site.prepare("flatten", Op::Flatten, &[&input], vec![])?,
        _ => return unsupported(format!("sums from axis {axis} on of {} axes", shape.len())),
    }
    let inputs = site.draft.fact(&input)?.shape.last().copied().and_then(fixed);
    let Some(inputs) = inputs else { return unsupported("an input whose size is not known") };
    let weight = if transposed {
        transpose(&site.tensor(0, vec![inputs, outputs])?, [inputs, outputs])?
    } else {
        site.tensor(0, vec![outputs, inputs])?
    };
    let mut tensors = vec![(ParameterKind::Weight, weight)];
    if bias {
        tensors.push((ParameterKind::Bias, site.tensor(1, vec![outputs])?));
    }
    site.add(Op::Gemm(Gemm { in_features: inputs, out_features: outputs, bias }), &[&input], tensors)
}

fn transpose(tensor: &Tensor, [rows, columns]: [usize; 2]) -> Result<Tensor, Problem> {
    let values = tensor.to_f32();
    let columns_of = |column| values.iter().skip(column).step_by(columns.max(1)).copied();
    let turned: Vec<f32> = (0..columns).flat_map(columns_of).collect();
    Ok(Tensor::from_f32(vec![columns, rows], &turned)?)
}

/// Sum, product or maximum of inputs, pair by pair.
pub(super) fn eltwise(site: &mut Site<'_>) -> Result<String, Problem> {
    let attributes = site.attributes("eltwise_param");
    let factors = attributes.numbers("coeff")?;
    let (op, sum) = match attributes.text("operation") {
        None | Some("SUM") => (Op::Add, true),
        Some("PROD") => (Op::Mul, false),
        Some("MAX") => (Op::Max, false),
        Some(other) => return unsupported(format!("the operation {other}")),
    };
    if !factors.is_empty() && (!sum || factors.len() != site.inputs.len()) {
        return contradiction(format!("{} coefficients for {} inputs", factors.len(), site.inputs.len()));
    }
    let terms = terms(site, &factors)?;
    match terms.as_slice() {
        [] | [_] => contradiction("it needs two inputs at least"),
        [first, middle @ .., last] => {
            let mut result = first.clone();
            for (index, term) in middle.iter().enumerate() {
                result = site.prepare(&(index + 1).to_string(), op.clone(), &[&result, term], vec![])?;
            }
            site.add(op, &[&result, last], vec![])
        }
    }
}

/// The inputs, multiplied by their factors.
fn terms(site: &mut Site<'_>, factors: &[f64]) -> Result<Vec<String>, Problem> {
    let mut terms = site.inputs.clone();
    for (index, (term, factor)) in terms.iter_mut().zip(factors).enumerate() {
        if *factor != 1.0 {
            let op = Op::Power(Power { scale: *factor as f32, shift: 0.0, power: 1.0 });
            *term = site.prepare(&format!("term{}", index + 1), op, &[term.as_str()], vec![])?;
        }
    }
    Ok(terms)
}

/// `a · x + y`, with one `a` for each channel: the gate of squeeze-and-excitation networks.
pub(super) fn axpy(site: &mut Site<'_>) -> Result<String, Problem> {
    let rank = site.shape(1)?.len();
    let gate = with_axes(site, 0, rank)?;
    let (image, sum) = (site.input(1)?.to_owned(), site.input(2)?.to_owned());
    let product = site.prepare("product", Op::Mul, &[&gate, &image], vec![])?;
    site.add(Op::Add, &[&product, &sum], vec![])
}

/// An input with axes of size 1 behind its own, up to `rank`.
pub(super) fn with_axes(site: &mut Site<'_>, index: usize, rank: usize) -> Result<String, Problem> {
    let input = site.input(index)?.to_owned();
    let own = site.shape(index)?.len();
    if own >= rank {
        return Ok(input);
    }
    let shape = (1..rank).map(|axis| if axis < own { 0 } else { 1 }).collect();
    site.prepare("axes", Op::Reshape(Reshape { shape }), &[&input], vec![])
}

pub(super) fn concat(site: &mut Site<'_>) -> Result<String, Problem> {
    let attributes = site.attributes("concat_param");
    let axis = attributes.integer("axis")?.or(attributes.integer("concat_dim")?).unwrap_or(1);
    let axis = canonical(axis, site.shape(0)?.len())?;
    let inputs = site.inputs.clone();
    join(site, axis, inputs)
}

/// The same input several times, one behind the other.
pub(super) fn tile(site: &mut Site<'_>) -> Result<String, Problem> {
    let attributes = site.attributes("tile_param");
    let axis = canonical(attributes.integer("axis")?.unwrap_or(1), site.shape(0)?.len())?;
    let times = attributes.count("tiles")?.unwrap_or(0);
    if !(1..=MOST_TILES).contains(&times) {
        return contradiction(format!("'tiles' should be from 1 to {MOST_TILES}"));
    }
    let inputs = vec![site.input(0)?.to_owned(); times];
    join(site, axis, inputs)
}

const MOST_TILES: usize = 1024;

fn join(site: &mut Site<'_>, axis: usize, inputs: Vec<String>) -> Result<String, Problem> {
    if axis == 0 {
        return unsupported("a batch that is put together; an operator sees one example");
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    site.add(Op::Concat(Concat { axis }), &inputs, vec![])
}

/// Sum or mean over the last axes, times a number.
pub(super) fn reduction(site: &mut Site<'_>) -> Result<String, Problem> {
    let attributes = site.attributes("reduction_param");
    let rank = site.shape(0)?.len();
    let axis = canonical(attributes.integer("axis")?.unwrap_or(0), rank)?;
    let factor = attributes.number("coeff")?.unwrap_or(1.0) as f32;
    let (kind, first) = match attributes.text("operation") {
        None | Some("SUM") => (ReduceKind::Sum, None),
        Some("ASUM") => (ReduceKind::Sum, Some(Op::Abs)),
        Some("SUMSQ") => (ReduceKind::Sum, Some(Op::Power(Power { scale: 1.0, shift: 0.0, power: 2.0 }))),
        Some("MEAN") => (ReduceKind::Mean, None),
        Some(other) => return unsupported(format!("the operation {other}")),
    };
    if axis == 0 {
        return unsupported("a sum over the batch; an operator sees one example");
    }
    let mut input = site.input(0)?.to_owned();
    if let Some(op) = first {
        input = site.prepare("terms", op, &[&input], vec![])?;
    }
    let sum = Op::Reduce(Reduce { kind, axes: (axis..rank).collect(), keep_axes: false });
    if factor == 1.0 {
        return site.add(sum, &[&input], vec![]);
    }
    let sum = site.prepare("sum", sum, &[&input], vec![])?;
    site.add(Op::Power(Power { scale: factor, shift: 0.0, power: 1.0 }), &[&sum], vec![])
}
