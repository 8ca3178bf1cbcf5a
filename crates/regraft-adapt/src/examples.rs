//! Labelled rows of a feature matrix, checked once.
//!
//! Every fit takes [`Examples`], so none has to look for a NaN or a label out of range again. A training fold is a
//! list of rows over the same array: features are never copied as `f32`.

use ndarray::{ArrayView1, ArrayView2, Axis};

use crate::error::{AdaptError, Result, known_classes, same_length};

/// Labelled rows of an n × D feature matrix. All features are finite, all labels below the number of classes.
#[derive(Debug, Clone)]
pub struct Examples<'a> {
    features: ArrayView2<'a, f32>,
    rows: Vec<usize>,
    labels: Vec<usize>,
    classes: usize,
}

impl<'a> Examples<'a> {
    /// Checks `features` (n × D) against `labels` (n, each below `classes`).
    ///
    /// # Errors
    /// [`AdaptError::Empty`], [`AdaptError::Shape`], [`AdaptError::LabelOutOfRange`] or, naming the first offending
    /// value, [`AdaptError::NonFinite`].
    pub fn new(features: ArrayView2<'a, f32>, labels: &[usize], classes: usize) -> Result<Self> {
        check_features(features)?;
        same_length("number of labels", features.nrows(), labels.len())?;
        known_classes(labels, classes)?;
        Ok(Examples { features, rows: (0..labels.len()).collect(), labels: labels.to_vec(), classes })
    }

    /// Number of rows n.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row, which only [`subset`](Self::subset) of nothing can bring about.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of features D of a row.
    pub fn dimension(&self) -> usize {
        self.features.ncols()
    }

    /// Number of classes C, those without a row included.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The class of each row.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Number of rows of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        for &label in &self.labels {
            counts[label] += 1;
        }
        counts
    }

    /// The rows at `positions` (each below [`len`](Self::len)), in that order.
    pub fn subset(&self, positions: &[usize]) -> Self {
        Examples {
            features: self.features,
            rows: positions.iter().map(|&position| self.rows[position]).collect(),
            labels: positions.iter().map(|&position| self.labels[position]).collect(),
            classes: self.classes,
        }
    }

    /// The features of the row at `position`.
    pub(crate) fn row(&self, position: usize) -> ArrayView1<'a, f32> {
        self.features.index_axis_move(Axis(0), self.rows[position])
    }

    /// The positions of the rows of each class.
    pub(crate) fn positions_by_class(&self) -> Vec<Vec<usize>> {
        let mut positions = vec![Vec::new(); self.classes];
        for (position, &label) in self.labels.iter().enumerate() {
            positions[label].push(position);
        }
        positions
    }

    /// The same rows with the classes that have any renumbered from 0, and the old number of each of these.
    ///
    /// # Errors
    /// [`AdaptError::SingleClass`] if fewer than two classes are left, [`AdaptError::Empty`] without rows.
    pub(crate) fn compact(&self) -> Result<(Self, Vec<usize>)> {
        let counts = self.counts();
        let present: Vec<usize> = (0..self.classes).filter(|&class| counts[class] > 0).collect();
        match present[..] {
            [] => return Err(AdaptError::Empty { what: "training rows" }),
            [class] => return Err(AdaptError::SingleClass { class, rows: self.len() }),
            _ => {}
        }
        let mut renumbered = vec![0; self.classes];
        for (number, &class) in present.iter().enumerate() {
            renumbered[class] = number;
        }
        let labels = self.labels.iter().map(|&label| renumbered[label]).collect();
        Ok((Examples { labels, classes: present.len(), rows: self.rows.clone(), ..*self }, present))
    }
}

/// Fails unless `features` has a row and a column and all its values are finite.
pub(crate) fn check_features(features: ArrayView2<f32>) -> Result<()> {
    if features.is_empty() {
        return Err(AdaptError::Empty { what: "features" });
    }
    for (row, values) in features.rows().into_iter().enumerate() {
        if let Some(column) = values.iter().position(|value| !value.is_finite()) {
            return Err(AdaptError::NonFinite { row, column });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_bad_value_is_named_by_row_and_column() {
        let features = array![[0.0, 1.0], [2.0, f32::NAN]];
        let error = Examples::new(features.view(), &[0, 1], 2).unwrap_err();
        assert_eq!(error, AdaptError::NonFinite { row: 1, column: 1 });
    }

    #[test]
    fn labels_are_checked() {
        let features = array![[0.0], [2.0]];
        let new = |labels: &[usize]| Examples::new(features.view(), labels, 2).map(|_| ()).unwrap_err();
        assert_eq!(new(&[0, 2]), AdaptError::LabelOutOfRange { row: 1, label: 2, classes: 2 });
        assert_eq!(new(&[0]), AdaptError::Shape { what: "number of labels", expected: 2, found: 1 });
    }

    #[test]
    fn compacting_keeps_the_classes_that_have_rows() {
        let features = array![[0.0], [1.0], [2.0]];
        let examples = Examples::new(features.view(), &[4, 1, 4], 6).unwrap();
        let (compact, present) = examples.compact().unwrap();
        assert_eq!((compact.labels(), compact.classes(), present), (&[1, 0, 1][..], 2, vec![1, 4]));
        let single = examples.subset(&[0, 2]).compact().unwrap_err();
        assert_eq!(single, AdaptError::SingleClass { class: 4, rows: 2 });
    }
}
