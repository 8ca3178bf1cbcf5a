//! `metrics.json`: the documented object for machines.
//!
//! Apart from `timing`, `images_per_second` and `peak_rss_mb` it holds only what the data, the source, the
//! seed and the vector instructions decide, so that two runs of the same seed give the same object whatever the number of threads (which
//! is why `threads` is under `timing`), the name of the run, or the hour.

use serde_json::{Value, json};

use crate::record::{
    Baseline, BaselineKind, Baselines, RunRecord, TestMetrics, TestTimeRecord, TuningRecord,
};
use crate::verdict::verdict;

/// The `metrics.json` object of a run; numbers that were not measured are `null`.
pub fn metrics_json(record: &RunRecord) -> Value {
    let mut metrics = subject(record);
    for part in [results(record), costs(record)] {
        if let (Value::Object(all), Value::Object(part)) = (&mut metrics, part) {
            all.extend(part);
        }
    }
    metrics
}

/// What was adapted to what, and how.
fn subject(record: &RunRecord) -> Value {
    json!({
        "task": record.task,
        "data": record.data_path,
        "label_file": record.label_file,
        "classes": record.classes,
        "n_train": record.n_train,
        "n_validation": record.n_validation,
        "n_test": record.n_test,
        "source": record.source,
        "source_origin": record.source_origin,
        "source_licence": record.source_licence,
        "source_sha256": record.source_sha256,
        "cut": record.cut,
        "method": record.method,
        "precision": record.precision,
        "input": record.input,
        "temperature": record.temperature,
        "image_size": record.image_size,
        "model_parameters": record.model_parameters,
        "model_macs": record.model_macs,
    })
}

/// What came out.
fn results(record: &RunRecord) -> Value {
    json!({
        "verdict": verdict(record),
        "interval_level": record.interval_level,
        "test": test(&record.test),
        "test_time": record.test_time.as_ref().map(test_time),
        "baselines": baselines(&record.baselines),
        "gains": gains(&record.baselines),
        "per_class": record.per_class,
        "confusion": record.confusion,
        "learning_curve": record.learning_curve,
        "head_candidates": record.head_candidates,
        "tuning": record.tuning.as_ref().map(tuning),
        "findings": record.findings,
    })
}

/// What it cost, and what is needed to repeat it.
fn costs(record: &RunRecord) -> Value {
    json!({
        "timing": {
            "decode_s": record.timing.decode_s,
            "features_s": record.timing.features_s,
            "head_s": record.timing.head_s,
            "tuning_s": record.tuning.as_ref().map(|tuning| tuning.seconds),
            "total_s": record.timing.total_s,
            "threads": record.threads,
        },
        "images_per_second": record.images_per_second,
        "peak_rss_mb": record.peak_rss_mb,
        "seed": record.seed,
        "instruction_set": record.instruction_set,
        "regraft_version": record.regraft_version,
    })
}

/// All but times.
fn tuning(tuning: &TuningRecord) -> Value {
    let mut value = json!(tuning);
    let remove = |value: &mut Value, names: &[&str]| {
        if let Value::Object(fields) = value {
            fields.retain(|name, _| !names.contains(&name.as_str()));
        }
    };
    remove(&mut value, &["seconds"]);
    for list in ["history", "ladder"] {
        if let Some(Value::Array(entries)) = value.get_mut(list) {
            entries.iter_mut().for_each(|entry| remove(entry, &["seconds", "images_per_second"]));
        }
    }
    value
}

fn test(test: &TestMetrics) -> Value {
    let top_k: serde_json::Map<_, _> =
        test.top_k.iter().map(|top| (top.k.to_string(), json!(top.accuracy))).collect();
    json!({
        "accuracy": test.accuracy,
        "balanced_accuracy": test.balanced_accuracy,
        "macro_f1": test.macro_f1,
        "log_loss": test.log_loss,
        "ece": test.ece,
        "ece_if_calibrated": test.ece_if_calibrated,
        "top_k": top_k,
    })
}

fn test_time(found: &TestTimeRecord) -> Value {
    json!({
        "variants": found.variants,
        "views": found.views,
        "test": test(&found.test),
        "gain": found.gain,
    })
}

fn baselines(baselines: &Baselines) -> Value {
    json!({
        "majority": baselines.majority,
        "pixel_knn": baselines.pixel_knn,
        "random_features": baselines.random_features,
    })
}

fn gains(baselines: &Baselines) -> Value {
    let gain = |found: Option<(BaselineKind, &Baseline)>| {
        let (kind, gain) = found.and_then(|(kind, baseline)| Some((kind, baseline.gain?)))?;
        Some(json!({
            "baseline": kind.wire_name(),
            "value": gain.estimate.value,
            "low": gain.estimate.low,
            "high": gain.estimate.high,
            "probability": gain.probability,
        }))
    };
    let random = baselines.random_features.as_ref().map(|baseline| (BaselineKind::RandomFeatures, baseline));
    json!({ "over_random_features": gain(random), "over_best_baseline": gain(baselines.best()) })
}
