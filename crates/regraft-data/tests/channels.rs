//! Images with the channels that their files have, against Pillow, tifffile and NumPy.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use std::path::{Path, PathBuf};

use regraft_data::decode::{DecodeError, Limits, channels, decode, decode_as, dimensions};
use regraft_data::inspect::{inspect_image, view};
use regraft_data::raster::{Channels, Image, Samples};
use regraft_data::thumbnail;
use regraft_system::files;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/channels")
}

fn file(name: &str) -> Vec<u8> {
    files::read(&folder().join(name)).unwrap()
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let expected = |name: &String| name.ends_with(".samples.npy") || name.ends_with(".L.npy");
    let mut names: Vec<String> = names.filter(|name| !expected(name)).collect();
    names.sort();
    names
}

fn numbers(image: &Image) -> Vec<f32> {
    match image.samples() {
        Samples::Bytes(bytes) => bytes.iter().map(|byte| f32::from(*byte)).collect(),
        Samples::Numbers(numbers) => numbers.clone(),
    }
}

fn native(name: &str) -> Image {
    let content = file(name);
    let kind = channels(&content).unwrap();
    // Three channels are what Pillow makes of them, so the file's own are asked for otherwise.
    decode_as(&content, kind.count, &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_file_keeps_its_samples() {
    let names = names();
    assert_eq!(names.len(), 21, "{names:?}");
    for name in names {
        let expected = file(&format!("{name}.samples.npy"));
        let expected = npyz::NpyFile::new(&expected[..]).unwrap();
        let shape: Vec<usize> = expected.shape().iter().map(|size| *size as usize).collect();
        let expected: Vec<f32> = expected.into_vec().unwrap();
        let image = native(&name);
        assert_eq!([image.height(), image.width(), image.channels()], shape[..], "{name}");
        assert_eq!(dimensions(&file(&name)).unwrap(), (9, 7), "{name}");
        for (found, expected) in numbers(&image).iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{name}: {found} {expected}");
        }
    }
}

#[test]
fn headers_say_what_the_pixels_are_made_of() {
    for (name, found) in [
        ("grey.png", "grey"),
        ("grey.jpg", "grey"),
        ("grey16.png", "grey"),
        ("grey-alpha.png", "grey with alpha"),
        ("rgb.png", "RGB"),
        ("rgba.webp", "RGB with alpha"),
        ("rgba16.tif", "RGB with alpha"),
        ("5-u2.tif", "5 bands"),
        ("planes.tif", "5 bands"),
        ("5-u1.npy", "5 bands"),
        ("3-u1.npy", "RGB"),
        ("1-u1.npy", "grey"),
        ("4-f4.npy", "4 bands"),
    ] {
        let kind = channels(&file(name)).unwrap();
        assert_eq!(kind.name(), found, "{name}");
        let deep = ["16", "u2", "f4", "planes"].iter().any(|deep| name.contains(deep));
        assert_eq!(kind.deep, deep, "{name}");
        assert_eq!(native(name).file(), kind, "{name}");
    }
}

#[test]
fn colours_become_pillows_luma() {
    for name in ["rgb.png", "rgba.png", "rgba.webp", "grey.png", "grey.jpg", "grey-alpha.png"] {
        let expected = file(&format!("{name}.L.npy"));
        let expected: Vec<u8> = npyz::NpyFile::new(&expected[..]).unwrap().into_vec().unwrap();
        let grey = decode_as(&file(name), 1, &Limits::default()).unwrap();
        assert_eq!(grey.pixels(), expected, "{name}");
    }
}

#[test]
fn three_channels_are_those_of_always() {
    for name in ["rgb.png", "rgba.png", "grey.png", "grey.jpg", "grey-alpha.png", "grey16.png", "rgba16.tif"]
    {
        let content = file(name);
        let [expected, found] =
            [decode(&content, &Limits::default()), decode_as(&content, 3, &Limits::default())];
        assert_eq!(expected.unwrap(), found.unwrap(), "{name}");
    }
    let grey = decode(&file("1-u1.npy"), &Limits::default()).unwrap();
    assert_eq!(grey.pixels()[..3], [grey.pixels()[0]; 3]);
}

#[test]
fn bands_that_a_network_does_not_take_are_refused() {
    for (name, count) in [("5-u1.tif", 3), ("5-u2.npy", 1), ("4-f4.npy", 5), ("2-u1.tif", 3), ("rgb.png", 5)]
    {
        let error = decode_as(&file(name), count, &Limits::default()).unwrap_err();
        let expected = channels(&file(name)).unwrap().name();
        assert_eq!(error, DecodeError::WrongChannels { expected: count, found: expected }, "{name}");
    }
    let message = decode(&file("5-u1.tif"), &Limits::default()).unwrap_err().to_string();
    assert!(message.contains("5 bands") && message.contains("RGB images"), "{message}");
}

/// A file of 1 × 2 values, or of 1 × 2 pixels of several channels.
fn array(shape: &str, values: &[f32]) -> Vec<u8> {
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let text = format!("{text:<117}\n");
    let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [b"\x93NUMPY\x01\x00", &118u16.to_le_bytes()[..], text.as_bytes(), &values].concat()
}

#[test]
fn numbers_that_are_no_picture_are_refused() {
    let decoded = |shape, values: &[f32], count| {
        decode_as(&array(shape, values), count, &Limits::default()).map(|image| numbers(&image))
    };
    assert_eq!(decoded("(1, 2)", &[0.5, 1.0], 1).unwrap(), [127.5, 255.0]);
    assert_eq!(decoded("(1, 2)", &[0.5, f32::NAN], 3).unwrap_err(), DecodeError::NotFinite);
    assert_eq!(decoded("(1, 1, 5)", &[f32::INFINITY; 5], 5).unwrap_err(), DecodeError::NotFinite);
    assert_eq!(decoded("(1, 2)", &[0.0, 200.0], 1).unwrap_err(), DecodeError::Scale { largest: 200.0 });
    assert_eq!(decoded("(1, 2)", &[0.0, 200.0], 3).unwrap_err(), DecodeError::Scale { largest: 200.0 });
    assert_eq!(decoded("(1, 1, 5)", &[2000.0; 5], 5).unwrap(), [510_000.0; 5], "bands have any scale");
    let error = decode(&array("(1, 2, 3, 1)", &[0.0; 6]), &Limits::default()).unwrap_err().to_string();
    assert!(error.contains("cannot be read as an image: expected height × width"), "{error}");
}

#[test]
fn every_file_has_a_summary_and_a_small_picture() {
    for name in names() {
        let image = native(&name);
        let inspection = inspect_image(&image);
        assert_eq!(
            (inspection.width, inspection.height, inspection.channels),
            (9, 7, image.file()),
            "{name}"
        );
        assert_eq!(view(&image).channels(), 3, "{name}");
        assert!(!thumbnail::png(&image, 8).unwrap().is_empty(), "{name}");
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let limits = Limits { max_pixels: 10_000 };
    for name in names() {
        let content = file(&name);
        let mut state = content.len() as u64;
        for round in 0..300 {
            let mut bytes = content.clone();
            for _ in 0..=round % 4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 20) as u8;
            }
            bytes.truncate(if round % 3 == 0 {
                (state >> 40) as usize % content.len() + 1
            } else {
                content.len()
            });
            let _ = channels(&bytes);
            let _ = dimensions(&bytes);
            for count in [1, 3, 5] {
                let _ = decode_as(&bytes, count, &limits);
            }
        }
    }
}

#[test]
fn an_image_beyond_the_limit_is_refused_by_its_header() {
    let limits = Limits { max_pixels: 62 };
    for name in ["5-u2.tif", "5-u1.npy", "grey.png", "grey.jpg"] {
        let count = channels(&file(name)).unwrap().count;
        let error = decode_as(&file(name), count, &limits).unwrap_err();
        assert!(matches!(error, DecodeError::TooLarge { width: 9, height: 7, limit: 62 }), "{name}: {error}");
    }
    assert_eq!(channels(&file("rgb.png")).unwrap(), Channels::RGB);
}
