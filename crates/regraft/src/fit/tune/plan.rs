//! What a method trains, and where the boundary lies that it leaves to the frozen part.

use std::collections::{HashMap, HashSet};

use regraft_graph::{Graph, Model, Op, Parameter, ParameterKind};

use super::config::Method;
use crate::{Error, Result};

/// What of a model is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Names of the trained parameters.
    pub(crate) trained: HashSet<String>,
    /// Names of those that belong to the new head.
    pub(crate) head: HashSet<String>,
    /// The wire up to which nothing is trained.
    pub(crate) boundary: String,
    /// Names of parameters of the source, and how many ends of blocks stand between them and the head.
    depths: HashMap<String, usize>,
}

impl Plan {
    /// For a model with its new head; `cut` is the wire behind which [`Method::Partial`] trains, `rank` that of
    /// [`Method::Lora`], which leaves alone what is narrower.
    ///
    /// # Errors
    /// There is nothing that the method could train.
    pub(crate) fn new(model: &Model, method: Method, cut: &str, rank: usize) -> Result<Self> {
        let graph = model.graph();
        let head = head_parameters(model);
        if method == Method::Partial && !graph.has_wire(cut) {
            return Err(Error::Usage(format!(
                "cut {cut}: the new head takes its place; name a wire in front of '{}'",
                model.card().roles.features
            )));
        }
        let mut names = names_of(model, method, cut, &head);
        if method == Method::Lora {
            narrow_left_alone(graph, &mut names, rank)?;
        }
        if names.is_empty() {
            return Err(Error::Usage(format!(
                "--method {}: {} has nothing in front of the head that it could train; use --method probe",
                method.name(),
                model.card().name
            )));
        }
        let trained: HashSet<String> = names.into_iter().chain(head.iter().cloned()).collect();
        let boundary = graph.boundary(&|parameter| trained.contains(&parameter.name)).to_owned();
        Ok(Self { trained, head, boundary, depths: depths(model) })
    }

    /// Ends of blocks between a parameter of the source and the head; 0 for those of the last block.
    pub(crate) fn depth(&self, name: &str) -> usize {
        self.depths.get(name).copied().unwrap_or(0)
    }

    /// The largest depth of a trained parameter.
    pub(crate) fn deepest(&self) -> usize {
        self.trained.iter().map(|name| self.depth(name)).max().unwrap_or(0)
    }

    /// Whether a node's normalisation may go by the batch: where its scale or shift is trained.
    pub(crate) fn trains_node(&self, graph: &Graph, node: &str) -> bool {
        let parameters = graph.node(node).map(|node| node.parameters()).unwrap_or_default();
        parameters.iter().any(|parameter| self.trained.contains(&parameter.name))
    }
}

fn depths(model: &Model) -> HashMap<String, usize> {
    let mut depths = HashMap::new();
    let parameters = |wire: &str| {
        model.graph().up_to(wire).into_iter().flat_map(|node| node.parameters()).collect::<Vec<_>>()
    };
    for parameter in model.card().roles.cuts.iter().flat_map(|wire| parameters(wire)) {
        *depths.entry(parameter.name).or_insert(0) += 1;
    }
    depths
}

/// Names of the parameters of the layer that gives the logits.
fn head_parameters(model: &Model) -> HashSet<String> {
    let head = model.card().roles.logits.as_deref().and_then(|wire| model.graph().node(wire));
    head.into_iter().flat_map(|node| node.parameters()).map(|parameter| parameter.name).collect()
}

/// Names of the source's parameters that a method trains.
fn names_of(model: &Model, method: Method, cut: &str, head: &HashSet<String>) -> Vec<String> {
    let graph = model.graph();
    let front = match method {
        Method::LastBlock => in_front_of_last_block(model, head),
        Method::Partial => names_up_to(graph, cut),
        _ => HashSet::new(),
    };
    let kept = if method == Method::Lwf { source_head(graph) } else { HashSet::new() };
    let is_left = |name: &str| front.contains(name) || kept.contains(name);
    let behind = graph.nodes().iter().filter(|node| !is_left(&node.name));
    let of_node = behind.flat_map(|node| {
        let is_norm = matches!(node.op, Op::BatchNormalization(_) | Op::LayerNormalization(_) | Op::Scale(_));
        node.parameters().into_iter().filter(move |parameter| trains(method, is_norm, parameter))
    });
    of_node.map(|parameter| parameter.name).filter(|name| !head.contains(name)).collect()
}

fn trains(method: Method, is_norm: bool, parameter: &Parameter) -> bool {
    let is_fixed = matches!(
        parameter.kind,
        ParameterKind::RunningMean
            | ParameterKind::RunningVariance
            | ParameterKind::Labels
            | ParameterKind::Value
    );
    !is_fixed
        && match method {
            Method::Probe | Method::Auto => false,
            Method::BnAffine => is_norm,
            Method::Bias => parameter.kind == ParameterKind::Bias,
            Method::Lora => is_matrix(parameter),
            Method::LastBlock
            | Method::Partial
            | Method::Full
            | Method::LpFt
            | Method::Surgical
            | Method::Gradual
            | Method::L2Sp
            | Method::Bss
            | Method::Delta
            | Method::Lwf
            | Method::CoTuning => true,
        }
}

/// Keeps the weights that are at least as wide as the rank.
fn narrow_left_alone(graph: &Graph, names: &mut Vec<String>, rank: usize) -> Result<()> {
    let widths: HashMap<String, usize> =
        graph.parameters().into_iter().map(|parameter| (parameter.name.clone(), width(&parameter))).collect();
    let width = |name: &String| widths.get(name).copied().unwrap_or(0);
    let widest = names.iter().map(width).max().unwrap_or(0);
    if widest < rank {
        return Err(Error::Usage(format!("--rank {rank}: the widest weight has a smaller side of {widest}")));
    }
    names.retain(|name| width(name) >= rank);
    Ok(())
}

/// The smaller side of a weight: its outputs, or its inputs with their window.
fn width(parameter: &Parameter) -> usize {
    let rows = parameter.shape.first().copied().unwrap_or(0);
    rows.min(parameter.shape.iter().skip(1).product())
}

/// Whether a change of low rank makes sense: not for a window for each channel, and not for a table of tokens.
fn is_matrix(parameter: &Parameter) -> bool {
    let is_weight = matches!(
        parameter.kind,
        ParameterKind::Weight | ParameterKind::InputWeight | ParameterKind::StateWeight
    );
    let is_depthwise = parameter.shape.len() == 4 && parameter.shape.get(1) == Some(&1);
    is_weight && parameter.shape.len() > 1 && !is_depthwise
}

/// The nodes up to the last end of a block that has something to train between it and the head.
fn in_front_of_last_block<'a>(model: &'a Model, head: &HashSet<String>) -> HashSet<&'a str> {
    let graph = model.graph();
    let fronts = model.card().roles.cuts.iter().rev().map(|wire| names_up_to(graph, wire));
    let leaves_some = |front: &HashSet<&str>| {
        let behind = graph.nodes().iter().filter(|node| !front.contains(node.name.as_str()));
        behind.flat_map(|node| node.parameters()).any(|parameter| !head.contains(&parameter.name))
    };
    fronts.into_iter().find(leaves_some).unwrap_or_default()
}

/// The nodes that only the second output needs: the source's own head, where it is there beside the new one.
fn source_head(graph: &Graph) -> HashSet<&str> {
    let mut outputs = graph.outputs().iter();
    let [new, source] =
        [outputs.next(), outputs.next()].map(|wire| names_up_to(graph, wire.map_or("", String::as_str)));
    source.difference(&new).copied().collect()
}

fn names_up_to<'a>(graph: &'a Graph, wire: &'a str) -> HashSet<&'a str> {
    graph.up_to(wire).into_iter().map(|node| node.name.as_str()).collect()
}
