//! What is measured.

/// A network, a batch and a precision, and who else runs it.
pub(crate) struct Work {
    /// As `oracles/bench_peers.py` and the zoo know it.
    pub(crate) network: &'static str,
    pub(crate) batch: usize,
    pub(crate) precision: &'static str,
    pub(crate) peers: &'static [&'static str],
    /// The ratio to the best peer that Regraft sets out to reach.
    pub(crate) aim: f64,
}

impl Work {
    /// Such as `resnet50-8-f32`.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}-{}", self.network, self.batch, self.precision)
    }
}

const ALL: &[&str] = &["openvino", "onnxruntime", "torch", "mnn", "ncnn"];
/// The engines that compute in bf16 here; MNN's and ncnn's Python packages do so on ARM only.
const BFLOAT16: &[&str] = &["openvino", "torch"];
/// The engines that compute in int8 from a network quantised after training.
const INTEGER: &[&str] = &["openvino"];
/// ncnn's converter does not take them.
const TRANSFORMER: &[&str] = &["openvino", "onnxruntime", "torch", "mnn"];

const fn work(
    network: &'static str,
    batch: usize,
    precision: &'static str,
    peers: &'static [&'static str],
    aim: f64,
) -> Work {
    Work { network, batch, precision, peers, aim }
}

pub(crate) const WORKS: &[Work] = &[
    work("resnet50", 8, "f32", ALL, 1.1),
    work("resnet50", 32, "f32", ALL, 1.1),
    work("resnet50", 1, "f32", ALL, 1.0),
    work("vgg16", 8, "f32", ALL, 1.1),
    work("resnet18", 8, "f32", ALL, 1.05),
    work("mobilenet_v2", 8, "f32", ALL, 1.05),
    work("efficientnet_lite0", 8, "f32", ALL, 1.05),
    work("inception_v3", 8, "f32", ALL, 1.05),
    work("densenet121", 8, "f32", ALL, 1.05),
    work("vit_b_16", 8, "f32", TRANSFORMER, 1.1),
    work("encoder", 16, "f32", TRANSFORMER, 1.1),
    work("resnet50", 8, "bf16", BFLOAT16, 1.0),
    work("mobilenet_v2", 8, "bf16", BFLOAT16, 1.0),
    work("vit_b_16", 8, "bf16", BFLOAT16, 1.1),
    work("encoder", 16, "bf16", BFLOAT16, 1.1),
    work("resnet50", 8, "int8", INTEGER, 1.0),
];

/// An engine's name as its makers write it.
pub(crate) fn title(peer: &str) -> &'static str {
    match peer {
        "openvino" => "OpenVINO",
        "onnxruntime" => "ONNX Runtime",
        "torch" => "PyTorch",
        "mnn" => "MNN",
        _ => "ncnn",
    }
}
