//! `regraft zoo remove`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use regraft_system::files::{self, FileError};
use regraft_zoo::{Entry, FILE_NAME, From};
use serde::Serialize;

use crate::zoo::Zoo;
use crate::zoo::pull::{RECORD, Record, is_pulled};
use crate::{Error, Result};

/// What is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Name of the model.
    pub name: String,
    /// Bytes that became free.
    pub bytes: u64,
    /// What is still there, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

impl Zoo {
    /// Takes a model's files away. One that was added loses its entry too; files that it only referred to stay.
    ///
    /// # Errors
    /// There is no such model here, it is part of the program, or a file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<Removed> {
        let entry = match self.entry(name) {
            Ok(entry) => entry,
            Err(error) => return self.remove_unreadable(name).unwrap_or(Err(error)),
        };
        let removed = |bytes, kept| Removed { name: entry.name.clone(), bytes, kept };
        let folder = self.model_folder(&entry);
        let is_added = entry.catalogue.as_deref().and_then(Path::parent) == Some(folder.as_path());
        match &entry.from {
            From::Embedded => Err(Error::Usage(format!("{} is part of the program", entry.name))),
            From::HuggingFace { repository, revision, files } => {
                let cache = self.cache();
                let here = cache.files(repository, revision).map_err(Error::model)?;
                let ours = |name: &String| files.is_empty() || files.contains(name);
                let names: Vec<String> = here.into_iter().filter(ours).collect();
                if names.is_empty() {
                    return Err(nothing_here(&entry));
                }
                let bytes = cache.remove(repository, revision, &names).map_err(Error::model)?;
                Ok(removed(bytes, None))
            }
            From::File(_) if !is_added => {
                let catalogue = entry.catalogue.as_deref().unwrap_or(&self.folder);
                let catalogue = catalogue.display();
                Err(Error::Usage(format!("{} stands in {catalogue}; take it out there", entry.name)))
            }
            From::File(path) if path.is_absolute() => {
                let catalogue = folder.join(FILE_NAME);
                files::remove_if_there(&catalogue)
                    .map_err(Error::output(&catalogue, "removing the model"))?;
                // If there is more in it, it is not ours.
                let _ = std::fs::remove_dir(&folder);
                Ok(removed(0, Some(format!("{} stays where it is", path.display()))))
            }
            _ if !folder.exists() => Err(nothing_here(&entry)),
            _ if (is_pulled(&folder) || (is_added && folder.join(RECORD).is_file()))
                && holds_only_ours(&folder).map_err(Error::output(&folder, "removing the model"))? =>
            {
                Ok(removed(remove_folder(&folder)?, None))
            }
            _ => Err(Error::Usage(format!(
                "{} holds more than 'regraft zoo' has put there; remove it yourself",
                folder.display()
            ))),
        }
    }
}

impl Zoo {
    /// Takes away a model that was added and whose entry cannot be read any more, if its folder holds nothing else.
    fn remove_unreadable(&self, name: &str) -> Option<Result<Removed>> {
        let folder = self.folder.join(name);
        if !regraft_zoo::is_name(name) || !folder.join(FILE_NAME).is_file() {
            return None;
        }
        let is_ours = match Record::read(&folder) {
            Ok(Some(_)) => holds_only_ours(&folder),
            _ => files::files_below(&folder).map(|files| files == [folder.join(FILE_NAME)]),
        };
        let removed = |bytes| Removed { name: name.to_owned(), bytes, kept: None };
        is_ours.is_ok_and(|is_ours| is_ours).then(|| remove_folder(&folder).map(removed))
    }
}

/// Whether a folder holds what `pull` or `add` recorded, and nothing of the user's. Where the record is damaged, that cannot be
/// told, and removing is what mends it.
fn holds_only_ours(folder: &Path) -> std::result::Result<bool, FileError> {
    let Ok(Some(Record { files: record, .. })) = Record::read(folder) else { return Ok(true) };
    let recorded = record.iter().map(|file| file.path.as_str());
    let ours: HashSet<PathBuf> = recorded.chain([RECORD, FILE_NAME]).map(|path| folder.join(path)).collect();
    Ok(files::files_below(folder)?.iter().all(|path| ours.contains(path)))
}

fn nothing_here(entry: &Entry) -> Error {
    Error::Model(format!("{} is not on this machine; there is nothing to remove", entry.name))
}

fn remove_folder(folder: &Path) -> Result<u64> {
    let found = files::files_below(folder).map_err(Error::output(folder, "removing the model"))?;
    let bytes = found.iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum();
    files::remove_folder_if_there(folder).map_err(Error::output(folder, "removing the model"))?;
    Ok(bytes)
}
