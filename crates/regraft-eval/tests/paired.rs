//! Paired tests against scipy and by the rejections of simulated null experiments.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use ndarray::{Array2, array};
use rand::RngExt as _;
use regraft_eval::Error;
use regraft_eval::intervals::Bootstrap;
use regraft_eval::metrics::{Metric, metrics};
use regraft_eval::paired::{corrected_resampled_t, mcnemar, paired_bootstrap};
use serde_json::Value;
use support::{array, assert_close, calibrated, list, number, with_threads};

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/paired.json")).unwrap()
}

fn quick(resamples: usize, seed: u64) -> Bootstrap {
    Bootstrap { resamples, seed, ..Default::default() }
}

#[test]
fn differences_agree_with_scipy_within_monte_carlo_error() {
    let golden: Value = serde_json::from_str(include_str!("golden/intervals.json")).unwrap();
    let (labels, a, b): (Vec<usize>, _, _) =
        (list(&golden["labels"]), array(&golden["a"]), array(&golden["b"]));
    for (name, expected) in golden["differences"].as_object().unwrap() {
        let metric: Metric = serde_json::from_value(Value::from(name.as_str())).unwrap();
        let found = paired_bootstrap(&labels, a.view(), b.view(), metric, &quick(8000, 5)).unwrap();
        let sigma = number(&expected["standard_error"]);
        assert_close(found.difference.value, number(&expected["value"]), 1e-12, name);
        assert_close(found.difference.low, number(&expected["low"]), 0.2 * sigma, name);
        assert_close(found.difference.high, number(&expected["high"]), 0.2 * sigma, name);
        let positive = number(&expected["share_positive"]);
        let better = if metric.higher_is_better() { positive } else { 1.0 - positive };
        assert_close(found.probability_a_better, better, 0.02, name);
    }
}

#[test]
fn swapping_the_two_changes_the_sign_only() {
    let (labels, a) = calibrated(80, 3, 5.0, 1);
    let b = calibrated(80, 3, 3.0, 2).1;
    let values = [&a, &b].map(|p| metrics(&labels, p.view()).unwrap());
    for metric in [Metric::Accuracy, Metric::BalancedAccuracy, Metric::MacroF1, Metric::LogLoss, Metric::Ece]
    {
        let forward = paired_bootstrap(&labels, a.view(), b.view(), metric, &quick(301, 3)).unwrap();
        let backward = paired_bootstrap(&labels, b.view(), a.view(), metric, &quick(301, 3)).unwrap();
        assert_eq!(forward.difference.value, values[0].get(metric) - values[1].get(metric));
        assert_close(forward.difference.low, -backward.difference.high, 1e-12, "low");
        assert_close(forward.probability_a_better, 1.0 - backward.probability_a_better, 1e-12, "probability");
    }
}

#[test]
fn equal_predictions_show_no_evidence_but_keep_their_doubt() {
    let p = array![[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]];
    let found = paired_bootstrap(&[0, 1, 0], p.view(), p.view(), Metric::Accuracy, &quick(100, 0)).unwrap();
    assert_eq!((found.difference.value, found.probability_a_better), (0.0, 0.5));
    assert_close(
        found.difference.high,
        1.959_963_984_540_054 / 5.0,
        1e-12,
        "Agresti and Min with no discordant pair",
    );
}

#[test]
fn the_threads_do_not_change_a_bit() {
    let (labels, a) = calibrated(150, 3, 5.0, 1);
    let b = calibrated(150, 3, 3.0, 2).1;
    let run = || paired_bootstrap(&labels, a.view(), b.view(), Metric::LogLoss, &quick(200, 3)).unwrap();
    assert_eq!(with_threads(1, run), with_threads(5, run));
}

#[test]
fn differences_cover_the_truth() {
    // A and B are right independently of each other with probabilities 0.8 and 0.7.
    let sample = |seed: u64| {
        let mut stream = regraft_system::random::stream(seed, "two classifiers", 0);
        let labels = vec![0; 40];
        let [a, b] = [0.8, 0.7].map(|right| {
            let rows =
                (0..40).flat_map(|_| if stream.random::<f64>() < right { [0.9, 0.1] } else { [0.1, 0.9] });
            Array2::from_shape_vec((40, 2), rows.collect()).unwrap()
        });
        (labels, a, b)
    };
    let covers = |seed: u64| {
        let (labels, a, b) = sample(seed);
        let found =
            paired_bootstrap(&labels, a.view(), b.view(), Metric::Accuracy, &quick(400, seed)).unwrap();
        found.difference.low <= 0.1 && 0.1 <= found.difference.high
    };
    let share = (0..400).filter(|&seed| covers(seed)).count() as f64 / 400.0;
    assert!((0.917..0.995).contains(&share), "{share}");
}

#[test]
fn mcnemar_equals_scipy() {
    for case in golden()["mcnemar"].as_array().unwrap() {
        let count = |name: &str| case[name].as_u64().unwrap() as usize;
        let (only_a, only_b) = (count("only_a"), count("only_b"));
        let labels = vec![0; only_a + only_b + 1];
        let a: Vec<usize> = (0..labels.len()).map(|item| usize::from(item >= only_a)).collect();
        let b: Vec<usize> =
            (0..labels.len()).map(|item| usize::from(item < only_a || item == only_a + only_b)).collect();
        let found = mcnemar(&labels, &a, &b).unwrap();
        assert_eq!((found.only_a, found.only_b), (only_a, only_b));
        let expected = number(&case["p_value"]);
        assert_close(found.p_value, expected, 1e-10 * expected, "p");
    }
}

#[test]
fn corrected_t_equals_scipy() {
    for case in golden()["resampled_t"].as_array().unwrap() {
        let differences: Vec<f64> = list(&case["differences"]);
        let found =
            corrected_resampled_t(&differences, number(&case["ratio"]), number(&case["confidence"])).unwrap();
        let relative = |found: f64, name: &str| {
            let expected = number(&case[name]);
            assert_close(found, expected, 1e-10 * expected.abs(), name);
        };
        relative(found.t, "t");
        relative(found.p_value, "p_value");
        relative(found.standard_error, "standard_error");
        relative(found.difference.low, "low");
        relative(found.difference.high, "high");
    }
}

#[test]
fn constant_differences() {
    let none = corrected_resampled_t(&[0.0; 5], 0.25, 0.95).unwrap();
    assert_eq!((none.t, none.p_value), (0.0, 1.0));
    let some = corrected_resampled_t(&[0.5; 5], 0.25, 0.95).unwrap();
    assert_eq!((some.t, some.p_value, some.difference.low), (f64::INFINITY, 0.0, 0.5));
}

/// Differences in accuracy, over 5 × 10-fold cross-validation of 60 items, between two learners that are equally good:
/// each takes the mean of one of two exchangeable features in either class and assigns the nearer one.
fn null_experiment(seed: u64) -> Vec<f64> {
    let mut stream = regraft_system::random::stream(seed, "null experiment", 0);
    let mut normal = || (0..12).map(|_| stream.random::<f64>()).sum::<f64>() - 6.0;
    let labels: Vec<usize> = (0..60).map(|item| item % 2).collect();
    let features: Vec<[f64; 2]> =
        labels.iter().map(|&label| [0, 1].map(|_| normal() + label as f64)).collect();
    let mut order: Vec<usize> = (0..60).collect();
    let mut differences = Vec::new();
    for _ in 0..5 {
        regraft_system::random::shuffle(&mut order, &mut stream);
        for fold in order.chunks(6) {
            let right = [0, 1].map(|feature| nearest_mean(&features, &labels, fold, feature));
            differences.push((right[0] as f64 - right[1] as f64) / fold.len() as f64);
        }
    }
    differences
}

fn nearest_mean(features: &[[f64; 2]], labels: &[usize], test: &[usize], feature: usize) -> usize {
    let (mut sum, mut count) = ([0.0; 2], [0.0; 2]);
    for item in (0..labels.len()).filter(|item| !test.contains(item)) {
        sum[labels[item]] += features[item][feature];
        count[labels[item]] += 1.0;
    }
    let middle = (sum[0] / count[0] + sum[1] / count[1]) / 2.0;
    test.iter().filter(|&&item| usize::from(features[item][feature] > middle) == labels[item]).count()
}

#[test]
fn equally_good_learners_are_rarely_told_apart() {
    let experiments: Vec<Vec<f64>> = (0..1000).map(null_experiment).collect();
    let rejections = |ratio: f64| {
        let rejected = |d: &&Vec<f64>| corrected_resampled_t(d, ratio, 0.95).unwrap().p_value < 0.05;
        experiments.iter().filter(rejected).count() as f64 / 1000.0
    };
    let (corrected, naive) = (rejections(1.0 / 9.0), rejections(0.0));
    println!("rejections at 5 %: corrected {corrected}, without the correction {naive}");
    assert!(corrected <= 0.06, "{corrected}");
    assert!(naive > 0.15, "the experiment does not show the problem: {naive}");
}

#[test]
fn bad_input_is_named() {
    let two = array![[0.5, 0.5]];
    let three = array![[0.5, 0.2, 0.3]];
    let refused = paired_bootstrap(&[0], two.view(), three.view(), Metric::Brier, &quick(10, 0));
    assert!(matches!(refused, Err(Error::Shape { expected: 2, found: 3, .. })));
    assert!(mcnemar(&[], &[], &[]).is_err() && mcnemar(&[0], &[0], &[0, 1]).is_err());
    assert!(matches!(corrected_resampled_t(&[0.1], 0.1, 0.95), Err(Error::TooFew { .. })));
    assert!(corrected_resampled_t(&[0.1, 0.2], -1.0, 0.95).is_err());
    assert!(corrected_resampled_t(&[0.1, f64::NAN], 0.1, 0.95).is_err());
    assert!(corrected_resampled_t(&[0.1, 0.2], 0.1, 1.5).is_err());
}
