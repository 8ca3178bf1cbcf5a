//! Image classifiers of Hugging Face's transformers as architectures that are known here: by `model_type` and the sizes
//! in `config.json`, with a table of names for each.

use regraft_graph::{
    BatchNormalization, Conv, Graph, GraphError, LayerNormalization, Model, Node, Op, Padding, Preprocessing,
    Resize, ResizeFilter, Weights,
};
use serde_json::Value;

use crate::folder::{channel_values, size};
use crate::names::Rule;

/// How a folder's tensors become an architecture's.
pub(crate) struct Translation {
    /// The architecture here.
    pub(crate) architecture: &'static str,
    /// Names of its modules there.
    pub(crate) rules: &'static [Rule],
    /// What stands before the names in a classifier and not in a bare model.
    pub(crate) prefix: &'static str,
    /// What the network of that architecture computes otherwise there.
    pub(crate) adapt: fn(&Value, Model) -> Result<Model, GraphError>,
}

/// The architecture of a configuration.
///
/// # Errors
/// A kind of model, or a size of it, that is not known here.
pub(crate) fn translation(config: &Value) -> Result<Translation, String> {
    let kind = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "resnet" => resnet(config),
        "vit" => vit(config),
        "dinov2" => dinov2(config),
        "convnext" => convnext(config),
        "regnet" => regnet(config),
        "mobilenet_v2" => mobilenet_v2(config),
        "deit" => {
            Err("DeiT with a distillation token is not known; the plain DeiT is published as 'vit'"
                .to_owned())
        }
        _ => Err(format!(
            "'model_type' is '{kind}', expected resnet, vit, dinov2, convnext, regnet, mobilenet_v2 or bert, or a timm folder"
        )),
    }
}

fn keep(_: &Value, model: Model) -> Result<Model, GraphError> {
    Ok(model)
}

/// A list of sizes in the configuration.
fn list(config: &Value, key: &str) -> Vec<u64> {
    let values = config.get(key).and_then(Value::as_array);
    values.map(|values| values.iter().filter_map(Value::as_u64).collect()).unwrap_or_default()
}

fn number(config: &Value, key: &str) -> Option<u64> {
    config.get(key).and_then(Value::as_u64)
}

fn unknown<T>(kind: &str, sizes: impl std::fmt::Debug) -> Result<T, String> {
    Err(format!("no {kind} of these sizes is known: {sizes:?}"))
}

fn resnet(config: &Value) -> Result<Translation, String> {
    let basic = config.get("layer_type").and_then(Value::as_str) == Some("basic");
    let depths = list(config, "depths");
    let architecture = match (basic, depths.as_slice()) {
        (true, [2, 2, 2, 2]) => "resnet18",
        (true, [3, 4, 6, 3]) => "resnet34",
        (false, [3, 4, 6, 3]) => "resnet50",
        (false, [3, 4, 23, 3]) => "resnet101",
        (false, [3, 8, 36, 3]) => "resnet152",
        _ => return unknown("ResNet", depths),
    };
    if config.get("downsample_in_bottleneck") == Some(&Value::Bool(true)) {
        return Err(
            "'downsample_in_bottleneck' is true: the stride in the first 1×1 convolution is not known"
                .to_owned(),
        );
    }
    Ok(Translation { architecture, rules: &RESNET, prefix: "resnet.", adapt: keep })
}

const RESNET: [Rule; 7] = [
    Rule::new("embedder.embedder.convolution", "conv1"),
    Rule::new("embedder.embedder.normalization", "bn1"),
    Rule::new("encoder.stages.#.layers.#.layer.#.convolution", "layer{0+1}.{1}.conv{2+1}"),
    Rule::new("encoder.stages.#.layers.#.layer.#.normalization", "layer{0+1}.{1}.bn{2+1}"),
    Rule::new("encoder.stages.#.layers.#.shortcut.convolution", "layer{0+1}.{1}.downsample.0"),
    Rule::new("encoder.stages.#.layers.#.shortcut.normalization", "layer{0+1}.{1}.downsample.1"),
    Rule::new("classifier.1", "fc"),
];

fn vit(config: &Value) -> Result<Translation, String> {
    let sizes =
        [number(config, "hidden_size"), number(config, "patch_size"), number(config, "num_hidden_layers")];
    let architecture = match sizes {
        [Some(192), Some(16), Some(12)] => "vit_tiny_patch16_224",
        [Some(384), Some(16), Some(12)] => "vit_small_patch16_224",
        [Some(768), Some(16), Some(12)] => "vit_base_patch16_224",
        _ => return unknown("ViT", sizes),
    };
    Ok(Translation { architecture, rules: &VIT, prefix: "vit.", adapt: with_layer_norm_epsilon })
}

fn dinov2(config: &Value) -> Result<Translation, String> {
    let sizes =
        [number(config, "hidden_size"), number(config, "patch_size"), number(config, "num_hidden_layers")];
    if sizes != [Some(384), Some(14), Some(12)] {
        return unknown("DINOv2", sizes);
    }
    // The classifier there reads the class token and the mean of the others; here a network ends at the class token.
    let architecture = "vit_small_patch14_dinov2";
    Ok(Translation { architecture, rules: &VIT, prefix: "dinov2.", adapt: with_layer_norm_epsilon })
}

/// ViT's and DINOv2's.
const VIT: [Rule; 20] = [
    Rule::new("embeddings.cls_token", "cls_token"),
    Rule::new("embeddings.position_embeddings", "pos_embed"),
    Rule::new("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    Rule::part("encoder.layer.#.attention.attention.query", "blocks.{0}.attn.qkv", [0, 3]),
    Rule::part("encoder.layer.#.attention.attention.key", "blocks.{0}.attn.qkv", [1, 3]),
    Rule::part("encoder.layer.#.attention.attention.value", "blocks.{0}.attn.qkv", [2, 3]),
    Rule::new("encoder.layer.#.attention.output.dense", "blocks.{0}.attn.proj"),
    Rule::new("encoder.layer.#.intermediate.dense", "blocks.{0}.mlp.fc1"),
    Rule::new("encoder.layer.#.output.dense", "blocks.{0}.mlp.fc2"),
    Rule::new("encoder.layer.#.layernorm_before", "blocks.{0}.norm1"),
    Rule::new("encoder.layer.#.layernorm_after", "blocks.{0}.norm2"),
    Rule::new("encoder.layer.#.norm1", "blocks.{0}.norm1"),
    Rule::new("encoder.layer.#.norm2", "blocks.{0}.norm2"),
    Rule::new("encoder.layer.#.mlp.fc1", "blocks.{0}.mlp.fc1"),
    Rule::new("encoder.layer.#.mlp.fc2", "blocks.{0}.mlp.fc2"),
    Rule::new("encoder.layer.#.layer_scale1.lambda1", "blocks.{0}.ls1.gamma"),
    Rule::new("encoder.layer.#.layer_scale2.lambda1", "blocks.{0}.ls2.gamma"),
    Rule::new("layernorm", "norm"),
    Rule::new("pooler.dense", "pooler"),
    Rule::new("classifier", "head"),
];

fn convnext(config: &Value) -> Result<Translation, String> {
    let (depths, widths) = (list(config, "depths"), list(config, "hidden_sizes"));
    let architecture = match (depths.as_slice(), widths.as_slice()) {
        ([3, 3, 9, 3], [96, 192, 384, 768]) => "convnext_tiny",
        ([3, 3, 27, 3], [96, 192, 384, 768]) => "convnext_small",
        ([3, 3, 27, 3], [128, 256, 512, 1024]) => "convnext_base",
        _ => return unknown("ConvNeXt", (depths, widths)),
    };
    Ok(Translation { architecture, rules: &CONVNEXT, prefix: "convnext.", adapt: with_last_norm_epsilon })
}

const CONVNEXT: [Rule; 10] = [
    Rule::new("embeddings.patch_embeddings", "stem.0"),
    Rule::new("embeddings.layernorm", "stem.1"),
    Rule::new("encoder.stages.#.downsampling_layer.#", "stages.{0}.downsample.{1}"),
    Rule::new("encoder.stages.#.layers.#.dwconv", "stages.{0}.blocks.{1}.conv_dw"),
    Rule::new("encoder.stages.#.layers.#.layernorm", "stages.{0}.blocks.{1}.norm"),
    Rule::new("encoder.stages.#.layers.#.pwconv#", "stages.{0}.blocks.{1}.mlp.fc{2}"),
    Rule::new("encoder.stages.#.layers.#.layer_scale_parameter", "stages.{0}.blocks.{1}.gamma"),
    Rule::new("layernorm", "head.norm"),
    Rule::new("classifier", "head.fc"),
    Rule::new("pooler.layernorm", "head.norm"),
];

fn regnet(config: &Value) -> Result<Translation, String> {
    let (depths, widths) = (list(config, "depths"), list(config, "hidden_sizes"));
    let architecture = match (depths.as_slice(), widths.as_slice()) {
        ([1, 3, 6, 6], [48, 104, 208, 440]) => "regnety_004",
        ([1, 3, 8, 2], [64, 128, 320, 768]) => "regnety_008",
        ([1, 3, 8, 2], [64, 144, 320, 784]) => "regnety_008_tv",
        ([2, 6, 17, 2], [48, 120, 336, 888]) => "regnety_016",
        ([2, 5, 13, 1], [72, 216, 576, 1512]) => "regnety_032",
        _ => return unknown("RegNet", (depths, widths)),
    };
    if config.get("layer_type").and_then(Value::as_str) == Some("x") {
        return Err("'layer_type' is 'x': RegNetX is not known, RegNetY is".to_owned());
    }
    Ok(Translation { architecture, rules: &REGNET, prefix: "regnet.", adapt: keep })
}

const REGNET: [Rule; 13] = [
    Rule::new("embedder.embedder.convolution", "stem.conv"),
    Rule::new("embedder.embedder.normalization", "stem.bn"),
    Rule::new("encoder.stages.#.layers.#.layer.0.convolution", "s{0+1}.b{1+1}.conv1.conv"),
    Rule::new("encoder.stages.#.layers.#.layer.0.normalization", "s{0+1}.b{1+1}.conv1.bn"),
    Rule::new("encoder.stages.#.layers.#.layer.1.convolution", "s{0+1}.b{1+1}.conv2.conv"),
    Rule::new("encoder.stages.#.layers.#.layer.1.normalization", "s{0+1}.b{1+1}.conv2.bn"),
    Rule::new("encoder.stages.#.layers.#.layer.2.attention.0", "s{0+1}.b{1+1}.se.fc1"),
    Rule::new("encoder.stages.#.layers.#.layer.2.attention.2", "s{0+1}.b{1+1}.se.fc2"),
    Rule::new("encoder.stages.#.layers.#.layer.3.convolution", "s{0+1}.b{1+1}.conv3.conv"),
    Rule::new("encoder.stages.#.layers.#.layer.3.normalization", "s{0+1}.b{1+1}.conv3.bn"),
    Rule::new("encoder.stages.#.layers.#.shortcut.convolution", "s{0+1}.b{1+1}.downsample.conv"),
    Rule::new("encoder.stages.#.layers.#.shortcut.normalization", "s{0+1}.b{1+1}.downsample.bn"),
    Rule::new("classifier.1", "head.fc"),
];

fn mobilenet_v2(config: &Value) -> Result<Translation, String> {
    let width = config.get("depth_multiplier").and_then(Value::as_f64).unwrap_or(1.0);
    if width != 1.0 {
        return unknown("MobileNetV2", ("width", width));
    }
    Ok(Translation {
        architecture: "mobilenet_v2",
        rules: &MOBILENET_V2,
        prefix: "mobilenet_v2.",
        adapt: as_tensorflow,
    })
}

/// To torchvision's names, which count the blocks through as well.
const MOBILENET_V2: [Rule; 15] = [
    Rule::new("conv_stem.first_conv.convolution", "features.0.0"),
    Rule::new("conv_stem.first_conv.normalization", "features.0.1"),
    Rule::new("conv_stem.conv_3x3.convolution", "features.1.conv.0.0"),
    Rule::new("conv_stem.conv_3x3.normalization", "features.1.conv.0.1"),
    Rule::new("conv_stem.reduce_1x1.convolution", "features.1.conv.1"),
    Rule::new("conv_stem.reduce_1x1.normalization", "features.1.conv.2"),
    Rule::new("layer.#.expand_1x1.convolution", "features.{0+2}.conv.0.0"),
    Rule::new("layer.#.expand_1x1.normalization", "features.{0+2}.conv.0.1"),
    Rule::new("layer.#.conv_3x3.convolution", "features.{0+2}.conv.1.0"),
    Rule::new("layer.#.conv_3x3.normalization", "features.{0+2}.conv.1.1"),
    Rule::new("layer.#.reduce_1x1.convolution", "features.{0+2}.conv.2"),
    Rule::new("layer.#.reduce_1x1.normalization", "features.{0+2}.conv.3"),
    Rule::new("conv_1x1.convolution", "features.18.0"),
    Rule::new("conv_1x1.normalization", "features.18.1"),
    Rule::new("classifier", "classifier.1"),
];

/// The model with each operator changed as told.
fn changed(model: Model, change: impl Fn(&Node) -> Op) -> Result<Model, GraphError> {
    let old = model.graph();
    let mut graph = Graph::new(old.input(), old.input_fact().clone());
    for node in old.nodes() {
        graph.push(Node { op: change(node), ..node.clone() })?;
    }
    graph.set_outputs(old.outputs().iter().map(String::as_str))?;
    Model::new(graph, model.weights().clone(), model.card().clone())
}

pub(crate) fn with_batch_norm_epsilon(model: Model, epsilon: f64) -> Result<Model, GraphError> {
    changed(model, |node| match &node.op {
        Op::BatchNormalization(norm) => {
            Op::BatchNormalization(BatchNormalization { epsilon, ..norm.clone() })
        }
        op => op.clone(),
    })
}

fn epsilon(config: &Value, key: &str) -> Option<f64> {
    config.get(key).and_then(Value::as_f64).filter(|epsilon| (0.0..=0.1).contains(epsilon))
}

fn with_layer_norm_epsilon(config: &Value, model: Model) -> Result<Model, GraphError> {
    let Some(epsilon) = epsilon(config, "layer_norm_eps") else { return Ok(model) };
    changed(model, |node| match &node.op {
        Op::LayerNormalization(norm) => {
            Op::LayerNormalization(LayerNormalization { epsilon, ..norm.clone() })
        }
        op => op.clone(),
    })
}

/// ConvNeXt's setting is for the last normalisation alone.
fn with_last_norm_epsilon(config: &Value, model: Model) -> Result<Model, GraphError> {
    let Some(epsilon) = epsilon(config, "layer_norm_eps") else { return Ok(model) };
    changed(model, |node| match &node.op {
        Op::LayerNormalization(norm) if node.name == "head.norm" => {
            Op::LayerNormalization(LayerNormalization { epsilon, ..norm.clone() })
        }
        op => op.clone(),
    })
}

/// TensorFlow's lopsided padding, and what it adds to the variances.
fn as_tensorflow(config: &Value, model: Model) -> Result<Model, GraphError> {
    let epsilon = epsilon(config, "layer_norm_eps").unwrap_or(1e-3);
    let lopsided = config.get("tf_padding") != Some(&Value::Bool(false));
    changed(with_batch_norm_epsilon(model, epsilon)?, |node| match &node.op {
        Op::Conv(conv) if lopsided => Op::Conv(Conv { padding: Padding::SameUpper, ..conv.clone() }),
        op => op.clone(),
    })
}

/// The weights without the prefix that a classifier's trunk has.
pub(crate) fn without_prefix(weights: &Weights, prefix: &str) -> Weights {
    let stripped = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
    weights.iter().map(|(name, tensor)| (stripped(name), tensor.clone())).collect()
}

/// `id2label` in the order of the numbers; `None` where they are not numbered through, or are the placeholders
/// `LABEL_0`, `LABEL_1` …
pub(crate) fn labels(config: &Value) -> Option<Vec<String>> {
    let names = config.get("id2label")?.as_object()?;
    let name = |index: usize| names.get(&index.to_string())?.as_str().map(str::to_owned);
    let labels: Option<Vec<String>> = (0..names.len()).map(name).collect();
    labels
        .filter(|labels| !labels.iter().enumerate().all(|(index, label)| *label == format!("LABEL_{index}")))
}

/// An image processor's settings; what they leave open is as the architecture's published weights have it.
///
/// # Errors
/// A setting that has no counterpart here.
pub(crate) fn preprocessing(settings: &Value, usual: &Preprocessing) -> Result<Preprocessing, String> {
    let is_on = |key: &str| settings.get(key).and_then(Value::as_bool) != Some(false);
    let crop = settings.get("crop_size").filter(|_| is_on("do_center_crop")).and_then(sides);
    let resize = match settings.get("size").filter(|_| is_on("do_resize")) {
        None => usual.resize,
        Some(value) => resize(value, settings, crop).ok_or_else(|| format!("'size' is {value}"))?,
    };
    let crop = match (crop, resize) {
        (Some(crop), _) => crop,
        (None, Resize::Exact(size)) => size,
        // ConvNeXt's processor crops to the size that it is given.
        (None, Resize::ShortSide(side)) => [settings.get("size").and_then(short_side).unwrap_or(side); 2],
    };
    let filter = match settings.get("resample").and_then(Value::as_u64) {
        None => usual.filter,
        Some(2) => ResizeFilter::Bilinear,
        Some(3) => ResizeFilter::Bicubic,
        Some(other) => return Err(format!("'resample' is {other}, expected 2 (bilinear) or 3 (bicubic)")),
    };
    let values =
        |key: &str| channel_values(settings.get(key).filter(|_| is_on("do_normalize")), usual.channels());
    let plain = |value: f32| vec![value; usual.channels()];
    let mean = values("image_mean")?
        .unwrap_or_else(|| if is_on("do_normalize") { usual.mean.to_vec() } else { plain(0.0) });
    let std = values("image_std")?
        .unwrap_or_else(|| if is_on("do_normalize") { usual.std.to_vec() } else { plain(255.0) });
    Ok(Preprocessing {
        channel_order: usual.channel_order,
        resize,
        filter,
        crop,
        mean: mean.into(),
        std: std.into(),
    })
}

/// `{height, width}`, or one number for both.
fn sides(value: &Value) -> Option<[usize; 2]> {
    let side = |key: &str| value.get(key).and_then(size);
    side("height")
        .zip(side("width"))
        .map(|(height, width)| [height, width])
        .or_else(|| size(value).map(|side| [side; 2]))
}

fn short_side(value: &Value) -> Option<usize> {
    value.get("shortest_edge").and_then(size).or_else(|| size(value))
}

fn resize(value: &Value, settings: &Value, crop: Option<[usize; 2]>) -> Option<Resize> {
    if let Some(exact) = value.get("height").and_then(|_| sides(value)) {
        return Some(Resize::Exact(exact));
    }
    let side = short_side(value)?;
    let fraction =
        settings.get("crop_pct").and_then(Value::as_f64).filter(|part| (0.01..=1.0).contains(part));
    match (fraction, crop) {
        // ConvNeXt: below 384 pixels a part of a larger image, from there on the whole image.
        (Some(part), None) if side < 384 => Some(Resize::ShortSide((side as f64 / part) as usize)),
        (Some(_), None) => Some(Resize::Exact([side; 2])),
        // A bare number was both sides in old processors without a crop.
        (None, None) if value.is_u64() => Some(Resize::Exact([side; 2])),
        _ => Some(Resize::ShortSide(side)),
    }
}
