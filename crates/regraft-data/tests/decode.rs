//! Decoding against Pillow: every sample file bit for bit, photographs by hash, hostile input without a panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use std::path::{Path, PathBuf};

use regraft_data::decode::{DECODER, DecodeError, Limits, decode, dimensions};
use regraft_data::raster::{Channels, Image};
use regraft_system::{files, hash};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Every sample with its expected pixels, in order of name.
fn samples() -> Vec<(String, Vec<u8>, Image)> {
    let mut names: Vec<_> = std::fs::read_dir(golden().join("decode"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".rgb"))
        .collect();
    names.sort();
    names.into_iter().map(sample).collect()
}

fn sample(name: String) -> (String, Vec<u8>, Image) {
    let read = |name: &str| files::read(&golden().join("decode").join(name)).unwrap();
    let expected = read(&format!("{name}.rgb"));
    let side = |at: usize| u32::from_le_bytes(expected[at..at + 4].try_into().unwrap()) as usize;
    let image = Image::rgb(side(0), side(4), expected[8..].to_vec()).unwrap();
    let content = read(&name);
    (name, content, image)
}

#[test]
fn every_sample_equals_pillow() {
    let mut differing = Vec::new();
    for (name, content, expected) in samples() {
        match decode(&content, &Limits::default()) {
            // The expected pixels come without a word on transparency and on the channels of the file.
            Ok(image) if image.clone().with_transparency(false).from_file(Channels::RGB) == expected => {}
            Ok(image) if (image.width(), image.height()) != (expected.width(), expected.height()) => {
                differing.push(format!("{name}: {}×{}", image.width(), image.height()));
            }
            Ok(image) => {
                let differences = image.pixels().iter().zip(expected.pixels()).map(|(a, b)| a.abs_diff(*b));
                differing.push(format!("{name}: up to {:?}", differences.max()));
            }
            Err(error) => differing.push(format!("{name}: {error}")),
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn transparency_is_noticed() {
    let transparent: Vec<String> = samples()
        .into_iter()
        .filter(|(_, content, _)| {
            decode(content, &Limits::default()).is_ok_and(|image| image.is_transparent())
        })
        .map(|(name, ..)| name)
        .collect();
    assert!(transparent.contains(&"grey_alpha.png".to_owned()), "{transparent:?}");
    assert!(
        transparent.iter().all(|name| !name.ends_with(".jpg") && !name.ends_with(".bmp")),
        "{transparent:?}"
    );
}

#[test]
fn photographs_equal_pillow() {
    let expected: serde_json::Value =
        serde_json::from_slice(&files::read(&golden().join("photographs.json")).unwrap()).unwrap();
    for (name, expected) in expected.as_object().unwrap() {
        let content = files::read(&golden().join("photographs").join(name)).unwrap();
        let image = decode(&content, &Limits::default()).unwrap();
        assert_eq!(image.width() as u64, expected["width"]);
        assert_eq!(hash::sha256_hex(image.pixels()), expected["sha256"], "{name}");
    }
}

#[test]
fn dimensions_need_no_decoding_and_honour_orientation() {
    for (name, content, expected) in samples() {
        assert_eq!(dimensions(&content).unwrap(), (expected.width(), expected.height()), "{name}");
    }
}

#[test]
fn unsupported_kinds_are_named() {
    for name in ["palette.tiff", "cmyk_420.jpg"] {
        let content = files::read(&golden().join("unsupported").join(name)).unwrap();
        let error = decode(&content, &Limits::default()).unwrap_err();
        assert!(matches!(error, DecodeError::Unsupported { .. }), "{name}: {error}");
    }
}

#[test]
fn content_that_is_no_image_is_described() {
    let found = |content: &[u8]| decode(content, &Limits::default()).unwrap_err().to_string();
    assert!(found(b"").contains("empty (0 bytes)"));
    assert!(found(b"just some notes\n").contains("plain text"));
    assert!(found(b"<!doctype html><html>").contains("web page"));
    assert!(found(b"\0\0\0\x1cftypheic\0\0\0\0").contains("HEIC"));
    assert!(found(b"\xff\xd8\xff").contains("JPEG"));
}

/// A truncated file must be refused, never silently filled up.
#[test]
fn truncated_files_are_refused() {
    for (name, content, _) in samples() {
        let cut = &content[..content.len() / 2];
        assert!(decode(cut, &Limits::default()).is_err(), "{name}");
    }
    for (name, content, _) in samples().into_iter().filter(|(name, ..)| name.ends_with(".jpg")) {
        let end = content.windows(2).rposition(|pair| pair == [0xff, 0xd9]).unwrap();
        let error = decode(&content[..end - 1], &Limits::default()).unwrap_err();
        assert_eq!(error, DecodeError::Truncated { format: "JPEG" }, "{name}");
    }
}

/// Rewrites the size in a sample's header to 20,000 × 20,000.
fn enlarged(name: &str) -> Vec<u8> {
    let (_, mut content, _) = sample(name.to_owned());
    match name.rsplit('.').next().unwrap() {
        "jpg" => {
            let frame =
                content.windows(2).position(|pair| pair == [0xff, 0xc0] || pair == [0xff, 0xc2]).unwrap();
            content[frame + 5..frame + 9].copy_from_slice(&[0x4e, 0x20, 0x4e, 0x20]);
        }
        "png" => {
            content[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
            let checksum = crc32(&content[12..29]);
            content[29..33].copy_from_slice(&checksum.to_be_bytes());
        }
        "bmp" => content[18..26].copy_from_slice(&[0x20, 0x4e, 0, 0, 0x20, 0x4e, 0, 0]),
        _ => content[6..10].copy_from_slice(&[0x20, 0x4e, 0x20, 0x4e]),
    }
    content
}

fn crc32(content: &[u8]) -> u32 {
    let shift =
        |crc: u32| (0..8).fold(crc, |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 });
    !content.iter().fold(!0, |crc, byte| shift((crc ^ u32::from(*byte)) & 0xff) ^ (crc >> 8))
}

/// Largest resident memory of this process so far, in kB.
#[cfg(target_os = "linux")]
fn peak_memory() -> u64 {
    let status = String::from_utf8(files::read(Path::new("/proc/self/status")).unwrap()).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn huge_images_are_refused_before_they_are_allocated() {
    let before = peak_memory();
    for name in ["444.jpg", "progressive_420.jpg", "rgb.png", "rgba_16.png", "rgb.bmp", "palette.gif"] {
        let error = decode(&enlarged(name), &Limits::default()).unwrap_err();
        let expected = DecodeError::TooLarge { width: 20_000, height: 20_000, limit: 178_956_970 };
        assert_eq!(error, expected, "{name}");
        assert!(error.to_string().contains("20000×20000") && error.to_string().contains("--max-megapixels"));
    }
    assert!(peak_memory() - before < 100_000, "{} kB", peak_memory() - before);
}

#[test]
fn the_limit_is_configurable() {
    let (_, content, image) = sample("rgb.png".to_owned());
    let pixels = (image.width() * image.height()) as u64;
    assert!(decode(&content, &Limits { max_pixels: pixels }).is_ok());
    assert!(decode(&content, &Limits { max_pixels: pixels - 1 }).is_err());
}

/// Every sample cut at many places and with bytes changed at many places: an answer or an error, never a panic.
#[test]
fn damaged_files_never_panic() {
    let limits = Limits { max_pixels: 1 << 20 };
    for (_, content, _) in samples() {
        for cut in (0..content.len()).step_by(content.len() / 60 + 1) {
            let _ = decode(&content[..cut], &limits);
            let _ = dimensions(&content[..cut]);
        }
        for at in (0..content.len()).step_by(content.len() / 150 + 1).chain(0..content.len().min(100)) {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = content.clone();
                damaged[at] ^= change;
                let _ = decode(&damaged, &limits);
                let _ = dimensions(&damaged);
            }
        }
    }
}

/// The string that keys caches names the versions that Cargo resolved.
#[test]
fn the_decoder_string_is_true() {
    let lock = files::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock")).unwrap();
    let lock = String::from_utf8(lock).unwrap();
    for package in ["libjpeg-turbo-rs", "image", "image-webp"] {
        let entry = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).unwrap().1;
        let version = entry.split('"').next().unwrap();
        assert!(
            DECODER.contains(&format!("{package} {version}")),
            "{package} {version} is not in {DECODER:?}"
        );
    }
}

/// Headers on which the JPEG decoder itself gives up: no rows, and sampling factors that no writer of CMYK uses.
#[test]
fn unusual_cmyk_headers_are_refused() {
    let (_, content, _) = sample("cmyk.jpg".to_owned());
    let frame = content.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    for (offset, value) in [(6, 0), (11, 0x13), (17, 0x22), (20, 0x23)] {
        let mut changed = content.clone();
        changed[frame + offset] = value;
        let error = decode(&changed, &Limits::default()).unwrap_err();
        assert!(matches!(error, DecodeError::Unsupported { format: "JPEG", .. }), "{offset}: {error}");
    }
}
