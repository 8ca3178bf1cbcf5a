//! Weighted vote of the nearest neighbours by cosine similarity.
//!
//! The weight of a neighbour is exp(similarity / 0.07), as in the protocol of self-supervised learning (Wu et al.
//! 2018). Similarities are products of normalised rows in single precision, a block of queries at a time; equal
//! similarities go to the earlier training row, so the vote is deterministic. Exact and without an index: n² · D
//! operations for n queries.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use ndarray::{Array2, ArrayView1, ArrayView2};
use rayon::prelude::*;

use crate::error::{AdaptError, Result, same_length};
use crate::examples::{Examples, check_features};

/// The neighbourhood sizes worth comparing.
pub const NEIGHBOURS: [usize; 3] = [1, 5, 20];
/// Softness of the vote.
pub const TEMPERATURE: f64 = 0.07;
/// Queries whose similarities exist at a time.
const BLOCK: usize = 64;
/// Weight, relative to the nearest neighbour's, that is spread over all classes so that none has probability 0.
pub const PRIOR_WEIGHT: f64 = 1.0;

/// A neighbour of a query: its similarity and its position among the training rows.
type Neighbour = (f32, usize);

/// Training rows that vote for the class of their surroundings.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestNeighbours {
    /// Rows of length 1 (or 0), n × D.
    rows: Vec<f32>,
    dimension: usize,
    labels: Vec<usize>,
    classes: usize,
    neighbours: usize,
}

impl NearestNeighbours {
    /// Remembers `examples`; `neighbours` (at least 1) of them vote, or all if there are fewer.
    ///
    /// # Errors
    /// [`AdaptError::HyperParameter`] for no neighbours, [`AdaptError::Empty`] without rows.
    pub fn fit(examples: &Examples, neighbours: usize) -> Result<Self> {
        if neighbours == 0 {
            return Err(AdaptError::HyperParameter { name: "k", found: 0.0, expected: "at least 1" });
        }
        if examples.is_empty() {
            return Err(AdaptError::Empty { what: "training rows" });
        }
        let rows = (0..examples.len()).flat_map(|position| normalised(examples.row(position))).collect();
        let (dimension, labels, classes) =
            (examples.dimension(), examples.labels().to_vec(), examples.classes());
        Ok(NearestNeighbours { rows, dimension, labels, classes, neighbours })
    }

    /// Number of features D of a row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The stored rows, each of length 1 (or 0), one after the other: n × D numbers.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// The class of each stored row.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Number of classes C.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of neighbours that vote.
    pub fn neighbours(&self) -> usize {
        self.neighbours
    }

    /// The logits (n × C) of `features` (n × D): the logarithm of the share of the votes, smoothed by one vote spread
    /// over all classes.
    ///
    /// # Errors
    /// [`AdaptError::Shape`], [`AdaptError::NonFinite`].
    pub fn logits(&self, features: ArrayView2<f32>) -> Result<Array2<f32>> {
        check_features(features)?;
        same_length("number of features of a row", self.dimension, features.ncols())?;
        let queries: Vec<f32> = features.rows().into_iter().flat_map(normalised).collect();
        let found = self.nearest(&queries, self.neighbours, false);
        Ok(self.smoothed_logits(&found, self.neighbours).mapv(|value| value as f32))
    }

    /// The logits (m × C) of `examples` for each number of neighbours in `sizes`.
    pub(crate) fn path_logits(&self, examples: &Examples, sizes: &[usize]) -> Vec<Array2<f64>> {
        let queries: Vec<f32> =
            (0..examples.len()).flat_map(|position| normalised(examples.row(position))).collect();
        let found = self.nearest(&queries, sizes.iter().copied().max().unwrap_or(1), false);
        sizes.iter().map(|&size| self.smoothed_logits(&found, size)).collect()
    }

    /// The share of the votes (n × C, rows sum to 1) that each class gets at each training row, the row itself not
    /// voting, for every number of neighbours in `sizes`. No smoothing.
    ///
    /// # Errors
    /// [`AdaptError::TooFewRows`] for a single training row.
    pub fn leave_one_out(&self, sizes: &[usize]) -> Result<Vec<Array2<f64>>> {
        if self.labels.len() < 2 {
            return Err(AdaptError::TooFewRows {
                what: "training rows",
                found: self.labels.len(),
                needed: 2,
            });
        }
        let found = self.nearest(&self.rows, sizes.iter().copied().max().unwrap_or(1), true);
        Ok(sizes.iter().map(|&size| self.shares(&found, size, 0.0)).collect())
    }

    fn smoothed_logits(&self, found: &[Vec<Neighbour>], size: usize) -> Array2<f64> {
        self.shares(found, size, PRIOR_WEIGHT).mapv(f64::ln)
    }

    fn shares(&self, found: &[Vec<Neighbour>], size: usize, prior: f64) -> Array2<f64> {
        let mut shares = Array2::from_elem((found.len(), self.classes), prior / self.classes as f64);
        for (mut row, neighbours) in shares.rows_mut().into_iter().zip(found) {
            let nearest = neighbours.first().map_or(0.0, |&(similarity, _)| similarity);
            for &(similarity, position) in neighbours.iter().take(size) {
                row[self.labels[position]] += (f64::from(similarity - nearest) / TEMPERATURE).exp();
            }
            row /= row.sum();
        }
        shares
    }

    /// The `size` most similar training rows of every query (rows of length D), most similar first. With
    /// `exclude_self` the queries are the training rows.
    fn nearest(&self, queries: &[f32], size: usize, exclude_self: bool) -> Vec<Vec<Neighbour>> {
        let blocks: Vec<(usize, &[f32])> = queries.chunks(BLOCK * self.dimension).enumerate().collect();
        let found = blocks.into_par_iter().map(|(block, queries)| {
            let similarities = self.similarities(queries);
            let of_query = |query: usize| {
                let own = exclude_self.then_some(block * BLOCK + query);
                most_similar(similarities.col_as_slice(query), size, own)
            };
            (0..similarities.ncols()).map(of_query).collect::<Vec<_>>()
        });
        found.collect::<Vec<_>>().concat()
    }

    /// Training rows × queries.
    fn similarities(&self, queries: &[f32]) -> Mat<f32> {
        let count = queries.len() / self.dimension;
        let training = MatRef::from_row_major_slice(&self.rows, self.labels.len(), self.dimension);
        let queries = MatRef::from_column_major_slice(queries, self.dimension, count);
        let mut result = Mat::zeros(self.labels.len(), count);
        matmul(result.as_mut(), Accum::Replace, training, queries, 1.0, Par::Seq);
        result
    }
}

/// The `size` greatest similarities with their positions, greatest first, lower positions first among equals.
fn most_similar(similarities: &[f32], size: usize, own: Option<usize>) -> Vec<Neighbour> {
    let mut best: Vec<Neighbour> = Vec::with_capacity(size.min(similarities.len()) + 1);
    for (position, &similarity) in similarities.iter().enumerate() {
        let full = best.len() == size;
        if Some(position) == own || (full && best.last().is_some_and(|&(worst, _)| similarity <= worst)) {
            continue;
        }
        let place = best.partition_point(|&(other, _)| other >= similarity);
        best.insert(place, (similarity, position));
        best.truncate(size);
    }
    best
}

/// The row divided by its length, in single precision; a row of zeros stays.
fn normalised(row: ArrayView1<f32>) -> Vec<f32> {
    let length = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    let factor = if length > 0.0 { 1.0 / length } else { 0.0 };
    row.iter().map(|&value| (f64::from(value) * factor) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn equal_similarities_go_to_the_earlier_row() {
        assert_eq!(most_similar(&[0.5, 0.9, 0.9, 0.1], 2, None), [(0.9, 1), (0.9, 2)]);
        assert_eq!(most_similar(&[0.5, 0.5, 0.5], 2, Some(0)), [(0.5, 1), (0.5, 2)]);
        assert_eq!(most_similar(&[0.5, 0.2], 5, None), [(0.5, 0), (0.2, 1)]);
    }

    #[test]
    fn a_row_of_zeros_gets_an_answer() {
        let features = array![[1.0_f32, 0.0], [0.0, 1.0]];
        let examples = Examples::new(features.view(), &[0, 1], 2).unwrap();
        let head = NearestNeighbours::fit(&examples, 1).unwrap();
        let logits = head.logits(array![[0.0, 0.0], [0.0, 3.0]].view()).unwrap();
        assert!(logits.iter().all(|logit| logit.is_finite()));
        assert!(logits[(1, 1)] > logits[(1, 0)]);
    }
}
