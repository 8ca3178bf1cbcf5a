//! Whether a part of a concatenation is computed in its place or copied changes no bit: random graphs of convolutions and
//! concatenations against every part by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use ndarray::{Array4, ArrayD, Axis, concatenate};
use rand::RngExt as _;
use regraft_engine::Program;
use regraft_graph::{Concat, Conv, Dim, Fact, Graph, Node, Op, Padding, Tensor, Weights};
use regraft_system::random::{self, Stream};
use support::{model, numbers};

const WIDTHS: [usize; 8] = [1, 3, 8, 16, 16, 17, 32, 48];
const IMAGE: [usize; 2] = [5, 6];

fn channels(graph: &Graph, wire: &str) -> usize {
    let Dim::Fixed(channels) = graph.fact(wire).unwrap().shape[1] else { panic!("channels are known") };
    channels
}

fn conv(in_channels: usize, out_channels: usize, kernel: usize) -> Op {
    Op::Conv(Conv {
        in_channels,
        out_channels,
        kernel: [kernel; 2],
        stride: [1; 2],
        dilation: [1; 2],
        padding: Padding::all(kernel / 2),
        groups: 1,
        bias: true,
    })
}

/// Nodes that read random earlier wires; every third one is a concatenation, and so is the last.
fn graph(stream: &mut Stream) -> Graph {
    let mut graph = Graph::new("input", Fact::image(16));
    let mut wires = vec!["input".to_owned()];
    for index in 0..12 {
        let name = index.to_string();
        let earlier = |stream: &mut Stream| wires[stream.random_range(0..wires.len())].clone();
        let node = if index % 3 == 2 {
            let inputs: Vec<String> = (0..stream.random_range(1..5)).map(|_| earlier(stream)).collect();
            Node::new(&name, Op::Concat(Concat { axis: 1 }), inputs)
        } else {
            let input = earlier(stream);
            let width = WIDTHS[stream.random_range(0..WIDTHS.len())];
            let op = conv(channels(&graph, &input), width, [1, 3, 5][stream.random_range(0..3)]);
            Node::new(&name, op, [input])
        };
        graph.push(node).unwrap();
        wires.push(name);
    }
    graph
}

fn weights(graph: &Graph) -> Weights {
    let tensor = |parameter: regraft_graph::Parameter| {
        let fan_in: usize = parameter.shape.iter().skip(1).product();
        let scale = 1.0 / (fan_in as f32).sqrt();
        let values = numbers(&parameter.name, parameter.shape.iter().product(), scale, 0.0);
        (parameter.name, Tensor::from_f32(parameter.shape, &values).unwrap())
    };
    graph.parameters().into_iter().map(tensor).collect()
}

fn bits(array: &ArrayD<f32>) -> Vec<u32> {
    array.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_part_of_a_concatenation_is_what_it_is_by_itself() {
    let shape = [3, 16, IMAGE[0], IMAGE[1]];
    let input = Array4::from_shape_vec(shape, numbers("input", shape.iter().product(), 1.0, 0.0)).unwrap();
    for case in 0..40 {
        let mut graph = graph(&mut random::stream(1, "concatenations", case));
        graph.set_output("11").unwrap();
        let model = model(graph.clone(), weights(&graph));
        let run = |wires: &[&str]| Program::compile(&model, IMAGE, wires).unwrap().run(input.view()).unwrap();
        let all: Vec<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
        let together = run(&all);
        for (node, found) in graph.nodes().iter().zip(&together) {
            let alone = &run(&[&node.name])[0];
            assert_eq!(bits(alone), bits(found), "case {case}: '{}' alone and with all others", node.name);
            if matches!(node.op, Op::Concat(_)) {
                let parts = node.inputs.iter().map(|wire| match wire.as_str() {
                    "input" => input.clone().into_dyn(),
                    wire => run(&[wire]).remove(0),
                });
                let parts: Vec<ArrayD<f32>> = parts.collect();
                let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
                let expected = concatenate(Axis(1), &views).unwrap();
                assert_eq!(
                    bits(&expected.as_standard_layout().to_owned()),
                    bits(found),
                    "case {case}: '{}'",
                    node.name
                );
            }
        }
    }
}
