//! The one-standard-error rule and learning curves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use ndarray::{Array2, array};
use regraft_eval::Error;
use regraft_eval::curve::{Axis, area_between_curves, area_under_curve, learning_curve};
use regraft_eval::intervals::{Bootstrap, mean_with_t_interval};
use regraft_eval::selection::one_standard_error;
use support::assert_close;

#[test]
fn table_holds_means_and_paired_errors() {
    let scores = array![[0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0]];
    let found = one_standard_error(scores.view()).unwrap();
    let simple = found.table[0];
    assert_eq!((simple.mean, simple.deficit), (0.5, 0.25));
    // Sample deviation √(1/3) of (0,1,0,1), and ½ of the differences (1,0,0,0); both over √4.
    assert_close(simple.standard_error, (1.0_f64 / 3.0).sqrt() / 2.0, 1e-15, "standard error");
    assert_close(simple.deficit_standard_error, 0.25, 1e-15, "paired standard error");
    assert_eq!((found.table[1].deficit, found.table[1].deficit_standard_error), (0.0, 0.0));
    assert_eq!((found.chosen, found.best), (0, 1));
}

#[test]
fn a_clear_deficit_is_not_forgiven() {
    // The first loses on 5 of 10 items, which is three standard errors; the unpaired rule would look at other numbers.
    let scores = Array2::from_shape_fn((3, 10), |(candidate, item)| match candidate {
        0 => f64::from(u8::from(item >= 5)),
        _ => 1.0,
    });
    let found = one_standard_error(scores.view()).unwrap();
    assert_eq!((found.chosen, found.best), (1, 1));
}

#[test]
fn what_is_hard_for_both_does_not_blur_the_comparison() {
    // Losses vary widely over the items, but the second candidate is better by 0.1 ± a little on every one of them.
    let scores = Array2::from_shape_fn((2, 40), |(candidate, item)| {
        -(item as f64) + 0.1 * candidate as f64 + 0.001 * (candidate * item % 3) as f64
    });
    let found = one_standard_error(scores.view()).unwrap();
    assert!(found.table[0].deficit < found.table[0].standard_error / 10.0);
    assert_eq!(found.chosen, 1);
}

#[test]
fn order_decides_among_equals_and_one_item_has_no_error() {
    let equal = Array2::from_elem((3, 5), 0.5);
    assert_eq!(one_standard_error(equal.view()).unwrap().chosen, 0);
    let single = one_standard_error(array![[0.1], [0.3], [0.2]].view()).unwrap();
    assert_eq!((single.chosen, single.best), (1, 1));
    assert!(matches!(one_standard_error(Array2::zeros((0, 3)).view()), Err(Error::Empty { .. })));
    assert!(matches!(one_standard_error(Array2::zeros((3, 0)).view()), Err(Error::Empty { .. })));
    assert!(matches!(
        one_standard_error(array![[0.0], [f64::NAN]].view()),
        Err(Error::NotFinite { item: 1, .. })
    ));
}

#[test]
fn curve_points_have_t_intervals_and_from_twenty_repetitions_on_bootstrapped_ones() {
    let few = vec![0.5, 0.6, 0.7];
    let many: Vec<f64> = (0..25).map(|i| 0.8 + 0.01 * f64::from(i % 5)).collect();
    let curve = learning_curve(&[(10, few.clone()), (20, many.clone())], &Bootstrap::default()).unwrap();
    assert_eq!(curve[0].score, mean_with_t_interval(&few, 0.95).unwrap());
    assert_eq!((curve[0].items, curve[0].repetitions, curve[1].repetitions), (10, 3, 25));
    let t = mean_with_t_interval(&many, 0.95).unwrap();
    assert!(curve[1].score.low <= t.low && curve[1].score.high >= t.high);
    assert_close(curve[1].score.high - curve[1].score.low, t.high - t.low, 0.1 * (t.high - t.low), "width");
}

#[test]
fn areas_are_mean_heights() {
    let x = [10.0, 20.0, 40.0];
    let (a, b) = ([0.5, 0.7, 0.9], [0.4, 0.5, 0.8]);
    let linear = (10.0 * 0.6 + 20.0 * 0.8) / 30.0;
    assert_close(area_under_curve(&x, &a, Axis::Linear).unwrap(), linear, 1e-15, "linear");
    assert_close(area_under_curve(&x, &a, Axis::Logarithmic).unwrap(), 0.7, 1e-15, "logarithmic");
    let between = area_between_curves(&x, &a, &b, Axis::Logarithmic).unwrap();
    assert_close(between, 0.7 - (0.45 + 0.65) / 2.0, 1e-15, "between");
}

#[test]
fn bad_curves_are_named() {
    let area = |x: &[f64], y: &[f64], axis| area_under_curve(x, y, axis).unwrap_err();
    assert!(matches!(area(&[1.0], &[1.0], Axis::Linear), Error::TooFew { .. }));
    assert!(matches!(area(&[1.0, 2.0], &[1.0], Axis::Linear), Error::Shape { .. }));
    assert_eq!(area(&[1.0, 1.0], &[1.0, 1.0], Axis::Linear), Error::NotAscending { position: 1 });
    assert_eq!(area(&[f64::NAN, 1.0], &[1.0, 1.0], Axis::Linear), Error::NotAscending { position: 0 });
    assert!(matches!(area(&[0.0, 1.0], &[1.0, 1.0], Axis::Logarithmic), Error::Setting { .. }));
    assert!(matches!(area(&[1.0, 2.0], &[1.0, f64::NAN], Axis::Linear), Error::NotFinite { item: 1, .. }));
    let curve = |scores: &[(usize, Vec<f64>)]| learning_curve(scores, &Bootstrap::default()).unwrap_err();
    assert!(matches!(curve(&[]), Error::Empty { .. }));
    assert!(matches!(curve(&[(10, vec![0.5])]), Error::TooFew { found: 1, needed: 2, .. }));
    assert!(matches!(
        curve(&[(10, vec![0.5, 0.6]), (5, vec![0.5, 0.6])]),
        Error::NotAscending { position: 1 }
    ));
}
