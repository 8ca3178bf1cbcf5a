#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = regraft_fuzz::as_file("arrays.npz", data, |path| regraft_formats::npy::read_archive(path));
});
