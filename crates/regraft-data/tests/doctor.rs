//! The doctor on folders made to be ill, each in one way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use std::path::{Path, PathBuf};

use regraft_data::decode::Limits;
use regraft_data::doctor::{Finding, LISTED_FILES, Severity, examine};
use regraft_data::inspect::{Inspection, THUMBNAIL_BYTES, Thumbnail, inspect};
use regraft_data::raster::Channels;
use regraft_data::source::{ImageFolder, Item, Layout, Part, Problem};
use regraft_system::files;

/// A folder without files: `part/class/name` or `class/name`, ordered as given.
fn folder(files: &[String]) -> ImageFolder {
    let part = |name: &str| match name.split('/').next().unwrap() {
        "train" => Part::Train,
        "val" => Part::Validation,
        "test" => Part::Test,
        _ => Part::Unsplit,
    };
    let class = |name: &str| name.rsplit('/').nth(1).unwrap().to_owned();
    let mut classes: Vec<String> = files.iter().map(|name| class(name)).collect();
    classes.sort();
    classes.dedup();
    let items = files.iter().map(|name| Item {
        path: PathBuf::from("/data").join(name),
        relative: PathBuf::from(name),
        class: classes.binary_search(&class(name)).unwrap(),
        part: part(name),
    });
    let items: Vec<Item> = items.collect();
    let layout = if items[0].part == Part::Unsplit { Layout::Classes } else { Layout::PartsAndClasses };
    ImageFolder {
        root: "/data".into(),
        classes,
        items,
        layout,
        ignored: 0,
        problems: Vec::new(),
        labels: None,
    }
}

/// Images that are no duplicates of each other.
fn different(index: usize) -> Inspection {
    Inspection {
        transparent: false,
        channels: Channels::RGB,
        width: 64,
        height: 48,
        pixel_hash: format!("{index:064}"),
        difference_hash: (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        thumbnail: Thumbnail([(index * 53 % 256) as u8; THUMBNAIL_BYTES]),
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn healthy(files: &[String]) -> Vec<Result<Inspection, String>> {
    (0..files.len()).map(|index| Ok(different(index))).collect()
}

fn only(findings: Vec<Finding>) -> Finding {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.into_iter().next().unwrap()
}

const FOUR: [&str; 4] = ["a/1.png", "a/2.png", "b/3.png", "b/4.png"];

#[test]
fn healthy_data_give_no_finding() {
    let files = names(&FOUR);
    assert_eq!(examine(&folder(&files), &healthy(&files), 2), []);
}

#[test]
fn unreadable_files_are_named_with_their_reason() {
    let files = names(&["a/0.png", "a/1.png", "a/2.png", "b/3.png", "b/4.png"]);
    let mut inspections = healthy(&files);
    inspections[1] = Err("the file is empty (0 bytes)".into());
    let finding = only(examine(&folder(&files), &inspections, 2));
    assert_eq!((finding.severity, finding.code), (Severity::Warning, "unreadable-file"));
    assert!(finding.message.contains("a/1.png: the file is empty"), "{}", finding.message);
    assert_eq!(finding.files, ["a/1.png"]);
}

#[test]
fn equal_pixels_under_two_labels_conflict() {
    let files = names(&["a/0.png", "a/1.png", "a/2.png", "b/3.png", "b/4.png", "b/5.png"]);
    let mut inspections = healthy(&files);
    inspections[3] = inspections[2].clone();
    let findings = examine(&folder(&files), &inspections, 2);
    assert_eq!(findings[0].code, "conflicting-labels");
    assert_eq!(findings[0].files, ["a/2.png", "b/3.png"]);
    assert!(findings[0].message.contains("\"a\", \"b\""), "{}", findings[0].message);
    assert_eq!((findings[1].severity, findings[1].code), (Severity::Note, "exact-duplicates"));
}

#[test]
fn duplicates_across_parts_warn_and_name_both() {
    let files = names(&[
        "test/a/1.png",
        "test/b/2.png",
        "train/a/3.png",
        "train/a/4.png",
        "train/b/5.png",
        "train/b/6.png",
    ]);
    let mut inspections = healthy(&files);
    inspections[2] = inspections[0].clone();
    let mut near = different(1);
    near.pixel_hash = "other".into();
    near.difference_hash ^= 1;
    inspections[4] = Ok(near);
    let findings = examine(&folder(&files), &inspections, 2);
    let of = |code: &str| findings.iter().find(|finding| finding.code == code).unwrap();
    let exact = of("exact-duplicates-across-parts");
    assert_eq!(exact.severity, Severity::Warning);
    assert!(
        exact.message.starts_with("test/a/1.png in test and train/a/3.png in train"),
        "{}",
        exact.message
    );
    assert_eq!(of("near-duplicates-across-parts").files, ["test/b/2.png", "train/b/5.png"]);
}

#[test]
fn small_classes_are_errors_or_warnings() {
    let files = names(&["a/1.png", "b/2.png", "b/3.png", "c/4.png", "c/5.png", "c/6.png", "d/7.png"]);
    let mut inspections = healthy(&files);
    inspections[6] = Err("damaged".into());
    let findings = examine(&folder(&files), &inspections, 3);
    let of = |code: &str| findings.iter().find(|finding| finding.code == code).unwrap();
    assert_eq!(
        (of("class-without-images").severity, &of("class-without-images").files),
        (Severity::Error, &names(&["d"]))
    );
    assert_eq!(
        (of("class-with-one-image").severity, &of("class-with-one-image").files),
        (Severity::Error, &names(&["a"]))
    );
    assert_eq!(of("class-smaller-than-folds").files, ["b"]);
    assert!(findings.is_sorted_by_key(|finding| finding.severity));
}

#[test]
fn a_class_of_copies_is_an_error() {
    let files = names(&FOUR);
    let mut inspections = healthy(&files);
    inspections[1] = inspections[0].clone();
    let findings = examine(&folder(&files), &inspections, 2);
    assert_eq!((findings[0].severity, findings[0].code), (Severity::Error, "class-of-duplicates"));
}

#[test]
fn sizes_imbalance_and_missing_classes_are_found() {
    let mut files: Vec<String> = (0..20).map(|index| format!("train/a/{index}.png")).collect();
    files.extend(names(&["test/a/x.png", "train/b/y.png", "train/b/z.png"]));
    let mut inspections = healthy(&files);
    if let Ok(inspection) = &mut inspections[5] {
        (inspection.width, inspection.height) = (4000, 3000);
    }
    let findings = examine(&folder(&files), &inspections, 2);
    let codes: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["class-missing-in-part", "class-imbalance", "different-sizes"]);
    assert!(findings[2].message.contains("4000×3000 pixels (train/a/5.png)"), "{}", findings[2].message);
}

#[test]
fn surprising_class_orders_are_said() {
    let of = |classes: [&str; 3]| {
        let files: Vec<String> =
            classes.iter().flat_map(|class| [1, 2].map(|file| format!("{class}/{file}.png"))).collect();
        examine(&folder(&files), &healthy(&files), 2)
    };
    let numeric = only(of(["1", "10", "2"]));
    assert_eq!(numeric.code, "numeric-class-order");
    assert!(numeric.message.contains("\"10\" is numbered before \"2\""), "{}", numeric.message);
    assert_eq!(only(of(["Zebra", "ant", "bee"])).code, "class-order");
    assert!(of(["01", "02", "10"]).is_empty());
}

#[test]
fn ignored_files_and_problems_are_passed_on() {
    let files = names(&FOUR);
    let mut data = folder(&files);
    data.ignored = 3;
    data.problems =
        (0..50).map(|index| Problem::WithoutClass { path: format!("/data/{index}.png").into() }).collect();
    let findings = examine(&data, &healthy(&files), 2);
    assert_eq!(
        (findings[0].code, findings[0].files.len(), findings[0].omitted),
        ("image-without-class", LISTED_FILES, 30)
    );
    assert!(findings[0].message.contains("and 49 more"), "{}", findings[0].message);
    assert!(findings[1].message.starts_with("3 files were passed over"));
}

#[test]
fn ten_thousand_classes_stay_readable() {
    let files: Vec<String> = (0..10_000).map(|class| format!("test/class{class:05}/1.png")).collect();
    let mut files: Vec<String> =
        files.into_iter().chain((0..10_000).map(|class| format!("train/class{class:05}/1.png"))).collect();
    files.sort();
    let mut inspections: Vec<Result<Inspection, String>> =
        (0..files.len()).map(|_| Err("damaged".into())).collect();
    for index in 0..5_000 {
        inspections[index] = Ok(different(index));
        inspections[index + 10_000] = Ok(different(index));
    }
    let findings = examine(&folder(&files), &inspections, 5);
    assert!(findings.len() < 50, "{}", findings.len());
    let text = serde_json::to_string(&findings).unwrap();
    assert!(text.len() < 50_000, "{}", text.len());
    assert!(text.contains("\"severity\":\"error\""));
}

/// The whole way on real files: two classes of photographs, an empty file, a truncated one, a text, and a copy of a
/// test image in another format.
#[test]
fn real_files_end_to_end() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let read = |name: &str| files::read(&golden.join(name)).unwrap();
    let place = tempfile::tempdir().unwrap();
    let write =
        |name: &str, content: &[u8]| files::write_atomically(&place.path().join(name), content).unwrap();
    for (class, subject, other) in [("cat", "chelsea", "coffee"), ("rocket", "rocket", "astronaut")] {
        write(&format!("train/{class}/1.jpg"), &read(&format!("photographs/{subject}_444_75.jpg")));
        write(&format!("train/{class}/2.jpg"), &read(&format!("photographs/{other}_422_90.jpg")));
    }
    write("test/cat/copy.jpg", &read("photographs/chelsea_420_75.jpg"));
    write("test/rocket/empty.jpg", b"");
    write("test/rocket/cut.jpg", &read("photographs/coffee_444_75.jpg")[..4000]);
    write("test/rocket/notes.jpg", b"these are not pixels");
    write("test/rocket/cut.png", &read("resize.png")[..4000]);
    let folder = ImageFolder::scan(place.path()).unwrap();
    let summary = |item: &Item| {
        inspect(&files::read(&item.path).unwrap(), &Limits::default()).map_err(|error| error.to_string())
    };
    let findings = examine(&folder, &folder.items.iter().map(summary).collect::<Vec<_>>(), 2);
    let codes: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["unreadable-file", "near-duplicates-across-parts"]);
    assert_eq!(findings[0].files.len(), 4);
    assert_eq!(findings[1].files, ["test/cat/copy.jpg", "train/cat/1.jpg"]);
    for expected in ["empty (0 bytes)", "cut.png", "truncated"] {
        assert!(findings[0].message.contains(expected), "{}", findings[0].message);
    }
}

#[test]
fn transparency_is_a_warning() {
    let files = names(&FOUR);
    let mut inspections = healthy(&files);
    inspections[1].as_mut().unwrap().transparent = true;
    let finding = only(examine(&folder(&files), &inspections, 2));
    assert_eq!((finding.severity, finding.code), (Severity::Warning, "transparent-images"));
    assert!(finding.message.starts_with("1 image with transparent pixels"), "{}", finding.message);
    assert_eq!(finding.files.len(), 1);
}

#[test]
fn images_with_and_without_colours_are_told() {
    let files = names(&FOUR);
    let mut inspections = healthy(&files);
    let four = Channels { count: 4, ..Channels::RGB };
    let grey = Channels { count: 1, deep: true, visible: true };
    let bands = Channels { count: 5, deep: false, visible: false };
    for (inspection, channels) in inspections.iter_mut().zip([four, grey, Channels::RGB, bands]) {
        inspection.as_mut().unwrap().channels = channels;
    }
    let finding = only(examine(&folder(&files), &inspections, 2));
    assert_eq!((finding.severity, finding.code), (Severity::Note, "different-channels"));
    for words in ["2 of colour (such as a/1.png)", "1 of 5 bands", "1 of grey (such as a/2.png)"] {
        assert!(finding.message.contains(words), "{}", finding.message);
    }
}
