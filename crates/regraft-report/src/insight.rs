//! What a reader wants to know first and the record holds only implicitly: the most confused classes, the
//! weakest class, how many images the pretrained features save, and the words for the task's examples.

use crate::number::{fixed, level, percent, percent_interval, points, points_interval};
use crate::record::{
    BaselineKind, ClassMetrics, CurvePoint, CurveSeries, CutRecord, DepthRecord, Finding, HeadCandidate,
    RunRecord, Severity, TestTimeRecord,
};

/// Name of the source's series in a learning curve.
pub(crate) const SOURCE_SERIES: &str = "source";

/// A true class that was taken for another.
#[derive(Debug, PartialEq)]
pub(crate) struct ConfusedPair<'a> {
    pub(crate) true_class: &'a str,
    pub(crate) predicted: &'a str,
    pub(crate) count: u64,
    /// Share of the true class's examples.
    pub(crate) share: f64,
}

/// The off-diagonal cells that hold something, the largest count first, ties in the order of the matrix.
pub(crate) fn confused_pairs(record: &RunRecord) -> Vec<ConfusedPair<'_>> {
    let mut pairs: Vec<_> = record
        .confusion
        .iter()
        .enumerate()
        .flat_map(|(row, counts)| confused_with(record, row, counts))
        .collect();
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.count));
    pairs
}

fn confused_with<'a>(
    record: &'a RunRecord,
    row: usize,
    counts: &'a [u64],
) -> impl Iterator<Item = ConfusedPair<'a>> {
    let total = row_total(counts);
    let wrong = counts.iter().enumerate().filter(move |(column, count)| *column != row && **count > 0);
    wrong.filter_map(move |(column, count)| {
        Some(ConfusedPair {
            true_class: record.classes.get(row)?,
            predicted: record.classes.get(column)?,
            count: *count,
            share: *count as f64 / total,
        })
    })
}

/// Number of examples of a true class, at least 1 so that shares stay finite.
pub(crate) fn row_total(counts: &[u64]) -> f64 {
    (counts.iter().sum::<u64>() as f64).max(1.0)
}

/// The class with the lowest recall, when any class was tested; of equal ones the one with more examples.
pub(crate) fn weakest_class(record: &RunRecord) -> Option<&ClassMetrics> {
    weakest_first(record).into_iter().next()
}

/// The tested classes by ascending recall, then by descending support.
pub(crate) fn weakest_first(record: &RunRecord) -> Vec<&ClassMetrics> {
    let mut tested: Vec<_> = record.per_class.iter().filter(|class| class.recall.is_finite()).collect();
    tested.sort_by(|a, b| a.recall.total_cmp(&b.recall).then(b.support.cmp(&a.support)));
    tested
}

/// How few training examples give the source the best accuracy that random weights reach at any size.
#[derive(Debug, PartialEq)]
pub(crate) struct Saving {
    pub(crate) source_n: usize,
    pub(crate) random_n: usize,
}

/// The saving, when the curve shows the source reaching that accuracy with fewer examples.
pub(crate) fn saving(record: &RunRecord) -> Option<Saving> {
    let source = series(record, SOURCE_SERIES)?;
    let random = series(record, BaselineKind::RandomFeatures.wire_name())?;
    let best = finite(random).reduce(|best, next| if next.mean > best.mean { next } else { best })?;
    let reached = finite(source).find(|point| point.mean >= best.mean)?;
    (reached.n < best.n).then_some(Saving { source_n: reached.n, random_n: best.n })
}

fn series<'a>(record: &'a RunRecord, name: &str) -> Option<&'a CurveSeries> {
    record.learning_curve.series.iter().find(|series| series.name == name)
}

fn finite(series: &CurveSeries) -> impl Iterator<Item = &CurvePoint> {
    series.points.iter().filter(|point| point.mean.is_finite())
}

/// The most accurate head; of equal ones the first that was tried.
pub(crate) fn best_head(record: &RunRecord) -> Option<&HeadCandidate> {
    let known = record.head_candidates.iter().filter(|head| head.accuracy.is_finite());
    known.reduce(|best, next| if next.accuracy > best.accuracy { next } else { best })
}

/// Kind and hyper-parameter of a head: `logistic-regression, C = 0.1`.
pub(crate) fn head_label(head: &HeadCandidate) -> String {
    match head.hyper_parameter.as_str() {
        "" => head.kind.clone(),
        parameter => format!("{}, {parameter}", head.kind),
    }
}

/// `images` for image tasks, else `examples`.
pub(crate) fn examples(record: &RunRecord) -> &'static str {
    if record.task.starts_with("image") { "images" } else { "examples" }
}

/// The findings, the most severe first, otherwise in the doctor's order.
pub(crate) fn findings_by_severity(record: &RunRecord) -> Vec<&Finding> {
    let mut findings: Vec<_> = record.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Number of findings of a severity.
pub(crate) fn findings_of(record: &RunRecord, severity: Severity) -> usize {
    record.findings.iter().filter(|finding| finding.severity == severity).count()
}

/// The run folder for commands, quoted for a POSIX shell where it needs it.
pub(crate) fn run_argument(record: &RunRecord) -> String {
    argument(&record.run_path, "RUN")
}

/// A text for commands, quoted for a POSIX shell where it needs it; `unknown` stands for nothing.
pub(crate) fn argument(text: &str, unknown: &str) -> String {
    if text.is_empty() { unknown.to_owned() } else { shell_quoted(text) }
}

fn shell_quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:@%,".contains(&byte);
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The command that fits a head at a cut, or with `None` at the cut that `regraft fit` takes by itself.
pub(crate) fn fit_command(record: &DepthRecord, wire: Option<&str>) -> String {
    let cut = wire.map_or(String::new(), |wire| format!(" --cut {}", argument(wire, "WIRE")));
    let options = [&record.input_options, &record.split_options].map(|options| behind_space(options));
    format!(
        "regraft fit {} --source {}{cut}{}",
        argument(&record.data, "DATA"),
        argument(&record.source, "SOURCE"),
        options.concat()
    )
}

/// Options as they stand behind others.
pub(crate) fn behind_space(options: &str) -> String {
    if options.is_empty() { String::new() } else { format!(" {options}") }
}

/// What is to be said of a cut in a word each: `chosen`, `best`, or `as good` for what is within one standard error of
/// the best, and `default`. One cut alone is no choice.
pub(crate) fn cut_marks(record: &DepthRecord, cut: &CutRecord) -> String {
    let has_choice = record.cuts.len() > 1;
    let marks = [
        (has_choice && cut.is_chosen, "chosen"),
        (has_choice && cut.is_best, "best"),
        (has_choice && !cut.is_best && cut.is_as_good_as_best(), "as good"),
        (cut.is_default, "default"),
    ];
    marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect::<Vec<_>>().join(", ")
}

/// Whether random weights were measured at any cut.
pub(crate) fn has_random_cuts(record: &DepthRecord) -> bool {
    record.cuts.iter().any(|cut| cut.random.is_known())
}

/// What test-time augmentation gives beside the run's own numbers, if it was measured.
pub(crate) fn test_time_line(record: &RunRecord) -> Option<String> {
    let TestTimeRecord { views, test, gain, .. } = record.test_time.as_ref()?;
    Some(format!(
        "accuracy {} ({} interval {}), {} points against the plain image alone ({}), log-loss {}, by the mean of the probabilities over the image and {views}",
        percent(test.accuracy.value),
        level(record.interval_level),
        percent_interval(&test.accuracy),
        points(gain.estimate.value),
        points_interval(&gain.estimate),
        fixed(test.log_loss.value, 3),
    ))
}

/// `int8 (auto: …)`; empty where nothing is known.
pub(crate) fn precision_line(record: &RunRecord) -> String {
    let precision = &record.precision;
    match (precision.reason.is_empty(), precision.calibration_images) {
        (false, _) => format!("{} ({}: {})", precision.used, precision.asked, precision.reason),
        (true, 0) => precision.used.clone(),
        (true, images) => format!("{} (calibrated on {images} training images)", precision.used),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::LearningCurve;

    fn three_classes() -> RunRecord {
        RunRecord {
            classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
            confusion: vec![vec![8, 2, 0], vec![3, 6, 1], vec![0, 0, 0]],
            ..RunRecord::default()
        }
    }

    #[test]
    fn confused_pairs_come_with_their_share_of_the_true_class() {
        let record = three_classes();
        let pairs: Vec<_> =
            confused_pairs(&record).iter().map(|p| (p.true_class, p.predicted, p.count, p.share)).collect();
        assert_eq!(pairs, [("b", "a", 3, 0.3), ("a", "b", 2, 0.2), ("b", "c", 1, 0.1)]);
    }

    #[test]
    fn a_matrix_larger_than_the_class_list_is_read_as_far_as_it_has_names() {
        let record = RunRecord { classes: vec!["a".to_owned()], ..three_classes() };
        assert!(confused_pairs(&record).is_empty());
    }

    #[test]
    fn untested_classes_are_not_the_weakest() {
        let class = |name: &str, recall, support| ClassMetrics {
            class: name.to_owned(),
            recall,
            support,
            ..ClassMetrics::default()
        };
        let record = RunRecord {
            per_class: vec![
                class("a", f64::NAN, 0),
                class("b", 0.5, 4),
                class("c", 0.5, 8),
                class("d", 1.0, 1),
            ],
            ..RunRecord::default()
        };
        assert_eq!(weakest_class(&record).unwrap().class, "c");
        assert!(weakest_class(&RunRecord::default()).is_none());
    }

    #[test]
    fn the_saving_is_the_first_size_that_reaches_the_best_of_random_weights() {
        let series = |name: &str, means: [f64; 3]| CurveSeries {
            name: name.to_owned(),
            points: [10, 20, 40]
                .into_iter()
                .zip(means)
                .map(|(n, mean)| CurvePoint { n, mean, low: mean, high: mean })
                .collect(),
        };
        let with = |source, random| RunRecord {
            learning_curve: LearningCurve {
                sizes: vec![10, 20, 40],
                series: vec![series("source", source), series("random_features", random)],
            },
            ..RunRecord::default()
        };
        let saving_of = |source, random| saving(&with(source, random));
        assert_eq!(saving_of([0.6, 0.8, 0.9], [0.3, 0.5, 0.7]), Some(Saving { source_n: 20, random_n: 40 }));
        assert_eq!(saving_of([0.3, 0.4, 0.5], [0.3, 0.5, 0.7]), None);
        assert_eq!(saving_of([0.3, 0.4, 0.7], [0.3, 0.5, 0.7]), None);
        assert_eq!(saving(&RunRecord::default()), None);
    }

    #[test]
    fn run_paths_are_quoted_for_the_shell() {
        assert_eq!(shell_quoted("runs/emoji-1"), "runs/emoji-1");
        assert_eq!(shell_quoted("my runs/it's"), r"'my runs/it'\''s'");
        assert_eq!(run_argument(&RunRecord::default()), "RUN");
    }
}
