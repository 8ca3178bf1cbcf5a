//! Nodes of the graph as nodes of a file.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use regraft_graph::{Bindings, DType, Dim, Model, Node, Op, ParameterKind, Symbol, Tensor};

use super::super::custom::element_of;
use super::super::metadata;
use super::super::net::free_name;
use super::super::schema::{self, Attribute, Entry, element};
use super::ExportOptions;

/// A file's parts. The tensors' bytes are those of the model.
pub(super) struct Parts {
    pub(super) model: schema::Model,
    pub(super) tensors: Vec<Stored>,
}

/// A tensor to write.
pub(super) struct Stored {
    pub(super) head: schema::Tensor,
    pub(super) data: Bytes,
}

/// What a node needs from its operator: a value that the file has, and nothing else.
pub(super) struct Export<'a> {
    pub(super) model: &'a Model,
    pub(super) options: &'a ExportOptions,
    pub(super) nodes: Vec<schema::Node>,
    tensors: Vec<Stored>,
    /// Where a tensor of that name is among them.
    stored: HashMap<String, usize>,
    /// Names of tensors, nodes and values that are there beside the wires' own.
    taken: HashSet<String>,
    /// The number that the next value of a name gets.
    numbers: HashMap<String, usize>,
    /// Values in single precision of tensors that are of another type.
    singles: HashMap<String, String>,
    /// The input that takes pixels.
    pub(super) pixels: String,
    /// Names of values other than the wires' own: of constants.
    values: HashMap<String, String>,
    functions: Vec<schema::Function>,
    /// Domains of operators and their versions.
    domains: BTreeMap<String, i64>,
    /// Whether height and width are those of the card, because some operator needs them.
    pub(super) fixed: bool,
}

impl<'a> Export<'a> {
    pub(super) fn new(model: &'a Model, options: &'a ExportOptions) -> Self {
        let fixed =
            options.with_preprocessing || model.graph().nodes().iter().any(|node| needs_size(model, node));
        let mut export = Self {
            model,
            options,
            nodes: Vec::new(),
            tensors: Vec::new(),
            stored: HashMap::new(),
            taken: HashSet::new(),
            numbers: HashMap::new(),
            singles: HashMap::new(),
            pixels: super::preprocessing::pixels_name(model),
            values: HashMap::new(),
            functions: Vec::new(),
            domains: BTreeMap::new(),
            fixed,
        };
        if options.with_preprocessing {
            export.preprocessing();
        }
        export
    }

    pub(super) fn opset(&self) -> u8 {
        self.options.opset
    }

    /// The name of a wire's value.
    pub(super) fn value(&self, wire: &str) -> String {
        self.values.get(wire).cloned().unwrap_or_else(|| wire.to_owned())
    }

    pub(super) fn inputs(&self, node: &Node) -> Vec<String> {
        node.inputs.iter().map(|wire| self.value(wire)).collect()
    }

    /// The first input's value and shape behind the batch.
    pub(super) fn first(&self, node: &Node) -> Result<(String, Vec<Dim>), String> {
        let wire = node.inputs.first().ok_or("it has no input")?;
        let fact = self.model.graph().fact(wire).map_err(|error| error.to_string())?;
        Ok((self.value(wire), fact.shape.get(1..).unwrap_or_default().to_vec()))
    }

    /// The sizes of a wire behind the batch, for images of the card's size.
    pub(super) fn sizes(&self, wire: &str) -> Result<Vec<usize>, String> {
        let [height, width] = self.model.card().preprocessing.crop;
        let fact = self.model.graph().fact(wire).map_err(|error| error.to_string())?;
        let sizes = fact.bind(&Bindings { batch: 1, height, width });
        let sizes = sizes.ok_or("images of the card's size are too small for it")?;
        Ok(sizes.get(1..).unwrap_or_default().to_vec())
    }

    pub(super) fn set_value(&mut self, wire: &str, value: String) {
        self.values.insert(wire.to_owned(), value);
    }

    /// Adds a node that is called like the graph's node and gives its wire.
    pub(super) fn last(&mut self, name: &str, operator: &str, inputs: &[&str], attributes: Vec<Attribute>) {
        self.push(name, name, operator, inputs, attributes);
    }

    /// Adds a node on the way to a wire; the name of its value.
    pub(super) fn step(
        &mut self,
        name: &str,
        part: &str,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
    ) -> String {
        let value = self.fresh(&format!("{name}/{part}"));
        self.push(&value, &value, operator, inputs, attributes);
        value
    }

    /// Adds a node of that name with that output.
    pub(super) fn push(
        &mut self,
        name: &str,
        output: &str,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
    ) {
        self.nodes.push(schema::Node {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.to_owned()],
            name: name.to_owned(),
            op_type: operator.to_owned(),
            attribute: attributes,
            domain: String::new(),
        });
    }

    /// A name that nothing has: the one that is wanted, or the same with a number behind.
    pub(super) fn fresh(&mut self, wanted: &str) -> String {
        let (graph, taken) = (self.model.graph(), &self.taken);
        let free = free_name(wanted, &mut self.numbers, |name| graph.has_wire(name) || taken.contains(name));
        self.taken.insert(free.clone());
        free
    }

    /// A node of that version of a domain of its own.
    pub(super) fn foreign(&mut self, node: schema::Node, version: i64) -> Result<(), String> {
        let there = *self.domains.entry(node.domain.clone()).or_insert(version);
        if there != version {
            return Err(format!("its domain '{}' is needed in versions {there} and {version}", node.domain));
        }
        self.nodes.push(node);
        Ok(())
    }

    pub(super) fn function(&mut self, function: schema::Function) {
        if !self.functions.iter().any(|other| other.name == function.name) {
            self.functions.push(function);
        }
    }

    /// A parameter's value in single precision, with these sizes; they have as many numbers as it.
    pub(super) fn parameter(
        &mut self,
        node: &Node,
        kind: ParameterKind,
        sizes: &[usize],
    ) -> Result<String, String> {
        let wanted = node.parameters().into_iter().find(|parameter| parameter.kind == kind);
        let name = wanted.ok_or("it has no such parameter")?.name;
        let tensor = self.model.weights().get(&name).ok_or("a weight is missing")?.clone();
        let data = tensor.data().clone();
        let stored = self.store(&name, tensor.dtype(), sizes, data);
        Ok(self.as_single(&stored, &tensor))
    }

    fn as_single(&mut self, name: &str, tensor: &Tensor) -> String {
        if tensor.dtype() == DType::F32 {
            return name.to_owned();
        }
        if let Some(value) = self.singles.get(name) {
            return value.clone();
        }
        let value = self.step(name, "single", "Cast", &[name], vec![int("to", element::FLOAT.into())]);
        self.singles.insert(name.to_owned(), value.clone());
        value
    }

    /// Adds a tensor, unless it is there; its name, which is another one where a wire or another tensor has it.
    pub(super) fn store(&mut self, name: &str, dtype: DType, sizes: &[usize], data: Bytes) -> String {
        let dims: Vec<i64> = sizes.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        let wire = self.model.graph().has_wire(name);
        let wanted = if wire { format!("{name}/tensor") } else { name.to_owned() };
        let there = self.stored.get(&wanted).and_then(|place| self.tensors.get(*place));
        if there.is_some_and(|there| there.head.dims == dims && there.data == data) {
            return wanted;
        }
        let free = self.fresh(&wanted);
        let head = schema::Tensor {
            dims,
            data_type: match dtype {
                DType::F32 => element::FLOAT,
                DType::F16 => element::FLOAT16,
                DType::BF16 => element::BFLOAT16,
                DType::F64 => element::DOUBLE,
                DType::I64 => element::INT64,
            },
            name: free.clone(),
            ..schema::Tensor::default()
        };
        self.stored.insert(free.clone(), self.tensors.len());
        self.tensors.push(Stored { head, data });
        free
    }

    /// Whole numbers as a value.
    pub(super) fn ints(&mut self, name: &str, part: &str, values: &[i64]) -> String {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.store(&format!("{name}/{part}"), DType::I64, &[values.len()], data.into())
    }

    /// One whole number, without an axis.
    pub(super) fn index(&mut self, name: &str, part: &str, value: i64) -> String {
        self.store(&format!("{name}/{part}"), DType::I64, &[], value.to_le_bytes().to_vec().into())
    }

    /// Numbers as a value of that shape.
    pub(super) fn floats(&mut self, name: &str, part: &str, sizes: &[usize], values: &[f32]) -> String {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.store(&format!("{name}/{part}"), DType::F32, sizes, data.into())
    }

    /// One number, without an axis.
    pub(super) fn number(&mut self, name: &str, part: &str, value: f32) -> String {
        self.floats(name, part, &[], &[value])
    }

    /// The parts of the file.
    pub(super) fn finish(mut self) -> Parts {
        let graph = self.model.graph();
        let mut outputs = Vec::new();
        for wire in graph.outputs() {
            // A network that does nothing gives its input under another name.
            let name =
                if wire == graph.input() { self.fresh(&format!("{wire}/output")) } else { wire.clone() };
            let kind = match graph.node(wire).map(|node| &node.op) {
                Some(Op::Custom(custom)) => element_of(&custom.attributes),
                _ => element::FLOAT,
            };
            outputs.push(self.info(&name, wire, kind));
            let value = self.value(wire);
            if value != name {
                self.last(&name, "Identity", &[&value], Vec::new());
            }
        }
        let input = if self.options.with_preprocessing { self.pixels() } else { self.network_input() };
        let version = i64::from(self.opset());
        let standard = schema::OperatorSet { domain: String::new(), version };
        let others = self.domains.into_iter();
        let others = others.map(|(domain, version)| schema::OperatorSet { domain, version });
        let model = schema::Model {
            // The oldest format that may hold these operators.
            ir_version: match version {
                17 | 18 => 8,
                19 | 20 => 9,
                _ => 10,
            },
            producer_name: "regraft".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(schema::Graph {
                node: self.nodes,
                name: graph_name(self.model),
                input: vec![input],
                output: outputs,
                ..schema::Graph::default()
            }),
            opset_import: std::iter::once(standard).chain(others).collect(),
            metadata_props: metadata_of(self.model, self.options),
            functions: self.functions,
        };
        Parts { model, tensors: self.tensors }
    }

    /// Name, type and shape of a wire.
    fn info(&self, name: &str, wire: &str, kind: i32) -> schema::ValueInfo {
        let axes = self.model.graph().fact(wire).map(|fact| fact.shape.clone()).unwrap_or_default();
        let [height, width] = self.model.card().preprocessing.crop;
        let bindings = Bindings { batch: 1, height, width };
        let dims = axes.into_iter().enumerate().map(|(axis, dim)| match dim {
            _ if axis == 0 => self.batch(),
            Dim::Symbolic { symbol: Symbol::Height, offset: 0, divisor: 1 } if !self.fixed => open("height"),
            Dim::Symbolic { symbol: Symbol::Width, offset: 0, divisor: 1 } if !self.fixed => open("width"),
            Dim::Symbolic { .. } if !self.fixed => schema::Dimension::default(),
            dim => known(dim.bind(&bindings).unwrap_or(0)),
        });
        value_info(name, kind, dims.collect())
    }

    pub(super) fn batch(&self) -> schema::Dimension {
        self.options.batch.map_or_else(|| open("batch"), known)
    }

    fn network_input(&self) -> schema::ValueInfo {
        let graph = self.model.graph();
        let words = reads_words(self.model);
        self.info(graph.input(), graph.input(), if words { element::INT64 } else { element::FLOAT })
    }
}

/// The card's name; a graph must have one.
fn graph_name(model: &Model) -> String {
    let name = model.card().name.as_str();
    if name.is_empty() { "network" } else { name }.to_owned()
}

/// Whether the network's input is the numbers of words.
pub(super) fn reads_words(model: &Model) -> bool {
    let graph = model.graph();
    let mut readers = graph.consumers(graph.input()).peekable();
    readers.peek().is_some() && readers.all(|node| matches!(node.op, Op::Embedding(_)))
}

pub(super) fn value_info(name: &str, element: i32, dim: Vec<schema::Dimension>) -> schema::ValueInfo {
    let tensor = schema::TensorType { element, shape: Some(schema::Shape { dim }) };
    schema::ValueInfo { name: name.to_owned(), kind: Some(schema::Type { tensor: Some(tensor) }) }
}

fn open(name: &str) -> schema::Dimension {
    schema::Dimension { value: None, name: Some(name.to_owned()) }
}

pub(super) fn known(size: usize) -> schema::Dimension {
    schema::Dimension { value: i64::try_from(size).ok(), name: None }
}

/// Whether a node is written with numbers that depend on the image's size.
fn needs_size(model: &Model, node: &Node) -> bool {
    let symbolic = || {
        let facts = node.inputs.iter().filter_map(|wire| model.graph().fact(wire).ok());
        facts.flat_map(|fact| fact.shape.iter().skip(1)).any(|dim| matches!(dim, Dim::Symbolic { .. }))
    };
    match &node.op {
        Op::AdaptiveAveragePool { size } => *size != [1, 1] && symbolic(),
        Op::PositionEmbedding(embedding) => embedding.shorter && symbolic(),
        _ => false,
    }
}

fn metadata_of(model: &Model, options: &ExportOptions) -> Vec<Entry> {
    let mut card = model.card().clone();
    if options.with_preprocessing {
        card = super::preprocessing::of_pixels(card);
    }
    let text = serde_json::to_string(&card).ok();
    text.map(|value| Entry { key: metadata::CARD.to_owned(), value }).into_iter().collect()
}

pub(super) fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.to_owned(), i: Some(value), kind: 2, ..Attribute::default() }
}

pub(super) fn float(name: &str, value: f32) -> Attribute {
    Attribute { name: name.to_owned(), f: Some(value), kind: 1, ..Attribute::default() }
}

pub(super) fn text(name: &str, value: &str) -> Attribute {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Attribute { name: name.to_owned(), s: Some(value), kind: 3, ..Attribute::default() }
}

pub(super) fn sizes(name: &str, values: &[usize]) -> Attribute {
    let ints = values.iter().map(|value| i64::try_from(*value).unwrap_or(i64::MAX)).collect();
    Attribute { name: name.to_owned(), ints, kind: 7, ..Attribute::default() }
}

/// A size as the number that a file has.
pub(super) fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
