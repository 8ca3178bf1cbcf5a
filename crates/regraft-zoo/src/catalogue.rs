//! The catalogue: the entries that are compiled in, and those of the user's own catalogues.
//!
//! A user's catalogue is a file with the same schema. Its entries never replace one that is compiled in: a name that is
//! built in means the same weights on every machine. An entry that takes such a name, or a file that cannot be read, is a
//! problem that is reported, and takes nothing else away.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regraft_graph::{Card, Model};
use regraft_system::files;
use regraft_system::spelling::nearest;
use serde::{Deserialize, Serialize};

use crate::architecture::architecture;
use crate::embedded::efficientnet_lite0;
use crate::entry::{Entry, From};
use crate::{ZooError, load_weights};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File<E> {
    #[serde(default = "Vec::new")]
    model: Vec<E>,
}

static BUILT_IN: LazyLock<Result<Vec<Entry>, toml::de::Error>> =
    LazyLock::new(|| toml::from_str::<File<Entry>>(include_str!("../zoo.toml")).map(|file| file.model));

/// All entries that are compiled in, in the order of the catalogue.
///
/// # Errors
/// None in a program that passed its tests.
pub fn list() -> Result<&'static [Entry], ZooError> {
    BUILT_IN.as_ref().map(Vec::as_slice).map_err(|error| error.clone().into())
}

/// The entry of that name or alias among those that are compiled in.
///
/// # Errors
/// [`ZooError::UnknownModel`], with the name that looks most like it.
pub fn info(name: &str) -> Result<&'static Entry, ZooError> {
    let entries = list()?;
    entries.iter().find(|entry| entry.is_called(name)).ok_or_else(|| unknown(name, entries.iter()))
}

/// The source model of that name or alias, if it is part of the program.
///
/// # Errors
/// [`ZooError::UnknownModel`]; [`ZooError::NotHere`] for a model whose weights lie elsewhere.
pub fn resolve(name: &str) -> Result<Model, ZooError> {
    embedded(info(name)?)
}

/// The model of an entry that is part of the program.
///
/// # Errors
/// [`ZooError::NotHere`] for any other.
pub fn embedded(entry: &Entry) -> Result<Model, ZooError> {
    let architecture = entry.architecture.as_deref().and_then(architecture);
    let Some(architecture) = architecture.filter(|_| entry.from == From::Embedded) else {
        return Err(ZooError::not_here(entry));
    };
    let mut card = Card { sha256: entry.sha256.clone(), ..architecture.card(entry.origin()) };
    // What is built in has ImageNet's labels, and no others that could be wrong.
    let _ = entry.describe(&mut card, Some(crate::load::IMAGENET_CLASSES));
    Ok(load_weights(architecture, efficientnet_lite0()?, card)?.0)
}

/// Built-in entries with those of the user.
#[derive(Debug, Clone)]
pub struct Catalogue {
    entries: Vec<Entry>,
    problems: Vec<String>,
}

/// What a catalogue is called, in the user's folder and in the folder of each model that was added.
pub const FILE_NAME: &str = "zoo.toml";

impl Catalogue {
    /// Built-in entries alone.
    ///
    /// # Errors
    /// None in a program that passed its tests.
    pub fn built_in() -> Result<Self, ZooError> {
        Ok(Self { entries: list()?.to_vec(), problems: Vec::new() })
    }

    /// Built-in entries, those of `zoo.toml` in `folder`, and those of `zoo.toml` in each folder in it.
    ///
    /// # Errors
    /// As [`built_in`](Self::built_in); what is wrong with the user's files is among [`problems`](Self::problems).
    pub fn with_folder(folder: &Path) -> Result<Self, ZooError> {
        let mut catalogue = Self::built_in()?;
        let below = std::fs::read_dir(folder).into_iter().flatten().flatten();
        // Nothing that is not complete, and nothing else that is hidden.
        let below = below.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
        let mut folders: Vec<PathBuf> = below.map(|entry| entry.path()).collect();
        folders.sort();
        folders.insert(0, folder.to_path_buf());
        let files = folders.iter().map(|folder| folder.join(FILE_NAME)).filter(|path| path.exists());
        files.for_each(|path| catalogue.add_file(&path));
        Ok(catalogue)
    }

    fn add_file(&mut self, path: &Path) {
        match read(path) {
            Ok(entries) => entries.into_iter().for_each(|entry| match entry {
                Ok(entry) => self.add(entry, path),
                Err(error) => self.problems.push(error.to_string()),
            }),
            Err(error) => self.problems.push(error.to_string()),
        }
    }

    fn add(&mut self, entry: Entry, path: &Path) {
        let taken = std::iter::once(&entry.name).chain(&entry.aliases).find_map(|name| {
            let other = self.entries.iter().find(|other| other.is_called(name))?;
            Some((name, other))
        });
        match taken {
            Some((name, other)) => {
                let whose =
                    other.catalogue.as_ref().map_or("built in".to_owned(), |path| path.display().to_string());
                self.problems.push(format!(
                    "{}: {} ({whose}), so this entry does not count; call it otherwise",
                    path.display(),
                    is_taken(name)
                ));
            }
            None => self.entries.push(entry),
        }
    }

    /// All entries, the built-in ones first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What is wrong with the user's catalogues, a sentence each.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Which of them are about others that would have a name of this entry.
    pub fn problems_of<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a String> {
        let about = |problem: &str, name: &String| problem.contains(&is_taken(name));
        let is_about_it = move |problem: &&String| {
            about(problem, &entry.name) || entry.aliases.iter().any(|alias| about(problem, alias))
        };
        self.problems.iter().filter(is_about_it)
    }

    /// The entry of that name or alias.
    ///
    /// # Errors
    /// [`ZooError::UnknownModel`], with the name that looks most like it.
    pub fn find(&self, name: &str) -> Result<&Entry, ZooError> {
        let found = self.entries.iter().find(|entry| entry.is_called(name));
        found.ok_or_else(|| unknown(name, self.entries.iter()))
    }
}

impl Entry {
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// Reads a catalogue. An entry that holds what it cannot is an error of its own, which names file and entry, and takes no
/// other entry away.
///
/// # Errors
/// The file cannot be read, or is not a catalogue.
pub fn read(path: &Path) -> Result<Vec<Result<Entry, ZooError>>, ZooError> {
    let refused = |message: String| ZooError::UserCatalogue { path: path.to_path_buf(), message };
    let content = files::read(path).map_err(|error| refused(error.source.to_string()))?;
    let text = String::from_utf8(content).map_err(|_| refused("not UTF-8".to_owned()))?;
    let file: File<toml::Value> =
        toml::from_str(&text).map_err(|error| refused(error.to_string().trim_end().to_owned()))?;
    let entries = file.model.into_iter().map(|value| {
        let entry = own_entry(value).map_err(refused)?;
        Ok(Entry { catalogue: Some(path.to_path_buf()), ..entry })
    });
    Ok(entries.collect())
}

/// An entry of a user's catalogue, or what is wrong with it.
fn own_entry(value: toml::Value) -> Result<Entry, String> {
    let name =
        value.get("name").and_then(toml::Value::as_str).unwrap_or("an entry without a name").to_owned();
    let entry: Entry = value.try_into().map_err(|error: toml::de::Error| {
        format!("'{}': {}", name.escape_default(), error.to_string().trim_end())
    })?;
    if entry.from == From::Embedded {
        return Err(format!("'{name}': only the program itself holds embedded weights"));
    }
    entry.mistake().map_or(Ok(entry), Err)
}

/// The text of a catalogue with one entry.
///
/// # Errors
/// The entry holds what it cannot.
pub fn to_toml(entry: &Entry) -> Result<String, ZooError> {
    let refused = |message| ZooError::UserCatalogue { path: PathBuf::from(FILE_NAME), message };
    if let Some(mistake) = entry.mistake() {
        return Err(refused(mistake));
    }
    toml::to_string(&File { model: vec![entry.clone()] }).map_err(|error| refused(error.to_string()))
}

fn is_taken(name: &str) -> String {
    format!("the name '{name}' is taken")
}

fn unknown<'a>(name: &str, entries: impl Iterator<Item = &'a Entry>) -> ZooError {
    let all: Vec<&str> = entries
        .flat_map(|entry| std::iter::once(&entry.name).chain(&entry.aliases))
        .map(String::as_str)
        .collect();
    let nearest = nearest(name, &all).map(str::to_owned);
    ZooError::UnknownModel { name: name.to_owned(), nearest, known: all.len() }
}
