//! One honest sentence on where to cut a source network.
//!
//! The choice was made without the test images, so the paired gain on them judges it. Where there is none, the
//! paired log-loss against the best cut does, with its standard error.

use super::{Outcome, Verdict, WIDE_INTERVAL};
use crate::markup::without_reordering;
use crate::number::{counted, fixed, level, percent, percent_interval, points, points_interval, with_prefix};
use crate::record::{CutRecord, CutTuning, DepthRecord, Estimate, PairedGain};

/// Judges the chosen cut of a comparison against the one that `regraft fit` would take by itself.
pub fn depth_verdict(record: &DepthRecord) -> Verdict {
    let (outcome, sentence) = judged(record);
    Verdict { outcome, sentence: without_reordering(&sentence), caution: caution(record) }
}

fn judged(record: &DepthRecord) -> (Outcome, String) {
    let Some(chosen) = record.chosen() else {
        return (Outcome::NotMeasured, "No cut was chosen: nothing is known to choose by.".to_owned());
    };
    if record.cuts.len() == 1 {
        return (Outcome::NotMeasured, alone(record, chosen));
    }
    let default = record.default_cut().filter(|default| !default.is_chosen);
    match (default, gain(record, chosen)) {
        (None, _) if chosen.is_default => (Outcome::NotDistinguishable, keep_default(record, chosen)),
        (None, _) => (Outcome::NotMeasured, without_default(record, chosen)),
        (Some(default), Some(gain)) => tested(record, chosen, default, &gain.estimate),
        (Some(default), None) => (Outcome::NotMeasured, untested(chosen, default)),
    }
}

/// The paired gain of the chosen cut on the test images, where it was measured.
pub(crate) fn gain(record: &DepthRecord, chosen: &CutRecord) -> Option<PairedGain> {
    record.test_of(&chosen.wire)?.gain.filter(|gain| gain.estimate.is_known())
}

fn alone(record: &DepthRecord, cut: &CutRecord) -> String {
    let default = if cut.is_default { ", and what regraft fit takes by itself" } else { "" };
    let accuracy = accuracy_sentence(record, cut);
    format!("Nothing was chosen: {} is the only cut that was judged{default}.{accuracy}", cut.wire)
}

fn keep_default(record: &DepthRecord, chosen: &CutRecord) -> String {
    let why = match record.cuts.iter().find(|cut| cut.is_best) {
        Some(best) if best.is_chosen => ", and no other cut has a lower log-loss".to_owned(),
        Some(best) if chosen.is_as_good_as_best() => {
            format!(", and it is as good as the best cut, {} (within one standard error)", best.wire)
        }
        Some(best) => format!(", although the log-loss of {} is lower", best.wire),
        None => String::new(),
    };
    let accuracy = accuracy_sentence(record, chosen);
    format!("Keep the default cut: {} is what regraft fit takes by itself{why}.{accuracy}", chosen.wire)
}

fn without_default(record: &DepthRecord, chosen: &CutRecord) -> String {
    let accuracy = accuracy_sentence(record, chosen);
    format!("Cut at {}: it was not compared with the default cut.{accuracy}", chosen.wire)
}

/// ` 91.0 % of 267 test images are classified correctly (95 % interval 87.3 to 94.4).`
fn accuracy_sentence(record: &DepthRecord, cut: &CutRecord) -> String {
    let Some(test) = record.test_of(&cut.wire).filter(|test| test.accuracy.is_known()) else {
        return String::new();
    };
    format!(
        " {} of {} are classified correctly ({} interval {}).",
        percent(test.accuracy.value),
        counted(record.n_test, "test image", "test images"),
        level(record.interval_level),
        percent_interval(&test.accuracy)
    )
}

fn tested(
    record: &DepthRecord,
    chosen: &CutRecord,
    default: &CutRecord,
    gain: &Estimate,
) -> (Outcome, String) {
    let interval = format!("({} interval {})", level(record.interval_level), points_interval(gain));
    let size = points(gain.value.abs());
    let size = size.trim_start_matches('+');
    let outcome = match gain {
        gain if gain.low > 0.0 => Outcome::Better,
        gain if gain.high < 0.0 => Outcome::Worse,
        _ => Outcome::NotDistinguishable,
    };
    let images = counted(record.n_test, "test image", "test images");
    let difference = match outcome {
        Outcome::Better => {
            format!(
                "{size} points more of {images} are right than with the default {} {interval}",
                default.wire
            )
        }
        Outcome::Worse => format!(
            "but {size} points fewer of {images} are right than with the default {} {interval}, so the choice did \
             not hold",
            default.wire
        ),
        _ => format!(
            "{images} cannot tell it from the default {}, the difference is {} points {interval}",
            default.wire,
            points(gain.value)
        ),
    };
    (outcome, format!("Cut at {}: {difference}.{}", chosen.wire, costs_sentence(chosen, default)))
}

fn untested(chosen: &CutRecord, default: &CutRecord) -> String {
    let loss = match (chosen.is_as_good_as_best(), default.is_as_good_as_best()) {
        (true, true) => format!("it is as good as the default {}, within one standard error", default.wire),
        (true, false) if chosen.is_best => format!(
            "the log-loss of the default {} is higher by {} (standard error {})",
            default.wire,
            fixed(default.excess, 3),
            fixed(default.excess_standard_error, 3)
        ),
        (true, false) => {
            format!("it is within one standard error of the best cut, the default {} is not", default.wire)
        }
        _ => format!("it is not within one standard error of the best cut; the default is {}", default.wire),
    };
    let costs = costs_sentence(chosen, default);
    format!("Cut at {}: {loss}; no test image has judged the choice.{costs}", chosen.wire)
}

/// What the chosen cut costs beside the default one: ` It needs 1.20 M of 4.65 M parameters (74 % fewer) and 3.1 of
/// 8.0 ms an image (61 % less).` Nothing where neither is known.
fn costs_sentence(chosen: &CutRecord, default: &CutRecord) -> String {
    let parameters = (chosen.parameters > 0 && default.parameters > 0).then(|| {
        let [own, whole] = [chosen.parameters, default.parameters].map(parameters);
        let change = change(chosen.parameters as f64, default.parameters as f64, ["fewer", "more"]);
        format!("{own} parameters instead of {whole} ({change})")
    });
    let time = (chosen.milliseconds > 0.0 && default.milliseconds > 0.0).then(|| {
        let [own, whole] = [chosen.milliseconds, default.milliseconds].map(milliseconds);
        let change = change(chosen.milliseconds, default.milliseconds, ["less", "more"]);
        format!("{own} an image instead of {whole} ({change})")
    });
    let costs: Vec<_> = [parameters, time].into_iter().flatten().collect();
    if costs.is_empty() { String::new() } else { format!(" The network needs {}.", costs.join(" and ")) }
}

/// `74 % fewer`, `12 % more`, `the same`.
pub(crate) fn change(own: f64, whole: f64, [fewer, more]: [&str; 2]) -> String {
    let change = 100.0 * (own - whole) / whole;
    let size = fixed(change.abs(), 0);
    match change {
        _ if size == "0" => "the same".to_owned(),
        change if change < 0.0 => format!("{size} % {fewer}"),
        _ => format!("{size} % {more}"),
    }
}

/// A number of parameters that no line break parts from its prefix.
fn parameters(count: u64) -> String {
    with_prefix(count).replace(' ', "\u{a0}")
}

/// Milliseconds with two digits behind the point below ten, one above; the unit stays on the line.
pub(crate) fn milliseconds(value: f64) -> String {
    format!("{}\u{a0}ms", fixed(value, if value < 10.0 { 2 } else { 1 }))
}

/// What a reader of the verdict must know beside it.
fn caution(record: &DepthRecord) -> Option<String> {
    let cautions = [untransferable(record), small_test_set(record)].into_iter().flatten();
    Some(cautions.collect::<Vec<_>>().join(" ")).filter(|cautions| !cautions.is_empty())
}

/// A source that is no better than its own random weights has nothing to transfer, whatever the best cut is.
fn untransferable(record: &DepthRecord) -> Option<String> {
    let chosen = record.chosen()?;
    let (accuracy, random) = (&chosen.accuracy, &chosen.random);
    if accuracy.low <= random.value {
        return Some(format!(
            "At this cut the same network with random weights reaches {} on the images that judged, inside the interval of the \
             trained one ({}), so it is not shown that this source helps.",
            percent(random.value),
            percent_interval(accuracy)
        ));
    }
    (accuracy.low <= record.chance).then(|| {
        format!(
            "The majority class alone reaches {}, inside the interval of the chosen cut ({}).",
            percent(record.chance),
            percent_interval(accuracy)
        )
    })
}

fn small_test_set(record: &DepthRecord) -> Option<String> {
    let accuracy = record.test_of(&record.chosen()?.wire)?.accuracy;
    let width = accuracy.high - accuracy.low;
    (width > WIDE_INTERVAL).then(|| {
        format!(
            "The test set is small ({}): the interval of the accuracy is {} points wide.",
            counted(record.n_test, "image", "images"),
            fixed(width * 100.0, 1)
        )
    })
}

/// What the short fine-tuning says of the order that the heads alone gave. `None` with fewer than two cuts.
pub(crate) fn tuning_sentence(record: &DepthRecord) -> Option<String> {
    let known = |tuning: &&CutTuning| tuning.log_loss_before.is_finite() && tuning.log_loss_after.is_finite();
    let tuned: Vec<_> = record.tuned.iter().filter(known).collect();
    let before = lowest(&tuned, |tuning| tuning.log_loss_before)?;
    let after = lowest(&tuned, |tuning| tuning.log_loss_after)?;
    let sentence = match before.wire == after.wire {
        true => format!(
            "Fine-tuning keeps the order: {} has the lowest log-loss with the head alone and after the training.",
            before.wire
        ),
        false => format!(
            "Fine-tuning changes the order: with the head alone {} has the lowest log-loss, after the training {}. \
             If you mean to fine-tune, try both.",
            before.wire, after.wire
        ),
    };
    (tuned.len() > 1).then(|| without_reordering(&sentence))
}

/// The entry with the lowest number; of equal ones the first.
fn lowest<'a>(tuned: &[&'a CutTuning], number: fn(&CutTuning) -> f64) -> Option<&'a CutTuning> {
    tuned.iter().copied().reduce(|best, next| if number(next) < number(best) { next } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::CutTest;

    fn cut(wire: &str, excess: f64, excess_standard_error: f64) -> CutRecord {
        let accuracy = Estimate::new(0.9, 0.88, 0.92);
        CutRecord { wire: wire.to_owned(), accuracy, excess, excess_standard_error, ..CutRecord::default() }
    }

    /// `layer3` is best and chosen, `features` the default.
    fn record(gain: Option<(f64, f64, f64)>) -> DepthRecord {
        let chosen = CutRecord {
            is_best: true,
            is_chosen: true,
            parameters: 1_200_000,
            milliseconds: 3.1,
            ..cut("layer3", 0.0, 0.0)
        };
        let default = CutRecord {
            is_default: true,
            parameters: 4_800_000,
            milliseconds: 6.2,
            ..cut("features", 0.05, 0.02)
        };
        let gain = gain.map(|(value, low, high)| PairedGain {
            estimate: Estimate::new(value, low, high),
            probability: 0.5,
        });
        let test = CutTest { wire: "layer3".to_owned(), accuracy: Estimate::new(0.91, 0.87, 0.94), gain };
        DepthRecord { cuts: vec![chosen, default], test: vec![test], n_test: 267, ..DepthRecord::default() }
    }

    fn judge(record: &DepthRecord) -> (Outcome, String) {
        let verdict = depth_verdict(record);
        (verdict.outcome, verdict.sentence)
    }

    const COSTS: &str = "The network needs 1.20\u{a0}M parameters instead of 4.80\u{a0}M (75 % fewer) and \
                         3.10\u{a0}ms an image instead of 6.20\u{a0}ms (50 % less).";

    #[test]
    fn an_interval_decides_between_better_worse_and_cannot_tell() {
        let (outcome, sentence) = judge(&record(Some((0.03, 0.01, 0.05))));
        assert_eq!(outcome, Outcome::Better);
        let difference = "3.0 points more of 267 test images are right than with the default features (95 % interval \
                          +1.0 to +5.0)";
        assert_eq!(sentence, format!("Cut at layer3: {difference}. {COSTS}"));
        let (outcome, sentence) = judge(&record(Some((0.01, -0.02, 0.04))));
        assert_eq!(outcome, Outcome::NotDistinguishable);
        assert!(sentence.contains("267 test images cannot tell it from the default features"), "{sentence}");
        let (outcome, sentence) = judge(&record(Some((-0.03, -0.05, -0.01))));
        assert_eq!(outcome, Outcome::Worse);
        assert!(sentence.contains("but 3.0 points fewer"), "{sentence}");
    }

    #[test]
    fn without_test_images_the_standard_error_decides() {
        let mut record = record(None);
        let (outcome, sentence) = judge(&record);
        assert_eq!(outcome, Outcome::NotMeasured);
        assert!(sentence.contains("is higher by 0.050 (standard error 0.020)"), "{sentence}");
        record.cuts[1].excess = 0.02;
        assert!(
            judge(&record).1.contains("it is as good as the default features, within one standard error")
        );
    }

    #[test]
    fn the_default_is_kept_where_it_was_chosen() {
        let mut record = record(None);
        record.cuts[0].is_chosen = false;
        record.cuts[1].is_chosen = true;
        assert!(judge(&record).1.contains("although the log-loss of layer3 is lower."));
        record.cuts[1].excess = 0.01;
        let (_, sentence) = judge(&record);
        assert!(sentence.starts_with("Keep the default cut: features is what"), "{sentence}");
        assert!(
            sentence.contains("as good as the best cut, layer3 (within one standard error)"),
            "{sentence}"
        );
        assert_eq!(judge(&DepthRecord::default()).0, Outcome::NotMeasured);
    }

    #[test]
    fn one_cut_is_no_choice() {
        let mut record = record(None);
        record.cuts.truncate(1);
        let (outcome, sentence) = judge(&record);
        assert_eq!(outcome, Outcome::NotMeasured);
        assert!(
            sentence.starts_with("Nothing was chosen: layer3 is the only cut that was judged. 91.0 %"),
            "{sentence}"
        );
        record.cuts[0].is_default = true;
        assert!(judge(&record).1.contains("judged, and what regraft fit takes by itself."));
    }

    #[test]
    fn random_weights_that_are_as_good_are_not_passed_over() {
        let mut record = record(None);
        assert_eq!(depth_verdict(&record).caution, None);
        record.cuts[0].random = Estimate::new(0.88, 0.86, 0.9);
        assert!(depth_verdict(&record).caution.unwrap().contains("it is not shown that this source helps"));
        record.cuts[0].random = Estimate::UNKNOWN;
        record.chance = 0.89;
        assert!(
            depth_verdict(&record).caution.unwrap().starts_with("The majority class alone reaches 89.0 %")
        );
    }

    #[test]
    fn a_changed_order_after_fine_tuning_is_said() {
        let tuning = |wire: &str, log_loss_before, log_loss_after| CutTuning {
            wire: wire.to_owned(),
            log_loss_before,
            log_loss_after,
            ..CutTuning::default()
        };
        let mut record = DepthRecord { tuned: vec![tuning("a", 0.3, 0.2)], ..DepthRecord::default() };
        assert_eq!(tuning_sentence(&record), None);
        record.tuned.push(tuning("b", 0.4, 0.25));
        assert!(tuning_sentence(&record).unwrap().contains("keeps the order: a has"));
        record.tuned[1].log_loss_after = 0.1;
        assert!(
            tuning_sentence(&record).unwrap().contains("a has the lowest log-loss, after the training b.")
        );
    }

    #[test]
    fn costs_are_compared_in_words() {
        assert_eq!(change(3.0, 4.0, ["less", "more"]), "25 % less");
        assert_eq!(change(5.0, 4.0, ["less", "more"]), "25 % more");
        assert_eq!(change(4.0, 4.0, ["less", "more"]), "the same");
        assert_eq!(
            (milliseconds(2.468), milliseconds(24.68)),
            ("2.47\u{a0}ms".to_owned(), "24.7\u{a0}ms".to_owned())
        );
    }
}
