//! What an ONNX value is while a file is read: known, or a wire of the graph under construction.

use regraft_graph::Dim;

use super::batch::Batch;
use super::constant::Constant;
use super::element::Element;
use super::whole::Whole;

/// A value by the name that the file gives it.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// It does not depend on the input.
    Constant(Constant),
    /// It does.
    Wire(Wire),
}

/// A value that the graph computes. The module's head says why one axis may be missing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wire {
    /// Name of the graph's wire.
    pub(super) name: String,
    /// The value's shape in the file's terms, for one example.
    pub(super) shape: Vec<Dim>,
    /// The axis of size 1 that the graph's wire lacks. The wire's shape is N and then the other axes.
    pub(super) dropped: Option<usize>,
    /// Set when the node that gives it is done.
    pub(super) kind: Kind,
}

/// What a wire's numbers are, beside their shape.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Kind {
    /// Where the examples are; `None` where the file has one example only.
    pub(super) batch: Option<Batch>,
    pub(super) element: Element,
}

impl Wire {
    pub(super) fn new(name: String, shape: Vec<Dim>, dropped: Option<usize>) -> Self {
        Self { name, shape, dropped, kind: Kind::default() }
    }

    /// The sizes that the file's operators see.
    pub(super) fn file_sizes(&self) -> Vec<Whole> {
        let size = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Fixed(size) if self.kind.batch.is_some_and(|batch| batch.axis == axis) => {
                i64::try_from(*size).map_or(Whole::Unknown, Whole::Batch)
            }
            Dim::Fixed(size) => i64::try_from(*size).ok().into(),
            Dim::Symbolic { .. } => Whole::Unknown,
        };
        self.shape.iter().enumerate().map(size).collect()
    }

    pub(super) fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The graph's axis for one of the file's; the dropped one has none.
    pub(super) fn graph_axis(&self, axis: usize) -> Option<usize> {
        match self.dropped {
            Some(dropped) if axis == dropped => None,
            Some(dropped) if axis > dropped => Some(axis),
            _ => Some(axis + 1),
        }
    }

    /// The size of an axis that is fixed.
    pub(super) fn size(&self, axis: usize) -> Result<usize, String> {
        match self.shape.get(axis) {
            Some(Dim::Fixed(size)) => Ok(*size),
            Some(_) => Err(super::constant::unknown_size()),
            None => Err(format!("it has {} axes, one more is needed", self.rank())),
        }
    }

    /// All sizes, if they are fixed.
    pub(super) fn sizes(&self) -> Result<Vec<usize>, String> {
        (0..self.rank()).map(|axis| self.size(axis)).collect()
    }

    /// Shape of the graph's wire behind the batch axis, if another axis were dropped.
    pub(super) fn without(shape: &[Dim], dropped: Option<usize>) -> Vec<Dim> {
        let kept = shape.iter().enumerate().filter(|(axis, _)| Some(*axis) != dropped);
        kept.map(|(_, dim)| *dim).collect()
    }
}

/// The axis to drop of a value of that shape: the first one, where the batch usually is, or the first of size 1.
pub(super) fn natural_drop(shape: &[Dim]) -> Option<usize> {
    shape.iter().position(|dim| *dim == Dim::Fixed(1))
}
