#![no_main]
//! `graph.json` beside weights that fit no graph: everything up to the check of the weights.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let empty = [&8u64.to_le_bytes()[..], b"{}      "].concat();
    regraft_fuzz::as_file("model.safetensors", &empty, |_| ());
    regraft_fuzz::as_file("graph.json", data, |path| {
        let _ = path.parent().map(regraft_formats::model_folder::load);
    });
});
