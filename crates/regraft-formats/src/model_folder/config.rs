//! The model in the words of timm and transformers: `config.json` and `preprocessor_config.json`.

use regraft_graph::{Card, ChannelOrder, Model, Op, Preprocessing, Resize, ResizeFilter};
use serde_json::{Map, Value, json};

use super::{TimmNames, width};

/// What timm and Hugging Face tools look for. transformers takes a folder for timm's where there is a `pretrained_cfg` and
/// no `model_type`, and opens it through timm.
pub(super) fn config(model: &Model, names: Option<&TimmNames>) -> Value {
    let card = model.card();
    let features = model.graph().fact(&card.roles.features).ok().and_then(width);
    let mut config = match names {
        Some(names) => timm_config(model, names),
        None => own_config(card),
    };
    config.insert("num_features".to_owned(), json!(features));
    config.insert("pretrained_cfg".to_owned(), pretrained_cfg(model, names));
    let Card { origin, sha256, name, .. } = card;
    let record =
        json!({ "version": env!("CARGO_PKG_VERSION"), "name": name, "origin": origin, "sha256": sha256 });
    config.insert("regraft".to_owned(), record);
    Value::Object(config)
}

/// Number of logits; 0 without a head.
fn classes(model: &Model) -> usize {
    let logits = model.card().roles.logits.as_ref();
    logits.and_then(|wire| model.graph().fact(wire).ok()).and_then(width).unwrap_or(0)
}

fn timm_config(model: &Model, names: &TimmNames) -> Map<String, Value> {
    let (card, classes) = (model.card(), classes(model));
    let mut config = Map::new();
    config.insert("architecture".to_owned(), json!(names.architecture));
    config.insert("num_classes".to_owned(), json!(classes));
    if !card.labels.is_empty() {
        config.insert("label_names".to_owned(), json!(card.labels));
    }
    if !names.arguments.is_empty() {
        config.insert("model_args".to_owned(), json!(names.arguments));
    }
    config
}

fn own_config(card: &Card) -> Map<String, Value> {
    let by_id = card.labels.iter().enumerate().map(|(id, label)| (id.to_string(), json!(label)));
    let by_label = card.labels.iter().enumerate().map(|(id, label)| (label.clone(), json!(id)));
    let (by_id, by_label): (Map<_, _>, Map<_, _>) = (by_id.collect(), by_label.collect());
    let mut config = Map::new();
    config.insert("architectures".to_owned(), json!(["RegraftForImageClassification"]));
    config.insert("model_type".to_owned(), json!("regraft"));
    config.insert("num_labels".to_owned(), json!(card.labels.len()));
    config.insert("id2label".to_owned(), Value::Object(by_id));
    config.insert("label2id".to_owned(), Value::Object(by_label));
    config
}

/// timm's record of how weights were trained and want to be fed. timm refuses keys that it does not know.
fn pretrained_cfg(model: &Model, names: Option<&TimmNames>) -> Value {
    let card = model.card();
    let [height, width_pixels] = card.preprocessing.crop;
    // timm builds a vision transformer for the size above only where this says so.
    let fixed = model.graph().nodes().iter().any(|node| matches!(node.op, Op::PositionEmbedding(_)));
    let mut config = json!({
        "fixed_input_size": fixed,
        "input_size": [width(model.graph().input_fact()), Some(height), Some(width_pixels)],
        "interpolation": filter_name(card.preprocessing.filter),
        "crop_mode": crop_mode(card.preprocessing.resize),
        "crop_pct": crop_fraction(&card.preprocessing),
        "mean": unit_range(&card.preprocessing.mean),
        "std": unit_range(&card.preprocessing.std),
        "num_classes": classes(model),
        "license": card.licence,
        "custom_load": false,
    });
    if let (Some(names), Some(config)) = (names, config.as_object_mut()) {
        config.insert("first_conv".to_owned(), json!(names.first_conv));
        config.insert("classifier".to_owned(), json!(names.classifier));
    }
    config
}

fn crop_mode(resize: Resize) -> &'static str {
    match resize {
        Resize::ShortSide(_) => "center",
        Resize::Exact(_) => "squash",
    }
}

/// The crop's part of the resized side. timm divides by it and rounds down, so it has as few digits as give that side
/// again.
fn crop_fraction(preprocessing: &Preprocessing) -> f64 {
    let [height, _] = preprocessing.crop;
    let resized = match preprocessing.resize {
        Resize::ShortSide(side) => side,
        Resize::Exact([height, _]) => height,
    };
    let exact = height as f64 / resized as f64;
    let rounded = (1..=12).map(|digits| {
        let scale = 10f64.powi(digits);
        (exact * scale).floor() / scale
    });
    let gives = |fraction: &f64| (height as f64 / fraction).floor() == resized as f64;
    rounded.into_iter().find(gives).unwrap_or(exact)
}

/// The image processor's settings, in the keys of Hugging Face's transformers.
pub(super) fn preprocessor_config(preprocessing: &Preprocessing) -> Value {
    let [height, width] = preprocessing.crop;
    let size = match preprocessing.resize {
        Resize::ShortSide(side) => json!({ "shortest_edge": side }),
        Resize::Exact([height, width]) => json!({ "height": height, "width": width }),
    };
    json!({
        "do_resize": true,
        "size": size,
        "resample": resample(preprocessing.filter),
        "do_center_crop": true,
        "crop_size": { "height": height, "width": width },
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": unit_range(&preprocessing.mean),
        "image_std": unit_range(&preprocessing.std),
        "do_flip_channel_order": preprocessing.channel_order == ChannelOrder::Bgr && preprocessing.channels() == 3,
    })
}

/// Pillow's number for the filter.
fn resample(filter: ResizeFilter) -> u8 {
    match filter {
        ResizeFilter::Bilinear => 2,
        ResizeFilter::Bicubic => 3,
    }
}

fn filter_name(filter: ResizeFilter) -> &'static str {
    match filter {
        ResizeFilter::Bilinear => "bilinear",
        ResizeFilter::Bicubic => "bicubic",
    }
}

/// From pixels in 0 … 255 to pixels in 0 … 1, without the digits that single precision does not have.
fn unit_range(channels: &[f32]) -> Vec<f64> {
    channels.iter().map(|value| unit_number(*value)).collect()
}

/// The shortest decimal number that gives the same single-precision number when it is read.
fn unit_number(value: f32) -> f64 {
    let exact = f64::from(value) / 255.0;
    let rounded = (3..=16).map(|digits| 10f64.powi(digits)).map(|scale| (exact * scale).round() / scale);
    rounded.into_iter().find(|unit| (unit * 255.0) as f32 == value).unwrap_or(exact)
}
