//! Where source models lie.

use std::path::{Path, PathBuf};

use regraft_hub::{HubCache, HubError, HubFile, Settings};
use regraft_zoo::{Catalogue, Entry, From, ZooError, split_entry};

use crate::source::{self, Source};
use crate::{Error, Result};

/// The catalogues, the user's folder of models, and the Hub's cache.
pub struct Zoo {
    pub(crate) folder: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) catalogue: Catalogue,
}

/// A model's files on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    /// What is to be read: a file or a folder.
    pub(crate) path: PathBuf,
    /// What the file does not say: the name of an architecture, or the file that describes the network.
    pub(crate) architecture: Option<String>,
}

/// How a repository of the Hub is named that is in no catalogue: `hf:ORGANISATION/NAME`, and if need be `/FILE` and
/// `@REVISION` behind it.
const HUB_PREFIX: &str = "hf:";

/// Whether a source is a name and not a path: names of the Hub have a prefix, and names of the catalogue no folder.
pub(crate) fn is_zoo_name(source: &str) -> bool {
    source.starts_with(HUB_PREFIX) || regraft_zoo::is_name(source)
}

/// Where a source lies: the files behind a name, and any path as it is.
pub(crate) fn local_source(path: &Path) -> Result<PathBuf> {
    let name = path.to_str().filter(|name| source::is_name(name, path));
    let Some(name) =
        name.filter(|name| !regraft_zoo::info(name).is_ok_and(|entry| entry.from == From::Embedded))
    else {
        return Ok(path.to_path_buf());
    };
    let zoo = Zoo::of_user()?;
    let located = zoo.entry(name).ok().and_then(|entry| zoo.locate(&entry).ok().flatten());
    Ok(located.map_or_else(|| path.to_path_buf(), |located| located.path))
}

impl Zoo {
    /// The user's: `REGRAFT_ZOO`, else `regraft/zoo` in the system's folder for data, and what the environment says about
    /// the Hub.
    ///
    /// # Errors
    /// Neither folder is known, or a variable has a value that cannot be used.
    pub fn of_user() -> Result<Self> {
        let settings = Settings::from_environment().map_err(|error| Error::Usage(error.to_string()))?;
        if let Some(folder) = std::env::var_os("REGRAFT_ZOO").filter(|folder| !folder.is_empty()) {
            return Self::at(folder, settings);
        }
        use etcetera::BaseStrategy as _;
        let strategy = etcetera::choose_base_strategy().map_err(|error| {
            Error::Usage(format!("{error}: no place for models; set REGRAFT_ZOO to a folder"))
        })?;
        Self::at(strategy.data_dir().join("regraft").join("zoo"), settings)
    }

    /// The zoo in `folder`, which need not exist yet.
    ///
    /// # Errors
    /// None in a program that passed its tests.
    pub fn at(folder: impl Into<PathBuf>, settings: Settings) -> Result<Self> {
        let folder = std::path::absolute(folder.into()).map_err(Error::model)?;
        let catalogue = Catalogue::with_folder(&folder).map_err(Error::model)?;
        Ok(Self { folder, settings, catalogue })
    }

    /// What is wrong with the user's catalogues, a sentence each.
    pub fn problems(&self) -> &[String] {
        self.catalogue.problems()
    }

    /// The folder that models are added to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The entry of that name or alias, or one made up for a repository of the Hub (`hf:…`).
    ///
    /// # Errors
    /// There is none; the message names one that looks alike, and what is wrong with the user's catalogues.
    pub fn entry(&self, name: &str) -> Result<Entry> {
        if let Some(repository) = name.strip_prefix(HUB_PREFIX) {
            let entry = of_repository(name, repository);
            self.main_path(&entry).map_err(|error| Error::Usage(error.to_string()))?;
            return Ok(entry);
        }
        self.catalogue.find(name).cloned().map_err(|error| {
            let problems: String = self.problems().iter().map(|problem| format!("\n{problem}")).collect();
            Error::Model(format!("{error}{problems}"))
        })
    }

    /// Where an entry's files lie, if all of them are here.
    ///
    /// # Errors
    /// The entry names something that cannot be a path.
    pub(crate) fn locate(&self, entry: &Entry) -> Result<Option<Located>> {
        let Some(path) = self.main_path(entry).map_err(Error::model)? else { return Ok(None) };
        let definition = entry.definition.as_ref().map(|name| self.beside(entry, name));
        if definition.as_ref().is_some_and(|path| !path.is_file()) {
            return Ok(None);
        }
        let definition = definition.map(|path| path.to_string_lossy().into_owned());
        Ok(Some(Located { path, architecture: definition.or_else(|| entry.architecture.clone()) }))
    }

    fn main_path(&self, entry: &Entry) -> std::result::Result<Option<PathBuf>, HubError> {
        match &entry.from {
            From::Embedded => Ok(None),
            From::HuggingFace { repository, revision, files } if files.is_empty() => {
                let snapshot = self.cache().snapshot(repository, revision)?;
                Ok(snapshot.filter(|folder| crate::folder::weight_file(folder).is_some()))
            }
            From::HuggingFace { repository, revision, files } => {
                let found =
                    files.iter().map(|file| self.cache().find(&HubFile { repository, revision, file }));
                let found = found.collect::<std::result::Result<Option<Vec<_>>, _>>()?;
                Ok(found.and_then(|paths| paths.into_iter().next()))
            }
            From::File(path) => {
                Ok(Some(self.beside(entry, path)).filter(|path| split_entry(path).0.exists()))
            }
            From::Urls(_) | From::Python { .. } | From::Npm { .. } => {
                let names = entry.file_names();
                let paths: Vec<PathBuf> =
                    names.iter().map(|name| self.model_folder(entry).join(name)).collect();
                let here = paths.iter().all(|path| path.exists());
                Ok(paths.into_iter().next().filter(|_| here))
            }
        }
    }

    /// A file of an entry by the name that the entry has for it.
    fn beside(&self, entry: &Entry, name: impl AsRef<Path>) -> PathBuf {
        match (&entry.from, entry.catalogue.as_deref().and_then(Path::parent)) {
            (From::File(_), Some(folder)) => folder.join(name),
            _ => self.model_folder(entry).join(name),
        }
    }

    /// The folder of a model that is fetched from elsewhere than the Hub.
    pub(crate) fn model_folder(&self, entry: &Entry) -> PathBuf {
        self.folder.join(&entry.name)
    }

    pub(crate) fn cache(&self) -> HubCache {
        HubCache::at(&self.settings.cache)
    }

    /// The model of an entry, with what the catalogue knows on its card.
    ///
    /// # Errors
    /// Its files are not here (the message says how they come here), or cannot be used.
    pub(crate) fn load(&self, entry: &Entry) -> Result<Source> {
        if entry.from == From::Embedded {
            return regraft_zoo::embedded(entry).map(Into::into).map_err(Error::model);
        }
        let located = self.locate(entry)?.ok_or_else(|| self.not_here(entry))?;
        let Source { model, matched, mut notes } =
            source::load_path(&located.path, located.architecture.as_deref())?;
        check_hash(entry, &located.path, model.card().sha256.as_deref())?;
        if !entry.preprocessing.is_empty() {
            // What the reader had to assume about the preparation is what the catalogue tells.
            notes.retain(|note| !note.contains(" is assumed"));
        }
        let of_head = crate::predict::labels(&model).map(|labels| labels.len()).ok();
        // Scores of places have names, too, though they are no logits of an image.
        let classes = of_head.or_else(|| matched.as_ref().map(|report| report.classes));
        let mut card = model.card().clone();
        notes.extend(entry.describe(&mut card, classes));
        notes.extend(self.catalogue.problems_of(entry).cloned());
        card.roles = entry.roles(model.graph(), &card.roles).map_err(Error::model)?;
        let model = model.with_card(card).map_err(Error::model)?;
        source::check_images(&model)?;
        Ok(Source { model, matched, notes })
    }

    pub(crate) fn not_here(&self, entry: &Entry) -> Error {
        if let From::File(path) = &entry.from {
            let path = self.beside(entry, path);
            let definition = entry.definition.as_ref().map(|name| self.beside(entry, name));
            let lost = definition.filter(|_| split_entry(&path).0.exists()).unwrap_or(path);
            return Error::Model(format!("'{}': {} is not there any more", entry.name, lost.display()));
        }
        let offline =
            self.settings.offline.map(|variable| format!("; {variable} is set, so nothing is fetched now"));
        Error::Model(format!("{}{}", ZooError::not_here(entry), offline.unwrap_or_default()))
    }
}

fn of_repository(name: &str, repository: &str) -> Entry {
    let (path, revision) = repository.split_once('@').unwrap_or((repository, "main"));
    let mut parts = path.splitn(3, '/');
    let repository: Vec<&str> = parts.by_ref().take(2).collect();
    let (repository, revision) = (repository.join("/"), revision.to_owned());
    let files = parts.map(str::to_owned).collect();
    Entry::new(name, From::HuggingFace { repository, revision, files })
}

/// What was read must be what was published. The hash of a model in several files is none that anybody publishes.
fn check_hash(entry: &Entry, path: &Path, found: Option<&str>) -> Result<()> {
    let (Some(expected), Some(found)) = (&entry.sha256, found) else { return Ok(()) };
    let is_one_file = split_entry(path).0.is_file() && !path.to_string_lossy().ends_with(".index.json");
    if !is_one_file || found.starts_with(&expected.to_ascii_lowercase()) {
        return Ok(());
    }
    Err(Error::Model(format!(
        "{}: its SHA-256 is {found}, and the catalogue has {expected} for '{}': it is damaged or another file{}",
        path.display(),
        entry.name,
        if matches!(entry.from, From::File(_)) { String::new() } else { fetch_again(&entry.name) }
    )))
}

/// What to do about files that are not as they were published.
pub(crate) fn fetch_again(name: &str) -> String {
    format!("; regraft zoo remove {name}, then regraft zoo pull {name}")
}
