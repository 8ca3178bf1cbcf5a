//! The Hugging Face Hub and its cache, in the layout that Python's `huggingface_hub` reads and writes.
//!
//! | path below the cache | what it is |
//! |---|---|
//! | `models--ORG--NAME/blobs/TAG` | a file's content; the tag is its SHA-256, for small files git's hash |
//! | `models--ORG--NAME/snapshots/COMMIT/FILE` | a link to the content |
//! | `models--ORG--NAME/refs/REVISION` | the commit that a branch or tag stood for when it was last asked |
//! | `.locks/models--ORG--NAME/TAG.lock` | held while the content is being fetched |
//!
//! A file that is there is found without a network. Repository, revision and file come from a catalogue or a command line,
//! commit, tag and listing from a server: all of them are checked before they become paths.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use regraft_system::files::{self, FileError};
use regraft_system::hash;

use crate::HubError;
use crate::address::{escaped, inside, is_plain, shown};
use crate::client::{Answer, Request, read_all};
use crate::download::{Expected, Patience, Transfer, check_content, refused, transfer, wait_for_lock};
use crate::session::{Session, Silent, Watch};

/// A file of a repository.
#[derive(Debug, Clone, Copy)]
pub struct HubFile<'a> {
    /// `organisation/name`.
    pub repository: &'a str,
    /// Branch, tag or commit.
    pub revision: &'a str,
    /// Path in the repository.
    pub file: &'a str,
}

/// What a repository holds at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The commit.
    pub commit: String,
    /// Paths of the files, each of which may become a path below a folder.
    pub files: Vec<String>,
}

/// The folder of the cache.
#[derive(Debug, Clone)]
pub struct HubCache {
    root: PathBuf,
}

/// What a server says about a file before it is fetched.
struct Metadata {
    commit: String,
    tag: String,
    size: Option<u64>,
}

impl HubCache {
    /// The cache in `root`, which need not exist yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where a file lies, if it is here.
    ///
    /// # Errors
    /// A name that no repository, revision or file can have.
    pub fn find(&self, file: &HubFile<'_>) -> Result<Option<PathBuf>, HubError> {
        let repository = self.repository(file.repository)?;
        let below = inside(Path::new(""), file.file)?;
        let commit = commit_of(&repository, file.revision)?;
        let path = commit.map(|commit| repository.join("snapshots").join(commit).join(below));
        Ok(path.filter(|path| path.is_file()))
    }

    /// Where the files of a revision lie together, if any of them is here.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn snapshot(&self, repository: &str, revision: &str) -> Result<Option<PathBuf>, HubError> {
        let repository = self.repository(repository)?;
        let commit = commit_of(&repository, revision)?;
        Ok(commit.map(|commit| repository.join("snapshots").join(commit)).filter(|path| path.is_dir()))
    }

    /// The commit that a revision stood for when it was last asked for; `None` if it never was.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn commit(&self, repository: &str, revision: &str) -> Result<Option<String>, HubError> {
        commit_of(&self.repository(repository)?, revision)
    }

    /// Notes the commit that a revision stands for.
    ///
    /// # Errors
    /// As [`find`](Self::find), or it cannot be written.
    pub fn remember(&self, repository: &str, revision: &str, commit: &str) -> Result<(), HubError> {
        if is_commit(revision) {
            return Ok(());
        }
        let reference = inside(&self.repository(repository)?.join("refs"), revision)?;
        Ok(files::write_atomically(&reference, commit.as_bytes())?)
    }

    /// Compares a file with what the Hub named its content when it came here; `false` if that says nothing about it.
    ///
    /// # Errors
    /// As [`find`](Self::find); [`HubError::Checksum`]; it cannot be read.
    pub fn check(&self, file: &HubFile<'_>) -> Result<bool, HubError> {
        let snapshot = self.snapshot(file.repository, file.revision)?.unwrap_or_default();
        let path = inside(&snapshot, file.file)?;
        tag_of(&path).map_or(Ok(false), |tag| check_tag(&path, &tag, file.file))
    }

    /// Paths of the files of a revision that are here, in the order of their names.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn files(&self, repository: &str, revision: &str) -> Result<Vec<String>, HubError> {
        let Some(snapshot) = self.snapshot(repository, revision)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        collect(&snapshot, &snapshot, 0, &mut found);
        found.sort();
        Ok(found)
    }

    /// Brings a file here, unless it is, and says where it lies.
    ///
    /// # Errors
    /// As [`crate::fetch`]; the server does not answer as the Hub does.
    pub fn pull(
        &self,
        session: &Session,
        file: &HubFile<'_>,
        expected: Expected<'_>,
        watch: &dyn Watch,
    ) -> Result<PathBuf, HubError> {
        if let Some(path) = self.find(file)? {
            return Ok(path);
        }
        session.check_online(&format!("{} of {}", file.file, file.repository))?;
        let address = resolve_address(session, file);
        let metadata = metadata(session, &address, watch)?;
        if is_commit(file.revision) && !file.revision.eq_ignore_ascii_case(&metadata.commit) {
            return Err(nonsense(&address, "it answers with a file of another commit"));
        }
        let repository = self.repository(file.repository)?;
        let pointer = inside(&repository.join("snapshots").join(&metadata.commit), file.file)?;
        let blob = repository.join("blobs").join(&metadata.tag);
        let expected = agreed(expected, &metadata, &address)?;
        let wanted = Transfer {
            name: file.file,
            address: &address,
            token: session.settings.token.as_ref(),
            expected,
            destination: &blob,
            lock: &self.lock(file.repository, &metadata.tag),
        };
        transfer(session, &wanted, watch)?;
        // A SHA-256 was compared on the way.
        if is_hexadecimal(&metadata.tag, 40) {
            check_tag(&blob, &metadata.tag, &address).inspect_err(|_| drop(files::remove_if_there(&blob)))?;
        }
        link(&blob, &pointer, &repository)?;
        self.remember(file.repository, file.revision, &metadata.commit)?;
        Ok(pointer)
    }

    /// What a repository holds. Files whose names lead out of a folder, or are none here, are left out.
    ///
    /// # Errors
    /// The network is forbidden or fails, or the server refuses.
    pub fn list(
        &self,
        session: &Session,
        repository: &str,
        revision: &str,
        watch: &dyn Watch,
    ) -> Result<Listing, HubError> {
        self.repository(repository)?;
        check_revision(revision)?;
        session.check_online(repository)?;
        let endpoint = &session.settings.endpoint;
        let address = format!("{endpoint}/api/models/{repository}/revision/{}", escaped(revision, ""));
        let content = ask(session, &address, false, watch, |answer| read_all(answer, LARGEST_LISTING))?;
        let listing: RawListing =
            serde_json::from_slice(&content).map_err(|error| nonsense(&address, &error.to_string()))?;
        let commit = checked_commit(&listing.sha, &address)?;
        let names = listing.siblings.into_iter().map(|sibling| sibling.rfilename);
        let files = names.filter(|name| inside(Path::new(""), name).is_ok()).collect();
        Ok(Listing { commit, files })
    }

    /// Takes files of a revision away, with their content where no other revision has it. Returns the bytes that became free.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(&self, repository: &str, revision: &str, names: &[String]) -> Result<u64, HubError> {
        let top = self.repository(repository)?;
        let Some(commit) = commit_of(&top, revision)? else { return Ok(0) };
        let snapshot = top.join("snapshots").join(&commit);
        let mut freed = 0;
        for name in names {
            let pointer = inside(&snapshot, name)?;
            let tag = tag_of(&pointer);
            if tag.is_none() {
                freed += length(&pointer);
            }
            files::remove_if_there(&pointer)?;
            if let Some(tag) = tag.filter(|tag| !is_linked(&top.join("snapshots"), tag, 0)) {
                freed += self.remove_content(repository, &tag)?;
            }
        }
        if remove_empty(&snapshot) {
            forget(&top.join("refs"), &commit)?;
        }
        if is_spent(&top) {
            files::remove_folder_if_there(&top)?;
        }
        Ok(freed)
    }

    /// Where large files are kept once for all repositories, the tag is a link to them, and only that is ours to remove.
    fn remove_content(&self, repository: &str, tag: &str) -> Result<u64, HubError> {
        let _lock = wait_for_lock(&self.lock(repository, tag), tag, &Silent)?;
        let blob = inside(&self.repository(repository)?.join("blobs"), tag)?;
        let size = length(&blob);
        files::remove_if_there(&blob)?;
        Ok(size)
    }

    fn lock(&self, repository: &str, tag: &str) -> PathBuf {
        self.root.join(".locks").join(folder_name(repository)).join(format!("{tag}.lock"))
    }

    fn repository(&self, repository: &str) -> Result<PathBuf, HubError> {
        let plain = |part: &str| is_plain(part, "._-") && !part.starts_with(['.', '-']);
        let parts: Vec<&str> = repository.split('/').collect();
        let usable = parts.len() <= 2 && parts.iter().all(|part| plain(part) && !part.contains(".."));
        if !usable || repository.contains("--") || repository.len() > LONGEST_REPOSITORY {
            let reason = "is not the name of a repository, such as timm/resnet18.a1_in1k";
            return Err(HubError::Name { name: repository.escape_default().to_string(), reason });
        }
        Ok(self.root.join(folder_name(repository)))
    }
}

const LONGEST_REPOSITORY: usize = 96;
const LARGEST_LISTING: u64 = 1 << 24;

#[derive(serde::Deserialize)]
struct RawListing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(serde::Deserialize)]
struct Sibling {
    rfilename: String,
}

fn folder_name(repository: &str) -> String {
    format!("models--{}", repository.replace('/', "--"))
}

fn check_revision(revision: &str) -> Result<(), HubError> {
    inside(Path::new(""), revision).map(|_| ())
}

/// The commit that a revision stands for here.
fn commit_of(repository: &Path, revision: &str) -> Result<Option<String>, HubError> {
    if is_commit(revision) {
        return Ok(Some(revision.to_ascii_lowercase()));
    }
    let reference = inside(&repository.join("refs"), revision)?;
    let text = files::read(&reference).ok().and_then(|text| String::from_utf8(text).ok());
    Ok(text.map(|text| text.trim().to_owned()).filter(|commit| is_commit(commit)))
}

fn is_commit(text: &str) -> bool {
    is_hexadecimal(text, 40)
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The tag under which the content of a file of a snapshot lies.
fn tag_of(pointer: &Path) -> Option<String> {
    let target = fs::read_link(pointer).ok()?;
    let tag = target.file_name()?.to_str()?;
    (target.parent()?.file_name()? == "blobs").then(|| tag.to_owned())
}

/// Compares a content with its tag, if that is a SHA-256, or the SHA-1 by which git names a content.
fn check_tag(path: &Path, tag: &str, origin: &str) -> Result<bool, HubError> {
    if is_hexadecimal(tag, 64) {
        check_content(path, origin, Expected { sha256: Some(tag), ..Expected::default() })?;
        return Ok(true);
    }
    if !is_hexadecimal(tag, 40) {
        return Ok(false);
    }
    let content = files::map(path)?;
    let found = hash::sha1_hex(&[format!("blob {}\0", content.len()).as_bytes(), &content].concat());
    if found.eq_ignore_ascii_case(tag) {
        return Ok(true);
    }
    Err(HubError::Checksum { address: shown(origin), expected: tag.to_owned(), found })
}

fn checked_commit(commit: &str, address: &str) -> Result<String, HubError> {
    let checked = is_commit(commit).then(|| commit.to_ascii_lowercase());
    checked.ok_or_else(|| nonsense(address, "it names no commit"))
}

fn nonsense(address: &str, message: &str) -> HubError {
    HubError::Protocol { address: shown(address), message: message.to_owned() }
}

fn resolve_address(session: &Session, file: &HubFile<'_>) -> String {
    let (endpoint, repository) = (&session.settings.endpoint, file.repository);
    let (revision, name) = (escaped(file.revision, ""), escaped(file.file, "/"));
    format!("{endpoint}/{repository}/resolve/{revision}/{name}")
}

/// Asks until there is an answer that can be `used`, or no sense in asking again.
fn ask<T>(
    session: &Session,
    address: &str,
    head: bool,
    watch: &dyn Watch,
    used: impl Fn(Answer) -> Result<T, HubError>,
) -> Result<T, HubError> {
    let token = session.settings.token.as_ref();
    let request = Request { address, head, headers: &[], token, leave_server: false };
    let mut patience = Patience::new(session, watch);
    loop {
        let answer = session.client.send(&request).and_then(|answer| {
            patience.listen(&answer);
            if answer.status < 400 { used(answer) } else { Err(refused(&answer, token.is_some())) }
        });
        match answer {
            Err(error) => patience.wait(error)?,
            used => return used,
        }
    }
}

/// The Hub answers for large files with a redirect to another server, whose headers know nothing of the repository; so
/// that one is not followed here.
fn metadata(session: &Session, address: &str, watch: &dyn Watch) -> Result<Metadata, HubError> {
    let answer = ask(session, address, true, watch, Ok)?;
    let commit = checked_commit(answer.header("x-repo-commit").unwrap_or_default(), address)?;
    let tag = answer.header("x-linked-etag").or_else(|| answer.header("etag")).unwrap_or_default();
    let tag = tag.trim_start_matches("W/").trim_matches('"');
    if tag.len() > 128 || !is_plain(tag, "-_") {
        return Err(nonsense(address, "it gives the file no tag that could name its content"));
    }
    let length = || answer.number("content-length").filter(|_| answer.status < 300);
    let size = answer.number("x-linked-size").or_else(length);
    Ok(Metadata { commit, tag: tag.to_owned(), size })
}

/// What catalogue and server say, if they do not contradict each other.
fn agreed<'a>(
    catalogue: Expected<'a>,
    server: &'a Metadata,
    address: &str,
) -> Result<Expected<'a>, HubError> {
    let from_server = Some(server.tag.as_str()).filter(|tag| is_hexadecimal(tag, 64));
    if let (Some(found), Some(expected)) =
        (server.size, catalogue.size.filter(|size| Some(*size) != server.size))
    {
        return Err(HubError::Size { address: shown(address), expected: expected.to_string(), found });
    }
    match (catalogue.sha256, from_server) {
        (Some(expected), Some(found)) if !found.starts_with(&expected.to_ascii_lowercase()) => {
            let (expected, found) = (expected.to_owned(), found.to_owned());
            Err(HubError::Checksum { address: shown(address), expected, found })
        }
        (expected, found) => {
            Ok(Expected { size: server.size.or(catalogue.size), sha256: found.or(expected), ..catalogue })
        }
    }
}

/// A relative link, so that the cache may be moved; a copy where there are no links. What lies there and is something else,
/// such as a link to nothing, is replaced.
fn link(blob: &Path, pointer: &Path, repository: &Path) -> Result<(), HubError> {
    let folder = pointer.parent().unwrap_or(repository);
    fs::create_dir_all(folder).map_err(FileError::on(folder, "create"))?;
    let depth = folder.strip_prefix(repository).map_or(0, |below| below.components().count());
    let up: PathBuf = std::iter::repeat_n("..", depth).collect();
    let target = up.join("blobs").join(blob.file_name().unwrap_or_default());
    if fs::read_link(pointer).is_ok_and(|there| there == target) {
        return Ok(());
    }
    files::remove_if_there(pointer)?;
    match symbolic_link(&target, pointer).map_err(|error| error.kind()) {
        // Another run was quicker.
        Ok(()) | Err(io::ErrorKind::AlreadyExists) => Ok(()),
        Err(_) => Ok(files::copy(blob, pointer)?),
    }
}

#[cfg(unix)]
fn symbolic_link(target: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

#[cfg(not(unix))]
fn symbolic_link(_target: &Path, _pointer: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Deeper than any repository's folders.
const DEEPEST: usize = 16;

/// Whether any file below `folder` has the content of that tag.
fn is_linked(folder: &Path, tag: &str, depth: usize) -> bool {
    entries(folder).iter().any(|path| {
        let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        if is_folder {
            depth < DEEPEST && is_linked(path, tag, depth + 1)
        } else {
            tag_of(path).is_some_and(|found| found == tag)
        }
    })
}

/// Bytes of a file that is not a link.
fn length(path: &Path) -> u64 {
    path.symlink_metadata().ok().filter(fs::Metadata::is_file).map_or(0, |metadata| metadata.len())
}

/// Removes the revisions that stand for a commit.
fn forget(references: &Path, commit: &str) -> Result<(), HubError> {
    let mut names = Vec::new();
    collect(references, references, 0, &mut names);
    for path in names.iter().map(|name| references.join(name)) {
        if files::read(&path).is_ok_and(|text| text.trim_ascii() == commit.as_bytes()) {
            files::remove_if_there(&path)?;
        }
    }
    Ok(())
}

/// Removes a folder and those in it that are empty; whether it is gone.
fn remove_empty(folder: &Path) -> bool {
    entries(folder).iter().filter(|path| path.is_dir() && !path.is_symlink()).for_each(|path| {
        remove_empty(path);
    });
    fs::remove_dir(folder).is_ok()
}

/// Whether a repository's folder holds no content and no snapshot.
fn is_spent(repository: &Path) -> bool {
    ["snapshots", "blobs"].iter().all(|part| entries(&repository.join(part)).is_empty())
}

/// Paths below `top` of what is in `folder` and is no folder.
fn collect(top: &Path, folder: &Path, depth: usize, found: &mut Vec<String>) {
    for path in entries(folder) {
        let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        if is_folder && depth < DEEPEST {
            collect(top, &path, depth + 1, found);
        } else if !is_folder {
            found.extend(path.strip_prefix(top).ok().and_then(Path::to_str).map(str::to_owned));
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
