//! What tests of runs share.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The classes of [`place`].
pub(crate) const CLASSES: [&str; 3] = ["animals", "faces", "vehicles"];

/// A folder with so many of the example's images of each class in `data`.
pub(crate) fn place(images_per_class: usize) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for class in CLASSES {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/emoji").join(class);
        let destination = place.path().join("data").join(class);
        std::fs::create_dir_all(&destination).unwrap();
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files.iter().take(images_per_class) {
            std::fs::copy(file, destination.join(file.file_name().unwrap())).unwrap();
        }
    }
    place
}
