//! What a graph computes, number by number and in double precision: slow, and plain enough to be read against the
//! operators' documentation. It tells what a reader made of a file without the engine's kernels in between.

use std::collections::HashMap;

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Slice as Part, Zip, concatenate};
use regraft_graph::{
    Conv, ConvTranspose, LrnRegion, Model, Node, Op, PadMode, ParameterKind, Pool, ReduceKind,
};

type Array = ArrayD<f64>;

/// The values of all wires for an input.
pub(crate) fn evaluate(model: &Model, input: &ArrayD<f32>) -> HashMap<String, Array> {
    let graph = model.graph();
    let mut wires = HashMap::from([(graph.input().to_owned(), input.mapv(f64::from))]);
    for node in graph.nodes() {
        let inputs: Vec<&Array> = node.inputs.iter().map(|wire| &wires[wire]).collect();
        let output = Step { model, node }.compute(&inputs);
        wires.insert(node.name.clone(), output);
    }
    wires
}

struct Step<'a> {
    model: &'a Model,
    node: &'a Node,
}

impl Step<'_> {
    fn parameter(&self, kind: ParameterKind) -> Array {
        let tensor = self.model.parameter(self.node, kind).unwrap();
        let values = tensor.to_f32().into_iter().map(f64::from).collect();
        ArrayD::from_shape_vec(tensor.shape(), values).unwrap()
    }

    /// A number for each channel, in the shape that repeats over an input of `rank` axes.
    fn channels(&self, kind: ParameterKind, rank: usize) -> Array {
        let values = self.parameter(kind);
        let mut shape = vec![1; rank];
        shape[if rank == 3 { 2 } else { 1 }] = values.len();
        values.into_shape_with_order(shape).unwrap()
    }

    fn compute(&self, inputs: &[&Array]) -> Array {
        use ParameterKind::{Bias, RunningMean, RunningVariance, Value, Weight};
        let first = inputs.first().copied();
        let x = || first.unwrap();
        let rank = first.map_or(0, |x| x.ndim());
        match &self.node.op {
            Op::Constant(_) => self.parameter(Value).insert_axis(Axis(0)),
            Op::Conv(conv) => self.convolution(conv, x()),
            Op::ConvTranspose(conv) => self.transposed_convolution(conv, x()),
            Op::BatchNormalization(norm) => {
                let deviation = (self.channels(RunningVariance, rank) + norm.epsilon).sqrt();
                (x() - &self.channels(RunningMean, rank)) / deviation * self.channels(Weight, rank)
                    + self.channels(Bias, rank)
            }
            Op::Scale(scale) => {
                let product = x() * &self.channels(Weight, rank);
                if scale.bias { product + self.channels(Bias, rank) } else { product }
            }
            Op::Gemm(gemm) => {
                let rows = x().len() / gemm.in_features;
                let flat = x().to_shape((rows, gemm.in_features)).unwrap();
                let weight = self.parameter(Weight).into_dimensionality::<ndarray::Ix2>().unwrap();
                let mut shape = x().shape().to_vec();
                *shape.last_mut().unwrap() = gemm.out_features;
                let product = flat.dot(&weight.t()).into_shape_with_order(shape).unwrap();
                if gemm.bias { product + self.channels(Bias, rank) } else { product }
            }
            Op::PRelu(_) => {
                let slopes = self.channels(Weight, rank);
                let slopes = slopes.broadcast(x().shape()).unwrap();
                Zip::from(x()).and(&slopes).map_collect(|x, slope| if *x > 0.0 { *x } else { slope * x })
            }
            Op::Lrn(lrn) => {
                let squares = x().mapv(|x| x * x);
                let across = lrn.region == LrnRegion::AcrossChannels;
                let reach = (lrn.size / 2) as isize;
                let axes: &[usize] = if across { &[1] } else { &[2, 3] };
                let sums = axes.iter().fold(squares, |sums, axis| neighbours(&sums, *axis, reach));
                let count = if across { lrn.size } else { lrn.size * lrn.size } as f64;
                let scale = sums.mapv(|sum| f64::from(lrn.bias) + f64::from(lrn.alpha) / count * sum);
                x() / scale.mapv(|scale| scale.powf(f64::from(lrn.beta)))
            }
            Op::MaxPool(pool) => windows(pool, x(), self.shape(x().shape()[0]), |values, _| {
                values.iter().copied().fold(f64::MIN, f64::max)
            }),
            Op::AveragePool(pool) => windows(pool, x(), self.shape(x().shape()[0]), |values, area| {
                let count = if pool.count_include_pad { area } else { values.len() };
                values.iter().sum::<f64>() / count as f64
            }),
            Op::GlobalAveragePool => {
                let rows = x().mean_axis(Axis(3)).unwrap().mean_axis(Axis(2)).unwrap();
                rows.insert_axis(Axis(2)).insert_axis(Axis(3))
            }
            Op::Add => x() + inputs[1],
            Op::Mul => x() * inputs[1],
            Op::Max => Zip::from(x()).and(inputs[1]).map_collect(|x, y| x.max(*y)),
            Op::Concat(concat) => {
                let views: Vec<ArrayViewD<'_, f64>> = inputs.iter().map(|input| input.view()).collect();
                concatenate(Axis(concat.axis), &views).unwrap()
            }
            Op::Reduce(reduce) => {
                let mut result = x().clone();
                for axis in reduce.axes.iter().rev() {
                    let count = result.len_of(Axis(*axis)) as f64;
                    result = match reduce.kind {
                        ReduceKind::Sum => result.sum_axis(Axis(*axis)),
                        ReduceKind::Mean => result.sum_axis(Axis(*axis)) / count,
                        ReduceKind::Max => result.fold_axis(Axis(*axis), f64::MIN, |max, x| max.max(*x)),
                        kind => panic!("{kind:?}"),
                    };
                    if reduce.keep_axes {
                        result = result.insert_axis(Axis(*axis));
                    }
                }
                result
            }
            Op::Flatten | Op::Reshape(_) => {
                ArrayD::from_shape_vec(self.shape(x().shape()[0]), x().iter().copied().collect()).unwrap()
            }
            Op::Transpose(transpose) => {
                let turned = x().clone().permuted_axes(transpose.axes.clone());
                turned.as_standard_layout().into_owned()
            }
            Op::Slice(slice) => {
                let part = Part::new(slice.start as isize, Some(slice.end as isize), slice.step as isize);
                x().slice_axis(Axis(slice.axis), part).to_owned()
            }
            Op::Pad(pad) => {
                assert_eq!(pad.mode, PadMode::Constant(0.0));
                let sizes = x().shape().iter().zip(&pad.borders);
                let shape: Vec<usize> = sizes.map(|(size, [before, after])| size + before + after).collect();
                let mut padded = ArrayD::zeros(shape);
                let mut inside = padded.view_mut();
                for (axis, [before, _]) in pad.borders.iter().enumerate() {
                    let part = Part::from(*before..before + x().shape()[axis]);
                    inside.slice_axis_inplace(Axis(axis), part);
                }
                inside.assign(x());
                padded
            }
            Op::Softmax => {
                let last = Axis(rank - 1);
                let largest = x().fold_axis(last, f64::MIN, |max, x| max.max(*x)).insert_axis(last);
                let exponentials = (x() - &largest).exp();
                let sums = exponentials.sum_axis(last).insert_axis(last);
                exponentials / sums
            }
            op => x().mapv(function(op)),
        }
    }

    fn convolution(&self, conv: &Conv, x: &Array) -> Array {
        let weight = self.parameter(ParameterKind::Weight);
        let (values, weights) = (x.as_slice().unwrap(), weight.as_slice().unwrap());
        let mut result = self.biased(conv.bias, conv.out_channels, x.shape()[0]);
        let (each, [height, width]) = (conv.in_channels / conv.groups, [x.shape()[2], x.shape()[3]]);
        let ([rows, columns], [top, left, ..]) = (conv.kernel, padding(conv.padding));
        for ([image, channel, row, column], sum) in places(&mut result) {
            let first = channel / (conv.out_channels / conv.groups) * each;
            for input in 0..each {
                for down in 0..rows {
                    let y = (row * conv.stride[0] + down * conv.dilation[0]).wrapping_sub(top);
                    let line = ((image * conv.in_channels + first + input) * height)
                        .wrapping_add(y)
                        .wrapping_mul(width);
                    for right in 0..columns {
                        let z = (column * conv.stride[1] + right * conv.dilation[1]).wrapping_sub(left);
                        if y < height && z < width {
                            let place = ((channel * each + input) * rows + down) * columns + right;
                            *sum += values[line + z] * weights[place];
                        }
                    }
                }
            }
        }
        result
    }

    fn transposed_convolution(&self, conv: &ConvTranspose, x: &Array) -> Array {
        let weight = self.parameter(ParameterKind::Weight);
        let mut result = self.biased(conv.bias, conv.out_channels, x.shape()[0]);
        let (inputs, each) = (conv.in_channels / conv.groups, conv.out_channels / conv.groups);
        for (place, value) in x.indexed_iter() {
            for output in 0..each {
                for down in 0..conv.kernel[0] {
                    for right in 0..conv.kernel[1] {
                        let y = (place[2] * conv.stride[0] + down * conv.dilation[0])
                            .wrapping_sub(conv.padding[0]);
                        let z = (place[3] * conv.stride[1] + right * conv.dilation[1])
                            .wrapping_sub(conv.padding[1]);
                        let channel = place[1] / inputs * each + output;
                        if let Some(sum) = result.get_mut([place[0], channel, y, z]) {
                            *sum += value * weight[[place[1], output, down, right]];
                        }
                    }
                }
            }
        }
        result
    }

    /// The bias, or zeros, in the shape of the output.
    fn biased(&self, bias: bool, channels: usize, batch: usize) -> Array {
        let shape = self.shape(batch);
        let bias =
            if bias { self.channels(ParameterKind::Bias, 4) } else { ArrayD::zeros(vec![1, channels, 1, 1]) };
        bias.broadcast(shape).unwrap().to_owned()
    }

    fn shape(&self, batch: usize) -> IxDyn {
        let crop = self.model.card().preprocessing.crop;
        let bindings = regraft_graph::Bindings { batch, height: crop[0], width: crop[1] };
        IxDyn(&self.model.graph().fact(&self.node.name).unwrap().bind(&bindings).unwrap())
    }
}

fn places(array: &mut Array) -> impl Iterator<Item = ([usize; 4], &mut f64)> {
    array.indexed_iter_mut().map(|(place, value)| ([place[0], place[1], place[2], place[3]], value))
}

fn padding(padding: regraft_graph::Padding) -> [usize; 4] {
    if let regraft_graph::Padding::Explicit(border) = padding { border } else { panic!("{padding:?}") }
}

/// Sums of each place and its neighbours along an axis.
fn neighbours(values: &Array, axis: usize, reach: isize) -> Array {
    let size = values.shape()[axis] as isize;
    let mut sums = ArrayD::zeros(values.shape());
    for place in 0..size {
        let part = Part::new((place - reach).max(0), Some((place + reach + 1).min(size)), 1);
        let sum = values.slice_axis(Axis(axis), part).sum_axis(Axis(axis));
        sums.index_axis_mut(Axis(axis), place as usize).assign(&sum);
    }
    sums
}

/// A function of the values of each window that lie in the image, and of the window's size with the border.
fn windows(pool: &Pool, x: &Array, shape: IxDyn, function: impl Fn(&[f64], usize) -> f64) -> Array {
    let [top, left, bottom, right] = padding(pool.padding);
    ArrayD::from_shape_fn(shape, |place| {
        let window = |axis: usize, before: usize, after: usize| {
            let (start, size) = (place[axis + 2] * pool.stride[axis], x.shape()[axis + 2]);
            let end = (start + pool.kernel[axis]).min(before + size + after);
            (start.max(before) - before..(end - before).min(size), end - start)
        };
        let ((rows, high), (columns, wide)) = (window(0, top, bottom), window(1, left, right));
        let values = rows.flat_map(|row| columns.clone().map(move |column| (row, column)));
        let values: Vec<f64> = values.map(|(row, column)| x[[place[0], place[1], row, column]]).collect();
        function(&values, high * wide)
    })
}

fn function(op: &Op) -> impl Fn(f64) -> f64 + use<'_> {
    move |x: f64| match op {
        Op::Dropout { .. } => x,
        Op::Relu => x.max(0.0),
        Op::Clip(clip) => x.clamp(f64::from(clip.min), f64::from(clip.max)),
        Op::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Op::Silu => x / (1.0 + (-x).exp()),
        Op::Tanh => x.tanh(),
        Op::Elu(elu) => {
            if x > 0.0 {
                x
            } else {
                f64::from(elu.alpha) * x.exp_m1()
            }
        }
        Op::LeakyRelu(leaky) => {
            if x > 0.0 {
                x
            } else {
                f64::from(leaky.alpha) * x
            }
        }
        Op::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Op::Exp => x.exp(),
        Op::Log => x.ln(),
        Op::Abs => x.abs(),
        Op::Power(power) => {
            let line = f64::from(power.scale) * x + f64::from(power.shift);
            if power.power == 1.0 { line } else { line.powf(f64::from(power.power)) }
        }
        op => panic!("{}", op.name()),
    }
}
