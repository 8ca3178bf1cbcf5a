//! Concatenations without copying.
//!
//! Whole blocks of channels are one stretch of memory in the blocked layout, so the inputs of a concatenation can be
//! computed where their copies would go: each is a view of the concatenated value. A concatenation that is a part of a
//! larger one is a view of that, to any depth; DenseNet's layers, each of which reads the concatenation of all before
//! it, so copy nothing. What does not lie at a multiple of a block, or has its place in another value, is copied.

use std::collections::HashMap;

use regraft_graph::Op;

use crate::{
    geometry::{Border, Geometry},
    network::{Instruction, Network},
    simd::LANES,
};

/// Channels of a value that are another value's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// The value that has the memory.
    pub(crate) whole: usize,
    /// The first channel there.
    pub(crate) channel: usize,
}

/// The values that have no memory of their own.
#[derive(Debug, Default)]
pub(crate) struct Views(HashMap<usize, View>);

/// An input of a concatenation and its first channel in the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) input: usize,
    pub(crate) channel: usize,
}

/// The inputs of a concatenation of channels; empty for any other instruction.
pub(crate) fn parts(network: &Network<'_>, instruction: &Instruction<'_>) -> Vec<Part> {
    let channels = |value: usize| network.values.get(value).map_or(0, |[channels, ..]| *channels);
    let mut parts = Vec::new();
    let mut channel = 0;
    for input in &instruction.inputs {
        parts.push(Part { input: *input, channel });
        channel += channels(*input);
    }
    let of_channels = matches!(instruction.node.op, Op::Concat(_)) && channel == channels(instruction.output);
    if of_channels { parts } else { Vec::new() }
}

impl Views {
    /// Gives every input of a concatenation its place there, if it can have it. Larger concatenations come after their
    /// parts in the graph and choose first.
    pub(crate) fn new(network: &Network<'_>) -> Self {
        let mut views = Self::default();
        for instruction in network.instructions.iter().rev() {
            let parts = parts(network, instruction);
            match views.run(&parts).filter(|_| !views.is_view(instruction.output)) {
                Some(view) => drop(views.0.insert(instruction.output, view)),
                None => parts.iter().for_each(|part| views.place(network, instruction.output, *part)),
            }
        }
        views
    }

    /// Where a value lies; a value with memory of its own lies in itself.
    pub(crate) fn of(&self, value: usize) -> View {
        self.0.get(&value).copied().unwrap_or(View { whole: value, channel: 0 })
    }

    /// Whether a part of a concatenation is computed in its place.
    pub(crate) fn in_place(&self, output: usize, part: Part) -> bool {
        self.of(part.input) == self.wanted(output, part)
    }

    /// Whether a value is a view of another.
    pub(crate) fn is_view(&self, value: usize) -> bool {
        self.0.contains_key(&value)
    }

    /// Whether a value has memory of its own without a view in it.
    pub(crate) fn is_apart(&self, value: usize) -> bool {
        !self.is_view(value) && self.0.values().all(|view| view.whole != value)
    }

    /// Gives a value and its views one border, the widest that any of them needs.
    pub(crate) fn share_borders(&self, geometries: &mut [Geometry]) {
        let mut pairs: Vec<(usize, usize)> =
            self.0.iter().map(|(value, view)| (*value, view.whole)).collect();
        pairs.sort_unstable();
        for (value, whole) in &pairs {
            let border = border(geometries, *value);
            geometries.iter_mut().skip(*whole).take(1).for_each(|geometry| geometry.widen(border));
        }
        for (value, whole) in &pairs {
            let border = border(geometries, *whole);
            geometries.iter_mut().skip(*value).take(1).for_each(|geometry| geometry.widen(border));
        }
    }

    fn wanted(&self, output: usize, part: Part) -> View {
        let View { whole, channel } = self.of(output);
        View { whole, channel: channel + part.channel }
    }

    fn place(&mut self, network: &Network<'_>, output: usize, part: Part) {
        let channels = network.values.get(part.input).map_or(0, |[channels, ..]| *channels);
        let view = self.wanted(output, part);
        let whole_blocks = channels.is_multiple_of(LANES) && view.channel.is_multiple_of(LANES);
        // The input of the network is loaded by other code, and may be planar.
        if part.input != 0 && whole_blocks {
            self.0.entry(part.input).or_insert(view);
        }
    }

    /// The parts as one view, if they have places one after the other already.
    fn run(&self, parts: &[Part]) -> Option<View> {
        let first = self.0.get(&parts.first()?.input).copied()?;
        let follows = |part: &Part| {
            let wanted = View { channel: first.channel + part.channel, ..first };
            self.0.get(&part.input) == Some(&wanted)
        };
        parts.iter().all(follows).then_some(first)
    }
}

fn border(geometries: &[Geometry], value: usize) -> Border {
    geometries.get(value).map_or([0; 4], |geometry| geometry.border)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_graph::{Concat, Conv, Fact, Graph, Node, Padding};

    fn conv(graph: &mut Graph, name: &str, channels: usize) {
        let conv = Conv {
            in_channels: 16,
            out_channels: channels,
            kernel: [1; 2],
            stride: [1; 2],
            dilation: [1; 2],
            padding: Padding::all(0),
            groups: 1,
            bias: false,
        };
        graph.push(Node::new(name, Op::Conv(conv), ["input"])).unwrap();
    }

    /// Convolutions of these widths, called by their positions, and concatenations of them.
    fn copied(widths: &[usize], concats: &[(&str, &[&str])]) -> Vec<String> {
        let mut graph = Graph::new("input", Fact::image(16));
        widths.iter().enumerate().for_each(|(index, width)| conv(&mut graph, &index.to_string(), *width));
        for (name, inputs) in concats {
            let op = Op::Concat(Concat { axis: 1 });
            graph.push(Node::new(*name, op, inputs.iter().copied())).unwrap();
        }
        graph.set_outputs(concats.iter().map(|(name, _)| *name)).unwrap();
        let network = Network::new(&graph, [2, 2]).unwrap();
        let views = Views::new(&network);
        let copies = network.instructions.iter().flat_map(|instruction| {
            let parts = parts(&network, instruction);
            let copied = parts.into_iter().filter(|part| !views.in_place(instruction.output, *part));
            copied.map(|part| format!("{}@{}", instruction.node.name, part.channel)).collect::<Vec<_>>()
        });
        copies.collect()
    }

    #[test]
    fn growing_and_nested_concatenations_copy_nothing() {
        let growing: [(&str, &[&str]); 3] =
            [("two", &["0", "1"]), ("three", &["0", "1", "2"]), ("four", &["0", "1", "2", "3"])];
        assert!(copied(&[64, 32, 32, 32], &growing).is_empty());
        let nested: [(&str, &[&str]); 3] =
            [("a", &["1", "2"]), ("b", &["3", "4"]), ("all", &["0", "a", "b"])];
        assert!(copied(&[16; 5], &nested).is_empty());
    }

    #[test]
    fn a_value_has_one_place() {
        assert_eq!(copied(&[16; 2], &[("a", &["0", "1"]), ("b", &["1", "0"])]), ["a@0", "a@16"]);
        assert_eq!(copied(&[16; 1], &[("twice", &["0", "0"])]), ["twice@16"]);
        assert_eq!(copied(&[16; 1], &[("cat", &["input", "0"])]), ["cat@0"]);
    }

    #[test]
    fn parts_of_blocks_are_copied() {
        assert_eq!(copied(&[16, 8, 8, 16], &[("a", &["0", "1", "2", "3"])]), ["a@16", "a@24"]);
    }
}
