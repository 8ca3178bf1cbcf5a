//! Mixtures of the images of a batch and of their labels: mixup (Zhang et al. 2018, arXiv 1710.09412) and CutMix (Yun et
//! al. 2019, arXiv 1905.04899), as torchvision's `v2.MixUp` and `v2.CutMix` compute them.
//!
//! Image i is mixed with image `partners[i]` of the same batch. `share` is what counts of the image itself (λ in the
//! papers); the rest is its partner's.

use ndarray::{Array2, Array4, ArrayView4, Axis, s};
use rand::RngExt as _;
use rand_distr::{Beta, Distribution as _};
use regraft_system::random::{Stream, shuffle};
use serde::{Deserialize, Serialize};

use crate::augment::geometry::Region;

/// How batches are mixed. Nothing is by default; with both, each batch is mixed in one of the two ways, which are equally
/// probable.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mixing {
    /// α of mixup's Beta(α, α), 0 (no mixup) to 1000. Usual are 0.1 to 0.4; 1 is uniform, and more is nearer to halves.
    pub mixup: f64,
    /// α of CutMix's Beta(α, α), 0 (no CutMix) to 1000. Usual is 1.
    pub cutmix: f64,
}

/// A batch that cannot be mixed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MixError {
    /// A parameter is outside its range.
    #[error("mixing: {name} is {found}; it must be {expected}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// Its value.
        found: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// Not as many labels or partners as images.
    #[error("{images} images have {found} {what}")]
    Count {
        /// Labels or partners.
        what: &'static str,
        /// Number of images.
        images: usize,
        /// Number of the others.
        found: usize,
    },
    /// A partner or a label that there is not.
    #[error("{what} {found} of {count}, counted from 0")]
    OutOfRange {
        /// Partner or label.
        what: &'static str,
        /// Its number.
        found: usize,
        /// How many there are.
        count: usize,
    },
}

/// Images N × channels × height × width, and for each the probabilities of the classes, N × classes.
pub type Mixed = (Array4<f32>, Array2<f32>);

impl Mixing {
    /// Whether nothing is mixed.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// # Errors
    /// A number is outside its range.
    pub fn check(&self) -> Result<(), MixError> {
        let expected = "from 0 to 1000";
        for (name, found) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if !(0.0..=1000.0).contains(&found) {
                return Err(MixError::Parameter { name, found, expected });
            }
        }
        Ok(())
    }

    /// Mixes a batch with itself in a random order. `labels` are below `classes`.
    ///
    /// # Errors
    /// Not as many labels as images, or a label that is not below `classes`.
    pub fn apply(
        &self,
        batch: ArrayView4<'_, f32>,
        labels: &[usize],
        classes: usize,
        stream: &mut Stream,
    ) -> Result<Mixed, MixError> {
        let mut partners: Vec<usize> = (0..batch.len_of(Axis(0))).collect();
        shuffle(&mut partners, stream);
        let has_coin_mixup = stream.random::<bool>();
        let (images, share) = if self.cutmix > 0.0 && !(self.mixup > 0.0 && has_coin_mixup) {
            let size = (batch.len_of(Axis(3)), batch.len_of(Axis(2)));
            let region = draw_region(size, draw_share(self.cutmix, stream), stream);
            (cutmix(batch, &partners, region)?, share_outside(size, region))
        } else {
            let share = draw_share(self.mixup, stream);
            (mixup(batch, &partners, share)?, share)
        };
        Ok((images, soft_targets(labels, &partners, share, classes)?))
    }
}

/// A share from Beta(α, α). 1, which mixes nothing, if α is not above 0.
pub fn draw_share(alpha: f64, stream: &mut Stream) -> f64 {
    Beta::new(alpha, alpha).map_or(1.0, |beta| beta.sample(stream))
}

/// A rectangle with a share of `1 − share` of an image of this width and height, around a random pixel; what is outside of
/// the image is cut off.
pub fn draw_region((width, height): (usize, usize), share: f64, stream: &mut Stream) -> Region {
    let half = 0.5 * (1.0 - share).max(0.0).sqrt();
    let mut span = |side: usize| {
        let middle = stream.random_range(0..side.max(1));
        let reach = (half * side as f64) as usize;
        middle.saturating_sub(reach)..(middle + reach).min(side)
    };
    let (columns, rows) = (span(width), span(height));
    Region { left: columns.start, top: rows.start, width: columns.len(), height: rows.len() }
}

/// The share of an image of this width and height that is outside of a rectangle in it.
pub fn share_outside((width, height): (usize, usize), region: Region) -> f64 {
    1.0 - (region.width * region.height) as f64 / (width * height).max(1) as f64
}

/// `share · image + (1 − share) · partner`.
///
/// # Errors
/// There is not one partner for each image, or one that is not in the batch.
pub fn mixup(batch: ArrayView4<'_, f32>, partners: &[usize], share: f64) -> Result<Array4<f32>, MixError> {
    check_partners(batch.len_of(Axis(0)), partners)?;
    let mut mixed = batch.to_owned();
    for (mut image, partner) in mixed.outer_iter_mut().zip(partners) {
        let partner = batch.index_axis(Axis(0), *partner);
        image.zip_mut_with(&partner, |own, other| *own = mean(*own, *other, share));
    }
    Ok(mixed)
}

fn mean(own: f32, other: f32, share: f64) -> f32 {
    other * (1.0 - share) as f32 + own * share as f32
}

/// The images with the partner's pixels in a rectangle. What of the rectangle is outside of the images is left out.
///
/// # Errors
/// As [`mixup`].
pub fn cutmix(
    batch: ArrayView4<'_, f32>,
    partners: &[usize],
    region: Region,
) -> Result<Array4<f32>, MixError> {
    check_partners(batch.len_of(Axis(0)), partners)?;
    let within =
        |start: usize, length: usize, side: usize| start.min(side)..start.saturating_add(length).min(side);
    let rows = within(region.top, region.height, batch.len_of(Axis(2)));
    let columns = within(region.left, region.width, batch.len_of(Axis(3)));
    let window = s![.., rows, columns];
    let mut mixed = batch.to_owned();
    for (mut image, partner) in mixed.outer_iter_mut().zip(partners) {
        image.slice_mut(window).assign(&batch.index_axis(Axis(0), *partner).slice(window));
    }
    Ok(mixed)
}

/// For each image `share` on its own label and `1 − share` on its partner's.
///
/// # Errors
/// There is not one partner for each label, or a label is not below `classes`.
pub fn soft_targets(
    labels: &[usize],
    partners: &[usize],
    share: f64,
    classes: usize,
) -> Result<Array2<f32>, MixError> {
    let mut targets = Array2::zeros((labels.len(), classes));
    for (mut row, label) in targets.outer_iter_mut().zip(labels) {
        let place = row.get_mut(*label);
        *place.ok_or(MixError::OutOfRange { what: "label", found: *label, count: classes })? = 1.0;
    }
    check_count("labels", partners.len(), labels.len())?;
    check_partners(labels.len(), partners)?;
    let mut mixed = targets.clone();
    for (mut row, partner) in mixed.outer_iter_mut().zip(partners) {
        row.zip_mut_with(&targets.index_axis(Axis(0), *partner), |own, other| {
            *own = mean(*own, *other, share)
        });
    }
    Ok(mixed)
}

fn check_partners(images: usize, partners: &[usize]) -> Result<(), MixError> {
    check_count("partners", images, partners.len())?;
    match partners.iter().find(|partner| **partner >= images) {
        Some(found) => Err(MixError::OutOfRange { what: "partner", found: *found, count: images }),
        None => Ok(()),
    }
}

fn check_count(what: &'static str, images: usize, found: usize) -> Result<(), MixError> {
    if images == found { Ok(()) } else { Err(MixError::Count { what, images, found }) }
}
