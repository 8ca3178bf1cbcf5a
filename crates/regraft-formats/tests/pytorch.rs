//! PyTorch files, good and bad. The good ones were written by torch (`oracles/formats_files.py`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod common;

use common::{assert_holds, damaged, file, golden};
use regraft_formats::{pytorch, read_weights};
use regraft_system::files;

#[test]
fn reads_what_torch_writes() {
    for name in [
        "zip.pth",
        "legacy.pth",
        "views.pth",
        "views_legacy.pth",
        "integers.pth",
        "checkpoint.pth",
        "checkpoint_legacy.pth",
        "model_entry.pth",
        "submodule.pth",
        "whole_module.pth",
        "named_model.pth",
    ] {
        let file = read_weights(&golden(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_holds(&file.weights, name);
        assert!(file.skipped.is_empty());
        assert_eq!(file.sha256, regraft_system::hash::sha256_hex(&files::read(&golden(name)).unwrap()));
    }
}

#[test]
fn executes_nothing() {
    for name in ["hostile.pth", "hostile_zip.pth"] {
        let message = read_weights(&golden(name)).unwrap_err().to_string();
        assert!(message.contains(name), "{message}");
        assert!(!std::path::Path::new("regraft-was-here").exists());
    }
}

#[test]
fn refuses_a_tensor_that_unfolds_beyond_its_file() {
    let message = read_weights(&golden("expanded.pth")).unwrap_err().to_string();
    assert!(message.contains("4294967296 bytes"), "{message}");
}

#[test]
fn says_that_there_are_no_tensors() {
    let message = read_weights(&golden("no_tensors.pth")).unwrap_err().to_string();
    assert!(message.contains("holds no tensors") && message.contains("state_dict"), "{message}");
}

#[test]
fn every_truncation_is_an_error_or_whole() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["zip.pth", "legacy.pth", "checkpoint.pth"] {
        let content = files::read(&golden(name)).unwrap();
        for length in (0..content.len()).step_by(7) {
            let path = file(&folder, name, &content[..length]);
            let message = pytorch::read(&path).expect_err("a truncated file").to_string();
            assert!(message.contains(name), "{message}");
        }
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["zip.pth", "legacy.pth", "views_legacy.pth", "hostile.pth"] {
        let content = files::read(&golden(name)).unwrap();
        for round in 0..400 {
            let _ = pytorch::read(&file(&folder, name, &damaged(&content, round)));
        }
    }
}
