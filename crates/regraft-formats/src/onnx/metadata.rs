//! What a file says about its network beside the graph: this program's card, or what other exporters write.

use std::path::Path;

use regraft_graph::{Card, ChannelOrder, Preprocessing, Resize, ResizeFilter, Roles};
use serde_json::Value;

use super::schema::Entry;
use crate::model_folder::check_preprocessing;

/// The key of the card in `metadata_props`.
pub(super) const CARD: &str = "regraft.card";

/// Channels of images.
const COLOURS: usize = 3;

/// The card, and one sentence on each part of it that had to be assumed.
pub(super) struct Metadata {
    pub(super) card: Card,
    pub(super) notes: Vec<String>,
}

/// A card for the file of that path.
pub(super) fn read(path: &Path, entries: &[Entry], channels: Option<usize>, image: [usize; 2]) -> Metadata {
    let entry = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let ours = entry(CARD).and_then(|text| serde_json::from_str::<Card>(text).ok());
    let mut notes = Vec::new();
    match ours {
        Some(card) if usable(&card.preprocessing, channels) => return Metadata { card, notes },
        Some(_) => notes.push("the file's card does not fit its network, and was left out".to_owned()),
        None => {}
    }
    let channels = channels.unwrap_or(COLOURS);
    let labels = ["names", "labels", "classes"].into_iter().filter_map(entry).find_map(labels);
    let usual =
        if channels == COLOURS { "ImageNet's mean and standard deviation" } else { "numbers from 0 to 1" };
    notes
        .push(format!("the file does not say how an image becomes the network's input: {usual} are assumed"));
    if labels.is_none() {
        notes.push("the file has no names for the classes".to_owned());
    }
    Metadata { card: assumed(path, labels.unwrap_or_default(), channels, image), notes }
}

/// Whether a card can be that of a network with so many channels; `None` where it reads no images.
fn usable(preprocessing: &Preprocessing, channels: Option<usize>) -> bool {
    let means = preprocessing.mean.len();
    let fits =
        means == preprocessing.std.len() && means > 0 && channels.is_none_or(|channels| channels == means);
    fits && check_preprocessing(preprocessing).is_ok()
}

fn assumed(path: &Path, labels: Vec<String>, channels: usize, image: [usize; 2]) -> Card {
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let [height, width] = image;
    let (mean, std) = if channels == COLOURS {
        (
            [0.485, 0.456, 0.406].map(|mean: f32| mean * 255.0).to_vec(),
            [0.229, 0.224, 0.225].map(|std: f32| std * 255.0).to_vec(),
        )
    } else {
        (vec![0.0; channels], vec![255.0; channels])
    };
    // The usual crop is 7/8 of the shorter side.
    let side = height.min(width).saturating_mul(8) / 7;
    Card {
        name,
        origin: path.display().to_string(),
        sha256: None,
        licence: None,
        preprocessing: Preprocessing {
            channel_order: ChannelOrder::Rgb,
            resize: if height == width { Resize::ShortSide(side) } else { Resize::Exact(image) },
            filter: ResizeFilter::Bilinear,
            crop: image,
            mean: mean.into(),
            std: std.into(),
        },
        labels,
        source_task: None,
        source_accuracy: None,
        aliases: Default::default(),
        roles: Roles { features: String::new(), logits: None, cuts: Vec::new() },
    }
}

/// Names of classes as a JSON array or object by number, as Python's text of such a dictionary (Ultralytics), or one a
/// line or between commas.
fn labels(text: &str) -> Option<Vec<String>> {
    let json = serde_json::from_str(text).ok().or_else(|| serde_json::from_str(&as_json(text)).ok());
    let labels: Vec<String> = match json {
        Some(Value::Array(names)) => {
            names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
        }
        Some(Value::Object(names)) => (0..names.len())
            .map_while(|index| names.get(&index.to_string())?.as_str().map(str::to_owned))
            .collect(),
        _ => {
            let separator = if text.contains('\n') { '\n' } else { ',' };
            text.split(separator).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
        }
    };
    (!labels.is_empty()).then_some(labels)
}

/// `{0: 'person', 1: 'bicycle'}` with quotation marks where JSON wants them. A name with one inside is no longer read.
fn as_json(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 16);
    let mut digits = String::new();
    for character in text.chars() {
        if character.is_ascii_digit() && json.ends_with(['{', ' ', ',']) {
            digits.push(character);
            continue;
        }
        if !digits.is_empty() {
            let number = std::mem::take(&mut digits);
            let quoted = if character == ':' { format!("\"{number}\"") } else { number };
            json.push_str(&quoted);
        }
        json.push(if character == '\'' { '"' } else { character });
    }
    json + &digits
}

#[cfg(test)]
mod tests {
    use super::labels;

    #[test]
    fn names_of_classes_in_every_spelling() {
        for text in [
            "{0: 'cat', 1: 'dog'}",
            "[\"cat\", \"dog\"]",
            "{\"0\": \"cat\", \"1\": \"dog\"}",
            "cat,dog",
            "cat\ndog\n",
        ] {
            assert_eq!(labels(text).unwrap(), ["cat", "dog"], "{text}");
        }
        assert_eq!(labels(""), None);
    }
}
