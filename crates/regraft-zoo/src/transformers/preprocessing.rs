//! What transformers' image processors do, as preprocessing here.

use regraft_graph::{Preprocessing, Resize, ResizeFilter};
use serde_json::{Value, json};

use crate::folder::{channel_values, scaled, size};

/// An image processor's settings.
struct Settings<'a> {
    file: &'a Value,
    /// The processor's class without what all of them end in.
    processor: &'a str,
    /// What the class does where the file does not say.
    usual: Value,
}

impl Settings<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.file.get(key).or_else(|| self.usual.get(key))
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(Value::as_f64)
    }

    /// Whether a step is done; `usual` where neither the file nor the class says, and not where the file says `null`.
    fn is_on(&self, key: &str, usual: bool) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(usual),
            Some(Value::Null) => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.refused(key, "true or false")),
        }
    }

    fn of_channels(&self, key: &str, channels: usize) -> Result<Vec<f64>, String> {
        let values = channel_values(self.get(key), channels)?;
        values.ok_or_else(|| self.refused(key, "a number for each channel"))
    }

    fn refused(&self, key: &str, expected: &str) -> String {
        format!("'{key}' is {}, expected {expected}", self.get(key).unwrap_or(&Value::Null))
    }
}

/// The preprocessing of an image processor, for a kind of model and a network whose preprocessing is usually that.
///
/// # Errors
/// A setting that has no counterpart here.
pub(crate) fn preprocessing(
    file: &Value,
    kind: &str,
    network: &Preprocessing,
) -> Result<Preprocessing, String> {
    let processor = processor(file, kind);
    let usual = usual(processor).ok_or_else(|| {
        format!(
            "its image processor is '{processor}', expected ViT, DeiT, Bit, CLIP, ConvNext or MobileNetV2"
        )
    })?;
    let settings = Settings { file, processor, usual };
    let (resize, crop) = geometry(&settings)?;
    let [mean, std] = normalisation(&settings, network.channels())?.map(Into::into);
    let filter = filter(&settings)?;
    Ok(Preprocessing { channel_order: network.channel_order, resize, filter, crop, mean, std })
}

/// The class that is named, or the one that transformers takes for such a model.
fn processor<'a>(file: &'a Value, kind: &str) -> &'a str {
    let mut keys = ["image_processor_type", "feature_extractor_type"].into_iter();
    let named = keys.find_map(|key| file.get(key).and_then(Value::as_str));
    let class = named.unwrap_or(match kind {
        "vit" => "ViT",
        "dinov2" => "Bit",
        "mobilenet_v2" => "MobileNetV2",
        _ => "ConvNext",
    });
    ["Fast", "Pil", "ImageProcessor", "FeatureExtractor"]
        .into_iter()
        .fold(class, |class, end| class.strip_suffix(end).unwrap_or(class))
}

/// What a class does by itself.
fn usual(processor: &str) -> Option<Value> {
    let (size, crop, resample) = match processor {
        "ViT" => (json!({ "height": 224, "width": 224 }), None, 2),
        "DeiT" => (json!({ "height": 256, "width": 256 }), Some(224), 3),
        "Bit" | "CLIP" => (json!({ "shortest_edge": 224 }), Some(224), 3),
        "ConvNext" => (json!({ "shortest_edge": 384 }), None, 3),
        "MobileNetV1" | "MobileNetV2" => (json!({ "shortest_edge": 256 }), Some(224), 2),
        _ => return None,
    };
    let (mean, std) = match processor {
        "Bit" | "CLIP" => ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
        _ => ([0.5; 3], [0.5; 3]),
    };
    Some(json!({
        "size": size, "do_center_crop": crop.is_some(), "crop_size": crop, "crop_pct": 224.0 / 256.0,
        "resample": resample, "rescale_factor": 1.0 / 255.0, "image_mean": mean, "image_std": std,
    }))
}

/// How the image is brought to size, and the part of it that is taken.
fn geometry(settings: &Settings<'_>) -> Result<(Resize, [usize; 2]), String> {
    if !settings.is_on("do_resize", true)? {
        return Err(
            settings.refused("do_resize", "true: a network here has images of one size, set 'size' to it")
        );
    }
    if settings.is_on("do_pad", false)? {
        return Err(settings.refused("do_pad", "false: borders are not added here"));
    }
    let crop = if settings.is_on("do_center_crop", false)? { Some(crop(settings)?) } else { None };
    if settings.processor == "ConvNext" { convnext(settings, crop) } else { plain(settings, crop) }
}

fn crop(settings: &Settings<'_>) -> Result<[usize; 2], String> {
    let crop = settings.get("crop_size").and_then(sides);
    crop.ok_or_else(|| settings.refused("crop_size", "a height and a width in pixels"))
}

fn plain(settings: &Settings<'_>, crop: Option<[usize; 2]>) -> Result<(Resize, [usize; 2]), String> {
    if let Some(exact) = settings.get("size").and_then(|size| both_sides(size, settings.processor)) {
        return Ok((Resize::Exact(exact), crop.unwrap_or(exact)));
    }
    let short = settings.get("size").and_then(short_side);
    let short = short.ok_or_else(|| settings.refused("size", "'shortest_edge', or 'height' and 'width'"))?;
    let crop = crop.ok_or_else(|| {
        let all =
            "without a crop images have many shapes, set it to true or 'size' to a 'height' and a 'width'";
        format!("'do_center_crop' is false, expected true for a 'size' of the shorter side: {all}")
    })?;
    Ok((Resize::ShortSide(short), crop))
}

/// Below 384 pixels a part of a larger image, from there on the whole image.
fn convnext(settings: &Settings<'_>, crop: Option<[usize; 2]>) -> Result<(Resize, [usize; 2]), String> {
    let side = settings.get("size").and_then(short_side);
    let side = side.ok_or_else(|| settings.refused("size", "'shortest_edge'"))?;
    if crop.is_some_and(|crop| crop != [side; 2]) {
        return Err(settings.refused("crop_size", &format!("{side}: ConvNext's processor crops to 'size'")));
    }
    if side >= 384 {
        return Ok((Resize::Exact([side; 2]), [side; 2]));
    }
    let part = settings.number("crop_pct").filter(|part| (0.01..=1.0).contains(part));
    let part = part.ok_or_else(|| settings.refused("crop_pct", "a number between 0.01 and 1"))?;
    Ok((Resize::ShortSide((side as f64 / part) as usize), [side; 2]))
}

/// `{height, width}`, or one number for both.
fn sides(value: &Value) -> Option<[usize; 2]> {
    let side = |key: &str| value.get(key).and_then(size);
    let both = side("height").zip(side("width")).map(|(height, width)| [height, width]);
    both.or_else(|| size(value).map(|side| [side; 2]))
}

/// The size of an image that does not keep its proportions. A bare number is that in some classes.
fn both_sides(value: &Value, processor: &str) -> Option<[usize; 2]> {
    let is_square = value.is_number() && ["ViT", "DeiT"].contains(&processor);
    if is_square || value.get("height").is_some() { sides(value) } else { None }
}

fn short_side(value: &Value) -> Option<usize> {
    let is_limited = value.get("longest_edge").is_some_and(|longest| !longest.is_null());
    let short = value.get("shortest_edge").unwrap_or(value);
    size(short).filter(|_| !is_limited)
}

fn filter(settings: &Settings<'_>) -> Result<ResizeFilter, String> {
    match settings.get("resample").and_then(Value::as_u64) {
        Some(2) => Ok(ResizeFilter::Bilinear),
        Some(3) => Ok(ResizeFilter::Bicubic),
        _ => Err(settings.refused("resample", "2 (bilinear) or 3 (bicubic)")),
    }
}

/// Means and deviations of pixels in 0 … 255, which a processor multiplies by a factor and then normalises.
fn normalisation(settings: &Settings<'_>, channels: usize) -> Result<[Vec<f32>; 2], String> {
    let factor =
        if settings.is_on("do_rescale", true)? { settings.number("rescale_factor") } else { Some(1.0) };
    let factor = factor.filter(|factor| *factor > 0.0);
    let factor = factor.ok_or_else(|| settings.refused("rescale_factor", "a positive number"))?;
    let [mean, std] = if settings.is_on("do_normalize", true)? {
        [settings.of_channels("image_mean", channels)?, settings.of_channels("image_std", channels)?]
    } else {
        [vec![0.0; channels], vec![1.0; channels]]
    };
    Ok([mean, std].map(|values| scaled(&values, 1.0 / factor)))
}

#[cfg(test)]
mod tests {
    use regraft_graph::ChannelOrder;

    use super::*;

    fn prepared(settings: &Value) -> Result<Preprocessing, String> {
        let network = Preprocessing {
            channel_order: ChannelOrder::Rgb,
            resize: Resize::ShortSide(8),
            filter: ResizeFilter::Bilinear,
            crop: [8, 8],
            mean: vec![1.0; 3].into(),
            std: vec![2.0; 3].into(),
        };
        preprocessing(settings, "resnet", &network)
    }

    /// Height and width to which an image of 300×200 is brought.
    fn resized(resize: Resize) -> [usize; 2] {
        match resize {
            Resize::ShortSide(short) => [short * 300 / 200, short],
            Resize::Exact(size) => size,
        }
    }

    /// `oracles/zoo_settings.py`
    #[test]
    fn images_are_prepared_as_transformers_does() {
        let cases: Value = serde_json::from_str(include_str!("../../tests/golden/processors.json")).unwrap();
        for case in cases.as_array().unwrap() {
            let settings = &case["settings"];
            let prepared = prepared(settings);
            // What gives images of several shapes, or takes them as they are, has no counterpart here.
            let is_known = case["one_size"] == true && !case["resized"].is_null();
            assert_eq!(prepared.is_ok(), is_known, "{settings}: {prepared:?}");
            let Ok(prepared) = prepared else { continue };
            assert_eq!(case["bicubic"], prepared.filter == ResizeFilter::Bicubic, "{settings}");
            assert_eq!(case["shape"], json!(prepared.crop), "{settings}");
            assert_eq!(case["resized"], json!(resized(prepared.resize)), "{settings}");
            for (key, level) in [("black", 0.0), ("white", 255.0)] {
                for channel in 0..3 {
                    let (found, expected) =
                        (f64::from(prepared.normalise(channel, level)), case[key][channel].as_f64().unwrap());
                    assert!(
                        (found - expected).abs() <= 1e-6 * expected.abs().max(1.0),
                        "{settings}: {found}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_an_image_processor_does_and_is_not_known_is_refused() {
        let bit = |size: Value| json!({ "image_processor_type": "BitImageProcessor", "size": size });
        for (settings, expected) in [
            (json!({ "do_resize": false }), "'do_resize' is false, expected true"),
            (json!({ "do_resize": 1 }), "'do_resize' is 1, expected true or false"),
            (json!({ "do_pad": true }), "'do_pad' is true, expected false"),
            (json!({ "size": null }), "'size' is null, expected 'shortest_edge'"),
            (json!({ "size": { "height": 96, "width": 96 } }), "expected 'shortest_edge'"),
            (json!({ "do_center_crop": true, "crop_size": 96 }), "'crop_size' is 96, expected 384"),
            (json!({ "do_center_crop": true }), "'crop_size' is null, expected a height"),
            (json!({ "size": 224, "crop_pct": 1.5 }), "'crop_pct' is 1.5, expected a number between"),
            (json!({ "rescale_factor": 0 }), "'rescale_factor' is 0, expected a positive number"),
            (json!({ "image_mean": null }), "'image_mean' is null, expected a number for each channel"),
            (json!({ "image_std": [0.5, 0.5] }), "expected 3 means"),
            (json!({ "resample": 1 }), "'resample' is 1, expected 2 (bilinear) or 3 (bicubic)"),
            (json!({ "image_processor_type": "LevitImageProcessor" }), "is 'Levit', expected ViT"),
            (bit(json!({ "shortest_edge": 64, "longest_edge": 70 })), "\"longest_edge\":70"),
            (bit(json!({ "height": 64 })), "'size' is {\"height\":64}, expected"),
        ] {
            let message = prepared(&settings).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
