//! `cargo xtask example-data`: chooses the images of `examples/emoji/`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use regraft_system::files::{self, UnfinishedFolder};

use crate::assets::EMOJI_GOOGLE;

/// A class folder and where its images come from.
struct Class {
    name: &'static str,
    /// Subcategories of the Unicode list.
    subcategories: &'static [&'static str],
    /// Images that a person would not put into this class.
    without: &'static [&'static str],
}

#[rustfmt::skip]
const CLASSES: [Class; 8] = [
    Class {
        name: "animals",
        subcategories: &["animal-mammal", "animal-bird", "animal-amphibian", "animal-reptile", "animal-marine", "animal-bug"],
        without: &["wing", "coral", "feet", "pig_nose", "spider_web", "microbe", "shell", "feather", "phoenix", "unicorn_face", "dragon", "dragon_face"],
    },
    Class {
        name: "clothing",
        subcategories: &["clothing"],
        without: &["folding_hand_fan", "hair_pick", "prayer_beads", "lipstick", "gem", "ring", "shopping_bags"],
    },
    Class {
        name: "faces",
        subcategories: &[
            "face-smiling", "face-affection", "face-tongue", "face-hand", "face-neutral-skeptical", "face-sleepy",
            "face-unwell", "face-hat", "face-glasses", "face-concerned", "face-negative",
        ],
        without: &["skull", "skull_and_crossbones"],
    },
    Class {
        name: "food",
        subcategories: &["food-fruit", "food-vegetable", "food-prepared", "food-asian", "food-sweet"],
        without: &["takeout_box"],
    },
    Class { name: "sports_and_games", subcategories: &["sport", "game"], without: &["gun", "magic_wand", "crystal_ball", "mirror_ball"] },
    Class {
        name: "tools_and_household",
        subcategories: &["tool", "household"],
        without: &["bubbles", "compression", "bomb"],
    },
    Class {
        name: "vehicles",
        subcategories: &["transport-air", "transport-ground", "transport-water"],
        without: &[
            "seat", "parachute", "station", "busstop", "motorway", "railway_track", "oil_drum", "fuelpump", "wheel", "rotating_light",
            "traffic_light", "vertical_traffic_light", "octagonal_sign", "construction", "anchor", "ring_buoy",
            "roller_skate", "skateboard",
        ],
    },
    Class {
        name: "weather_and_sky",
        subcategories: &["sky & weather"],
        without: &["closed_umbrella", "thermometer", "fire"],
    },
];

/// No class has more images; a larger one is thinned evenly along the Unicode order, which groups what is alike.
const LARGEST_CLASS: usize = 64;

#[derive(serde::Deserialize)]
struct Emoji {
    short_name: String,
    subcategory: String,
    image: String,
    sort_order: u32,
    has_img_google: bool,
}

pub(crate) fn run() -> anyhow::Result<()> {
    let package = EMOJI_GOOGLE.unpacked()?.join("package");
    let emoji: Vec<Emoji> = serde_json::from_slice(&files::read(&package.join("emoji.json"))?)?;
    let destination = crate::root().join("examples/emoji");
    for class in &CLASSES {
        let chosen = chosen(class, &emoji)?;
        println!("{:20} {}", class.name, chosen.len());
        let place = destination.join(class.name);
        let folder = UnfinishedFolder::start(&place)?;
        copy(&chosen, &package.join("img/google/64"), folder.path())?;
        if place.exists() {
            std::fs::remove_dir_all(&place)?;
        }
        folder.finish(&place)?;
    }
    Ok(())
}

fn chosen<'a>(class: &Class, emoji: &'a [Emoji]) -> anyhow::Result<Vec<&'a Emoji>> {
    let inside =
        |emoji: &&Emoji| class.subcategories.contains(&emoji.subcategory.as_str()) && emoji.has_img_google;
    let by_order: BTreeMap<u32, &Emoji> =
        emoji.iter().filter(inside).map(|emoji| (emoji.sort_order, emoji)).collect();
    for name in class.without {
        ensure!(by_order.values().any(|emoji| emoji.short_name == *name), "{}: no '{name}'", class.name);
    }
    let all: Vec<&Emoji> =
        by_order.into_values().filter(|emoji| !class.without.contains(&emoji.short_name.as_str())).collect();
    let kept = all.len().min(LARGEST_CLASS);
    (0..kept).map(|index| all.get(index * all.len() / kept).copied().context("no image")).collect()
}

fn copy(chosen: &[&Emoji], images: &Path, folder: &Path) -> anyhow::Result<()> {
    for emoji in chosen {
        let content = files::read(&images.join(&emoji.image))?;
        files::write_atomically(&folder.join(format!("{}.png", emoji.short_name)), &content)?;
    }
    Ok(())
}
