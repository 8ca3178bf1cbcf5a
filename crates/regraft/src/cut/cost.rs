//! What a network costs up to each cut.

use ndarray::Array4;
use regraft_graph::{Bindings, Model, Patch};
use regraft_system::clock::Stopwatch;

use crate::fit::dataset::Dataset;
use crate::{Context, Error, Result};

/// Of the network up to a cut.
pub(super) struct Cost {
    pub(super) parameters: u64,
    /// One image, with all threads.
    pub(super) milliseconds: f64,
    /// Whether `regraft fit` cuts there.
    pub(super) is_default: bool,
}

/// Runs are timed so often; the fastest counts, for whatever else the machine does makes them slower only.
const RUNS: usize = 7;

pub(super) fn costs(
    source: &Model,
    cuts: &[String],
    dataset: &Dataset,
    context: &Context<'_>,
) -> Result<Vec<Cost>> {
    context.progress.start("timing the network up to every cut", cuts.len() as u64);
    let costs = cuts.iter().map(|cut| {
        if context.progress.interrupted() {
            return Err(Error::Interrupted);
        }
        let cost = cost(source, cut, dataset);
        context.progress.advance(1);
        cost
    });
    let mut costs = costs.collect::<Result<Vec<_>>>()?;
    context.progress.finish();
    // What stands in front of another cut takes no longer than it: where a clock says so, something else ran meanwhile.
    let mut least = f64::INFINITY;
    for cost in costs.iter_mut().rev() {
        least = least.min(cost.milliseconds);
        cost.milliseconds = least;
    }
    Ok(costs)
}

fn cost(source: &Model, cut: &str, dataset: &Dataset) -> Result<Cost> {
    let preprocessing = &source.card().preprocessing;
    let ([height, width], channels) = (preprocessing.crop, preprocessing.channels());
    let part = Patch::cut(cut).apply(source.clone()).map_err(Error::model)?;
    let cost = part.graph().cost(&Bindings { batch: 1, height, width }).map_err(Error::model)?;
    let program =
        dataset.precision.precision.compile(&part, [height, width], &[cut]).map_err(Error::model)?;
    let images = Array4::zeros([program.preferred_batch(), channels, height, width]);
    let mut fastest = f64::INFINITY;
    for _ in 0..RUNS {
        let watch = Stopwatch::start();
        program.run_pooled(images.view()).map_err(Error::model)?;
        fastest = fastest.min(watch.seconds());
    }
    let milliseconds = 1e3 * fastest / images.shape().first().copied().unwrap_or(1).max(1) as f64;
    let is_default = cut == source.card().roles.features;
    Ok(Cost { parameters: cost.parameters, milliseconds, is_default })
}
