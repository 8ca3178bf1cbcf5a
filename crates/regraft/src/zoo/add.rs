//! `regraft zoo add`: a model of one's own under a name.

use std::path::{Path, PathBuf};

use regraft_graph::Model;
use regraft_system::files::{self, UnfinishedFolder};
use regraft_zoo::{Entry, FILE_NAME, From};
use serde::Serialize;

use crate::zoo::Zoo;
use crate::zoo::info::{cost, trained_parameters};
use crate::zoo::pull::{RECORD, Record, recorded};
use crate::zoo::verify::fingerprint;
use crate::{Error, Result, source};

/// What is to be added, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Addition {
    /// A file, a run, or a model folder.
    pub source: PathBuf,
    /// What it is to be called.
    pub name: String,
    /// Architecture of a weight file, or the file that describes its network.
    pub arch: Option<String>,
    /// Whether the files are copied.
    pub keep: Option<Keep>,
    /// Licence of the weights.
    pub licence: Option<String>,
    /// What they were trained on.
    pub task: Option<String>,
    /// Accuracy on that task, 0 to 1.
    pub accuracy: Option<f64>,
    /// File with the names of the classes, one a line.
    pub labels: Option<PathBuf>,
}

/// What becomes of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// They are copied into the user's folder.
    Copy,
    /// They stay where they are, and must not move.
    Reference,
}

/// What neither the user nor the files have told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Copy or reference.
    Keep,
    /// The licence.
    Licence,
    /// The source task.
    Task,
    /// The names of so many classes.
    Labels(usize),
}

impl Missing {
    /// The flag that tells it.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Keep => "--copy or --reference",
            Self::Licence => "--licence LICENCE",
            Self::Task => "--task TASK",
            Self::Labels(_) => "--labels FILE",
        }
    }

    /// How a person is asked for it.
    pub fn question(self) -> String {
        match self {
            Self::Keep => "Copy the files (c), or refer to them where they are (r)?".to_owned(),
            Self::Licence => "Licence of the weights, such as MIT or CC-BY-NC-4.0:".to_owned(),
            Self::Task => "What were they trained on, such as ImageNet-1k:".to_owned(),
            Self::Labels(classes) => format!("File with the names of the {classes} classes, one a line:"),
        }
    }
}

impl Addition {
    /// Reads the model, which shows that it can be used, and tells what is missing.
    ///
    /// # Errors
    /// The name cannot be used, or the model cannot be read.
    pub fn inspect(&self, zoo: &Zoo) -> Result<(Model, Vec<Missing>)> {
        if !regraft_zoo::is_name(&self.name) {
            return Err(Error::Usage(format!(
                "--name {}: letters, digits, '.', '_' and '-', not like the name of a file",
                self.name
            )));
        }
        if zoo.catalogue.find(&self.name).is_ok() {
            return Err(Error::Usage(format!(
                "--name {}: there is a model of that name; take another",
                self.name
            )));
        }
        let model = source::load_path(&self.source, self.arch.as_deref())?.model;
        let card = model.card();
        let classes = crate::predict::labels(&model).map(|labels| labels.len()).unwrap_or(0);
        let missing = [
            (self.keep.is_none(), Missing::Keep),
            (self.licence.is_none() && card.licence.is_none(), Missing::Licence),
            (self.task.is_none() && card.source_task.is_none(), Missing::Task),
            (self.labels.is_none() && card.labels.is_empty() && classes > 0, Missing::Labels(classes)),
        ];
        let missing =
            missing.into_iter().filter(|(is_missing, _)| *is_missing).map(|(_, what)| what).collect();
        Ok((model, missing))
    }
}

impl Zoo {
    /// Adds a model that was [inspected](Addition::inspect). What is still missing is left open, and files are copied.
    ///
    /// # Errors
    /// There are not as many labels as classes, or a file cannot be copied or written.
    pub fn add(&self, addition: &Addition, model: &Model) -> Result<Entry> {
        let labels = labels(addition, model)?;
        let folder = self.folder.join(&addition.name);
        let unfinished =
            UnfinishedFolder::start(&folder).map_err(Error::output(&folder, "adding the model"))?;
        let place = Placing { keep: addition.keep.unwrap_or(Keep::Copy), folder: unfinished.path() };
        let path = place.put(&model_of_run(&addition.source))?;
        let described = addition.arch.as_deref().map(Path::new).filter(|arch| arch.is_file());
        let definition = described.map(|arch| place.put(arch)).transpose()?;
        let entry = Entry {
            architecture: addition.arch.clone().filter(|_| definition.is_none()),
            definition: definition.map(|path| path.to_string_lossy().into_owned()),
            labels,
            ..described_entry(addition, model, From::File(path))?
        };
        place.write_record(&entry)?;
        unfinished.finish(&folder).map_err(Error::output(&folder, "adding the model"))?;
        Ok(Entry { catalogue: Some(folder.join(FILE_NAME)), ..entry })
    }
}

/// What the user, the model's card and the files tell.
fn described_entry(addition: &Addition, model: &Model, from: From) -> Result<Entry> {
    let card = model.card();
    Ok(Entry {
        source_task: addition.task.clone().or_else(|| card.source_task.clone()),
        source_accuracy: addition.accuracy.or(card.source_accuracy),
        parameters: Some(trained_parameters(model)),
        macs: Some(cost(model)?.macs),
        licence: addition.licence.clone().or_else(|| card.licence.clone()),
        size: size(&addition.source),
        sha256: sha256(&addition.source)?,
        fingerprint: fingerprint(model).ok(),
        note: Some(format!("added from {}", addition.source.display())),
        ..Entry::new(&addition.name, from)
    })
}

/// Of a run, only its model is taken.
fn model_of_run(source: &Path) -> PathBuf {
    let model = source.join("model");
    if model.join("graph.json").is_file() { model } else { source.to_path_buf() }
}

fn size(source: &Path) -> Option<u64> {
    source.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

fn sha256(source: &Path) -> Result<Option<String>> {
    if !source.is_file() {
        return Ok(None);
    }
    let content = files::map(source).map_err(Error::model)?;
    Ok(Some(regraft_system::hash::sha256_hex(&content)))
}

fn labels(addition: &Addition, model: &Model) -> Result<Vec<String>> {
    let Some(path) = &addition.labels else { return Ok(Vec::new()) };
    let refused = |message: String| Error::Usage(format!("--labels {}: {message}", path.display()));
    let text = files::read(path).map_err(|error| refused(error.source.to_string()))?;
    let text = String::from_utf8(text).map_err(|_| refused("not UTF-8".to_owned()))?;
    let labels: Vec<String> = text.lines().map(str::to_owned).collect();
    let classes = crate::predict::labels(model)?.len();
    if labels.len() == classes {
        return Ok(labels);
    }
    Err(refused(format!("{} lines, and the model has {classes} classes", labels.len())))
}

/// Where the files of an added model go.
struct Placing<'a> {
    keep: Keep,
    folder: &'a Path,
}

impl Placing<'_> {
    /// The path that the entry has for a file or folder, which is copied if need be.
    fn put(&self, source: &Path) -> Result<PathBuf> {
        let absolute = std::path::absolute(source).map_err(Error::model)?;
        if self.keep == Keep::Reference {
            return Ok(absolute);
        }
        let name =
            absolute.file_name().ok_or_else(|| Error::Usage(format!("{}: no name", source.display())))?;
        let name = if source.is_dir() { "model".into() } else { name.to_os_string() };
        let destination = self.folder.join(&name);
        let copied = if source.is_dir() {
            copy_folder(source, &destination)
        } else {
            files::copy(source, &destination)
        };
        copied.map_err(Error::output(&destination, "copying the model"))?;
        Ok(PathBuf::from(name))
    }

    fn write_record(&self, entry: &Entry) -> Result<()> {
        let text = regraft_zoo::to_toml(entry).map_err(Error::model)?;
        if self.keep == Keep::Copy {
            let files = recorded(self.folder).map_err(Error::model)?;
            let record = serde_json::to_vec_pretty(&Record { from: entry.from.to_string(), files });
            let path = self.folder.join(RECORD);
            files::write_atomically(&path, &record.map_err(Error::model)?)
                .map_err(Error::output(&path, "adding the model"))?;
        }
        let path = self.folder.join(FILE_NAME);
        files::write_atomically(&path, text.as_bytes()).map_err(Error::output(&path, "adding the model"))
    }
}

fn copy_folder(source: &Path, destination: &Path) -> std::result::Result<(), files::FileError> {
    for path in files::files_below(source)? {
        files::copy(&path, &destination.join(path.strip_prefix(source).unwrap_or(&path)))?;
    }
    Ok(())
}
