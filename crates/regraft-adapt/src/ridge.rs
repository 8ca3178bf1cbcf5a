//! Ridge regression on one-hot targets, with exact cross-validation residuals from a single decomposition.
//!
//! With X = U·S·Vᵀ centred and z the coordinates of a row (a row of US), the fit at the penalty α is
//! ŷ = ȳ + Σⱼ zⱼ(ZᵀY)ⱼ/(sⱼ² + α), the leverage of row i is hᵢᵢ = 1/n + Σⱼ zᵢⱼ²/(sⱼ² + α), and the residual of the
//! model that never saw row i is (yᵢ − ŷᵢ)/(1 − hᵢᵢ) (Allen 1974, PRESS). A left-out set B has (I − H_BB)⁻¹r_B. The
//! intercept is free; standardisation is that of all rows.

use faer::{Mat, MatRef};
use ndarray::{Array2, ArrayView2};

use crate::basis::PrincipalBasis;
use crate::error::{AdaptError, Result, positive, same_length};
use crate::examples::Examples;
use crate::linalg::{product, solve_positive};
use crate::linear::LinearSolution;
use crate::score::Score;
use crate::standardise::Standardisation;

/// Smallest penalty relative to s²_max that the grid offers: below it, 1 − hᵢᵢ of a wide matrix drowns in rounding.
const LEAST_PENALTY: f64 = 1e-6;
/// Number of penalties of a path.
const PATH: usize = 25;

/// The penalties of a path relative to the mean s², strongest first: 10⁴ to 10⁻⁴, three per decade.
pub fn relative_path() -> impl Iterator<Item = f64> {
    (0..PATH).map(|index| 10f64.powf(4.0 - index as f64 / 3.0))
}

/// How good ridge is at one penalty, every row judged by the model fitted to the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeaveOneOutScore {
    /// Share of rows whose class has the greatest score.
    pub accuracy: f64,
    /// Mean log-loss after temperature scaling, in nats.
    pub log_loss: f64,
    /// The scores are divided by this before the softmax of that log-loss.
    pub temperature: f64,
    /// Mean squared residual over rows and classes.
    pub mean_squared_error: f64,
}

/// Standardised, decomposed examples, ready for every penalty.
#[derive(Debug, Clone)]
pub struct Ridge<'a> {
    examples: Examples<'a>,
    present: Vec<usize>,
    classes: usize,
    basis: PrincipalBasis,
    targets: Targets,
}

/// Z·(Y − ȳ) (k × C) and ȳ.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    products: Mat<f64>,
    mean: Vec<f64>,
}

impl<'a> Ridge<'a> {
    /// Decomposes `examples`, standardised by their own `standardisation`.
    ///
    /// # Errors
    /// [`AdaptError::SingleClass`], [`AdaptError::Decomposition`].
    pub fn new(examples: &Examples<'a>, standardisation: &Standardisation) -> Result<Self> {
        let (compact, present) = examples.compact()?;
        let basis = PrincipalBasis::fit(&compact, standardisation)?;
        let targets = Targets::new(&basis, &compact);
        Ok(Ridge { examples: compact, present, classes: examples.classes(), basis, targets })
    }

    /// The penalties of the path for this data, strongest first: [`relative_path`] times the mean s², none below
    /// 10⁻⁶·s²_max. Multiplying all features by a constant does not move the choice.
    pub fn path(&self) -> Vec<f64> {
        let mean = mean_square(self.basis.varying(), self.examples.len());
        let least = floor(&self.basis);
        relative_path().map(|relative| relative * mean).filter(|&alpha| alpha >= least).collect()
    }

    /// The smallest penalty that is numerically safe, 10⁻⁶·s²_max.
    pub fn least_penalty(&self) -> f64 {
        floor(&self.basis)
    }

    /// Weights and intercepts for raw features at the penalty `alpha` > 0. Classes without a row get a score below all
    /// others.
    ///
    /// # Errors
    /// [`AdaptError::HyperParameter`].
    pub fn solution(&self, alpha: f64) -> Result<LinearSolution> {
        positive("the ridge penalty", alpha)?;
        let weights = self.targets.weights(&self.basis, alpha);
        let solution = self.basis.solution(weights.as_ref(), self.targets.mean.clone());
        Ok(solution.expanded(&self.present, self.classes, &self.examples))
    }

    /// Residuals y − ŷ₍₋ᵢ₎ (n × classes) of every row under the model fitted to the other rows. Columns of classes
    /// without a row are 0.
    ///
    /// # Errors
    /// [`AdaptError::HyperParameter`].
    pub fn leave_one_out(&self, alpha: f64) -> Result<Array2<f64>> {
        positive("the ridge penalty", alpha)?;
        let mut residuals = self.residuals(alpha);
        let inverse = inverse_squares(&self.basis.squares, alpha);
        for row in 0..self.examples.len() {
            let scores = self.basis.scores.col_as_slice(row);
            let leverage: f64 = scores.iter().zip(&inverse).map(|(z, inverse)| z * z * inverse).sum();
            let factor = 1.0 / (1.0 - 1.0 / self.examples.len() as f64 - leverage);
            residuals.col_as_slice_mut(row).iter_mut().for_each(|residual| *residual *= factor);
        }
        Ok(self.spread(residuals.as_ref()))
    }

    /// Accuracy, log-loss and squared error of [`leave_one_out`](Self::leave_one_out), at a cost that allows to compare
    /// a whole path. It leaks where rows are near-duplicates of each other.
    ///
    /// # Errors
    /// [`AdaptError::HyperParameter`].
    pub fn leave_one_out_score(&self, alpha: f64) -> Result<LeaveOneOutScore> {
        let residuals = self.leave_one_out(alpha)?;
        let mean_squared_error =
            residuals.iter().map(|value| value * value).sum::<f64>() / residuals.len() as f64;
        let labels: Vec<usize> = self.examples.labels().iter().map(|&label| self.present[label]).collect();
        let score = Score::new(&self.scores(residuals.view()), &labels)?;
        let (accuracy, log_loss, temperature) = (score.accuracy, score.log_loss(), score.temperature);
        Ok(LeaveOneOutScore { accuracy, log_loss, temperature, mean_squared_error })
    }

    /// Residuals (n × classes) of every row under the model fitted to the rows of the other groups; `groups` has one
    /// group per row. Takes (rows of a group)² memory.
    ///
    /// # Errors
    /// [`AdaptError::HyperParameter`], [`AdaptError::Shape`], and [`AdaptError::TooFewRows`] with a single group.
    pub fn leave_groups_out(&self, alpha: f64, groups: &[usize]) -> Result<Array2<f64>> {
        positive("the ridge penalty", alpha)?;
        same_length("number of groups of rows", self.examples.len(), groups.len())?;
        let blocks = positions_of_groups(groups);
        if blocks.len() < 2 {
            return Err(AdaptError::TooFewRows {
                what: "groups to leave out",
                found: blocks.len(),
                needed: 2,
            });
        }
        let mut residuals = self.residuals(alpha);
        for block in &blocks {
            self.correct_block(&mut residuals, block, alpha)?;
        }
        Ok(self.spread(residuals.as_ref()))
    }

    /// Scores (n × classes) that go with `residuals` (n × classes): target minus residual.
    pub fn scores(&self, residuals: ArrayView2<f64>) -> Array2<f64> {
        let mut scores = -residuals.to_owned();
        for (row, &label) in self.examples.labels().iter().enumerate() {
            scores[(row, self.present[label])] += 1.0;
        }
        scores
    }

    /// Y − Ŷ, C × n.
    fn residuals(&self, alpha: f64) -> Mat<f64> {
        let fitted = self.targets.scores(&self.basis, alpha, self.basis.scores.as_ref());
        let mut residuals = Mat::from_fn(fitted.nrows(), fitted.ncols(), |class, row| -fitted[(class, row)]);
        for (row, &label) in self.examples.labels().iter().enumerate() {
            residuals[(label, row)] += 1.0;
        }
        residuals
    }

    /// (I − H_BB)⁻¹r_B for the rows `block`, in place.
    fn correct_block(&self, residuals: &mut Mat<f64>, block: &[usize], alpha: f64) -> Result<()> {
        let inverse = inverse_squares(&self.basis.squares, alpha);
        let scores =
            Mat::from_fn(inverse.len(), block.len(), |axis, row| self.basis.scores[(axis, block[row])]);
        let weighted =
            Mat::from_fn(inverse.len(), block.len(), |axis, row| inverse[axis] * scores[(axis, row)]);
        let mut matrix = product(scores.transpose(), weighted.as_ref());
        let share = 1.0 / self.examples.len() as f64;
        for column in 0..block.len() {
            matrix.col_as_slice_mut(column).iter_mut().for_each(|value| *value = -*value - share);
            matrix[(column, column)] += 1.0;
        }
        let mut right =
            Mat::from_fn(block.len(), residuals.nrows(), |row, class| residuals[(class, block[row])]);
        solve_positive(matrix, right.as_mut())?;
        for (index, &row) in block.iter().enumerate() {
            (0..right.ncols()).for_each(|class| residuals[(class, row)] = right[(index, class)]);
        }
        Ok(())
    }

    fn spread(&self, compact: MatRef<f64>) -> Array2<f64> {
        let mut result = Array2::zeros((compact.ncols(), self.classes));
        for (number, &class) in self.present.iter().enumerate() {
            for row in 0..compact.ncols() {
                result[(row, class)] = compact[(number, row)];
            }
        }
        result
    }
}

impl Targets {
    pub(crate) fn new(basis: &PrincipalBasis, examples: &Examples) -> Self {
        let rows = examples.len() as f64;
        let mean: Vec<f64> = examples.counts().iter().map(|&count| count as f64 / rows).collect();
        // The scores are centred, so the products are the same with Y in place of Y − ȳ.
        let mut products = Mat::zeros(basis.squares.len(), examples.classes());
        for (row, &label) in examples.labels().iter().enumerate() {
            let scores = basis.scores.col_as_slice(row);
            products.col_as_slice_mut(label).iter_mut().zip(scores).for_each(|(sum, score)| *sum += score);
        }
        Targets { products, mean }
    }

    /// (Z·Zᵀ + α)⁻¹·Z·Y, k × C.
    fn weights(&self, basis: &PrincipalBasis, alpha: f64) -> Mat<f64> {
        let inverse = inverse_squares(&basis.squares, alpha);
        Mat::from_fn(inverse.len(), self.mean.len(), |axis, class| {
            inverse[axis] * self.products[(axis, class)]
        })
    }

    /// Scores (C × m) of rows with the coordinates `scores` (k × m).
    fn scores(&self, basis: &PrincipalBasis, alpha: f64, scores: MatRef<f64>) -> Mat<f64> {
        let weights = self.weights(basis, alpha);
        let mut result = Mat::from_fn(self.mean.len(), scores.ncols(), |class, _| self.mean[class]);
        crate::linalg::add_product(result.as_mut(), weights.transpose(), scores, 1.0);
        result
    }
}

/// The scores (C × m) of rows with the coordinates `held_out` (k × m) for every penalty of `path`. Every class of
/// `examples` has a row.
pub(crate) fn path_scores(
    basis: &PrincipalBasis,
    examples: &Examples,
    held_out: MatRef<f64>,
    path: &[f64],
) -> Vec<Mat<f64>> {
    let targets = Targets::new(basis, examples);
    let least = floor(basis);
    path.iter().map(|&alpha| targets.scores(basis, alpha.max(least), held_out)).collect()
}

/// The mean s² of `rows` standardised rows with `varying` features that are not constant.
pub(crate) fn mean_square(varying: usize, rows: usize) -> f64 {
    let rank = varying.min(rows.saturating_sub(1)).max(1);
    (rows * varying.max(1)) as f64 / rank as f64
}

fn floor(basis: &PrincipalBasis) -> f64 {
    (LEAST_PENALTY * basis.greatest_square()).max(f64::MIN_POSITIVE)
}

fn inverse_squares(squares: &[f64], alpha: f64) -> Vec<f64> {
    squares.iter().map(|square| 1.0 / (square + alpha)).collect()
}

/// The rows of each group, groups in ascending order.
fn positions_of_groups(groups: &[usize]) -> Vec<Vec<usize>> {
    let mut positions = std::collections::BTreeMap::<usize, Vec<usize>>::new();
    for (row, &group) in groups.iter().enumerate() {
        positions.entry(group).or_default().push(row);
    }
    positions.into_values().collect()
}
