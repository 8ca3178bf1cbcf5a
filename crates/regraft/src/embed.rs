//! `regraft embed`: features of images, as a matrix for any other tool.

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView4, Axis, Ix4};
use regraft_engine::{InstructionSet, Program};
use regraft_formats::npy;
use regraft_graph::Model;
use regraft_system::clock::Stopwatch;
use regraft_system::files::write_atomically;
use serde::Serialize;

use crate::ingest::{Ingest, Network};
use crate::inputs::{Input, expand};
use crate::predict::Unusable;
use crate::source::resolve_cut;
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
    /// Instruction set that the engine used.
    pub instruction_set: &'static str,
    /// Files that could not be used and have no row.
    pub unusable: Vec<Unusable>,
}

/// Writes the features at `cut` of every image to `out` (`.npy`, N×D, f32) and their paths to `out` with `.paths.txt`
/// in place of `.npy`. Maps are averaged over height and width.
///
/// One `.npy` file of shape N×C×H×W (f32, already normalised) may stand in place of the images; its rows keep their
/// order and their paths are their indices.
///
/// # Errors
/// An input does not exist or has a wrong shape, nothing could be used, or the output cannot be written or is one of the
/// inputs.
pub fn embed(
    model: &Model,
    inputs: &[PathBuf],
    cut: &str,
    out: &Path,
    context: &Context<'_>,
) -> Result<Embedded> {
    let cut = resolve_cut(model, cut)?;
    let watch = Stopwatch::start();
    let embedding = match inputs {
        [tensor] if is_array(tensor) => {
            refuse_overwriting(out, std::slice::from_ref(tensor))?;
            from_tensor(model, tensor, &cut, context)?
        }
        _ => from_images(model, inputs, &cut, out, context)?,
    };
    let seconds = watch.seconds();
    let (images, dim) = embedding.rows.dim();
    if images == 0 {
        let reasons = embedding.unusable.iter().take(3).map(|file| format!("{}: {}", file.path, file.reason));
        return Err(Error::Data(format!(
            "no image could be used. {}",
            reasons.collect::<Vec<_>>().join("; ")
        )));
    }
    npy::write_f32(out, embedding.rows.view().into_dyn()).map_err(Error::write(out))?;
    let list = out.with_extension("paths.txt");
    write_atomically(&list, &embedding.paths).map_err(Error::output(&list, "writing the list of paths"))?;
    Ok(Embedded {
        images,
        dim,
        seconds,
        images_per_second: images as f64 / seconds,
        from_cache: embedding.from_cache,
        instruction_set: InstructionSet::detect().name(),
        unusable: embedding.unusable,
    })
}

fn is_array(input: &Path) -> bool {
    input.extension().is_some_and(|end| end == "npy")
}

/// A mistyped `--out` must not cost an image.
fn refuse_overwriting(out: &Path, files: &[PathBuf]) -> Result<()> {
    let Ok(target) = out.canonicalize() else { return Ok(()) };
    let alike = files.iter().filter(|file| file.file_name() == out.file_name());
    if alike.filter_map(|file| file.canonicalize().ok()).any(|file| file == target) {
        return Err(Error::Usage(format!(
            "--out {}: is one of the inputs; choose another name",
            out.display()
        )));
    }
    Ok(())
}

struct Embedding {
    rows: Array2<f32>,
    /// One line a row, in the bytes of the file system.
    paths: Vec<u8>,
    from_cache: usize,
    unusable: Vec<Unusable>,
}

fn from_images(
    model: &Model,
    inputs: &[PathBuf],
    cut: &str,
    out: &Path,
    context: &Context<'_>,
) -> Result<Embedding> {
    if let Some(array) = inputs.iter().find(|input| is_array(input)) {
        let message = "an array stands in place of all images; give it alone";
        return Err(Error::Usage(format!("{}: {message}", array.display())));
    }
    let inputs = expand(inputs)?;
    let files: Vec<PathBuf> = inputs.iter().map(|input| input.file().to_path_buf()).collect();
    refuse_overwriting(out, &files)?;
    let ingest = Ingest {
        limits: context.limits,
        inspections: None,
        networks: vec![Network::trained(model, cut, &context.cache)?],
        preprocessing: model.card().preprocessing.clone(),
        progress: context.progress,
    };
    context.progress.start("computing features", files.len() as u64);
    let ingested = ingest.run(&files)?;
    context.progress.finish();
    let (mut paths, mut unusable) = (Vec::new(), Vec::new());
    for (input, file) in inputs.iter().zip(ingested.files) {
        match file {
            Ok(_) => paths.extend(line(input)),
            Err(reason) => unusable.push(Unusable { path: input.name(), reason }),
        }
    }
    let from_cache = ingested.timing.from_cache;
    let rows = ingested.features.into_iter().next().unwrap_or_default();
    Ok(Embedding { rows, paths, from_cache, unusable })
}

fn line(input: &Input) -> Vec<u8> {
    let name = match input {
        Input::File(file) => file.relative.as_os_str().as_encoded_bytes(),
        Input::StandardInput(_) => b"-",
    };
    [name, b"\n"].concat()
}

fn from_tensor(model: &Model, path: &Path, cut: &str, context: &Context<'_>) -> Result<Embedding> {
    let array = npy::read_f32(path).map_err(Error::data)?;
    let found = array.shape().to_vec();
    let array =
        array.into_dimensionality::<Ix4>().ok().filter(|array| array.dim().1 == 3 && !array.is_empty());
    let array = array.ok_or_else(|| {
        let advice = "stack and transpose the images to that shape";
        Error::Data(format!(
            "{}: expected an array of shape N×3×H×W, found {found:?}; {advice}",
            path.display()
        ))
    })?;
    let (images, _, height, width) = array.dim();
    let program = Program::compile(model, [height, width], &[cut]).map_err(Error::model)?;
    context.progress.start("computing features", images as u64);
    let mut rows: Vec<Array2<f32>> = Vec::new();
    for batch in array.axis_chunks_iter(Axis(0), program.preferred_batch()) {
        if context.progress.interrupted() {
            return Err(Error::Interrupted);
        }
        rows.extend(run(&program, batch)?);
        context.progress.advance(batch.len_of(Axis(0)) as u64);
    }
    context.progress.finish();
    let views: Vec<_> = rows.iter().map(|rows| rows.view()).collect();
    let rows = ndarray::concatenate(Axis(0), &views).map_err(Error::model)?;
    let paths = (0..images).flat_map(|index| format!("{index}\n").into_bytes()).collect();
    Ok(Embedding { rows, paths, from_cache: 0, unusable: Vec::new() })
}

fn run(program: &Program, batch: ArrayView4<f32>) -> Result<Option<Array2<f32>>> {
    Ok(program.run_pooled(batch).map_err(Error::model)?.pop())
}
