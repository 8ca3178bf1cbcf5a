//! Views of an image against torchvision's `CenterCrop`, `FiveCrop` and `TenCrop` behind a `Resize`.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use regraft_data::augment::geometry::flip_horizontally;
use regraft_data::decode::{Limits, decode};
use regraft_data::preprocess::crop;
use regraft_data::raster::Image;
use regraft_data::views::{ViewSet, views};
use regraft_graph::{ChannelOrder, Preprocessing, Resize, ResizeFilter};
use regraft_system::{files, hash};
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn preprocessing(side: usize, crop: [usize; 2]) -> Preprocessing {
    Preprocessing {
        channel_order: ChannelOrder::Rgb,
        resize: Resize::ShortSide(side),
        filter: ResizeFilter::Bilinear,
        crop,
        mean: vec![0.0; 3].into(),
        std: vec![1.0; 3].into(),
    }
}

fn photo() -> Image {
    decode(&files::read(&golden("resize.png")).unwrap(), &Limits::default()).unwrap()
}

#[test]
fn views_equal_torchvisions_crops() {
    let all: Value = serde_json::from_slice(&files::read(&golden("augment.json")).unwrap()).unwrap();
    let case = &all["views"];
    let digest = |image: &Image| hash::sha256_hex(image.pixels())[..16].to_owned();
    let found = |set| -> Vec<String> {
        views(&photo(), &preprocessing(60, [40, 50]), set).unwrap().iter().map(digest).collect()
    };
    assert_eq!(found(ViewSet::Centre), [case["centre"].as_str().unwrap()]);
    assert_eq!(Value::from(found(ViewSet::FiveCrops)), case["five"]);
    let mut expected: Vec<&str> =
        case["ten"].as_array().unwrap().iter().map(|view| view.as_str().unwrap()).collect();
    let mut ten = found(ViewSet::TenCrops);
    // The order of the mirror images differs.
    expected.sort_unstable();
    ten.sort_unstable();
    assert_eq!(ten, expected);
}

#[test]
fn the_second_of_two_is_the_mirror_image_of_the_usual_crop() {
    let preprocessing = preprocessing(60, [40, 50]);
    let found = views(&photo(), &preprocessing, ViewSet::CentreAndFlip).unwrap();
    let usual = crop(&photo(), &preprocessing).unwrap();
    assert_eq!(found, [usual.clone(), flip_horizontally(usual)]);
}

#[test]
fn any_image_has_all_views() {
    for (width, height) in [(1, 1), (1, 5000), (5000, 1), (2, 3), (40, 30)] {
        let image = Image::rgb(width, height, vec![9; 3 * width * height]).unwrap();
        for set in ViewSet::ALL {
            let views = views(&image, &preprocessing(13, [11, 17]), set).unwrap();
            assert_eq!(views.len(), set.count());
            assert!(views.iter().all(|view| (view.width(), view.height()) == (17, 11)));
        }
    }
}

#[test]
fn sets_are_found_by_their_number_of_views() {
    for set in ViewSet::ALL {
        assert_eq!(ViewSet::of(set.count()), Some(set));
    }
    assert_eq!(ViewSet::of(3), None);
}
