//! `regraft zoo add`: a model of one's own under a name.

use std::path::{Path, PathBuf};

use regraft_graph::Model;
use regraft_hub::{Silent, wait_for_lock};
use regraft_system::files::{self, FileError, UnfinishedFolder};
use regraft_zoo::{Entry, FILE_NAME, From, split_entry};
use serde::Serialize;

use crate::source::Source;
use crate::zoo::Zoo;
use crate::zoo::info::{cost, trained_parameters};
use crate::zoo::pull::{LOCKS, RECORD, Record, failed, recorded};
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

/// A model that can be used.
pub struct Inspected {
    /// What is not known about it.
    pub missing: Vec<Missing>,
    source: Source,
}

impl Inspected {
    /// Sentences for the user, where reading the model was not plain.
    pub fn messages(&self) -> Vec<String> {
        self.source.messages()
    }
}

impl Addition {
    /// Reads the model, which shows that it can be used, and tells what is missing.
    ///
    /// # Errors
    /// The name cannot be used, or the model cannot be read.
    pub fn inspect(&self, zoo: &Zoo) -> Result<Inspected> {
        if !regraft_zoo::is_name(&self.name) {
            return Err(Error::Usage(format!(
                "--name {}: letters, digits, '.', '_' and '-', not like the name of a file",
                self.name
            )));
        }
        zoo.check_is_free(&self.name)?;
        let source = source::load_path(&self.source, self.arch.as_deref())?;
        let card = source.model.card();
        let classes = crate::predict::labels(&source.model).map(|labels| labels.len()).unwrap_or(0);
        let missing = [
            (self.keep.is_none(), Missing::Keep),
            (self.licence.is_none() && card.licence.is_none(), Missing::Licence),
            (self.task.is_none() && card.source_task.is_none(), Missing::Task),
            (self.labels.is_none() && card.labels.is_empty() && classes > 0, Missing::Labels(classes)),
        ];
        let missing =
            missing.into_iter().filter(|(is_missing, _)| *is_missing).map(|(_, what)| what).collect();
        Ok(Inspected { missing, source })
    }

    /// What the copy does not say by itself: the architecture that was chosen, be it by the name of the file.
    fn architecture(&self, inspected: &Source) -> Option<String> {
        let is_file = source::single_file(&self.source).is_some();
        let matched = inspected.matched.as_ref().filter(|_| is_file);
        self.arch.clone().or_else(|| matched.map(|report| report.architecture.to_owned()))
    }
}

impl Zoo {
    /// Adds a model that was [inspected](Addition::inspect). What is still missing is left open, and files are copied.
    ///
    /// # Errors
    /// There are not as many labels as classes, a file cannot be copied or written, or the copy is not the model, because that
    /// needs files beside it.
    pub fn add(&self, addition: &Addition, inspected: &Inspected) -> Result<Entry> {
        let folder = self.folder.join(&addition.name);
        let lock = self.folder.join(LOCKS).join(".add.lock");
        let _lock = wait_for_lock(&lock, &addition.name, &Silent).map_err(failed)?;
        // Another run may have taken the name meanwhile.
        self.check_is_free(&addition.name)?;
        sweep(&self.folder);
        let unfinished =
            UnfinishedFolder::start(&folder).map_err(Error::output(&folder, "adding the model"))?;
        let place = Placing { keep: addition.keep.unwrap_or(Keep::Copy), folder: unfinished.path() };
        let entry = put(addition, &inspected.source, &place)?;
        if place.keep == Keep::Copy {
            place.check_copy(&entry)?;
        }
        place.write_record(&entry)?;
        unfinished.finish(&folder).map_err(Error::output(&folder, "adding the model"))?;
        Ok(Entry { catalogue: Some(folder.join(FILE_NAME)), ..entry })
    }
}

impl Zoo {
    /// Whether there is nothing of that name; names that differ in capitals only are one folder on some systems.
    fn check_is_free(&self, name: &str) -> Result<()> {
        let names = self
            .catalogue
            .entries()
            .iter()
            .flat_map(|entry| std::iter::once(&entry.name).chain(&entry.aliases));
        let taken = names.into_iter().find(|taken| taken.eq_ignore_ascii_case(name));
        let folder = self.folder.join(name);
        let taken = taken.cloned().or_else(|| folder.exists().then(|| folder.display().to_string()));
        match taken {
            Some(taken) => Err(Error::Usage(format!("--name {name}: there is {taken}; take another name"))),
            None => Ok(()),
        }
    }
}

/// Takes away what earlier runs have left that were stopped; there is only one at a time.
fn sweep(folder: &Path) {
    let left = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_left = |name: std::ffi::OsString| name.to_string_lossy().starts_with(files::TEMPORARY_PREFIX);
    for entry in left.filter(|entry| is_left(entry.file_name())) {
        // What cannot be removed is in nobody's way.
        drop(files::remove_folder_if_there(&entry.path()));
    }
}

/// Puts the files where they belong.
fn put(addition: &Addition, source: &Source, place: &Placing<'_>) -> Result<Entry> {
    let labels = labels(addition, &source.model)?;
    let path = place.put(&model_of_run(&addition.source))?;
    let described = addition.arch.as_deref().map(Path::new).filter(|arch| arch.is_file());
    let definition = described.map(|arch| place.put(arch)).transpose()?;
    Ok(Entry {
        architecture: addition.architecture(source).filter(|_| definition.is_none()),
        definition: definition.map(|path| path.to_string_lossy().into_owned()),
        labels,
        ..described_entry(addition, &source.model, From::File(path))?
    })
}

/// What the user, the model's card and the files tell.
fn described_entry(addition: &Addition, model: &Model, from: From) -> Result<Entry> {
    let card = model.card();
    let (file, _) = split_entry(&addition.source);
    let content = file.is_file().then(|| files::map(&file)).transpose().map_err(Error::model)?;
    Ok(Entry {
        source_task: addition.task.clone().or_else(|| card.source_task.clone()),
        source_accuracy: addition.accuracy.or(card.source_accuracy),
        parameters: Some(trained_parameters(model)),
        macs: Some(cost(model)?.macs),
        licence: addition.licence.clone().or_else(|| card.licence.clone()),
        size: content.as_ref().map(|content| content.len() as u64),
        sha256: content.map(|content| regraft_system::hash::sha256_hex(&content)),
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

fn labels(addition: &Addition, model: &Model) -> Result<Vec<String>> {
    let Some(path) = &addition.labels else { return Ok(Vec::new()) };
    let refused = |message: String| Error::Usage(format!("--labels {}: {message}", path.display()));
    let text = files::read(path).map_err(|error| refused(error.source.to_string()))?;
    let text = String::from_utf8(text).map_err(|_| refused("not UTF-8".to_owned()))?;
    let labels: Vec<String> = text.trim_start_matches('\u{feff}').lines().map(str::to_owned).collect();
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
        if source.is_dir() {
            let destination = self.folder.join("model");
            copy_folder(source, &destination, 0).map_err(Error::output(&destination, "copying the model"))?;
            return Ok("model".into());
        }
        let (file, _) = split_entry(source);
        let destination = self.folder.join(file.file_name().unwrap_or_default());
        files::copy(&file, &destination).map_err(Error::output(&destination, "copying the model"))?;
        Ok(PathBuf::from(name))
    }

    /// A copy that cannot be read, or computes something else, lacks what lies beside the original.
    fn check_copy(&self, entry: &Entry) -> Result<()> {
        let refused = |what: String| {
            Error::Model(format!(
                "the copy of {} alone is not the model: {what}; add the folder in which it lies with what it needs and \
                 nothing else, or use --reference",
                entry.from
            ))
        };
        let From::File(path) = &entry.from else { return Ok(()) };
        let definition = entry.definition.as_ref().map(|name| self.folder.join(name));
        let definition = definition.as_ref().and_then(|path| path.to_str());
        let copy = source::load_path(&self.folder.join(path), definition.or(entry.architecture.as_deref()))
            .map_err(|error| refused(error.to_string()))?;
        let is_same = fingerprint(&copy.model).ok() == entry.fingerprint;
        if is_same { Ok(()) } else { Err(refused("it computes something else".to_owned())) }
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

/// Links to files are followed, of which the Hub's cache consists; links to folders are not.
fn copy_folder(source: &Path, destination: &Path, depth: usize) -> std::result::Result<(), FileError> {
    for entry in std::fs::read_dir(source).map_err(FileError::on(source, "read"))? {
        let entry = entry.map_err(FileError::on(source, "read"))?;
        let (path, copy) = (entry.path(), destination.join(entry.file_name()));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < DEEPEST {
            copy_folder(&path, &copy, depth + 1)?;
        } else if path.is_file() {
            files::copy(&path, &copy)?;
        }
    }
    Ok(())
}

/// Folders in folders, of which no model has many.
const DEEPEST: usize = 16;
