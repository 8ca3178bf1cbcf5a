//! Values that cost little are computed again on the way back instead of being kept (Chen et al. 2016, "Training deep nets
//! with sublinear memory cost", for the steps between the expensive ones).
//!
//! Normalisations and activations: what they read is kept anyway for their own gradient, and what they give is kept only for
//! the gradient of the weights behind them. It is the same step again, so the numbers are the same bit for bit.

use std::collections::HashSet;

use regraft_graph::Op;

use super::{
    build::Builder,
    steps::{Step, Work},
};
use crate::kernels::activation::Function;

/// Whether a node's step costs no more than reading and writing its numbers.
pub(super) fn is_cheap(op: &Op) -> bool {
    matches!(op, Op::BatchNormalization(_) | Op::LayerNormalization(_)) || Function::of(op).is_some()
}

impl Builder<'_> {
    /// Replaces, on the way back, what cheap steps gave by what they give again. `outputs` are kept in any case.
    pub(super) fn recompute(&mut self, outputs: &[usize]) {
        let kept: HashSet<usize> = self.backward.iter().flat_map(|step| step.reads.clone()).collect();
        let mut again = HashSet::new();
        for index in std::mem::take(&mut self.cheap) {
            let Some(Step { name, reads, writes: Some(value), .. }) = self.forward.get(index) else {
                continue;
            };
            let is_read_back = kept.contains(value) && !outputs.contains(value);
            let has_inputs = reads.iter().all(|read| kept.contains(read) && !again.contains(read));
            if is_read_back && has_inputs {
                again.insert(*value);
                let (name, reads, value) = (format!("{name} (again)"), reads.clone(), *value);
                self.compute_again(
                    Step { name, reads, writes: Some(value), work: Work::Again(index) },
                    value,
                );
            }
        }
    }

    /// Puts a step in front of the first one that reads `value`, and what it writes in place of `value`.
    fn compute_again(&mut self, step: Step, value: usize) {
        let copy = self.new_value(self.geometry(value));
        let readers = self.backward.iter_mut().flat_map(|step| &mut step.reads);
        readers.filter(|read| **read == value).for_each(|read| *read = copy);
        let first = self.backward.iter().position(|step| step.reads.contains(&copy));
        self.backward.insert(first.unwrap_or(0), Step { writes: Some(copy), ..step });
    }
}
