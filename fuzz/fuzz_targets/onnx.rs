#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = regraft_fuzz::as_file("model.onnx", data, |path| regraft_formats::onnx::read(path));
});
