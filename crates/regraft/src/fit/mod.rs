//! `regraft fit`: adapt a source model to a folder of images, and show what that is worth.
//!
//! Everything that is chosen is chosen inside the training part; the test part is looked at once, at the end, by the
//! chosen head and by the baselines alike.

mod curve;
pub(crate) mod dataset;
pub(crate) mod folder;
pub(crate) mod graft;
pub(crate) mod heads;
pub(crate) mod judged;
mod precision;
mod record;
pub(crate) mod tune;
pub(crate) mod unfinished;

use std::path::PathBuf;
use std::sync::Arc;

use regraft_adapt::HeadKind;
use regraft_data::source::ImageFolder;
use regraft_graph::Model;
use regraft_report::RunRecord;
use regraft_system::clock::Stopwatch;
use regraft_system::files::UnfinishedFolder;
use serde_json::json;

use crate::input::{Adapted, Seen, adapt, statistics};
use crate::log::Log;
use crate::source::resolve_cut;
use crate::{Context, Error, FitConfig, Result, load_source_telling};
use curve::{Compared, PIXELS, RANDOM, SOURCE, curve};
use dataset::Dataset;
use folder::{Contents, destination};
use heads::{Judged, choose};
pub use tune::{LearningRate, Method, NormStatistics, OptimizerChoice, ScheduleChoice, TuningConfig};
use tune::{Tuned, Tuning};
use unfinished::Unfinished;
pub use unfinished::unfinished;

/// A finished run.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The run folder.
    pub folder: PathBuf,
    /// Everything that was measured.
    pub record: RunRecord,
}

/// Adapts a source model to a folder of images and writes a run folder.
///
/// Runs in rayon's current thread pool; see [`crate::with_threads`].
///
/// # Errors
/// Whatever the user can mend: a setting, the data, the source, or the place of the run folder. Nothing is then left
/// under the run folder's name.
pub fn fit(config: &FitConfig, context: &Context<'_>) -> Result<Fitted> {
    config.check()?;
    let log = Arc::new(Log::start());
    // Before the work, so that a place that cannot be written is known before the work is done.
    let place = destination(config, "")?;
    let unfinished =
        UnfinishedFolder::start(&place).map_err(Error::output(&place, "creating the run folder"))?;
    Unfinished::refuse_other(config, &place)?;
    let source = load_source_telling(&config.source, config.arch.as_deref(), context.progress)?;
    // A mistyped name is known before any image is read; a small stem may lack a wire that the source has.
    resolve_cut(&source, &config.cut)?;
    let folder = dataset::scan(config)?;
    let Adapted { model: source, sentences, .. } = adapted(config, source, &folder, context)?;
    let cut = resolve_cut(&source, config.head_cut())?;
    tune::check(config, &source, &cut, &folder.classes)?;
    log.event("source", json!({ "name": source.card().name, "cut": cut, "input": sentences }));
    let dataset = Dataset::load(config, folder, &source, &cut, context)?;
    log.event("data", json!({
        "images": dataset.items.len(), "classes": dataset.classes.len(), "from_cache": dataset.timing.from_cache,
        "train": dataset.split.train.len(), "validation": dataset.split.validation.len(), "test": dataset.split.test.len(),
    }));
    let precision = &dataset.precision.record;
    log.event(
        "precision",
        json!({ "asked": precision.asked, "used": precision.used, "reason": precision.reason }),
    );
    let watch = Stopwatch::start();
    let heads = Heads::choose(&dataset, config, context)?;
    log.event("heads", json!({ "chosen": heads.source.selection.kind.name() }));
    let methods = [
        Compared { name: SOURCE, features: &dataset.features, selection: &heads.source.selection },
        Compared { name: RANDOM, features: &dataset.random, selection: &heads.random.selection },
        Compared { name: PIXELS, features: &dataset.pixels, selection: &heads.pixels.selection },
    ];
    let learning_curve = curve(&dataset, &methods, config, context)?;
    context.progress.advance(1);
    context.progress.finish();
    log.event("learning curve", json!({ "sizes": learning_curve.sizes }));
    let head_seconds = watch.seconds();
    let work = Unfinished::open(config, &place, context)?.map(|work| work.logging(Arc::clone(&log)));
    let tuned = tuned(config, &dataset, &source, &cut, &heads, work.as_ref(), context)?;
    if let Some(Tuned { record, temperature, .. }) = &tuned {
        let details = json!({ "method": record.method, "ladder": record.ladder, "soup": record.soup, "temperature": temperature, "seconds": record.seconds });
        log.event("tuning", details);
    }
    let model = match &tuned {
        Some(tuned) => tuned.model.clone(),
        None => graft::graft(&source, &cut, &heads.source.selection, &dataset)?,
    };
    let measured = record::Measured {
        dataset: &dataset,
        heads: &heads,
        learning_curve,
        head_seconds,
        tuned: tuned.as_ref(),
    };
    let input = sentences.join(" ");
    // Another run may have taken the name meanwhile; one that trains has it.
    let place = if work.is_some() { place } else { destination(config, "")? };
    let record = record::assemble(config, &place, &source, &cut, &model, measured, context, &log)?;
    let mut record = RunRecord { input, ..record };
    record.timing.total_s += work.as_ref().map_or(0.0, Unfinished::earlier_seconds);
    log.event("done", json!({ "accuracy": record.test.accuracy.value }));
    let contents = Contents {
        config,
        model: &model,
        record: &record,
        dataset: &dataset,
        test_probabilities: tuned
            .as_ref()
            .map_or(&heads.source.test_probabilities, |tuned| &tuned.test_probabilities),
        log: log.text(),
        training: work.as_ref().map(Unfinished::folder),
    };
    folder::write(unfinished, &place, &contents)?;
    if work.is_some() {
        Unfinished::forget(&place)?;
    }
    Ok(Fitted { folder: place, record })
}

/// What the method makes of the source; `None` where it trains nothing.
fn tuned(
    config: &FitConfig,
    dataset: &Dataset,
    source: &Model,
    cut: &str,
    heads: &Heads,
    work: Option<&Unfinished>,
    context: &Context<'_>,
) -> Result<Option<Tuned>> {
    let Some(work) = work else { return Ok(None) };
    let boundary = resolve_cut(source, &config.cut)?;
    let (probe, probe_answers) = (&heads.source.selection, &heads.source.test_probabilities);
    let tuning =
        Tuning { config, dataset, source, cut, boundary: &boundary, probe, probe_answers, work, part: "" };
    tuning.run(context).map(Some)
}

/// The source as the images need it, and the user told.
pub(crate) fn adapted(
    config: &FitConfig,
    source: Model,
    folder: &ImageFolder,
    context: &Context<'_>,
) -> Result<Adapted> {
    let paths: Vec<PathBuf> = folder.items.iter().map(|item| item.path.clone()).collect();
    let seen = Seen::of(&paths, config.channels);
    let of_training =
        |training: precision::Training| statistics(&training.paths, seen.channels.count, &context.limits);
    let statistics = if seen.needs_statistics() {
        Some(precision::Training::read(config, folder, seen.channels.count, context).map(of_training)?)
    } else {
        None
    };
    let adapted = adapt(source, &config.input(), &seen, statistics)?;
    adapted.tell(context);
    Ok(adapted)
}

/// The head on the source's features, and the baselines on the same split.
pub(crate) struct Heads {
    pub(crate) source: Judged,
    /// The same kind of head on the same network with random weights, its hyper-parameter chosen anew.
    pub(crate) random: Judged,
    /// Nearest neighbours on small raw pixels.
    pub(crate) pixels: Judged,
}

impl Heads {
    fn choose(dataset: &Dataset, config: &FitConfig, context: &Context<'_>) -> Result<Self> {
        context.progress.start("choosing the head, baselines", 4);
        let done = |judged| {
            context.progress.advance(1);
            if context.progress.interrupted() { Err(Error::Interrupted) } else { Ok(judged) }
        };
        let source = done(choose(dataset, &dataset.features, &config.heads)?)?;
        let random = done(choose(dataset, &dataset.random, &[source.selection.kind])?)?;
        let pixels = done(choose(dataset, &dataset.pixels, &[HeadKind::Knn])?)?;
        Ok(Self { source, random, pixels })
    }
}
