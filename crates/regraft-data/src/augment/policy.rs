//! Random operators with random strengths: TrivialAugment (Müller and Hutter 2021, arXiv 2103.10158) and RandAugment
//! (Cubuk et al. 2019, arXiv 1909.13719), with torchvision's operators and magnitudes.

use regraft_system::random::Stream;
use serde::{Deserialize, Serialize};

use super::AugmentationError;
use super::colour::{
    adjust_brightness, adjust_contrast, adjust_saturation, adjust_sharpness, autocontrast, equalize,
    posterize, solarize,
};
use super::geometry::{rotate, shear_horizontally, shear_vertically, translate};
use super::random::{chance, up_to};
use crate::raster::Image;

/// Largest magnitude: there are 31, from 0.
pub const LARGEST_MAGNITUDE: usize = 30;

/// Which operators of a list are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// None.
    #[default]
    None,
    /// One operator with a random magnitude: torchvision's `TrivialAugmentWide`.
    TrivialAugment,
    /// Some operators, all with the same magnitude: torchvision's `RandAugment`.
    RandAugment {
        /// Operators one after another, 1 to 16: 2 in torchvision.
        operations: usize,
        /// Their magnitude, 0 to 30: 9 in torchvision.
        magnitude: usize,
    },
}

/// An operator of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names of torchvision's operators")]
pub enum Operator {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

impl Policy {
    /// # Errors
    /// A number is outside its range.
    pub fn check(&self) -> Result<(), AugmentationError> {
        let Self::RandAugment { operations, magnitude } = *self else { return Ok(()) };
        AugmentationError::check(
            "policy.rand-augment.operations",
            &operations,
            "from 1 to 16",
            (1..=16).contains(&operations),
        )?;
        AugmentationError::check(
            "policy.rand-augment.magnitude",
            &magnitude,
            "from 0 to 30",
            magnitude <= LARGEST_MAGNITUDE,
        )
    }

    /// The image after the operators that are drawn.
    pub fn apply(&self, image: Image, stream: &mut Stream) -> Image {
        match *self {
            Self::None => image,
            Self::TrivialAugment => {
                let operator = Operator::draw(stream);
                let magnitude = up_to(stream, LARGEST_MAGNITUDE);
                self.step(image, operator, magnitude, stream)
            }
            Self::RandAugment { operations, magnitude } => (0..operations).fold(image, |image, _| {
                let operator = Operator::draw(stream);
                self.step(image, operator, magnitude, stream)
            }),
        }
    }

    fn step(&self, image: Image, operator: Operator, magnitude: usize, stream: &mut Stream) -> Image {
        let amount = self.amount(operator, magnitude, (image.width(), image.height()));
        let is_negative = chance(stream, 0.5) && operator.has_sign();
        operator.apply(image, if is_negative { -amount } else { amount })
    }

    /// What a magnitude of 0 … 30 means for an operator, in the unit that [`Operator::apply`] takes; `size` is the width
    /// and height of the image.
    pub fn amount(&self, operator: Operator, magnitude: usize, (width, height): (usize, usize)) -> f64 {
        use Operator::*;
        let is_wide = !matches!(self, Self::RandAugment { .. });
        let pick = |wide: f64, other: f64| if is_wide { wide } else { other };
        let share_of = |side: usize| pick(32.0, 150.0 / 331.0 * side as f64);
        match operator {
            Identity | AutoContrast | Equalize => 0.0,
            ShearX | ShearY => evenly_spaced([0.0, pick(0.99, 0.3)], magnitude),
            TranslateX => evenly_spaced([0.0, share_of(width)], magnitude),
            TranslateY => evenly_spaced([0.0, share_of(height)], magnitude),
            Rotate => evenly_spaced([0.0, pick(135.0, 30.0)], magnitude),
            Brightness | Color | Contrast | Sharpness => evenly_spaced([0.0, pick(0.99, 0.9)], magnitude),
            Posterize => 8.0 - (magnitude as f64 * pick(6.0, 4.0) / 30.0).round_ties_even(),
            Solarize => evenly_spaced([255.0, 0.0], magnitude),
        }
    }
}

/// One of 31 evenly spaced numbers, with the roundings of `torch.linspace` in single precision, which goes from either end
/// to the middle with fused multiplications. They decide whether 15.999999 or 16 is cut to whole pixels.
fn evenly_spaced([first, last]: [f64; 2], index: usize) -> f64 {
    let (first, last) = (first as f32, last as f32);
    let step = (last - first) / LARGEST_MAGNITUDE as f32;
    let value = if index < LARGEST_MAGNITUDE / 2 {
        step.mul_add(index as f32, first)
    } else {
        (-step).mul_add(LARGEST_MAGNITUDE.saturating_sub(index) as f32, last)
    };
    f64::from(value)
}

impl Operator {
    /// All of them, in torchvision's order.
    pub const ALL: [Self; 14] = [
        Self::Identity,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
        Self::Rotate,
        Self::Brightness,
        Self::Color,
        Self::Contrast,
        Self::Sharpness,
        Self::Posterize,
        Self::Solarize,
        Self::AutoContrast,
        Self::Equalize,
    ];

    fn draw(stream: &mut Stream) -> Self {
        Self::ALL.get(up_to(stream, Self::ALL.len() - 1)).copied().unwrap_or(Self::Identity)
    }

    /// Whether its amount has a random sign.
    pub fn has_sign(self) -> bool {
        use Operator::*;
        !matches!(self, Identity | Posterize | Solarize | AutoContrast | Equalize)
    }

    /// The image after the operator. The amount is a slope (shear), whole pixels (translate), degrees against the clock
    /// (rotate), the factor less 1 (brightness, colour, contrast, sharpness), bits that are kept (posterize) or the
    /// level from which on samples are inverted (solarize).
    pub fn apply(self, image: Image, amount: f64) -> Image {
        match self {
            Self::Identity => image,
            Self::ShearX => shear_horizontally(&image, amount),
            Self::ShearY => shear_vertically(&image, amount),
            Self::TranslateX => translate(&image, (amount as i32, 0)),
            Self::TranslateY => translate(&image, (0, amount as i32)),
            Self::Rotate => rotate(&image, amount),
            Self::Brightness => adjust_brightness(image, 1.0 + amount),
            Self::Color => adjust_saturation(image, 1.0 + amount),
            Self::Contrast => adjust_contrast(image, 1.0 + amount),
            Self::Sharpness => adjust_sharpness(image, 1.0 + amount),
            Self::Posterize => posterize(image, amount as u32),
            Self::Solarize => solarize(image, amount),
            Self::AutoContrast => autocontrast(image),
            Self::Equalize => equalize(image),
        }
    }
}
