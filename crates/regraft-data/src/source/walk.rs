//! Listing folders: hidden names left out, links followed, loops reported, order bytewise.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::{EXTENSIONS, Problem};

/// A file or folder, and its path below the root of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) relative: PathBuf,
}

impl File {
    /// What orders files: the bytes of the relative path.
    pub(super) fn bytes(&self) -> &[u8] {
        self.relative.as_os_str().as_encoded_bytes()
    }
}

/// What lies directly in a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) folders: Vec<File>,
    pub(super) images: Vec<File>,
    pub(super) ignored: usize,
    pub(super) problems: Vec<Problem>,
}

/// Lists one folder, whose own path below the root is `relative`.
pub(super) fn list(folder: &Path, relative: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if is_hidden(name.as_encoded_bytes()) {
            continue;
        }
        let file = File { path: folder.join(&name), relative: relative.join(&name) };
        match fs::metadata(&file.path) {
            Ok(metadata) if metadata.is_dir() => listing.folder(file),
            Ok(_) => listing.file(file),
            Err(error) => listing.problems.push(unreadable(&file.path, &error)),
        }
    }
    listing.folders.sort_by(|a, b| a.bytes().cmp(b.bytes()));
    listing.images.sort_by(|a, b| a.bytes().cmp(b.bytes()));
    listing.problems.sort_by(|a, b| a.path().cmp(b.path()));
    Ok(listing)
}

/// Lists everything below a folder.
pub(super) fn walk(folder: &File) -> Listing {
    let mut listing = Listing::default();
    let mut entries =
        WalkDir::new(&folder.path).follow_links(true).min_depth(1).sort_by_file_name().into_iter();
    while let Some(entry) = entries.next() {
        match entry {
            Err(error) => listing.problems.push(problem(&error, &folder.path)),
            Ok(entry) if entry.file_type().is_dir() => {
                let looping = entry.path_is_symlink().then(|| containing_target(entry.path())).flatten();
                if is_hidden(entry.file_name().as_encoded_bytes()) || looping.is_some() {
                    entries.skip_current_dir();
                }
                let problem = |target| Problem::Loop { path: entry.path().to_path_buf(), target };
                listing.problems.extend(looping.map(problem));
            }
            Ok(entry) if is_hidden(entry.file_name().as_encoded_bytes()) => {}
            Ok(entry) => {
                let below = entry.path().strip_prefix(&folder.path).unwrap_or(entry.path());
                listing
                    .file(File { path: entry.path().to_path_buf(), relative: folder.relative.join(below) });
            }
        }
    }
    listing.images.sort_by(|a, b| a.bytes().cmp(b.bytes()));
    listing
}

impl Listing {
    fn folder(&mut self, file: File) {
        match containing_target(&file.path) {
            Some(target) => self.problems.push(Problem::Loop { path: file.path, target }),
            None => self.folders.push(file),
        }
    }

    fn file(&mut self, file: File) {
        if is_image(&file.path) { self.images.push(file) } else { self.ignored += 1 }
    }
}

/// Where a link leads, if that is a folder that contains the link: following it would list the data again as a part
/// of themselves.
fn containing_target(link: &Path) -> Option<PathBuf> {
    let target = link.is_symlink().then(|| fs::canonicalize(link).ok()).flatten()?;
    let place = fs::canonicalize(link.parent()?).ok()?;
    place.starts_with(&target).then_some(target)
}

fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b".")
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
}

fn problem(error: &walkdir::Error, folder: &Path) -> Problem {
    let path = error.path().unwrap_or(folder).to_path_buf();
    match (error.loop_ancestor(), error.io_error()) {
        (Some(target), _) => Problem::Loop { path, target: target.to_path_buf() },
        (None, Some(error)) => unreadable(&path, error),
        (None, None) => Problem::Unreadable { path, reason: error.to_string() },
    }
}

/// A link whose target is gone reads "not found" from the system, which would puzzle whoever sees the link.
fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let broken_link = error.kind() == io::ErrorKind::NotFound && path.is_symlink();
    let reason =
        if broken_link { "a link whose target does not exist".to_owned() } else { error.to_string() };
    Problem::Unreadable { path: path.to_path_buf(), reason }
}
