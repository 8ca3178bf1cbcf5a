#![no_main]
//! Whole `.h5` models and `.keras` archives.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    regraft_fuzz::as_file("model.keras", data, |path| {
        let _ = regraft_formats::keras::read(path, None);
    });
});
