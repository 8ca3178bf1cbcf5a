//! npy files, good and bad.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod common;

use common::{assert_holds, bomb, damaged, expected, file, golden, numbers, shape};
use ndarray::{Array, ArrayD, IxDyn};
use regraft_formats::{npy, read_weights};
use regraft_system::files;

#[test]
fn reads_what_numpy_writes() {
    for name in ["f32", "f64", "fortran", "scalar", "empty", "big_endian"] {
        let name = format!("{name}.npy");
        let expected = expected(&name);
        let array = npy::read_f64(&golden(&name)).unwrap();
        assert_eq!(array.shape(), shape(&expected["shape"]), "{name}");
        assert_eq!(array.iter().copied().collect::<Vec<_>>(), numbers(&expected["values"]), "{name}");
        assert!(array.is_standard_layout());
        assert_eq!(npy::read_f32(&golden(&name)).unwrap(), array.mapv(|value| value as f32));
    }
}

#[test]
fn writes_what_numpy_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("written.npy");
    npy::write_f32(&path, npy::read_f32(&golden("f32.npy")).unwrap().view()).unwrap();
    assert_eq!(npy::read_f32(&path).unwrap(), npy::read_f32(&golden("f32.npy")).unwrap());
    npy::write_f64(&path, npy::read_f64(&golden("f64.npy")).unwrap().view()).unwrap();
    let (written, original) = (files::read(&path).unwrap(), files::read(&golden("f64.npy")).unwrap());
    assert_eq!(written[written.len() - 48..], original[original.len() - 48..]);
}

#[test]
fn every_rank_and_layout_round_trips() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("array.npy");
    for shape in [vec![], vec![0], vec![5], vec![2, 3], vec![2, 0, 3], vec![2, 3, 4, 5, 2]] {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|value| value as f32 / 3.0).collect();
        let array: ArrayD<f32> = Array::from_shape_vec(IxDyn(&shape), values).unwrap();
        for view in [array.view(), array.view().reversed_axes()] {
            npy::write_f32(&path, view.clone()).unwrap();
            assert_eq!(npy::read_f32(&path).unwrap(), view);
        }
    }
}

#[test]
fn rows_one_by_one_make_the_same_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.npy");
    for rows in [0, 1, 12_345] {
        let values: Vec<f32> = (0..3 * rows).map(|value| value as f32 / 7.0).collect();
        let mut writer = npy::RowWriter::start(&path, 3).unwrap();
        values.chunks(6).for_each(|rows| writer.append(rows).unwrap());
        assert_eq!(writer.rows(), rows);
        writer.finish().unwrap();
        let matrix = ArrayD::from_shape_vec(IxDyn(&[rows, 3]), values).unwrap();
        assert_eq!(npy::read_f32(&path).unwrap(), matrix);
    }
    let mut writer = npy::RowWriter::start(&path, 3).unwrap();
    assert!(writer.append(&[1.0, 2.0]).unwrap_err().to_string().contains("rows of 3"));
    drop(writer);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A version 1 file with this header text and that many bytes after it.
fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut content = b"\x93NUMPY\x01\x00".to_vec();
    content.extend((header.len() as u16).to_le_bytes());
    content.extend(header.as_bytes());
    content.resize(content.len() + data, 0);
    content
}

#[test]
fn bad_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let header = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let huge_header = [b"\x93NUMPY\x02\x00".as_slice(), &u32::MAX.to_le_bytes(), b"{"].concat();
    let cases = [
        (b"".to_vec(), "npy header"),
        (b"PK\x03\x04".to_vec(), "npy header"),
        (huge_header, "npy header"),
        (raw(&header("(9999999999, 9999999999)"), 8), "more elements"),
        (raw(&header("(18446744073709551615, 0, 2)"), 8), "more elements"),
        (raw(&header("(4,)"), 12), "not a valid npy file"),
        (raw(&"(".repeat(60000), 0), "structured"),
        (raw("{'descr': '<f4', 'shape': (1,)}", 4), "fortran_order"),
        (raw(&header("(-4,)"), 12), "not a valid npy file"),
    ];
    for (content, expected) in cases {
        let message = npy::read_f32(&file(&folder, "bad.npy", &content)).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("bad.npy"), "{expected}: {message}");
    }
}

#[test]
fn other_elements_are_named() {
    for (name, expected) in [("integers.npy", "i4"), ("objects.npy", "O"), ("structured.npy", "structured")] {
        let message = npy::read_f32(&golden(name)).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("f4 or f8"), "{message}");
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["f32.npy", "fortran.npy", "structured.npy", "objects.npy"] {
        let content = files::read(&golden(name)).unwrap();
        for round in 0..500 {
            let _ = npy::read_f32(&file(&folder, name, &damaged(&content, round)));
        }
    }
}

#[test]
fn archives_are_read_as_tensors() {
    for (name, skipped) in [("plain.npz", 0), ("compressed.npz", 1)] {
        let file = read_weights(&golden(name)).unwrap();
        assert_holds(&file.weights, name);
        assert_eq!(file.skipped.len(), skipped, "{name}");
    }
}

#[test]
fn a_bomb_of_zeros_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = read_weights(&bomb(&folder, "weights.npy", 300 << 20)).unwrap_err().to_string();
    assert!(message.contains("'weights.npy' unpacks to more than 268435456 bytes"), "{message}");
}

#[test]
fn damaged_archives_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["plain.npz", "compressed.npz"] {
        let content = files::read(&golden(name)).unwrap();
        for round in 0..400 {
            let _ = read_weights(&file(&folder, name, &damaged(&content, round)));
        }
        for length in (0..content.len()).step_by(7) {
            assert!(read_weights(&file(&folder, name, &content[..length])).is_err(), "{length}");
        }
    }
}
