//! The record of a run, from everything that was measured.

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView2};
use regraft_data::doctor;
use regraft_engine::InstructionSet;
use regraft_graph::{Bindings, Model};
use regraft_report::RunRecord;
use regraft_report::record::{
    Baselines, CurvePoint, CurveSeries, Finding, HeadCandidate, LearningCurve, Mistake, Severity,
    TestTimeRecord, Timing, TuningRecord,
};
use regraft_report::thumbnail::png_data_uri;
use regraft_system::clock::{now, rfc3339};
use regraft_system::memory::peak_resident_bytes;

use super::Heads;
use super::dataset::{Dataset, at};
use super::folder::largest;
use super::heads::hyper_parameter_text;
use super::tune::{Method, Tuned};
use crate::cache::Cache;
use crate::ingest::Ingest;
use crate::judge::{baseline, judge, majority, probabilities};
use crate::log::Log;
use crate::test_time::TestTime;
use crate::{Context, Error, FitConfig, Result};

/// Wrong answers shown in the report.
const MISTAKES: usize = 24;
/// Longer side of a thumbnail in pixels.
const THUMBNAIL_SIDE: usize = 96;

/// What the stages of the run have given.
pub(crate) struct Measured<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) heads: &'a Heads,
    pub(crate) learning_curve: LearningCurve,
    pub(crate) head_seconds: f64,
    /// What came of the tuning, if the method is one.
    pub(crate) tuned: Option<&'a Tuned>,
}

impl Measured<'_> {
    /// The run's answers to the test set.
    fn answers(&self) -> ArrayView2<'_, f64> {
        let of_probe = &self.heads.source.test_probabilities;
        self.tuned.map_or(of_probe, |tuned| &tuned.test_probabilities).view()
    }
}

/// Puts the record together; this is where the test set is looked at.
#[allow(clippy::too_many_arguments, reason = "one caller, and each is a stage of its own")]
pub(crate) fn assemble(
    config: &FitConfig,
    place: &Path,
    source: &Model,
    cut: &str,
    model: &Model,
    measured: Measured<'_>,
    context: &Context<'_>,
    log: &Log,
) -> Result<RunRecord> {
    let truths = measured.dataset.labels_at(&measured.dataset.split.test);
    let answers = measured.answers();
    let judgement = judge(&truths, answers, &measured.dataset.classes, config.seed)?;
    let baselines = baselines(&measured, &truths, config.seed)?;
    let tuning = tuning(&measured, &truths, config.seed)?;
    let test_time = test_time(config, &measured, &truths, model, context)?;
    let mistakes = mistakes(&measured, &truths, source.card().preprocessing.channels(), context);
    let Measured { dataset, heads, learning_curve, head_seconds, tuned } = measured;
    let selection = &heads.source.selection;
    let [height, width] = source.card().preprocessing.crop;
    let cost = model.graph().cost(&Bindings { batch: 1, height, width }).map_err(Error::model)?;
    let hyper_parameter = hyper_parameter_text(selection.kind, selection.hyper_parameter);
    let separator = if hyper_parameter.is_empty() { "" } else { ", " };
    let card = source.card();
    let computed = dataset.items.len().saturating_sub(dataset.timing.from_cache);
    Ok(RunRecord {
        name: place.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        run_path: place.to_string_lossy().into_owned(),
        data_path: config.data.to_string_lossy().into_owned(),
        label_file: config.labels.as_ref().map(|path| path.to_string_lossy().into_owned()),
        classes: dataset.classes.clone(),
        n_train: dataset.split.train.len(),
        n_validation: dataset.split.validation.len(),
        n_test: dataset.split.test.len(),
        source: card.name.clone(),
        source_origin: card.origin.clone(),
        source_licence: card.licence.clone().unwrap_or_default(),
        source_sha256: card.sha256.clone().unwrap_or_default(),
        cut: cut.to_owned(),
        method: match tuned {
            Some(tuned) => {
                let chosen = if config.method == Method::Auto { " (chosen by auto)" } else { "" };
                format!("{}{chosen}: {}", tuned.record.method, tuned.record.method_in_words)
            }
            None => format!("linear probe: {}{separator}{hyper_parameter}", selection.kind.name()),
        },
        precision: dataset.precision.record.clone(),
        head_candidates: candidates(heads),
        learning_curve: with_majority(learning_curve, &baselines),
        test: judgement.metrics,
        baselines,
        per_class: judgement.per_class,
        confusion: judgement.confusion,
        mistakes,
        tuning,
        test_time,
        findings: dataset.findings.iter().map(finding).collect(),
        timing: Timing {
            decode_s: dataset.timing.decode_seconds,
            features_s: dataset.timing.seconds,
            head_s: head_seconds,
            total_s: log.seconds(),
        },
        images_per_second: if computed == 0 { f64::NAN } else { computed as f64 / dataset.timing.seconds },
        peak_rss_mb: peak_resident_bytes().map_or(f64::NAN, |bytes| bytes as f64 / 1_048_576.0),
        seed: config.seed,
        threads: rayon::current_num_threads(),
        instruction_set: InstructionSet::detect().name().to_owned(),
        temperature: Some(tuned.map_or(selection.temperature, |tuned| tuned.temperature)),
        regraft_version: env!("CARGO_PKG_VERSION").to_owned(),
        model_parameters: cost.parameters,
        model_macs: cost.macs,
        image_size: height,
        created: Some(rfc3339(now())),
        ..RunRecord::default()
    })
}

/// The record of the tuning, with the linear probe beside it.
fn tuning(measured: &Measured<'_>, truths: &[usize], seed: u64) -> Result<Option<TuningRecord>> {
    let Some(tuned) = measured.tuned else { return Ok(None) };
    let probe = measured.heads.source.test_probabilities.view();
    let probe = Some(baseline(truths, measured.answers(), probe, seed)?);
    Ok(Some(TuningRecord { probe, ..tuned.record.clone() }))
}

/// The run's answers to variants of the test images, too, where that was asked for.
fn test_time(
    config: &FitConfig,
    measured: &Measured<'_>,
    truths: &[usize],
    model: &Model,
    context: &Context<'_>,
) -> Result<Option<TestTimeRecord>> {
    let Some(test_time) = TestTime::new(config.tta, &config.tuning, config.seed)? else { return Ok(None) };
    let (dataset, plain) = (measured.dataset, measured.answers());
    let precision = &dataset.precision.precision;
    let mut ingest = Ingest::answering(model, precision, &Cache::disabled(), context)?;
    let items = at(&dataset.items, &dataset.split.test);
    let paths: Vec<PathBuf> = items.into_iter().map(|item| item.path).collect();
    context.progress.start("judging variants", (paths.len() * test_time.len()) as u64);
    let softmax = |logits: &Array2<f32>| probabilities(logits, 1.0);
    let averaged = test_time.averaged(&plain, &mut ingest, &paths, &softmax)?;
    context.progress.finish();
    test_time.record(truths, [averaged.view(), plain], &dataset.classes, config.seed).map(Some)
}

fn baselines(measured: &Measured<'_>, truths: &[usize], seed: u64) -> Result<Baselines> {
    let (Measured { dataset, heads, .. }, source) = (measured, measured.answers());
    let train = dataset.labels_at(&dataset.split.train);
    let majority = majority(&train, dataset.classes.len(), truths.len());
    Ok(Baselines {
        majority: Some(baseline(truths, source, majority.view(), seed)?),
        pixel_knn: Some(baseline(truths, source, heads.pixels.test_probabilities.view(), seed)?),
        random_features: Some(baseline(truths, source, heads.random.test_probabilities.view(), seed)?),
    })
}

/// The majority's curve is flat: it learns nothing from more images.
fn with_majority(mut curve: LearningCurve, baselines: &Baselines) -> LearningCurve {
    let Some(accuracy) = baselines.majority.as_ref().map(|baseline| baseline.accuracy.value) else {
        return curve;
    };
    if !curve.sizes.is_empty() {
        let point = |n: &usize| CurvePoint { n: *n, mean: accuracy, low: accuracy, high: accuracy };
        curve.series.push(CurveSeries {
            name: "majority".to_owned(),
            points: curve.sizes.iter().map(point).collect(),
        });
    }
    curve
}

fn candidates(heads: &Heads) -> Vec<HeadCandidate> {
    let selection = &heads.source.selection;
    let tried = selection.table.iter().map(|score| HeadCandidate {
        kind: score.kind.name().to_owned(),
        hyper_parameter: hyper_parameter_text(score.kind, score.hyper_parameter),
        accuracy: score.accuracy,
        standard_error: score.accuracy_standard_error,
        log_loss: score.log_loss,
        chosen: score.chosen,
        note: String::new(),
    });
    let skipped = selection.skipped.iter().map(|skipped| HeadCandidate {
        kind: skipped.kind.name().to_owned(),
        note: skipped.reason.clone(),
        ..HeadCandidate::default()
    });
    tried.chain(skipped).collect()
}

/// Wrong answers, the most confident first, with a small picture each.
fn mistakes(
    measured: &Measured<'_>,
    truths: &[usize],
    channels: usize,
    context: &Context<'_>,
) -> Vec<Mistake> {
    let dataset = measured.dataset;
    let class = |index: usize| dataset.classes.get(index).cloned().unwrap_or_default();
    let items = at(&dataset.items, &dataset.split.test);
    let answers = measured.answers();
    let answers = answers.rows().into_iter().map(|row| {
        let predicted = largest(row.iter().copied());
        (predicted, row.get(predicted).copied().unwrap_or_default())
    });
    let wrong =
        items.iter().zip(truths).zip(answers).filter(|((_, truth), (predicted, _))| *truth != predicted);
    let mut wrong: Vec<_> = wrong.collect();
    wrong.sort_by(|a, b| b.1.1.total_cmp(&a.1.1).then_with(|| a.0.0.relative.cmp(&b.0.0.relative)));
    let mistake =
        |((item, truth), (predicted, probability)): ((&regraft_data::source::Item, &usize), (usize, f64))| {
            Mistake {
                path: item.relative.to_string_lossy().into_owned(),
                true_class: class(*truth),
                predicted: class(predicted),
                probability,
                thumbnail: thumbnail(&item.path, channels, context),
            }
        };
    wrong.into_iter().take(MISTAKES).map(mistake).collect()
}

/// A picture that cannot be read any more is left out of the report; it costs no run.
fn thumbnail(path: &Path, channels: usize, context: &Context<'_>) -> Option<String> {
    let content = regraft_system::files::read(path).ok()?;
    let image = regraft_data::decode::decode_as(&content, channels, &context.limits).ok()?;
    regraft_data::thumbnail::png(&image, THUMBNAIL_SIDE).ok().map(|png| png_data_uri(&png))
}

fn finding(finding: &doctor::Finding) -> Finding {
    Finding {
        severity: match finding.severity {
            doctor::Severity::Error => Severity::Error,
            doctor::Severity::Warning => Severity::Warning,
            doctor::Severity::Note => Severity::Note,
        },
        code: finding.code.to_string(),
        message: finding.message.clone(),
        files: finding.files.clone(),
    }
}
