//! `regraft export`: a model for other programs.

use std::path::{Path, PathBuf};

use regraft_formats::onnx;
use serde::Serialize;

use crate::{Error, Progress, Result, load_source_telling};

/// The formats that other programs read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFormat {
    /// One file for ONNX Runtime, OpenVINO, browsers and others.
    Onnx,
}

impl ExportFormat {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Onnx];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
        }
    }
}

/// How a model is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportConfig {
    /// What is written.
    pub format: ExportFormat,
    /// Where; `None` for a file in the current folder that is called like the run or source.
    pub out: Option<PathBuf>,
    /// ONNX: version of the operators, 17 to 21.
    pub opset: u8,
    /// ONNX: whether the file takes the bytes of RGB images and normalises them itself.
    pub with_preprocessing: bool,
    /// ONNX: how many images the file takes at a time; `None` for any number.
    pub batch: Option<usize>,
}

impl Default for ExportConfig {
    fn default() -> Self {
        let onnx::ExportOptions { opset, batch, with_preprocessing, .. } = onnx::ExportOptions::default();
        Self { format: ExportFormat::Onnx, out: None, opset, with_preprocessing, batch }
    }
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The file.
    pub path: PathBuf,
    /// Name of the format.
    pub format: &'static str,
    /// The network's input.
    pub input: String,
    /// Its outputs.
    pub outputs: Vec<String>,
}

/// Writes a run or a source for other programs. What has the file's name is replaced.
///
/// # Errors
/// As [`load_source_telling`], or the model or the options cannot be written in that format, or the file cannot be.
pub fn export(
    source: impl AsRef<Path>,
    architecture: Option<&str>,
    config: &ExportConfig,
    progress: &dyn Progress,
) -> Result<Exported> {
    let source = source.as_ref();
    let model = load_source_telling(source, architecture, progress)?;
    let path = config.out.clone().unwrap_or_else(|| default_path(source, config.format));
    // The source is mapped while it is written, and is the only copy of itself.
    let same = source.canonicalize().is_ok_and(|source| path.canonicalize().is_ok_and(|path| path == source));
    if same {
        let path = path.display();
        return Err(Error::Usage(format!("{path} is the source itself; name another file with --out")));
    }
    match config.format {
        ExportFormat::Onnx => {
            let options = onnx::ExportOptions {
                opset: config.opset,
                batch: config.batch,
                with_preprocessing: config.with_preprocessing,
                ..onnx::ExportOptions::default()
            };
            onnx::write(&model, &path, &options).map_err(Error::write(&path))?;
        }
    }
    let input = match config.with_preprocessing {
        true => onnx::pixels_name(&model),
        false => model.graph().input().to_owned(),
    };
    Ok(Exported { path, format: config.format.name(), input, outputs: model.graph().outputs().to_vec() })
}

/// `photos.onnx` for `runs/photos`, `resnet50.onnx` for `weights/resnet50.pth`.
fn default_path(source: &Path, format: ExportFormat) -> PathBuf {
    let name = if source.is_file() { source.file_stem() } else { source.file_name() };
    let name = name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
    PathBuf::from(format!("{name}.{}", format.name()))
}
