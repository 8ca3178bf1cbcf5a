//! Files that strangers might send: every reader comes back from every regression file of the fuzz targets
//! (`fuzz/regressions/TARGET/`), with a model or with an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "a test")]

#[path = "../../../fuzz/readers.rs"]
mod readers;

use std::path::Path;

#[test]
fn every_reader_comes_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/regressions");
    for (name, reader) in readers::READERS {
        let files: Vec<_> = std::fs::read_dir(folder.join(name)).unwrap().collect();
        assert!(!files.is_empty(), "no regression files for {name}");
        for file in files {
            reader(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}
