//! What can go wrong when a graph is compiled or run.

use regraft_graph::GraphError;

/// A graph that cannot be compiled, or an input that the compiled program cannot take.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A wire is unknown, a weight is missing, or the image is too small for the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// No output wire was asked for.
    #[error("no output wire was named; name at least one wire of the graph")]
    NoOutputs,
    /// The graph cannot take images of this size.
    #[error("the graph's input is {expected}, which an image of {height}×{width} pixels does not fit")]
    ImageSize {
        /// The graph's input fact.
        expected: String,
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
    /// The batch has another shape than the program was compiled for.
    #[error("the program takes a batch of N×{}×{}×{}, found {found:?}", expected[0], expected[1], expected[2])]
    InputShape {
        /// Channels, height and width of one image.
        expected: [usize; 3],
        /// Shape of the array that was given.
        found: Vec<usize>,
    },
    /// A number of the input names no row of a table.
    #[error("node '{node}' (Embedding): the input has {found}, but rows are named by whole numbers from 0 to {}", entries - 1)]
    NoEntry {
        /// The node's name.
        node: String,
        /// Number of rows.
        entries: usize,
        /// The first such number.
        found: f32,
    },
    /// The engine cannot compute a node with these attributes.
    #[error("node '{node}' ({op}) with input {shape}: {message}")]
    Unsupported {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: &'static str,
        /// Shape of its first input.
        shape: String,
        /// What stands in the way.
        message: String,
    },
    /// Weights or activations need more memory than there is.
    #[error("the network needs {} for one buffer, which could not be allocated; use a smaller image size", size(*.megabytes))]
    Memory {
        /// Millions of bytes; `usize::MAX` for more than can be addressed.
        megabytes: usize,
    },
    /// A kernel would read outside its input. Compiling never asks for that; if it does, the engine is wrong.
    #[error(
        "a kernel would read {reach} numbers of an input that has {size}; this is a fault of the engine, please report it"
    )]
    Bounds {
        /// Numbers up to the last one that would be read.
        reach: usize,
        /// Numbers that there are.
        size: usize,
    },
    /// 8-bit integers were asked for without the ranges of the values.
    #[error("8-bit integers need a calibration: see `Program::compile_int8`")]
    NotCalibrated,
    /// The calibration has no range for a value that is computed in 8-bit integers.
    #[error(
        "the calibration has no range for the wire '{wire}'; calibrate this network with these outputs on at least one image"
    )]
    NoRange {
        /// The last wire that was fused into the value.
        wire: String,
    },
    /// The processor lacks the instructions that were asked for.
    #[error("this processor has no {name} instructions")]
    InstructionSet {
        /// Name of the instruction set.
        name: &'static str,
    },
    /// Nothing can be trained in these numbers.
    #[error("a network cannot be trained in {name}; it can in f32 and bf16")]
    UntrainablePrecision {
        /// Name of the precision.
        name: &'static str,
    },
    /// No instruction set has that name.
    #[error("'{name}' is no instruction set; there are amx, avx512, avx2 and portable")]
    UnknownInstructionSet {
        /// The name that was given.
        name: String,
    },
}

fn size(megabytes: usize) -> String {
    if megabytes == usize::MAX {
        "more memory than can be addressed".to_owned()
    } else {
        format!("{megabytes} MB")
    }
}
