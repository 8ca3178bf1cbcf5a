//! Every metric against scikit-learn, and what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use ndarray::{Array2, array};
use regraft_eval::{Error, metrics};
use serde_json::Value;
use support::{array, assert_close, list, number};

fn golden() -> Vec<Value> {
    serde_json::from_str(include_str!("golden/metrics.json")).unwrap()
}

fn cases() -> impl Iterator<Item = (Value, Vec<usize>, Array2<f64>)> {
    golden().into_iter().map(|case| {
        let (labels, probabilities) = (list(&case["labels"]), array(&case["probabilities"]));
        (case, labels, probabilities)
    })
}

#[test]
fn headline_metrics_equal_scikit_learn() {
    for (case, labels, p) in cases() {
        let found = metrics::metrics(&labels, p.view()).unwrap();
        let pairs = [
            ("accuracy", found.accuracy, metrics::accuracy(&labels, p.view())),
            ("balanced_accuracy", found.balanced_accuracy, metrics::balanced_accuracy(&labels, p.view())),
            ("macro_f1", found.macro_f1, metrics::macro_f1(&labels, p.view())),
            ("log_loss", found.log_loss, metrics::log_loss(&labels, p.view())),
            ("brier", found.brier, metrics::brier(&labels, p.view())),
        ];
        for (name, bundled, alone) in pairs {
            let what = format!("{} of {}", name, case["name"]);
            assert_close(bundled, number(&case[name]), 1e-12, &what);
            assert_close(alone.unwrap(), number(&case[name]), 1e-12, &what);
        }
        assert_close(found.ece, number(&case["ece"]["15"]), 1e-12, "ece");
        assert_close(found.top_5_accuracy, number(&case["top_k"]["5"]), 1e-12, "top 5");
    }
}

#[test]
fn top_k_and_calibration_error_equal_the_oracle() {
    for (case, labels, p) in cases() {
        for (k, expected) in case["top_k"].as_object().unwrap() {
            let found = metrics::top_k_accuracy(&labels, p.view(), k.parse().unwrap()).unwrap();
            assert_close(found, number(expected), 1e-12, &format!("top {k} of {}", case["name"]));
        }
        for (bins, expected) in case["ece"].as_object().unwrap() {
            let found =
                metrics::expected_calibration_error(&labels, p.view(), bins.parse().unwrap()).unwrap();
            assert_close(found, number(expected), 1e-12, &format!("ece of {}", case["name"]));
        }
    }
}

#[test]
fn per_class_metrics_and_confusion_equal_scikit_learn() {
    for (case, labels, p) in cases() {
        for (class, found) in metrics::per_class(&labels, p.view()).unwrap().iter().enumerate() {
            assert_close(found.precision, number(&case["precision"][class]), 1e-12, "precision");
            assert_close(found.recall, number(&case["recall"][class]), 1e-12, "recall");
            assert_close(found.f1, number(&case["f1"][class]), 1e-12, "f1");
            assert_eq!(found.support as u64, case["support"][class].as_u64().unwrap());
        }
        let confusion = metrics::confusion_matrix(&labels, p.view()).unwrap();
        let expected: Vec<Vec<usize>> = list(&case["confusion"]);
        assert_eq!(confusion.into_raw_vec_and_offset().0, expected.concat(), "{}", case["name"]);
    }
}

#[test]
fn lists_agree_with_their_means() {
    let (labels, p) = support::calibrated(50, 3, 4.0, 1);
    let losses = metrics::log_losses(&labels, p.view()).unwrap();
    let mean = losses.iter().sum::<f64>() / 50.0;
    assert_close(mean, metrics::log_loss(&labels, p.view()).unwrap(), 1e-15, "log-loss");
    let predicted = metrics::predicted(p.view()).unwrap();
    let right = predicted.iter().zip(&labels).filter(|(a, b)| a == b).count();
    assert_eq!(right as f64 / 50.0, metrics::accuracy(&labels, p.view()).unwrap());
}

#[test]
fn bad_input_is_named() {
    let p = array![[0.5, 0.5], [0.1, 0.9]];
    let fails = |labels: &[usize], p: &Array2<f64>| metrics::metrics(labels, p.view()).unwrap_err();
    assert_eq!(fails(&[], &Array2::zeros((0, 2))), Error::Empty { what: "the list of labels" });
    assert_eq!(fails(&[0, 1], &Array2::zeros((2, 0))), Error::Empty { what: "the list of classes" });
    assert!(matches!(fails(&[0], &p), Error::Shape { expected: 1, found: 2, .. }));
    assert_eq!(fails(&[0, 2], &p), Error::LabelOutOfRange { item: 1, label: 2, classes: 2 });
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let refused = fails(&[0, 1], &array![[0.5, 0.5], [0.1, bad]]);
        assert_eq!(refused, Error::NotFinite { what: "the probability", item: 1, column: 1 });
    }
    let refused = fails(&[0, 1], &array![[3.5, -1.5], [0.1, 0.9]]);
    assert_eq!(refused, Error::NotAProbability { item: 0, class: 0, value: 3.5 });
    assert!(matches!(fails(&[0, 1], &array![[0.5, 0.5], [0.1, 0.8]]), Error::NotNormalised { item: 1, .. }));
    assert!(metrics::top_k_accuracy(&[0, 1], p.view(), 0).is_err());
    for bins in [0, usize::MAX] {
        assert!(metrics::expected_calibration_error(&[0, 1], p.view(), bins).is_err());
    }
    assert!(metrics::predicted(Array2::zeros((0, 2)).view()).is_err());
}

#[test]
fn names_in_json_are_the_fields_of_the_metrics() {
    let found = metrics::metrics(&[0, 1], array![[0.5, 0.5], [0.1, 0.9]].view()).unwrap();
    let json = serde_json::to_value(found).unwrap();
    use metrics::Metric::*;
    for metric in [Accuracy, BalancedAccuracy, MacroF1, Top5Accuracy, LogLoss, Brier, Ece] {
        let name = serde_json::to_value(metric).unwrap();
        assert_eq!(json[name.as_str().unwrap()], *found.get(metric), "{name}");
    }
}
