//! Random variants of training images.
//!
//! [`Augmentation`] says what may happen to an image; [`Augmentation::apply`] lets it happen, in this order: a random part
//! of the image (or the usual crop), flips, a [`Policy`], [`ColourJitter`], [`RandomErasing`]. Operators, parameters
//! and their defaults are torchvision's, whose published weights were trained with them; each operator equals Pillow's
//! bit for bit ([`geometry`], [`colour`]). The random numbers are our own.
//!
//! The random numbers come from one stream, and how many are taken depends on the settings, on what was drawn before and on
//! the size of the image, never on its pixels. With a stream for each image and epoch, the same image looks the same in
//! the same epoch whichever thread asks for it.

pub mod colour;
pub mod geometry;
mod jitter;
mod policy;
mod random;
mod rectangle;

use std::fmt::{Debug, Formatter};
use std::str::FromStr;

use regraft_graph::Preprocessing;
use regraft_system::random::Stream;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use jitter::ColourJitter;
pub use policy::{LARGEST_MAGNITUDE, Operator, Policy};
pub use rectangle::{RandomErasing, RandomResizedCrop};

use self::geometry::{flip_horizontally, flip_vertically};
use self::random::chance;
use crate::preprocess::{self, PreprocessError};
use crate::raster::Image;

/// What may happen to a training image. Nothing does by default.
///
/// In a file it is the name of a preset or a table:
///
/// ```
/// use regraft_data::augment::{Augmentation, Policy, RandomResizedCrop};
///
/// #[derive(serde::Deserialize)]
/// struct File {
///     augmentation: Augmentation,
/// }
///
/// let file: File = toml::from_str("augmentation = 'standard'")?;
/// assert_eq!(file.augmentation, Augmentation::standard());
///
/// let file: File = toml::from_str(
///     "[augmentation]
///     horizontal-flip = 0.5
///     policy = 'trivial-augment'
///     random-resized-crop = { scale = [0.25, 1.0] }",
/// )?;
/// let crop = RandomResizedCrop { scale: [0.25, 1.0], ..RandomResizedCrop::default() };
/// assert_eq!(file.augmentation.random_resized_crop, Some(crop));
/// assert_eq!(file.augmentation.policy, Policy::TrivialAugment);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Augmentation {
    /// Probability that left and right are exchanged, 0 to 1. Wrong for letters, digits and hands.
    pub horizontal_flip: f64,
    /// Probability that top and bottom are exchanged, 0 to 1. For images without an above: from the air, of cells.
    pub vertical_flip: f64,
    /// Operators of a list.
    pub policy: Policy,
    /// A random part of the image instead of the preprocessing's resize and crop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_resized_crop: Option<RandomResizedCrop>,
    /// Random changes of colour.
    #[serde(alias = "color-jitter", skip_serializing_if = "Option::is_none")]
    pub colour_jitter: Option<ColourJitter>,
    /// A random rectangle that the network does not see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_erasing: Option<RandomErasing>,
}

/// A number of an [`Augmentation`] outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("augmentation: {name} is {found}; it must be {expected}")]
pub struct AugmentationError {
    /// The field, as in a file: `random-resized-crop.scale`.
    pub name: &'static str,
    /// Its value.
    pub found: String,
    /// What it may be.
    pub expected: &'static str,
}

impl AugmentationError {
    fn check(
        name: &'static str,
        found: &dyn Debug,
        expected: &'static str,
        is_fine: bool,
    ) -> Result<(), Self> {
        if is_fine { Ok(()) } else { Err(Self { name, found: format!("{found:?}"), expected }) }
    }

    fn check_probability(name: &'static str, found: f64) -> Result<(), Self> {
        Self::check(name, &found, "a probability from 0 to 1", (0.0..=1.0).contains(&found))
    }
}

/// A name that is no preset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no augmentation {name:?}; there are {}", Augmentation::PRESETS.join(", "))]
pub struct UnknownPreset {
    /// The name.
    pub name: String,
}

impl Augmentation {
    /// The names of the presets, from the weakest to the strongest.
    pub const PRESETS: [&'static str; 5] = ["none", "crop", "flip", "standard", "strong"];

    /// The usual crop of every image.
    pub fn none() -> Self {
        Self::default()
    }

    /// A random part of at least 0.35 of the area: also where left and right matter, as in writing.
    pub fn crop() -> Self {
        let crop = RandomResizedCrop { scale: [0.35, 1.0], ..RandomResizedCrop::default() };
        Self { random_resized_crop: Some(crop), ..Self::default() }
    }

    /// The usual crop, half of the time mirrored.
    pub fn flip() -> Self {
        Self { horizontal_flip: 0.5, ..Self::default() }
    }

    /// A random part of at least 0.35 of the area, half of the time mirrored: for fine-tuning on some hundreds or
    /// thousands of images (fastai's `RandomResizedCrop` with `min_scale=0.35`).
    pub fn standard() -> Self {
        Self { horizontal_flip: 0.5, ..Self::crop() }
    }

    /// [`standard`](Self::standard) with TrivialAugment, and a rectangle erased in a quarter of the images: for long
    /// training.
    pub fn strong() -> Self {
        let erasing = RandomErasing { probability: 0.25, ..RandomErasing::default() };
        Self { policy: Policy::TrivialAugment, random_erasing: Some(erasing), ..Self::standard() }
    }

    /// Whether [`apply`](Self::apply) does the same every time, which is the usual crop.
    pub fn is_none(&self) -> bool {
        *self == Self::none()
    }

    /// # Errors
    /// The first number that is outside its range.
    pub fn check(&self) -> Result<(), AugmentationError> {
        AugmentationError::check_probability("horizontal-flip", self.horizontal_flip)?;
        AugmentationError::check_probability("vertical-flip", self.vertical_flip)?;
        self.policy.check()?;
        self.random_resized_crop.as_ref().map_or(Ok(()), RandomResizedCrop::check)?;
        self.colour_jitter.as_ref().map_or(Ok(()), ColourJitter::check)?;
        self.random_erasing.as_ref().map_or(Ok(()), RandomErasing::check)
    }

    /// A variant of an image in the size of the preprocessing's crop, not normalised yet. 8-bit samples stay 8-bit ones.
    ///
    /// Crops, flips, shears, rotations, translations and erasing work on any image; which operators change the colours of
    /// which images is in the table of [`colour`].
    ///
    /// # Errors
    /// As [`preprocess::crop`].
    pub fn apply(
        &self,
        image: &Image,
        preprocessing: &Preprocessing,
        stream: &mut Stream,
    ) -> Result<Image, PreprocessError> {
        let image = match &self.random_resized_crop {
            Some(crop) => crop.apply(image, preprocessing, stream)?,
            None => preprocess::crop(image, preprocessing)?,
        };
        let image = self.policy.apply(self.flipped(image, stream), stream);
        let image = match &self.colour_jitter {
            Some(jitter) => jitter.apply(image, stream),
            None => image,
        };
        Ok(match &self.random_erasing {
            Some(erasing) => erasing.apply(image, preprocessing, stream),
            None => image,
        })
    }

    fn flipped(&self, image: Image, stream: &mut Stream) -> Image {
        let image = if chance(stream, self.horizontal_flip) { flip_horizontally(image) } else { image };
        if chance(stream, self.vertical_flip) { flip_vertically(image) } else { image }
    }
}

impl FromStr for Augmentation {
    type Err = UnknownPreset;

    fn from_str(name: &str) -> Result<Self, UnknownPreset> {
        match name {
            "none" => Ok(Self::none()),
            "crop" => Ok(Self::crop()),
            "flip" => Ok(Self::flip()),
            "standard" => Ok(Self::standard()),
            "strong" => Ok(Self::strong()),
            _ => Err(UnknownPreset { name: name.to_owned() }),
        }
    }
}

impl Serialize for Augmentation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Augmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = Augmentation;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "a table, or one of {}", Augmentation::PRESETS.join(", "))
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Augmentation, E> {
        name.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Augmentation, A::Error> {
        Augmentation::deserialize(MapAccessDeserializer::new(map)).map_err(A::Error::custom)
    }
}
