//! Convolutions of random shapes, strides, paddings, dilations and groups against the definition in double precision, on
//! every instruction set that this machine has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use ndarray::{Array4, ArrayD, Ix4};
use rand::RngExt as _;
use regraft_engine::{InstructionSet, Precision, Program, Settings};
use regraft_graph::{Clip, Conv, Fact, Graph, Node, Op, Padding, Tensor, Weights};
use regraft_system::random::{self, Stream};
use support::{error, model, numbers};

/// Of the largest output, as for the operator cases.
const TOLERANCE: f64 = 1e-5;
/// One rounding of inputs, weights and output each to 8 significant bits, by up to 2⁻⁸ of the number.
const BFLOAT16_TOLERANCE: f64 = 3.0 / 256.0;

/// A random one of these.
fn one_of<const N: usize>(stream: &mut Stream, from: [usize; N]) -> usize {
    from[stream.random_range(0..N)]
}

/// Any convolution, on small images.
fn any_conv(stream: &mut Stream) -> (Conv, [usize; 2]) {
    let groups = one_of(stream, [1, 1, 1, 2, 3, 17]);
    let mut pair = |from: [usize; 4]| [one_of(stream, from), one_of(stream, from)];
    let (kernel, stride, dilation) = (pair([1, 2, 3, 5]), pair([1, 1, 2, 3]), pair([1, 1, 1, 2]));
    let size = pair([1, 7, 11, 13]);
    // The dilated kernel must fit in the padded image.
    let reach = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis] + 1);
    let needed = reach[0].saturating_sub(size[0]).max(reach[1].saturating_sub(size[1])).div_ceil(2);
    let padding = Padding::all(needed + one_of(stream, [0, 0, 1, 2]));
    let channels = |stream: &mut Stream| groups * one_of(stream, [1, 2, 3, 16, 17]);
    let (in_channels, out_channels) = (channels(stream), channels(stream));
    (Conv { in_channels, out_channels, kernel, stride, dilation, padding, groups, bias: true }, size)
}

/// Where minimal filtering pays: 3×3 with stride 1 and many channels, with and without whole tiles and blocks.
fn wide_conv(stream: &mut Stream) -> (Conv, [usize; 2]) {
    let [in_channels, out_channels] = [(); 2].map(|()| one_of(stream, [64, 80, 97, 128]));
    let padding = Padding::all(one_of(stream, [0, 1, 1, 2]));
    let size = [(); 2].map(|()| one_of(stream, [7, 13, 16, 23]));
    let (kernel, stride, dilation, groups) = ([3; 2], [1; 2], [1; 2], 1);
    (Conv { in_channels, out_channels, kernel, stride, dilation, padding, groups, bias: true }, size)
}

/// Sums so long that they are computed in parts, 1×1 or 3×3 with stride 2.
fn deep_conv(stream: &mut Stream) -> (Conv, [usize; 2]) {
    let (kernel, padding) = if one_of(stream, [0, 1]) == 0 { ([1; 2], 0) } else { ([3; 2], 1) };
    let in_channels = one_of(stream, [1200, 1537, 2300]) / kernel[0];
    let out_channels = one_of(stream, [5, 32, 70]);
    let size = [(); 2].map(|()| one_of(stream, [1, 7, 12]));
    let (stride, dilation, padding, groups) = ([kernel[0].min(2); 2], [1; 2], Padding::all(padding), 1);
    (Conv { in_channels, out_channels, kernel, stride, dilation, padding, groups, bias: true }, size)
}

/// Rows of the lengths of whole and half tiles, of neighbours or of every other pixel; padded by as much as keeps the size.
fn conv_of_whole_tiles(stream: &mut Stream) -> (Conv, [usize; 2]) {
    let (kernel, stride) = (one_of(stream, [1, 3, 3]), one_of(stream, [1, 2]));
    let size = [one_of(stream, [3, 4, 7]), one_of(stream, [7, 14, 28])].map(|size| size * stride);
    let [in_channels, out_channels] = [(); 2].map(|()| one_of(stream, [16, 20, 33]));
    let (kernel, stride, dilation, padding) = ([kernel; 2], [stride; 2], [1; 2], Padding::all(kernel / 2));
    (Conv { in_channels, out_channels, kernel, stride, dilation, padding, groups: 1, bias: true }, size)
}

fn weights(conv: &Conv) -> (Weights, Vec<f32>, Vec<f32>) {
    let [height, width] = conv.kernel;
    let shape = vec![conv.out_channels, conv.in_channels / conv.groups, height, width];
    let fan_in: usize = shape[1..].iter().product();
    let weight = numbers("weight", shape.iter().product(), 1.0 / (fan_in as f32).sqrt(), 0.0);
    let bias = numbers("bias", conv.out_channels, 0.5, 0.0);
    let tensors = [
        ("conv.weight".to_owned(), Tensor::from_f32(shape, &weight).unwrap()),
        ("conv.bias".to_owned(), Tensor::from_f32(vec![conv.out_channels], &bias).unwrap()),
    ];
    (tensors.into_iter().collect(), weight, bias)
}

/// The definition, and a clip to −1 … 1.
fn definition(conv: &Conv, weight: &[f32], bias: &[f32], input: &Array4<f32>, output: &mut Array4<f32>) {
    let Padding::Explicit([top, left, ..]) = conv.padding else { panic!("the padding is explicit") };
    let per_group = [conv.in_channels / conv.groups, conv.out_channels / conv.groups];
    let (_, _, height, width) = input.dim();
    for ((image, channel, y, x), output) in output.indexed_iter_mut() {
        let mut sum = f64::from(bias[channel]);
        for from in 0..per_group[0] {
            let source = channel / per_group[1] * per_group[0] + from;
            for row in 0..conv.kernel[0] {
                for column in 0..conv.kernel[1] {
                    let at_y = (y * conv.stride[0] + row * conv.dilation[0]).checked_sub(top);
                    let at_x = (x * conv.stride[1] + column * conv.dilation[1]).checked_sub(left);
                    let (Some(at_y), Some(at_x)) = (at_y, at_x) else { continue };
                    if at_y < height && at_x < width {
                        let index = ((channel * per_group[0] + from) * conv.kernel[0] + row) * conv.kernel[1]
                            + column;
                        sum += f64::from(weight[index]) * f64::from(input[[image, source, at_y, at_x]]);
                    }
                }
            }
        }
        *output = sum.clamp(-1.0, 1.0) as f32;
    }
}

fn check(conv: Conv, size: [usize; 2], images: usize) {
    let (weights, weight, bias) = weights(&conv);
    let mut graph = Graph::new("input", Fact::image(conv.in_channels));
    graph.push(Node::new("conv", Op::Conv(conv.clone()), ["input"])).unwrap();
    graph.push(Node::new("clip", Op::Clip(Clip { min: -1.0, max: 1.0 }), ["conv"])).unwrap();
    graph.set_output("clip").unwrap();
    let model = model(graph, weights);
    let shape = [images, conv.in_channels, size[0], size[1]];
    let input = Array4::from_shape_vec(shape, numbers("input", shape.iter().product(), 1.0, 0.0)).unwrap();
    let mut expected: Option<ArrayD<f32>> = None;
    for instruction_set in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
        for (precision, tolerance) in
            [(Precision::Float32, TOLERANCE), (Precision::BFloat16, BFLOAT16_TOLERANCE)]
        {
            let settings = Settings { instruction_set, precision };
            let program = Program::compile_with(&model, size, &["clip"], settings).unwrap();
            let found = program.run(input.view()).unwrap().remove(0);
            let expected = expected.get_or_insert_with(|| {
                let mut output = found.clone().into_dimensionality::<Ix4>().unwrap();
                definition(&conv, &weight, &bias, &input, &mut output);
                output.into_dyn()
            });
            let error = error(expected, &found);
            let (set, precision) = (instruction_set.name(), precision.name());
            assert!(error <= tolerance, "{conv:?} on {size:?}, {set}, {precision}: off by {error:.2e}");
        }
    }
}

/// So many random ones.
fn check_some(kind: &str, cases: u64, images: usize, conv: impl Fn(&mut Stream) -> (Conv, [usize; 2])) {
    for case in 0..cases {
        let (conv, size) = conv(&mut random::stream(1, kind, case));
        check(conv, size, images);
    }
}

#[test]
fn any_convolution_equals_its_definition() {
    check_some("convolutions", 300, 3, any_conv);
}

#[test]
fn deep_convolutions_equal_their_definition() {
    check_some("deep convolutions", 12, 3, deep_conv);
}

#[test]
fn wide_convolutions_equal_their_definition() {
    check_some("wide convolutions", 24, 3, wide_conv);
}

#[test]
fn convolutions_of_whole_tiles_equal_their_definition() {
    check_some("whole tiles", 40, 4, conv_of_whole_tiles);
}
