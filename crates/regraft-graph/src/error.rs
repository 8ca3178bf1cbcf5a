//! What can be wrong with a model.

/// A graph, a weight or an edit that does not fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A node, an output or an edit names a wire that does not exist (yet, in topological order).
    #[error("{user} refers to the wire '{wire}', which does not exist{}", suggest(.nearest))]
    UnknownWire {
        /// Who asked for it.
        user: String,
        /// The name that was asked for.
        wire: String,
        /// A few names that do exist and look alike.
        nearest: Vec<String>,
    },
    /// Two nodes have one name.
    #[error("two nodes are called '{name}'; every node needs a name of its own")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A node's input has a shape that its operator cannot take.
    #[error("node '{node}' ({op}): expected {expected}, found {found}")]
    Shape {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: &'static str,
        /// What the operator takes.
        expected: String,
        /// What arrived.
        found: String,
    },
    /// A node's attribute has a value outside its range.
    #[error("node '{node}' ({op}): {message}")]
    Attribute {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: &'static str,
        /// What is wrong.
        message: String,
    },
    /// A weight that a node names is not there.
    #[error("node '{node}' needs the weight '{parameter}', which is missing")]
    MissingParameter {
        /// The node's name.
        node: String,
        /// The weight's name.
        parameter: String,
    },
    /// A weight has another shape than its node needs.
    #[error("weight '{parameter}' of node '{node}': expected shape {expected:?}, found {found:?}")]
    ParameterShape {
        /// The node's name.
        node: String,
        /// The weight's name.
        parameter: String,
        /// The shape that the node's attributes imply.
        expected: Vec<usize>,
        /// The tensor's shape.
        found: Vec<usize>,
    },
    /// A tensor's bytes do not match its shape.
    #[error("a tensor of shape {shape:?} and type {dtype} needs {expected} bytes, found {found}")]
    TensorSize {
        /// The shape.
        shape: Vec<usize>,
        /// The element type's name.
        dtype: &'static str,
        /// Bytes that shape and type imply.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The input image is too small for the network.
    #[error(
        "node '{node}': an input of {height}×{width} pixels leaves nothing to compute; use a larger image size"
    )]
    InputTooSmall {
        /// The node whose output would be empty.
        node: String,
        /// Input height in pixels.
        height: usize,
        /// Input width in pixels.
        width: usize,
    },
}

fn suggest(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; did you mean {}?", nearest.join(", ")) }
}
