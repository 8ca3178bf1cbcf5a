//! What a method trains, and where the boundary lies that it leaves to the frozen part.

use std::collections::HashSet;

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
}

impl Plan {
    /// For a model with its new head; `cut` is the wire behind which [`Method::Partial`] trains.
    ///
    /// # Errors
    /// There is nothing that the method could train.
    pub(crate) fn new(model: &Model, method: Method, cut: &str) -> Result<Self> {
        let graph = model.graph();
        let head = head_parameters(model);
        let names = names_of(model, method, cut, &head);
        if names.is_empty() {
            return Err(Error::Usage(format!(
                "--method {}: {} has nothing in front of the head that it could train; use --method probe",
                method.name(),
                model.card().name
            )));
        }
        let trained: HashSet<String> = names.into_iter().chain(head.iter().cloned()).collect();
        let boundary = graph.boundary(&|parameter| trained.contains(&parameter.name)).to_owned();
        Ok(Self { trained, head, boundary })
    }

    /// Whether a node's normalisation may go by the batch: where its scale or shift is trained.
    pub(crate) fn trains_node(&self, graph: &Graph, node: &str) -> bool {
        let parameters = graph.node(node).map(|node| node.parameters()).unwrap_or_default();
        parameters.iter().any(|parameter| self.trained.contains(&parameter.name))
    }
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
    let behind = graph.nodes().iter().filter(|node| !front.contains(node.name.as_str()));
    let of_node = behind.flat_map(|node| {
        let is_norm = matches!(node.op, Op::BatchNormalization(_) | Op::LayerNormalization(_) | Op::Scale(_));
        node.parameters().into_iter().filter(move |parameter| trains(method, is_norm, parameter))
    });
    of_node.map(|parameter| parameter.name).filter(|name| !head.contains(name)).collect()
}

fn trains(method: Method, is_norm: bool, parameter: &Parameter) -> bool {
    let is_statistic = matches!(
        parameter.kind,
        ParameterKind::RunningMean | ParameterKind::RunningVariance | ParameterKind::Labels
    );
    !is_statistic
        && match method {
            Method::Probe | Method::Auto => false,
            Method::BnAffine => is_norm,
            Method::Bias => parameter.kind == ParameterKind::Bias,
            Method::LastBlock | Method::Partial | Method::Full | Method::LpFt => true,
        }
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

fn names_up_to<'a>(graph: &'a Graph, wire: &'a str) -> HashSet<&'a str> {
    graph.up_to(wire).into_iter().map(|node| node.name.as_str()).collect()
}
