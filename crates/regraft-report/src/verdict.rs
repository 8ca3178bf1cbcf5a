//! One honest sentence on whether transfer helped.
//!
//! The judgement rests on the paired gains alone: both models answer the same test examples, so the interval of
//! their difference is much narrower than two separate intervals suggest. Transfer helped only if the interval
//! lies above zero against *every* baseline that was run, the same network with random weights among them: to beat
//! the majority class alone shows learning, not transfer. One baseline that is clearly better is enough for
//! "did not help"; everything else is said to be undecided.

mod depth;

use serde::{Deserialize, Serialize};

use crate::insight::examples;
use crate::number::{counted, fixed, level, percent, percent_interval, points, points_interval};
use crate::record::{BaselineKind, PairedGain, RunRecord};

pub use depth::depth_verdict;
pub(crate) use depth::{change, milliseconds, tuning_sentence};

/// An interval wider than this (±10 points) makes the verdict warn about the size of the test set.
const WIDE_INTERVAL: f64 = 0.20;

/// What the paired gains say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Better than every baseline: all intervals of the gain lie above zero.
    Better,
    /// At least one interval of the gain contains zero, and none lies below it.
    NotDistinguishable,
    /// At least one baseline is better: its interval of the gain lies below zero.
    Worse,
    /// The accuracy is unknown, or the comparison with random weights, which defines transfer, was not made and no
    /// other baseline decides.
    NotMeasured,
}

/// The verdict in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What the paired gains say.
    pub outcome: Outcome,
    /// One sentence with the numbers and their intervals.
    pub sentence: String,
    /// A warning that the test set is too small for a precise answer.
    pub caution: Option<String>,
}

type Comparison = (BaselineKind, PairedGain);

/// Judges a run.
pub fn verdict(record: &RunRecord) -> Verdict {
    let comparisons = comparisons(record);
    let outcome = outcome(record, &comparisons);
    Verdict { outcome, sentence: sentence(record, outcome, &comparisons), caution: caution(record) }
}

fn comparisons(record: &RunRecord) -> Vec<Comparison> {
    let paired = record.baselines.measured().filter_map(|(kind, baseline)| Some((kind, baseline.gain?)));
    paired.filter(|(_, gain)| gain.estimate.is_known()).collect()
}

fn outcome(record: &RunRecord, comparisons: &[Comparison]) -> Outcome {
    if !record.test.accuracy.is_known() || comparisons.is_empty() {
        Outcome::NotMeasured
    } else if comparisons.iter().any(is_worse) {
        Outcome::Worse
    } else if !comparisons.iter().all(is_better) {
        Outcome::NotDistinguishable
    } else if has_random_network(comparisons) {
        Outcome::Better
    } else {
        Outcome::NotMeasured
    }
}

fn has_random_network(comparisons: &[Comparison]) -> bool {
    comparisons.iter().any(|(kind, _)| *kind == BaselineKind::RandomFeatures)
}

fn is_better((_, gain): &Comparison) -> bool {
    gain.estimate.low > 0.0
}

fn is_worse((_, gain): &Comparison) -> bool {
    gain.estimate.high < 0.0
}

fn sentence(record: &RunRecord, outcome: Outcome, comparisons: &[Comparison]) -> String {
    let accuracy = accuracy_clause(record);
    match (outcome, hardest(comparisons)) {
        (Outcome::Better, Some(hardest)) => better(record, &accuracy, comparisons, hardest),
        (Outcome::Worse, Some(hardest)) => {
            format!("Transfer did not help: {accuracy}, {}.", difference(record, hardest))
        }
        (Outcome::NotDistinguishable, Some(hardest)) => format!(
            "This test set cannot tell whether transfer helped: {accuracy}, {}, so the two may be equally good.",
            difference(record, hardest)
        ),
        (_, Some(hardest)) => format!(
            "Whether transfer helped was not measured (no run with random weights): {accuracy}, {}.",
            difference(record, hardest)
        ),
        (_, None) => {
            format!("Whether transfer helped was not measured (no baseline to compare with): {accuracy}.")
        }
    }
}

/// Names the random network first, because that comparison is what "transfer" means, and after it the baseline
/// that is hardest to beat when it is another one.
fn better(record: &RunRecord, accuracy: &str, comparisons: &[Comparison], hardest: &Comparison) -> String {
    let first = comparisons.first().unwrap_or(hardest);
    let mut text = format!("Transfer helped: {accuracy}, {}", difference(record, first));
    if first.0 != hardest.0 {
        text += &format!(" and {}", difference(record, hardest));
    }
    text + "."
}

/// The baseline with the smallest gain; of equal ones the closest relative of the source.
fn hardest(comparisons: &[Comparison]) -> Option<&Comparison> {
    let smaller = |a: &Comparison, b: &Comparison| b.1.estimate.value < a.1.estimate.value;
    comparisons.iter().reduce(|best, next| if smaller(best, next) { next } else { best })
}

fn accuracy_clause(record: &RunRecord) -> String {
    let accuracy = &record.test.accuracy;
    if !accuracy.is_known() {
        return "the test accuracy is unknown".to_owned();
    }
    format!(
        "{} of {} test {} are classified correctly ({} interval {})",
        percent(accuracy.value),
        crate::number::count(record.n_test as u64),
        examples(record),
        level(record.interval_level),
        percent_interval(accuracy),
    )
}

/// `31.4 points more than the same network with random weights (95 % interval +24.0 to +38.6)`.
fn difference(record: &RunRecord, (kind, gain): &Comparison) -> String {
    let gain = &gain.estimate;
    let size = points(gain.value.abs());
    let size = size.trim_start_matches('+');
    let direction = match size {
        "0.0" => "as many as".to_owned(),
        _ if gain.value < 0.0 => format!("{size} points fewer than"),
        _ => format!("{size} points more than"),
    };
    let level = level(record.interval_level);
    format!("{direction} {} ({level} interval {})", kind.in_words(), points_interval(gain))
}

/// What a reader of the verdict must know beside it.
fn caution(record: &RunRecord) -> Option<String> {
    let cautions = [worse_than_probe(record), leak(record), small_test_set(record)].into_iter().flatten();
    let cautions: Vec<String> = cautions.collect();
    (!cautions.is_empty()).then(|| cautions.join(" "))
}

/// A tuned model that is worse than the head on frozen features, which is cheaper, too.
fn worse_than_probe(record: &RunRecord) -> Option<String> {
    let gain = record.tuning.as_ref()?.probe.as_ref()?.gain?.estimate;
    let (size, interval) = (points(gain.value.abs()), points_interval(&gain));
    let size = size.trim_start_matches('+');
    let level = level(record.interval_level);
    let fewer = format!("{size} points fewer than with the linear probe ({level} interval {interval})");
    if gain.high < 0.0 {
        return Some(format!("Tuning did harm: {fewer}. Keep the probe, with --method probe."));
    }
    (gain.value < 0.0).then(|| format!("Tuning is not shown to pay: {fewer}."))
}

/// The data doctor's code for copies on both sides of a split that the data came with ends so.
const ACROSS_PARTS: &str = "duplicates-across-parts";

fn leak(record: &RunRecord) -> Option<String> {
    let leaks = record.findings.iter().any(|finding| finding.code.ends_with(ACROSS_PARTS));
    leaks.then(|| {
        let examples = examples(record);
        format!("The data's own parts share {examples} (see the data doctor's findings), which flatters the accuracy.")
    })
}

fn small_test_set(record: &RunRecord) -> Option<String> {
    let accuracy = &record.test.accuracy;
    let width = accuracy.high - accuracy.low;
    (width > WIDE_INTERVAL).then(|| {
        format!(
            "The test set is small ({}): the interval of the accuracy is {} points wide. More test {} would narrow it.",
            counted(record.n_test, examples(record).trim_end_matches('s'), examples(record)),
            fixed(width * 100.0, 1),
            examples(record),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Baseline, Baselines, Estimate, Finding, TuningRecord};

    fn baseline(gain: f64, low: f64, high: f64) -> Option<Baseline> {
        let gain = Some(PairedGain { estimate: Estimate::new(gain, low, high), probability: 0.5 });
        Some(Baseline { gain, ..Baseline::default() })
    }

    fn run(random: Option<Baseline>, pixels: Option<Baseline>) -> RunRecord {
        let mut record = RunRecord { n_test: 180, ..RunRecord::default() };
        record.test.accuracy = Estimate::new(0.942, 0.901, 0.97);
        record.baselines =
            Baselines { random_features: random, pixel_knn: pixels, majority: baseline(0.83, 0.79, 0.87) };
        record
    }

    fn judge(record: &RunRecord) -> (Outcome, String) {
        let verdict = verdict(record);
        (verdict.outcome, verdict.sentence)
    }

    const ACCURACY: &str = "94.2 % of 180 test images are classified correctly (95 % interval 90.1 to 97.0)";

    #[test]
    fn better_than_every_baseline() {
        let (outcome, sentence) = judge(&run(baseline(0.314, 0.24, 0.386), baseline(0.392, 0.31, 0.47)));
        assert_eq!(outcome, Outcome::Better);
        assert_eq!(
            sentence,
            format!(
                "Transfer helped: {ACCURACY}, 31.4 points more than the same network with random weights \
                 (95 % interval +24.0 to +38.6)."
            )
        );
    }

    #[test]
    fn better_names_the_hardest_baseline_when_it_is_not_the_random_network() {
        let (outcome, sentence) = judge(&run(baseline(0.314, 0.24, 0.386), baseline(0.1, 0.04, 0.16)));
        assert_eq!(outcome, Outcome::Better);
        assert!(
            sentence.ends_with(
                "(95 % interval +24.0 to +38.6) and 10.0 points more than nearest neighbours on raw \
                 pixels (95 % interval +4.0 to +16.0)."
            ),
            "{sentence}"
        );
    }

    #[test]
    fn not_distinguishable_from_one_baseline() {
        let (outcome, sentence) = judge(&run(baseline(0.042, -0.083, 0.167), baseline(0.392, 0.31, 0.47)));
        assert_eq!(outcome, Outcome::NotDistinguishable);
        assert_eq!(
            sentence,
            format!(
                "This test set cannot tell whether transfer helped: {ACCURACY}, 4.2 points more than the same \
                 network with random weights (95 % interval −8.3 to +16.7), so the two may be equally good."
            )
        );
    }

    #[test]
    fn an_interval_that_touches_zero_is_not_a_difference() {
        let (outcome, _) = judge(&run(baseline(0.05, 0.0, 0.1), None));
        assert_eq!(outcome, Outcome::NotDistinguishable);
        let (outcome, sentence) = judge(&run(baseline(0.0, 0.0, 0.0), None));
        assert_eq!(outcome, Outcome::NotDistinguishable);
        assert!(sentence.contains("as many as the same network"), "{sentence}");
    }

    #[test]
    fn worse_than_one_baseline_is_worse() {
        let (outcome, sentence) = judge(&run(baseline(0.314, 0.24, 0.386), baseline(-0.125, -0.2, -0.051)));
        assert_eq!(outcome, Outcome::Worse);
        assert_eq!(
            sentence,
            format!(
                "Transfer did not help: {ACCURACY}, 12.5 points fewer than nearest neighbours on raw pixels \
                 (95 % interval −20.0 to −5.1)."
            )
        );
    }

    #[test]
    fn nothing_to_compare_with() {
        let mut record = run(None, None);
        record.baselines.majority = None;
        let (outcome, sentence) = judge(&record);
        assert_eq!(outcome, Outcome::NotMeasured);
        assert_eq!(
            sentence,
            format!("Whether transfer helped was not measured (no baseline to compare with): {ACCURACY}.")
        );
        let (outcome, sentence) = judge(&RunRecord::default());
        assert_eq!(outcome, Outcome::NotMeasured);
        assert!(sentence.ends_with("the test accuracy is unknown."), "{sentence}");
    }

    #[test]
    fn a_baseline_without_a_paired_gain_decides_nothing() {
        let unpaired = Some(Baseline { accuracy: Estimate::new(0.99, 0.98, 1.0), ..Baseline::default() });
        assert_eq!(judge(&run(unpaired, baseline(0.1, 0.04, 0.16))).0, Outcome::NotMeasured);
    }

    #[test]
    fn beating_other_baselines_without_the_random_network_is_not_transfer() {
        let (outcome, sentence) = judge(&run(None, baseline(0.1, 0.04, 0.16)));
        assert_eq!(outcome, Outcome::NotMeasured);
        assert_eq!(
            sentence,
            format!(
                "Whether transfer helped was not measured (no run with random weights): {ACCURACY}, 10.0 points more \
                 than nearest neighbours on raw pixels (95 % interval +4.0 to +16.0)."
            )
        );
        assert_eq!(judge(&run(None, baseline(-0.1, -0.16, -0.04))).0, Outcome::Worse);
    }

    #[test]
    fn a_wide_interval_warns() {
        let mut record = run(None, None);
        assert_eq!(verdict(&record).caution, None);
        record.n_test = 24;
        record.test.accuracy = Estimate::new(0.875, 0.7, 0.96);
        assert_eq!(
            verdict(&record).caution.unwrap(),
            "The test set is small (24 images): the interval of the accuracy is 26.0 points wide. \
             More test images would narrow it."
        );
        record.task = "text-classification".to_owned();
        record.n_test = 1;
        assert!(verdict(&record).caution.unwrap().contains("(1 example)"));
    }

    #[test]
    fn a_tuning_that_does_harm_is_part_of_the_verdict() {
        let caution = |value: f64, low: f64, high: f64| {
            let tuning = TuningRecord { probe: baseline(value, low, high), ..TuningRecord::default() };
            verdict(&RunRecord { tuning: Some(tuning), ..run(None, None) }).caution
        };
        assert_eq!(
            caution(-0.08, -0.12, -0.03).unwrap(),
            "Tuning did harm: 8.0 points fewer than with the linear probe (95 % interval −12.0 to −3.0). Keep the probe, \
             with --method probe."
        );
        assert!(
            caution(-0.02, -0.06, 0.02).unwrap().starts_with("Tuning is not shown to pay: 2.0 points fewer")
        );
        assert_eq!(caution(0.02, -0.06, 0.1), None);
    }

    #[test]
    fn copies_across_the_parts_are_part_of_the_verdict() {
        let finding = Finding { code: "exact-duplicates-across-parts".to_owned(), ..Finding::default() };
        let record = RunRecord { findings: vec![finding], ..RunRecord::default() };
        assert!(verdict(&record).caution.unwrap().contains("flatters the accuracy"));
    }
}
