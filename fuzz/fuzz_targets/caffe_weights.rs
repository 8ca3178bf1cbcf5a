#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = regraft_fuzz::as_file("net.caffemodel", data, |path| regraft_formats::caffe::read(path, None));
});
