//! Out-of-fold logits of every candidate: all heads, all hyper-parameters, all folds.
//!
//! Standardisation, decomposition and means are fitted within each training fold. Ridge and logistic regression share
//! one decomposition per fold. The work is cut into (fold, method) pieces, which the current thread pool takes in any
//! order; each writes its own rows, so the order leaves no trace.

use faer::Mat;
use ndarray::{Array2, Axis};
use rayon::prelude::*;

use crate::basis::PrincipalBasis;
use crate::error::{AdaptError, Result};
use crate::examples::Examples;
use crate::head::HeadKind;
use crate::knn::{NEIGHBOURS, NearestNeighbours};
use crate::linear::{LinearSolution, below, range};
use crate::partition::Split;
use crate::standardise::Standardisation;
use crate::{lda, logistic, nearest_mean, ridge};

/// One kind of head with one hyper-parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) kind: HeadKind,
    pub(crate) hyper_parameter: Option<f64>,
}

/// The candidates of one kind, the most regularised first, with their logits for all judged rows.
pub(crate) struct Path {
    pub(crate) candidates: Vec<Candidate>,
    /// One array (judged rows × C) per candidate, rows in the order of the splits.
    pub(crate) logits: Vec<Array2<f32>>,
}

/// The logits of one fold's validation rows, by kind and candidate.
type FoldLogits = Vec<Vec<Array2<f32>>>;

/// Methods that share their work within a fold.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Method {
    Mean,
    Discriminant,
    Principal,
    Neighbours,
}

fn method(kind: HeadKind) -> Method {
    match kind {
        HeadKind::NearestClassMean => Method::Mean,
        HeadKind::Lda => Method::Discriminant,
        HeadKind::Ridge | HeadKind::LogisticRegression => Method::Principal,
        HeadKind::Knn => Method::Neighbours,
    }
}

/// The hyper-parameters to compare, the most regularised first.
pub(crate) fn candidates(kind: HeadKind, examples: &Examples, varying: usize) -> Vec<Candidate> {
    let mean_square = ridge::mean_square(varying, examples.len());
    let values: Vec<Option<f64>> = match kind {
        HeadKind::NearestClassMean | HeadKind::Lda => vec![None],
        HeadKind::Ridge => ridge::relative_path().map(|relative| Some(relative * mean_square)).collect(),
        HeadKind::LogisticRegression => {
            logistic::relative_path().map(|relative| Some(relative / varying.max(1) as f64)).collect()
        }
        HeadKind::Knn => NEIGHBOURS.iter().rev().map(|&size| Some(size as f64)).collect(),
    };
    values.into_iter().map(|hyper_parameter| Candidate { kind, hyper_parameter }).collect()
}

/// Out-of-fold logits for every kind of `kinds`, or the reason why a kind cannot be fitted to one of the folds.
pub(crate) fn out_of_fold(
    examples: &Examples,
    splits: &[Split],
    kinds: &[HeadKind],
) -> Vec<(HeadKind, Result<Path>)> {
    let varying = Standardisation::fit(examples).varying();
    let plan: Vec<Vec<Candidate>> = kinds.iter().map(|&kind| candidates(kind, examples, varying)).collect();
    let mut pieces: Vec<(Method, &Split)> = Vec::new();
    // The expensive methods come first, so that the cheap ones fill the gaps at the end.
    for method in [Method::Principal, Method::Discriminant, Method::Neighbours, Method::Mean] {
        if kinds.iter().any(|&kind| self::method(kind) == method) {
            pieces.extend(splits.iter().map(|split| (method, split)));
        }
    }
    let results: Vec<(Method, Result<FoldLogits>)> = pieces
        .into_par_iter()
        .map(|(method, split)| (method, piece(method, examples, split, &plan)))
        .collect();
    let of_kind = |(index, &kind): (usize, &HeadKind)| {
        let folds = results.iter().filter(|(method, _)| *method == self::method(kind));
        (kind, joined(folds.map(|(_, result)| result), index, &plan[index]))
    };
    kinds.iter().enumerate().map(of_kind).collect()
}

/// Puts the folds of the kind number `index` one below the other.
fn joined<'a>(
    folds: impl Iterator<Item = &'a Result<FoldLogits>>,
    index: usize,
    candidates: &[Candidate],
) -> Result<Path> {
    let folds = folds.map(|fold| fold.as_ref().map(|kinds| &kinds[index]).map_err(AdaptError::clone));
    let folds = folds.collect::<Result<Vec<_>>>()?;
    let join = |candidate: usize| {
        let parts: Vec<_> = folds.iter().map(|fold| fold[candidate].view()).collect();
        ndarray::concatenate(Axis(0), &parts).map_err(|_| AdaptError::Empty { what: "judged rows" })
    };
    let logits = (0..candidates.len()).map(join).collect::<Result<Vec<_>>>()?;
    Ok(Path { candidates: candidates.to_vec(), logits })
}

/// The logits of one fold for every kind of the plan that `method` serves; nothing for the others.
fn piece(method: Method, examples: &Examples, split: &Split, plan: &[Vec<Candidate>]) -> Result<FoldLogits> {
    let training = examples.subset(&split.training);
    let (compact, present) = training.compact()?;
    let standardisation = Standardisation::moderated(&compact);
    let validation = examples.subset(&split.validation);
    let fold = Fold { training: compact, present, standardisation, validation };
    let basis = (method == Method::Principal).then(|| fold.principal()).transpose()?;
    let logits = plan.iter().map(|path| match path.first() {
        Some(first) if self::method(first.kind) == method => fold.logits(first.kind, path, basis.as_ref()),
        _ => Ok(Vec::new()),
    });
    logits.collect()
}

/// A training fold with its classes renumbered, and the rows to judge.
struct Fold<'a> {
    training: Examples<'a>,
    present: Vec<usize>,
    standardisation: Standardisation,
    validation: Examples<'a>,
}

/// The decomposition of the training fold and the coordinates of the validation rows.
type Principal = (PrincipalBasis, Mat<f64>);

impl Fold<'_> {
    fn principal(&self) -> Result<Principal> {
        let basis = PrincipalBasis::fit(&self.training, &self.standardisation)?;
        let scores = basis.project(&self.validation);
        Ok((basis, scores))
    }

    fn logits(
        &self,
        kind: HeadKind,
        path: &[Candidate],
        basis: Option<&Principal>,
    ) -> Result<Vec<Array2<f32>>> {
        let values: Vec<f64> = path.iter().filter_map(|candidate| candidate.hyper_parameter).collect();
        let (training, standardisation) = (&self.training, &self.standardisation);
        let columns = match (kind, basis) {
            (HeadKind::NearestClassMean, _) => {
                vec![self.linear_logits(&nearest_mean::fit(training, standardisation)?)]
            }
            (HeadKind::Lda, _) => vec![self.linear_logits(&lda::fit(training, standardisation)?)],
            (HeadKind::Ridge, Some((basis, scores))) => {
                ridge::path_scores(basis, training, scores.as_ref(), &values)
            }
            (HeadKind::LogisticRegression, Some((basis, scores))) => {
                logistic::path_logits(basis, training, scores.as_ref(), &values)
            }
            (_, _) => return self.neighbour_logits(&values),
        };
        Ok(columns.into_iter().map(|logits| self.expanded(logits)).collect())
    }

    fn linear_logits(&self, solution: &LinearSolution) -> Mat<f64> {
        let weight = &solution.weight;
        let mut result = Mat::zeros(weight.nrows(), self.validation.len());
        for column in 0..self.validation.len() {
            let row = self.validation.row(column).mapv(f64::from);
            let logits = weight.dot(&row) + &solution.bias;
            result.col_as_slice_mut(column).iter_mut().zip(logits).for_each(|(to, from)| *to = from);
        }
        result
    }

    fn neighbour_logits(&self, values: &[f64]) -> Result<Vec<Array2<f32>>> {
        let sizes: Vec<usize> = values.iter().map(|&value| value as usize).collect();
        let head = NearestNeighbours::fit(&self.training, 1)?;
        let logits = head.path_logits(&self.validation, &sizes).into_iter().map(|logits| {
            let columns = Mat::from_fn(logits.ncols(), logits.nrows(), |class, row| logits[(row, class)]);
            self.expanded(columns)
        });
        Ok(logits.collect())
    }

    /// Judged rows × all classes; the classes without a training row get a logit below all others.
    fn expanded(&self, logits: Mat<f64>) -> Array2<f32> {
        let shape = (logits.ncols(), self.validation.classes());
        let all = (0..logits.ncols()).flat_map(|row| logits.col_as_slice(row).iter().copied());
        let mut result = Array2::from_elem(shape, below(range(all)) as f32);
        for (number, &class) in self.present.iter().enumerate() {
            for row in 0..logits.ncols() {
                result[(row, class)] = logits[(number, row)] as f32;
            }
        }
        result
    }
}
