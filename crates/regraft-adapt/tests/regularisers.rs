//! DELTA, batch spectral shrinkage, Co-Tuning and distillation against the formulations of the Transfer-Learning-Library
//! (`oracles/adapt_regularisers.py`), and their gradients against finite differences.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use ndarray::{Array, Array2, Array4, ArrayD, Axis, Dimension, IntoDimension, array};
use rand_distr::{Distribution as _, StandardNormal};
use regraft_adapt::AdaptError;
use regraft_adapt::training::{
    Targets, attentive_behavioural_regularisation, batch_spectral_shrinkage, behavioural_regularisation,
    category_relationship, channel_attention, co_tuning, knowledge_distillation, softmax_cross_entropy,
};
use regraft_system::random::stream;
use serde_json::Value;

fn golden(part: &str) -> Value {
    let path = format!("{}/tests/golden/regularisers.json", env!("CARGO_MANIFEST_DIR"));
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    all[part].clone()
}

/// Nested lists as an array.
fn numbers(value: &Value) -> ArrayD<f64> {
    let Some(list) = value.as_array() else { return ndarray::arr0(value.as_f64().unwrap()).into_dyn() };
    let parts: Vec<ArrayD<f64>> = list.iter().map(numbers).collect();
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    ndarray::stack(Axis(0), &views).unwrap()
}

fn singles<D: Dimension>(value: &Value) -> Array<f32, D> {
    numbers(value).mapv(|number| number as f32).into_dimensionality().unwrap()
}

fn indices(value: &Value) -> Vec<usize> {
    numbers(value).iter().map(|number| *number as usize).collect()
}

fn random<Shape: IntoDimension>(shape: Shape, seed: u64) -> Array<f32, Shape::Dim> {
    let mut stream = stream(seed, "regularisers", 0);
    Array::from_shape_simple_fn(shape.into_dimension(), || StandardNormal.sample(&mut stream))
}

/// The greatest relative difference of any number.
fn relative<D: Dimension>(found: &Array<f32, D>, expected: &Value) -> f64 {
    let expected = numbers(expected);
    assert_eq!(found.shape(), expected.shape());
    let differences =
        found.iter().zip(&expected).map(|(found, expected)| (f64::from(*found) / expected - 1.0).abs());
    differences.fold(0.0, f64::max)
}

fn same<D: Dimension>(what: &str, (value, gradient): &(f64, Array<f32, D>), case: &Value) {
    let of_value = (value / case["value"].as_f64().unwrap() - 1.0).abs();
    let of_gradient = relative(gradient, &case["gradient"]);
    assert!(
        of_value < 1e-9 && of_gradient < 1e-6,
        "{what}: value {of_value:.1e}, gradient {of_gradient:.1e}"
    );
}

#[test]
fn behavioural_regularisation_equals_tllib() {
    let golden = golden("feature_maps");
    let (tuned, source): (Array4<f32>, Array4<f32>) = (singles(&golden["tuned"]), singles(&golden["source"]));
    let attention: Vec<f32> = numbers(&golden["attention"]).iter().map(|weight| *weight as f32).collect();
    let plain = behavioural_regularisation(tuned.view(), source.view()).unwrap();
    same("plain", &plain, &golden["plain"]);
    let attentive = attentive_behavioural_regularisation(tuned.view(), source.view(), &attention).unwrap();
    same("attentive", &attentive, &golden["attentive"]);
    // Maps with channels last are the same maps.
    let turned = |map: &Array4<f32>| map.view().permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned();
    let [tuned, source] = [turned(&tuned), turned(&source)];
    let [tuned, source] = [tuned.view(), source.view()].map(|map| map.permuted_axes([0, 3, 1, 2]));
    assert_eq!(attentive_behavioural_regularisation(tuned, source, &attention).unwrap(), attentive);
}

#[test]
fn attention_equals_tllib() {
    for case in golden("attention").as_array().unwrap() {
        let losses = numbers(&case["losses"]).into_raw_vec_and_offset().0;
        let found = channel_attention(&losses).unwrap();
        let difference = relative(&Array::from(found.clone()), &case["weights"]);
        assert!(difference < 1e-6);
        // The loss of the whole network and the unit of the losses make no difference.
        let others: Vec<f64> = losses.iter().map(|loss| 3.0 * (loss - 0.25)).collect();
        let others = channel_attention(&others).unwrap();
        assert!(found.iter().zip(&others).all(|(one, other)| (one - other).abs() < 1e-6));
    }
    assert_eq!(channel_attention(&[0.3; 4]).unwrap(), [0.25; 4]);
    assert_eq!(channel_attention(&[0.7]).unwrap(), [1.0]);
    for losses in [&[][..], &[0.0, f64::NAN]] {
        assert!(channel_attention(losses).is_err());
    }
}

#[test]
fn spectral_shrinkage_equals_tllib() {
    for case in golden("spectra").as_array().unwrap() {
        let features: Array2<f32> = singles(&case["features"]);
        let k = case["k"].as_u64().unwrap() as usize;
        let found = batch_spectral_shrinkage(features.view(), k).unwrap();
        same(&format!("{:?} {k}", features.dim()), &found, case);
    }
}

#[test]
fn all_singular_values_are_the_norm_and_equal_rows_have_one_of_zero() {
    let features = random((5, 8), 0);
    let (value, gradient) = batch_spectral_shrinkage(features.view(), 5).unwrap();
    let squares: f64 = features.iter().map(|feature| f64::from(*feature).powi(2)).sum();
    assert!((value / squares - 1.0).abs() < 1e-12);
    assert!((gradient - 2.0 * &features).iter().all(|difference| difference.abs() < 1e-5));
    let (value, gradient) = batch_spectral_shrinkage(Array2::ones((4, 3)).view(), 1).unwrap();
    assert!(value < 1e-24 && gradient.iter().all(|number| number.abs() < 1e-12));
    assert_eq!(batch_spectral_shrinkage(Array2::zeros((4, 3)).view(), 3).unwrap().0, 0.0);
}

#[test]
fn co_tuning_equals_tllib() {
    let golden = golden("co_tuning");
    let probabilities: Array2<f32> = singles(&golden["probabilities"]);
    let classes = indices(&golden["classes"]);
    let relationship = category_relationship(probabilities.view(), &classes, 3).unwrap();
    let difference = relative(&relationship, &golden["relationship"]);
    assert!(difference < 1e-6);
    let logits: Array2<f32> = singles(&golden["logits"]);
    let labels = indices(&golden["labels"]);
    same("co-tuning", &co_tuning(logits.view(), &labels, relationship.view()).unwrap(), &golden);
    // A relationship of names alone is plain cross-entropy.
    let known = co_tuning(logits.view(), &labels, Array2::eye(7).view()).unwrap();
    assert_eq!(known, softmax_cross_entropy(logits.view(), Targets::Classes(&labels), 0.0).unwrap());
}

#[test]
fn distillation_equals_tllib() {
    let golden = golden("distillation");
    let (tuned, source): (Array2<f32>, Array2<f32>) = (singles(&golden["tuned"]), singles(&golden["source"]));
    for case in golden["cases"].as_array().unwrap() {
        let temperature = case["temperature"].as_f64().unwrap();
        let found = knowledge_distillation(tuned.view(), source.view(), temperature).unwrap();
        same(&format!("distillation at {temperature}"), &found, case);
    }
    let (value, gradient) = knowledge_distillation(source.view(), source.view(), 2.0).unwrap();
    assert!(value == 0.0 && gradient.iter().all(|number| *number == 0.0));
    let (far, near) = (array![[3e38, -3e38]], array![[0.0, 0.0]]);
    let (value, gradient) = knowledge_distillation(near.view(), far.view(), 1.0).unwrap();
    assert!((value - 2f64.ln()).abs() < 1e-12 && gradient == array![[-0.5, 0.5]]);
}

/// The gradient of `loss` at `at` is that of central differences, within a thousandth of its greatest number.
fn differentiable<D: Dimension>(at: &Array<f32, D>, loss: impl Fn(&Array<f32, D>) -> (f64, Array<f32, D>)) {
    const STEP: f32 = 1.0 / 128.0;
    let (_, gradient) = loss(at);
    let greatest = gradient.iter().fold(0f32, |greatest, number| greatest.max(number.abs()));
    assert!(greatest > 0.0);
    for (place, found) in gradient.iter().enumerate() {
        let shifted = |by: f32| {
            let mut at = at.clone();
            let number = at.iter_mut().nth(place).unwrap();
            *number += by;
            (f64::from(*number), loss(&at).0)
        };
        let ((before, less), (after, more)) = (shifted(-STEP), shifted(STEP));
        let expected = (more - less) / (after - before);
        let difference = (f64::from(*found) - expected).abs();
        assert!(difference < 1e-3 * f64::from(greatest), "{place}: {found} {expected}");
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for seed in 0..10 {
        let (tuned, source) = (random((2, 3, 2, 4), seed), random((2, 3, 2, 4), seed + 100));
        differentiable(&tuned, |tuned| behavioural_regularisation(tuned.view(), source.view()).unwrap());
        let attention = channel_attention(&[0.1, 0.3, -0.2]).unwrap();
        differentiable(&tuned, |tuned| {
            attentive_behavioural_regularisation(tuned.view(), source.view(), &attention).unwrap()
        });

        for shape in [(3, 7), (6, 4)] {
            // Singular values of noise may be too near each other for a finite step.
            let apart = Array2::from_diag(&Array::range(1.0, 8.0, 1.0));
            let features = random(shape, seed) * 0.1 + apart.slice(ndarray::s![..shape.0, ..shape.1]);
            differentiable(&features, |features| batch_spectral_shrinkage(features.view(), 2).unwrap());
        }

        let (tuned, source) = (random((3, 4), seed) * 3.0, random((3, 4), seed + 100) * 3.0);
        differentiable(&tuned, |tuned| knowledge_distillation(tuned.view(), source.view(), 2.0).unwrap());
        let relationship = array![[0.5, 0.25, 0.25, 0.0], [0.1, 0.2, 0.3, 0.4]];
        differentiable(&tuned, |tuned| co_tuning(tuned.view(), &[1, 0, 1], relationship.view()).unwrap());
    }
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    let map = |shape: (usize, usize, usize, usize)| Array4::<f32>::zeros(shape);
    let refused = |tuned, source, attention: &[f32]| {
        attentive_behavioural_regularisation(map(tuned).view(), map(source).view(), attention).unwrap_err()
    };
    let shape = |error| matches!(error, AdaptError::Shape { .. });
    assert!(shape(refused((1, 2, 3, 3), (1, 2, 3, 4), &[0.5; 2])));
    assert!(shape(refused((1, 2, 3, 3), (2, 2, 3, 3), &[0.5; 2])));
    assert!(shape(refused((1, 2, 3, 3), (1, 2, 3, 3), &[0.5; 3])));
    for empty in [(0, 2, 3, 3), (1, 0, 3, 3), (1, 2, 0, 3)] {
        assert!(behavioural_regularisation(map(empty).view(), map(empty).view()).is_err());
        assert!(matches!(refused(empty, empty, &vec![0.5; empty.1]), AdaptError::Empty { .. }));
    }
}

#[test]
fn numbers_of_singular_values_that_are_not_there_are_refused() {
    let refused = |features: &Array2<f32>, k| batch_spectral_shrinkage(features.view(), k).unwrap_err();
    let features = random((4, 6), 0);
    assert!(refused(&features, 5).to_string().contains("4×6"));
    assert!(matches!(refused(&features, 0), AdaptError::SingularValues { found: 0, rows: 4, columns: 6 }));
    for empty in [(0, 3), (3, 0), (0, 0)] {
        assert!(matches!(refused(&Array2::zeros(empty), 1), AdaptError::Empty { .. }));
    }
    for number in [f32::NAN, f32::INFINITY] {
        let mut features = features.clone();
        features[[2, 1]] = number;
        assert_eq!(refused(&features, 1), AdaptError::NonFinite { row: 2, column: 1 });
    }
    // The greatest features there are.
    let (value, gradient) = batch_spectral_shrinkage((Array2::eye(3) * f32::MAX).view(), 3).unwrap();
    assert!(value.is_finite() && gradient[[0, 0]] == f32::INFINITY);
}

#[test]
fn classes_that_are_not_there_are_refused() {
    let probabilities = Array2::from_elem((3, 2), 0.5f32);
    let refused =
        |labels: &[usize], classes| category_relationship(probabilities.view(), labels, classes).unwrap_err();
    assert_eq!(refused(&[0, 2, 0], 3), AdaptError::EmptyClass { class: 1 });
    assert!(matches!(refused(&[0, 2, 0], 2), AdaptError::LabelOutOfRange { row: 1, label: 2, classes: 2 }));
    assert!(matches!(refused(&[0, 1], 2), AdaptError::Shape { .. }));
    assert!(matches!(refused(&[], 0), AdaptError::Empty { .. }));
    let unknown = Array2::from_elem((2, 2), f32::NAN);
    assert_eq!(
        category_relationship(unknown.view(), &[0, 1], 2),
        Err(AdaptError::NonFinite { row: 0, column: 0 })
    );

    let logits = Array2::<f32>::zeros((2, 3));
    let loss = |labels: &[usize], shape| co_tuning(logits.view(), labels, Array2::zeros(shape).view());
    assert!(matches!(loss(&[0, 2], (2, 3)), Err(AdaptError::LabelOutOfRange { label: 2, .. })));
    assert!(matches!(loss(&[0], (2, 3)), Err(AdaptError::Shape { .. })));
    assert!(matches!(loss(&[0, 1], (2, 4)), Err(AdaptError::Shape { .. })));
}

#[test]
fn distillation_of_what_does_not_fit_is_refused() {
    let loss = |tuned, source, temperature| {
        knowledge_distillation(Array2::zeros(tuned).view(), Array2::zeros(source).view(), temperature)
    };
    assert!(matches!(loss((2, 3), (3, 3), 1.0), Err(AdaptError::Shape { .. })));
    assert!(matches!(loss((2, 3), (2, 4), 1.0), Err(AdaptError::Shape { .. })));
    assert!(matches!(loss((0, 3), (0, 3), 1.0), Err(AdaptError::Empty { .. })));
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(loss((2, 3), (2, 3), temperature), Err(AdaptError::HyperParameter { .. })));
    }
}
