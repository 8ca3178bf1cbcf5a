//! safetensors files, good and bad.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::path::Path;

use bytes::Bytes;
use common::{assert_holds, damaged, file, golden};
use regraft_formats::{read_weights, safetensors};
use regraft_graph::{DType, Tensor, Weights};
use regraft_system::files;

fn parse(content: &[u8]) -> Result<(Weights, Vec<regraft_formats::Skipped>), String> {
    let content = Bytes::copy_from_slice(content);
    safetensors::parse(Path::new("some.safetensors"), content).map_err(|error| error.to_string())
}

/// A file with this header and that many bytes of tensors.
fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut content = (header.len() as u64).to_le_bytes().to_vec();
    content.extend(header.as_bytes());
    content.resize(content.len() + data, 0);
    content
}

#[test]
fn reads_what_the_python_library_writes() {
    assert_holds(&read_weights(&golden("plain.safetensors")).unwrap().weights, "plain.safetensors");
}

#[test]
fn writes_what_the_python_library_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, _) = safetensors::read(&golden("plain.safetensors")).unwrap();
    let path = folder.path().join("written.safetensors");
    safetensors::write(&path, &weights).unwrap();
    assert_eq!(files::read(&path).unwrap(), files::read(&golden("plain.safetensors")).unwrap());
}

#[test]
fn what_is_written_is_read_back_in_every_type() {
    let folder = tempfile::tempdir().unwrap();
    let types = [DType::F32, DType::F16, DType::BF16, DType::F64, DType::I64];
    let weights: Weights = types
        .iter()
        .map(|dtype| {
            let data: Vec<u8> = (0..6 * dtype.size()).map(|byte| byte as u8).collect();
            (format!("tensor {}", dtype.name()), Tensor::new(*dtype, vec![2, 3], data.into()).unwrap())
        })
        .collect();
    let path = folder.path().join("types.safetensors");
    safetensors::write(&path, &weights).unwrap();
    assert_eq!(safetensors::read(&path).unwrap(), (weights, Vec::new()));
}

#[test]
fn other_element_types_are_listed_and_left() {
    let header = r#"{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    let (weights, skipped) = parse(&raw(header, 8)).unwrap();
    assert_eq!((weights.len(), skipped.len()), (1, 1));
    assert_eq!((skipped[0].tensor.as_str(), skipped[0].dtype.as_str()), ("a", "F8_E4M3"));
}

#[test]
fn hostile_headers_are_named() {
    let tensor = |offsets: &str| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}"#);
    let cases = [
        (u64::MAX.to_le_bytes().to_vec(), "claims 18446744073709551615 bytes"),
        (vec![8, 0, 0], "shorter than its first number"),
        (raw("not json", 0), "the header"),
        (raw("[1, 2]", 0), "one entry a tensor"),
        (raw(&format!("{}1{}", "[".repeat(9000), "]".repeat(9000)), 0), "the header"),
        (raw(&format!(r#"{{"a":{},"b":{}}}"#, tensor("[0,8]"), tensor("[4,12]")), 12), "overlaps"),
        (raw(&format!(r#"{{"a":{},"b":{}}}"#, tensor("[0,8]"), tensor("[16,24]")), 24), "gap"),
        (raw(&format!(r#"{{"a":{}}}"#, tensor("[0,8]")), 4), "ends at byte 8 of 4"),
        (raw(&format!(r#"{{"a":{}}}"#, tensor("[0,8]")), 16), "do not fill the file"),
        (raw(&format!(r#"{{"a":{}}}"#, tensor("[8,0]")), 8), "overlaps"),
        (raw(&format!(r#"{{"a":{}}}"#, tensor("[0,4]")), 4), "follow from its shape and type"),
        (raw(&format!(r#"{{"a":{0},"a":{0}}}"#, tensor("[0,8]")), 8), "occurs twice"),
        (raw(r#"{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}"#, 8), "unknown variant"),
        (
            raw(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}}"#, 0),
            "absurdly large",
        ),
        (raw(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}"#, 0), "in header"),
        (
            raw(
                r#"{"a":{"dtype":"U8","shape":[2305843009213693951],"data_offsets":[0,2305843009213693951]}}"#,
                8,
            ),
            "ends at byte",
        ),
    ];
    for (content, expected) in cases {
        let message = parse(&content).unwrap_err();
        assert!(message.contains(expected) && message.contains("some.safetensors"), "{expected}: {message}");
    }
}

#[test]
fn a_header_that_is_not_utf8_is_an_error() {
    let mut content = raw(r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4);
    content[10] = 0xff;
    assert!(parse(&content).unwrap_err().contains("the header"));
}

#[test]
fn every_truncation_is_an_error() {
    let content = files::read(&golden("plain.safetensors")).unwrap();
    for length in 0..content.len() {
        assert!(parse(&content[..length]).is_err(), "{length}");
    }
}

#[test]
fn what_is_no_weight_file_is_named_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[u8], &str); 4] = [
        (b"", "an empty file"),
        (b"<!doctype html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n....", "89 50 4e 47"),
    ];
    for (content, expected) in cases {
        let message = read_weights(&file(&folder, "some.pth", content)).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("some.pth"), "{message}");
    }
    assert!(read_weights(&folder.path().join("absent.pth")).unwrap_err().to_string().contains("absent.pth"));
}

#[test]
fn damaged_bytes_never_panic() {
    let content = files::read(&golden("plain.safetensors")).unwrap();
    for round in 0..20_000 {
        let _ = parse(&damaged(&content, round));
    }
}

#[test]
fn several_files_are_read_by_their_index() {
    for name in ["model.safetensors.index.json", "pytorch_model.bin.index.json"] {
        let file = read_weights(&golden("sharded").join(name)).unwrap();
        assert_holds(&file.weights, name);
        assert_eq!((file.skipped.len(), file.sha256.len()), (0, 64));
    }
}

#[test]
fn an_index_stays_in_its_folder() {
    let outer = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir_in(&outer).unwrap();
    let whole = files::read(&golden("plain.safetensors")).unwrap();
    file(&outer, "outside.safetensors", &whole);
    file(&folder, "inside.safetensors", &whole);
    let absolute = outer.path().join("outside.safetensors").display().to_string();
    for (shard, expected) in [
        ("../outside.safetensors", "same folder"),
        (absolute.as_str(), "same folder"),
        ("a/../../outside.safetensors", "same folder"),
        ("..", "same folder"),
        (".", "same folder"),
        ("", "same folder"),
        ("..\\outside.safetensors", "same folder"),
        ("index.json", "same folder"),
        ("absent.safetensors", "absent.safetensors"),
        ("inside.safetensors", "'missing' is not in 'inside.safetensors'"),
    ] {
        let index = serde_json::json!({ "weight_map": { "missing": shard } }).to_string();
        let message = read_weights(&file(&folder, "index.json", index.as_bytes())).unwrap_err().to_string();
        assert!(message.contains(expected), "{shard}: {message}");
    }
}
