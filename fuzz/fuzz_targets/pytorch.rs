#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = regraft_fuzz::as_file("weights.pth", data, |path| regraft_formats::pytorch::read(path));
});
