//! One pass over a file's nodes: each becomes known values or nodes of the graph.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use regraft_graph::{Dim, Fact, Op};

use super::call::Call;
use super::constant::{Constant, External, decode};
use super::fold::{Budget, fold};
use super::net::{Net, Parameters};
use super::schema::{self, Node};
use super::value::{Value, Wire};
use crate::FormatError;

pub(super) const FORMAT: &str = "ONNX";

/// The one input of the graph: its wire's fact, and how the file sees it.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) fact: Fact,
    /// Which of the file's axes is the batch.
    pub(super) batch: usize,
    /// Whether the file has the channels last.
    pub(super) channels_last: bool,
}

/// What has been read so far.
pub(super) struct Reader<'a> {
    pub(super) net: Net,
    pub(super) budget: Budget,
    pub(super) notes: Vec<String>,
    values: HashMap<&'a str, Value>,
    infos: HashMap<&'a str, &'a schema::ValueInfo>,
    /// Names of values that something reads.
    used: HashSet<&'a str>,
    external: RefCell<External>,
    opset: i64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &Path, size: usize, opset: i64, input: &Input) -> Self {
        Self {
            net: Net::new(&input.name, input.fact.clone()),
            budget: Budget::for_file(size),
            notes: Vec::new(),
            values: HashMap::new(),
            infos: HashMap::new(),
            used: HashSet::new(),
            external: RefCell::new(External::beside(path)),
            opset,
        }
    }

    /// Reads the nodes that the outputs need; the wires of the outputs.
    pub(super) fn read(
        &mut self,
        path: &Path,
        graph: &'a schema::Graph,
        input: &'a Input,
    ) -> Result<Vec<String>, FormatError> {
        let malformed = |message: String| FormatError::malformed(path, FORMAT, message);
        let infos = graph.value_info.iter().chain(&graph.output);
        self.infos = infos.map(|info| (info.name.as_str(), info)).collect();
        for tensor in &graph.initializer {
            let constant = decode(tensor, &mut self.external.borrow_mut());
            if self.values.insert(&tensor.name, Value::Constant(constant)).is_some() {
                return Err(malformed(format!("two tensors are called '{}'", tensor.name)));
            }
        }
        let wire = self.input(input).map_err(&malformed)?;
        self.values.insert(&input.name, Value::Wire(wire));
        let needed = needed(graph);
        let readers = graph.node.iter().zip(&needed).filter(|(_, needed)| **needed);
        let read = readers.flat_map(|(node, _)| &node.input);
        self.used = read.chain(graph.output.iter().map(|output| &output.name)).map(String::as_str).collect();
        for (node, needed) in graph.node.iter().zip(needed) {
            if needed {
                self.node(path, node)?;
            }
        }
        graph.output.iter().map(|output| self.output(&output.name).map_err(malformed)).collect()
    }

    fn input(&mut self, input: &Input) -> Result<Wire, String> {
        let dims = self.net.dims(&input.name);
        super::net::check_size(&dims)?;
        let (name, mut shape) = match dims.as_slice() {
            [channels, height, width] if input.channels_last => {
                let turned =
                    self.net.transpose(&format!("{}.turned", input.name), &input.name, &[0, 2, 3, 1])?;
                (turned, vec![*height, *width, *channels])
            }
            _ => (input.name.clone(), dims),
        };
        shape.insert(input.batch.min(shape.len()), Dim::Fixed(1));
        Ok(Wire { name, shape, dropped: Some(input.batch) })
    }

    fn output(&mut self, name: &str) -> Result<String, String> {
        match self.values.get(name) {
            Some(Value::Wire(wire)) => {
                let wire = wire.clone();
                self.batch_first(&wire)
            }
            Some(Value::Constant(_)) => Err(format!("the output '{name}' does not depend on the input")),
            None => Err(format!("nothing computes the output '{name}'")),
        }
    }

    /// The wire with the batch as the file's first axis, if it can be that.
    fn batch_first(&mut self, wire: &Wire) -> Result<String, String> {
        let dropped = (wire.shape.first() == Some(&Dim::Fixed(1))).then_some(0).or(wire.dropped);
        self.as_dropped(&wire.name.clone(), wire, &wire.shape.clone(), dropped)
    }

    fn node(&mut self, path: &Path, node: &'a Node) -> Result<(), FormatError> {
        let inputs = node.input.iter().map(|name| {
            self.value(name).map_err(|message| {
                FormatError::malformed(path, FORMAT, format!("node '{}' {message}", label(node)))
            })
        });
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let opset = if ours(&node.domain) { 1 } else { self.opset };
        let outputs = self.outputs(node, inputs, opset).map_err(|message| FormatError::Unsupported {
            path: path.to_path_buf(),
            format: FORMAT,
            node: label(node),
            operator: node.op_type.clone(),
            message,
        })?;
        for (name, value) in node.output.iter().zip(outputs) {
            if !name.is_empty() && self.values.insert(name, value).is_some() {
                return Err(FormatError::malformed(path, FORMAT, format!("two values are called '{name}'")));
            }
        }
        Ok(())
    }

    fn value(&self, name: &str) -> Result<Option<Value>, String> {
        if name.is_empty() {
            return Ok(None);
        }
        let value = self.values.get(name).cloned();
        let missing =
            || format!("reads '{name}', which nothing before it computes: a cycle, or nodes out of order");
        value.map(Some).ok_or_else(missing)
    }

    fn outputs(&mut self, node: &Node, inputs: Vec<Option<Value>>, opset: i64) -> Result<Vec<Value>, String> {
        let external = std::mem::replace(&mut self.external, RefCell::new(External::beside(Path::new(""))));
        let call = Call { node, opset, inputs, external: &external };
        let result = match fold(&call, &mut self.budget) {
            Ok(Some(constants)) => Ok(constants.into_iter().map(Value::Constant).collect()),
            Ok(None) => self.lower(&call),
            Err(message) => Err(message),
        };
        self.external = external;
        result
    }

    /// The shape of a value that the file declares, for one example, with every size known.
    pub(super) fn declared(&self, name: &str) -> Option<Vec<Dim>> {
        let shape = self.infos.get(name)?.kind.as_ref()?.tensor.as_ref()?.shape.as_ref()?;
        let dims = shape.dim.iter().enumerate().map(|(axis, dim)| match dim.value {
            Some(size) if axis > 0 => usize::try_from(size).ok().filter(|size| *size > 0),
            _ => (axis == 0).then_some(1),
        });
        dims.map(|size| size.map(Dim::Fixed)).collect()
    }

    /// Whether something reads an output of a node.
    pub(super) fn is_used(&self, node: &Node, place: usize) -> bool {
        node.output.get(place).is_some_and(|name| !name.is_empty() && self.used.contains(name.as_str()))
    }

    /// Adds a node that gives one value for each of the input's, in the same order.
    pub(super) fn map(&mut self, call: &Call<'_>, op: Op, wire: &Wire) -> Result<Value, String> {
        self.map_with(call, op, wire, Vec::new())
    }

    pub(super) fn map_with(
        &mut self,
        call: &Call<'_>,
        op: Op,
        wire: &Wire,
        parameters: Parameters,
    ) -> Result<Value, String> {
        let name = self.net.add(&label(call.node), op, &[&wire.name], parameters)?;
        Ok(Value::Wire(Wire { name, ..wire.clone() }))
    }

    /// The graph's wire, reshaped to what `shape` is without the axis `dropped`. `shape` has as many values.
    pub(super) fn as_dropped(
        &mut self,
        label: &str,
        wire: &Wire,
        shape: &[Dim],
        dropped: Option<usize>,
    ) -> Result<String, String> {
        self.net.reshape(&format!("{label}.reshaped"), &wire.name, &Wire::without(shape, dropped))
    }

    /// A wire of the graph as a value of which the axis `dropped`, of size 1, is not there.
    pub(super) fn value_of(&self, name: String, dropped: Option<usize>) -> Value {
        let mut shape = self.net.dims(&name);
        if let Some(axis) = dropped {
            shape.insert(axis.min(shape.len()), Dim::Fixed(1));
        }
        Value::Wire(Wire { name, shape, dropped })
    }

    /// The graph's wire with the batch dropped from the front: N and then the axes behind the first.
    pub(super) fn without_batch(&mut self, call: &Call<'_>, wire: &Wire) -> Result<String, String> {
        if wire.shape.first() != Some(&Dim::Fixed(1)) {
            return Err("its first axis is not the batch".to_owned());
        }
        self.as_dropped(&label(call.node), wire, &wire.shape, Some(0))
    }

    /// A constant as a wire of the graph of that shape.
    pub(super) fn constant_wire(
        &mut self,
        label: &str,
        constant: &Constant,
        shape: Vec<usize>,
    ) -> Result<String, String> {
        self.budget.spend(&shape)?;
        let value = super::net::Parameter::of(constant, shape.clone())?;
        let name = value.name.clone().unwrap_or_else(|| format!("{label}.constant"));
        let op = Op::Constant(regraft_graph::Constant { shape });
        self.net.push(&name, op, &[], vec![(regraft_graph::ParameterKind::Value, value)])
    }

    pub(super) fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|other| other == note) {
            self.notes.push(note.to_owned());
        }
    }
}

/// Domain of the operators that this program defines in the files that it writes.
pub(super) const DOMAIN: &str = "regraft";

fn ours(domain: &str) -> bool {
    domain == DOMAIN
}

/// A node's name, or that of its first output where it has none.
pub(super) fn label(node: &Node) -> String {
    if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name.clone() }
}

/// Whether each node is needed for an output.
fn needed(graph: &schema::Graph) -> Vec<bool> {
    let mut wanted: HashSet<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    let mut needed: Vec<bool> = graph
        .node
        .iter()
        .rev()
        .map(|node| {
            let needed = node.output.iter().any(|name| wanted.contains(name.as_str()));
            if needed {
                wanted.extend(node.input.iter().map(String::as_str));
            }
            needed
        })
        .collect();
    needed.reverse();
    needed
}
