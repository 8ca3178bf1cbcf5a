//! Surgical fine-tuning: each tensor learns by how large its gradient is beside it (Auto-RGN of Lee et al. 2023, "Surgical
//! fine-tuning improves adaptation to distribution shifts", section 4 and the authors' code).

use regraft_engine::{Tape, Trained};

/// Batches that measure the gradients at the beginning of an epoch, as in the authors' code.
pub(super) const BATCHES: usize = 5;

/// A tensor counts as at least so large, for each of its numbers: shifts that begin at nothing would have all of the rate.
const LEAST: f64 = 1e-3;

/// Relative gradient norms: sums over batches, a tensor each.
#[derive(Default)]
pub(super) struct RelativeNorms(Vec<f64>);

impl RelativeNorms {
    /// Adds those of a tape that has just gone back.
    pub(super) fn add(&mut self, tape: &Tape) {
        let relative = |trained: &Trained| {
            let numbers = |from: &[f32]| norm(from.get(trained.range.clone()).unwrap_or_default());
            let least = LEAST * (trained.range.len() as f64).sqrt();
            numbers(tape.gradients()) / numbers(tape.values()).max(least)
        };
        self.0.resize(tape.parameters().len(), 0.0);
        self.0.iter_mut().zip(tape.parameters()).for_each(|(sum, trained)| *sum += relative(trained));
    }

    /// Shares of the learning rate: over the largest one, from 0 to 1. Tensors of a new head, which are not the source's, have all
    /// of it.
    pub(super) fn shares(&self, is_of_head: &[bool]) -> Vec<f32> {
        let of_source = self.0.iter().zip(is_of_head).filter(|(_, is_of_head)| !**is_of_head);
        let largest = of_source.map(|(norm, _)| *norm).fold(0.0, f64::max);
        let share = |(norm, is_of_head): (&f64, &bool)| match (is_of_head, largest > 0.0) {
            (false, true) => (norm / largest) as f32,
            _ => 1.0,
        };
        self.0.iter().zip(is_of_head).map(share).collect()
    }
}

fn norm(numbers: &[f32]) -> f64 {
    numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_largest_norm_of_the_source() {
        let norms = RelativeNorms(vec![0.5, 2.0, 0.0, 9.0]);
        assert_eq!(norms.shares(&[false, false, false, true]), [0.25, 1.0, 0.0, 1.0]);
        assert_eq!(RelativeNorms(vec![0.0, 0.0]).shares(&[false, true]), [1.0, 1.0]);
    }
}
