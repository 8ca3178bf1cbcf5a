//! The images of a training, decoded once where memory allows.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::Array4;
use rayon::prelude::*;
use regraft_data::decode::{Limits, decode_as};
use regraft_data::preprocess::crop;
use regraft_data::raster::Samples;
use regraft_graph::Preprocessing;
use regraft_system::files;

use crate::ingest::numbers;
use crate::{Error, Result};

/// Bytes of decoded images that are kept: 7,000 of 224×224 pixels.
const ROOM: usize = 1 << 30;

/// Images by position, as the network is shown them.
pub(crate) struct Images {
    paths: Vec<PathBuf>,
    preprocessing: Preprocessing,
    limits: Limits,
    kept: Vec<OnceLock<Samples>>,
    /// Bytes that are kept.
    used: AtomicUsize,
}

impl Images {
    pub(crate) fn new(paths: Vec<PathBuf>, preprocessing: Preprocessing, limits: Limits) -> Self {
        let kept = paths.iter().map(|_| OnceLock::new()).collect();
        Self { paths, preprocessing, limits, kept, used: AtomicUsize::new(0) }
    }

    /// Height and width of the images that the network sees.
    pub(crate) fn size(&self) -> [usize; 2] {
        self.preprocessing.crop
    }

    /// The normalised images at these positions, N×C×H×W.
    ///
    /// # Errors
    /// A file can no longer be read.
    pub(crate) fn batch(&self, positions: &[usize]) -> Result<Array4<f32>> {
        let crops = positions.par_iter().with_max_len(1).map(|position| self.crop(*position));
        let crops: Vec<Samples> = crops.collect::<Result<_>>()?;
        numbers(&crops.iter().collect::<Vec<_>>(), &self.preprocessing).map_err(Error::model)
    }

    fn crop(&self, position: usize) -> Result<Samples> {
        let kept = self.kept.get(position);
        if let Some(samples) = kept.and_then(OnceLock::get) {
            return Ok(samples.clone());
        }
        let samples = self.decode(position)?;
        let bytes = size(&samples);
        // What others add meanwhile may go beyond the room by an image a thread.
        if let Some(place) = kept.filter(|_| self.used.load(Ordering::Relaxed) + bytes <= ROOM) {
            self.used.fetch_add(bytes, Ordering::Relaxed);
            let _ = place.set(samples.clone());
        }
        Ok(samples)
    }

    fn decode(&self, position: usize) -> Result<Samples> {
        let path = self.paths.get(position).ok_or_else(|| Error::Data("no such image".to_owned()))?;
        let gone = |reason: String| Error::Data(format!("{}: {reason}", path.display()));
        let content = files::read(path).map_err(|error| gone(error.source.to_string()))?;
        let image = decode_as(&content, self.preprocessing.channels(), &self.limits);
        let image = image.map_err(|error| gone(error.to_string()))?;
        let cropped = crop(&image, &self.preprocessing).map_err(|error| gone(error.to_string()))?;
        Ok(cropped.into_samples())
    }
}

fn size(samples: &Samples) -> usize {
    match samples {
        Samples::Bytes(bytes) => bytes.len(),
        Samples::Numbers(numbers) => numbers.len() * size_of::<f32>(),
    }
}
