//! Images of other channels than a network was trained on.
//!
//! Every way of it is one linear map a pixel, from the channels of the data to those of the network: `y = W·x + b`. A
//! convolution of `y` is a convolution of `x` whose kernels are mixed by `W`, so the map goes into the first
//! convolutions where that is exact, and costs nothing there. It is not exact where `b` is not zero and a convolution
//! pads: the border of zeros stands for `y = 0` and not for `x = 0`, and no constant in its place does for all channels
//! at once. It is not possible where something other than a convolution reads the image. In both cases the map becomes
//! a convolution of single pixels in front of everything, which is exact always and leaves the trained weights as they
//! are.

use std::borrow::Cow;

use super::{Edit, Patch};
use crate::{
    ChannelOrder, Conv, Dim, Fact, Graph, GraphError, Model, Node, Op, Padding, ParameterKind, Preprocessing,
    Tensor, Weights,
};

/// How the channels of images become those that a network was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelRule {
    /// Grey, first of one or two channels: every channel of the network sees it as it sees a grey image that was made
    /// RGB. A second channel (alpha) has weights of zero.
    Grey,
    /// The channels are repeated in order, as often as there are others of the network, and weighted so that sums keep
    /// their size: `timm`'s rule. A single one counts fully in every channel.
    Repeat,
    /// The first channels are the network's own; the others have weights of zero, so that the network computes what it
    /// computed without them until it is trained.
    Zero,
    /// The first channels are the network's own; the others have the mean of its kernels.
    Mean,
    /// Red, green and blue for a network of one channel: their luma, 0.299 R + 0.587 G + 0.114 B.
    Luma,
}

/// Mean and deviation of a channel whose own are not known, on the scale 0 … 255: those of numbers between −1 and 1.
const UNKNOWN: f32 = 127.5;

const LUMA: [f64; 3] = [0.299, 0.587, 0.114];

impl ChannelRule {
    /// What is subtracted from `channels` channels of data, and divides them, where the data have not been asked:
    /// grey gets the means over the network's channels, channels that are the network's own keep theirs.
    pub fn normalisation(self, source: &Preprocessing, channels: usize) -> (Vec<f32>, Vec<f32>) {
        let own = source.channels().max(1);
        let average = |values: &[f32]| values.iter().sum::<f32>() / own as f32;
        let of = |values: &[f32], channel: usize| match self {
            Self::Grey if channel == 0 => average(values),
            Self::Repeat if channels == 1 => average(values),
            Self::Repeat => value(values, source.sample(channel % own)),
            Self::Luma => value(values, 0),
            Self::Zero | Self::Mean if channel < own => value(values, source.sample(channel)),
            _ => UNKNOWN,
        };
        let all = |values: &[f32]| (0..channels).map(|channel| of(values, channel)).collect();
        (all(&source.mean), all(&source.std))
    }

    /// What a sample of the data, on the scale 0 … 255, counts in a sample that the network was trained on.
    fn of_samples(self, to: usize, from: usize) -> f64 {
        match self {
            Self::Grey if from == 0 => 1.0,
            Self::Zero | Self::Mean if from == to => 1.0,
            Self::Luma => LUMA.get(from).copied().unwrap_or(0.0),
            _ => 0.0,
        }
    }

    /// What a normalised channel of the data counts beside that in one of the `own` channels of the network.
    fn of_normalised(self, to: usize, from: usize, own: usize, channels: usize) -> f64 {
        match self {
            Self::Repeat if channels == 1 => 1.0,
            Self::Repeat if from % own == to => own as f64 / channels as f64,
            Self::Mean if from >= own => 1.0 / own as f64,
            _ => 0.0,
        }
    }
}

fn value(values: &[f32], index: usize) -> f32 {
    values.get(index).copied().unwrap_or(UNKNOWN)
}

/// `y = weight · x + bias` at every pixel, from normalised channels of the data to normalised ones of the network.
struct ChannelMap {
    /// One row a channel of the network.
    weight: Vec<Vec<f64>>,
    bias: Vec<f64>,
}

impl ChannelMap {
    fn new(rule: ChannelRule, source: &Preprocessing, data: &Preprocessing) -> Self {
        let rows = (0..source.channels()).map(|channel| row(rule, source, data, channel));
        let (weight, bias) = rows.unzip();
        Self { weight, bias }
    }

    fn has_bias(&self) -> bool {
        // Less than a rounding of the normalised values is none.
        self.bias.iter().any(|bias| bias.abs() > 1e-7)
    }

    fn channels(&self) -> usize {
        self.weight.first().map_or(0, Vec::len)
    }
}

/// One channel of the network: the weights of the data's channels, and what is added.
fn row(rule: ChannelRule, source: &Preprocessing, data: &Preprocessing, channel: usize) -> (Vec<f64>, f64) {
    let (own, channels, sample) = (source.channels(), data.channels(), source.sample(channel));
    let [mean, std] = [&source.mean, &source.std].map(|values| f64::from(value(values, channel)));
    let count = |from: usize| rule.of_samples(sample, from);
    let weight = |from: usize| {
        let samples = count(from) * f64::from(value(&data.std, from)) / std;
        samples + rule.of_normalised(sample, from, own, channels)
    };
    let black: f64 = (0..channels).map(|from| count(from) * f64::from(value(&data.mean, from))).sum();
    let bias = if rule == ChannelRule::Repeat { 0.0 } else { (black - mean) / std };
    ((0..channels).map(weight).collect(), bias)
}

impl Patch {
    /// Makes the network take images of other channels: as many as `data` has means. `data` becomes the preprocessing of
    /// the card, its channels in the order of the data.
    ///
    /// # Errors
    /// The network does not take images, or takes others than its card says; `data` has no channels, or not a deviation
    /// for each.
    pub fn adapt_input_channels(
        model: &Model,
        rule: ChannelRule,
        data: Preprocessing,
    ) -> Result<Self, GraphError> {
        let source = &model.card().preprocessing;
        let fact = input_of(model, data.channels())?;
        if data.channels() == 0 || data.std.len() != data.mean.len() {
            return Err(refused(model, "one mean and one deviation for each channel of the data"));
        }
        let data = Preprocessing { channel_order: ChannelOrder::Rgb, ..data };
        let map = ChannelMap::new(rule, source, &data);
        let reason = format!("{}: {} ({})", ChannelRule::REASON, data.channels(), rule.description());
        let readers: Vec<&Node> = model.graph().consumers(model.graph().input()).collect();
        let mut edits = vec![Edit::Input { fact, preprocessing: data }];
        if readers.iter().all(|reader| can_hold(reader, &map)) {
            for reader in readers {
                let (node, weights) = mixed(model, reader, &map)?;
                edits.push(Edit::Replace { node, weights });
            }
        } else {
            edits.push(in_front(model, &map, &readers)?);
        }
        Ok(Self::new(reason, edits))
    }
}

impl ChannelRule {
    /// How the reason in a model's history begins, which tells that its card is about other channels than those of its
    /// source.
    pub const REASON: &'static str = "other channels";

    fn description(self) -> &'static str {
        match self {
            Self::Grey => "grey, seen as the grey of its colours",
            Self::Repeat => "the kernels repeated, sums kept",
            Self::Zero => "the kernels of further channels zero",
            Self::Mean => "the kernels of further channels the mean",
            Self::Luma => "their luma",
        }
    }
}

fn refused(model: &Model, expected: impl Into<String>) -> GraphError {
    let (node, found) = (model.graph().input().to_owned(), model.graph().input_fact().to_string());
    GraphError::Shape { node, op: "Input", expected: expected.into(), found }
}

/// The input's fact with another number of channels.
fn input_of(model: &Model, channels: usize) -> Result<Fact, GraphError> {
    let trained = model.card().preprocessing.channels();
    match model.graph().input_fact().shape.as_slice() {
        [batch, Dim::Fixed(own), height, width] if *own == trained => {
            Ok(Fact::new([*batch, channels.into(), *height, *width]))
        }
        _ => Err(refused(model, format!("an image of {trained} channels"))),
    }
}

/// Whether the map can be multiplied into a node's weights.
fn can_hold(node: &Node, map: &ChannelMap) -> bool {
    let Op::Conv(conv) = &node.op else { return false };
    conv.groups == 1 && (!map.has_bias() || conv.padding == Padding::all(0))
}

/// A convolution that computes of the data's channels what it computed of its own.
fn mixed(model: &Model, node: &Node, map: &ChannelMap) -> Result<(Node, Weights), GraphError> {
    let Op::Conv(conv) = &node.op else { return Ok((node.clone(), Weights::new())) };
    let kernels = model.parameter(node, ParameterKind::Weight)?.to_f32();
    let window = conv.kernel.iter().product::<usize>().max(1);
    let filters: Vec<&[f32]> = kernels.chunks(window * conv.in_channels.max(1)).collect();
    let weight: Vec<f32> = filters.iter().flat_map(|filter| mixed_filter(filter, window, map)).collect();
    let with_bias = conv.bias || map.has_bias();
    let conv = Conv { in_channels: map.channels(), bias: with_bias, ..conv.clone() };
    let old = model.parameter(node, ParameterKind::Bias).map(Tensor::to_f32).unwrap_or_default();
    let bias = filters.iter().enumerate().map(|(index, filter)| {
        let added: f64 = filter.chunks(window).zip(&map.bias).map(|(kernel, bias)| sum(kernel) * bias).sum();
        (f64::from(old.get(index).copied().unwrap_or(0.0)) + added) as f32
    });
    let bias: Vec<f32> = bias.collect();
    let node = Node { op: Op::Conv(conv), ..node.clone() };
    let mut weights = Weights::new();
    for parameter in node.parameters() {
        let values = if parameter.kind == ParameterKind::Weight { &weight } else { &bias };
        weights.insert(parameter.name, Tensor::from_f32(parameter.shape, values)?);
    }
    Ok((node, weights))
}

/// The kernels of one output channel, one for each channel of the data.
fn mixed_filter(filter: &[f32], window: usize, map: &ChannelMap) -> Vec<f32> {
    let mut mixed = vec![0.0f64; window * map.channels()];
    for (kernel, row) in filter.chunks(window).zip(&map.weight) {
        for (place, count) in mixed.chunks_mut(window).zip(row) {
            place.iter_mut().zip(kernel).for_each(|(sum, value)| *sum += count * f64::from(*value));
        }
    }
    mixed.into_iter().map(|value| value as f32).collect()
}

fn sum(kernel: &[f32]) -> f64 {
    kernel.iter().map(|value| f64::from(*value)).sum()
}

/// The map as a convolution of single pixels that everything reads in place of the image.
fn in_front(model: &Model, map: &ChannelMap, readers: &[&Node]) -> Result<Edit, GraphError> {
    let graph = model.graph();
    let name = free_name(graph, "input_channels");
    let conv = Conv {
        in_channels: map.channels(),
        out_channels: map.weight.len(),
        kernel: [1; 2],
        stride: [1; 2],
        dilation: [1; 2],
        padding: Padding::all(0),
        groups: 1,
        bias: true,
    };
    let node = Node::new(name, Op::Conv(conv), [graph.input()]);
    let weight: Vec<f32> = map.weight.iter().flatten().map(|value| *value as f32).collect();
    let bias: Vec<f32> = map.bias.iter().map(|value| *value as f32).collect();
    let mut weights = Weights::new();
    for parameter in node.parameters() {
        let values = if parameter.kind == ParameterKind::Weight { &weight } else { &bias };
        weights.insert(parameter.name, Tensor::from_f32(parameter.shape, values)?);
    }
    let readers = readers.iter().map(|reader| reader.name.clone()).collect();
    Ok(Edit::Insert { node, weights, readers })
}

/// The name, with a number behind it where it is taken.
pub(super) fn free_name(graph: &Graph, name: &str) -> String {
    let numbered = |number: usize| match number {
        1 => Cow::Borrowed(name),
        _ => Cow::Owned(format!("{name}.{number}")),
    };
    let free = (1..).map(numbered).find(|name| !graph.has_wire(name));
    free.map_or_else(|| name.to_owned(), Cow::into_owned)
}
