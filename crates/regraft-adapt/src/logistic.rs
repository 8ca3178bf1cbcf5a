//! Multinomial logistic regression with an L2 penalty, along a path of penalties.
//!
//! The objective is scikit-learn's, C·Σᵢ loss(xᵢ, yᵢ) + ½‖W‖²_F on standardised features, the intercept free; for two
//! classes its binomial form with one weight vector. It is minimised in the coordinates of the principal axes
//! (an exact reformulation, as the optimum lies in their span), where the Hessian is close to diagonal: preconditioned
//! L-BFGS needs some ten steps for a penalty when it starts from the solution for the next stronger one.

use faer::{Mat, MatMut, MatRef};

use crate::basis::PrincipalBasis;
use crate::error::{Result, positive};
use crate::examples::Examples;
use crate::lbfgs::{Stopping, minimise};
use crate::linalg::add_product;
use crate::linear::LinearSolution;
use crate::standardise::Standardisation;

/// Stopping for a solution that is kept: the loss per row is exact to about 1e-13.
const FINAL: Stopping = Stopping { tolerance: 1e-13, steps: 2000 };
/// Stopping for a solution that is only compared with others on held-out rows.
const COMPARED: Stopping = Stopping { tolerance: 1e-6, steps: 200 };
/// Greatest number of logits that exist at a time.
const BLOCK_LOGITS: usize = 1 << 21;
/// Least curvature of the loss along a logit that the preconditioner assumes.
const LEAST_CURVATURE: f64 = 1e-4;

/// The values of C·D that a path runs through, strongest penalty first. They are relative to the number of varying
/// features D because a standardised row has the squared length D: one grid serves every network.
pub fn relative_path() -> impl DoubleEndedIterator<Item = f64> {
    (-2..=6).map(|half_decade| 10f64.powf(f64::from(half_decade) / 2.0))
}

/// A fitted model and what it attains.
#[derive(Debug, Clone)]
pub struct LogisticFit {
    /// Weights and intercepts for raw features.
    pub solution: LinearSolution,
    /// C·Σ loss + ½‖W‖² at the solution, W being the weights for standardised features (the single vector of the
    /// binomial form for two classes).
    pub objective: f64,
}

/// Fits one model with the inverse penalty strength `c` > 0; `standardisation` is that of `examples`. Classes without a row get a logit below all others.
///
/// # Errors
/// [`AdaptError::HyperParameter`](crate::AdaptError::HyperParameter),
/// [`AdaptError::SingleClass`](crate::AdaptError::SingleClass).
pub fn fit(examples: &Examples, standardisation: &Standardisation, c: f64) -> Result<LogisticFit> {
    positive("C", c)?;
    let (compact, present) = examples.compact()?;
    let basis = PrincipalBasis::fit(&compact, standardisation)?;
    let problem = Problem::new(&basis, &compact);
    let mut parameters = problem.zeros();
    for step in continuation(c, basis.varying()) {
        parameters = problem.solve(parameters, step, COMPARED);
    }
    let parameters = problem.solve(parameters, c, FINAL);
    let objective = problem.objective(&parameters, problem.penalty(c), &mut vec![0.0; parameters.len()]);
    let (weights, bias) = problem.split(&parameters);
    let solution = basis.solution(weights.transpose(), bias.to_vec());
    Ok(LogisticFit {
        solution: solution.expanded(&present, examples.classes(), &compact),
        objective: objective * c * examples.len() as f64,
    })
}

/// Stronger penalties to pass through on the way to `c`.
fn continuation(c: f64, varying: usize) -> impl Iterator<Item = f64> {
    relative_path()
        .step_by(2)
        .map(move |value| value / varying.max(1) as f64)
        .take_while(move |&value| value < c)
}

/// The logits (C × m) of rows with the coordinates `held_out` (k × m) for every C of `path` (ascending), each solution
/// starting from the one before. Every class of `examples` has a row.
pub(crate) fn path_logits(
    basis: &PrincipalBasis,
    examples: &Examples,
    held_out: MatRef<f64>,
    path: &[f64],
) -> Vec<Mat<f64>> {
    let problem = Problem::new(basis, examples);
    let mut parameters = problem.zeros();
    let logits = path.iter().map(|&c| {
        parameters = problem.solve(std::mem::take(&mut parameters), c, COMPARED);
        problem.logits(&parameters, held_out)
    });
    logits.collect()
}

/// The data of a fit. The parameters are the weights (C × k, one column per coordinate), then the intercepts.
struct Problem<'a> {
    scores: MatRef<'a, f64>,
    squares: &'a [f64],
    labels: &'a [usize],
    classes: usize,
}

impl<'a> Problem<'a> {
    fn new(basis: &'a PrincipalBasis, examples: &'a Examples) -> Self {
        let (labels, classes) = (examples.labels(), examples.classes());
        Problem { scores: basis.scores.as_ref(), squares: &basis.squares, labels, classes }
    }

    fn zeros(&self) -> Vec<f64> {
        vec![0.0; self.classes * (self.squares.len() + 1)]
    }

    /// Factor of ½‖W‖² beside the mean loss. Two classes with the weights ±w/2 stand for the single vector w of the
    /// binomial form, whose ‖w‖² is twice as much as the sum of both.
    fn penalty(&self, c: f64) -> f64 {
        let form = if self.classes == 2 { 2.0 } else { 1.0 };
        form / (c * self.labels.len() as f64)
    }

    fn split<'b>(&self, parameters: &'b [f64]) -> (MatRef<'b, f64>, &'b [f64]) {
        let (weights, bias) = parameters.split_at(self.classes * self.squares.len());
        (MatRef::from_column_major_slice(weights, self.classes, self.squares.len()), bias)
    }

    fn solve(&self, start: Vec<f64>, c: f64, stopping: Stopping) -> Vec<f64> {
        let penalty = self.penalty(c);
        let inverse_diagonal = self.inverse_diagonal(&start, penalty);
        minimise(start, &inverse_diagonal, stopping, |parameters, gradient| {
            self.objective(parameters, penalty, gradient)
        })
    }

    fn logits(&self, parameters: &[f64], scores: MatRef<f64>) -> Mat<f64> {
        let (weights, bias) = self.split(parameters);
        let mut logits = Mat::from_fn(self.classes, scores.ncols(), |class, _| bias[class]);
        add_product(logits.as_mut(), weights, scores, 1.0);
        logits
    }

    /// Mean loss + penalty/2·‖W‖² and its gradient.
    fn objective(&self, parameters: &[f64], penalty: f64, gradient: &mut [f64]) -> f64 {
        let weights = self.classes * self.squares.len();
        gradient.fill(0.0);
        let (slope, bias_slope) = gradient.split_at_mut(weights);
        let mut slope = MatMut::from_column_major_slice_mut(slope, self.classes, self.squares.len());
        let share = 1.0 / self.labels.len() as f64;
        let mut loss = 0.0;
        self.for_blocks(parameters, |labels, scores, mut logits| {
            for (column, &label) in labels.iter().enumerate() {
                let residual = logits.col_as_slice_mut(column);
                loss += softmax(residual, label);
                residual[label] -= 1.0;
                bias_slope
                    .iter_mut()
                    .zip(&*residual)
                    .for_each(|(slope, residual)| *slope += share * residual);
            }
            add_product(slope.as_mut(), logits.as_ref(), scores.transpose(), share);
        });
        let norm: f64 = parameters[..weights].iter().map(|weight| weight * weight).sum();
        gradient[..weights].iter_mut().zip(parameters).for_each(|(slope, weight)| *slope += penalty * weight);
        share * loss + 0.5 * penalty * norm
    }

    /// 1/(h·sⱼ²/n + penalty), h being the curvature of the loss along a logit: the mean of p(1 − p), scaled to the
    /// zero-sum logits that the parameters span. One h for all classes keeps that span closed.
    fn inverse_diagonal(&self, parameters: &[f64], penalty: f64) -> Vec<f64> {
        let mut total = 0.0;
        self.for_blocks(parameters, |labels, _, mut logits| {
            for (column, &label) in labels.iter().enumerate() {
                let probabilities = logits.col_as_slice_mut(column);
                softmax(probabilities, label);
                total += probabilities.iter().map(|p| p * (1.0 - p)).sum::<f64>();
            }
        });
        let rows = self.labels.len() as f64;
        let curvature = (total / (rows * (self.classes - 1) as f64)).max(LEAST_CURVATURE);
        let inverse = |square: f64| 1.0 / (curvature * square / rows + penalty);
        let weights =
            self.squares.iter().flat_map(|&square| std::iter::repeat_n(inverse(square), self.classes));
        weights.chain(std::iter::repeat_n(1.0 / curvature, self.classes)).collect()
    }

    /// Calls `visit` with labels, coordinates and logits of successive blocks of rows.
    fn for_blocks(&self, parameters: &[f64], mut visit: impl FnMut(&[usize], MatRef<f64>, Mat<f64>)) {
        let size = (BLOCK_LOGITS / self.classes).max(1);
        for (block, labels) in self.labels.chunks(size).enumerate() {
            let scores = self.scores.subcols(block * size, labels.len());
            visit(labels, scores, self.logits(parameters, scores));
        }
    }
}

/// Turns logits into probabilities and returns −ln of that of `label`.
fn softmax(values: &mut [f64], label: usize) -> f64 {
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let own = values[label];
    values.iter_mut().for_each(|value| *value = (*value - greatest).exp());
    let sum: f64 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
    sum.ln() + greatest - own
}
