//! Layers that move numbers and compute nothing.

use regraft_graph::{Dim, Op, Reshape, Slice, Transpose};

use super::{Problem, Site, canonical, contradiction, fixed, size, unsupported};

/// Parts of an axis, one for each blob that the layer writes: at given places, or of one size.
pub(super) fn slices(site: &mut Site<'_>) -> Result<Vec<String>, Problem> {
    let attributes = site.attributes("slice_param");
    let shape = site.shape(0)?;
    let axis = attributes.integer("axis")?.or(attributes.integer("slice_dim")?).unwrap_or(1);
    let axis = canonical(axis, shape.len())?;
    if axis == 0 {
        return unsupported("a batch that is taken apart; an operator sees one example");
    }
    let (whole, parts) = (size(&shape, axis)?, site.layer.tops.len());
    let mut ends = attributes.counts("slice_point")?;
    if ends.is_empty() && parts > 0 && whole.is_multiple_of(parts) {
        ends = (1..parts).map(|part| part * (whole / parts)).collect();
    }
    ends.push(whole);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let ascending = starts.clone().zip(&ends).all(|(start, end)| start < *end);
    if ends.len() != parts || !ascending {
        return contradiction(format!("{parts} parts of {whole} that end at {ends:?}"));
    }
    let input = site.input(0)?.to_owned();
    let tops = &site.layer.tops;
    let mut wires = Vec::new();
    for ((start, end), top) in starts.zip(&ends).zip(tops) {
        // Its parts cannot all have the layer's name.
        let name = if parts == 1 { &site.layer.name } else { top };
        let op = Op::Slice(Slice { axis, start, end: *end, step: 1 });
        wires.push(site.draft.add(name, op, &[&input], vec![])?);
    }
    Ok(wires)
}

/// The part of the first input, from an offset on, that has the second input's size.
pub(super) fn crop(site: &mut Site<'_>) -> Result<String, Problem> {
    let attributes = site.attributes("crop_param");
    let (shape, wanted) = (site.shape(0)?, site.shape(1)?);
    let first = canonical(attributes.integer("axis")?.unwrap_or(2), shape.len())?;
    let offsets = attributes.counts("offset")?;
    let cut = shape.len() - first;
    if shape.len() != wanted.len() || first == 0 || (offsets.len() > 1 && offsets.len() != cut) {
        return contradiction(format!("{} offsets for {cut} axes", offsets.len()));
    }
    let mut wire = site.input(0)?.to_owned();
    let axes: Vec<usize> =
        (first..shape.len()).filter(|axis| shape.get(*axis) != wanted.get(*axis)).collect();
    for axis in &axes {
        let place = if offsets.len() == 1 { 0 } else { axis - first };
        let start = offsets.get(place).copied().unwrap_or(0);
        let Some(end) = start.checked_add(size(&wanted, *axis)?) else { return contradiction("an offset") };
        let op = Op::Slice(Slice { axis: *axis, start, end, step: 1 });
        wire = match axes.last() {
            Some(last) if last == axis => site.add(op, &[&wire], vec![])?,
            _ => site.prepare("rows", op, &[&wire], vec![])?,
        };
    }
    Ok(wire)
}

/// Some axes in one.
pub(super) fn flatten(site: &mut Site<'_>) -> Result<String, Problem> {
    let attributes = site.attributes("flatten_param");
    let rank = site.shape(0)?.len();
    let axis = canonical(attributes.integer("axis")?.unwrap_or(1), rank)?;
    let end = canonical(attributes.integer("end_axis")?.unwrap_or(-1), rank)?;
    if axis == 0 || end < axis {
        return unsupported(format!("axes {axis} to {end} in one"));
    }
    if (axis, end) == (1, rank - 1) {
        return site.unary(Op::Flatten);
    }
    reshaped(site, axis, end + 1, &[-1])
}

pub(super) fn reshape(site: &mut Site<'_>) -> Result<String, Problem> {
    let attributes = site.attributes("reshape_param");
    let rank = site.shape(0)?.len();
    // The new axes may also come behind the last one.
    let axis = canonical(attributes.integer("axis")?.unwrap_or(0), rank + 1)?;
    let end = match attributes.integer("num_axes")?.unwrap_or(-1) {
        -1 => rank,
        number => {
            usize::try_from(number).ok().and_then(|number| axis.checked_add(number)).unwrap_or(usize::MAX)
        }
    };
    if end > rank {
        return contradiction(format!("axes {axis} to {end} of {rank}"));
    }
    let shape = attributes.part("shape").integers("dim")?;
    reshaped(site, axis, end, &shape)
}

/// The axes from `axis` to `end` replaced by new ones: 0 is the size of that place of the input, −1 what is left.
fn reshaped(site: &mut Site<'_>, axis: usize, end: usize, sizes: &[i64]) -> Result<String, Problem> {
    let shape = site.shape(0)?;
    let mut new: Vec<i64> = vec![0; axis];
    new.extend_from_slice(sizes);
    for dim in shape.iter().skip(end) {
        new.push(kept(&shape, new.len(), *dim)?);
    }
    if new.iter().any(|size| *size < -1) || new.len() > MOST_AXES {
        return contradiction(format!("the shape {sizes:?}"));
    }
    let Some((batch, shape)) = new.split_first() else { return unsupported("a shape without axes") };
    if (*batch > 0 && axis == 0) || *batch == -1 {
        return of_each_example(site, shape);
    }
    site.unary(Op::Reshape(Reshape { shape: shape.to_vec() }))
}

/// Caffe has no arrays of more axes.
const MOST_AXES: usize = 32;

/// A size behind the replaced ones: a symbolic one can only stay in its place.
fn kept(shape: &[Dim], place: usize, dim: Dim) -> Result<i64, Problem> {
    match fixed(dim).and_then(|size| i64::try_from(size).ok()) {
        Some(size) => Ok(size),
        None if shape.get(place) == Some(&dim) => Ok(0),
        None => unsupported("an axis without a known size that changes its place"),
    }
}

/// A shape that gives the batch a number, or lets it be found: right where the other axes hold one example.
fn of_each_example(site: &mut Site<'_>, sizes: &[i64]) -> Result<String, Problem> {
    let shape = site.shape(0)?;
    let known = |dims: &[Dim]| dims.iter().try_fold(1usize, |count, dim| count.checked_mul(fixed(*dim)?));
    let Some(example) = known(shape.get(1..).unwrap_or_default()) else {
        return unsupported("an input whose size is not known");
    };
    let sizes: Vec<i64> = sizes
        .iter()
        .enumerate()
        .map(|(place, size)| {
            let copied =
                shape.get(place + 1).copied().and_then(fixed).and_then(|size| i64::try_from(size).ok());
            if *size == 0 { copied.unwrap_or(0) } else { *size }
        })
        .collect();
    let product = sizes
        .iter()
        .filter(|size| **size != -1)
        .try_fold(1usize, |count, size| count.checked_mul(usize::try_from(*size).ok()?));
    let open = sizes.contains(&-1);
    if product
        .is_some_and(|product| product == example || (open && product > 0 && example.is_multiple_of(product)))
    {
        return site.unary(Op::Reshape(Reshape { shape: sizes }));
    }
    unsupported("a shape that mixes examples")
}

pub(super) fn permute(site: &mut Site<'_>) -> Result<String, Problem> {
    let rank = site.shape(0)?.len();
    let mut axes = site.attributes("permute_param").counts("order")?;
    for axis in 0..rank {
        if !axes.contains(&axis) {
            axes.push(axis);
        }
    }
    site.unary(Op::Transpose(Transpose { axes }))
}
