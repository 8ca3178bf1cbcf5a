//! Layers that move a window over an image.

use regraft_graph::{Conv, ConvTranspose, Dim, Op, Pad, PadMode, Padding, Pool, Reduce, ReduceKind};

use super::{Problem, Site, contradiction, fixed, unsupported};
use crate::caffe::tree::Message;

/// Two numbers, for height and width: both under names of their own, or one or two in a list.
fn pair(
    attributes: &Message,
    list: &str,
    [height, width]: [&str; 2],
    default: Option<usize>,
) -> Result<[usize; 2], Problem> {
    let missing = || Problem::Description(format!("'{list}' is missing"));
    let given = attributes.counts(list)?;
    match (attributes.count(height)?, attributes.count(width)?) {
        (None, None) => match given.as_slice() {
            [] => Ok([default.ok_or_else(missing)?; 2]),
            [both] => Ok([*both; 2]),
            [height, width] => Ok([*height, *width]),
            more => unsupported(format!("'{list}' of {} axes", more.len())),
        },
        (height, width) => {
            let side = |size: Option<usize>| size.or(default).ok_or_else(missing);
            Ok([side(height)?, side(width)?])
        }
    }
}

/// What convolutions of both directions are told.
struct Attributes {
    inputs: usize,
    outputs: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
    groups: usize,
    bias: bool,
}

impl Attributes {
    fn of(site: &Site<'_>) -> Result<Self, Problem> {
        let attributes = site.attributes("convolution_param");
        if !matches!(attributes.integer("axis")?, None | Some(1 | -3)) {
            return unsupported("channels that are not the axis 1");
        }
        let (_, inputs) = site.channels()?;
        let depthwise = site.layer.kind != "Convolution" && site.layer.kind != "Deconvolution";
        let groups = attributes.count("group")?.unwrap_or(if depthwise { inputs } else { 1 });
        let Some(outputs) = attributes.count("num_output")? else {
            return contradiction("'num_output' is missing");
        };
        let [height, width] = pair(attributes, "pad", ["pad_h", "pad_w"], Some(0))?;
        let divide = |channels: usize| groups > 0 && channels > 0 && channels.is_multiple_of(groups);
        if !divide(inputs) || !divide(outputs) {
            return contradiction(format!("{groups} groups of {inputs} input and {outputs} output channels"));
        }
        Ok(Self {
            inputs,
            outputs,
            kernel: pair(attributes, "kernel_size", ["kernel_h", "kernel_w"], None)?,
            stride: pair(attributes, "stride", ["stride_h", "stride_w"], Some(1))?,
            padding: [height, width, height, width],
            dilation: pair(attributes, "dilation", ["dilation_h", "dilation_w"], Some(1))?,
            groups,
            bias: attributes.flag("bias_term", true)?,
        })
    }
}

pub(super) fn convolution(site: &mut Site<'_>) -> Result<String, Problem> {
    let Attributes { inputs, outputs, kernel, stride, padding, dilation, groups, bias } =
        Attributes::of(site)?;
    let [height, width] = kernel;
    let tensors = site.weight_and_bias(vec![outputs, inputs / groups, height, width], outputs, bias)?;
    let op = Op::Conv(Conv {
        in_channels: inputs,
        out_channels: outputs,
        kernel,
        stride,
        dilation,
        padding: Padding::Explicit(padding),
        groups,
        bias,
    });
    let input = site.input(0)?.to_owned();
    site.add(op, &[&input], tensors)
}

pub(super) fn deconvolution(site: &mut Site<'_>) -> Result<String, Problem> {
    let Attributes { inputs, outputs, kernel, stride, padding, dilation, groups, bias } =
        Attributes::of(site)?;
    let [height, width] = kernel;
    let tensors = site.weight_and_bias(vec![inputs, outputs / groups, height, width], outputs, bias)?;
    let op = Op::ConvTranspose(ConvTranspose {
        in_channels: inputs,
        out_channels: outputs,
        kernel,
        stride,
        dilation,
        padding,
        output_padding: [0, 0],
        groups,
        bias,
    });
    let input = site.input(0)?.to_owned();
    site.add(op, &[&input], tensors)
}

/// Caffe rounds the number of windows up, lets a mean divide by the part of the window that lies in the image or its
/// border, and leaves out a window that begins behind both.
pub(super) fn pooling(site: &mut Site<'_>) -> Result<String, Problem> {
    let attributes = site.attributes("pooling_param");
    let mean = match attributes.text("pool") {
        None | Some("MAX") => false,
        Some("AVE") => true,
        Some(other) => return unsupported(format!("{other} pooling")),
    };
    if attributes.flag("global_pooling", false)? {
        return global(site, mean);
    }
    let windows = Windows {
        kernel: pair(attributes, "kernel_size", ["kernel_h", "kernel_w"], None)?,
        stride: pair(attributes, "stride", ["stride_h", "stride_w"], Some(1))?,
        border: pair(attributes, "pad", ["pad_h", "pad_w"], Some(0))?,
        up: attributes.text("round_mode") != Some("FLOOR") && attributes.flag("ceil_mode", true)?,
    };
    let positive = windows.kernel.iter().chain(&windows.stride).all(|size| *size > 0);
    if !positive || windows.axes().any(|[kernel, _, border]| border >= kernel) {
        return contradiction("the window must be larger than the border, and the stride at least 1");
    }
    let shape = site.shape(0)?;
    let Some(size) = shape.get(2..).and_then(|size| <[Dim; 2]>::try_from(size).ok()) else {
        return unsupported("pooling of what is not an image");
    };
    let plan = windows.plan(mean, size)?;
    let mut input = site.input(0)?.to_owned();
    if let Some([[top, bottom], [left, right]]) = plan.zeros {
        let borders = vec![[0, 0], [0, 0], [top, bottom], [left, right]];
        input =
            site.prepare("pad", Op::Pad(Pad { borders, mode: PadMode::Constant(0.0) }), &[&input], vec![])?;
    }
    let op = if mean { Op::AveragePool(plan.pool) } else { Op::MaxPool(plan.pool) };
    site.add(op, &[&input], vec![])
}

fn global(site: &mut Site<'_>, mean: bool) -> Result<String, Problem> {
    let largest = Reduce { kind: ReduceKind::Max, axes: vec![2, 3], keep_axes: true };
    site.unary(if mean { Op::GlobalAveragePool } else { Op::Reduce(largest) })
}

/// The windows of a pooling layer. Two numbers are those of height and width.
struct Windows {
    kernel: [usize; 2],
    stride: [usize; 2],
    border: [usize; 2],
    /// Whether their number is rounded up.
    up: bool,
}

/// How they are computed: an operator, and zeros before it that count in means.
struct Plan {
    pool: Pool,
    zeros: Option<[[usize; 2]; 2]>,
}

impl Windows {
    /// Window, stride and border of each axis.
    fn axes(&self) -> impl Iterator<Item = [usize; 3]> {
        let sizes = self.kernel.into_iter().zip(self.stride).zip(self.border);
        sizes.map(|((kernel, stride), border)| [kernel, stride, border])
    }

    fn plan(&self, mean: bool, size: [Dim; 2]) -> Result<Plan, Problem> {
        let [height, width] = self.border;
        let bordered = self.border != [0, 0];
        let padding = Padding::Explicit([height, width, height, width]);
        let pool = |padding, ceil_mode, count_include_pad| Plan {
            pool: Pool { kernel: self.kernel, stride: self.stride, padding, ceil_mode, count_include_pad },
            zeros: None,
        };
        if !self.up || self.stride == [1, 1] {
            return Ok(pool(padding, false, mean && bordered));
        }
        // No window begins behind the image, whatever its size.
        if self.axes().all(|[kernel, stride, border]| stride.saturating_add(border) <= kernel) {
            return Ok(if mean && bordered {
                let zeros = Some([[height; 2], [width; 2]]);
                Plan { zeros, ..pool(Padding::all(0), true, false) }
            } else {
                pool(padding, true, false)
            });
        }
        let [Some(rows), Some(columns)] = size.map(fixed) else {
            return unsupported("windows that may begin behind an image whose size is not known");
        };
        let mut behind = self.axes().zip([rows, columns]).map(|(axis, size)| behind(axis, size));
        let (Some(bottom), Some(right)) = (behind.next().flatten(), behind.next().flatten()) else {
            return unsupported(format!("a window that lies outside of {rows}×{columns} pixels"));
        };
        let further = [bottom.saturating_sub(height), right.saturating_sub(width)];
        if !mean || !bordered || further == [0, 0] {
            let padding = Padding::Explicit([height, width, bottom, right]);
            return Ok(pool(padding, false, mean && bordered));
        }
        let zeros = Some([[height, bottom.min(height)], [width, right.min(width)]]);
        let [bottom, right] = further;
        Ok(Plan { zeros, ..pool(Padding::Explicit([0, 0, bottom, right]), false, false) })
    }
}

/// How far the last window reaches behind an axis of `size`. `None` where a window lies outside of it.
fn behind([kernel, stride, border]: [usize; 3], size: usize) -> Option<usize> {
    let room = size.checked_add(border.checked_mul(2)?)?.checked_sub(kernel)?;
    let mut last = room.div_ceil(stride);
    // Caffe looks for windows that begin behind the image only where there is a border.
    if border > 0 && last.checked_mul(stride)? >= size.checked_add(border)? {
        last = last.checked_sub(1)?;
    }
    let start = last.checked_mul(stride)?;
    let end = start.checked_add(kernel)?;
    let inside = start < size.checked_add(border)?;
    // With a stride beyond the window the image may end before the next one begins.
    let after = end.saturating_sub(size.checked_add(border)?);
    let positions = size.checked_add(border)?.checked_add(after)?.checked_sub(kernel)? / stride;
    (inside && positions == last).then_some(after)
}
