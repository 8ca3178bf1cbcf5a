//! A graph with its weights and its card.

use crate::{Card, Graph, GraphError, ParameterKind, Tensor, Weights};

/// A network that can run: every weight that its graph names is there in the right shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub(crate) graph: Graph,
    pub(crate) weights: Weights,
    pub(crate) card: Card,
    pub(crate) frozen_until: Option<String>,
    pub(crate) history: Vec<String>,
}

impl Model {
    /// Puts the parts together. Weights that no node names are dropped.
    ///
    /// # Errors
    /// A weight is missing or has another shape than its node needs; the card names a wire that does not exist.
    pub fn new(graph: Graph, mut weights: Weights, card: Card) -> Result<Self, GraphError> {
        check_weights(&graph, &weights)?;
        card.roles.wires().try_for_each(|wire| graph.fact(wire).map(|_| ()))?;
        let named: std::collections::HashSet<_> =
            graph.parameters().into_iter().map(|parameter| parameter.name).collect();
        weights.retain(|name| named.contains(name));
        Ok(Self { graph, weights, card, frozen_until: None, history: Vec::new() })
    }

    /// The network.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The tensors that the network names.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Origin, licence, preprocessing, labels, roles.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The same network with another card, for a model that gets a name and labels of its own.
    ///
    /// # Errors
    /// The card names a wire that does not exist.
    pub fn with_card(self, card: Card) -> Result<Self, GraphError> {
        let Self { frozen_until, history, .. } = self;
        Ok(Self { frozen_until, history, ..Self::new(self.graph, self.weights, card)? })
    }

    /// The same model with the record of patches that a saved model carries: where it was frozen, and why it was
    /// changed.
    ///
    /// # Errors
    /// `frozen_until` is a wire that does not exist.
    pub fn with_record(self, frozen_until: Option<String>, history: Vec<String>) -> Result<Self, GraphError> {
        frozen_until.iter().try_for_each(|wire| self.graph.fact(wire).map(|_| ()))?;
        Ok(Self { frozen_until, history, ..self })
    }

    /// The wire up to which nothing is trained, if a patch froze the model.
    pub fn frozen_until(&self) -> Option<&str> {
        self.frozen_until.as_deref()
    }

    /// Reasons of the patches applied so far.
    pub fn history(&self) -> &[String] {
        &self.history
    }

    /// A parameter of a node.
    ///
    /// # Errors
    /// [`GraphError::MissingParameter`]: the node has no parameter of that kind.
    pub fn parameter(&self, node: &crate::Node, kind: ParameterKind) -> Result<&Tensor, GraphError> {
        self.weights.parameter(node, kind)
    }
}

fn check_weights(graph: &Graph, weights: &Weights) -> Result<(), GraphError> {
    for node in graph.nodes() {
        for parameter in node.parameters() {
            let (node, name) = (node.name.clone(), parameter.name);
            let Some(tensor) = weights.get(&name) else {
                return Err(GraphError::MissingParameter { node, parameter: name });
            };
            if tensor.shape() != parameter.shape {
                let (expected, found) = (parameter.shape, tensor.shape().to_vec());
                return Err(GraphError::ParameterShape { node, parameter: name, expected, found });
            }
        }
    }
    Ok(())
}
