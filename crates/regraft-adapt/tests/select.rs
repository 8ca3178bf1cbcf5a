//! Selection on real features against LogisticRegressionCV (`oracles/adapt_selection.py`), no leakage, the same bits for
//! any number of threads, and what happens to unusable input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use ndarray::{Array2, Axis, array};
use regraft_adapt::{AdaptError, Examples, Head, HeadKind, Partition, Selection, fit_fixed, select};
use regraft_eval::calibration::softmax_with_temperature;

const CLASSES: usize = 9;

struct Data {
    train: Array2<f32>,
    test: Array2<f32>,
    train_labels: Vec<usize>,
    test_labels: Vec<usize>,
}

fn golden(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    regraft_system::files::read(&folder.join(name)).unwrap().to_vec()
}

fn matrix(name: &str) -> Array2<f32> {
    let bytes = golden(name);
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape = (file.shape()[0] as usize, file.shape()[1] as usize);
    Array2::from_shape_vec(shape, file.into_vec().unwrap()).unwrap()
}

fn data() -> Data {
    let bytes = golden("selection_labels.npy");
    let labels: Vec<u8> = npyz::NpyFile::new(&bytes[..]).unwrap().into_vec().unwrap();
    let labels: Vec<usize> = labels.into_iter().map(usize::from).collect();
    let (train, test) = (matrix("selection_train.npy"), matrix("selection_test.npy"));
    let (train_labels, test_labels) = labels.split_at(train.nrows());
    Data { train_labels: train_labels.to_vec(), test_labels: test_labels.to_vec(), train, test }
}

/// Five folds with the same share of every class.
fn folds(labels: &[usize]) -> Vec<usize> {
    let mut seen = vec![0; labels.iter().max().unwrap() + 1];
    let next = |&label: &usize| {
        seen[label] += 1;
        seen[label] % 5
    };
    labels.iter().map(next).collect()
}

fn select_from(data: &Data, kinds: &[HeadKind]) -> Selection {
    let examples = Examples::new(data.train.view(), &data.train_labels, CLASSES).unwrap();
    select(&examples, &Partition::folds(&folds(&data.train_labels)).unwrap(), kinds).unwrap()
}

fn accuracy_and_loss(logits: &Array2<f32>, labels: &[usize], temperature: f64) -> (f64, f64) {
    let p = softmax_with_temperature(logits.mapv(f64::from).view(), temperature).unwrap();
    let rows = || p.rows().into_iter().zip(labels);
    let right = rows().filter(|(row, label)| row.iter().all(|value| *value <= row[**label])).count();
    let loss: f64 = rows().map(|(row, &label)| -row[label].ln()).sum();
    (right as f64 / labels.len() as f64, loss / labels.len() as f64)
}

#[test]
fn the_chosen_head_is_no_worse_than_the_reference() {
    let data = data();
    let selection = select_from(&data, &HeadKind::ALL);
    let logits = selection.head.logits(data.test.view()).unwrap();
    let (accuracy, loss) = accuracy_and_loss(&logits, &data.test_labels, selection.temperature);
    let reference: serde_json::Value = serde_json::from_slice(&golden("selection.json")).unwrap();
    let expected = |name: &str| reference[name].as_f64().unwrap();
    assert!(accuracy >= expected("accuracy") - 0.01, "{accuracy}, reference {}", expected("accuracy"));
    assert!(loss <= expected("log_loss"), "{loss}, reference {}", expected("log_loss"));
}

#[test]
fn the_table_holds_every_candidate_and_marks_one() {
    let selection = select_from(&data(), &HeadKind::ALL);
    let chosen: Vec<_> = selection.table.iter().filter(|line| line.chosen).collect();
    assert_eq!(chosen.len(), 1);
    assert_eq!((chosen[0].kind, chosen[0].hyper_parameter), (selection.kind, selection.hyper_parameter));
    assert!(HeadKind::ALL.iter().all(|kind| selection.table.iter().any(|line| line.kind == *kind)));
    assert!(selection.skipped.is_empty());
    assert!(selection.table.iter().all(|line| line.log_loss.is_finite() && line.temperature > 0.0));
}

#[test]
fn the_out_of_fold_logits_are_those_of_heads_that_never_saw_the_row() {
    let data = data();
    let folds = folds(&data.train_labels);
    let examples = Examples::new(data.train.view(), &data.train_labels, CLASSES).unwrap();
    for kind in HeadKind::ALL {
        let selection = select_from(&data, &[kind]);
        for fold in [0, 3] {
            let training: Vec<usize> = (0..folds.len()).filter(|&row| folds[row] != fold).collect();
            let head = fit_fixed(kind, selection.hyper_parameter, &examples.subset(&training)).unwrap();
            let places: Vec<usize> =
                (0..folds.len()).filter(|&place| folds[selection.out_of_fold_rows[place]] == fold).collect();
            let rows: Vec<usize> = places.iter().map(|&place| selection.out_of_fold_rows[place]).collect();
            let expected = head.logits(data.train.select(Axis(0), &rows).view()).unwrap();
            let found = selection.out_of_fold_logits.select(Axis(0), &places);
            let scale = expected.iter().fold(0.0, |greatest: f32, value| value.abs().max(greatest));
            let difference =
                (found - expected).iter().fold(0.0, |greatest: f32, value| value.abs().max(greatest));
            // The candidates of a path are compared with a looser stopping rule than a head that is kept.
            assert!(difference < 0.02 * scale, "{kind}, fold {fold}: {difference} of {scale}");
        }
    }
}

#[test]
fn the_temperature_is_the_optimum_on_the_out_of_fold_logits() {
    let data = data();
    let selection = select_from(&data, &[HeadKind::Ridge]);
    let labels: Vec<usize> = selection.out_of_fold_rows.iter().map(|&row| data.train_labels[row]).collect();
    let loss = |factor: f64| {
        accuracy_and_loss(&selection.out_of_fold_logits, &labels, factor * selection.temperature).1
    };
    let chosen = selection.table.iter().find(|line| line.chosen).unwrap();
    assert!((loss(1.0) - chosen.log_loss).abs() < 1e-9);
    assert!(loss(1.0) < loss(1.02) && loss(1.0) < loss(0.98));
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let data = data();
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| select_from(&data, &HeadKind::ALL))
    };
    let (one, four) = (with_threads(1), with_threads(4));
    assert!(one == four);
}

#[test]
fn a_validation_set_serves_in_place_of_folds() {
    let data = data();
    let examples = Examples::new(data.train.view(), &data.train_labels, CLASSES).unwrap();
    let validation: Vec<bool> = folds(&data.train_labels).into_iter().map(|fold| fold == 0).collect();
    let selection = select(&examples, &Partition::held_out(&validation).unwrap(), &HeadKind::ALL).unwrap();
    assert_eq!(selection.out_of_fold_rows.len(), validation.iter().filter(|held_out| **held_out).count());
    assert!(selection.out_of_fold_rows.iter().all(|&row| validation[row]));
    // There is no other fold to choose by.
    let temperature = selection.temperature as f32;
    assert_eq!(selection.independent_logits, selection.out_of_fold_logits.mapv(|logit| logit / temperature));
}

#[test]
fn logits_of_an_independent_choice_are_no_better_than_guesses_on_noise() {
    let (mut chosen, mut independent) = (0.0, 0.0);
    for draw in 0..20 {
        let mut place = 1000 * draw;
        // SplitMix64, see Steele et al. 2014.
        let mut next = || {
            place += 1;
            let mut z = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(place);
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        };
        let noise = Array2::from_shape_fn((40, 12), |_| (next() % 2001) as f32 / 1000.0 - 1.0);
        let labels: Vec<usize> = (0..40).map(|_| next() as usize % 2).collect();
        let examples = Examples::new(noise.view(), &labels, 2).unwrap();
        let selection =
            select(&examples, &Partition::folds(&folds(&labels)).unwrap(), &HeadKind::ALL).unwrap();
        let labels: Vec<usize> = selection.out_of_fold_rows.iter().map(|&row| labels[row]).collect();
        chosen += accuracy_and_loss(&selection.out_of_fold_logits, &labels, selection.temperature).1 / 20.0;
        independent += accuracy_and_loss(&selection.independent_logits, &labels, 1.0).1 / 20.0;
    }
    // What a temperature that is fitted to the same 40 rows gains where there is nothing to gain.
    let of_temperature = 0.5 / 40.0;
    assert!(independent > 2.0f64.ln() - of_temperature, "{independent}");
    assert!(chosen < independent - of_temperature, "{chosen} {independent}");
}

#[test]
fn pure_noise_is_not_taken_for_a_signal() {
    let noise =
        Array2::from_shape_fn((120, 40), |(row, column)| ((row * 7919 + column * 104_729) % 1009) as f32);
    let labels: Vec<usize> = (0..120).map(|row| row * row % 3).map(|label| label % 2).collect();
    let examples = Examples::new(noise.view(), &labels, 2).unwrap();
    let selection = select(&examples, &Partition::folds(&folds(&labels)).unwrap(), &HeadKind::ALL).unwrap();
    let chosen = selection.table.iter().find(|line| line.chosen).unwrap();
    assert!(chosen.log_loss < 0.72, "{}", chosen.log_loss);
}

#[test]
fn a_class_without_rows_is_never_predicted() {
    let data = data();
    let labels: Vec<usize> = data.train_labels.iter().map(|label| label + 1).collect();
    let examples = Examples::new(data.train.view(), &labels, CLASSES + 2).unwrap();
    for kind in HeadKind::ALL {
        let selection = select(&examples, &Partition::folds(&folds(&labels)).unwrap(), &[kind]).unwrap();
        let logits = selection.head.logits(data.test.view()).unwrap();
        for row in logits.rows() {
            let lesser = |absent: usize| (1..=CLASSES).any(|class| row[class] > row[absent]);
            assert!(row.iter().all(|value| value.is_finite()) && lesser(0) && lesser(CLASSES + 1), "{kind}");
        }
    }
}

#[test]
fn a_class_with_a_single_row_does_no_harm() {
    let mut data = data();
    data.train_labels[17] = CLASSES;
    let examples = Examples::new(data.train.view(), &data.train_labels, CLASSES + 1).unwrap();
    let partition = Partition::folds(&folds(&data.train_labels)).unwrap();
    let selection = select(&examples, &partition, &HeadKind::ALL).unwrap();
    assert!(!selection.out_of_fold_rows.contains(&17));
    assert_eq!(selection.head.classes(), CLASSES + 1);
}

#[test]
fn ten_thousand_classes_are_bounded() {
    let labels: Vec<usize> = (0..20_000).map(|row| row / 2).collect();
    let features = Array2::from_shape_fn((20_000, 64), |(row, column)| {
        let class = ((row / 2) * 2_654_435_761 + column * 40_503) % 65_537;
        class as f32 + ((row * 31 + column * 17) % 1000) as f32
    });
    let examples = Examples::new(features.view(), &labels, 10_000).unwrap();
    let folds: Vec<usize> = (0..20_000).map(|row| row % 2).collect();
    let kinds = [HeadKind::NearestClassMean, HeadKind::Lda, HeadKind::LogisticRegression];
    let selection = select(&examples, &Partition::folds(&folds).unwrap(), &kinds).unwrap();
    assert!(
        selection.skipped.iter().any(|head| head.kind == HeadKind::LogisticRegression),
        "{:?}",
        selection.skipped
    );
    assert!(selection.out_of_fold_rows.len() * 10_000 <= 1 << 22);
    assert_eq!(selection.head.classes(), 10_000);
}

#[test]
fn constant_features_leave_the_class_shares() {
    let features = Array2::from_elem((20, 3), 2.5_f32);
    let labels: Vec<usize> = (0..20).map(|row| usize::from(row % 4 == 0)).collect();
    let examples = Examples::new(features.view(), &labels, 2).unwrap();
    let partition = Partition::folds(&(0..20).map(|row| row % 5).collect::<Vec<_>>()).unwrap();
    let selection = select(&examples, &partition, &HeadKind::ALL).unwrap();
    let logits = selection.head.logits(features.view()).unwrap();
    assert!(logits.iter().all(|logit| logit.is_finite()));
    for kind in HeadKind::ALL {
        let hyper_parameter = kind.hyper_parameter_name().map(|_| 1.0);
        let head = fit_fixed(kind, hyper_parameter, &examples).unwrap();
        assert!(head.logits(features.view()).unwrap().iter().all(|logit| logit.is_finite()), "{kind}");
    }
}

#[test]
fn unusable_input_is_named() {
    let features = array![[0.0_f32, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 1.0]];
    let examples = Examples::new(features.view(), &[0, 0, 0, 1], 2).unwrap();
    let of_folds =
        |folds: &[usize]| select(&examples, &Partition::folds(folds).unwrap(), &HeadKind::ALL).map(|_| ());
    assert_eq!(of_folds(&[0, 1, 0, 1]), Err(AdaptError::SingleClass { class: 0, rows: 2 }));
    assert!(matches!(of_folds(&[0, 1]), Err(AdaptError::Shape { expected: 4, found: 2, .. })));
    let partition = Partition::folds(&[0, 1, 0, 0]).unwrap();
    assert!(matches!(select(&examples, &partition, &[]).map(|_| ()), Err(AdaptError::Empty { .. })));
    for (kind, value) in [
        (HeadKind::Ridge, None),
        (HeadKind::Ridge, Some(-1.0)),
        (HeadKind::LogisticRegression, Some(f64::INFINITY)),
        (HeadKind::LogisticRegression, Some(0.0)),
        (HeadKind::Knn, Some(1.5)),
        (HeadKind::Knn, Some(0.0)),
    ] {
        assert!(
            matches!(fit_fixed(kind, value, &examples), Err(AdaptError::HyperParameter { .. })),
            "{kind} {value:?}"
        );
    }
    let head = fit_fixed(HeadKind::NearestClassMean, None, &examples).unwrap();
    assert!(matches!(head, Head::Linear(_)));
    assert!(matches!(
        head.logits(array![[1.0_f32]].view()),
        Err(AdaptError::Shape { expected: 2, found: 1, .. })
    ));
    assert!(matches!(
        head.logits(array![[1.0_f32, f32::INFINITY]].view()),
        Err(AdaptError::NonFinite { row: 0, column: 1 })
    ));
}

#[test]
fn six_rows_are_enough() {
    let data = data();
    for (scale, classes) in [(1.0, 2), (1e30, 3), (1e-30, 2)] {
        let features = data.train.slice(ndarray::s![..6, ..]).mapv(|value| value * scale);
        let labels: Vec<usize> = (0..6).map(|row| row % classes).collect();
        let examples = Examples::new(features.view(), &labels, classes).unwrap();
        let partition = Partition::folds(&[0, 0, 0, 1, 1, 1]).unwrap();
        let selection = select(&examples, &partition, &HeadKind::ALL).unwrap();
        let logits = selection.head.logits(features.view()).unwrap();
        assert!(logits.iter().all(|logit| logit.is_finite()) && selection.temperature.is_finite(), "{scale}");
    }
}
