//! Several views of an image whose predictions are averaged (test-time augmentation).

use std::ops::Range;

use regraft_graph::Preprocessing;
use serde::{Deserialize, Serialize};

use crate::augment::geometry::flip_horizontally;
use crate::preprocess::{Place, PreprocessError, crop, crop_at};
use crate::raster::Image;
use crate::resize::centre;

/// Which views there are.
///
/// The corners of a resized image differ from its centre where the preprocessing cuts something off: in both directions if
/// it resizes to more than the crop (256 for 224), along the longer side only if not, and not at all if it resizes to
/// exactly the crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ViewSet {
    /// The centre crop: what the network sees without this.
    #[default]
    Centre,
    /// The centre crop and its mirror image.
    CentreAndFlip,
    /// The corners and the centre: torchvision's `FiveCrop`.
    FiveCrops,
    /// Five crops and their mirror images: torchvision's `TenCrop`.
    TenCrops,
}

impl ViewSet {
    /// All of them, from one view to ten.
    pub const ALL: [Self; 4] = [Self::Centre, Self::CentreAndFlip, Self::FiveCrops, Self::TenCrops];

    /// The one of so many views, 1, 2, 5 or 10.
    pub fn of(count: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.count() == count)
    }

    /// How many views it has.
    pub fn count(self) -> usize {
        match self {
            Self::Centre => 1,
            Self::CentreAndFlip => 2,
            Self::FiveCrops => 5,
            Self::TenCrops => 10,
        }
    }
}

/// Where corners and centre are across and down, in torchvision's order.
const FIVE: [(Place, Place); 5] = [(start, start), (end, start), (start, end), (end, end), (centre, centre)];

/// The views of an image in the size of the preprocessing's crop, not normalised yet; mirror images in the order of the
/// others and behind them. Every one is a part of the image that [`crop`] resizes, with the same black border where it is
/// smaller than the crop.
///
/// # Errors
/// As [`crop`].
pub fn views(
    image: &Image,
    preprocessing: &Preprocessing,
    set: ViewSet,
) -> Result<Vec<Image>, PreprocessError> {
    let mut views = match set {
        ViewSet::Centre | ViewSet::CentreAndFlip => vec![crop(image, preprocessing)?],
        ViewSet::FiveCrops | ViewSet::TenCrops => FIVE
            .iter()
            .map(|(across, down)| crop_at(image, preprocessing, *across, *down))
            .collect::<Result<_, _>>()?,
    };
    if matches!(set, ViewSet::CentreAndFlip | ViewSet::TenCrops) {
        let mirrored: Vec<Image> = views.iter().cloned().map(flip_horizontally).collect();
        views.extend(mirrored);
    }
    Ok(views)
}

fn start(available: usize, wanted: usize) -> (Range<usize>, usize) {
    if available < wanted { centre(available, wanted) } else { (0..wanted, 0) }
}

fn end(available: usize, wanted: usize) -> (Range<usize>, usize) {
    if available < wanted { centre(available, wanted) } else { (available - wanted..available, 0) }
}
