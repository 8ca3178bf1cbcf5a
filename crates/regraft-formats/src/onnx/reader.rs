//! One pass over a file's nodes: each becomes known values or nodes of the graph.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use regraft_graph::{Bindings, Dim, Fact, Op};

use super::call::Call;
use super::constant::{Constant, External, decode};
use super::element::Element;
use super::fold::{Budget, fold};
use super::net::Net;
use super::parameters::Parameters;
use super::schema::{self, Node};
use super::value::{Kind, Value, Wire};
use crate::FormatError;

pub(crate) const FORMAT: &str = "ONNX";

/// The one input of the graph: its wire's fact, and how the file sees it.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) fact: Fact,
    /// Which of the file's axes is the batch.
    pub(super) batch: usize,
    /// Whether the file has the channels last.
    pub(super) channels_last: bool,
    /// Height and width of the images that the file is for, where it says so.
    pub(super) image: Option<[usize; 2]>,
    pub(super) kind: Kind,
}

/// What has been read so far.
pub(super) struct Reader<'a> {
    pub(super) net: Net,
    pub(super) notes: Vec<String>,
    values: HashMap<&'a str, Value>,
    infos: HashMap<&'a str, &'a schema::ValueInfo>,
    /// Names of values that a node reads.
    read: HashSet<&'a str>,
    /// Names of values that a node reads or the graph gives.
    used: HashSet<&'a str>,
    /// Domain and name of the operators that the file defines.
    functions: HashSet<(&'a str, &'a str)>,
    external: Rc<RefCell<External>>,
    opset: i64,
    /// Versions of the domains.
    versions: HashMap<&'a str, i64>,
    /// Height and width of the images that the file is for, where it says so.
    image: Option<[usize; 2]>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &Path, size: usize, opset: i64, input: &Input) -> Self {
        Self {
            net: Net::new(&input.name, input.fact.clone(), Budget::for_file(size)),
            notes: Vec::new(),
            values: HashMap::new(),
            infos: HashMap::new(),
            read: HashSet::new(),
            used: HashSet::new(),
            functions: HashSet::new(),
            external: Rc::new(RefCell::new(External::beside(path))),
            opset,
            versions: HashMap::new(),
            image: input.image,
        }
    }

    /// Reads the nodes that the outputs need; the wires of the outputs.
    pub(super) fn read(
        &mut self,
        path: &Path,
        file: &'a schema::Model,
        graph: &'a schema::Graph,
        input: &'a Input,
    ) -> Result<Vec<String>, FormatError> {
        let malformed = |message: String| FormatError::malformed(path, FORMAT, message);
        if graph.output.is_empty() {
            return Err(malformed("it has no outputs".to_owned()));
        }
        if !graph.sparse_initializer.is_empty() {
            return Err(malformed("it has sparse weights, which are not read; store them whole".to_owned()));
        }
        self.functions = file.functions.iter().map(|one| (one.domain.as_str(), one.name.as_str())).collect();
        self.versions = file.opset_import.iter().map(|set| (set.domain.as_str(), set.version)).collect();
        let infos = graph.value_info.iter().chain(&graph.output);
        self.infos = infos.map(|info| (info.name.as_str(), info)).collect();
        for tensor in &graph.initializer {
            let constant = decode(tensor, &mut self.external.borrow_mut());
            if self.values.insert(&tensor.name, Value::Constant(constant)).is_some() {
                return Err(malformed(format!("two tensors are called '{}'", tensor.name)));
            }
        }
        self.net.budget.grow(self.external.borrow().bytes());
        let wire = self.input(input).map_err(&malformed)?;
        self.values.insert(&input.name, Value::Wire(wire));
        let needed = needed(graph);
        let readers = graph.node.iter().zip(&needed).filter(|(_, needed)| **needed);
        self.read = readers.flat_map(|(node, _)| &node.input).map(String::as_str).collect();
        let given = graph.output.iter().map(|output| output.name.as_str());
        self.used = self.read.iter().copied().chain(given).collect();
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
        let dropped = input.batch.min(input.fact.shape.len() - 1);
        Ok(Wire { kind: input.kind, ..Wire::new(name, shape, Some(dropped)) })
    }

    fn output(&mut self, name: &str) -> Result<String, String> {
        match self.values.get(name) {
            Some(Value::Wire(wire)) if wire.kind.element == Element::Cut => {
                Err(format!("the output '{name}' is cut off to whole numbers"))
            }
            Some(Value::Wire(Wire { kind: Kind { element: Element::Quantized(_), .. }, .. })) => {
                Err(format!("the output '{name}' is quantised; let the file end with DequantizeLinear"))
            }
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
        let first = wire.kind.batch.map_or(0, |batch| batch.axis);
        if first > 0 && wire.shape.get(first) != Some(&Dim::Fixed(1)) {
            return Err("the output joins the examples of a batch with other axes".to_owned());
        }
        let dropped = (wire.shape.get(first) == Some(&Dim::Fixed(1))).then_some(first).or(wire.dropped);
        self.as_dropped(&wire.name.clone(), wire, &wire.shape.clone(), dropped)
    }

    fn node(&mut self, path: &Path, node: &'a Node) -> Result<(), FormatError> {
        let inputs = node.input.iter().map(|name| {
            self.value(name).map_err(|message| {
                FormatError::malformed(path, FORMAT, format!("node '{}' {message}", label(node)))
            })
        });
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let foreign = || self.versions.get(node.domain.as_str()).copied().unwrap_or(1);
        let opset = if super::call::is_standard(&node.domain) { self.opset } else { foreign() };
        let unsupported = |message| FormatError::Unsupported {
            path: path.to_path_buf(),
            format: FORMAT,
            node: label(node),
            operator: node.op_type.clone(),
            message,
        };
        let outputs = self.outputs(node, inputs, opset).map_err(unsupported)?;
        for (name, value) in node.output.iter().zip(outputs) {
            self.check_declared(name, &value).map_err(unsupported)?;
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
        let external = Rc::clone(&self.external);
        let call = Call { node, opset, inputs, external: &external };
        if let Some(constants) = fold(&call, &mut self.net.budget)? {
            return Ok(constants.into_iter().map(Value::Constant).collect());
        }
        let element = super::element::of(&call)?;
        let kind = |output| Ok(Kind { batch: super::batch::place(&call, output)?, element });
        let kinds = (0..node.output.len().max(1)).map(kind).collect::<Result<Vec<Kind>, String>>()?;
        let mut values = self.lower(&call)?;
        for (value, kind) in values.iter_mut().zip(kinds) {
            if let Value::Wire(wire) = value {
                wire.kind = kind;
            }
        }
        Ok(values)
    }

    /// The type of a value that the file declares.
    pub(super) fn declared(&self, name: &str) -> Option<&'a schema::TensorType> {
        self.infos.get(name)?.kind.as_ref()?.tensor.as_ref()
    }

    /// Checks that a value has the shape that the file declares, where it does.
    fn check_declared(&self, name: &str, value: &Value) -> Result<(), String> {
        let (Some(shape), Value::Wire(wire)) =
            (self.declared(name).and_then(|kind| kind.shape.as_ref()), value)
        else {
            return Ok(());
        };
        let bindings = self.image.map(|[height, width]| Bindings { batch: 1, height, width });
        let agrees = |(axis, (dim, declared)): (usize, (&Dim, &schema::Dimension))| {
            let size = match dim {
                Dim::Fixed(size) => Some(*size),
                dim => bindings.as_ref().and_then(|bindings| dim.bind(bindings)),
            };
            let examples = match wire.kind.batch.filter(|batch| batch.axis == axis) {
                Some(batch) => batch.examples,
                None => Some(1),
            };
            let whole = size.zip(examples).map(|(size, examples)| size.saturating_mul(examples));
            let declared =
                declared.value.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
            whole.zip(declared).is_none_or(|(whole, declared)| whole == declared)
        };
        let pairs = wire.shape.iter().zip(&shape.dim).enumerate();
        if wire.rank() == shape.dim.len() && pairs.into_iter().all(agrees) {
            return Ok(());
        }
        Err(format!(
            "its output '{name}' comes out as {} for one example, the file declares {}",
            super::shape::product(&wire.shape),
            shape.to_text()
        ))
    }

    /// Whether something reads an output of a node.
    pub(super) fn is_used(&self, node: &Node, place: usize) -> bool {
        node.output.get(place).is_some_and(|name| !name.is_empty() && self.used.contains(name.as_str()))
    }

    /// Whether a node reads the first output of a node.
    pub(super) fn is_read(&self, node: &Node) -> bool {
        node.output.first().is_some_and(|name| self.read.contains(name.as_str()))
    }

    /// Whether the file defines a node's operator itself.
    pub(super) fn defines(&self, node: &Node) -> bool {
        self.functions.contains(&(node.domain.as_str(), node.op_type.as_str()))
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
        Value::Wire(Wire::new(name, shape, dropped))
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
        self.net.budget.spend(&shape)?;
        let value = self.net.parameter(constant, shape.clone())?;
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

/// A node's name, or that of its first output, or of its operator where it has none.
pub(super) fn label(node: &Node) -> String {
    let names = std::iter::once(&node.name).chain(&node.output).chain([&node.op_type]);
    names.into_iter().find(|name| !name.is_empty()).cloned().unwrap_or_default()
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
