//! Random brightness, contrast, saturation and hue.

use regraft_system::random::{Stream, shuffle};
use serde::{Deserialize, Serialize};

use super::AugmentationError;
use super::colour::{adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation};
use super::random::uniform;
use crate::raster::Image;

/// Random changes of colour in a random order: torchvision's `ColorJitter`. What is 0 is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ColourJitter {
    /// The factor lies so much below or above 1 (and never below 0); 0 or more.
    pub brightness: f64,
    /// As for brightness.
    pub contrast: f64,
    /// As for brightness.
    pub saturation: f64,
    /// The hue turns by at most this share of the colour wheel in either direction, 0 to 0.5.
    pub hue: f64,
}

/// The strength of a change, the change, and its amount this time.
type Change = (f64, fn(Image, f64) -> Image, f64);

impl ColourJitter {
    /// # Errors
    /// A number is outside its range.
    pub fn check(&self) -> Result<(), AugmentationError> {
        let strength = |name, value: f64| {
            AugmentationError::check(
                name,
                &value,
                "a finite number from 0",
                (0.0..f64::INFINITY).contains(&value),
            )
        };
        strength("colour-jitter.brightness", self.brightness)?;
        strength("colour-jitter.contrast", self.contrast)?;
        strength("colour-jitter.saturation", self.saturation)?;
        AugmentationError::check(
            "colour-jitter.hue",
            &self.hue,
            "from 0 to 0.5",
            (0.0..=0.5).contains(&self.hue),
        )
    }

    /// The image in other colours. Draws four numbers and the order, whatever is changed.
    pub fn apply(&self, image: Image, stream: &mut Stream) -> Image {
        let factor =
            |strength: f64, stream: &mut Stream| uniform(stream, [(1.0 - strength).max(0.0), 1.0 + strength]);
        let mut changes: [Change; 4] = [
            (self.brightness, adjust_brightness, factor(self.brightness, stream)),
            (self.contrast, adjust_contrast, factor(self.contrast, stream)),
            (self.saturation, adjust_saturation, factor(self.saturation, stream)),
            (self.hue, adjust_hue, uniform(stream, [-self.hue, self.hue])),
        ];
        shuffle(&mut changes, stream);
        let wanted = changes.into_iter().filter(|(strength, ..)| *strength != 0.0);
        wanted.fold(image, |image, (_, change, amount)| change(image, amount))
    }
}
