//! Convolutions of bytes against their definition in whole numbers, bit for bit, and networks against single precision.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use ndarray::{Array4, ArrayD};
use rand::RngExt as _;
use regraft_engine::{Calibration, Calibrator, EngineError, InstructionSet, Precision, Program, Settings};
use regraft_graph::{Clip, Conv, Fact, Graph, Model, Node, Op, Padding, Tensor, Weights};
use regraft_system::random::{self, Stream};
use support::{every_case, family, image_of, model, numbers};

fn available() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL.into_iter().filter(|set| set.is_available())
}

fn calibrated(model: &Model, input: &ArrayD<f32>, outputs: &[&str]) -> Calibration {
    let image = image_of(input);
    let mut calibrator = Calibrator::new(model, image, outputs, InstructionSet::Portable).unwrap();
    calibrator.observe(input.view()).unwrap();
    calibrator.finish()
}

fn run(
    model: &Model,
    input: &ArrayD<f32>,
    outputs: &[&str],
    set: InstructionSet,
    by: &Calibration,
) -> Vec<ArrayD<f32>> {
    let image = image_of(input);
    Program::compile_int8(model, image, outputs, set, by).unwrap().run(input.view()).unwrap()
}

fn one_of<const N: usize>(stream: &mut Stream, from: [usize; N]) -> usize {
    from[stream.random_range(0..N)]
}

/// Any convolution that mixes channels, on small images of more than one pixel.
fn any_conv(stream: &mut Stream) -> (Conv, [usize; 2]) {
    let groups = one_of(stream, [1, 1, 1, 2, 3]);
    let mut pair = |from: [usize; 4]| [one_of(stream, from), one_of(stream, from)];
    let (kernel, stride, dilation) = (pair([1, 2, 3, 7]), pair([1, 1, 2, 3]), pair([1, 1, 1, 2]));
    let size = [pair([1, 7, 11, 13])[0], pair([2, 7, 11, 13])[1]];
    let reach = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis] + 1);
    let needed = reach[0].saturating_sub(size[0]).max(reach[1].saturating_sub(size[1])).div_ceil(2);
    let padding = Padding::all(needed + one_of(stream, [0, 0, 1, 2]));
    let in_channels = groups * one_of(stream, [2, 3, 16, 17, 70]);
    let out_channels = groups * one_of(stream, [1, 2, 3, 16, 17, 40]);
    (Conv { in_channels, out_channels, kernel, stride, dilation, padding, groups, bias: true }, size)
}

fn tensors(name: &str, conv: &Conv) -> [(String, Tensor); 2] {
    let [height, width] = conv.kernel;
    let shape = vec![conv.out_channels, conv.in_channels / conv.groups, height, width];
    let fan_in: usize = shape[1..].iter().product();
    let weight = numbers(name, shape.iter().product(), 1.0 / (fan_in as f32).sqrt(), 0.0);
    let bias = numbers("bias", conv.out_channels, 0.5, 0.0);
    [
        (format!("{name}.weight"), Tensor::from_f32(shape, &weight).unwrap()),
        (format!("{name}.bias"), Tensor::from_f32(vec![conv.out_channels], &bias).unwrap()),
    ]
}

/// Bytes of the input and their scale and zero point.
fn quantized(input: &ArrayD<f32>, [low, high]: [f32; 2]) -> (ArrayD<i64>, f32, i64) {
    let (low, high) = (low.min(0.0), high.max(0.0));
    let scale = (high - low) / 255.0;
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    let level = |x: &f32| (x * (1.0 / scale) + zero).round_ties_even().clamp(0.0, 255.0) as i64;
    (input.map(level), scale, zero as i64)
}

/// The definition: exact sums of whole numbers, one rounding to single precision, one multiplication and addition.
fn definition(
    conv: &Conv,
    weight: &[f32],
    bias: &[f32],
    (input, scale, zero): &(ArrayD<i64>, f32, i64),
    output: &mut ArrayD<f32>,
) {
    let Padding::Explicit([top, left, ..]) = conv.padding else { panic!("the padding is explicit") };
    let per_group = [conv.in_channels / conv.groups, conv.out_channels / conv.groups];
    let [height, width] = [input.shape()[2], input.shape()[3]];
    let row_len = weight.len() / conv.out_channels;
    for (index, output) in output.indexed_iter_mut() {
        let [image, channel, y, x] = [index[0], index[1], index[2], index[3]];
        let row = &weight[channel * row_len..(channel + 1) * row_len];
        let largest = row.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
        let weight_scale = largest / 127.0;
        let mut sum = 0i64;
        for (position, weight) in row.iter().enumerate() {
            let (from, tap) =
                (position / (conv.kernel[0] * conv.kernel[1]), position % (conv.kernel[0] * conv.kernel[1]));
            let source = channel / per_group[1] * per_group[0] + from;
            let at_y = (y * conv.stride[0] + tap / conv.kernel[1] * conv.dilation[0]).checked_sub(top);
            let at_x = (x * conv.stride[1] + tap % conv.kernel[1] * conv.dilation[1]).checked_sub(left);
            let (Some(at_y), Some(at_x)) = (at_y, at_x) else { continue };
            if at_y < height && at_x < width {
                let rounded = (weight / weight_scale).round_ties_even() as i64;
                sum += rounded * (input[[image, source, at_y, at_x].as_slice()] - zero);
            }
        }
        *output = (sum as f32).mul_add(weight_scale * scale, bias[channel]).clamp(-1.0, 1.0);
    }
}

#[test]
fn any_convolution_of_bytes_equals_its_definition_bit_for_bit() {
    for case in 0..200 {
        let (conv, size) = any_conv(&mut random::stream(1, "int8 convolutions", case));
        let tensors = tensors("conv", &conv);
        let [weight, bias] = tensors.each_ref().map(|(_, tensor)| tensor.to_f32());
        let mut graph = Graph::new("input", Fact::image(conv.in_channels));
        graph.push(Node::new("conv", Op::Conv(conv.clone()), ["input"])).unwrap();
        graph.push(Node::new("clip", Op::Clip(Clip { min: -1.0, max: 1.0 }), ["conv"])).unwrap();
        graph.set_output("clip").unwrap();
        let model = model(graph, tensors.into_iter().collect());
        let shape = [3, conv.in_channels, size[0], size[1]];
        let shift = (case % 3) as f32 - 1.0;
        let input = numbers("input", shape.iter().product(), 1.0, shift);
        let input = Array4::from_shape_vec(shape, input).unwrap().into_dyn();
        let calibration = calibrated(&model, &input, &["clip"]);
        let levels = quantized(&input, calibration.range("input").unwrap());
        for set in available() {
            let found = run(&model, &input, &["clip"], set, &calibration).remove(0);
            let mut expected = found.clone();
            definition(&conv, &weight, &bias, &levels, &mut expected);
            assert_eq!(expected, found, "{conv:?} on {size:?}, {}", set.name());
        }
    }
}

/// Convolutions in a row, a residual of bytes and one of floats, a maximum, a concatenation.
fn network(seed: u64) -> (Model, ArrayD<f32>) {
    let stream = &mut random::stream(seed, "int8 networks", 0);
    let mut graph = Graph::new("input", Fact::image(5));
    let mut weights = Vec::new();
    let width = one_of(stream, [16, 24, 33]);
    let mut push = |graph: &mut Graph, name: &str, from: &str, channels: [usize; 2], size: usize| {
        let [in_channels, out_channels] = channels;
        let padding = Padding::all(size / 2);
        let (kernel, stride, dilation, groups) = ([size; 2], [1; 2], [1; 2], 1);
        let conv = Conv { in_channels, out_channels, kernel, stride, dilation, padding, groups, bias: true };
        weights.extend(tensors(name, &conv));
        graph.push(Node::new(name, Op::Conv(conv), [from])).unwrap();
    };
    push(&mut graph, "a", "input", [5, width], 3);
    graph.push(Node::new("a.relu", Op::Relu, ["a"])).unwrap();
    push(&mut graph, "b", "a.relu", [width, width], 3);
    push(&mut graph, "c", "a.relu", [width, width], 1);
    graph.push(Node::new("sum", Op::Add, ["b", "c"])).unwrap();
    graph.push(Node::new("sum.relu", Op::Relu, ["sum"])).unwrap();
    push(&mut graph, "d", "sum.relu", [width, width], 3);
    let cat = regraft_graph::Concat { axis: 1 };
    graph.push(Node::new("cat", Op::Concat(cat), ["sum.relu", "d"])).unwrap();
    push(&mut graph, "e", "cat", [2 * width, 7], 3);
    graph.push(Node::new("out", Op::Clip(Clip { min: -0.5, max: 2.0 }), ["e"])).unwrap();
    graph.set_output("out").unwrap();
    let shape = [3, 5, 11, 9];
    let input = Array4::from_shape_vec(shape, numbers("input", shape.iter().product(), 1.0, 0.3)).unwrap();
    let input = input.into_dyn();
    (model(graph, weights.into_iter().collect::<Weights>()), input)
}

/// Relative to the length of what is expected.
fn distance(expected: &ArrayD<f32>, found: &ArrayD<f32>) -> f64 {
    let square = |x: f64| x * x;
    let norm: f64 = expected.iter().map(|x| square(f64::from(*x))).sum();
    let difference = expected.iter().zip(found).map(|(a, b)| square(f64::from(*a) - f64::from(*b)));
    (difference.sum::<f64>() / norm.max(f64::MIN_POSITIVE)).sqrt()
}

#[test]
fn all_instruction_sets_give_the_same_bits() {
    for seed in 0..6 {
        let (model, input) = network(seed);
        let calibration = calibrated(&model, &input, &["out"]);
        let exact = Program::compile(&model, [11, 9], &["out"]).unwrap().run(input.view()).unwrap();
        let mut first: Option<ArrayD<f32>> = None;
        for set in available() {
            let found = run(&model, &input, &["out"], set, &calibration).remove(0);
            let distance = distance(&exact[0], &found);
            assert!(distance < 0.02, "{seed}: {distance}");
            assert_eq!(first.get_or_insert_with(|| found.clone()), &found, "{seed}, {}", set.name());
        }
    }
}

/// Rounding to 256 levels has an error of 2⁻⁸/√3 of a range's half, which is up to some 1.5 % of the length of values
/// with tails; a convolution rounds its input and its weights, and independent errors add in squares.
fn tolerance(model: &Model) -> f64 {
    let rounds = |node: &&Node| matches!(node.op, Op::Conv(_) | Op::MaxPool(_) | Op::AveragePool(_));
    let count = model.graph().nodes().iter().filter(rounds).count().max(1);
    0.02 * (count as f64).sqrt()
}

#[test]
fn every_operator_is_close_to_pytorch() {
    for case in every_case() {
        let wires = case.wires();
        let calibration = calibrated(&case.model, &case.input, &wires);
        for set in available() {
            let found = run(&case.model, &case.input, &wires, set, &calibration);
            for ((wire, expected), found) in case.outputs.iter().zip(&found) {
                let distance = distance(expected, found);
                let (name, set) = (&case.name, set.name());
                assert!(distance <= tolerance(&case.model), "{name} '{wire}' on {set}: {distance:.4}");
            }
        }
    }
}

#[test]
fn ranges_do_not_depend_on_batches_or_threads() {
    let case = &family("networks")[0];
    let image = case.image();
    let images = case.input.len_of(ndarray::Axis(0));
    let calibrate = |threads: usize, batch: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let set = InstructionSet::detect();
        let mut calibrator = Calibrator::new(&case.model, image, &case.wires(), set).unwrap();
        for part in case.input.axis_chunks_iter(ndarray::Axis(0), batch) {
            pool.install(|| calibrator.observe(part)).unwrap();
        }
        calibrator.finish()
    };
    let expected = calibrate(1, images);
    assert_eq!(expected, calibrate(3, images));
    assert_eq!(expected, calibrate(2, 1));
    let stored = serde_json::to_string(&expected).unwrap();
    assert_eq!(expected, serde_json::from_str::<Calibration>(&stored).unwrap());
}

#[test]
fn a_missing_calibration_is_named() {
    let (model, input) = network(0);
    let settings = Settings { precision: Precision::Int8, ..Settings::default() };
    let error = Program::compile_with(&model, [11, 9], &["out"], settings).unwrap_err();
    assert_eq!(error, EngineError::NotCalibrated);
    let set = InstructionSet::detect();
    let error = Program::compile_int8(&model, [11, 9], &["out"], set, &Calibration::default()).unwrap_err();
    assert_eq!(error, EngineError::NoRange { wire: "input".to_owned() });
    let narrower = calibrated(&model, &input, &["sum.relu"]);
    let error = Program::compile_int8(&model, [11, 9], &["out"], set, &narrower).unwrap_err();
    assert_eq!(error, EngineError::NoRange { wire: "d".to_owned() });
}

#[test]
fn inputs_beyond_the_range_and_not_numbers_saturate() {
    let (model, input) = network(0);
    let calibration = calibrated(&model, &input, &["out"]);
    let mut wild = input;
    wild[[0, 0, 0, 0].as_slice()] = f32::INFINITY;
    wild[[1, 0, 0, 0].as_slice()] = f32::NEG_INFINITY;
    wild[[2, 0, 0, 0].as_slice()] = f32::NAN;
    let results: Vec<_> = available().map(|set| run(&model, &wild, &["out"], set, &calibration)).collect();
    assert!(results[0][0].iter().all(|value| value.is_finite()));
    results.iter().for_each(|found| assert_eq!(found, &results[0]));
}
