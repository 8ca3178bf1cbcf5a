//! What a node costs: parameters and multiply–accumulate operations.

use crate::{Bindings, Fact, Graph, GraphError, Node, Op};

/// Cost of a node or a whole graph.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Numbers that are stored, running statistics included.
    pub parameters: u64,
    /// Multiply–accumulate operations of convolutions, dense layers and attention for the bound batch. Everything else is small
    /// beside them and, as is usual, not counted.
    pub macs: u64,
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { parameters: self.parameters + other.parameters, macs: self.macs + other.macs }
    }
}

impl Graph {
    /// Cost of the whole graph for an input of this size.
    ///
    /// # Errors
    /// [`GraphError::InputTooSmall`].
    pub fn cost(&self, bindings: &Bindings) -> Result<Cost, GraphError> {
        self.nodes().iter().try_fold(Cost::default(), |sum, node| Ok(sum + self.node_cost(node, bindings)?))
    }

    /// Cost of one node for an input of this size.
    ///
    /// # Errors
    /// [`GraphError::InputTooSmall`], or the node is not of this graph.
    pub fn node_cost(&self, node: &Node, bindings: &Bindings) -> Result<Cost, GraphError> {
        let output: u64 = elements(self.fact(&node.name)?, &node.name, bindings)?;
        let parameters = node.parameters().iter().map(|parameter| product(&parameter.shape)).sum();
        let per_output = match &node.op {
            Op::Conv(conv) => product(&conv.kernel) * (conv.in_channels / conv.groups.max(1)) as u64,
            // Every input, not every output, is multiplied by a kernel.
            Op::ConvTranspose(conv) => {
                let kernel = product(&conv.kernel) * (conv.out_channels / conv.groups.max(1)) as u64;
                let input = node.inputs.first().map_or("", String::as_str);
                let macs = elements(self.fact(input)?, &node.name, bindings)?.saturating_mul(kernel);
                return Ok(Cost { parameters, macs });
            }
            Op::Gemm(gemm) => gemm.in_features as u64,
            Op::Lstm(layer) => 4 * (layer.features + layer.hidden) as u64,
            Op::Gru(layer) => 3 * (layer.features + layer.hidden) as u64,
            Op::MatMul => self.summed(node, bindings),
            // A token's query against every key, and the weighted sum of every value.
            Op::Attention(_) => self.tokens(node, bindings).saturating_mul(2),
            Op::NearestNeighbors(vote) => {
                return Ok(Cost {
                    parameters,
                    macs: product(&[bindings.batch, vote.examples, vote.features]),
                });
            }
            _ => 0,
        };
        Ok(Cost { parameters, macs: output.saturating_mul(per_output) })
    }

    /// Terms of each sum of a matrix product.
    fn summed(&self, node: &Node, bindings: &Bindings) -> u64 {
        let left = node.inputs.first().and_then(|wire| self.fact(wire).ok());
        let shape = left.and_then(|fact| fact.bind(bindings));
        shape.and_then(|shape| shape.last().copied()).unwrap_or(0) as u64
    }

    fn tokens(&self, node: &Node, bindings: &Bindings) -> u64 {
        let shape = self.fact(&node.name).ok().and_then(|fact| fact.bind(bindings));
        shape.and_then(|shape| shape.get(1).copied()).unwrap_or(0) as u64
    }
}

fn elements(fact: &Fact, node: &str, bindings: &Bindings) -> Result<u64, GraphError> {
    let Bindings { height, width, .. } = *bindings;
    let shape = fact.bind(bindings);
    shape.map(|shape| product(&shape)).ok_or_else(|| GraphError::InputTooSmall {
        node: node.to_owned(),
        height,
        width,
    })
}

fn product(sizes: &[usize]) -> u64 {
    sizes.iter().fold(1, |product, size| product.saturating_mul(*size as u64))
}
