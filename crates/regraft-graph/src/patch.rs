//! Surgery: a list of edits with a reason, applied whole or not at all.
//!
//! A patch never renames what it does not touch, so that weights keep the names of their origin, and applying it
//! infers every shape and checks every weight again. The reasons stay with the model.

use crate::{Fact, Gemm, Graph, GraphError, Model, Node, Op, ParameterKind, Preprocessing, Tensor, Weights};

mod channels;
mod size;

pub use channels::ChannelRule;

/// A change to a model.
#[derive(Debug, Clone)]
pub struct Patch {
    reason: String,
    edits: Vec<Edit>,
}

#[derive(Debug, Clone)]
enum Edit {
    /// The wire becomes the only output; what it does not need goes.
    Cut { wire: String },
    /// The node goes at the end of the graph and becomes the output.
    Append { node: Node, weights: Weights },
    /// The node goes; whatever read it reads its first input instead.
    Bypass { node: String },
    /// The node's operator and weights change; its name and inputs stay.
    Replace { node: Node, weights: Weights },
    /// The node goes in front of its readers, which read it in place of the wire that it reads.
    Insert { node: Node, weights: Weights, readers: Vec<String> },
    /// The network takes other images.
    Input { fact: Fact, preprocessing: Preprocessing },
    /// The wire becomes the features; the logits are the output if `logits`.
    Roles { features: String, logits: Option<String>, labels: Vec<String> },
    /// Nothing up to and including this wire is trained.
    Freeze { wire: String },
}

impl Patch {
    fn new(reason: impl Into<String>, edits: impl Into<Vec<Edit>>) -> Self {
        Self { reason: reason.into(), edits: edits.into() }
    }

    /// Why the model is changed, for its history.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Ends the network at a wire. The wire becomes its features; there are no logits left.
    pub fn cut(wire: &str) -> Self {
        let roles = Edit::Roles { features: wire.to_owned(), logits: None, labels: Vec::new() };
        Self::new(format!("cut at '{wire}'"), [Edit::Cut { wire: wire.to_owned() }, roles])
    }

    /// Puts the mean over height and width behind a map that is the network's output; the mean becomes its features.
    pub fn average(wire: &str) -> Self {
        let name = format!("{HEAD}.pool");
        let node = Node::new(name.clone(), Op::GlobalAveragePool, [wire]);
        let roles = Edit::Roles { features: name, logits: None, labels: Vec::new() };
        Self::new(
            format!("average '{wire}' over height and width"),
            [Edit::Append { node, weights: Weights::new() }, roles],
        )
    }

    /// Ends the network at `features` (N×D, or N×D×1×1) and puts a dense head called `head` behind it; `head2` where the
    /// features are an earlier head's logits.
    ///
    /// `weight` is row-major with one row of D numbers a label, `bias` one number a label.
    ///
    /// # Errors
    /// The numbers do not fit the labels, or `features` is not a vector a row.
    pub fn replace_head(
        model: &Model,
        features: &str,
        weight: &[f32],
        bias: &[f32],
        labels: Vec<String>,
    ) -> Result<Self, GraphError> {
        let (vector, flatten) = vector_of(model.graph(), features)?;
        let in_features = weight.len() / labels.len().max(1);
        let gemm = Gemm { in_features, out_features: labels.len(), bias: true };
        let name = head_name(model.graph(), features)?;
        let mut weights = Weights::new();
        weights.insert(format!("{name}.weight"), Tensor::from_f32(vec![labels.len(), in_features], weight)?);
        weights.insert(format!("{name}.bias"), Tensor::from_f32(vec![labels.len()], bias)?);
        let head = Node::new(name, Op::Gemm(gemm), [vector]);
        Ok(Self::with_head(features, flatten, head, weights, labels))
    }

    /// Ends the network at `features` and puts a nearest-neighbour vote called `head` behind it.
    ///
    /// `examples` is row-major with unit rows of D numbers, `classes` the class index of each row.
    ///
    /// # Errors
    /// The numbers do not fit the attributes, or `features` is not a vector a row.
    pub fn replace_head_by_neighbors(
        model: &Model,
        features: &str,
        vote: crate::NearestNeighbors,
        examples: &[f32],
        classes: &[f32],
        labels: Vec<String>,
    ) -> Result<Self, GraphError> {
        let (vector, flatten) = vector_of(model.graph(), features)?;
        let name = head_name(model.graph(), features)?;
        let mut weights = Weights::new();
        let rows = Tensor::from_f32(vec![vote.examples, vote.features], examples)?;
        weights.insert(format!("{name}.weight"), rows);
        weights.insert(format!("{name}.labels"), Tensor::from_f32(vec![vote.examples], classes)?);
        let head = Node::new(name, Op::NearestNeighbors(vote), [vector]);
        Ok(Self::with_head(features, flatten, head, weights, labels))
    }

    fn with_head(
        features: &str,
        flatten: Option<Node>,
        head: Node,
        weights: Weights,
        labels: Vec<String>,
    ) -> Self {
        let reason = format!("cut at '{features}' and put a head for {} classes behind it", labels.len());
        let flatten = flatten.map(|node| Edit::Append { node, weights: Weights::new() });
        let logits = Some(head.name.clone());
        let edits = std::iter::once(Edit::Cut { wire: features.to_owned() }).chain(flatten).chain([
            Edit::Append { node: head, weights },
            Edit::Roles { features: features.to_owned(), logits, labels },
        ]);
        Self::new(reason, edits.collect::<Vec<_>>())
    }

    /// Marks everything up to and including a wire as not to be trained.
    pub fn freeze_up_to(wire: &str) -> Self {
        Self::new(format!("freeze up to '{wire}'"), [Edit::Freeze { wire: wire.to_owned() }])
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Multiplies every batch normalisation, and every learned factor for each channel, into the convolution or dense layer
    /// before it, where nothing else reads that. What stands behind another one that is folded is left for the next time.
    ///
    /// With s = γ / sqrt(σ² + ε): weight · s, and (bias − μ) · s + β; for a factor μ = 0. Computed in double precision.
    ///
    /// # Errors
    /// A weight is missing.
    pub fn fold_batch_normalization(model: &Model) -> Result<Self, GraphError> {
        let mut edits = Vec::new();
        for norm in model.graph.nodes() {
            if let Some(conv) = foldable(&model.graph, norm) {
                let (node, weights) = folded(model, conv, norm)?;
                edits.extend([Edit::Replace { node, weights }, Edit::Bypass { node: norm.name.clone() }]);
            }
        }
        Ok(Self::new("fold batch normalisation into the convolutions", edits))
    }

    /// The changed model.
    ///
    /// # Errors
    /// The result would not be a valid model; the message names the node.
    pub fn apply(self, model: Model) -> Result<Model, GraphError> {
        let mut draft = Draft::of(model);
        self.edits.into_iter().try_for_each(|edit| draft.edit(edit))?;
        draft.history.push(self.reason);
        draft.finish()
    }
}

/// Name of the node that a new head gets.
const HEAD: &str = "head";

/// `head`, or with a number behind it where what stays of the network has a head.
fn head_name(graph: &Graph, features: &str) -> Result<String, GraphError> {
    let mut kept = graph.clone();
    kept.set_output(features)?;
    let kept = kept.pruned()?;
    let numbered = (2..).map(|number| format!("{HEAD}{number}"));
    let mut names = std::iter::once(HEAD.to_owned()).chain(numbered);
    Ok(names.find(|name| !kept.has_wire(name)).unwrap_or_default())
}

/// The wire of N×D under or behind `features`, and the node that flattens it if there must be one.
fn vector_of(graph: &Graph, features: &str) -> Result<(String, Option<Node>), GraphError> {
    if graph.fact(features)?.shape.len() == 2 {
        return Ok((features.to_owned(), None));
    }
    let name = format!("{HEAD}.flatten");
    Ok((name.clone(), Some(Node::new(name, Op::Flatten, [features]))))
}

/// The convolution that `norm` can be folded into.
fn foldable<'a>(graph: &'a Graph, norm: &Node) -> Option<&'a Node> {
    let conv = norm.inputs.first().and_then(|wire| graph.node(wire))?;
    let alone = graph.consumers(&conv.name).count() == 1 && !graph.outputs().contains(&conv.name);
    let kinds =
        matches!((&norm.op, &conv.op), (Op::BatchNormalization(_) | Op::Scale(_), Op::Conv(_) | Op::Gemm(_)));
    (kinds && alone).then_some(conv)
}

fn folded(model: &Model, conv: &Node, norm: &Node) -> Result<(Node, Weights), GraphError> {
    let read = |node, kind| model.parameter(node, kind).map(Tensor::to_f32);
    let (op, has_bias) = match &conv.op {
        Op::Conv(attributes) => (Op::Conv(crate::Conv { bias: true, ..attributes.clone() }), attributes.bias),
        Op::Gemm(attributes) => (Op::Gemm(Gemm { bias: true, ..attributes.clone() }), attributes.bias),
        _ => return Ok((conv.clone(), Weights::new())),
    };
    let Affine { scale, mean, beta } = affine(model, norm)?;
    let bias = if has_bias { read(conv, ParameterKind::Bias)? } else { vec![0.0; scale.len()] };
    let shift = bias.iter().zip(&mean).zip(scale.iter().zip(&beta)).map(|((bias, mean), (scale, beta))| {
        ((f64::from(*bias) - f64::from(*mean)) * scale + f64::from(*beta)) as f32
    });
    let weight = model.parameter(conv, ParameterKind::Weight)?;
    let row = weight.len() / scale.len().max(1);
    let mut scaled = weight.to_f32();
    for (row, scale) in scaled.chunks_mut(row.max(1)).zip(&scale) {
        row.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
    }
    let node = Node { op, ..conv.clone() };
    let mut weights = Weights::new();
    for parameter in node.parameters() {
        let tensor = if parameter.kind == ParameterKind::Weight {
            Tensor::from_f32(parameter.shape, &scaled)?
        } else {
            Tensor::from_f32(parameter.shape, &shift.clone().collect::<Vec<_>>())?
        };
        weights.insert(parameter.name, tensor);
    }
    Ok((node, weights))
}

/// `(x − mean) · scale + beta`, a number a channel each.
struct Affine {
    scale: Vec<f64>,
    mean: Vec<f32>,
    beta: Vec<f32>,
}

fn affine(model: &Model, norm: &Node) -> Result<Affine, GraphError> {
    let read = |kind| model.parameter(norm, kind).map(Tensor::to_f32);
    let gamma = read(ParameterKind::Weight)?;
    match &norm.op {
        Op::BatchNormalization(statistics) => {
            let [mean, variance] = [read(ParameterKind::RunningMean)?, read(ParameterKind::RunningVariance)?];
            let factor = |(gamma, variance): (&f32, &f32)| {
                f64::from(*gamma) / (f64::from(*variance) + statistics.epsilon).sqrt()
            };
            let scale = gamma.iter().zip(&variance).map(factor).collect();
            Ok(Affine { scale, mean, beta: read(ParameterKind::Bias)? })
        }
        op => {
            let zeros = vec![0.0; gamma.len()];
            let has_bias = matches!(op, Op::Scale(scale) if scale.bias);
            let beta = if has_bias { read(ParameterKind::Bias)? } else { zeros.clone() };
            Ok(Affine { scale: gamma.iter().map(|gamma| f64::from(*gamma)).collect(), mean: zeros, beta })
        }
    }
}

/// A model in pieces, between the first edit and the check.
struct Draft {
    model: Model,
    input_fact: Fact,
    nodes: Vec<Node>,
    outputs: Vec<String>,
    history: Vec<String>,
}

impl Draft {
    fn of(mut model: Model) -> Self {
        let history = std::mem::take(&mut model.history);
        let (nodes, outputs) = (model.graph.nodes().to_vec(), model.graph.outputs().to_vec());
        Self { input_fact: model.graph.input_fact().clone(), nodes, outputs, history, model }
    }

    fn edit(&mut self, edit: Edit) -> Result<(), GraphError> {
        match edit {
            Edit::Cut { wire } => {
                self.known(&wire)?;
                self.outputs = vec![wire];
                // Dropped at once, so that a new node may take the name of an old one.
                self.nodes = self.graph()?.pruned()?.nodes().to_vec();
            }
            Edit::Append { node, weights } => {
                self.outputs = vec![node.name.clone()];
                self.put(weights);
                self.nodes.push(node);
            }
            Edit::Replace { node, weights } => {
                self.put(weights);
                // The inputs stay, because an edit before this one may have renamed them.
                let same = self.nodes.iter_mut().filter(|old| old.name == node.name);
                same.for_each(|old| old.op = node.op.clone());
            }
            Edit::Bypass { node } => self.bypass(&node),
            Edit::Insert { node, weights, readers } => {
                self.put(weights);
                self.insert(node, &readers);
            }
            Edit::Input { fact, preprocessing } => {
                (self.input_fact, self.model.card.preprocessing) = (fact, preprocessing);
            }
            Edit::Roles { features, logits, labels } => {
                let roles = &mut self.model.card.roles;
                (roles.features, roles.logits, self.model.card.labels) = (features, logits, labels);
            }
            Edit::Freeze { wire } => {
                self.known(&wire)?;
                self.model.frozen_until = Some(wire);
            }
        }
        Ok(())
    }

    fn known(&self, wire: &str) -> Result<(), GraphError> {
        self.graph()?.fact(wire).map(|_| ())
    }

    fn put(&mut self, weights: Weights) {
        for (name, tensor) in weights.iter() {
            self.model.weights.insert(name, tensor.clone());
        }
    }

    fn insert(&mut self, node: Node, readers: &[String]) {
        let Some(position) = self.nodes.iter().position(|other| readers.contains(&other.name)) else {
            return;
        };
        let Some(source) = node.inputs.first().cloned() else { return };
        let reading = self.nodes.iter_mut().filter(|other| readers.contains(&other.name));
        let wires = reading.flat_map(|other| &mut other.inputs).filter(|wire| **wire == source);
        wires.for_each(|wire| wire.clone_from(&node.name));
        self.nodes.insert(position, node);
    }

    fn bypass(&mut self, name: &str) {
        let Some(position) = self.nodes.iter().position(|node| node.name == name) else { return };
        let node = self.nodes.remove(position);
        let Some(source) = node.inputs.into_iter().next() else { return };
        let roles = &mut self.model.card.roles;
        let read = self.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        let marked = roles.cuts.iter_mut().chain(&mut roles.logits).chain([&mut roles.features]);
        read.chain(&mut self.outputs)
            .chain(marked)
            .chain(&mut self.model.frozen_until)
            .filter(|wire| *wire == name)
            .for_each(|wire| wire.clone_from(&source));
    }

    fn graph(&self) -> Result<Graph, GraphError> {
        let old = &self.model.graph;
        let outputs = self.outputs.iter().map(String::as_str);
        Graph::assemble(old.input(), self.input_fact.clone(), self.nodes.iter().cloned(), outputs)
    }

    fn finish(mut self) -> Result<Model, GraphError> {
        let graph = self.graph()?.pruned()?;
        let card = &mut self.model.card;
        card.roles.cuts.retain(|wire| graph.has_wire(wire));
        card.roles.logits.take_if(|wire| !graph.has_wire(wire));
        let frozen_until = self.model.frozen_until.filter(|wire| graph.has_wire(wire));
        let model = Model::new(graph, self.model.weights, self.model.card)?;
        Ok(Model { frozen_until, history: self.history, ..model })
    }
}
