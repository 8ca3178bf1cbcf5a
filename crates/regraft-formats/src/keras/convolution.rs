//! Convolutions, whose kernels are height × width × channels in × channels out.

use regraft_graph::{Conv, ConvTranspose, Op, Padding, Tensor};

use super::network::{Builder, Use};
use super::variables::Expected;
use crate::FormatError;
use crate::channels_last::{Value, permuted, reshaped, weighted};

const KERNEL: Expected<'_> = ("", "kernel");
const BIAS: Expected<'_> = ("", "bias");

/// What the settings of all convolutions say.
struct Window {
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
}

impl<'a> Builder<'a> {
    pub(super) fn conv2d(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let (kernel, bias) = self.kernel_and_bias(used, KERNEL)?;
        let kernel = self.oihw(used, &kernel)?;
        let groups = used.settings.count(&["groups"]).unwrap_or(1);
        let window = self.window(used)?;
        let input = self.one(used)?;
        let (wire, order) = self.images(used, &input)?;
        let wire = self.conv(&self.inner_name(used), &wire, kernel, bias, &window, groups)?;
        self.activated(used, &Value { wire, order })
    }

    pub(super) fn depthwise(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let (kernel, bias) = self.kernel_and_bias(used, ("", "depthwise_kernel"))?;
        let window = self.window(used)?;
        let input = self.one(used)?;
        let (wire, order) = self.images(used, &input)?;
        let wire = self.depthwise_conv(&self.inner_name(used), &wire, &kernel, bias, &window)?;
        self.activated(used, &Value { wire, order })
    }

    pub(super) fn separable(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let expected = [("", "depthwise_kernel"), ("", "pointwise_kernel"), BIAS];
        let biased = used.settings.flag(&["use_bias", "bias"], true);
        let weights =
            self.some_weights(used, expected.get(..if biased { 3 } else { 2 }).unwrap_or_default())?;
        let (depthwise, pointwise, bias) = match weights.as_slice() {
            [depthwise, pointwise] => (depthwise, pointwise, None),
            [depthwise, pointwise, bias] => (depthwise, pointwise, Some(bias.clone())),
            _ => return Err(self.canvas.malformed("some weights are missing")),
        };
        let pointwise = self.oihw(used, pointwise)?;
        let window = self.window(used)?;
        let input = self.one(used)?;
        let (wire, order) = self.images(used, &input)?;
        let name = format!("{}/depthwise", used.name);
        let wire = self.depthwise_conv(&name, &wire, depthwise, None, &window)?;
        let single = Window { stride: [1; 2], dilation: [1; 2], padding: Padding::all(0) };
        let wire = self.conv(&self.inner_name(used), &wire, pointwise, bias, &single, 1)?;
        self.activated(used, &Value { wire, order })
    }

    /// An image of one row stands for the sequence.
    pub(super) fn conv1d(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let (kernel, bias) = self.kernel_and_bias(used, KERNEL)?;
        let [size, group, outputs] = *kernel.shape() else {
            return Err(self.canvas.malformed(format!("its kernel has the shape {:?}", kernel.shape())));
        };
        let kernel = permuted(&kernel, &[2, 1, 0])
            .and_then(|kernel| reshaped(&kernel, vec![outputs, group, 1, size]))
            .ok_or_else(|| self.canvas.malformed("its kernel is empty"))?;
        let stride = used.settings.single(&["strides", "subsample_length"]).unwrap_or(1);
        let dilation = used.settings.single(&["dilation_rate"]).unwrap_or(1);
        let padding = match used.settings.text("padding") {
            Some("causal") => Padding::Explicit([0, dilation.saturating_mul(size.saturating_sub(1)), 0, 0]),
            _ => self.padding(used)?,
        };
        let window = Window { stride: [1, stride], dilation: [1, dilation], padding };
        let groups = used.settings.count(&["groups"]).unwrap_or(1);
        let input = self.one(used)?;
        let row = self.row(used, &input)?;
        let row = self.conv(&format!("{}/row_conv", used.name), &row, kernel, bias, &window, groups)?;
        let value = self.sequence(&self.inner_name(used), &row)?;
        self.activated(used, &value)
    }

    pub(super) fn transposed(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let (kernel, bias) = self.kernel_and_bias(used, KERNEL)?;
        let [height, width, out_channels, in_channels] = *kernel.shape() else {
            return Err(self.canvas.malformed(format!("its kernel has the shape {:?}", kernel.shape())));
        };
        let window = self.window(used)?;
        let explicit = used.settings.pair(&["output_padding"]);
        let axis = |kernel: usize, stride: usize, dilation: usize, extra: Option<usize>| {
            cut(kernel, stride, dilation, extra, window.padding == Padding::SameUpper)
        };
        let [down, right] = window.stride;
        let [dilation_down, dilation_right] = window.dilation;
        let rows = axis(height, down, dilation_down, explicit.map(|[rows, _]| rows));
        let columns = axis(width, right, dilation_right, explicit.map(|[_, columns]| columns));
        let (Some((top, bottom, below)), Some((left, last, beside))) = (rows, columns) else {
            return Err(self.canvas.malformed("its window has no size"));
        };
        let op = Op::ConvTranspose(ConvTranspose {
            in_channels,
            out_channels,
            kernel: [height, width],
            stride: window.stride,
            dilation: window.dilation,
            padding: [top, left, bottom, last],
            output_padding: [below, beside],
            groups: 1,
            bias: bias.is_some(),
        });
        let kernel =
            permuted(&kernel, &[3, 2, 0, 1]).ok_or_else(|| self.canvas.malformed("its kernel is empty"))?;
        let input = self.one(used)?;
        let (wire, order) = self.images(used, &input)?;
        let wire = self.canvas.add(&self.inner_name(used), op, &[&wire], weighted(kernel, bias))?;
        self.activated(used, &Value { wire, order })
    }

    fn kernel_and_bias(
        &self,
        used: &Use<'a, '_>,
        kernel: Expected<'_>,
    ) -> Result<(Tensor, Option<Tensor>), FormatError> {
        if used.settings.flag(&["use_bias", "bias"], true) {
            return self.weights(used, [kernel, BIAS]).map(|[kernel, bias]| (kernel, Some(bias)));
        }
        self.weights(used, [kernel]).map(|[kernel]| (kernel, None))
    }

    fn window(&self, used: &Use<'a, '_>) -> Result<Window, FormatError> {
        let stride = used.settings.pair(&["strides", "subsample"]).unwrap_or([1; 2]);
        let dilation = used.settings.pair(&["dilation_rate", "atrous_rate"]).unwrap_or([1; 2]);
        Ok(Window { stride, dilation, padding: self.padding(used)? })
    }

    /// Channels out first. Keras 1 with the channels first has kernels that way already; Theano's go backwards.
    fn oihw(&self, used: &Use<'a, '_>, kernel: &Tensor) -> Result<Tensor, FormatError> {
        let done = self.origin.generation == 1 && used.settings.channels_first();
        let kernel = if done { Some(kernel.clone()) } else { permuted(kernel, &[3, 2, 0, 1]) };
        let kernel = kernel.filter(|kernel| kernel.shape().len() == 4);
        let kernel = kernel.ok_or_else(|| self.canvas.malformed("its kernel has not four axes"))?;
        Ok(if self.origin.theano { turned(&kernel) } else { kernel })
    }

    fn conv(
        &mut self,
        name: &str,
        input: &str,
        kernel: Tensor,
        bias: Option<Tensor>,
        window: &Window,
        groups: usize,
    ) -> Result<String, FormatError> {
        let [out_channels, group, height, width] = *kernel.shape() else {
            return Err(self.canvas.malformed("its kernel has not four axes"));
        };
        let in_channels = group.checked_mul(groups).filter(|channels| *channels > 0);
        let op = Op::Conv(Conv {
            in_channels: in_channels.ok_or_else(|| self.canvas.malformed("it has no channels"))?,
            out_channels,
            kernel: [height, width],
            stride: window.stride,
            dilation: window.dilation,
            padding: window.padding,
            groups,
            bias: bias.is_some(),
        });
        self.canvas.add(name, op, &[input], weighted(kernel, bias))
    }

    /// A kernel height × width × channels × multiplier: output `c · multiplier + m` reads channel `c`.
    fn depthwise_conv(
        &mut self,
        name: &str,
        input: &str,
        kernel: &Tensor,
        bias: Option<Tensor>,
        window: &Window,
    ) -> Result<String, FormatError> {
        let [height, width, channels, multiplier] = *kernel.shape() else {
            return Err(self.canvas.malformed(format!("its kernel has the shape {:?}", kernel.shape())));
        };
        let outputs = channels.checked_mul(multiplier);
        let kernel = permuted(kernel, &[2, 3, 0, 1])
            .and_then(|kernel| reshaped(&kernel, vec![outputs?, 1, height, width]))
            .ok_or_else(|| self.canvas.malformed("its kernel is empty"))?;
        self.conv(name, input, kernel, bias, window, channels)
    }
}

/// Rows that are cut off before and behind the output of a transposed convolution, and rows that are added behind.
///
/// Keras says how long the output is: with `same` as many times the input as the stride, with `valid` at least that.
fn cut(
    kernel: usize,
    stride: usize,
    dilation: usize,
    extra: Option<usize>,
    same: bool,
) -> Option<(usize, usize, usize)> {
    let extent = i64::try_from(kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?).ok()?;
    let stride = i64::try_from(stride).ok()?;
    // The output's length minus that of (input − 1) · stride.
    let tail = match extra {
        None if same => stride,
        None => extent.max(stride),
        Some(extra) => {
            let border = if same { extent / 2 } else { 0 };
            extent.checked_sub(2 * border)?.checked_add(i64::try_from(extra).ok()?)?
        }
    };
    let total = extent.checked_sub(tail)?;
    let [cut, added] = [total.max(0), (-total).max(0)].map(|size| usize::try_from(size).unwrap_or(0));
    Some((cut / 2, cut - cut / 2, added))
}

/// The kernel with its rows and columns in the opposite order.
fn turned(kernel: &Tensor) -> Tensor {
    let values = kernel.to_f32();
    let area = kernel.shape().iter().skip(2).product::<usize>().max(1);
    let turned: Vec<f32> = values.chunks(area).flat_map(|plane| plane.iter().rev().copied()).collect();
    Tensor::from_f32(kernel.shape().to_vec(), &turned).unwrap_or_else(|_| kernel.clone())
}
