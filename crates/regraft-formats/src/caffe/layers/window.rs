//! Layers that move a window over an image.

use regraft_graph::{Conv, ConvTranspose, Dim, Op, Padding, Pool, Reduce, ReduceKind};

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
/// border, and leaves out a window that begins behind both: what a pool of a graph does, too.
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
    let kernel = pair(attributes, "kernel_size", ["kernel_h", "kernel_w"], None)?;
    let stride = pair(attributes, "stride", ["stride_h", "stride_w"], Some(1))?;
    let border = pair(attributes, "pad", ["pad_h", "pad_w"], Some(0))?;
    let up = attributes.text("round_mode") != Some("FLOOR") && attributes.flag("ceil_mode", true)?;
    let positive = kernel.iter().chain(&stride).all(|size| *size > 0);
    if !positive || border.iter().zip(kernel).any(|(border, kernel)| *border >= kernel) {
        return contradiction("the window must be larger than the border, and the stride at least 1");
    }
    let shape = site.shape(0)?;
    for (axis, size) in shape.iter().skip(2).take(2).enumerate() {
        let [kernel, stride, border] =
            [kernel, stride, border].map(|pair| pair.get(axis).copied().unwrap_or(0));
        if up && border == 0 && begins_outside(kernel, stride, *size) {
            return unsupported(format!("a window that lies outside of {size} rows or columns"));
        }
    }
    let [height, width] = border;
    let pool = Pool {
        kernel,
        stride,
        padding: Padding::Explicit([height, width, height, width]),
        ceil_mode: up && stride != [1, 1],
        count_include_pad: mean && border != [0, 0],
    };
    site.unary(if mean { Op::AveragePool(pool) } else { Op::MaxPool(pool) })
}

/// Without a border Caffe does not leave out a window that begins behind the image, and computes with what is not there.
fn begins_outside(kernel: usize, stride: usize, size: Dim) -> bool {
    let Some(size) = fixed(size) else { return false };
    let last = size.saturating_sub(kernel).div_ceil(stride.max(1));
    last.saturating_mul(stride) >= size
}

fn global(site: &mut Site<'_>, mean: bool) -> Result<String, Problem> {
    let largest = Reduce { kind: ReduceKind::Max, axes: vec![2, 3], keep_axes: true };
    site.unary(if mean { Op::GlobalAveragePool } else { Op::Reduce(largest) })
}
