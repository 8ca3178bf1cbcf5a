//! A TensorFlow graph in JSON: its nodes in the order in which they can be computed, its constants, and where it ends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use regraft_graph::{Dim, Fact, Symbol, Tensor};
use serde_json::Value as Json;

use super::FORMAT;
use crate::FormatError;
use crate::channels_last::{Canvas, Order, Value, check_input};
use crate::draft::Draft;

/// The network, all of it.
pub(super) struct Built {
    pub(super) draft: Draft,
    pub(super) outputs: Vec<String>,
    /// The parts of the nodes' names, which tell what the network was built from.
    pub(super) names: Vec<String>,
    /// Wires of nodes that have none of their name.
    pub(super) aliases: BTreeMap<String, String>,
    /// Height and width of the images that the file says.
    pub(super) size: [Option<usize>; 2],
}

/// A node of the graph.
#[derive(Clone)]
pub(super) struct GraphNode<'a> {
    pub(super) name: &'a str,
    pub(super) op: &'a str,
    /// Names of the nodes that it reads, without those that it only waits for.
    pub(super) inputs: Vec<&'a str>,
    attributes: &'a Json,
}

/// What is known of a node's output.
#[derive(Debug, Clone)]
pub(super) enum Wire {
    /// Computed from the input.
    Value(Value),
    /// A weight, or a number that the graph computes with.
    Constant(Tensor),
    /// Sizes of a shape that is only known when data arrives; −1 is the batch.
    Sizes(Vec<i64>),
}

/// A graph on its way.
pub(super) struct Translator<'a> {
    pub(super) canvas: Canvas<'a>,
    pub(super) wires: HashMap<&'a str, Wire>,
    nodes: HashMap<&'a str, GraphNode<'a>>,
    readers: HashMap<&'a str, Vec<&'a str>>,
    outputs: HashSet<&'a str>,
    /// Nodes that became part of one before them.
    done: HashSet<&'a str>,
}

/// Builds the network of a graph.
///
/// # Errors
/// The graph contradicts itself, or one of its operators cannot be read.
pub(super) fn build<'a>(
    path: &'a Path,
    topology: &'a Json,
    signature: Option<&'a Json>,
    weights: Vec<(String, Tensor)>,
) -> Result<Built, FormatError> {
    let malformed = |message: String| FormatError::malformed(path, FORMAT, message);
    let nodes = topology.get("node").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let nodes: Vec<GraphNode<'_>> =
        nodes.iter().map(GraphNode::of).collect::<Result<_, _>>().map_err(malformed)?;
    let outputs = outputs(&nodes, signature);
    let order = order(&nodes, &outputs).map_err(malformed)?;
    let (input, shape) = input(&order, signature).map_err(malformed)?;
    let channels_first = order.iter().any(|node| node.text("data_format").as_deref() == Some("NCHW"));
    let kind = if shape.len() == 4 && !channels_first { Order::ChannelsFirst } else { Order::Declared };
    let constants: HashMap<String, Tensor> = weights.into_iter().collect();
    let parts = Parts { path, order: &order, outputs: &outputs, input, constants: &constants };
    // For images of any size where the operators allow it, otherwise for those of the file's size.
    let (open, size) = match (kind, shape.as_slice()) {
        (Order::ChannelsFirst, [batch, height, width, channels]) => {
            (Some([*batch, None, None, *channels]), [*height, *width])
        }
        (_, [batch, channels, height, width]) => (Some([*batch, *channels, None, None]), [*height, *width]),
        _ => (None, [None; 2]),
    };
    if let Some(built) = open.and_then(|open| parts.build(&open, kind).ok()) {
        return Ok(Built { size, ..built });
    }
    parts.build(&shape, kind).map(|built| Built { size, ..built })
}

/// What a network is built of.
struct Parts<'a, 'b> {
    path: &'a Path,
    order: &'b [GraphNode<'a>],
    outputs: &'b [&'a str],
    input: &'a str,
    constants: &'b HashMap<String, Tensor>,
}

impl Parts<'_, '_> {
    fn build(&self, shape: &[Option<usize>], order: Order) -> Result<Built, FormatError> {
        let input = Value { wire: self.input.to_owned(), order };
        let wrong = || FormatError::malformed(self.path, FORMAT, format!("an input of the shape {shape:?}"));
        let fact = fact(shape, order).ok_or_else(wrong)?;
        let mut translator = Translator {
            canvas: Canvas::new(Draft::new(self.input, fact), self.path, FORMAT),
            wires: HashMap::from([(self.input, Wire::Value(input))]),
            readers: readers(self.order),
            nodes: self.order.iter().map(|node| (node.name, node.clone())).collect(),
            outputs: self.outputs.iter().copied().collect(),
            done: HashSet::new(),
        };
        // All constants first: a bias may come behind the layer that it becomes a part of.
        for node in self.order.iter().filter(|node| node.op == "Const") {
            let constant = self.constants.get(node.name).cloned().or_else(|| node.inline_constant());
            translator.wires.extend(constant.map(|constant| (node.name, Wire::Constant(constant))));
        }
        for node in self.order.iter().filter(|node| node.op != "Const") {
            if node.name != self.input && !translator.done.contains(node.name) {
                translator.canvas.begin(node.name, node.op, node.name.to_owned())?;
                let wire = translator.node(node)?;
                translator.wires.insert(node.name, wire);
            }
        }
        translator.finish(self.outputs, self.order)
    }
}

impl<'a> Translator<'a> {
    fn finish(mut self, outputs: &[&'a str], order: &[GraphNode<'a>]) -> Result<Built, FormatError> {
        let mut wires = Vec::new();
        for output in outputs {
            let value = match self.wires.get(output) {
                Some(Wire::Value(value)) => value.clone(),
                _ => return Err(self.canvas.malformed(format!("the output '{output}' is not computed"))),
            };
            let flattened = matches!(value.order, Order::Flattened(_));
            wires.push(if flattened { self.canvas.in_order(&value)? } else { value.wire });
        }
        let mut names: Vec<String> = Vec::new();
        for part in order.iter().flat_map(|node| node.name.split('/')) {
            if !names.iter().any(|name| name == part) && names.len() < 1000 {
                names.push(part.to_owned());
            }
        }
        let renamed = |node: &GraphNode<'a>| match self.wires.get(node.name)? {
            Wire::Value(value) if value.wire != node.name => Some((node.name.to_owned(), value.wire.clone())),
            _ => None,
        };
        let aliases = order.iter().filter_map(renamed).collect();
        Ok(Built { draft: self.canvas.draft, outputs: wires, names, aliases, size: [None; 2] })
    }

    /// The only reader of a node, if there is one and the node is no output.
    pub(super) fn only_reader(&self, node: &GraphNode<'a>) -> Option<GraphNode<'a>> {
        match self.readers.get(node.name)?.as_slice() {
            [reader] if !self.outputs.contains(node.name) => self.nodes.get(reader).cloned(),
            _ => None,
        }
    }

    /// Says that `node` was computed together with one before it.
    pub(super) fn absorb(&mut self, node: &GraphNode<'a>, wire: Wire) {
        self.done.insert(node.name);
        self.wires.insert(node.name, wire);
    }

    pub(super) fn input(&self, node: &GraphNode<'a>, place: usize) -> Result<Wire, FormatError> {
        let wire = node.inputs.get(place).and_then(|name| self.wires.get(name));
        wire.cloned().ok_or_else(|| self.canvas.malformed(format!("its input {place} is missing")))
    }

    pub(super) fn value(&self, node: &GraphNode<'a>, place: usize) -> Result<Value, FormatError> {
        match self.input(node, place)? {
            Wire::Value(value) => Ok(value),
            _ => Err(self
                .canvas
                .unsupported(format!("its input {place} does not depend on the network's input"))),
        }
    }

    pub(super) fn constant(&self, node: &GraphNode<'a>, place: usize) -> Result<Tensor, FormatError> {
        match self.input(node, place)? {
            Wire::Constant(tensor) => Ok(tensor),
            _ => Err(self.canvas.unsupported(format!("its input {place} is not constant"))),
        }
    }

    /// A constant's or a shape's whole numbers.
    pub(super) fn integers(&self, node: &GraphNode<'a>, place: usize) -> Result<Vec<i64>, FormatError> {
        match self.input(node, place)? {
            Wire::Constant(tensor) => Ok(tensor.to_f32().into_iter().map(|number| number as i64).collect()),
            Wire::Sizes(sizes) => Ok(sizes),
            Wire::Value(_) => Err(self.canvas.unsupported(format!("its input {place} is not constant"))),
        }
    }
}

impl<'a> GraphNode<'a> {
    fn of(json: &'a Json) -> Result<Self, String> {
        let name = json.get("name").and_then(Json::as_str).ok_or("a node without a name")?;
        let op =
            json.get("op").and_then(Json::as_str).ok_or_else(|| format!("the node '{name}' without 'op'"))?;
        let inputs = json.get("input").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let mut names = Vec::new();
        for input in inputs.iter().filter_map(Json::as_str).filter(|input| !input.starts_with('^')) {
            let (input, output) = input.split_once(':').unwrap_or((input, "0"));
            if output != "0" {
                return Err(format!(
                    "the node '{name}' reads output {output} of '{input}'; only first outputs are read"
                ));
            }
            names.push(input);
        }
        Ok(Self { name, op, inputs: names, attributes: json.get("attr").unwrap_or(&Json::Null) })
    }

    fn attribute(&self, name: &str, kind: &str) -> Option<&'a Json> {
        self.attributes.get(name)?.get(kind)
    }

    /// A text, which JSON has in base64.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        decoded(self.attribute(name, "s")?.as_str()?)
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let list = self.attribute(name, "list").and_then(|list| list.get("s")).and_then(Json::as_array);
        list.into_iter().flatten().filter_map(|text| decoded(text.as_str()?)).collect()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.attribute(name, "b").and_then(Json::as_bool).unwrap_or(false)
    }

    pub(super) fn number(&self, name: &str, default: f64) -> f64 {
        self.attribute(name, "f").and_then(Json::as_f64).unwrap_or(default)
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        integer(self.attribute(name, "i")?)
    }

    pub(super) fn integers(&self, name: &str) -> Vec<i64> {
        let list = self.attribute(name, "list").and_then(|list| list.get("i")).and_then(Json::as_array);
        list.into_iter().flatten().filter_map(integer).collect()
    }

    /// A constant that stands in the graph and not in the shards.
    fn inline_constant(&self) -> Option<Tensor> {
        let tensor = self.attribute("value", "tensor")?;
        let numbers =
            ["floatVal", "intVal", "int64Val"].iter().find_map(|key| tensor.get(*key)?.as_array())?;
        let numbers: Option<Vec<f32>> = numbers
            .iter()
            .map(|number| number.as_f64().or_else(|| integer(number).map(|number| number as f64)))
            .map(|number| number.map(|number| number as f32))
            .collect();
        let numbers = numbers?;
        Tensor::from_f32(
            dims(tensor.get("tensorShape")?)?.into_iter().map(Option::unwrap_or_default).collect(),
            &numbers,
        )
        .ok()
    }
}

/// 64-bit integers are texts in this JSON.
fn integer(json: &Json) -> Option<i64> {
    json.as_i64().or_else(|| json.as_str()?.parse().ok())
}

/// The shape of a placeholder or a tensor; an unknown size is none.
fn dims(shape: &Json) -> Option<Vec<Option<usize>>> {
    let Some(dims) = shape.get("dim") else { return Some(Vec::new()) };
    let size = |dim: &Json| {
        let size = dim.get("size").and_then(integer).unwrap_or(0);
        usize::try_from(size).ok()
    };
    Some(dims.as_array()?.iter().map(size).collect())
}

fn decoded(text: &str) -> Option<String> {
    let digit = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        bits = (bits << 6 | u32::from(digit(letter)?)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The nodes where the graph ends: what the signature says, or what nothing reads.
fn outputs<'a>(nodes: &[GraphNode<'a>], signature: Option<&'a Json>) -> Vec<&'a str> {
    let stated = signature.and_then(|signature| signature.get("outputs")).and_then(Json::as_object);
    let names = stated.into_iter().flat_map(|outputs| outputs.values());
    let names = names.filter_map(|output| output.get("name")?.as_str()?.split(':').next());
    let named: Vec<&str> = names.filter(|name| nodes.iter().any(|node| node.name == *name)).collect();
    if !named.is_empty() {
        return named;
    }
    let read: HashSet<&str> = nodes.iter().flat_map(|node| node.inputs.iter().copied()).collect();
    nodes.iter().filter(|node| !read.contains(node.name) && node.op != "NoOp").map(|node| node.name).collect()
}

/// The nodes that the outputs need, each behind those that it reads.
fn order<'a>(nodes: &[GraphNode<'a>], outputs: &[&'a str]) -> Result<Vec<GraphNode<'a>>, String> {
    let index: HashMap<&str, &GraphNode<'a>> = nodes.iter().map(|node| (node.name, node)).collect();
    let (mut order, mut seen, mut open) = (Vec::new(), HashSet::new(), HashSet::new());
    let mut stack: Vec<(&str, bool)> = outputs.iter().rev().map(|name| (*name, false)).collect();
    while let Some((name, inputs_done)) = stack.pop() {
        let node = index.get(name).ok_or_else(|| format!("there is no node '{name}'"))?;
        if inputs_done {
            open.remove(name);
            order.push((*node).clone());
        } else if seen.insert(name) {
            open.insert(name);
            stack.push((name, true));
            stack.extend(node.inputs.iter().rev().map(|input| (*input, false)));
        } else if open.contains(name) {
            return Err(format!("the node '{name}' needs itself"));
        }
    }
    Ok(order)
}

fn readers<'a>(order: &[GraphNode<'a>]) -> HashMap<&'a str, Vec<&'a str>> {
    let mut readers: HashMap<&str, Vec<&str>> = HashMap::new();
    for node in order {
        for input in &node.inputs {
            readers.entry(*input).or_default().push(node.name);
        }
    }
    readers
}

/// Name and shape of the graph's only input.
fn input<'a>(
    order: &[GraphNode<'a>],
    signature: Option<&'a Json>,
) -> Result<(&'a str, Vec<Option<usize>>), String> {
    let inputs: Vec<&GraphNode<'_>> =
        order.iter().filter(|node| node.op.starts_with("Placeholder")).collect();
    let [input] = inputs.as_slice() else {
        return Err(format!("the network has {} inputs; one can be read", inputs.len()));
    };
    let stated = signature.and_then(|signature| signature.get("inputs")).and_then(Json::as_object);
    let mut stated = stated.into_iter().flat_map(|inputs| inputs.values());
    let stated = stated.find(|entry| {
        entry.get("name").and_then(Json::as_str).and_then(|name| name.split(':').next()) == Some(input.name)
    });
    let stated = stated.and_then(|entry| dims(entry.get("tensorShape")?));
    let own = input.attribute("shape", "shape").and_then(dims).filter(|shape| !shape.is_empty());
    let shape = stated.or(own).ok_or("the file does not say what shape the input has")?;
    check_input(shape.get(1..).unwrap_or_default())?;
    Ok((input.name, shape))
}

/// The input's fact; the first axis is the batch, and open sizes are height and width.
fn fact(shape: &[Option<usize>], order: Order) -> Option<Fact> {
    let open = |axis: usize| if axis == 0 && shape.len() > 3 { Symbol::Height } else { Symbol::Width };
    let sizes = shape.get(1..)?.iter().enumerate();
    let mut sizes: Vec<Dim> =
        sizes.map(|(axis, size)| size.map_or(Dim::symbol(open(axis)), Dim::Fixed)).collect();
    if order == Order::ChannelsFirst {
        sizes.rotate_right(1);
    }
    Some(Fact::new([&[Dim::symbol(Symbol::Batch)], sizes.as_slice()].concat()))
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn texts_are_in_base64() {
        assert_eq!(decoded("U0FNRQ==").as_deref(), Some("SAME"));
        assert_eq!(decoded("Qmlhc0FkZA==").as_deref(), Some("BiasAdd"));
        assert_eq!(decoded("TkhXQw").as_deref(), Some("NHWC"));
        assert_eq!(decoded("?"), None);
    }
}
