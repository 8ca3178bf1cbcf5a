//! Linear discriminant analysis with a shrunk shared covariance.
//!
//! The covariance is Σ_c π_c Ŝ_c, each Ŝ_c the Ledoit–Wolf estimate (2004) of its class on the features standardised
//! within that class, scaled back: what scikit-learn's `LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")`
//! computes. So it is a diagonal plus one rank-one term per row, and with fewer rows than features the solution comes
//! from an n × n system (Woodbury); a D × D matrix exists only if D ≤ n.
//!
//! Classes with two rows shrink fully to their diagonal: two points say nothing about a correlation, while the formula
//! would then not shrink at all.

use faer::Mat;
use ndarray::{Array1, Array2};

use crate::error::{AdaptError, Result};
use crate::examples::Examples;
use crate::linalg::{add_gram, gram, product, solve_positive, symmetric_square_norm};
use crate::linear::LinearSolution;
use crate::nearest_mean::class_means;
use crate::standardise::{Standardisation, blocks};

/// Least variance that the diagonal term keeps, for standardised features; it makes the covariance invertible.
const LEAST_VARIANCE: f64 = 1e-10;

/// Fits weights and intercepts for raw features; `standardisation` is that of `examples`, the priors are the shares of the classes. Classes without a row get a
/// logit below all others.
///
/// # Errors
/// [`AdaptError::SingleClass`], [`AdaptError::TooFewRows`] if no class has two rows, [`AdaptError::Decomposition`].
pub fn fit(examples: &Examples, standardisation: &Standardisation) -> Result<LinearSolution> {
    let (compact, present) = examples.compact()?;
    let means = class_means(&compact, standardisation);
    let covariance = Covariance::estimate(&compact, standardisation)?;
    let weight = covariance.solve(&compact, standardisation, &means)?;
    let rows = compact.len() as f64;
    let bias: Array1<f64> = (weight.rows().into_iter().zip(means.rows()).zip(compact.counts()))
        .map(|((weight, mean), count)| (count as f64 / rows).ln() - 0.5 * weight.dot(&mean))
        .collect();
    let solution = standardisation.fold(LinearSolution { weight, bias });
    Ok(solution.expanded(&present, examples.classes(), &compact))
}

/// diag(d) + Σ_rows b·bᵀ with b = √((1 − shrinkage)/n)·(x − mean), shrinkage and mean being those of the row's class.
struct Covariance {
    /// d, one per feature.
    diagonal: Vec<f64>,
    /// One shrinkage per class, 0 to 1.
    shrinkage: Vec<f64>,
}

impl Covariance {
    fn estimate(examples: &Examples, standardisation: &Standardisation) -> Result<Self> {
        let most = examples.counts().into_iter().max().unwrap_or(0);
        if most < 2 {
            return Err(AdaptError::TooFewRows { what: "rows of the largest class", found: most, needed: 2 });
        }
        let mut diagonal = vec![0.0; examples.dimension()];
        let mut shrinkage = Vec::with_capacity(examples.classes());
        for positions in examples.positions_by_class() {
            let class = ClassSpread::estimate(&examples.subset(&positions));
            let share = positions.len() as f64 / examples.len() as f64;
            class.add_diagonal(&mut diagonal, share, standardisation);
            shrinkage.push(class.shrinkage);
        }
        diagonal.iter_mut().for_each(|variance| *variance = variance.max(LEAST_VARIANCE));
        Ok(Covariance { diagonal, shrinkage })
    }

    /// Covariance⁻¹ · means, both C × D.
    fn solve(
        &self,
        examples: &Examples,
        standardisation: &Standardisation,
        means: &Array2<f64>,
    ) -> Result<Array2<f64>> {
        let right = Mat::from_fn(means.ncols(), means.nrows(), |feature, class| means[(class, feature)]);
        let solution = if examples.len() < examples.dimension() {
            self.solve_by_rows(examples, standardisation, means, right)?
        } else {
            self.solve_by_columns(examples, standardisation, means, right)?
        };
        Ok(Array2::from_shape_fn(means.dim(), |(class, feature)| solution[(feature, class)]))
    }

    /// (d + BBᵀ)⁻¹M = d^-½ (Q − A(I + AᵀA)⁻¹AᵀQ) with A = d^-½B and Q = d^-½M.
    fn solve_by_rows(
        &self,
        examples: &Examples,
        standardisation: &Standardisation,
        means: &Array2<f64>,
        mut right: Mat<f64>,
    ) -> Result<Mat<f64>> {
        let mut rows = self.centred(examples, standardisation, means, 0..examples.len());
        self.divide_by_deviation(&mut rows);
        self.divide_by_deviation(&mut right);
        let mut system = gram(rows.transpose());
        (0..system.ncols()).for_each(|index| system[(index, index)] += 1.0);
        let mut inner = product(rows.transpose(), right.as_ref());
        solve_positive(system, inner.as_mut())?;
        crate::linalg::add_product(right.as_mut(), rows.as_ref(), inner.as_ref(), -1.0);
        self.divide_by_deviation(&mut right);
        Ok(right)
    }

    fn solve_by_columns(
        &self,
        examples: &Examples,
        standardisation: &Standardisation,
        means: &Array2<f64>,
        mut right: Mat<f64>,
    ) -> Result<Mat<f64>> {
        let mut system = Mat::zeros(examples.dimension(), examples.dimension());
        for block in blocks(examples.len()) {
            add_gram(system.as_mut(), self.centred(examples, standardisation, means, block).as_ref());
        }
        for (index, variance) in self.diagonal.iter().enumerate() {
            system[(index, index)] += variance;
        }
        solve_positive(system, right.as_mut())?;
        Ok(right)
    }

    /// The terms b of the rows at `range`, one column each.
    fn centred(
        &self,
        examples: &Examples,
        standardisation: &Standardisation,
        means: &Array2<f64>,
        range: std::ops::Range<usize>,
    ) -> Mat<f64> {
        let mut columns = standardisation.apply(examples, range.clone());
        for (column, &label) in examples.labels()[range].iter().enumerate() {
            let factor = ((1.0 - self.shrinkage[label]) / examples.len() as f64).sqrt();
            let values = columns.col_as_slice_mut(column).iter_mut();
            values.zip(means.row(label)).for_each(|(value, mean)| *value = factor * (*value - mean));
        }
        columns
    }

    fn divide_by_deviation(&self, matrix: &mut Mat<f64>) {
        for column in 0..matrix.ncols() {
            let values = matrix.col_as_slice_mut(column).iter_mut();
            values.zip(&self.diagonal).for_each(|(value, variance)| *value /= variance.sqrt());
        }
    }
}

/// Standardisation, shrinkage and mean variance of one class.
struct ClassSpread {
    standardisation: Standardisation,
    shrinkage: f64,
    mean_variance: f64,
}

impl ClassSpread {
    fn estimate(class: &Examples) -> Self {
        let standardisation = Standardisation::fit(class);
        let mean_variance = standardisation.varying() as f64 / class.dimension() as f64;
        let shrinkage = match class.len() {
            1 => 0.0,
            2 => 1.0,
            _ => ledoit_wolf(class, &standardisation),
        };
        ClassSpread { standardisation, shrinkage, mean_variance }
    }

    /// Adds share · shrinkage · mean variance · scale², the scale being that of the class relative to all rows; as in
    /// the reference, it is 1 for features that are constant within the class.
    fn add_diagonal(&self, diagonal: &mut [f64], share: f64, all: &Standardisation) {
        let factor = share * self.shrinkage * self.mean_variance;
        for (feature, variance) in diagonal.iter_mut().enumerate() {
            let own = self.standardisation.deviation(feature);
            let relative = own.map_or(1.0, |deviation| deviation / all.scale()[feature]);
            *variance += factor * relative * relative;
        }
    }
}

/// The shrinkage towards the mean variance times identity that minimises the expected squared error
/// (Ledoit & Wolf 2004, with the sums that scikit-learn's `ledoit_wolf_shrinkage` takes).
fn ledoit_wolf(class: &Examples, standardisation: &Standardisation) -> f64 {
    let (rows, features) = (class.len() as f64, class.dimension() as f64);
    if class.dimension() == 1 {
        return 0.0;
    }
    let (mut squares, mut fourth) = (0.0, 0.0);
    for block in blocks(class.len()) {
        let columns = standardisation.apply(class, block);
        for column in 0..columns.ncols() {
            let square: f64 = columns.col_as_slice(column).iter().map(|value| value * value).sum();
            squares += square;
            fourth += square * square;
        }
    }
    let covariance_norm = gram_square_norm(class, standardisation) / (rows * rows);
    let mean_variance = squares / rows / features;
    let variance_of_estimate = (fourth / rows - covariance_norm) / (features * rows);
    let distance = covariance_norm / features - mean_variance * mean_variance;
    let shrinkage = variance_of_estimate.min(distance) / distance;
    if shrinkage.is_finite() { shrinkage.clamp(0.0, 1.0) } else { 0.0 }
}

/// ‖XXᵀ‖²_F = ‖XᵀX‖²_F, from the smaller of the two.
fn gram_square_norm(class: &Examples, standardisation: &Standardisation) -> f64 {
    if class.len() <= class.dimension() {
        let columns = standardisation.apply(class, 0..class.len());
        return symmetric_square_norm(gram(columns.transpose()).as_ref());
    }
    let mut sums = Mat::zeros(class.dimension(), class.dimension());
    for block in blocks(class.len()) {
        add_gram(sums.as_mut(), standardisation.apply(class, block).as_ref());
    }
    symmetric_square_norm(sums.as_ref())
}
