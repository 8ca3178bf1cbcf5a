//! In which numbers the frozen part is computed: what a user asks for, and what a program needs for it.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use regraft_data::decode::{Limits, decode_as};
use regraft_data::preprocess::crop;
use regraft_data::raster::Samples;
use regraft_engine::{
    Calibration, Calibrator, EngineError, InstructionSet, Normalization, Precision, Program, Settings,
};
use regraft_graph::{Model, Preprocessing};
use regraft_system::files;
use regraft_system::hash::KeyHasher;
use serde::{Deserialize, Serialize};

use crate::ingest::{bytes, numbers};
use crate::{Context, Error, Result};

/// What `--precision` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PrecisionChoice {
    /// 32-bit floating point.
    #[default]
    #[serde(rename = "f32")]
    Float32,
    /// 16-bit floating point with 8 significant bits.
    #[serde(rename = "bf16")]
    BFloat16,
    /// 8-bit integers, calibrated on the user's images.
    #[serde(rename = "int8")]
    Int8,
    /// The fastest one whose features keep the head's cross-validated accuracy.
    #[serde(rename = "auto")]
    Auto,
}

impl PrecisionChoice {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Float32, Self::BFloat16, Self::Int8, Self::Auto];

    /// `f32`, `bf16`, `int8` or `auto`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => Precision::Float32.name(),
            Self::BFloat16 => Precision::BFloat16.name(),
            Self::Int8 => Precision::Int8.name(),
            Self::Auto => "auto",
        }
    }
}

/// The precision of a model's frozen part, with what it needs. A run keeps it beside its model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum FrozenPrecision {
    /// 32-bit floating point.
    #[default]
    #[serde(rename = "f32")]
    Float32,
    /// 16-bit floating point with 8 significant bits.
    #[serde(rename = "bf16")]
    BFloat16,
    /// 8-bit integers, with the ranges of the values.
    #[serde(rename = "int8")]
    Int8(Calibration),
}

/// Where a model folder has the precision of its frozen part; without it, single precision.
const FILE: &str = "precision.json";

impl FrozenPrecision {
    /// `f32`, `bf16` or `int8`.
    pub fn name(&self) -> &'static str {
        self.precision().name()
    }

    /// What the model of a run, or of a model folder, is computed in; single precision for any other source.
    ///
    /// # Errors
    /// The run's record of it is damaged.
    pub fn of_source(source: &Path) -> Result<Self> {
        let source = crate::zoo::local_source(source)?;
        let places = [source.join("model").join(FILE), source.join(FILE)];
        let Some(path) = places.into_iter().find(|path| path.is_file()) else { return Ok(Self::Float32) };
        let text = files::read(&path).map_err(Error::model)?;
        serde_json::from_slice(&text).map_err(|error| Error::Model(format!("{}: {error}", path.display())))
    }

    /// Writes it into a model folder.
    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        if *self == Self::Float32 {
            return Ok(());
        }
        let (path, text) = (folder.join(FILE), serde_json::to_vec(self).map_err(Error::model)?);
        files::write_atomically(&path, &text).map_err(Error::output(&path, "writing the run folder"))
    }

    pub(crate) fn precision(&self) -> Precision {
        match self {
            Self::Float32 => Precision::Float32,
            Self::BFloat16 => Precision::BFloat16,
            Self::Int8(_) => Precision::Int8,
        }
    }

    /// The same for another network: ranges are a network's own, and without them there is single precision.
    pub(crate) fn of_another_network(&self) -> Self {
        match self {
            Self::Int8(_) => Self::Float32,
            other => other.clone(),
        }
    }

    /// Adds everything that determines results.
    pub(crate) fn key(&self, key: KeyHasher) -> Result<KeyHasher> {
        let key = key.field("precision", self.name());
        match self {
            Self::Int8(calibration) => {
                Ok(key.field("calibration", serde_json::to_vec(calibration).map_err(Error::model)?))
            }
            _ => Ok(key),
        }
    }

    pub(crate) fn compile(
        &self,
        model: &Model,
        image: [usize; 2],
        outputs: &[&str],
    ) -> std::result::Result<Program, EngineError> {
        let set = InstructionSet::detect();
        match self {
            Self::Int8(calibration) => Program::compile_int8(model, image, outputs, set, calibration),
            _ => {
                let settings = Settings { instruction_set: set, precision: self.precision() };
                Program::compile_with(model, image, outputs, settings)
            }
        }
    }
}

/// What [`embed`](crate::embed) computes in.
#[derive(Debug, Clone, PartialEq)]
pub enum EmbedPrecision {
    /// This one.
    Given(FrozenPrecision),
    /// 8-bit integers, calibrated on the images themselves.
    CalibratedInt8,
}

impl EmbedPrecision {
    /// What is asked for, of a source. Without a choice, a run is computed in the precision that its head was fitted to,
    /// and any other source in single precision. A run in 8-bit integers keeps its ranges, so that the features of
    /// several calls are alike.
    ///
    /// # Errors
    /// [`PrecisionChoice::Auto`], which needs labels; the run's record of its precision is damaged.
    pub fn of_source(source: &Path, choice: Option<PrecisionChoice>) -> Result<Self> {
        let kept = FrozenPrecision::of_source(source)?;
        Ok(Self::Given(match choice {
            None => kept,
            Some(PrecisionChoice::Float32) => FrozenPrecision::Float32,
            Some(PrecisionChoice::BFloat16) => FrozenPrecision::BFloat16,
            Some(PrecisionChoice::Int8) if kept.precision() == Precision::Int8 => kept,
            Some(PrecisionChoice::Int8) => return Ok(Self::CalibratedInt8),
            Some(PrecisionChoice::Auto) => {
                let message = "compares accuracies and so needs labels, which `regraft fit` has; choose f32, bf16 or int8";
                return Err(Error::Usage(format!("--precision auto: {message}")));
            }
        }))
    }

    pub(crate) fn precision(&self) -> Precision {
        match self {
            Self::Given(precision) => precision.precision(),
            Self::CalibratedInt8 => Precision::Int8,
        }
    }

    pub(crate) fn frozen(self, calibrate: impl FnOnce() -> Result<Calibration>) -> Result<FrozenPrecision> {
        match self {
            Self::Given(precision) => Ok(precision),
            Self::CalibratedInt8 => calibrate().map(FrozenPrecision::Int8),
        }
    }
}

/// Why bfloat16 is no gain on this processor.
pub(crate) const NO_BFLOAT16: &str = "this processor has no instructions for bf16";

/// Whether the processor has instructions for bfloat16.
pub(crate) fn has_bfloat16() -> bool {
    Precision::BFloat16.is_native(InstructionSet::detect())
}

/// Says so where bfloat16 was asked for and only costs time; `what` is computed in it.
pub(crate) fn warn_of_emulation(precision: Precision, what: &str, context: &Context<'_>) {
    if precision == Precision::BFloat16 && !has_bfloat16() {
        context.progress.message(&format!("warning: {NO_BFLOAT16}; {what} in it is slower than in f32"));
    }
}

/// More images hardly move a range that 256 have found.
pub(crate) const CALIBRATION_IMAGES: usize = 256;

/// With fewer images, whoever calibrates on them is told.
const ENOUGH_IMAGES: usize = 32;

/// Images that are decoded before the network sees them.
const BATCH: usize = 32;

/// Finds the ranges of the network's values up to `cut` on some of the files, evenly spread. Files that cannot be read
/// are passed over.
pub(crate) fn calibrate(
    model: &Model,
    cut: &str,
    paths: &[PathBuf],
    context: &Context<'_>,
) -> Result<Calibration> {
    let preprocessing = &model.card().preprocessing;
    let normalization = Normalization::new(preprocessing);
    let set = InstructionSet::detect();
    let mut calibrator = Calibrator::new(model, preprocessing.crop, &[cut], set).map_err(Error::model)?;
    let sample = spread(paths, CALIBRATION_IMAGES);
    context.progress.start("calibrating 8-bit integers", sample.len() as u64);
    let (mut seen, mut reason) = (0, None);
    for batch in sample.chunks(BATCH) {
        if context.progress.interrupted() {
            return Err(Error::Interrupted);
        }
        let read = batch.par_iter().map(|path| pixels(path, preprocessing, &context.limits));
        let read: Vec<std::result::Result<Samples, String>> = read.collect();
        reason = reason.or_else(|| read.iter().find_map(|image| image.as_ref().err().cloned()));
        let images: Vec<Samples> = read.into_iter().flatten().collect();
        let images: Vec<&Samples> = images.iter().collect();
        let observed = match bytes(&images) {
            Some(bytes) => calibrator.observe_pixels(&bytes, &normalization),
            None => numbers(&images, preprocessing).and_then(|images| calibrator.observe(images.view())),
        };
        observed.map_err(Error::model)?;
        seen += images.len();
        context.progress.advance(batch.len() as u64);
    }
    context.progress.finish();
    if seen == 0 {
        let reason = reason.unwrap_or_default();
        return Err(Error::Data(format!("no image could be used to calibrate 8-bit integers. {reason}")));
    }
    warn_of_few(seen, context);
    Ok(calibrator.finish())
}

/// Says so where ranges were found on so few images that others will lie outside.
pub(crate) fn warn_of_few(images: usize, context: &Context<'_>) {
    if images < ENOUGH_IMAGES {
        let message = format!(
            "8-bit integers were calibrated on only {images} of your images; {CALIBRATION_IMAGES} give ranges that hold for others"
        );
        context.progress.message(&message);
    }
}

/// The crop that the network sees, or the file's name and why there is none.
fn pixels(
    path: &Path,
    preprocessing: &Preprocessing,
    limits: &Limits,
) -> std::result::Result<Samples, String> {
    let because = |reason: String| format!("{}: {reason}", path.display());
    let content = files::read(path).map_err(|error| error.to_string())?;
    let image = decode_as(&content, preprocessing.channels(), limits);
    let image = image.map_err(|error| because(error.to_string()))?;
    Ok(crop(&image, preprocessing).map_err(|error| because(error.to_string()))?.into_samples())
}

/// At most so many of the items, evenly spread over them.
pub(crate) fn spread<T: Clone>(items: &[T], most: usize) -> Vec<T> {
    let count = items.len().min(most);
    (0..count).filter_map(|index| items.get(index * items.len() / count).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_evenly() {
        assert_eq!(spread(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 4), [0, 2, 5, 7]);
        assert_eq!(spread(&[1, 2], 4), [1, 2]);
        assert!(spread::<u8>(&[], 4).is_empty());
    }

    #[test]
    fn images_are_embedded_as_a_run_is_unless_asked_otherwise() {
        let run = tempfile::tempdir().unwrap();
        let int8 = FrozenPrecision::Int8(Calibration::default());
        let of_source = |choice| EmbedPrecision::of_source(run.path(), choice);
        assert_eq!(of_source(None).unwrap(), EmbedPrecision::Given(FrozenPrecision::Float32));
        assert_eq!(of_source(Some(PrecisionChoice::Int8)).unwrap(), EmbedPrecision::CalibratedInt8);
        int8.save(run.path()).unwrap();
        for choice in [None, Some(PrecisionChoice::Int8)] {
            assert_eq!(of_source(choice).unwrap(), EmbedPrecision::Given(int8.clone()));
        }
        let bfloat16 = of_source(Some(PrecisionChoice::BFloat16)).unwrap();
        assert_eq!(bfloat16, EmbedPrecision::Given(FrozenPrecision::BFloat16));
        assert!(of_source(Some(PrecisionChoice::Auto)).is_err());
    }

    #[test]
    fn a_precision_is_what_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(FrozenPrecision::of_source(folder.path()).unwrap(), FrozenPrecision::Float32);
        for precision in [FrozenPrecision::BFloat16, FrozenPrecision::Int8(Calibration::default())] {
            precision.save(folder.path()).unwrap();
            assert_eq!(FrozenPrecision::of_source(folder.path()).unwrap(), precision);
        }
    }
}
