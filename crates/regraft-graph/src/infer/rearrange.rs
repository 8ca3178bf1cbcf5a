//! Shapes of operators that move numbers or combine whole tensors.

use super::{attribute, common_batch, fixed, image_with_channels, mismatch};
use crate::{
    ConvTranspose, Dim, Fact, GraphError, Interpolation, InterpolationSize, Node, Pad, PadMode, Reduce,
    Reshape, Slice, Transpose,
};

/// Two tensors of as many axes; an axis of size 1 is repeated.
pub(super) fn broadcast(node: &Node, inputs: &[&Fact]) -> Result<Fact, GraphError> {
    let [left, right] = inputs else { return Err(mismatch(node, "two inputs", inputs.len().to_string())) };
    let axis = |(left, right): (&Dim, &Dim)| match (left, right) {
        (left, right) if left == right => Some(*left),
        (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => Some(*other),
        _ => None,
    };
    let shape: Option<Vec<Dim>> = left.shape.iter().zip(&right.shape).map(axis).collect();
    let shape = shape.filter(|_| left.shape.len() == right.shape.len());
    shape.map(Fact::new).ok_or_else(|| {
        mismatch(node, format!("a second input of shape {left}, or with some sizes 1"), right.to_string())
    })
}

pub(super) fn matmul(node: &Node, inputs: &[&Fact]) -> Result<Fact, GraphError> {
    let [left, right] = inputs else { return Err(mismatch(node, "two inputs", inputs.len().to_string())) };
    let fits = match (left.shape.as_slice(), right.shape.as_slice()) {
        ([outer @ .., rows, inner], [others @ .., middle, columns]) if !outer.is_empty() => {
            let batch = common_batch(inputs);
            let same = |outer: &[Dim]| -> Vec<Dim> {
                let once = outer.first() == Some(&Dim::Fixed(1));
                let first = if once { Some(batch) } else { outer.first().copied() };
                first.into_iter().chain(outer.iter().skip(1).copied()).collect()
            };
            (same(outer) == same(others) && inner == middle)
                .then(|| [same(outer).as_slice(), &[*rows, *columns]].concat())
        }
        _ => None,
    };
    let message = || mismatch(node, "N×…×M×K and N×…×K×P", format!("{left} and {right}"));
    fits.map(Fact::new).ok_or_else(message)
}

pub(super) fn reduce(node: &Node, reduce: &Reduce, input: &Fact) -> Result<Fact, GraphError> {
    let ascending = reduce.axes.is_sorted_by(|left, right| left < right);
    let inside = reduce.axes.iter().all(|axis| (1..input.shape.len()).contains(axis));
    if !ascending || !inside || reduce.axes.is_empty() {
        return Err(attribute(node, format!("axes {:?} of an input {input}", reduce.axes)));
    }
    let kept = input.shape.iter().enumerate().filter_map(|(axis, dim)| {
        let reduced = reduce.axes.contains(&axis);
        if reduced { reduce.keep_axes.then_some(Dim::Fixed(1)) } else { Some(*dim) }
    });
    Ok(Fact::new(kept.collect::<Vec<_>>()))
}

pub(super) fn reshape(node: &Node, reshape: &Reshape, input: &Fact) -> Result<Fact, GraphError> {
    let wrong = || mismatch(node, format!("an input that N×{:?} can hold", reshape.shape), input.to_string());
    let [batch, rest @ ..] = input.shape.as_slice() else { return Err(wrong()) };
    let kept = |place: usize| rest.get(place).copied();
    let mut shape = Vec::new();
    for (place, size) in reshape.shape.iter().enumerate() {
        shape.push(match size {
            0 => kept(place).ok_or_else(wrong)?,
            -1 => Dim::Fixed(0),
            size => Dim::Fixed(usize::try_from(*size).map_err(|_| wrong())?),
        });
    }
    let missing: Vec<usize> =
        (0..shape.len()).filter(|place| reshape.shape.get(*place) == Some(&-1)).collect();
    let total = volume(rest).ok_or_else(wrong)?;
    match missing.as_slice() {
        [] => {}
        [place] => {
            let others = shape.iter().enumerate().filter(|(other, _)| other != place).map(|(_, dim)| *dim);
            let others = volume(&others.collect::<Vec<_>>()).ok_or_else(wrong)?;
            let size = total.over(&others).ok_or_else(wrong)?;
            shape.iter_mut().skip(*place).take(1).for_each(|dim| *dim = Dim::Fixed(size));
        }
        _ => return Err(attribute(node, "more than one size is −1")),
    }
    if volume(&shape).as_ref() != Some(&total) {
        return Err(wrong());
    }
    Ok(Fact::new([&[*batch], shape.as_slice()].concat()))
}

/// A product of sizes: the fixed ones multiplied, the symbolic ones in order.
#[derive(PartialEq)]
struct Volume {
    fixed: usize,
    symbolic: Vec<Dim>,
}

impl Volume {
    fn over(&self, divisor: &Self) -> Option<usize> {
        let divides = divisor.fixed > 0 && self.fixed.is_multiple_of(divisor.fixed);
        (divides && self.symbolic == divisor.symbolic).then(|| self.fixed / divisor.fixed)
    }
}

fn volume(dims: &[Dim]) -> Option<Volume> {
    let mut volume = Volume { fixed: 1, symbolic: Vec::new() };
    for dim in dims {
        match fixed(*dim) {
            Some(size) => volume.fixed = volume.fixed.checked_mul(size)?,
            None => volume.symbolic.push(*dim),
        }
    }
    Some(volume)
}

pub(super) fn transpose(node: &Node, transpose: &Transpose, input: &Fact) -> Result<Fact, GraphError> {
    let axes = &transpose.axes;
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..input.shape.len()) || axes.first() != Some(&0) {
        return Err(attribute(
            node,
            format!("{axes:?} is no order of the axes of {input} that begins with the batch"),
        ));
    }
    Ok(Fact::new(axes.iter().filter_map(|axis| input.shape.get(*axis).copied()).collect::<Vec<_>>()))
}

pub(super) fn slice(node: &Node, slice: &Slice, input: &Fact) -> Result<Fact, GraphError> {
    let Slice { axis, start, end, step } = *slice;
    let size = input.shape.get(axis).filter(|_| axis > 0).copied().and_then(fixed);
    if size.is_none_or(|size| end > size) || start >= end || step == 0 {
        return Err(attribute(
            node,
            format!("places {start} to {end}, step {step}, of axis {axis} of {input}"),
        ));
    }
    let mut output = input.clone();
    let taken = (end - start).div_ceil(step);
    output.shape.iter_mut().skip(axis).take(1).for_each(|dim| *dim = Dim::Fixed(taken));
    Ok(output)
}

pub(super) fn pad(node: &Node, pad: &Pad, input: &Fact) -> Result<Fact, GraphError> {
    let wrong = || attribute(node, format!("borders {:?} of an input {input}", pad.borders));
    if pad.borders.len() != input.shape.len() || pad.borders.first() != Some(&[0, 0]) {
        return Err(wrong());
    }
    let axis = |(dim, [before, after]): (&Dim, &[usize; 2])| {
        let reflects = fixed(*dim).is_none_or(|size| before.max(after) < &size);
        let border = i64::try_from(before.checked_add(*after)?).ok()?;
        // A window of one element has as many positions as there are elements.
        let grown = dim.window(border.checked_sub(1)?, 1);
        grown.filter(|_| !matches!(pad.mode, PadMode::Reflect) || reflects)
    };
    let shape: Option<Vec<Dim>> = input.shape.iter().zip(&pad.borders).map(axis).collect();
    shape.map(Fact::new).ok_or_else(wrong)
}

pub(super) fn resize(node: &Node, resize: &Interpolation, inputs: &[&Fact]) -> Result<Fact, GraphError> {
    let [input, ..] = inputs else { return Err(mismatch(node, "an input", "none")) };
    let [batch, channels, height, width] = image_with_channels(node, input, None)?;
    let times = |dim: Dim, factor: usize| {
        let size = fixed(dim).and_then(|size| size.checked_mul(factor)).filter(|size| *size > 0);
        size.map(Dim::Fixed).ok_or_else(|| mismatch(node, "fixed height and width", input.to_string()))
    };
    let [height, width] = match resize.size {
        InterpolationSize::Fixed([0, _] | [_, 0]) => return Err(attribute(node, "an output without pixels")),
        InterpolationSize::Fixed(size) => size.map(Dim::Fixed),
        InterpolationSize::Times([down, right]) => [times(height, down)?, times(width, right)?],
        InterpolationSize::LikeSecond => {
            let second = inputs.get(1).ok_or_else(|| mismatch(node, "two inputs", "one"))?;
            let [_, _, height, width] = image_with_channels(node, second, None)?;
            [height, width]
        }
    };
    Ok(Fact::new([batch, channels, height, width]))
}

pub(super) fn conv_transpose(node: &Node, conv: &ConvTranspose, input: &Fact) -> Result<Fact, GraphError> {
    let divides = |channels: usize| conv.groups > 0 && channels.is_multiple_of(conv.groups);
    if !divides(conv.in_channels) || !divides(conv.out_channels) {
        return Err(attribute(node, format!("{} groups do not divide the channels", conv.groups)));
    }
    let [batch, _, height, width] = image_with_channels(node, input, Some(conv.in_channels))?;
    let [top, left, bottom, right] = conv.padding;
    let axis = |index: usize, dim: Dim, cut: [usize; 2]| {
        let at = |values: [usize; 2]| values.get(index).copied();
        let (kernel, stride) = (at(conv.kernel)?, at(conv.stride)?);
        let extent = at(conv.dilation)?.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
        let steps = fixed(dim)?.checked_sub(1)?.checked_mul(stride)?;
        let whole = steps.checked_add(extent)?.checked_add(at(conv.output_padding)?)?;
        whole.checked_sub(cut[0].checked_add(cut[1])?).filter(|size| *size > 0 && stride > 0)
    };
    match (axis(0, height, [top, bottom]), axis(1, width, [left, right])) {
        (Some(height), Some(width)) => {
            Ok(Fact::new([batch, Dim::Fixed(conv.out_channels), Dim::Fixed(height), Dim::Fixed(width)]))
        }
        _ => Err(mismatch(node, "fixed height and width that leave an output", input.to_string())),
    }
}
