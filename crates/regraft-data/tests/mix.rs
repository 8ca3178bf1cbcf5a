//! Mixtures of a batch against torchvision's `v2.MixUp` and `v2.CutMix`, and against their definition.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use std::path::Path;

use ndarray::{Array2, Array4};
use regraft_data::augment::geometry::Region;
use regraft_data::mix::{
    MixError, Mixing, cutmix, draw_region, draw_share, mixup, share_outside, soft_targets,
};
use regraft_system::files;
use regraft_system::random::stream;
use serde_json::Value;

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/augment.json");
    let mut all: Value = serde_json::from_slice(&files::read(&path).unwrap()).unwrap();
    all[name].take()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn batch(value: &Value) -> Array4<f32> {
    Array4::from_shape_vec((3, 2, 5, 4), numbers(value)).unwrap()
}

const LABELS: [usize; 3] = [2, 0, 2];
/// torchvision mixes each image with the one before it.
const PARTNERS: [usize; 3] = [2, 0, 1];

fn assert_targets(case: &Value, share: f64) {
    let expected = Array2::from_shape_vec((3, 4), numbers(&case["targets"])).unwrap();
    assert_eq!(soft_targets(&LABELS, &PARTNERS, share, 4).unwrap(), expected);
}

#[test]
fn mixup_equals_torchvision() {
    let case = golden("mixup");
    let share = case["lam"].as_f64().unwrap();
    let found = mixup(batch(&case["batch"]).view(), &PARTNERS, share).unwrap();
    assert_eq!(found, batch(&case["mixed"]));
    assert_targets(&case, share);
}

#[test]
fn cutmix_equals_torchvision() {
    let case = golden("cutmix");
    let corners: Vec<usize> = numbers(&case["box"]).iter().map(|corner| *corner as usize).collect();
    let [left, top, right, bottom] = corners[..] else { panic!("{corners:?}") };
    let region = Region { left, top, width: right - left, height: bottom - top };
    let found = cutmix(batch(&case["batch"]).view(), &PARTNERS, region).unwrap();
    assert_eq!(found, batch(&case["mixed"]));
    let share = share_outside((4, 5), region);
    assert_eq!(share, case["lam_adjusted"].as_f64().unwrap());
    assert_targets(&case, share);
}

/// Each image has its number in every pixel.
fn numbered(images: usize) -> Array4<f32> {
    Array4::from_shape_fn((images, 1, 6, 8), |(image, ..)| image as f32)
}

#[test]
fn targets_say_how_much_of_an_image_there_is() {
    for (mixing, index) in [
        (Mixing { mixup: 0.4, cutmix: 0.0 }, 0),
        (Mixing { mixup: 0.0, cutmix: 1.0 }, 1),
        (Mixing { mixup: 1.0, cutmix: 1.0 }, 2),
    ] {
        let labels: Vec<usize> = (0..7).collect();
        for draw in 0..50 {
            let mut draws = stream(index, "mix", draw);
            let (images, targets) = mixing.apply(numbered(7).view(), &labels, 7, &mut draws).unwrap();
            for (image, target) in images.outer_iter().zip(targets.outer_iter()) {
                // The mean pixel is the mean label.
                let label: f32 = target.iter().enumerate().map(|(class, share)| class as f32 * share).sum();
                assert!((image.mean().unwrap() - label).abs() < 1e-5);
                assert!((target.sum() - 1.0).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn nothing_is_mixed_by_default() {
    let mixing = Mixing::default();
    assert!(mixing.is_none());
    let labels = [0, 1, 2];
    let (images, targets) = mixing.apply(numbered(3).view(), &labels, 3, &mut stream(1, "mix", 0)).unwrap();
    assert_eq!(images, numbered(3));
    assert_eq!(targets, Array2::<f32>::eye(3));
}

#[test]
fn both_ways_are_taken_alike() {
    let mixing = Mixing { mixup: 1.0, cutmix: 1.0 };
    let is_mixup = |draw| {
        let (images, _) = mixing.apply(numbered(9).view(), &[0; 9], 1, &mut stream(1, "mix", draw)).unwrap();
        images.iter().any(|value| value.fract() != 0.0)
    };
    let count = (0..400).filter(|draw| is_mixup(*draw)).count();
    assert!((160..240).contains(&count), "{count}");
}

#[test]
fn shares_are_beta_distributed() {
    for (alpha, variance) in [(0.2, 0.25 / 1.4), (1.0, 1.0 / 12.0), (8.0, 0.25 / 17.0)] {
        let mut draws = stream(1, "mix", 0);
        let shares: Vec<f64> = (0..20_000).map(|_| draw_share(alpha, &mut draws)).collect();
        let mean = shares.iter().sum::<f64>() / 20_000.0;
        let spread = shares.iter().map(|share| (share - 0.5).powi(2)).sum::<f64>() / 20_000.0;
        assert!(
            (mean - 0.5).abs() < 0.015 && (spread / variance - 1.0).abs() < 0.05,
            "{alpha} {mean} {spread}"
        );
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
    }
    assert_eq!(draw_share(0.0, &mut stream(1, "mix", 0)), 1.0);
    assert_eq!(draw_share(f64::NAN, &mut stream(1, "mix", 0)), 1.0);
}

#[test]
fn rectangles_stay_inside_and_have_the_share_unless_cut_off() {
    let mut draws = stream(1, "mix", 0);
    for _ in 0..2000 {
        let region = draw_region((100, 60), 0.75, &mut draws);
        assert!(region.left + region.width <= 100 && region.top + region.height <= 60);
        assert!(region.width <= 50 && region.height <= 30);
        assert!(share_outside((100, 60), region) >= 0.75);
    }
    let whole = draw_region((1, 1), 0.0, &mut draws);
    assert!(whole.width <= 1 && whole.height <= 1);
    assert_eq!(draw_region((0, 0), 0.0, &mut draws).width, 0);
}

#[test]
fn impossible_mixtures_are_refused() {
    let images = numbered(3);
    let count = MixError::Count { what: "partners", images: 3, found: 2 };
    assert_eq!(mixup(images.view(), &[0, 1], 0.5).unwrap_err(), count);
    let outside = MixError::OutOfRange { what: "partner", found: 3, count: 3 };
    let everything = Region { left: 0, top: 0, width: usize::MAX, height: usize::MAX };
    assert_eq!(cutmix(images.view(), &[0, 1, 3], everything).unwrap_err(), outside);
    assert_eq!(cutmix(images.view(), &[1, 1, 1], everything).unwrap(), images.mapv(|_| 1.0));
    let label = soft_targets(&[5], &[0], 0.5, 5).unwrap_err();
    assert_eq!(label.to_string(), "label 5 of 5, counted from 0");
    let few = Mixing::default().apply(images.view(), &[0, 1], 2, &mut stream(1, "mix", 0)).unwrap_err();
    assert_eq!(few, MixError::Count { what: "labels", images: 3, found: 2 });
    for found in [-0.1, 1001.0, f64::NAN] {
        let message = Mixing { cutmix: found, mixup: 0.0 }.check().unwrap_err().to_string();
        assert_eq!(message, format!("mixing: cutmix is {found}; it must be from 0 to 1000"));
    }
}
