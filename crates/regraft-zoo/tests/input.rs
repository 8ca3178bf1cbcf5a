//! Architectures with images of other channels and sizes: what they compute is what they computed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

mod common;

use ndarray::{Array2, Array4, Axis, concatenate};
use regraft_engine::Program;
use regraft_graph::{ChannelOrder, ChannelRule, Graph, Model, Patch, Preprocessing};
use regraft_zoo::{Architecture, Network, architectures};

/// Height and width of the images, and of those for networks that take no smaller ones.
const SIZES: [usize; 3] = [64, 96, 224];

/// An architecture up to its first cut point, which is behind all layers that a patch touches, with formula weights.
fn beginning(architecture: &Architecture) -> Model {
    let Network { graph, roles } = architecture.network(10).unwrap();
    let end = roles.cuts.first().unwrap().clone();
    let mut short = Graph::new(graph.input(), graph.input_fact().clone());
    for node in graph.nodes() {
        short.push(node.clone()).unwrap();
        if node.name == end {
            break;
        }
    }
    short.set_output(&end).unwrap();
    let mut card = architecture.card("formula weights");
    (card.roles.features, card.preprocessing) = (end, uneven(&card.preprocessing));
    let weights = common::hashed_parameters(&short, 1.0);
    let model = Model::new(short, weights, card).unwrap();
    let size = SIZES.into_iter().find(|size| Patch::resize_input(&model, [*size; 2]).is_ok()).unwrap();
    Patch::resize_input(&model, [size; 2]).unwrap().apply(model).unwrap()
}

/// With a normalisation of its own for each channel, the hard case.
fn uneven(preprocessing: &Preprocessing) -> Preprocessing {
    let first = |values: [f32; 3]| values[..preprocessing.channels()].to_vec().into();
    let (mean, std) = (first([123.7, 116.3, 103.5]), first([58.4, 57.1, 63.0]));
    Preprocessing { mean, std, ..preprocessing.clone() }
}

/// Those that were trained on RGB.
fn colour_architectures() -> impl Iterator<Item = &'static Architecture> {
    architectures().iter().filter(|architecture| architecture.preprocessing.channels() == 3)
}

fn features(model: &Model, input: &Array4<f32>) -> Array2<f32> {
    let program = Program::compile(model, model.card().preprocessing.crop, &[&model.card().roles.features]);
    program.unwrap().run_pooled(input.view()).unwrap().remove(0)
}

/// Samples in 0 … 255, N×C×H×W.
fn samples(channels: usize, [height, width]: [usize; 2]) -> Array4<f32> {
    let value = |(n, c, y, x): (usize, usize, usize, usize)| {
        let position = (n * channels + c) * height * width + y * width + x;
        (position.wrapping_mul(2_654_435_761) >> 7 & 0xff) as f32
    };
    Array4::from_shape_fn([2, channels, height, width], value)
}

fn normalised(samples: &Array4<f32>, preprocessing: &Preprocessing) -> Array4<f32> {
    Array4::from_shape_fn(samples.dim(), |(n, channel, y, x)| {
        preprocessing.normalise(channel, samples[[n, preprocessing.sample(channel), y, x]])
    })
}

fn adapted(model: &Model, rule: ChannelRule, channels: usize) -> Model {
    let (mean, std) = rule.normalisation(&model.card().preprocessing, channels);
    let data = Preprocessing { mean: mean.into(), std: std.into(), ..model.card().preprocessing.clone() };
    Patch::adapt_input_channels(model, rule, data).unwrap().apply(model.clone()).unwrap()
}

/// The largest difference as a share of the largest value.
fn apart(found: &Array2<f32>, expected: &Array2<f32>) -> f32 {
    assert_eq!(found.dim(), expected.dim());
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    assert!(largest > 0.0);
    common::largest_difference(found, expected) / largest
}

#[test]
fn a_grey_image_is_seen_as_it_was_in_three_channels() {
    for architecture in colour_architectures() {
        for order in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
            let model = beginning(architecture);
            let mut card = model.card().clone();
            card.preprocessing.channel_order = order;
            let model = model.with_card(card).unwrap();
            let grey = samples(1, model.card().preprocessing.crop);
            let colour = concatenate(Axis(1), &[grey.view(), grey.view(), grey.view()]).unwrap();
            let expected = features(&model, &normalised(&colour, &model.card().preprocessing));
            let adapted = adapted(&model, ChannelRule::Grey, 1);
            let found = features(&adapted, &normalised(&grey, &adapted.card().preprocessing));
            let apart = apart(&found, &expected);
            assert!(apart <= 1e-5, "{} {order:?}: {apart:e}", architecture.name);
        }
    }
}

#[test]
fn a_network_of_one_channel_sees_the_luma_of_colours() {
    let grey = |architecture: &&Architecture| architecture.preprocessing.channels() == 1;
    let one_channel: Vec<&Architecture> = architectures().iter().filter(grey).collect();
    assert!(!one_channel.is_empty());
    for architecture in one_channel {
        let model = beginning(architecture);
        let colour = samples(3, model.card().preprocessing.crop);
        let weights = Array4::from_shape_vec([1, 3, 1, 1], vec![0.299, 0.587, 0.114]).unwrap();
        let luma = (&colour * &weights).sum_axis(Axis(1)).insert_axis(Axis(1));
        let expected = features(&model, &normalised(&luma, &model.card().preprocessing));
        let adapted = adapted(&model, ChannelRule::Luma, 3);
        let found = features(&adapted, &normalised(&colour, &adapted.card().preprocessing));
        let apart = apart(&found, &expected);
        assert!(apart <= 1e-5, "{}: {apart:e}", architecture.name);
    }
}

#[test]
fn channels_of_no_weight_change_nothing() {
    for architecture in architectures() {
        let model = beginning(architecture);
        let five = samples(5, model.card().preprocessing.crop);
        let own: Vec<usize> = (0..model.card().preprocessing.channels()).collect();
        let colour = five.select(Axis(1), &own);
        let expected = features(&model, &normalised(&colour, &model.card().preprocessing));
        let adapted = adapted(&model, ChannelRule::Zero, 5);
        let found = features(&adapted, &normalised(&five, &adapted.card().preprocessing));
        let apart = apart(&found, &expected);
        // The engine may add the products in another order.
        assert!(apart <= 1e-6, "{}: {apart:e}", architecture.name);
    }
}

#[test]
fn repeated_channels_of_equal_content_keep_their_sums() {
    for architecture in architectures() {
        let model = beginning(architecture);
        let own = model.card().preprocessing.channels();
        let colour = samples(own, model.card().preprocessing.crop);
        let six = concatenate(Axis(1), &[colour.view(), colour.view()]).unwrap();
        let expected = features(&model, &normalised(&colour, &model.card().preprocessing));
        let adapted = adapted(&model, ChannelRule::Repeat, 2 * own);
        let found = features(&adapted, &normalised(&six, &adapted.card().preprocessing));
        let apart = apart(&found, &expected);
        assert!(apart <= 1e-5, "{}: {apart:e}", architecture.name);
    }
}
