//! Files: whole or not at all.
//!
//! A file gets its final name only after every byte of it is on disk, and a folder only after every file of it is.
#![allow(clippy::disallowed_methods, reason = "this module is the door to files")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// A file operation that failed, with the path it failed on.
#[derive(Debug, thiserror::Error)]
#[error("{}: {action} failed: {source}", path.display())]
pub struct FileError {
    /// The file or folder.
    pub path: PathBuf,
    /// What was tried, as a verb: "read", "write" …
    pub action: &'static str,
    /// The system's answer.
    pub source: io::Error,
}

impl FileError {
    /// An adapter for `map_err` that remembers the path and the action.
    pub fn on(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self { path, action, source }
    }

    /// Whether the disk is full or a quota is reached.
    pub fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Reads a whole file into memory.
///
/// # Errors
/// Anything that keeps the file from being read.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(FileError::on(path, "read"))
}

/// Maps a file read-only into memory. An empty file gives an empty buffer.
///
/// The file must not be truncated while the mapping lives: that ends the process with SIGBUS. Regraft maps weight
/// files and its own cache, both of which are only ever replaced by a rename.
///
/// # Errors
/// Anything that keeps the file from being opened or mapped.
pub fn map(path: &Path) -> Result<Bytes, FileError> {
    let file = fs::File::open(path).map_err(FileError::on(path, "open"))?;
    let metadata = file.metadata().map_err(FileError::on(path, "open"))?;
    if metadata.is_dir() {
        return Err(FileError::on(path, "open")(io::ErrorKind::IsADirectory.into()));
    }
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is read-only and private to `Bytes`; the documentation above states the one obligation
    // that the type system cannot hold, that nobody truncates the file meanwhile.
    let mapping = unsafe { memmap2::Mmap::map(&file) }.map_err(FileError::on(path, "map"))?;
    Ok(Bytes::from_owner(mapping))
}

/// Writes a file so that it is seen whole or not at all: a temporary file beside it, then a rename.
///
/// # Errors
/// Anything that keeps the bytes from reaching the disk; nothing is then left under `path` that was not there before.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write_atomically_with(path, |file| file.write_all(content))
}

/// As [`write_atomically`], for content that is produced piece by piece.
///
/// # Errors
/// As [`write_atomically`], and whatever `produce` returns.
pub fn write_atomically_with(
    path: &Path,
    produce: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> Result<(), FileError> {
    let mut file = UnfinishedFile::start(path)?;
    produce(&mut file.writer).map_err(FileError::on(path, "write"))?;
    file.finish()
}

/// Adds to the end of a file, which is created if need be: for a log that others read while it grows.
///
/// # Errors
/// It cannot be created or written to.
pub fn append(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    let mut file = file.map_err(FileError::on(path, "open"))?;
    io::Write::write_all(&mut file, content).map_err(FileError::on(path, "write"))
}

/// Removes a file, if there is one.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::on(path, "remove")(error)),
        _ => Ok(()),
    }
}

/// Creates a folder and those above it, unless they are there.
///
/// # Errors
/// One of them cannot be created.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(FileError::on(path, "create"))
}

/// Removes a folder with all that is in it, if there is one. Links in it are removed, and not followed.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove_folder_if_there(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::on(path, "remove")(error)),
        _ => Ok(()),
    }
}

/// Copies a file so that the copy is seen whole or not at all.
///
/// # Errors
/// The file cannot be read, or the copy not be written.
pub fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    let mut file = fs::File::open(from).map_err(FileError::on(from, "open"))?;
    write_atomically_with(to, |copy| io::copy(&mut file, copy).map(|_| ()))
}

/// Every ordinary file below a folder, in the order of their paths. Links are not followed, and only 16 folders deep is
/// looked.
///
/// # Errors
/// A folder cannot be read.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut found = Vec::new();
    collect_below(folder, 16, &mut found)?;
    found.sort();
    Ok(found)
}

fn collect_below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).map_err(FileError::on(folder, "read"))? {
        let entry = entry.map_err(FileError::on(folder, "read"))?;
        let kind = entry.file_type().map_err(FileError::on(folder, "read"))?;
        if kind.is_dir() && depth > 0 {
            collect_below(&entry.path(), depth - 1, found)?;
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// A file under construction: it lives under a temporary name beside its final place until [`Self::finish`].
/// Dropped before that, it is removed.
#[derive(Debug)]
pub struct UnfinishedFile {
    writer: io::BufWriter<tempfile::NamedTempFile>,
    destination: PathBuf,
}

impl UnfinishedFile {
    /// Starts a file in the place where `destination` is going to be.
    ///
    /// # Errors
    /// The parent folder cannot be created or written to, or there is a folder or a device in that place, which a rename
    /// would replace.
    pub fn start(destination: &Path) -> Result<Self, FileError> {
        if fs::metadata(destination).is_ok_and(|there| !there.is_file()) {
            let message = "a folder or a device is there";
            return Err(FileError::on(destination, "write")(io::Error::new(
                io::ErrorKind::AlreadyExists,
                message,
            )));
        }
        let folder = parent(destination);
        fs::create_dir_all(folder).map_err(FileError::on(folder, "create"))?;
        let temporary = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder);
        let writer = io::BufWriter::new(temporary.map_err(FileError::on(destination, "write"))?);
        Ok(Self { writer, destination: destination.to_path_buf() })
    }

    /// The final place.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// The disk is full, or anything else that keeps the bytes from being written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        use io::Write as _;
        self.writer.write_all(bytes).map_err(FileError::on(&self.destination, "write"))
    }

    /// Replaces bytes at the beginning, which must have been written before.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn replace_beginning(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        use io::{Seek as _, SeekFrom, Write as _};
        let mut replace = || {
            self.writer.seek(SeekFrom::Start(0))?;
            self.writer.write_all(bytes)?;
            self.writer.seek(SeekFrom::End(0))
        };
        replace().map(drop).map_err(FileError::on(&self.destination, "write"))
    }

    /// Gives the file its final name once every byte is on disk.
    ///
    /// # Errors
    /// Anything that keeps the bytes from reaching the disk; what had that name before then keeps it.
    pub fn finish(self) -> Result<(), FileError> {
        let path = self.destination.as_path();
        let temporary =
            self.writer.into_inner().map_err(|error| FileError::on(path, "write")(error.into_error()))?;
        set_ordinary_permissions(temporary.as_file()).map_err(FileError::on(path, "write"))?;
        temporary.as_file().sync_all().map_err(FileError::on(path, "write"))?;
        temporary.persist(path).map_err(|error| FileError::on(path, "write")(error.error))?;
        Ok(())
    }
}

/// How the names of unfinished files and folders begin.
pub const TEMPORARY_PREFIX: &str = ".regraft-unfinished-";

/// A folder under construction: it lives under a temporary name beside its final place until [`Self::finish`].
/// Dropped before that, it is removed.
#[derive(Debug)]
pub struct UnfinishedFolder {
    temporary: tempfile::TempDir,
}

impl UnfinishedFolder {
    /// Starts a folder in the place where `destination` is going to be.
    ///
    /// # Errors
    /// The parent folder cannot be created or written to.
    pub fn start(destination: &Path) -> Result<Self, FileError> {
        let folder = parent(destination);
        fs::create_dir_all(folder).map_err(FileError::on(folder, "create"))?;
        let temporary = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempdir_in(folder);
        let temporary = temporary.map_err(FileError::on(destination, "create"))?;
        Ok(Self { temporary })
    }

    /// Where to write meanwhile.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Gives the folder its final name, in the same parent folder.
    ///
    /// # Errors
    /// The rename fails, in particular where something has got that name meanwhile; what has it keeps it.
    pub fn finish(self, destination: &Path) -> Result<(), FileError> {
        set_folder_permissions(self.path()).map_err(FileError::on(destination, "create"))?;
        fs::rename(self.path(), destination).map_err(FileError::on(destination, "create"))?;
        let _ = self.temporary.keep();
        Ok(())
    }
}

/// The folder that holds `path`; the current folder for a bare name.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Temporary files are born readable by their owner alone; a finished one gets what an ordinary file has.
#[cfg(unix)]
fn set_ordinary_permissions(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_ordinary_permissions(_file: &fs::File) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn set_folder_permissions(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn set_folder_permissions(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, b"old").unwrap();
        let failed = write_atomically_with(&path, |file| {
            file.write_all(b"new")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(failed.unwrap_err().is_disk_full());
        assert_eq!(read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_not_replaced_by_a_file() {
        let place = tempfile::tempdir().unwrap();
        let error = write_atomically(place.path(), b"content").unwrap_err();
        assert!(error.to_string().contains("a folder or a device is there"), "{error}");
        assert!(place.path().is_dir());
    }

    #[test]
    fn a_folder_appears_whole() {
        let place = tempfile::tempdir().unwrap();
        let destination = place.path().join("run");
        let folder = UnfinishedFolder::start(&destination).unwrap();
        write_atomically(&folder.path().join("a"), b"content").unwrap();
        assert!(!destination.exists());
        folder.finish(&destination).unwrap();
        assert_eq!(read(&destination.join("a")).unwrap(), b"content");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_finished_folder_is_not_replaced() {
        let place = tempfile::tempdir().unwrap();
        let destination = place.path().join("run");
        let [first, second] = ["first", "second"].map(|content| {
            let folder = UnfinishedFolder::start(&destination).unwrap();
            write_atomically(&folder.path().join("a"), content.as_bytes()).unwrap();
            folder
        });
        first.finish(&destination).unwrap();
        assert!(second.finish(&destination).is_err());
        assert_eq!(read(&destination.join("a")).unwrap(), b"first");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_abandoned_folder_is_removed() {
        let place = tempfile::tempdir().unwrap();
        drop(UnfinishedFolder::start(&place.path().join("run")).unwrap());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn maps_empty_and_ordinary_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, b"").unwrap();
        assert!(map(&path).unwrap().is_empty());
        write_atomically(&path, b"content").unwrap();
        assert_eq!(&map(&path).unwrap()[..], b"content");
    }
}
