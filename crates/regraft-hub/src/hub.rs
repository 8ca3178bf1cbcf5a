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

use crate::HubError;
use crate::address::{escaped, inside, shown};
use crate::client::{Answer, Request, read_all};
use crate::download::{Expected, Transfer, refused, transfer};
use crate::session::{Session, Watch};

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
        let metadata = metadata(session, &address)?;
        let repository = self.repository(file.repository)?;
        let pointer = inside(&repository.join("snapshots").join(&metadata.commit), file.file)?;
        let blob = repository.join("blobs").join(&metadata.tag);
        let expected = agreed(expected, &metadata, &address)?;
        let folder = folder_name(file.repository);
        let wanted = Transfer {
            name: file.file,
            address: &address,
            token: session.settings.token.as_ref(),
            expected,
            destination: &blob,
            lock: &self.root.join(".locks").join(folder).join(format!("{}.lock", metadata.tag)),
        };
        transfer(session, &wanted, watch)?;
        link(&blob, &pointer, &repository)?;
        if file.revision != metadata.commit {
            let reference = inside(&repository.join("refs"), file.revision)?;
            files::write_atomically(&reference, metadata.commit.as_bytes())?;
        }
        Ok(pointer)
    }

    /// What a repository holds.
    ///
    /// # Errors
    /// The network is forbidden or fails, the server refuses, a file has a name that leads out of its folder.
    pub fn list(&self, session: &Session, repository: &str, revision: &str) -> Result<Listing, HubError> {
        self.repository(repository)?;
        check_revision(revision)?;
        session.check_online(repository)?;
        let endpoint = &session.settings.endpoint;
        let address = format!("{endpoint}/api/models/{repository}/revision/{}", escaped(revision, ""));
        let answer = ask(session, &address, false)?;
        let content = read_all(answer, LARGEST_LISTING)?;
        let listing: RawListing = serde_json::from_slice(&content)
            .map_err(|error| HubError::Protocol { address: shown(&address), message: error.to_string() })?;
        let commit = checked_commit(&listing.sha, &address)?;
        let names = listing.siblings.into_iter().map(|sibling| sibling.rfilename);
        let files = names.map(|name| inside(Path::new(""), &name).map(|_| name)).collect::<Result<_, _>>()?;
        Ok(Listing { commit, files })
    }

    /// Takes files of a revision away, with their content where no other revision has it. Returns the bytes that became free.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(&self, repository: &str, revision: &str, names: &[String]) -> Result<u64, HubError> {
        let Some(snapshot) = self.snapshot(repository, revision)? else { return Ok(0) };
        let mut freed = 0;
        for name in names {
            let pointer = inside(&snapshot, name)?;
            let Ok(content) = pointer.canonicalize() else { continue };
            let size = content.metadata().map_or(0, |metadata| metadata.len());
            files::remove_if_there(&pointer)?;
            let repository = self.repository(repository)?;
            if !is_linked(&repository.join("snapshots"), &content, 0) && is_below(&content, &repository) {
                files::remove_if_there(&content)?;
                freed += size;
            }
        }
        let empty = remove_empty(&snapshot) && self.repository(repository).is_ok_and(|top| is_spent(&top));
        if empty {
            let top = self.repository(repository)?;
            fs::remove_dir_all(&top).map_err(FileError::on(&top, "remove"))?;
        }
        Ok(freed)
    }

    fn repository(&self, repository: &str) -> Result<PathBuf, HubError> {
        let plain = |part: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !part.is_empty() && !part.starts_with(['.', '-']) && part.bytes().all(known)
        };
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
        return Ok(Some(revision.to_owned()));
    }
    let reference = inside(&repository.join("refs"), revision)?;
    let text = files::read(&reference).ok().and_then(|text| String::from_utf8(text).ok());
    Ok(text.map(|text| text.trim().to_owned()).filter(|commit| is_commit(commit)))
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn checked_commit(commit: &str, address: &str) -> Result<String, HubError> {
    let message = || "it names no commit".to_owned();
    let refused = || HubError::Protocol { address: shown(address), message: message() };
    if is_commit(commit) { Ok(commit.to_ascii_lowercase()) } else { Err(refused()) }
}

fn resolve_address(session: &Session, file: &HubFile<'_>) -> String {
    let (endpoint, repository) = (&session.settings.endpoint, file.repository);
    let (revision, name) = (escaped(file.revision, ""), escaped(file.file, "/"));
    format!("{endpoint}/{repository}/resolve/{revision}/{name}")
}

fn ask(session: &Session, address: &str, head: bool) -> Result<Answer, HubError> {
    let token = session.settings.token.as_ref();
    let answer = session.client.send(&Request { address, head, headers: &[], token, leave_server: false })?;
    if answer.status < 400 { Ok(answer) } else { Err(refused(&answer, token.is_some())) }
}

/// The Hub answers for large files with a redirect to another server, whose headers know nothing of the repository; so
/// that one is not followed here.
fn metadata(session: &Session, address: &str) -> Result<Metadata, HubError> {
    let answer = ask(session, address, true)?;
    let nonsense =
        |message: &str| HubError::Protocol { address: shown(address), message: message.to_owned() };
    let commit = checked_commit(answer.header("x-repo-commit").unwrap_or_default(), address)?;
    let tag = answer.header("x-linked-etag").or_else(|| answer.header("etag")).unwrap_or_default();
    let tag = tag.trim_start_matches("W/").trim_matches('"');
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if tag.is_empty() || tag.len() > 128 || !tag.bytes().all(known) {
        return Err(nonsense("it gives the file no tag that could name its content"));
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
    let is_sha256 = server.tag.len() == 64 && server.tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    let from_server = is_sha256.then_some(server.tag.as_str());
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

/// A relative link, so that the cache may be moved; a copy where there are no links.
fn link(blob: &Path, pointer: &Path, repository: &Path) -> Result<(), HubError> {
    let folder = pointer.parent().unwrap_or(repository);
    fs::create_dir_all(folder).map_err(FileError::on(folder, "create"))?;
    let depth = folder.strip_prefix(repository).map_or(0, |below| below.components().count());
    let up: PathBuf = std::iter::repeat_n("..", depth).collect();
    let target = up.join("blobs").join(blob.file_name().unwrap_or_default());
    match symbolic_link(&target, blob, pointer) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(FileError::on(pointer, "link")(error).into())
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn symbolic_link(target: &Path, _blob: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

#[cfg(not(unix))]
fn symbolic_link(_target: &Path, blob: &Path, pointer: &Path) -> io::Result<()> {
    fs::copy(blob, pointer).map(|_| ())
}

/// Deeper than any repository's folders.
const DEEPEST: usize = 16;

/// Whether any file below `folder` is `content`.
fn is_linked(folder: &Path, content: &Path, depth: usize) -> bool {
    entries(folder).iter().any(|path| {
        let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        if is_folder {
            depth < DEEPEST && is_linked(path, content, depth + 1)
        } else {
            path.canonicalize().is_ok_and(|found| found == content)
        }
    })
}

fn is_below(path: &Path, folder: &Path) -> bool {
    folder.canonicalize().is_ok_and(|folder| path.starts_with(folder))
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
