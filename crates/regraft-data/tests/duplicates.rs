//! Near duplicates on real images: the same photograph stored differently, and emoji that differ in one feature.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use std::path::Path;

use regraft_data::decode::Limits;
use regraft_data::duplicates::{exact_groups, near_groups};
use regraft_data::inspect::{Inspection, inspect};
use regraft_system::files;

/// File names and inspections of a golden folder, in order of name.
fn inspected(folder: &str) -> (Vec<String>, Vec<Inspection>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let inspection =
        |name: &String| inspect(&files::read(&folder.join(name)).unwrap(), &Limits::default()).unwrap();
    let inspections = names.iter().map(inspection).collect();
    (names, inspections)
}

#[test]
fn the_same_photograph_in_four_encodings_is_one_group() {
    let (names, inspections) = inspected("photographs");
    let inspections: Vec<_> = inspections.iter().map(Some).collect();
    assert!(exact_groups(&inspections).is_empty());
    let groups = near_groups(&inspections);
    assert_eq!(groups.len(), 4);
    for group in groups {
        assert_eq!(group.len(), 4);
        let subject = |member: usize| names[member].split('_').next().unwrap();
        assert!(group.iter().all(|member| subject(*member) == subject(group[0])));
    }
}

#[test]
fn flags_hearts_skin_tones_clocks_and_faces_stay_apart() {
    let (names, inspections) = inspected("emoji");
    assert_eq!(names.len(), 32);
    let groups = near_groups(&inspections.iter().map(Some).collect::<Vec<_>>());
    assert!(groups.is_empty(), "{groups:?}");
}

/// A hundred thousand images, half of them with hashes that share most bands.
#[test]
fn a_hundred_thousand_images_take_seconds() {
    let (_, inspections) = inspected("emoji");
    let many: Vec<Inspection> = (0..100_000_u64)
        .map(|index| {
            let mut inspection = inspections[index as usize % inspections.len()].clone();
            inspection.pixel_hash = index.to_string();
            let mixed = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            inspection.difference_hash = if index % 2 == 0 { mixed } else { mixed >> 44 << 20 };
            inspection.thumbnail.0.iter_mut().for_each(|sample| *sample = sample.wrapping_add(mixed as u8));
            inspection
        })
        .collect();
    let clock = regraft_system::clock::Stopwatch::start();
    near_groups(&many.iter().map(Some).collect::<Vec<_>>());
    assert!(clock.seconds() < 60.0, "{} s", clock.seconds());
}
