//! What must hold whatever the numbers are: the same bits for any split of the work, no crash on any input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use std::borrow::Cow;

use ndarray::{Array4, ArrayD, Axis, s};
use regraft_engine::{Calibrator, EngineError, InstructionSet, Normalization, Precision, Program, Settings};
use regraft_graph::{
    ChannelOrder, Conv, ConvTranspose, Coordinates, Embedding, Fact, Gemm, Graph, GraphError, Interpolation,
    InterpolationMode, InterpolationSize, Lrn, LrnRegion, Node, Op, Pad, PadMode, Padding, Pool,
    Preprocessing, Reshape, Tensor, Transpose, Weights,
};
use support::{Case, family, model, networks, numbers};

/// Large enough that steps are divided among threads.
const IMAGE: [usize; 2] = [97, 130];

fn cases() -> Vec<Case> {
    family("networks")
}

fn images(batch: usize) -> Array4<f32> {
    let shape = [batch, 3, IMAGE[0], IMAGE[1]];
    Array4::from_shape_vec(shape, numbers("images", shape.iter().product(), 1.0, 0.0)).unwrap()
}

fn run(program: &Program, input: &Array4<f32>, threads: usize) -> Vec<ArrayD<f32>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| program.run(input.view())).unwrap()
}

fn bits(array: &ArrayD<f32>) -> Vec<u32> {
    array.iter().map(|value| value.to_bits()).collect()
}

fn settings() -> impl Iterator<Item = Settings> {
    let sets = InstructionSet::ALL.into_iter().filter(|set| set.is_available());
    sets.flat_map(|instruction_set| Precision::ALL.map(|precision| Settings { instruction_set, precision }))
}

fn compile(case: &Case, wires: &[&str], settings: Settings) -> Program {
    let set = settings.instruction_set;
    if settings.precision != Precision::Int8 {
        return Program::compile_with(&case.model, IMAGE, wires, settings).unwrap();
    }
    let mut calibrator = Calibrator::new(&case.model, IMAGE, wires, set).unwrap();
    calibrator.observe(images(1).view()).unwrap();
    Program::compile_int8(&case.model, IMAGE, wires, set, &calibrator.finish()).unwrap()
}

#[test]
fn threads_and_batch_size_change_no_bit() {
    let input = images(11);
    for case in cases() {
        for settings in settings() {
            let wires = case.wires();
            let program = compile(&case, &wires, settings);
            let expected = run(&program, &input, 1);
            for (threads, batch) in [(2, 11), (3, 11), (2, 8), (1, 1), (2, 1), (3, 2)] {
                let found = run(&program, &input.slice(s![..batch, .., .., ..]).to_owned(), threads);
                for ((wire, expected), found) in wires.iter().zip(&expected).zip(&found) {
                    let expected = expected.slice_axis(Axis(0), (..batch).into()).to_owned();
                    let same = bits(&expected) == bits(found);
                    assert!(same, "{} '{wire}': {threads} threads, batch {batch}", case.name);
                }
            }
        }
    }
}

#[test]
fn nor_in_a_network_of_every_other_kernel() {
    let model = networks::assorted(2);
    let input = networks::images(11);
    let wires = ["head", "1.transposed", "0.both"];
    for settings in settings() {
        let set = settings.instruction_set;
        let program = match settings.precision {
            Precision::Int8 => {
                let mut calibrator = Calibrator::new(&model, networks::SIZE, &wires, set).unwrap();
                calibrator.observe(networks::images(1).view()).unwrap();
                Program::compile_int8(&model, networks::SIZE, &wires, set, &calibrator.finish()).unwrap()
            }
            _ => Program::compile_with(&model, networks::SIZE, &wires, settings).unwrap(),
        };
        let expected = run(&program, &input, 1);
        for (threads, batch) in [(2, 11), (3, 11), (2, 8), (1, 1), (2, 1), (3, 2)] {
            let found = run(&program, &input.slice(s![..batch, .., .., ..]).to_owned(), threads);
            for ((wire, expected), found) in wires.iter().zip(&expected).zip(&found) {
                assert!(found.iter().all(|value| value.is_finite()), "'{wire}'");
                let expected = expected.slice_axis(Axis(0), (..batch).into()).to_owned();
                assert_eq!(bits(&expected), bits(found), "'{wire}': {threads} threads, batch {batch}");
            }
        }
    }
}

#[test]
fn numbers_that_name_no_row_are_refused() {
    let mut graph = Graph::new("ids", Fact::vector(3));
    let table = Embedding { entries: 5, features: 2 };
    graph.push(Node::new("words", Op::Embedding(table), ["ids"])).unwrap();
    graph.set_output("words").unwrap();
    let rows: Vec<f32> = (0..10).map(|number| number as f32).collect();
    let mut weights = Weights::new();
    weights.insert("words.weight", Tensor::from_f32(vec![5, 2], &rows).unwrap());
    let program = Program::compile(&model(graph, weights), [1, 1], &["words"]).unwrap();
    let run = |ids: [f32; 3]| program.run(ndarray::arr2(&[ids]).view());
    let expected = ndarray::arr3(&[[[8.0, 9.0], [0.0, 1.0], [2.0, 3.0]]]).into_dyn();
    assert_eq!(run([4.0, 0.0, 1.0]).unwrap()[0], expected);
    for wrong in [5.0, -1.0, 0.5, f32::NAN, f32::INFINITY, 1e30] {
        let error = run([0.0, wrong, 1.0]).unwrap_err();
        assert!(
            matches!(&error, EngineError::NoEntry { node, entries: 5, .. } if node == "words"),
            "{error}"
        );
        assert!(error.to_string().contains("from 0 to 4"), "{error}");
    }
}

#[test]
fn an_operator_that_is_only_kept_is_named() {
    let custom = regraft_graph::Custom {
        domain: "caffe".to_owned(),
        operator: "SpatialTransformer".to_owned(),
        attributes: String::new(),
        output: Fact::image(3),
    };
    let error = Program::compile(&single(Op::Custom(custom), 3), [2, 2], &["node"]).unwrap_err().to_string();
    assert!(error.contains("'node'") && error.contains("'SpatialTransformer' of 'caffe'"), "{error}");
}

/// Large dense layers at the end are computed for many images together, and for at most so many; this batch is more.
#[test]
fn dense_layers_at_the_end_give_every_image_its_own_row() {
    const WIDTH: usize = 600;
    let mut graph = Graph::new("input", Fact::image(3));
    let gemm = |in_features, out_features| Op::Gemm(Gemm { in_features, out_features, bias: false });
    let nodes = [
        ("mean", Op::GlobalAveragePool, "input"),
        ("vector", Op::Flatten, "mean"),
        ("wide", gemm(3, WIDTH), "vector"),
        ("relu", Op::Relu, "wide"),
        ("out", gemm(WIDTH, WIDTH), "relu"),
    ];
    for (name, op, input) in nodes {
        graph.push(Node::new(name, op, [input])).unwrap();
    }
    let [first, second] =
        [("first", 3 * WIDTH), ("second", WIDTH * WIDTH)].map(|(name, count)| numbers(name, count, 1.0, 0.0));
    let mut weights = Weights::new();
    weights.insert("wide.weight", Tensor::from_f32(vec![WIDTH, 3], &first).unwrap());
    weights.insert("out.weight", Tensor::from_f32(vec![WIDTH; 2], &second).unwrap());
    let batch = 151;
    let input = Array4::from_shape_vec([batch, 3, 2, 2], numbers("dense", batch * 12, 1.0, 0.0)).unwrap();
    let program = Program::compile(&model(graph, weights), [2, 2], &["vector", "out"]).unwrap();
    let expected = run(&program, &input, 1);
    for (image, pixels) in input.outer_iter().enumerate() {
        let means: Vec<f64> = pixels
            .outer_iter()
            .map(|plane| plane.iter().map(|value| f64::from(*value)).sum::<f64>() / 4.0)
            .collect();
        let dot = |row: &[f32], vector: &[f64]| -> f64 {
            row.iter().zip(vector).map(|(weight, value)| f64::from(*weight) * value).sum()
        };
        let wide: Vec<f64> = first.chunks(3).map(|row| dot(row, &means).max(0.0)).collect();
        for (out, row) in second.chunks(WIDTH).enumerate() {
            let (exact, found) = (dot(row, &wide), f64::from(expected[1][[image, out]]));
            assert!((exact - found).abs() < 1e-3, "image {image}: {found} for {exact}");
        }
        for (channel, mean) in means.iter().enumerate() {
            assert!((f64::from(expected[0][[image, channel]]) - mean).abs() < 1e-6);
        }
    }
    for threads in [2, 3] {
        let found = run(&program, &input, threads);
        assert!(found.iter().zip(&expected).all(|(found, expected)| bits(found) == bits(expected)));
    }
    let alone = run(&program, &input.slice(s![150.., .., .., ..]).to_owned(), 2);
    assert_eq!(bits(&alone[1]), bits(&expected[1].slice_axis(Axis(0), (150..).into()).to_owned()));
}

#[test]
fn neighbours_in_the_batch_change_no_bit_even_if_they_are_not_numbers() {
    let clean = images(6);
    let mut dirty = clean.clone();
    dirty.slice_mut(s![0, .., 10, 10]).fill(f32::NAN);
    dirty.slice_mut(s![2, .., .., ..]).fill(f32::INFINITY);
    dirty.slice_mut(s![3, 0, 0, 0]).fill(f32::NEG_INFINITY);
    for case in cases() {
        let program = Program::compile(&case.model, IMAGE, &case.wires()).unwrap();
        let (clean, dirty) = (run(&program, &clean, 2), run(&program, &dirty, 2));
        for (clean, dirty) in clean.iter().zip(&dirty) {
            for image in [1, 4, 5] {
                let [clean, dirty] = [clean, dirty].map(|array| array.index_axis(Axis(0), image).to_owned());
                assert_eq!(bits(&clean), bits(&dirty));
            }
        }
        // Memory that has held such numbers is clean again.
        assert_eq!(bits(&run(&program, &images(6), 2)[0]), bits(&clean[0]));
        assert!(dirty[0].index_axis(Axis(0), 0).iter().any(|value| value.is_nan()));
    }
}

#[test]
fn not_a_number_passes_activations_and_pools() {
    let mut graph = Graph::new("input", Fact::image(2));
    let pool = Pool::new([2; 2], [1; 2], Padding::all(0));
    graph.push(Node::new("relu", Op::Relu, ["input"])).unwrap();
    graph.push(Node::new("pool", Op::MaxPool(pool), ["relu"])).unwrap();
    let model = model(graph, Weights::new());
    let mut input = Array4::zeros([1, 2, 3, 3]);
    input[[0, 1, 0, 0]] = f32::NAN;
    for set in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
        let program = Program::compile_for(&model, [3, 3], &["relu", "pool"], set).unwrap();
        let outputs = program.run(input.view()).unwrap();
        for output in outputs {
            assert!(output[[0, 1, 0, 0]].is_nan(), "{}", set.name());
            assert_eq!(output.iter().filter(|value| value.is_nan()).count(), 1);
        }
    }
}

#[test]
fn several_threads_may_run_one_program() {
    let case = &cases()[0];
    let program = Program::compile(&case.model, IMAGE, &case.wires()).unwrap();
    let input = images(3);
    let expected = bits(&program.run(input.view()).unwrap()[0]);
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| bits(&program.run(input.view()).unwrap()[0]))).collect();
        workers.into_iter().for_each(|worker| assert_eq!(worker.join().unwrap(), expected));
    });
}

#[test]
fn strided_views_and_empty_batches_run() {
    let case = &cases()[0];
    let program = Program::compile(&case.model, IMAGE, &["fc", "b.out"]).unwrap();
    let input = images(2);
    let mut channels_last = Array4::zeros([2, IMAGE[0], IMAGE[1], 3]);
    channels_last.assign(&input.view().permuted_axes([0, 2, 3, 1]));
    let view = channels_last.view().permuted_axes([0, 3, 1, 2]);
    assert_eq!(program.run(view).unwrap(), program.run(input.view()).unwrap());
    let empty = program.run(Array4::zeros([0, 3, IMAGE[0], IMAGE[1]]).view()).unwrap();
    assert_eq!(empty[0].shape(), [0, 10]);
    assert_eq!(
        program.run_pooled(Array4::zeros([0, 3, IMAGE[0], IMAGE[1]]).view()).unwrap()[1].shape(),
        [0, 40]
    );
    assert!(program.preferred_batch() > 0);
}

#[test]
fn the_input_itself_may_be_an_output() {
    let case = &cases()[0];
    let program = Program::compile(&case.model, IMAGE, &["input", "fc"]).unwrap();
    let input = images(2);
    assert_eq!(program.run(input.view()).unwrap()[0], input.into_dyn());
}

#[test]
fn a_batch_of_another_shape_is_refused_with_both_shapes() {
    let case = &cases()[0];
    let program = Program::compile(&case.model, IMAGE, &["fc"]).unwrap();
    for shape in [[1, 1, 97, 130], [1, 3, 97, 129], [1, 3, 130, 97], [0, 4, 97, 130]] {
        let error = program.run(Array4::zeros(shape).view()).unwrap_err();
        assert_eq!(error, EngineError::InputShape { expected: [3, 97, 130], found: shape.to_vec() });
        assert!(error.to_string().contains("N×3×97×130"));
    }
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let case = &cases()[0];
    let compile = |image, outputs: &[&str]| Program::compile(&case.model, image, outputs).unwrap_err();
    assert_eq!(compile(IMAGE, &[]), EngineError::NoOutputs);
    assert!(matches!(compile(IMAGE, &["nowhere"]), EngineError::Graph(GraphError::UnknownWire { .. })));
    assert!(matches!(compile([0, 0], &["fc"]), EngineError::ImageSize { .. }));
    let huge = compile([1 << 40, 1 << 40], &["fc"]);
    assert!(matches!(huge, EngineError::Memory { .. }), "{huge}");
}

fn single(op: Op, channels: usize) -> regraft_graph::Model {
    with_weights(op, Fact::image(channels))
}

fn with_weights(op: Op, input: Fact) -> regraft_graph::Model {
    let mut graph = Graph::new("input", input);
    graph.push(Node::new("node", op, ["input"])).unwrap();
    graph.set_output("node").unwrap();
    let weights = graph.parameters().into_iter().map(|parameter| {
        let count = parameter.shape.iter().product();
        let values = numbers(&parameter.name, count, 1.0, 0.0);
        (parameter.name, Tensor::from_f32(parameter.shape, &values).unwrap())
    });
    let weights: Weights = weights.collect();
    model(graph, weights)
}

fn conv(kernel: usize, padding: Padding) -> Op {
    Op::Conv(Conv {
        in_channels: 3,
        out_channels: 4,
        kernel: [kernel; 2],
        stride: [1; 2],
        dilation: [1; 2],
        padding,
        groups: 1,
        bias: false,
    })
}

#[test]
fn an_image_smaller_than_a_window_is_refused() {
    let model = single(conv(5, Padding::all(0)), 3);
    for image in [[4, 9], [9, 4], [1, 1]] {
        let error = Program::compile(&model, image, &["node"]).unwrap_err();
        assert!(matches!(error, EngineError::Graph(GraphError::InputTooSmall { .. })), "{error}");
    }
    Program::compile(&model, [5, 5], &["node"]).unwrap();
}

#[test]
fn windows_that_see_only_padding_are_refused_and_wide_borders_of_convolutions_are_not() {
    for op in [Op::MaxPool, Op::AveragePool] {
        let model = single(op(Pool::new([2; 2], [1; 2], Padding::all(2))), 3);
        let error = Program::compile(&model, [5, 5], &["node"]).unwrap_err().to_string();
        assert!(error.contains("'node'") && error.contains("N×3×5×5"), "{error}");
    }
    let model = single(conv(3, Padding::all(4)), 3);
    let program = Program::compile(&model, [2, 2], &["node"]).unwrap();
    assert_eq!(program.run(Array4::ones([1, 3, 2, 2]).view()).unwrap()[0].shape(), [1, 4, 8, 8]);
}

#[test]
fn a_border_beyond_all_memory_is_an_error() {
    let model = single(conv(3, Padding::all(1 << 40)), 3);
    let error = Program::compile(&model, [5, 5], &["node"]).unwrap_err();
    assert!(matches!(error, EngineError::Memory { .. }), "{error}");
}

#[test]
fn sizes_beyond_all_memory_are_errors() {
    let resize = |size, mode| {
        let coordinates = Coordinates::HalfPixel;
        Op::Resize(Interpolation { size: InterpolationSize::Fixed(size), mode, coordinates })
    };
    let pad = |border| {
        let borders = vec![[0, 0], [0, 0], [0, border], [0, 0]];
        Op::Pad(Pad { borders, mode: PadMode::Constant(0.0) })
    };
    let transposed = |stride| {
        Op::ConvTranspose(ConvTranspose {
            in_channels: 3,
            out_channels: 3,
            kernel: [2; 2],
            stride: [stride, 1],
            dilation: [1; 2],
            padding: [0; 4],
            output_padding: [0; 2],
            groups: 1,
            bias: false,
        })
    };
    let (nearest, linear) = (InterpolationMode::Nearest, InterpolationMode::Linear);
    for op in [
        resize([1 << 40, 1], nearest),
        resize([1 << 26, 1], nearest),
        resize([1 << 26, 1], linear),
        pad(1 << 40),
        pad(1 << 26),
        transposed(1 << 40),
        transposed(1 << 24),
    ] {
        let error = Program::compile(&fixed(op.clone()), [5, 5], &["node"]).unwrap_err();
        assert!(matches!(error, EngineError::Memory { .. }), "{op:?}: {error}");
    }
    // Neighbours that cannot be there only make the mean smaller.
    for region in [LrnRegion::AcrossChannels, LrnRegion::WithinChannel] {
        let op = Op::Lrn(Lrn { size: usize::MAX, alpha: 1.0, beta: 0.5, bias: 4.0, region });
        let program = Program::compile(&fixed(op), [5, 5], &["node"]).unwrap();
        let output = program.run(Array4::ones([1, 3, 5, 5]).view()).unwrap().remove(0);
        assert!(output.iter().all(|value| (value - 0.5).abs() < 1e-6), "{output}");
    }
}

/// One operator on images of 3×5×5.
fn fixed(op: Op) -> regraft_graph::Model {
    let batch = regraft_graph::Dim::symbol(regraft_graph::Symbol::Batch);
    with_weights(op, Fact::new([batch, 3.into(), 5.into(), 5.into()]))
}

#[test]
fn numbers_move_in_images_of_any_size() {
    let batch = images(2);
    let (mirrored, before) =
        (Pad { borders: vec![[0; 2], [0; 2], [3, 0], [0; 2]], mode: PadMode::Reflect }, 3);
    let ops = [
        Op::Transpose(Transpose { axes: vec![0, 2, 3, 1] }),
        Op::Reshape(Reshape { shape: vec![-1, 0, 0] }),
        Op::Pad(mirrored),
    ];
    for op in ops {
        let program = Program::compile(&single(op.clone(), 3), IMAGE, &["node"]).unwrap();
        let found = program.run(batch.view()).unwrap().remove(0);
        let expected = match op {
            Op::Transpose(_) => batch.clone().permuted_axes([0, 2, 3, 1]).as_standard_layout().to_owned(),
            Op::Reshape(_) => batch.clone(),
            _ => Array4::from_shape_fn([2, 3, IMAGE[0] + before, IMAGE[1]], |(image, channel, y, x)| {
                batch[[image, channel, y.abs_diff(before), x]]
            }),
        };
        assert_eq!(expected.into_dyn(), found, "{op:?}");
    }
    // A border that is wider than this image.
    let borders = vec![[0; 2], [0; 2], [9, 0], [0; 2]];
    let model = single(Op::Pad(Pad { borders, mode: PadMode::Reflect }), 3);
    let error = Program::compile(&model, [9, 9], &["node"]).unwrap_err().to_string();
    assert!(error.contains("'node'") && error.contains("narrower"), "{error}");
}

#[test]
fn an_unavailable_instruction_set_is_refused() {
    let model = single(Op::Relu, 3);
    for set in InstructionSet::ALL {
        let compiled = Program::compile_for(&model, [2, 2], &["node"], set);
        match compiled {
            Ok(program) => assert_eq!(program.instruction_set(), set.name()),
            Err(error) => assert_eq!(error, EngineError::InstructionSet { name: set.name() }),
        }
    }
}

fn imagenet() -> (Cow<'static, [f32]>, Cow<'static, [f32]>) {
    (vec![123.675, 116.28, 103.53].into(), vec![58.395, 57.12, 57.375].into())
}

fn pixels(batch: usize) -> Vec<Vec<u8>> {
    let sample = |image: usize| move |index: usize| (index * 31 % 257 + image * index % 7) as u8;
    (0..batch).map(|image| (0..3 * IMAGE[0] * IMAGE[1]).map(sample(image)).collect()).collect()
}

/// N×3×H×W, as a separate step would normalise.
fn normalised(images: &[Vec<u8>], preprocessing: &Preprocessing) -> Array4<f32> {
    let [height, width] = IMAGE;
    Array4::from_shape_fn([images.len(), 3, height, width], |(image, channel, y, x)| {
        let sample = if preprocessing.channel_order == ChannelOrder::Rgb { channel } else { 2 - channel };
        let value = f32::from(images[image][3 * (y * width + x) + sample]);
        (value - preprocessing.mean[channel]) / preprocessing.std[channel]
    })
}

#[test]
fn pixels_give_the_bits_of_normalised_numbers() {
    let bytes = pixels(5);
    let images: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    for case in cases() {
        let mut preprocessing = case.model.card().preprocessing.clone();
        (preprocessing.mean, preprocessing.std) = imagenet();
        for order in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
            preprocessing.channel_order = order;
            let normalization = Normalization::new(&preprocessing);
            for settings in settings() {
                let program = compile(&case, &case.wires(), settings);
                let expected = program.run_pooled(normalised(&bytes, &preprocessing).view()).unwrap();
                let found = program.run_pooled_pixels(&images, &normalization).unwrap();
                for (expected, found) in expected.into_iter().zip(found) {
                    assert_eq!(bits(&expected.into_dyn()), bits(&found.into_dyn()), "{}", case.name);
                }
            }
        }
    }
}

#[test]
fn pixels_give_the_ranges_of_normalised_numbers() {
    let case = &cases()[0];
    let bytes = pixels(2);
    let images: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let mut preprocessing = case.model.card().preprocessing.clone();
    (preprocessing.mean, preprocessing.std) = imagenet();
    let calibrator = || Calibrator::new(&case.model, IMAGE, &["fc"], InstructionSet::detect()).unwrap();
    let (mut of_numbers, mut of_pixels) = (calibrator(), calibrator());
    of_numbers.observe(normalised(&bytes, &preprocessing).view()).unwrap();
    of_pixels.observe_pixels(&images, &Normalization::new(&preprocessing)).unwrap();
    assert_eq!(of_numbers.finish(), of_pixels.finish());
}

#[test]
fn pixels_may_have_any_number_of_channels() {
    for channels in [1, 2, 4, 5, 19] {
        let model = single(Op::Relu, channels);
        let mut preprocessing = model.card().preprocessing.clone();
        preprocessing.mean = (0..channels).map(|channel| 10.5 * channel as f32).collect();
        preprocessing.std = (0..channels).map(|channel| 1.0 + channel as f32).collect();
        let bytes: Vec<u8> = (0..6 * channels).map(|index| (index * 37 % 251) as u8).collect();
        let numbers = Array4::from_shape_fn([1, channels, 2, 3], |(_, channel, y, x)| {
            let value = f32::from(bytes[channels * (3 * y + x) + channel]);
            (value - preprocessing.mean[channel]) / preprocessing.std[channel]
        });
        let program = Program::compile(&model, [2, 3], &["node"]).unwrap();
        let expected = program.run_pooled(numbers.view()).unwrap();
        let found = program.run_pooled_pixels(&[&bytes], &Normalization::new(&preprocessing)).unwrap();
        assert_eq!(expected, found, "{channels}");
    }
}

#[test]
fn pixels_of_another_size_are_refused() {
    let case = cases().remove(0);
    let program = Program::compile(&case.model, IMAGE, &case.wires()).unwrap();
    let normalization = Normalization::new(&case.model.card().preprocessing);
    let error = program.run_pooled_pixels(&[&[0; 5]], &normalization).unwrap_err();
    assert!(matches!(error, EngineError::InputShape { .. }), "{error}");
}
