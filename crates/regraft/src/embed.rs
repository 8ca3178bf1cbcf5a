//! `regraft embed`: features of images, as a matrix for any other tool.

use std::path::{Path, PathBuf};

use ndarray::{Array4, Axis, Ix4, s};
use regraft_engine::{Calibration, Calibrator, InstructionSet};
use regraft_formats::npy::{self, ImageArray};
use regraft_graph::Model;
use regraft_system::clock::Stopwatch;
use regraft_system::files::{UnfinishedFile, map, write_atomically};
use serde::Serialize;

use crate::ingest::{Ingest, Network};
use crate::input::{InputChoice, Seen, adapt, adapt_to_array, statistics};
use crate::inputs::{Input, expand};
use crate::precision::{CALIBRATION_IMAGES, EmbedPrecision, calibrate, warn_of_emulation, warn_of_few};
use crate::predict::Unusable;
use crate::source::resolve_cut;
use crate::test_time::View;
use crate::{Context, Error, Result};

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Embedded {
    /// Number of rows.
    pub images: usize,
    /// Length of a row.
    pub dim: usize,
    /// Wall-clock seconds from the first file to the last row.
    pub seconds: f64,
    /// Rows a second, those from the cache included.
    pub images_per_second: f64,
    /// Rows that came from the cache.
    pub from_cache: usize,
    /// `f32`, `bf16` or `int8`.
    pub precision: &'static str,
    /// Instruction set that the engine used.
    pub instruction_set: &'static str,
    /// Files that could not be used and have no row.
    pub unusable: Vec<Unusable>,
}

/// Writes the features at `cut` of every image to `out` (`.npy`, N×D, f32) and their paths to `out` with `.paths.txt`
/// in place of `.npy`: below the folder, where one was given, else as they were given or found. Maps are averaged over height and width.
///
/// One `.npy` file of shape N×C×H×W (f32, already normalised) may stand in place of the images; its rows keep their
/// order and their paths are their indices.
///
/// The network is made to take the images as `input` says; mean and deviation of channels that need them are those of the
/// images themselves.
///
/// [`EmbedPrecision::CalibratedInt8`] calibrates on up to 256 of the images, evenly spread, or the first of the array.
///
/// # Errors
/// An input does not exist or has a wrong shape, nothing could be used, or the output cannot be written or is one of the
/// inputs.
pub fn embed(
    model: &Model,
    inputs: &[PathBuf],
    input: &InputChoice,
    cut: &str,
    precision: EmbedPrecision,
    out: &Path,
    context: &Context<'_>,
) -> Result<Embedded> {
    // What is mistyped is known before any image is read.
    input.mistake().map_or(Ok(()), |mistake| Err(Error::Usage(mistake)))?;
    resolve_cut(model, cut)?;
    let name = precision.precision().name();
    warn_of_emulation(precision.precision(), "a network", context);
    let watch = Stopwatch::start();
    let embedding = match inputs {
        [tensor] if is_array(tensor, true) => {
            check_output(out, std::slice::from_ref(tensor))?;
            from_tensor(model, tensor, input, cut, precision, out, context)?
        }
        _ => from_images(model, inputs, input, cut, precision, out, context)?,
    };
    let seconds = watch.seconds();
    let Some(rows) = embedding.rows.writer else {
        let reasons = embedding.unusable.iter().take(3).map(|file| format!("{}: {}", file.path, file.reason));
        return Err(Error::Data(format!(
            "no image could be used. {}",
            reasons.collect::<Vec<_>>().join("; ")
        )));
    };
    let (images, dim) = (rows.rows(), rows.columns());
    rows.finish().map_err(Error::write(out))?;
    let list = out.with_extension("paths.txt");
    write_atomically(&list, &embedding.paths).map_err(Error::output(&list, "writing the list of paths"))?;
    Ok(Embedded {
        images,
        dim,
        seconds,
        images_per_second: images as f64 / seconds,
        from_cache: embedding.from_cache,
        precision: name,
        instruction_set: InstructionSet::detect().name(),
        unusable: embedding.unusable,
    })
}

/// Whether a file is an array that stands in place of all images. One alone is, unless it has the axes of an image in
/// bands; among others, unless it is an image.
fn is_array(input: &Path, alone: bool) -> bool {
    let header = || map(input).ok().and_then(|content| ImageArray::header(&content).ok());
    let is_image = || header().is_some_and(|header| !alone || header.channels > 1);
    input.extension().is_some_and(|end| end == "npy") && !is_image()
}

/// A mistyped `--out` must not cost an image, nor the time until it cannot be written.
fn check_output(out: &Path, inputs: &[PathBuf]) -> Result<()> {
    drop(UnfinishedFile::start(out).map_err(Error::output(out, "writing the features"))?);
    let Ok(target) = out.canonicalize() else { return Ok(()) };
    let alike = inputs.iter().filter(|file| file.file_name() == out.file_name());
    if alike.filter_map(|file| file.canonicalize().ok()).any(|file| file == target) {
        return Err(Error::Usage(format!(
            "--out {}: is one of the inputs; choose another name",
            out.display()
        )));
    }
    Ok(())
}

struct Embedding<'a> {
    rows: Rows<'a>,
    /// One line a row, in the bytes of the file system.
    paths: Vec<u8>,
    from_cache: usize,
    unusable: Vec<Unusable>,
}

/// The rows on their way to the file, which is started with the first one.
struct Rows<'a> {
    out: &'a Path,
    writer: Option<npy::RowWriter>,
}

impl Rows<'_> {
    fn append(&mut self, values: &[f32], columns: usize) -> Result<()> {
        let failed = Error::write(self.out);
        let written = match &mut self.writer {
            Some(writer) => writer.append(values),
            None => npy::RowWriter::start(self.out, columns)
                .and_then(|writer| self.writer.insert(writer).append(values)),
        };
        written.map_err(failed)
    }
}

fn from_images<'a>(
    model: &Model,
    inputs: &[PathBuf],
    input: &InputChoice,
    cut: &str,
    precision: EmbedPrecision,
    out: &'a Path,
    context: &Context<'_>,
) -> Result<Embedding<'a>> {
    if let Some(array) = inputs.iter().find(|input| is_array(input, inputs.len() == 1)) {
        let message = "an array stands in place of all images; give it alone";
        return Err(Error::Usage(format!("{}: {message}", array.display())));
    }
    let is_one_folder = matches!(inputs, [folder] if folder.is_dir());
    let inputs = expand(inputs)?;
    let files: Vec<PathBuf> = inputs.iter().map(|input| input.file().to_path_buf()).collect();
    check_output(out, &files)?;
    let seen = Seen::of(&files, input.channels).alike(input.channels);
    let count = seen.channels.count;
    let statistics = seen.needs_statistics().then(|| statistics(&files, count, &context.limits));
    let adapted = adapt(model.clone(), input, &seen, statistics)?;
    adapted.tell(context);
    let (model, cut) = (&adapted.model, &resolve_cut(&adapted.model, cut)?);
    let precision = precision.frozen(|| calibrate(model, cut, &files, context))?;
    let ingest = Ingest {
        limits: context.limits,
        inspections: None,
        networks: vec![Network::trained(model, &[cut], &precision, &context.cache)?],
        preprocessing: model.card().preprocessing.clone(),
        view: View::Plain,
        progress: context.progress,
    };
    context.progress.start("computing features", files.len() as u64);
    let (mut rows, mut paths, mut unusable) = (Rows { out, writer: None }, Vec::new(), Vec::new());
    let mut remaining = inputs.iter();
    let timing = ingest.stream(&files, &mut |outcome| {
        let Some(input) = remaining.next() else { return Ok(()) };
        match outcome {
            Ok(file) => {
                paths.extend(line(input, is_one_folder));
                return rows.append(file.row(), file.row().len());
            }
            Err(reason) => unusable.push(Unusable { path: input.name(), reason }),
        }
        Ok(())
    })?;
    context.progress.finish();
    Ok(Embedding { rows, paths, from_cache: timing.from_cache, unusable })
}

/// The path below the one folder that was given; else the whole path as it was given or found, so that equal names differ.
fn line(input: &Input, is_one_folder: bool) -> Vec<u8> {
    let name = match input {
        Input::File(file) if is_one_folder => file.relative.as_os_str().as_encoded_bytes(),
        Input::File(file) => file.path.as_os_str().as_encoded_bytes(),
        Input::StandardInput(_) => b"-",
    };
    [name, b"\n"].concat()
}

fn from_tensor<'a>(
    model: &Model,
    path: &Path,
    input: &InputChoice,
    cut: &str,
    precision: EmbedPrecision,
    out: &'a Path,
    context: &Context<'_>,
) -> Result<Embedding<'a>> {
    let array = npy::read_f32(path).map_err(Error::data)?;
    let found = array.shape().to_vec();
    let array = array.into_dimensionality::<Ix4>().ok().filter(|array| !array.is_empty());
    let array = array.ok_or_else(|| {
        let advice = "stack and transpose the images to that shape";
        Error::Data(format!(
            "{}: expected an array of shape N×C×H×W, found {found:?}; {advice}",
            path.display()
        ))
    })?;
    if let Some(at) = array.iter().position(|number| !number.is_finite()) {
        let image = at / (array.len() / array.len_of(Axis(0)));
        let message = "holds a number that is infinite or none; mend it or leave it out";
        return Err(Error::Data(format!("{}: image {image} {message}", path.display())));
    }
    let (images, channels, height, width) = array.dim();
    let model = &adapt_to_array(model.clone(), input, channels, [height, width], path)?;
    let cut = &resolve_cut(model, cut)?;
    let precision = precision.frozen(|| calibrate_on_tensor(model, cut, &array, context))?;
    let program = precision.compile(model, [height, width], &[cut]).map_err(Error::model)?;
    context.progress.start("computing features", images as u64);
    let mut rows = Rows { out, writer: None };
    for batch in array.axis_chunks_iter(Axis(0), program.preferred_batch()) {
        if context.progress.interrupted() {
            return Err(Error::Interrupted);
        }
        for features in program.run_pooled(batch).map_err(Error::model)? {
            let columns = features.ncols();
            rows.append(&features.into_raw_vec_and_offset().0, columns)?;
        }
        context.progress.advance(batch.len_of(Axis(0)) as u64);
    }
    context.progress.finish();
    let paths = (0..images).flat_map(|index| format!("{index}\n").into_bytes()).collect();
    Ok(Embedding { rows, paths, from_cache: 0, unusable: Vec::new() })
}

fn calibrate_on_tensor(
    model: &Model,
    cut: &str,
    array: &Array4<f32>,
    context: &Context<'_>,
) -> Result<Calibration> {
    let (images, _, height, width) = array.dim();
    let set = InstructionSet::detect();
    let mut calibrator = Calibrator::new(model, [height, width], &[cut], set).map_err(Error::model)?;
    let first = array.slice(s![..images.min(CALIBRATION_IMAGES), .., .., ..]);
    context.progress.start("calibrating 8-bit integers", first.len_of(Axis(0)) as u64);
    calibrator.observe(first).map_err(Error::model)?;
    context.progress.finish();
    warn_of_few(first.len_of(Axis(0)), context);
    Ok(calibrator.finish())
}
