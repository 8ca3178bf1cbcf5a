//! The images of a training, decoded once where memory allows.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::Array4;
use rayon::prelude::*;
use regraft_data::augment::Augmentation;
use regraft_data::decode::{Limits, decode_as};
use regraft_data::preprocess::crop;
use regraft_data::raster::{Image, Samples};
use regraft_data::resize::{resize, short_side_size};
use regraft_graph::{Preprocessing, ResizeFilter};
use regraft_system::files;
use regraft_system::hash::KeyHasher;
use regraft_system::random::stream;

use crate::cache::{ContentHash, hex};
use crate::ingest::numbers;
use crate::{Error, Result};

/// Bytes of decoded images that are kept: 7,000 of 224×224 pixels.
const ROOM: usize = 1 << 30;

/// Images of which random parts are shown are kept with a shorter side of so many times that of the crop: enough for any part
/// of a quarter of the area, and little beside a photograph.
const MARGIN: usize = 2;

/// How the network is shown an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// As in use.
    Plain,
    /// A random variant of this number.
    Variant(usize),
}

/// Images by position, as the network is shown them.
pub(crate) struct Images {
    paths: Vec<PathBuf>,
    contents: Vec<ContentHash>,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    seed: u64,
    limits: Limits,
    kept: Vec<OnceLock<Image>>,
    /// Bytes that are kept.
    used: AtomicUsize,
}

impl Images {
    pub(crate) fn new(
        paths: Vec<PathBuf>,
        contents: Vec<ContentHash>,
        preprocessing: Preprocessing,
        (augmentation, seed): (Augmentation, u64),
        limits: Limits,
    ) -> Self {
        let kept = paths.iter().map(|_| OnceLock::new()).collect();
        Self { paths, contents, preprocessing, augmentation, seed, limits, kept, used: AtomicUsize::new(0) }
    }

    /// Height and width of the images that the network sees.
    pub(crate) fn size(&self) -> [usize; 2] {
        self.preprocessing.crop
    }

    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(crate) fn content(&self, position: usize) -> Option<&ContentHash> {
        self.contents.get(position)
    }

    pub(crate) fn augmentation(&self) -> &Augmentation {
        &self.augmentation
    }

    /// Adds everything that determines the variants of an image.
    pub(crate) fn key_of_variants(&self, key: KeyHasher) -> Result<KeyHasher> {
        let augmentation = serde_json::to_vec(&self.augmentation).map_err(Error::data)?;
        Ok(key.field("augmentation", augmentation).field("seed", self.seed.to_le_bytes()))
    }

    /// The normalised images at these positions, N×C×H×W.
    ///
    /// # Errors
    /// A file can no longer be read.
    pub(crate) fn batch(&self, positions: &[usize], look: Look) -> Result<Array4<f32>> {
        let crops = positions.par_iter().with_max_len(1).map(|position| self.crop(*position, look));
        let crops: Vec<Samples> = crops.collect::<Result<_>>()?;
        numbers(&crops.iter().collect::<Vec<_>>(), &self.preprocessing).map_err(Error::model)
    }

    fn crop(&self, position: usize, look: Look) -> Result<Samples> {
        let kept = self.kept.get(position);
        if let Some(image) = kept.and_then(OnceLock::get) {
            return self.shown(image, position, look);
        }
        let image = self.decode(position)?;
        let samples = self.shown(&image, position, look);
        let bytes = size(image.samples());
        // What others add meanwhile may go beyond the room by an image a thread.
        if let Some(place) = kept.filter(|_| self.used.load(Ordering::Relaxed) + bytes <= ROOM) {
            self.used.fetch_add(bytes, Ordering::Relaxed);
            let _ = place.set(image);
        }
        samples
    }

    /// What the network sees of an image. The random numbers depend on the image's content and on the variant only.
    fn shown(&self, image: &Image, position: usize, look: Look) -> Result<Samples> {
        let unusable = |reason: String| Error::Data(format!("{}: {reason}", self.name(position)));
        let shown = match look {
            _ if self.augmentation.is_none() => return Ok(image.samples().clone()),
            Look::Plain => crop(image, &self.preprocessing),
            Look::Variant(variant) => {
                let content = self.contents.get(position).map(hex).unwrap_or_default();
                let mut random = stream(self.seed, &format!("variants of {content}"), variant as u64);
                self.augmentation.apply(image, &self.preprocessing, &mut random)
            }
        };
        shown.map(Image::into_samples).map_err(|error| unusable(error.to_string()))
    }

    fn name(&self, position: usize) -> String {
        self.paths.get(position).map_or_else(String::new, |path| path.display().to_string())
    }

    /// The crop, or the image where variants of it are shown.
    fn decode(&self, position: usize) -> Result<Image> {
        let gone = |reason: String| Error::Data(format!("{}: {reason}", self.name(position)));
        let path = self.paths.get(position).ok_or_else(|| Error::Data("no such image".to_owned()))?;
        let content = files::read(path).map_err(|error| gone(error.source.to_string()))?;
        let image = decode_as(&content, self.preprocessing.channels(), &self.limits);
        let image = image.map_err(|error| gone(error.to_string()))?;
        if self.augmentation.is_none() {
            return crop(&image, &self.preprocessing).map_err(|error| gone(error.to_string()));
        }
        Ok(self.smaller(image))
    }

    /// An image of at most [`MARGIN`] times the crop's size.
    fn smaller(&self, image: Image) -> Image {
        let side = MARGIN * self.preprocessing.crop.iter().copied().max().unwrap_or(1);
        let size = (image.width(), image.height());
        if size.0.min(size.1) <= side {
            return image;
        }
        let (width, height) = short_side_size(size, side);
        resize(&image, width, height, ResizeFilter::Bilinear).unwrap_or(image)
    }
}

fn size(samples: &Samples) -> usize {
    match samples {
        Samples::Bytes(bytes) => bytes.len(),
        Samples::Numbers(numbers) => numbers.len() * size_of::<f32>(),
    }
}
