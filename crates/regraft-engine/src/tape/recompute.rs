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
        let cheap = std::mem::take(&mut self.cheap);
        for index in &cheap {
            let Some(value) = self.forward.get(*index).and_then(|step| step.writes) else { continue };
            if !kept.contains(&value) || outputs.contains(&value) {
                continue;
            }
            let has_inputs = |index: usize| {
                let mut reads = self.forward.get(index).into_iter().flat_map(|step| &step.reads);
                reads.all(|read| kept.contains(read) && !again.contains(read))
            };
            let Some(steps) = self.chain(*index, &cheap, &has_inputs) else { continue };
            again.insert(value);
            steps.into_iter().for_each(|index| self.compute_again(index));
        }
    }

    /// The steps that give again what a cheap one gave, the last one first: it alone, where what it reads is there, or behind
    /// another one that nothing else keeps, such as the copy in bfloat16 of what a normalisation gives.
    fn chain(
        &self,
        index: usize,
        cheap: &[usize],
        has_inputs: &impl Fn(usize) -> bool,
    ) -> Option<Vec<usize>> {
        if has_inputs(index) {
            return Some(vec![index]);
        }
        let [read] = self.forward.get(index)?.reads[..] else { return None };
        let writes = |index: &&usize| self.forward.get(**index).is_some_and(|step| step.writes == Some(read));
        let before = *cheap.iter().find(writes)?;
        has_inputs(before).then(|| vec![index, before])
    }

    /// Puts a step in front of the first one that reads its value, and what it writes in place of that.
    fn compute_again(&mut self, index: usize) {
        let Some(Step { name, reads, writes: Some(value), .. }) = self.forward.get(index) else { return };
        let (name, reads, value) = (format!("{name} (again)"), reads.clone(), *value);
        let copy = self.new_value(self.geometry(value));
        let readers = self.backward.iter_mut().flat_map(|step| &mut step.reads);
        readers.filter(|read| **read == value).for_each(|read| *read = copy);
        let first = self.backward.iter().position(|step| step.reads.contains(&copy));
        self.backward
            .insert(first.unwrap_or(0), Step { name, reads, writes: Some(copy), work: Work::Again(index) });
    }
}
