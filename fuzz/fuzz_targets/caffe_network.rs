#![no_main]

/// Weights for layers of the names that the corpus uses.
const WEIGHTS: &[u8] =
    include_bytes!("../../crates/regraft-formats/tests/golden/caffe/normalize.caffemodel");

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = regraft_fuzz::as_file("fixed.caffemodel", WEIGHTS, |weights| {
        regraft_fuzz::as_file("net.prototxt", data, |network| {
            regraft_formats::caffe::read(weights, Some(network))
        })
    });
});
