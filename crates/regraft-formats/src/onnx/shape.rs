//! Operators that only change the shape: the shape that they give, of constants and of wires alike.

use regraft_graph::Dim;

use super::batch::Batch;
use super::call::{Call, axis};
use super::constant::unknown_size;
use super::whole::Whole;

/// The shape behind a `Reshape`, `Flatten`, `Squeeze` or `Unsqueeze` for one example, and where the examples are in it.
pub(super) fn target(
    call: &Call<'_>,
    shape: &[Dim],
    batch: Option<Batch>,
) -> Result<(Vec<Dim>, Option<Batch>), String> {
    // The file's sizes are those for all examples.
    let whole = batch.map_or_else(|| Ok(shape.to_vec()), |batch| batch.whole(shape))?;
    let target = match call.node.op_type.as_str() {
        "Reshape" => {
            let numbers = call.sizes(1, "shape")?.ok_or("its shape is missing")?;
            let number = |number: &Whole| match (number, batch) {
                (Whole::Batch(many), Some(batch)) => batch.times(*many),
                (number, _) => number.known().ok_or_else(unknown_size),
            };
            let numbers = numbers.iter().map(number).collect::<Result<Vec<i64>, _>>()?;
            let unfit = || {
                let shape = batch.map_or_else(|| product(shape), |batch| batch.to_text(shape));
                format!("{shape} values do not fill the shape {numbers:?}")
            };
            reshape(&numbers, &whole, call.flag("allowzero"))?.ok_or_else(unfit)
        }
        "Flatten" => flatten(call, &whole),
        "Squeeze" => squeeze(call, &whole),
        _ => unsqueeze(call, &whole),
    }?;
    match batch {
        Some(batch) => batch.found(&whole, target).map(|(target, batch)| (target, Some(batch))),
        None => Ok((target, None)),
    }
}

/// `None` where the numbers do not fill the shape.
fn reshape(numbers: &[i64], shape: &[Dim], zero_is_zero: bool) -> Result<Option<Vec<Dim>>, String> {
    let size = |(place, number): (usize, &i64)| match number {
        0 if !zero_is_zero => shape.get(place).copied().map(Some).ok_or("0 for an axis that is not there"),
        -1 => Ok(None),
        number => {
            usize::try_from(*number).map(|size| Some(Dim::Fixed(size))).map_err(|_| "a size is negative")
        }
    };
    let sizes = numbers.iter().enumerate().map(size).collect::<Result<Vec<_>, _>>()?;
    let missing = sizes.iter().filter(|size| size.is_none()).count();
    if missing > 1 {
        return Err("more than one size is −1".to_owned());
    }
    let known: Vec<Dim> = sizes.iter().flatten().copied().collect();
    let rest = quotient(shape, &known).filter(|rest| missing == 1 || *rest == Dim::Fixed(1));
    Ok(rest.map(|rest| sizes.into_iter().map(|size| size.unwrap_or(rest)).collect()))
}

pub(super) fn product(shape: &[Dim]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("×")
}

/// The size that the second product lacks; at most one of those that depend on the image.
pub(super) fn quotient(shape: &[Dim], others: &[Dim]) -> Option<Dim> {
    let (mut left, mut fixed) = (Vec::new(), 1usize);
    for dim in shape {
        match dim {
            Dim::Fixed(size) => fixed = fixed.checked_mul(*size)?,
            other => left.push(*other),
        }
    }
    let mut divisor = 1usize;
    for dim in others {
        match dim {
            Dim::Fixed(size) => divisor = divisor.checked_mul(*size)?,
            other => {
                let place = left.iter().position(|dim| dim == other)?;
                left.remove(place);
            }
        }
    }
    match left.as_slice() {
        [] if divisor > 0 && fixed.is_multiple_of(divisor) => Some(Dim::Fixed(fixed / divisor)),
        [dim] if fixed == divisor => Some(*dim),
        _ => None,
    }
}

fn flatten(call: &Call<'_>, shape: &[Dim]) -> Result<Vec<Dim>, String> {
    let number = call.int("axis", 1);
    let whole = i64::try_from(shape.len()) == Ok(number);
    let axis = if whole { shape.len() } else { axis(number, shape.len())? };
    let (outer, inner) = shape.split_at_checked(axis).unwrap_or_default();
    let size = |dims: &[Dim]| quotient(dims, &[]).ok_or_else(unknown_size);
    Ok(vec![size(outer)?, size(inner)?])
}

fn squeeze(call: &Call<'_>, shape: &[Dim]) -> Result<Vec<Dim>, String> {
    let axes = match call.setting(1, "axes")? {
        Some(axes) => axes.iter().map(|number| axis(*number, shape.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..shape.len()).filter(|axis| shape.get(*axis) == Some(&Dim::Fixed(1))).collect(),
    };
    if let Some(axis) = axes.iter().find(|axis| shape.get(**axis) != Some(&Dim::Fixed(1))) {
        return Err(format!("axis {axis} of {} is not of size 1", product(shape)));
    }
    Ok(shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, dim)| *dim).collect())
}

fn unsqueeze(call: &Call<'_>, shape: &[Dim]) -> Result<Vec<Dim>, String> {
    let numbers = call.setting(1, "axes")?.ok_or("its axes are missing")?;
    let rank = shape.len() + numbers.len();
    let mut axes = numbers.iter().map(|number| axis(*number, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    let mut result = shape.to_vec();
    for axis in axes {
        if axis > result.len() {
            return Err("an axis is named twice".to_owned());
        }
        result.insert(axis, Dim::Fixed(1));
    }
    Ok(result)
}

/// The order of axes of a `Transpose`.
pub(super) fn permutation(call: &Call<'_>, rank: usize) -> Result<Vec<usize>, String> {
    let Some(numbers) = call.ints("perm") else { return Ok((0..rank).rev().collect()) };
    let order = numbers.iter().map(|number| usize::try_from(*number).ok()).collect::<Option<Vec<_>>>();
    let order = order.ok_or("its order of axes is none")?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted.iter().copied().eq(0..rank) {
        Ok(order)
    } else {
        Err(format!("{order:?} is no order of {rank} axes"))
    }
}
