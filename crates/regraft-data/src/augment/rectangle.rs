//! Random rectangles: the one that is seen (Szegedy et al. 2015) and the one that is not (Zhong et al. 2017).

use regraft_graph::Preprocessing;
use regraft_system::random::Stream;
use serde::{Deserialize, Serialize};

use super::AugmentationError;
use super::geometry::{Region, erase, resized_crop};
use super::random::{chance, log_uniform, uniform, up_to};
use crate::preprocess::{PreprocessError, check_channels, zero_size};
use crate::raster::Image;

/// Rectangles that do not fit are drawn again so many times in all, as in torchvision.
const TRIES: usize = 10;

/// A random part of the image, brought to the crop's size: torchvision's `RandomResizedCrop`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RandomResizedCrop {
    /// Smallest and largest share of the image's area, above 0, at most 1; uniform.
    pub scale: [f64; 2],
    /// Smallest and largest width divided by height, above 0; uniform on a logarithmic scale.
    pub ratio: [f64; 2],
}

impl Default for RandomResizedCrop {
    /// torchvision's: a share of 0.08 to 1, a ratio of 3/4 to 4/3.
    fn default() -> Self {
        Self { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

impl RandomResizedCrop {
    /// # Errors
    /// A number is outside its range.
    pub fn check(&self) -> Result<(), AugmentationError> {
        check_share("random-resized-crop.scale", self.scale)?;
        check_ratio("random-resized-crop.ratio", self.ratio)
    }

    /// The part of an image of this width and height. If ten rectangles do not fit, the largest one in the middle with a
    /// ratio in the range.
    pub fn region(&self, (width, height): (usize, usize), stream: &mut Stream) -> Region {
        for _ in 0..TRIES {
            let (wide, high) = draw_size((width, height), self.scale, self.ratio, stream);
            if (1..=width).contains(&wide) && (1..=height).contains(&high) {
                return place((width, height), (wide, high), stream);
            }
        }
        self.middle((width, height))
    }

    fn middle(&self, (width, height): (usize, usize)) -> Region {
        let [narrowest, widest] = self.ratio;
        let ratio = width as f64 / height as f64;
        let rounded = |side: f64, limit: usize| (side.round_ties_even() as usize).clamp(1, limit);
        let (wide, high) = if ratio < narrowest {
            (width, rounded(width as f64 / narrowest, height))
        } else if ratio > widest {
            (rounded(height as f64 * widest, width), height)
        } else {
            (width, height)
        };
        Region { left: (width - wide) / 2, top: (height - high) / 2, width: wide, height: high }
    }

    /// A random part of the image in the size of the preprocessing's crop.
    ///
    /// # Errors
    /// The crop has a side of zero, or the image has other channels than the network.
    pub fn apply(
        &self,
        image: &Image,
        preprocessing: &Preprocessing,
        stream: &mut Stream,
    ) -> Result<Image, PreprocessError> {
        check_channels(image, preprocessing)?;
        let region = self.region((image.width(), image.height()), stream);
        let [height, width] = preprocessing.crop;
        resized_crop(image, region, (width, height), preprocessing.filter)
            .ok_or_else(|| zero_size(preprocessing))
    }
}

/// A rectangle of the mean colour, which is zero for the network: torchvision's `RandomErasing` after `Normalize`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RandomErasing {
    /// How often there is one, 0 to 1.
    pub probability: f64,
    /// Smallest and largest share of the crop's area, above 0, at most 1; uniform.
    pub scale: [f64; 2],
    /// Smallest and largest height divided by width, above 0; uniform on a logarithmic scale.
    pub ratio: [f64; 2],
}

impl Default for RandomErasing {
    /// torchvision's: half of the images, a share of 0.02 to 0.33, a ratio of 0.3 to 3.3.
    fn default() -> Self {
        Self { probability: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3] }
    }
}

impl RandomErasing {
    /// # Errors
    /// A number is outside its range.
    pub fn check(&self) -> Result<(), AugmentationError> {
        AugmentationError::check_probability("random-erasing.probability", self.probability)?;
        check_share("random-erasing.scale", self.scale)?;
        check_ratio("random-erasing.ratio", self.ratio)
    }

    /// The rectangle in an image of this width and height. None if ten were too wide or too high.
    pub fn region(&self, (width, height): (usize, usize), stream: &mut Stream) -> Option<Region> {
        for _ in 0..TRIES {
            let (high, wide) = draw_size((width, height), self.scale, self.ratio, stream);
            if wide < width && high < height {
                return Some(place((width, height), (wide, high), stream));
            }
        }
        None
    }

    /// The image, with a rectangle of the preprocessing's mean if there is to be one.
    pub fn apply(&self, image: Image, preprocessing: &Preprocessing, stream: &mut Stream) -> Image {
        let region =
            chance(stream, self.probability).then(|| self.region((image.width(), image.height()), stream));
        match region.flatten() {
            Some(region) => erase(image, region, &mean_colour(preprocessing)),
            None => image,
        }
    }
}

/// The mean of each sample of a pixel. Which sample a channel is made of is also which channel a sample goes to.
fn mean_colour(preprocessing: &Preprocessing) -> Vec<f32> {
    let mean = |sample| preprocessing.mean.get(preprocessing.sample(sample)).copied().unwrap_or_default();
    (0..preprocessing.channels()).map(mean).collect()
}

/// Two sides with a share of the image's area; the first divided by the second is the ratio.
fn draw_size(
    (width, height): (usize, usize),
    scale: [f64; 2],
    ratio: [f64; 2],
    stream: &mut Stream,
) -> (usize, usize) {
    let area = (width as f64 * height as f64) * uniform(stream, scale);
    let ratio = log_uniform(stream, ratio);
    let rounded = |side: f64| side.sqrt().round_ties_even() as usize;
    (rounded(area * ratio), rounded(area / ratio))
}

/// Puts a rectangle that fits somewhere into an image.
fn place((width, height): (usize, usize), (wide, high): (usize, usize), stream: &mut Stream) -> Region {
    let top = up_to(stream, height.saturating_sub(high));
    let left = up_to(stream, width.saturating_sub(wide));
    Region { left, top, width: wide, height: high }
}

fn check_share(name: &'static str, range: [f64; 2]) -> Result<(), AugmentationError> {
    let [low, high] = range;
    let is_fine = 0.0 < low && low <= high && high <= 1.0;
    AugmentationError::check(
        name,
        &range,
        "two shares of the area above 0, at most 1, the smaller first",
        is_fine,
    )
}

fn check_ratio(name: &'static str, range: [f64; 2]) -> Result<(), AugmentationError> {
    let [low, high] = range;
    let is_fine = 0.0 < low && low <= high && high < f64::INFINITY;
    AugmentationError::check(name, &range, "two finite numbers above 0, the smaller first", is_fine)
}
