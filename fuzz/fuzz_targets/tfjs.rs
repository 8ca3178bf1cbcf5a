#![no_main]
//! `model.json` beside a shard of 4,096 bytes.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let shard: Vec<u8> = (0..4096u32).map(|place| place as u8).collect();
    regraft_fuzz::as_file("group1-shard1of1.bin", &shard, |_| ());
    regraft_fuzz::as_file("model.json", data, |path| {
        let _ = regraft_formats::tfjs::read(path);
    });
});
