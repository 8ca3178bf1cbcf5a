//! Image folders in every layout and every kind of disorder. Nothing is decoded, so the files are empty.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use std::path::Path;

use regraft_data::source::{DataError, ImageFolder, Layout, Part, Problem, display, scan_unlabelled};
use tempfile::{NamedTempFile, TempDir};

fn folder(names: &[&str]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let seed = NamedTempFile::new_in(place.path()).unwrap();
    for name in names {
        link(seed.path(), &place.path().join(name));
    }
    place
}

/// Makes a file by linking it to another: ten thousand files that are written are ten thousand waits for the disk.
fn link(seed: &Path, path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::hard_link(seed, path).unwrap();
}

fn relative(folder: &ImageFolder) -> Vec<String> {
    folder.items.iter().map(|item| display(&item.relative)).collect()
}

#[test]
fn classes_are_folders_in_bytewise_order_and_nested_folders_belong_to_them() {
    let place = folder(&[
        "b/2.JPG",
        "b/deep/er/1.webp",
        "a/x.tiff",
        "B/y.png",
        "a/x.txt",
        "LICENSE",
        "a/.hidden.png",
        ".git/z.png",
    ]);
    let scanned = ImageFolder::scan(place.path()).unwrap();
    assert_eq!(scanned.classes, ["B", "a", "b"]);
    assert_eq!(relative(&scanned), ["B/y.png", "a/x.tiff", "b/2.JPG", "b/deep/er/1.webp"]);
    assert_eq!(scanned.items.iter().map(|item| item.class).collect::<Vec<_>>(), [0, 1, 2, 2]);
    assert_eq!((scanned.layout, scanned.ignored), (Layout::Classes, 1));
    assert!(scanned.problems.is_empty());
    assert!(scanned.items.iter().all(|item| item.part == Part::Unsplit && item.path.is_file()));
}

#[test]
fn order_is_by_bytes_of_the_whole_relative_path() {
    let place = folder(&["a/1.png", "a-b/1.png", "a.c/1.png"]);
    assert_eq!(relative(&ImageFolder::scan(place.path()).unwrap()), ["a-b/1.png", "a.c/1.png", "a/1.png"]);
}

#[test]
fn parts_are_known_under_every_usual_name() {
    for validation in ["val", "valid", "validation", "VAL"] {
        let place =
            folder(&["train/a/1.png", "train/b/2.png", "test/a/3.png", &format!("{validation}/b/4.png")]);
        let scanned = ImageFolder::scan(place.path()).unwrap();
        assert_eq!(scanned.layout, Layout::PartsAndClasses);
        assert_eq!(scanned.classes, ["a", "b"]);
        let counts =
            [Part::Train, Part::Validation, Part::Test, Part::Unsplit].map(|part| scanned.part(part).len());
        assert_eq!(counts, [2, 1, 1, 0]);
    }
}

#[test]
fn a_lone_folder_called_test_is_a_class() {
    let place = folder(&["test/1.png", "production/2.png"]);
    assert_eq!(ImageFolder::scan(place.path()).unwrap().classes, ["production", "test"]);
}

#[test]
fn what_is_left_out_is_reported() {
    let place =
        folder(&["train/a/1.png", "train/b/2.png", "test/a/3.png", "extra/a/4.png", "5.png", "train/6.png"]);
    std::fs::create_dir_all(place.path().join("train/empty")).unwrap();
    let scanned = ImageFolder::scan(place.path()).unwrap();
    assert_eq!(scanned.items.len(), 3);
    let at = |name: &str| place.path().join(name);
    let expected = [
        Problem::EmptyClass { path: at("train/empty") },
        Problem::WithoutClass { path: at("train/6.png") },
        Problem::BesideParts { path: at("extra") },
        Problem::WithoutClass { path: at("5.png") },
    ];
    assert!(expected.iter().all(|problem| scanned.problems.contains(problem)), "{:?}", scanned.problems);
    assert_eq!(scanned.problems.len(), expected.len());
}

#[test]
fn unusable_folders_are_refused_with_advice() {
    let error = |names: &[&str]| ImageFolder::scan(folder(names).path()).unwrap_err();
    assert!(matches!(error(&[]), DataError::Empty { ignored: 0, .. }));
    assert!(matches!(error(&["a/notes.txt"]), DataError::Empty { ignored: 1, .. }));
    let flat = error(&["1.png", "2.png"]);
    assert!(matches!(&flat, DataError::NoClassFolders { images: 2, .. }));
    assert!(flat.to_string().contains("cat/1.png"), "{flat}");
    assert!(matches!(error(&["a/1.png", "a/2.png"]), DataError::OneClass { class, .. } if class == "a"));
    assert!(matches!(error(&["val/a/1.png", "test/b/1.png"]), DataError::NoTraining { .. }));
    let unknown = error(&["train/a/1.png", "train/b/1.png", "test/c/1.png"]);
    assert!(matches!(&unknown, DataError::ClassNotInTraining { class, part: "test", .. } if class == "c"));
    let place = folder(&["file"]);
    let missing = ImageFolder::scan(&place.path().join("no/such")).unwrap_err();
    assert!(missing.to_string().contains("does not exist") && missing.to_string().contains("exists)"));
    let file = ImageFolder::scan(&place.path().join("file")).unwrap_err();
    assert!(matches!(file, DataError::NotAFolder { .. }));
}

#[cfg(unix)]
mod links {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn are_followed_to_files_and_folders() {
        let place = folder(&["a/1.png", "b/2.png"]);
        let elsewhere = folder(&["more/3.png", "4.png"]);
        symlink(elsewhere.path().join("more"), place.path().join("b/more")).unwrap();
        symlink(elsewhere.path().join("4.png"), place.path().join("a/4.png")).unwrap();
        symlink(elsewhere.path().join("more"), place.path().join("c")).unwrap();
        let scanned = ImageFolder::scan(place.path()).unwrap();
        assert_eq!(relative(&scanned), ["a/1.png", "a/4.png", "b/2.png", "b/more/3.png", "c/3.png"]);
        assert!(scanned.problems.is_empty());
    }

    #[test]
    fn that_lead_to_a_containing_folder_are_reported_and_not_entered() {
        let place = folder(&["a/1.png", "b/deep/2.png"]);
        let links = ["around", "a/itself", "b/deep/up"];
        symlink(place.path(), place.path().join("around")).unwrap();
        symlink(place.path().join("a"), place.path().join("a/itself")).unwrap();
        symlink(place.path(), place.path().join("b/deep/up")).unwrap();
        let scanned = ImageFolder::scan(place.path()).unwrap();
        assert_eq!(relative(&scanned), ["a/1.png", "b/deep/2.png"]);
        assert_eq!(scanned.classes, ["a", "b"]);
        let looping = |link: &&str| {
            let at = place.path().join(link);
            scanned
                .problems
                .iter()
                .any(|problem| matches!(problem, Problem::Loop { path, .. } if *path == at))
        };
        assert!(links.iter().all(looping), "{:?}", scanned.problems);
        assert_eq!(scanned.problems.len(), 3);
    }

    #[test]
    fn in_a_circle_end() {
        let place = folder(&["a/1.png", "b/2.png"]);
        symlink(place.path().join("b"), place.path().join("a/to_b")).unwrap();
        symlink(place.path().join("a"), place.path().join("b/to_a")).unwrap();
        let scanned = ImageFolder::scan(place.path()).unwrap();
        assert_eq!(relative(&scanned), ["a/1.png", "a/to_b/2.png", "b/2.png", "b/to_a/1.png"]);
        assert!(scanned.problems.iter().all(|problem| matches!(problem, Problem::Loop { .. })));
    }

    #[test]
    fn without_a_target_are_reported() {
        let place = folder(&["a/1.png", "b/2.png"]);
        symlink("nowhere", place.path().join("a/3.png")).unwrap();
        symlink("nowhere", place.path().join("c")).unwrap();
        symlink("d", place.path().join("d")).unwrap();
        let scanned = ImageFolder::scan(place.path()).unwrap();
        assert_eq!(scanned.items.len(), 2);
        assert_eq!(scanned.problems.len(), 3, "{:?}", scanned.problems);
        assert!(scanned.problems.iter().any(|problem| problem.to_string().contains("target does not exist")));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let place = folder(&["plain/1.png"]);
    let odd = place.path().join(OsStr::from_bytes(b"caf\xe9")).join(OsStr::from_bytes(b"\xff\n.png"));
    link(&place.path().join("plain/1.png"), &odd);
    let scanned = ImageFolder::scan(place.path()).unwrap();
    assert_eq!(scanned.classes, ["caf\\xe9", "plain"]);
    assert_eq!(relative(&scanned), ["caf\\xe9/\\xff\\n.png", "plain/1.png"]);
    assert!(scanned.items[0].path.is_file());
}

#[test]
fn unlabelled_images_keep_the_order_of_the_arguments() {
    let place = folder(&["in/b/2.png", "in/a.png", "in/notes.txt", "z.dat"]);
    let (inside, file) = (place.path().join("in"), place.path().join("z.dat"));
    let found = scan_unlabelled(&[file.clone(), inside]).unwrap();
    let names: Vec<String> = found.items.iter().map(|item| display(&item.relative)).collect();
    assert_eq!(names, ["z.dat", "a.png", "b/2.png"]);
    assert_eq!(found.ignored, 1);
    assert!(matches!(scan_unlabelled(&["no/such".into()]), Err(DataError::Missing { .. })));
    let empty = folder(&["notes.txt"]);
    assert!(matches!(
        scan_unlabelled(&[empty.path().to_path_buf()]),
        Err(DataError::Empty { ignored: 1, .. })
    ));
}

#[test]
fn ten_thousand_classes_are_listed() {
    let names: Vec<String> = (0..10_000).map(|class| format!("class{class:05}/1.png")).collect();
    let place = folder(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let scanned = ImageFolder::scan(place.path()).unwrap();
    assert_eq!((scanned.classes.len(), scanned.items.len()), (10_000, 10_000));
    assert_eq!(scanned.classes[scanned.items[9_999].class], "class09999");
}
