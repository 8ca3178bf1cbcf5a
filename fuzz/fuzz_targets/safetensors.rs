#![no_main]
use std::path::Path;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = regraft_formats::safetensors::parse(Path::new("input"), bytes::Bytes::copy_from_slice(data));
});
