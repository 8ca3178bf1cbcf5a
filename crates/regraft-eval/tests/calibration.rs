//! Temperatures against scipy and by the conditions that an optimum meets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use ndarray::{Array2, array};
use regraft_eval::calibration::{MAX_TEMPERATURE, ece_reference, fit_temperature, softmax_with_temperature};
use regraft_eval::metrics::{expected_calibration_error, log_loss, predicted};
use regraft_eval::{Error, intervals::Bootstrap};
use serde_json::Value;
use support::{array, assert_close, calibrated, list, number, with_threads};

fn cases() -> Vec<(Value, Array2<f64>, Vec<usize>)> {
    let golden: Vec<Value> = serde_json::from_str(include_str!("golden/calibration.json")).unwrap();
    golden.into_iter().map(|case| (case.clone(), array(&case["logits"]), list(&case["labels"]))).collect()
}

#[test]
fn temperature_equals_scipy() {
    for (case, logits, labels) in cases() {
        let temperature = fit_temperature(logits.view(), &labels).unwrap();
        let expected = number(&case["temperature"]);
        let error = (temperature / expected - 1.0).abs();
        println!("{}: T {temperature}, relative error {error:e}", case["name"]);
        assert!(error < 1e-9, "{}: {temperature} and not {expected}", case["name"]);
        let p = softmax_with_temperature(logits.view(), temperature).unwrap();
        assert_close(log_loss(&labels, p.view()).unwrap(), number(&case["log_loss"]), 1e-12, "log-loss");
        for (found, expected) in p.row(0).iter().zip(list::<f64>(&case["first_softmax"])) {
            assert_close(*found, expected, 1e-9, "softmax");
        }
    }
}

#[test]
fn a_well_specified_model_has_temperature_one_on_its_training_data() {
    let (_, logits, labels) = cases().pop().unwrap();
    assert_close(fit_temperature(logits.view(), &labels).unwrap(), 1.0, 1e-4, "temperature");
}

#[test]
fn at_the_optimum_the_expected_logit_is_the_observed_one() {
    for (case, logits, labels) in cases() {
        let temperature = fit_temperature(logits.view(), &labels).unwrap();
        let p = softmax_with_temperature(logits.view(), temperature).unwrap();
        let observed: f64 = labels.iter().enumerate().map(|(item, &label)| logits[[item, label]]).sum();
        let expected = (&p * &logits).sum();
        assert_close(observed, expected, 1e-8 * (1.0 + expected.abs()), &case["name"].to_string());
        let before = softmax_with_temperature(logits.view(), 1.0).unwrap();
        assert_eq!(predicted(before.view()).unwrap(), predicted(p.view()).unwrap());
        assert!(log_loss(&labels, p.view()).unwrap() <= log_loss(&labels, before.view()).unwrap() + 1e-15);
    }
}

#[test]
fn without_an_optimum_the_end_of_the_range_is_returned() {
    let sure = array![[50.0, 0.0], [0.0, 50.0]];
    assert_eq!(fit_temperature(sure.view(), &[0, 1]).unwrap(), 1.0 / MAX_TEMPERATURE);
    assert_eq!(fit_temperature(sure.view(), &[1, 0]).unwrap(), MAX_TEMPERATURE);
    assert_eq!(fit_temperature(array![[3.0, 3.0]].view(), &[1]).unwrap(), 1.0);
    assert_eq!(fit_temperature(array![[3.0]].view(), &[0]).unwrap(), 1.0);
    let huge = array![[1e300, -1e300], [-1e300, 1e300]];
    assert_eq!(fit_temperature(huge.view(), &[0, 1]).unwrap(), 1.0 / MAX_TEMPERATURE);
    assert_eq!(fit_temperature((&huge * 1e8).view(), &[0, 1]).unwrap(), 1.0 / MAX_TEMPERATURE);
    assert_eq!(fit_temperature((&huge * 1e8).view(), &[1, 1]).unwrap(), MAX_TEMPERATURE);
}

#[test]
fn a_scale_of_the_logits_is_a_scale_of_the_temperature() {
    let (labels, p) = calibrated(300, 4, 4.0, 3);
    let logits = p.mapv(f64::ln);
    let temperature = fit_temperature(logits.view(), &labels).unwrap();
    for scale in [0.05, 0.5, 7.0, 60.0] {
        let scaled = fit_temperature((&logits * scale).view(), &labels).unwrap();
        assert_close(scaled / (scale * temperature), 1.0, 1e-11, "ratio");
    }
}

#[test]
fn the_threads_do_not_change_a_bit() {
    let (labels, p) = calibrated(3000, 4, 4.0, 3);
    let fit = || fit_temperature(p.mapv(f64::ln).view(), &labels).unwrap().to_bits();
    assert_eq!(with_threads(1, fit), with_threads(7, fit));
    let chance = || ece_reference(p.view(), 50, 1).unwrap();
    assert_eq!(with_threads(1, chance), with_threads(7, chance));
}

#[test]
fn a_calibrated_model_shows_the_reference_error() {
    let chance = ece_reference(calibrated(200, 3, 3.0, 7).1.view(), 2000, 0).unwrap();
    let observed: Vec<f64> = (0..300)
        .map(|seed| {
            let (labels, p) = calibrated(200, 3, 3.0, seed + 100);
            expected_calibration_error(&labels, p.view(), 15).unwrap()
        })
        .collect();
    let mean = observed.iter().sum::<f64>() / 300.0;
    let deviation = (observed.iter().map(|ece| (ece - mean).powi(2)).sum::<f64>() / 299.0).sqrt();
    println!("reference {chance:?}, observed {mean} ± {deviation}");
    assert_close(chance.mean, mean, 0.1 * deviation.max(chance.deviation) + 0.004, "mean");
    assert_close(chance.deviation / deviation, 1.0, 0.2, "deviation");
}

#[test]
fn bad_input_is_named() {
    let logits = array![[1.0, 2.0]];
    assert!(matches!(fit_temperature(logits.view(), &[]), Err(Error::Empty { .. })));
    assert!(matches!(fit_temperature(logits.view(), &[2]), Err(Error::LabelOutOfRange { .. })));
    assert!(matches!(fit_temperature(array![[1.0, f64::NAN]].view(), &[0]), Err(Error::NotFinite { .. })));
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(softmax_with_temperature(logits.view(), temperature).is_err(), "{temperature}");
    }
    assert!(softmax_with_temperature(array![[f64::INFINITY]].view(), 1.0).is_err());
    assert!(ece_reference(array![[0.5, 0.5]].view(), 1, 0).is_err());
    assert!(ece_reference(Array2::zeros((0, 2)).view(), Bootstrap::default().resamples, 0).is_err());
}
