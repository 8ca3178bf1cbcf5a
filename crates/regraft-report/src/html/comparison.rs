//! Did transfer help: the table with intervals and baselines, the dots, and the learning curve.

use super::block::{self, Column};
use crate::insight::{examples, saving, test_time_line};
use crate::markup::{escape, name};
use crate::number::{
    count, fixed, level, percent, percent_bare, percent_interval, plain_interval, points, points_interval,
    probability,
};
use crate::record::{Baseline, BaselineKind, Estimate, PairedGain, RunRecord, TestMetrics};
use crate::svg;

/// The run against its baselines, and every headline number.
pub(super) fn section(record: &RunRecord) -> String {
    let caption = format!(
        "Test accuracy with its {} interval. The dashed line is this run.",
        level(record.interval_level)
    );
    let dots = svg::accuracy(record).map(|chart| block::figure("chart-box", &chart, &caption));
    let numbers = block::pair(&dots.unwrap_or_default(), &metrics_table(record));
    let body = comparison_table(record) + &numbers + &test_time(record);
    block::section("comparison", "Did transfer help?", &lead(record), &body)
}

fn test_time(record: &RunRecord) -> String {
    let line = test_time_line(record);
    line.map_or_else(String::new, |line| format!("<p>With test-time augmentation: {}.</p>\n", escape(&line)))
}

fn lead(record: &RunRecord) -> String {
    if record.baselines.best().is_none() {
        return String::new();
    }
    format!(
        "All methods answer the same {count} held-out {examples}. A gain is the difference on those same {examples}, \
         so its interval is narrower than the two accuracies suggest.",
        count = count(record.n_test as u64),
        examples = examples(record)
    )
}

fn comparison_table(record: &RunRecord) -> String {
    if !record.test.accuracy.is_known() && record.baselines.best().is_none() {
        return String::new();
    }
    let interval = format!("{} interval", level(record.interval_level));
    let columns = [
        (Column::Text, "Method"),
        (Column::Number, "Accuracy, %"),
        (Column::Side, interval.as_str()),
        (Column::Number, "Gain, points"),
        (Column::Side, interval.as_str()),
        (Column::Number, "P(better)"),
        (Column::Number, "Balanced, %"),
        (Column::Number, "Macro F1, %"),
    ];
    let source =
        format!("<strong>{}</strong><span class=\"what\">pretrained, this run</span>", name(&record.source));
    let own = &record.test;
    let mut rows = vec![row(source, &own.accuracy, None, Some(own.balanced_accuracy), Some(own.macro_f1))];
    let probe = record.tuning.as_ref().and_then(|tuning| tuning.probe.as_ref());
    rows.extend(probe.map(probe_row));
    rows.extend(record.baselines.measured().map(|(kind, baseline)| baseline_row(kind, baseline)));
    block::table(&columns, &rows)
}

fn probe_row(probe: &Baseline) -> Vec<String> {
    let label = "linear probe<span class=\"what\">a head on the same source, nothing else trained</span>";
    row(label.to_owned(), &probe.accuracy, probe.gain, probe.balanced_accuracy, probe.macro_f1)
}

fn baseline_row(kind: BaselineKind, baseline: &Baseline) -> Vec<String> {
    let label = format!("{}<span class=\"what\">{}</span>", escape(kind.label()), escape(explanation(kind)));
    row(label, &baseline.accuracy, baseline.gain, baseline.balanced_accuracy, baseline.macro_f1)
}

fn row(
    label: String,
    accuracy: &Estimate,
    gain: Option<PairedGain>,
    balanced: Option<Estimate>,
    macro_f1: Option<Estimate>,
) -> Vec<String> {
    let share = |estimate: Option<Estimate>| estimate.map_or(String::new(), |e| percent_bare(e.value));
    let of_gain = |show: fn(&PairedGain) -> String| gain.as_ref().map_or(String::new(), show);
    vec![
        label,
        percent_bare(accuracy.value),
        percent_interval(accuracy),
        of_gain(|gain| points(gain.estimate.value)),
        of_gain(|gain| points_interval(&gain.estimate)),
        of_gain(|gain| escape(&probability(gain.probability))),
        share(balanced),
        share(macro_f1),
    ]
}

const fn explanation(kind: BaselineKind) -> &'static str {
    match kind {
        BaselineKind::RandomFeatures => "same network and head, never trained",
        BaselineKind::PixelKnn => "nearest neighbours on small raw pixels",
        BaselineKind::Majority => "always the most frequent class",
    }
}

/// Every headline number that was measured.
fn metrics_table(record: &RunRecord) -> String {
    let test = &record.test;
    let mut rows = vec![
        share_row("Accuracy", &test.accuracy, "share of right answers"),
        share_row("Balanced accuracy", &test.balanced_accuracy, "mean of the classes’ recalls"),
        share_row("Macro F1", &test.macro_f1, "mean of the classes’ F1 scores"),
    ];
    let top = |k: usize| format!("Top-{k} accuracy");
    rows.extend(
        test.top_k.iter().map(|t| share_row(&top(t.k), &t.accuracy, "true class among the most probable")),
    );
    let loss = &test.log_loss;
    rows.push(metric_row("Log-loss", loss, fixed(loss.value, 3), plain_interval(loss), "nats; 0 is perfect"));
    rows.push(share_row("Calibration error", &test.ece, &calibration(test)));
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    if rows.is_empty() {
        return String::new();
    }
    let interval = format!("{} interval", level(record.interval_level));
    let columns =
        [(Column::Text, "On the test set"), (Column::Number, "Value"), (Column::Side, interval.as_str())];
    block::table(&columns, &rows)
}

fn share_row(label: &str, estimate: &Estimate, what: &str) -> Option<Vec<String>> {
    metric_row(label, estimate, percent(estimate.value), percent_interval(estimate), what)
}

fn metric_row(
    label: &str,
    estimate: &Estimate,
    value: String,
    interval: String,
    what: &str,
) -> Option<Vec<String>> {
    let label = format!("{}<span class=\"what\">{}</span>", escape(label), escape(what));
    estimate.is_known().then(|| vec![label, value, interval])
}

fn calibration(test: &TestMetrics) -> String {
    test.ece_if_calibrated.map_or_else(
        || "mean gap between confidence and accuracy (ECE)".to_owned(),
        |chance| {
            let (mean, sd) = (percent_bare(chance.mean), percent_bare(chance.sd));
            format!("ECE; a perfectly calibrated model would show {mean} ± {sd} % here")
        },
    )
}

/// The learning curve against the baselines.
pub(super) fn curve_section(record: &RunRecord) -> String {
    let chart = svg::learning_curve(record);
    let caption = "Test accuracy over the number of training images, in nested subsets; bands are intervals. \
                   A line without marks was measured on the whole training set only.";
    let caption = caption.replace("images", examples(record)) + of_probe(record);
    let figure = chart.map(|chart| block::figure("chart-box", &chart, &caption)).unwrap_or_default();
    let body = block::pair(&figure, &curve_table(record));
    let body = if figure.is_empty() { String::new() } else { body };
    block::section("curve", "How much data does it need?", &saving_sentence(record), &body)
}

/// What the curve is of where the model of the run was trained with its head.
fn of_probe(record: &RunRecord) -> &'static str {
    match record.tuning {
        Some(_) => {
            " The curve of the pretrained network is that of a head on its frozen features, not of the tuned model."
        }
        None => "",
    }
}

fn saving_sentence(record: &RunRecord) -> String {
    saving(record).map_or_else(String::new, |saving| {
        format!(
            "With {} training {examples} the pretrained features reach what random weights reach with {}.",
            count(saving.source_n as u64),
            count(saving.random_n as u64),
            examples = examples(record)
        )
    })
}

/// Mean accuracies, one column a series and one row a size.
fn curve_table(record: &RunRecord) -> String {
    let curve = &record.learning_curve;
    let titles: Vec<_> = curve.series.iter().map(|series| series_title(&series.name)).collect();
    let first = format!("Training {}", examples(record));
    let columns: Vec<_> = std::iter::once((Column::Number, first.as_str()))
        .chain(titles.iter().map(|title| (Column::Number, title.as_str())))
        .collect();
    let mut sizes: Vec<_> =
        curve.series.iter().flat_map(|series| &series.points).map(|point| point.n).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let rows: Vec<_> = sizes.iter().map(|size| curve_row(record, *size)).collect();
    block::table(&columns, &rows)
}

fn series_title(series: &str) -> String {
    let (label, _, _) = svg::appearance(series);
    format!("{label}, %")
}

fn curve_row(record: &RunRecord, size: usize) -> Vec<String> {
    let series = record.learning_curve.series.iter();
    let means = series.map(|series| {
        let point = series.points.iter().find(|point| point.n == size);
        point.map_or(String::new(), |point| percent_bare(point.mean))
    });
    std::iter::once(count(size as u64)).chain(means).collect()
}
