//! Image classifiers of Hugging Face's transformers as architectures that are known here: by `model_type` and the sizes
//! in `config.json`, with a table of names for each.

mod preprocessing;
mod settings;

use regraft_graph::Weights;
use serde_json::Value;

use crate::names::Rule;

pub(crate) use preprocessing::preprocessing;
use settings::OTHERWISE;
pub(crate) use settings::{bert, epsilon, expect_flag, with_batch_norm_epsilon, with_settings};

/// How a folder's tensors become an architecture's.
pub(crate) struct Translation {
    /// The architecture here.
    pub(crate) architecture: &'static str,
    /// Names of its modules there.
    pub(crate) rules: Vec<Rule>,
    /// What stands before the names in a classifier and not in a bare model.
    pub(crate) prefix: &'static str,
    /// What a node of the architecture computes there.
    pub(crate) setting: settings::Setting,
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
    if basic {
        // There it would have a shortcut that the architecture does not have.
        expect_flag(config, "downsample_in_first_stage", false)?;
    }
    Ok(Translation { architecture, rules: RESNET.to_vec(), prefix: "resnet.", setting: settings::resnet })
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
    let sizes = vision_transformer(config)?;
    let architecture = match sizes {
        [Some(192), Some(16), Some(12)] => "vit_tiny_patch16_224",
        [Some(384), Some(16), Some(12)] => "vit_small_patch16_224",
        [Some(768), Some(16), Some(12)] => "vit_base_patch16_224",
        _ => return unknown("ViT", sizes),
    };
    let rules = [VIT.as_slice(), &[Rule::new("classifier", "head")]].concat();
    Ok(Translation { architecture, rules, prefix: "vit.", setting: settings::vit })
}

fn dinov2(config: &Value) -> Result<Translation, String> {
    expect_flag(config, "use_swiglu_ffn", false)?;
    let sizes = vision_transformer(config)?;
    if sizes != [Some(384), Some(14), Some(12)] {
        return unknown("DINOv2", sizes);
    }
    // The classifier there reads the class token and the mean of the others; here a network ends at the class token.
    let architecture = "vit_small_patch14_dinov2";
    Ok(Translation { architecture, rules: VIT.to_vec(), prefix: "dinov2.", setting: settings::dinov2 })
}

/// Length of a token, side of a patch and number of layers.
fn vision_transformer(config: &Value) -> Result<[Option<u64>; 3], String> {
    expect_flag(config, "qkv_bias", true)?;
    // The weights tell the number of places and not how they lie.
    if let Some(image) = config.get("image_size").filter(|_| side(config, "image_size").is_none()) {
        return Err(format!("'image_size' is {image}, expected a square"));
    }
    Ok([number(config, "hidden_size"), side(config, "patch_size"), number(config, "num_hidden_layers")])
}

/// One number for both sides, or twice the same.
fn side(config: &Value, key: &str) -> Option<u64> {
    match list(config, key).as_slice() {
        [height, width] if height == width => Some(*height),
        _ => number(config, key),
    }
}

/// ViT's and DINOv2's without the classifier.
const VIT: [Rule; 19] = [
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
];

fn convnext(config: &Value) -> Result<Translation, String> {
    let (depths, widths) = (list(config, "depths"), list(config, "hidden_sizes"));
    let architecture = match (depths.as_slice(), widths.as_slice()) {
        ([3, 3, 9, 3], [96, 192, 384, 768]) => "convnext_tiny",
        ([3, 3, 27, 3], [96, 192, 384, 768]) => "convnext_small",
        ([3, 3, 27, 3], [128, 256, 512, 1024]) => "convnext_base",
        _ => return unknown("ConvNeXt", (depths, widths)),
    };
    if let Some(scale) = config.get("layer_scale_init_value").filter(|scale| scale.as_f64() <= Some(0.0)) {
        return Err(format!("'layer_scale_init_value' is {scale}, expected a positive number: {OTHERWISE}"));
    }
    Ok(Translation {
        architecture,
        rules: CONVNEXT.to_vec(),
        prefix: "convnext.",
        setting: settings::convnext,
    })
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
        return Err(format!("'layer_type' is 'x' (RegNetX), expected 'y' (RegNetY): {OTHERWISE}"));
    }
    Ok(Translation { architecture, rules: REGNET.to_vec(), prefix: "regnet.", setting: settings::regnet })
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
    if let Some(width) = config.get("depth_multiplier").filter(|width| width.as_f64() != Some(1.0)) {
        return Err(format!("'depth_multiplier' is {width}, expected 1: {OTHERWISE}"));
    }
    expect_flag(config, "first_layer_is_expansion", true)?;
    Ok(Translation {
        architecture: "mobilenet_v2",
        rules: MOBILENET_V2.to_vec(),
        prefix: "mobilenet_v2.",
        setting: settings::mobilenet_v2,
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
