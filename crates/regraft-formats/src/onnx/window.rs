//! Windows: steps, borders and pools.

use regraft_graph::{ConvTranspose, Dim, Op, Padding, Pool};

use super::call::Call;
use super::layers::{pair, possible};
use super::reader::{Reader, label};
use super::value::Value;

/// Step, distance between elements and border of a window.
pub(super) struct Geometry {
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) padding: Padding,
}

/// The borders that the file states: top, left, bottom, right. A signal has none above and below.
pub(super) fn explicit(call: &Call<'_>, rank: usize) -> Result<[usize; 4], String> {
    let numbers = call.ints("pads").unwrap_or_default();
    let numbers = numbers.iter().map(|number| possible(*number)).collect::<Option<Vec<_>>>();
    match numbers.as_deref() {
        Some([]) => Ok([0; 4]),
        Some([top, left, bottom, right]) if rank == 4 => Ok([*top, *left, *bottom, *right]),
        Some([left, right]) if rank == 3 => Ok([0, *left, 0, *right]),
        _ => Err("its borders are not those of an image".to_owned()),
    }
}

impl Reader<'_> {
    pub(super) fn window(
        &mut self,
        call: &Call<'_>,
        image: &str,
        kernel: [usize; 2],
        rank: usize,
    ) -> Result<Geometry, String> {
        let stride = pair(call, "strides", 1, rank)?;
        let dilation = pair(call, "dilations", 1, rank)?;
        let padding = match call.text("auto_pad", "NOTSET").as_str() {
            "NOTSET" => Padding::Explicit(explicit(call, rank)?),
            "VALID" => Padding::all(0),
            "SAME_UPPER" => Padding::SameUpper,
            "SAME_LOWER" => self.same_lower(image, kernel, stride, dilation)?,
            other => return Err(format!("auto_pad '{other}'")),
        };
        Ok(Geometry { stride, dilation, padding })
    }

    /// As much border as keeps `ceil(size / stride)` positions, the odd row or column at the top and left.
    fn same_lower(
        &self,
        image: &str,
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> Result<Padding, String> {
        let dims = self.net.dims(image);
        let [_, height, width] = dims.as_slice() else { return Err("it reads no image".to_owned()) };
        let axis = |axis: usize, dim: &Dim| {
            let at = |values: [usize; 2]| values.get(axis).copied().unwrap_or(1);
            let (kernel, stride, dilation) = (at(kernel), at(stride), at(dilation));
            let size = match dim {
                Dim::Fixed(size) => *size,
                // With a step of 1 the border does not depend on the size.
                _ if stride == 1 => dilation.saturating_mul(kernel),
                _ => return Err(super::constant::unknown_size()),
            };
            let [before, after] = Padding::SameUpper.resolve(axis, size, kernel, stride, dilation);
            Ok([after, before])
        };
        let ([top, bottom], [left, right]) = (axis(0, height)?, axis(1, width)?);
        Ok(Padding::Explicit([top, left, bottom, right]))
    }

    pub(super) fn pool(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        let rank = wire.rank();
        if self.is_used(call.node, 1) {
            return Err("the places of the largest values are not kept".to_owned());
        }
        let average = call.node.op_type == "AveragePool";
        let kernel = pair(call, "kernel_shape", 1, rank)?;
        let image = self.image(call, &wire)?;
        let window = self.window(call, &image, kernel, rank)?;
        if window.dilation != [1, 1] {
            return Err("its window has gaps".to_owned());
        }
        let padded = window.padding != Padding::all(0);
        let include = average && padded && call.flag("count_include_pad");
        let Geometry { stride, padding, .. } = window;
        let ceil_mode = call.flag("ceil_mode") && padding != Padding::SameUpper;
        let pool = Pool { kernel, stride, padding, ceil_mode, count_include_pad: include };
        let op = if average { Op::AveragePool(pool) } else { Op::MaxPool(pool) };
        let name = self.net.add(&label(call.node), op, &[&image], Vec::new())?;
        self.image_value(call, rank, name)
    }

    /// The cut of a transposed convolution whose file states the output's size instead.
    pub(super) fn fit_output(
        &self,
        call: &Call<'_>,
        conv: &mut ConvTranspose,
        image: &str,
        rank: usize,
    ) -> Result<(), String> {
        let automatic = call.text("auto_pad", "NOTSET");
        let stated = call.ints("output_shape").filter(|shape| !shape.is_empty());
        if stated.is_none() && automatic == "NOTSET" {
            return Ok(());
        }
        if automatic == "VALID" && stated.is_none() {
            conv.padding = [0; 4];
            return Ok(());
        }
        let dims = self.net.dims(image);
        let [_, Dim::Fixed(height), Dim::Fixed(width)] = *dims.as_slice() else {
            return Err(super::constant::unknown_size());
        };
        let wanted = match stated {
            Some(shape) => {
                let sizes: Vec<usize> =
                    shape.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect();
                match (sizes.as_slice(), rank) {
                    ([.., height, width], 4) => [*height, *width],
                    ([.., length], 3) => [1, *length],
                    _ => return Err("its output is no image".to_owned()),
                }
            }
            None => {
                let [down, across] = conv.stride;
                [height.saturating_mul(down), width.saturating_mul(across)]
            }
        };
        let cut = |axis: usize, size: usize| {
            let at = |values: [usize; 2]| values.get(axis).copied();
            let extent = at(conv.dilation)?.checked_mul(at(conv.kernel)?.checked_sub(1)?)?.checked_add(1)?;
            let whole = size.checked_sub(1)?.checked_mul(at(conv.stride)?)?.checked_add(extent)?;
            let total = whole.checked_add(at(conv.output_padding)?)?.checked_sub(at(wanted)?)?;
            let half = total / 2;
            // ONNX puts the odd row before the image for SAME_UPPER, and behind it else.
            Some(if automatic == "SAME_UPPER" { [half, total - half] } else { [total - half, half] })
        };
        let (Some([top, bottom]), Some([left, right])) = (cut(0, height), cut(1, width)) else {
            return Err("its output is larger than its input makes".to_owned());
        };
        conv.padding = [top, left, bottom, right];
        Ok(())
    }
}
