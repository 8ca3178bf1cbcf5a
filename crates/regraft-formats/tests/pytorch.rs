//! PyTorch files, good and bad. The good ones were written by torch (`oracles/formats_files.py`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod common;

use common::{assert_holds, bomb, damaged, file, golden};
use regraft_formats::{pytorch, read_weights};
use regraft_system::files;

#[test]
fn reads_what_torch_writes() {
    for name in [
        "zip.pth",
        "best_model_checkpoint.pth",
        "legacy.pth",
        "views.pth",
        "views_legacy.pth",
        "integers.pth",
        "checkpoint.pth",
        "checkpoint_legacy.pth",
        "ema.pth",
        "lightning.pth",
        "protocol4.pth",
        "archive.pth",
        "model_entry.pth",
        "submodule.pth",
        "whole_module.pth",
        "whole_module_legacy.pth",
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

/// A pickle of protocol 2.
fn pickle(body: &[&[u8]]) -> Vec<u8> {
    [b"\x80\x02".as_slice(), &body.concat(), b"."].concat()
}

#[test]
fn pickles_that_nest_or_refer_without_end_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let key = b"X\x01\x00\x00\x00a".as_slice();
    let nested = [b"]".repeat(200_000), b"a".repeat(199_999)].concat();
    // A list of two references to a list of two references to …, forty deep.
    let doubling: Vec<u8> =
        (0..40).flat_map(|depth| [b'q', depth, b'(', b'h', depth, b'h', depth, b'l']).collect();
    let cases = [
        ("deep", pickle(&[b"}", key, &nested, b"s"])),
        ("cyclic", pickle(&[b"}", key, b"]q\x00h\x00as"])),
        ("self", pickle(&[b"}q\x00", key, b"h\x00s"])),
        ("doubling", pickle(&[b"}", key, b"]", &doubling, b"s"])),
        ("text of 4 GiB", pickle(&[b"X\xff\xff\xff\xff"])),
        ("bytes of 2^63", pickle(&[b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f"])),
        ("number of 2 GiB", pickle(&[b"\x8b\xff\xff\xff\x7f"])),
        ("nothing to take", pickle(&[b"R"])),
        ("no mark", pickle(&[b"t"])),
    ];
    for (name, content) in cases {
        let message = read_weights(&file(&folder, name, &content)).expect_err(name).to_string();
        assert!(message.contains(name), "{message}");
    }
    assert!(regraft_system::memory::peak_resident_bytes().is_none_or(|peak| peak < 1 << 29));
}

#[test]
fn a_bomb_in_place_of_the_pickle_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = read_weights(&bomb(&folder, "archive/data.pkl", 300 << 20)).unwrap_err().to_string();
    assert!(message.contains("limit"), "{message}");
}

#[test]
fn a_flipped_bit_in_a_tensor_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut content = files::read(&golden("zip.pth")).unwrap();
    let needle: Vec<u8> = [-1.0f32, -0.75, -0.5].iter().flat_map(|value| value.to_le_bytes()).collect();
    let place = content.windows(needle.len()).position(|window| window == needle).unwrap();
    content[place] ^= 1;
    let message = read_weights(&file(&folder, "flipped.pth", &content)).unwrap_err().to_string();
    assert!(message.contains("checksum") && message.contains("flipped.pth"), "{message}");
}
