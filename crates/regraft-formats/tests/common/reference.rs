//! Operators as their documentation says, slowly: what a network that was read computes, without the engine.

use std::collections::HashMap;

use ndarray::{Array2, ArrayD, Axis, IxDyn, Slice as Places, concatenate};
use regraft_graph::{
    Approximation, Coordinates, GateFunction, InterpolationMode, InterpolationSize, Model, Node, Op, PadMode,
    Padding, ParameterKind, ReduceKind,
};

type Array = ArrayD<f32>;

/// Every wire's values.
pub(crate) fn run(model: &Model, input: Array) -> HashMap<String, Array> {
    let mut wires = HashMap::from([(model.graph().input().to_owned(), input)]);
    for node in model.graph().nodes() {
        let inputs: Vec<&Array> = node.inputs.iter().map(|wire| &wires[wire]).collect();
        let output = compute(model, node, &inputs).as_standard_layout().into_owned();
        let fact = model.graph().fact(&node.name).unwrap();
        assert_eq!(output.ndim(), fact.shape.len(), "{}: {fact}", node.name);
        wires.insert(node.name.clone(), output);
    }
    wires
}

fn compute(model: &Model, node: &Node, inputs: &[&Array]) -> Array {
    let tensor = |kind| {
        let tensor = model.parameter(node, kind).unwrap();
        ArrayD::from_shape_vec(IxDyn(tensor.shape()), tensor.to_f32()).unwrap()
    };
    let x = inputs[0];
    let per_channel = |kind| {
        let vector: Array = tensor(kind);
        let mut shape = vec![1; x.ndim()];
        shape[channel_axis(x)] = vector.len();
        vector.into_shape_with_order(IxDyn(&shape)).unwrap()
    };
    let pair = |f: fn(f32, f32) -> f32| zip(inputs[0], inputs[1], f);
    match &node.op {
        Op::Relu => x.mapv(|x| x.max(0.0)),
        Op::Clip(clip) => x.mapv(|x| x.max(clip.min).min(clip.max)),
        Op::Sigmoid => x.mapv(sigmoid),
        Op::Silu => x.mapv(|x| x * sigmoid(x)),
        Op::HardSigmoid => x.mapv(|x| (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        Op::HardSwish => x.mapv(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        Op::Gelu(gelu) => match gelu.approximate {
            Approximation::None => x.mapv(|x| x * normal(f64::from(x)) as f32),
            Approximation::Tanh => x.mapv(|x| {
                let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                x * (1.0 + inner.tanh()) / 2.0
            }),
        },
        Op::Tanh => x.mapv(f32::tanh),
        Op::Elu(elu) => x.mapv(|x| if x > 0.0 { x } else { elu.alpha * x.exp_m1() }),
        Op::LeakyRelu(leaky) => x.mapv(|x| if x > 0.0 { x } else { leaky.alpha * x }),
        Op::PRelu(prelu) => {
            let slopes = if prelu.slopes == 1 {
                tensor(ParameterKind::Weight)
            } else {
                per_channel(ParameterKind::Weight)
            };
            zip(x, &slopes, |x, slope| if x > 0.0 { x } else { slope * x })
        }
        Op::Softplus => x.mapv(|x| x.exp().ln_1p()),
        Op::Exp => x.mapv(f32::exp),
        Op::Log => x.mapv(f32::ln),
        Op::Abs => x.mapv(f32::abs),
        Op::Power(power) => x.mapv(|x| {
            let line = power.scale * x + power.shift;
            if power.power == 1.0 { line } else { line.powf(power.power) }
        }),
        Op::Add => pair(|a, b| a + b),
        Op::Sub => pair(|a, b| a - b),
        Op::Mul => pair(|a, b| a * b),
        Op::Div => pair(|a, b| a / b),
        Op::Max => pair(f32::max),
        Op::Min => pair(f32::min),
        Op::Dropout { .. } => x.clone(),
        Op::Concat(concat) => {
            let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
            concatenate(Axis(concat.axis), &views).unwrap()
        }
        Op::Scale(scale) => {
            let scaled = x * &per_channel(ParameterKind::Weight);
            if scale.bias { scaled + &per_channel(ParameterKind::Bias) } else { scaled }
        }
        Op::BatchNormalization(norm) => {
            let deviation = per_channel(ParameterKind::RunningVariance)
                .mapv(|variance| (variance + norm.epsilon as f32).sqrt());
            (x - &per_channel(ParameterKind::RunningMean)) / &deviation * &per_channel(ParameterKind::Weight)
                + &per_channel(ParameterKind::Bias)
        }
        Op::LayerNormalization(norm) => {
            let axis = Axis(channel_axis(x));
            let mean = x.mean_axis(axis).unwrap().insert_axis(axis);
            let centred = x - &mean;
            let variance = centred.mapv(|x| x * x).mean_axis(axis).unwrap().insert_axis(axis);
            centred / &variance.mapv(|variance| (variance + norm.epsilon as f32).sqrt())
                * &per_channel(ParameterKind::Weight)
                + &per_channel(ParameterKind::Bias)
        }
        Op::Gemm(gemm) => {
            let last = x.view().permuted_axes(IxDyn(&channels_last(x)));
            let shape = last.shape().to_vec();
            let rows: Vec<f32> = last.iter().copied().collect();
            let rows =
                Array2::from_shape_vec((rows.len() / gemm.in_features, gemm.in_features), rows).unwrap();
            let weight = tensor(ParameterKind::Weight).into_dimensionality::<ndarray::Ix2>().unwrap();
            let product = rows.dot(&weight.t());
            let shape = [&shape[..shape.len() - 1], &[gemm.out_features]].concat();
            let product = ArrayD::from_shape_vec(IxDyn(&shape), product.iter().copied().collect()).unwrap();
            let mut back: Vec<usize> = (0..x.ndim()).collect();
            let axis = channel_axis(x);
            back.insert(axis, x.ndim() - 1);
            back.pop();
            let product = product.permuted_axes(IxDyn(&back));
            if gemm.bias {
                product + &per_channel_of(tensor(ParameterKind::Bias), x.ndim(), axis)
            } else {
                product
            }
        }
        Op::Conv(conv) => {
            let mut window = Window::of(conv.kernel, conv.stride, conv.dilation, conv.padding);
            window.groups = conv.groups;
            let bias = conv.bias.then(|| tensor(ParameterKind::Bias));
            convolve(x, &tensor(ParameterKind::Weight), bias, &window)
        }
        Op::ConvTranspose(conv) => {
            let bias = conv.bias.then(|| tensor(ParameterKind::Bias));
            spread(x, &tensor(ParameterKind::Weight), bias, conv)
        }
        Op::MaxPool(pool) | Op::AveragePool(pool) => {
            assert!(!pool.ceil_mode && !pool.count_include_pad);
            let window = Window::of(pool.kernel, pool.stride, [1, 1], pool.padding);
            pool_windows(x, &window, matches!(node.op, Op::MaxPool(_)))
        }
        Op::GlobalAveragePool => x
            .mean_axis(Axis(3))
            .unwrap()
            .mean_axis(Axis(2))
            .unwrap()
            .insert_axis(Axis(2))
            .insert_axis(Axis(3)),
        Op::Reduce(reduce) => {
            let mut out = x.clone();
            for axis in reduce.axes.iter().rev().map(|axis| Axis(*axis)) {
                out = match reduce.kind {
                    ReduceKind::Sum => out.sum_axis(axis),
                    ReduceKind::Mean => out.mean_axis(axis).unwrap(),
                    ReduceKind::Max => out.fold_axis(axis, f32::MIN, |a, b| a.max(*b)),
                    ReduceKind::Min => out.fold_axis(axis, f32::MAX, |a, b| a.min(*b)),
                    ReduceKind::L2 => out.mapv(|x| x * x).sum_axis(axis),
                };
                if reduce.keep_axes {
                    out = out.insert_axis(axis);
                }
            }
            if reduce.kind == ReduceKind::L2 { out.mapv(f32::sqrt) } else { out }
        }
        Op::Flatten => {
            let rest = x.len() / x.shape()[0];
            x.clone().into_shape_with_order(IxDyn(&[x.shape()[0], rest])).unwrap()
        }
        Op::Reshape(reshape) => {
            let mut shape = vec![x.shape()[0]];
            for (place, size) in reshape.shape.iter().enumerate() {
                shape.push(match size {
                    0 => x.shape()[place + 1],
                    -1 => {
                        let known: i64 = reshape.shape.iter().filter(|size| **size > 0).product();
                        x.len() / x.shape()[0] / usize::try_from(known).unwrap()
                    }
                    size => usize::try_from(*size).unwrap(),
                });
            }
            x.clone().into_shape_with_order(IxDyn(&shape)).unwrap()
        }
        Op::Transpose(transpose) => x.clone().permuted_axes(IxDyn(&transpose.axes)),
        Op::Slice(slice) => {
            let places = Places::new(slice.start as isize, Some(slice.end as isize), slice.step as isize);
            x.slice_axis(Axis(slice.axis), places).to_owned()
        }
        Op::Pad(pad) => {
            let shape: Vec<usize> =
                x.shape().iter().zip(&pad.borders).map(|(size, [a, b])| size + a + b).collect();
            ArrayD::from_shape_fn(IxDyn(&shape), |place| {
                let inner: Vec<i64> =
                    (0..x.ndim()).map(|axis| place[axis] as i64 - pad.borders[axis][0] as i64).collect();
                let inside =
                    inner.iter().zip(x.shape()).all(|(place, size)| (0..*size as i64).contains(place));
                match pad.mode {
                    PadMode::Constant(value) if !inside => value,
                    PadMode::Edge | PadMode::Reflect if !inside => panic!("no border of this kind"),
                    _ => x[&*inner.iter().map(|place| *place as usize).collect::<Vec<_>>()],
                }
            })
        }
        Op::Resize(resize) => {
            let [height, width] = [x.shape()[2], x.shape()[3]];
            let [rows, columns] = match resize.size {
                InterpolationSize::Fixed(size) => size,
                InterpolationSize::Times([down, right]) => [height * down, width * right],
                InterpolationSize::LikeSecond => [inputs[1].shape()[2], inputs[1].shape()[3]],
            };
            resample(x, [rows, columns], resize.mode, resize.coordinates)
        }
        Op::Softmax => {
            let axis = Axis(x.ndim() - 1);
            let most = x.fold_axis(axis, f32::MIN, |a, b| a.max(*b)).insert_axis(axis);
            let powers = (x - &most).mapv(f32::exp);
            let sum = powers.sum_axis(axis).insert_axis(axis);
            powers / &sum
        }
        Op::Embedding(embedding) => {
            let table: Array = tensor(ParameterKind::Weight);
            let shape = [x.shape(), &[embedding.features]].concat();
            ArrayD::from_shape_fn(IxDyn(&shape), |place| table[[x[[place[0], place[1]]] as usize, place[2]]])
        }
        Op::SelectToken { index } => x.index_axis(Axis(1), *index).to_owned(),
        Op::Lstm(layer) | Op::Gru(layer) => {
            let weights = [
                ParameterKind::InputWeight,
                ParameterKind::StateWeight,
                ParameterKind::InputBias,
                ParameterKind::StateBias,
            ]
            .map(tensor);
            let gate: fn(f32) -> f32 = match layer.gates {
                GateFunction::Sigmoid => sigmoid,
                GateFunction::HardSigmoid => |x| (x / 5.0 + 0.5).clamp(0.0, 1.0),
            };
            recurrent(x, &weights, layer, gate, matches!(node.op, Op::Gru(_)))
        }
        op => panic!("{op:?}"),
    }
}

fn channel_axis(x: &Array) -> usize {
    if x.ndim() == 3 { 2 } else { 1 }
}

fn channels_last(x: &Array) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..x.ndim()).collect();
    let axis = axes.remove(channel_axis(x));
    axes.push(axis);
    axes
}

fn per_channel_of(vector: Array, rank: usize, axis: usize) -> Array {
    let mut shape = vec![1; rank];
    shape[axis] = vector.len();
    vector.into_shape_with_order(IxDyn(&shape)).unwrap()
}

fn zip(left: &Array, right: &Array, f: fn(f32, f32) -> f32) -> Array {
    let shape: Vec<usize> = left.shape().iter().zip(right.shape()).map(|(a, b)| *a.max(b)).collect();
    let left = left.broadcast(IxDyn(&shape)).unwrap();
    let right = if right.len() == 1 {
        right.view().into_shape_with_order(IxDyn(&vec![1; shape.len()])).unwrap()
    } else {
        right.view()
    };
    let right = right.broadcast(IxDyn(&shape)).unwrap();
    ndarray::Zip::from(&left).and(&right).map_collect(|a, b| f(*a, *b))
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The standard normal distribution function: the integral of its density from 0, by Simpson's rule.
fn normal(x: f64) -> f64 {
    let steps = 400;
    let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let width = x / f64::from(steps);
    let inner: f64 =
        (1..steps).map(|i| density(width * f64::from(i)) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    0.5 + (density(0.0) + inner + density(x)) * width / 3.0
}

struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
    groups: usize,
}

impl Window {
    fn of(kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2], padding: Padding) -> Self {
        Self { kernel, stride, dilation, padding, groups: 1 }
    }

    /// Positions along an axis, and the border before it.
    fn axis(&self, axis: usize, size: usize) -> (usize, i64) {
        let [before, after] =
            self.padding.resolve(axis, size, self.kernel[axis], self.stride[axis], self.dilation[axis]);
        let extent = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
        ((size + before + after - extent) / self.stride[axis] + 1, before as i64)
    }

    /// The input's place for an output's place and an element of the kernel, if it is no border.
    fn place(&self, axis: usize, size: usize, before: i64, output: usize, element: usize) -> Option<usize> {
        let place = (output * self.stride[axis] + element * self.dilation[axis]) as i64 - before;
        usize::try_from(place).ok().filter(|place| *place < size)
    }
}

fn convolve(x: &Array, weight: &Array, bias: Option<Array>, window: &Window) -> Array {
    let [batch, channels, height, width] = *x.shape() else { panic!() };
    let (rows, top) = window.axis(0, height);
    let (columns, left) = window.axis(1, width);
    let outputs = weight.shape()[0];
    let (group_in, group_out) = (channels / window.groups, outputs / window.groups);
    let x = x.as_slice().unwrap();
    let mut out = vec![0.0f32; batch * outputs * rows * columns];
    for n in 0..batch {
        for o in 0..outputs {
            let plane = &mut out[(n * outputs + o) * rows * columns..][..rows * columns];
            plane.fill(bias.as_ref().map_or(0.0, |bias| bias[o]));
            for i in 0..group_in {
                let channel = o / group_out * group_in + i;
                let input = &x[(n * channels + channel) * height * width..][..height * width];
                for ky in 0..window.kernel[0] {
                    for kx in 0..window.kernel[1] {
                        let factor = weight[[o, i, ky, kx]];
                        for row in 0..rows {
                            let Some(y) = window.place(0, height, top, row, ky) else { continue };
                            let line = &input[y * width..][..width];
                            let target = &mut plane[row * columns..][..columns];
                            let start = (kx * window.dilation[1]) as i64 - left;
                            for (column, sum) in target.iter_mut().enumerate() {
                                let place = (column * window.stride[1]) as i64 + start;
                                if place >= 0 && (place as usize) < width {
                                    *sum += factor * line[place as usize];
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    ArrayD::from_shape_vec(IxDyn(&[batch, outputs, rows, columns]), out).unwrap()
}

fn spread(x: &Array, weight: &Array, bias: Option<Array>, conv: &regraft_graph::ConvTranspose) -> Array {
    assert_eq!(conv.groups, 1);
    let [batch, channels, height, width] = *x.shape() else { panic!() };
    let full = |axis: usize, size: usize| {
        (size - 1) * conv.stride[axis]
            + (conv.kernel[axis] - 1) * conv.dilation[axis]
            + 1
            + conv.output_padding[axis]
    };
    let shape = [batch, conv.out_channels, full(0, height), full(1, width)];
    let mut out = ArrayD::zeros(IxDyn(&shape));
    for ((n, i, y, x_), value) in x.view().into_dimensionality::<ndarray::Ix4>().unwrap().indexed_iter() {
        assert!(i < channels);
        for o in 0..conv.out_channels {
            for ky in 0..conv.kernel[0] {
                for kx in 0..conv.kernel[1] {
                    let row = y * conv.stride[0] + ky * conv.dilation[0];
                    let column = x_ * conv.stride[1] + kx * conv.dilation[1];
                    out[[n, o, row, column]] += value * weight[[i, o, ky, kx]];
                }
            }
        }
    }
    let [top, left, bottom, right] = conv.padding;
    let cut = out
        .slice_axis(Axis(2), Places::new(top as isize, Some((shape[2] - bottom) as isize), 1))
        .slice_axis(Axis(3), Places::new(left as isize, Some((shape[3] - right) as isize), 1))
        .to_owned();
    match bias {
        Some(bias) => cut + &per_channel_of(bias, 4, 1),
        None => cut,
    }
}

fn pool_windows(x: &Array, window: &Window, max: bool) -> Array {
    let [batch, channels, height, width] = *x.shape() else { panic!() };
    let (rows, top) = window.axis(0, height);
    let (columns, left) = window.axis(1, width);
    ArrayD::from_shape_fn(IxDyn(&[batch, channels, rows, columns]), |place| {
        let mut values = Vec::new();
        for ky in 0..window.kernel[0] {
            for kx in 0..window.kernel[1] {
                let y = window.place(0, height, top, place[2], ky);
                let column = window.place(1, width, left, place[3], kx);
                if let (Some(y), Some(column)) = (y, column) {
                    values.push(x[[place[0], place[1], y, column]]);
                }
            }
        }
        let count = values.len() as f32;
        if max { values.into_iter().fold(f32::MIN, f32::max) } else { values.iter().sum::<f32>() / count }
    })
}

fn resample(
    x: &Array,
    [rows, columns]: [usize; 2],
    mode: InterpolationMode,
    coordinates: Coordinates,
) -> Array {
    let [batch, channels, height, width] = *x.shape() else { panic!() };
    let place = |output: usize, from: usize, to: usize| {
        let scale = to as f64 / from as f64;
        let place = match coordinates {
            Coordinates::HalfPixel => (output as f64 + 0.5) / scale - 0.5,
            Coordinates::Asymmetric => output as f64 / scale,
            Coordinates::AlignCorners => output as f64 * (from as f64 - 1.0) / (to as f64 - 1.0).max(1.0),
        };
        place.clamp(0.0, from as f64 - 1.0)
    };
    ArrayD::from_shape_fn(IxDyn(&[batch, channels, rows, columns]), |at| {
        let (y, column) = (place(at[2], height, rows), place(at[3], width, columns));
        let pixel = |y: f64, column: f64| {
            let (y, column) = ((y as usize).min(height - 1), (column as usize).min(width - 1));
            f64::from(x[[at[0], at[1], y, column]])
        };
        if mode == InterpolationMode::Nearest {
            return pixel(y.floor(), column.floor()) as f32;
        }
        let (down, right) = (y.fract(), column.fract());
        let above = pixel(y, column) * (1.0 - right) + pixel(y, column + 1.0) * right;
        let below = pixel(y + 1.0, column) * (1.0 - right) + pixel(y + 1.0, column + 1.0) * right;
        (above * (1.0 - down) + below * down) as f32
    })
}

fn recurrent(
    x: &Array,
    [input_weight, state_weight, input_bias, state_bias]: &[Array; 4],
    layer: &regraft_graph::Recurrent,
    gate: fn(f32) -> f32,
    gru: bool,
) -> Array {
    let [batch, tokens, features] = *x.shape() else { panic!() };
    let hidden = layer.hidden;
    let mut out = ArrayD::zeros(IxDyn(&[batch, tokens, hidden]));
    for n in 0..batch {
        let (mut state, mut cell) = (vec![0.0f32; hidden], vec![0.0f32; hidden]);
        for step in 0..tokens {
            let token = if layer.reverse { tokens - 1 - step } else { step };
            let from_input = |row: usize| {
                (0..features).map(|i| input_weight[[row, i]] * x[[n, token, i]]).sum::<f32>()
                    + input_bias[[row]]
            };
            let of = |row: usize, state: &[f32]| {
                (0..hidden).map(|i| state_weight[[row, i]] * state[i]).sum::<f32>() + state_bias[[row]]
            };
            let before = state.clone();
            let sum = |row: usize| from_input(row) + of(row, &before);
            if gru {
                let reset: Vec<f32> = (0..hidden).map(|h| gate(sum(h))).collect();
                let kept: Vec<f32> = before.iter().zip(&reset).map(|(state, reset)| state * reset).collect();
                for h in 0..hidden {
                    let update = gate(sum(hidden + h));
                    let row = 2 * hidden + h;
                    let recalled =
                        if layer.reset_after { reset[h] * of(row, &before) } else { of(row, &kept) };
                    let new = (from_input(row) + recalled).tanh();
                    state[h] = (1.0 - update) * new + update * before[h];
                }
            } else {
                for h in 0..hidden {
                    let [input, forget, output] = [0, 1, 3].map(|block| gate(sum(block * hidden + h)));
                    cell[h] = forget * cell[h] + input * sum(2 * hidden + h).tanh();
                    state[h] = output * cell[h].tanh();
                }
            }
            for h in 0..hidden {
                out[[n, token, h]] = state[h];
            }
        }
    }
    out
}
