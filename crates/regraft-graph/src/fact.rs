//! What is known about a wire before any data arrives.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Bindings, Dim, Symbol};

/// Shape of the tensor on a wire. Values between nodes are single precision; weights carry their own type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Axes, outermost first.
    pub shape: Vec<Dim>,
}

impl Fact {
    /// A tensor of these axes.
    pub fn new(shape: impl Into<Vec<Dim>>) -> Self {
        Self { shape: shape.into() }
    }

    /// A batch of images of any size: N×`channels`×H×W.
    pub fn image(channels: usize) -> Self {
        let symbol = Dim::symbol;
        Self::new([symbol(Symbol::Batch), channels.into(), symbol(Symbol::Height), symbol(Symbol::Width)])
    }

    /// A batch of vectors: N×`features`.
    pub fn vector(features: usize) -> Self {
        Self::new([Dim::symbol(Symbol::Batch), features.into()])
    }

    /// A batch of sequences: N×`tokens`×`features`.
    pub fn sequence(tokens: usize, features: usize) -> Self {
        Self::new([Dim::symbol(Symbol::Batch), tokens.into(), features.into()])
    }

    /// The sizes when the symbols have these values. `None` where an axis would be empty or negative.
    pub fn bind(&self, bindings: &Bindings) -> Option<Vec<usize>> {
        self.shape.iter().map(|dim| dim.bind(bindings).filter(|size| *size > 0)).collect()
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<String> = self.shape.iter().map(Dim::to_string).collect();
        f.write_str(&axes.join("×"))
    }
}
