//! Which rows are fitted and which are judged, one split or several.

use std::collections::BTreeMap;

use crate::error::{AdaptError, Result};
use crate::examples::Examples;

/// Greatest number of logits (judged rows × classes) of one candidate; 4 million are 16 MiB.
const MOST_LOGITS: usize = 1 << 22;

/// Splits of the rows 0 to n − 1 into training and validation rows. No row is judged twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    rows: usize,
    splits: Vec<Split>,
}

/// Positions of the training and of the validation rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Split {
    pub(crate) training: Vec<usize>,
    pub(crate) validation: Vec<usize>,
}

impl Partition {
    /// Cross-validation: the rows with the same value in `folds` (one per row) are judged by heads fitted to all other
    /// rows. Duplicates and views of one object belong into one fold.
    ///
    /// # Errors
    /// [`AdaptError::TooFewRows`] with fewer than two folds.
    pub fn folds(folds: &[usize]) -> Result<Self> {
        let mut members = BTreeMap::<usize, Vec<usize>>::new();
        for (row, &fold) in folds.iter().enumerate() {
            members.entry(fold).or_default().push(row);
        }
        if members.len() < 2 {
            return Err(AdaptError::TooFewRows { what: "folds", found: members.len(), needed: 2 });
        }
        let split = |(fold, validation): (usize, Vec<usize>)| {
            let training = (0..folds.len()).filter(|&row| folds[row] != fold).collect();
            Split { training, validation }
        };
        Ok(Partition { rows: folds.len(), splits: members.into_iter().map(split).collect() })
    }

    /// A fixed validation set: the rows with `true` are judged by heads fitted to the rows with `false`.
    ///
    /// # Errors
    /// [`AdaptError::Empty`] if there is no row on one of the sides.
    pub fn held_out(validation: &[bool]) -> Result<Self> {
        let (validation_rows, training): (Vec<usize>, Vec<usize>) =
            (0..validation.len()).partition(|&row| validation[row]);
        match (training.is_empty(), validation_rows.is_empty()) {
            (true, _) => Err(AdaptError::Empty { what: "training rows" }),
            (_, true) => Err(AdaptError::Empty { what: "validation rows" }),
            _ => {
                let splits = vec![Split { training, validation: validation_rows }];
                Ok(Partition { rows: validation.len(), splits })
            }
        }
    }

    /// Number of rows that are split.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The splits with the validation rows that can be judged fairly and in bounded memory: those whose class has a
    /// training row, evenly thinned if there are too many for the number of classes.
    pub(crate) fn judged(&self, examples: &Examples) -> Vec<Split> {
        let judged = self.splits.iter().map(|split| split.nameable(examples));
        let splits: Vec<Split> = judged.filter(|split| !split.validation.is_empty()).collect();
        let rows: usize = splits.iter().map(|split| split.validation.len()).sum();
        let step = (rows * examples.classes()).div_ceil(MOST_LOGITS).max(1);
        splits.into_iter().map(|split| split.thinned(step)).collect()
    }
}

impl Split {
    fn nameable(&self, examples: &Examples) -> Self {
        let mut has_training_row = vec![false; examples.classes()];
        self.training.iter().for_each(|&row| has_training_row[examples.labels()[row]] = true);
        let nameable = |row: &usize| has_training_row[examples.labels()[*row]];
        Split { validation: self.validation.iter().copied().filter(nameable).collect(), ..self.clone() }
    }

    fn thinned(self, step: usize) -> Self {
        Split { validation: self.validation.into_iter().step_by(step).collect(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn a_row_whose_class_is_unknown_to_its_training_fold_is_not_judged() {
        let features = Array2::zeros((5, 1));
        let examples = Examples::new(features.view(), &[0, 0, 1, 1, 2], 3).unwrap();
        let splits = Partition::folds(&[0, 1, 0, 1, 1]).unwrap().judged(&examples);
        let validation: Vec<_> = splits.iter().map(|split| split.validation.clone()).collect();
        assert_eq!(validation, [vec![0, 2], vec![1, 3]]);
    }

    #[test]
    fn many_classes_thin_the_judged_rows() {
        let features = Array2::zeros((20_000, 1));
        let labels: Vec<usize> = (0..20_000).map(|row| row / 2).collect();
        let examples = Examples::new(features.view(), &labels, 10_000).unwrap();
        let folds: Vec<usize> = (0..20_000).map(|row| row % 2).collect();
        let splits = Partition::folds(&folds).unwrap().judged(&examples);
        let judged: usize = splits.iter().map(|split| split.validation.len()).sum();
        assert!(judged * 10_000 <= MOST_LOGITS + 20_000 && judged > 400, "{judged}");
    }

    #[test]
    fn one_fold_is_not_enough() {
        assert!(Partition::folds(&[3, 3, 3]).is_err());
        assert!(Partition::held_out(&[true, true]).is_err());
        assert!(Partition::held_out(&[false]).is_err());
    }
}
