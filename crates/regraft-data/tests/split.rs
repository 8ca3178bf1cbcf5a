//! Splits: what must hold for any labels and groups, and how evenly against scikit-learn.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use std::collections::BTreeSet;
use std::path::Path;

use rand::RngExt as _;
use regraft_data::source::Part;
use regraft_data::split::{
    Division, Examples, SplitError, divide, hold_out, nested_subsets, stratified_folds,
};
use regraft_system::{files, random};

struct Drawn {
    labels: Vec<usize>,
    groups: Vec<usize>,
    classes: Vec<String>,
}

impl Drawn {
    fn examples(&self) -> Examples<'_> {
        Examples { labels: &self.labels, groups: &self.groups, classes: &self.classes }
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

/// Random labels with uneven classes; groups of a random mean size, which mix classes.
fn draw(seed: u64) -> Drawn {
    let mut stream = random::stream(seed, "test", 0);
    let classes = stream.random_range(2..9_usize);
    let count = stream.random_range(6 * classes..300);
    let groups = count / stream.random_range(1..4_usize);
    let skewed = |draw: f64| ((draw * draw) * classes as f64) as usize;
    let labels =
        (0..count).map(|index| if index < 3 * classes { index % classes } else { skewed(stream.random()) });
    let labels = labels.collect();
    let groups = (0..count).map(|_| stream.random_range(0..groups)).collect();
    Drawn { labels, groups, classes: names(classes) }
}

fn set(values: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
    values.into_iter().collect()
}

#[test]
fn hold_out_keeps_groups_whole_and_every_class_in_training() {
    for seed in 0..300 {
        let drawn = draw(seed);
        let (train, test) = hold_out(&drawn.examples(), 0.2, seed).unwrap();
        assert_eq!(train.len() + test.len(), drawn.labels.len());
        assert!(set(train.clone()).is_disjoint(&set(test.clone())));
        let of = |side: &[usize], values: &[usize]| set(side.iter().map(|position| values[*position]));
        assert!(of(&train, &drawn.groups).is_disjoint(&of(&test, &drawn.groups)));
        assert_eq!(of(&train, &drawn.labels).len(), drawn.classes.len());
        let share = test.len() as f64 / drawn.labels.len() as f64;
        assert!((0.1..0.3).contains(&share), "seed {seed}: {share}");
    }
}

#[test]
fn hold_out_without_groups_is_stratified_to_one_example() {
    for seed in 0..100 {
        let mut drawn = draw(seed);
        drawn.groups = (0..drawn.labels.len()).collect();
        let (_, test) = hold_out(&drawn.examples(), 0.2, seed).unwrap();
        assert_eq!(test.len(), (0.2 * drawn.labels.len() as f64).round() as usize);
        for class in 0..drawn.classes.len() {
            let total = drawn.labels.iter().filter(|label| **label == class).count() as f64;
            let held = test.iter().filter(|position| drawn.labels[**position] == class).count() as f64;
            assert!((held - 0.2 * total).abs() < 1.0, "seed {seed}, class {class}: {held} of {total}");
        }
    }
}

#[test]
fn many_small_classes_still_give_their_share() {
    let labels: Vec<usize> = (0..200).map(|index| index / 2).collect();
    let groups: Vec<usize> = (0..200).collect();
    let classes = names(100);
    let (train, test) =
        hold_out(&Examples { labels: &labels, groups: &groups, classes: &classes }, 0.2, 1).unwrap();
    assert_eq!(test.len(), 40);
    assert_eq!(set(train.iter().map(|position| labels[*position])).len(), 100);
}

#[test]
fn the_same_seed_gives_the_same_split_and_another_seed_another() {
    let drawn = draw(7);
    let split = |seed| hold_out(&drawn.examples(), 0.2, seed).unwrap();
    assert_eq!(split(1), split(1));
    assert_ne!(split(1), split(2));
    let folds = |seed| stratified_folds(&drawn.examples(), 3, seed).unwrap();
    assert_eq!(folds(1), folds(1));
    assert_ne!(folds(1), folds(2));
}

#[test]
fn folds_keep_groups_whole_and_every_class_in_every_training_side() {
    let mut refused = 0;
    for seed in 0..300 {
        let drawn = draw(seed);
        let folds = 2 + seed as usize % 4;
        let Ok(fold_of) = stratified_folds(&drawn.examples(), folds, seed) else {
            refused += 1;
            continue;
        };
        assert_eq!(set(fold_of.iter().copied()), set(0..folds), "seed {seed}");
        for (position, group) in drawn.groups.iter().enumerate() {
            let first = drawn.groups.iter().position(|other| other == group).unwrap();
            assert_eq!(fold_of[position], fold_of[first]);
        }
        for fold in 0..folds {
            let trained = (0..fold_of.len()).filter(|position| fold_of[*position] != fold);
            assert_eq!(set(trained.map(|position| drawn.labels[position])).len(), drawn.classes.len());
        }
    }
    assert_eq!(refused, 0);
}

#[test]
fn folds_without_groups_differ_by_one_example_a_class() {
    for seed in 0..100 {
        let mut drawn = draw(seed);
        drawn.groups = (0..drawn.labels.len()).collect();
        let fold_of = stratified_folds(&drawn.examples(), 3, seed).unwrap();
        let count = |wanted: &dyn Fn(usize) -> bool| {
            let counts: Vec<usize> = (0..3)
                .map(|fold| (0..fold_of.len()).filter(|p| fold_of[*p] == fold && wanted(*p)).count())
                .collect();
            counts.iter().max().unwrap() - counts.iter().min().unwrap()
        };
        for class in 0..drawn.classes.len() {
            assert!(count(&|position| drawn.labels[position] == class) <= 1);
        }
        assert!(count(&|_| true) <= 1, "seed {seed}");
    }
}

/// Mean over classes of the standard deviation over folds of the share of the class.
fn imbalance(labels: &[usize], fold_of: &[usize], classes: usize, folds: usize) -> f64 {
    let deviation = |class: usize| {
        let members: Vec<usize> = (0..labels.len()).filter(|position| labels[*position] == class).collect();
        let share =
            |fold| members.iter().filter(|p| fold_of[**p] == fold).count() as f64 / members.len() as f64;
        let mean = 1.0 / folds as f64;
        ((0..folds).map(|fold| (share(fold) - mean).powi(2)).sum::<f64>() / folds as f64).sqrt()
    };
    (0..classes).map(deviation).sum::<f64>() / classes as f64
}

#[test]
fn folds_are_as_even_as_scikit_learns() {
    let file = files::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/split.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_slice(&file).unwrap();
    for case in cases.as_array().unwrap() {
        let list = |name: &str| serde_json::from_value::<Vec<usize>>(case[name].clone()).unwrap();
        let number = |name: &str| case[name].as_u64().unwrap() as usize;
        let drawn =
            Drawn { labels: list("labels"), groups: list("groups"), classes: names(number("classes")) };
        let folds = number("folds");
        for seed in 0..10 {
            let fold_of = stratified_folds(&drawn.examples(), folds, seed).unwrap();
            let found = imbalance(&drawn.labels, &fold_of, drawn.classes.len(), folds);
            let (lowest, highest) = (case["lowest"].as_f64().unwrap(), case["highest"].as_f64().unwrap());
            assert!(
                found <= highest * 1.1 + 1e-12,
                "seed {seed}: {found}, scikit-learn {lowest} to {highest}"
            );
        }
    }
}

#[test]
fn impossible_requests_are_explained() {
    let classes = names(2);
    let examples = Examples { labels: &[0, 0, 1, 1, 1], groups: &[0, 0, 1, 2, 3], classes: &classes };
    let error = stratified_folds(&examples, 3, 1).unwrap_err();
    assert_eq!(error, SplitError::ClassInOneFold { class: "class 0".into(), images: 2, groups: 1 });
    assert_eq!(stratified_folds(&examples, 5, 1).unwrap_err(), SplitError::Folds { folds: 5, groups: 4 });
    assert!(matches!(hold_out(&examples, f64::NAN, 1), Err(SplitError::Fraction { .. })));
    let alone = Examples { labels: &[0, 1], groups: &[0, 1], classes: &classes };
    assert_eq!(hold_out(&alone, 0.2, 1).unwrap_err(), SplitError::NothingHeldOut { images: 2, groups: 2 });
    let wrong = Examples { labels: &[0, 7], groups: &[0, 1], classes: &classes };
    assert!(matches!(stratified_folds(&wrong, 2, 1), Err(SplitError::Inconsistent { .. })));
    assert!(matches!(nested_subsets(&[0, 1, 1], &[1], 1), Err(SplitError::SubsetSize { classes: 2, .. })));
}

#[test]
fn nested_subsets_are_nested_stratified_and_complete() {
    for seed in 0..100 {
        let drawn = draw(seed);
        let (classes, count) = (drawn.classes.len(), drawn.labels.len());
        let sizes = [classes, 2 * classes, count / 2, count];
        let subsets = nested_subsets(&drawn.labels, &sizes, seed).unwrap();
        for (subset, size) in subsets.iter().zip(sizes) {
            assert_eq!(subset.len(), size);
            assert_eq!(set(subset.iter().map(|position| drawn.labels[*position])).len(), classes);
        }
        for pair in subsets.windows(2) {
            assert!(pair[0].len() > pair[1].len() || set(pair[0].clone()).is_subset(&set(pair[1].clone())));
        }
        for class in 0..classes {
            let total = drawn.labels.iter().filter(|label| **label == class).count() as f64;
            let half = subsets[2].iter().filter(|position| drawn.labels[**position] == class).count() as f64;
            assert!((half - total / 2.0).abs() <= 2.0, "seed {seed}, class {class}: {half} of {total}");
        }
    }
}

#[test]
fn the_parts_of_the_folders_decide_what_serves_what() {
    use Part::{Test, Train, Unsplit, Validation};
    let (labels, groups, classes) = ([0, 1, 0, 1, 0, 1], [0, 1, 2, 3, 4, 5], names(2));
    let examples = Examples { labels: &labels, groups: &groups, classes: &classes };
    let division = |parts: [Part; 6]| divide(&parts, &examples, 0.4, 1).unwrap();
    let all_three = Division { train: vec![2, 3], validation: vec![4, 5], test: vec![0, 1] };
    assert_eq!(division([Test, Test, Train, Train, Validation, Validation]), all_three);
    let (train, test) = (vec![0, 1, 2, 3], vec![4, 5]);
    let tested_on_the_other = Division { train, validation: Vec::new(), test };
    assert_eq!(division([Train, Train, Train, Train, Validation, Validation]), tested_on_the_other);
    assert_eq!(division([Train, Train, Train, Train, Test, Test]), tested_on_the_other);
    let (train, test) = hold_out(&examples, 0.4, 1).unwrap();
    assert_eq!(division([Unsplit; 6]), Division { train, validation: Vec::new(), test });
}
