//! The learning curve: test accuracy over the number of training images, for the source and the baselines.
//!
//! The subsets of one repetition are nested, and all methods see the same ones, so that the curves differ by method
//! and not by luck. Head and hyper-parameter stay those of the full training set: choosing them again at every point
//! would multiply the cost for differences that lie inside the bands.

use ndarray::Array2;
use rayon::prelude::*;
use regraft_adapt::{Selection, fit_fixed};
use regraft_data::split::nested_subsets;
use regraft_eval::curve::learning_curve;
use regraft_eval::intervals::Bootstrap;
use regraft_eval::metrics::{Metric, accuracy};
use regraft_report::record::{BaselineKind, CurvePoint, CurveSeries, LearningCurve};

use super::dataset::{Dataset, at, rows};
use super::heads::{examples, predict};
use crate::{Context, Error, FitConfig, Result};

/// A method of the curve: its name in the report, its features, and the head that it was given.
pub(crate) struct Compared<'a> {
    pub(crate) name: &'static str,
    pub(crate) features: &'a Array2<f32>,
    pub(crate) selection: &'a Selection,
}

/// Name of the source's own curve.
pub(crate) const SOURCE: &str = "source";
/// Name of the curve of the same network with random weights.
pub(crate) const RANDOM: &str = BaselineKind::RandomFeatures.wire_name();
/// Name of the curve of raw pixels.
pub(crate) const PIXELS: &str = BaselineKind::PixelKnn.wire_name();

/// Accuracy of every method at every size, with the interval over the repetitions.
pub(crate) fn curve(
    dataset: &Dataset,
    methods: &[Compared<'_>],
    config: &FitConfig,
    context: &Context<'_>,
) -> Result<LearningCurve> {
    let (repetitions, seed) = (config.curve_repetitions, config.seed);
    let train = &dataset.split.train;
    let sizes = sizes(train.len(), dataset.classes.len());
    if repetitions == 0 || sizes.is_empty() {
        return Ok(LearningCurve::default());
    }
    // Two repetitions are the least that an interval can be made of.
    let draws = (0..repetitions.max(2) as u64).map(|draw| {
        let labels = dataset.labels_at(train);
        nested_subsets(&labels, &sizes, seed.wrapping_add(draw)).map_err(Error::data)
    });
    let draws: Vec<Vec<Vec<usize>>> = draws.collect::<Result<_>>()?;
    let series = methods.iter().map(|method| {
        let measured = sizes.par_iter().enumerate().map(|(index, size)| {
            let subsets = draws.par_iter().filter_map(|subsets| subsets.get(index));
            let scores = subsets.map(|subset| {
                if context.progress.interrupted() {
                    Err(Error::Interrupted)
                } else {
                    score(dataset, method, &at(train, subset))
                }
            });
            Ok((*size, scores.collect::<Result<Vec<f64>>>()?))
        });
        points(&measured.collect::<Result<Vec<_>>>()?, seed)
            .map(|points| CurveSeries { name: method.name.to_owned(), points })
    });
    let series = series.collect::<Result<_>>()?;
    Ok(LearningCurve { sizes, series })
}

/// Doubling from about two images a class to all of them.
fn sizes(train: usize, classes: usize) -> Vec<usize> {
    let smallest = 2 * classes;
    let mut sizes: Vec<usize> = std::iter::successors(Some(train), |size| Some(size / 2))
        .take_while(|size| *size >= smallest.max(2))
        .collect();
    sizes.reverse();
    sizes
}

/// Test accuracy of a method that learns from these positions.
fn score(dataset: &Dataset, method: &Compared<'_>, positions: &[usize]) -> Result<f64> {
    let matrix = rows(method.features, positions);
    let examples = examples(&matrix, &dataset.labels_at(positions), dataset)?;
    let head =
        fit_fixed(method.selection.kind, method.selection.hyper_parameter, &examples).map_err(Error::data)?;
    let test = &dataset.split.test;
    let probabilities = predict(&head, 1.0, &rows(method.features, test))?;
    accuracy(&dataset.labels_at(test), probabilities.view()).map_err(Error::data)
}

fn points(scores: &[(usize, Vec<f64>)], seed: u64) -> Result<Vec<CurvePoint>> {
    let measured =
        learning_curve(scores, &Bootstrap { seed, ..Bootstrap::default() }).map_err(Error::data)?;
    let point = |point: regraft_eval::curve::CurvePoint| {
        let score = point.score.within(Metric::Accuracy.range());
        CurvePoint { n: point.items, mean: score.value, low: score.low, high: score.high }
    };
    Ok(measured.into_iter().map(point).collect())
}

#[cfg(test)]
mod tests {
    use super::sizes;

    #[test]
    fn sizes_double_up_to_everything() {
        assert_eq!(sizes(400, 8), [25, 50, 100, 200, 400]);
        assert_eq!(sizes(3, 2), Vec::<usize>::new());
        assert_eq!(sizes(4, 2), [4]);
    }
}
