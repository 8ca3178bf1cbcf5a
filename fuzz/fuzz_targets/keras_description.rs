#![no_main]
//! Descriptions of a network, for weights that are whole.

const WEIGHTS: &[u8] = include_bytes!("../../crates/regraft-formats/tests/golden/keras/flattened.weights.h5");

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    regraft_fuzz::as_file("model.weights.h5", WEIGHTS, |_| ());
    regraft_fuzz::as_file("network.json", data, |path| {
        let _ = regraft_formats::keras::read(&path.with_file_name("model.weights.h5"), Some(path));
    });
});
