//! Files that arrive piece by piece over several runs, and the lock that keeps two runs from writing one of them.
//!
//! An [`crate::files::UnfinishedFile`] vanishes with the run that wrote it; a [`PartialFile`] stays, so that the next run
//! goes on where this one stopped. Its final name it gets by a rename all the same.
#![allow(clippy::disallowed_methods, reason = "this module is a door to files")]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::files::FileError;

/// A file that grows at its end.
#[derive(Debug)]
pub struct PartialFile {
    file: File,
    path: PathBuf,
    length: u64,
}

impl PartialFile {
    /// Opens what an earlier run has left under `path`, or creates an empty file and the folders above it.
    ///
    /// # Errors
    /// The file cannot be opened for writing, or is a link: what it points to is not ours to write.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(FileError::on(folder, "create"))?;
        if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
            let message = "a link, a folder or a device is there";
            return Err(FileError::on(path, "write")(io::Error::new(io::ErrorKind::AlreadyExists, message)));
        }
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.map_err(FileError::on(path, "open"))?;
        let length = file.metadata().map_err(FileError::on(path, "open"))?.len();
        Ok(Self { file, path: path.to_path_buf(), length })
    }

    /// Where it lies meanwhile.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are there.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Throws away what is there.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn clear(&mut self) -> Result<(), FileError> {
        self.length = 0;
        self.file.set_len(0).map_err(FileError::on(&self.path, "write"))
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// The disk is full, or anything else that keeps the bytes from being written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(FileError::on(&self.path, "write"))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Gives the file its final name once every byte is on disk.
    ///
    /// # Errors
    /// Anything that keeps the bytes from reaching the disk; what had that name before then keeps it.
    pub fn finish(self, destination: &Path) -> Result<(), FileError> {
        self.file.sync_all().map_err(FileError::on(&self.path, "write"))?;
        fs::rename(&self.path, destination).map_err(FileError::on(destination, "rename"))
    }
}

/// Held by one process at a time; given back when dropped, and by the system when the process dies.
///
/// Only programs that ask for the same lock are kept out. On Unix it is `flock`, which Python's `filelock` takes too.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock if it is free; `None` if somebody else has it. The file of a lock stays for ever: a lock on a
    /// file that was removed would keep nobody out.
    ///
    /// # Errors
    /// The file cannot be created, or its file system knows no locks.
    pub fn try_take(path: &Path) -> Result<Option<Self>, FileError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(FileError::on(folder, "create"))?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(FileError::on(path, "open"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(FileError::on(path, "lock")(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_is_there_in_the_next_run() {
        let place = tempfile::tempdir().unwrap();
        let (path, destination) = (place.path().join("a/file.incomplete"), place.path().join("a/file"));
        PartialFile::open(&path).unwrap().append(b"first ").unwrap();
        let mut file = PartialFile::open(&path).unwrap();
        assert_eq!(file.length(), 6);
        file.append(b"second").unwrap();
        file.finish(&destination).unwrap();
        assert_eq!(fs::read(&destination).unwrap(), b"first second");
        assert!(!path.exists());
        let mut file = PartialFile::open(&path).unwrap();
        file.append(b"wrong").unwrap();
        file.clear().unwrap();
        file.append(b"right").unwrap();
        assert_eq!((file.length(), fs::read(&path).unwrap()), (5, b"right".to_vec()));
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_not_written_through() {
        let place = tempfile::tempdir().unwrap();
        let (path, target) = (place.path().join("file"), place.path().join("target"));
        fs::write(&target, b"precious").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(PartialFile::open(&path).unwrap_err().to_string().contains("a link"));
        assert_eq!(fs::read(&target).unwrap(), b"precious");
    }

    #[test]
    fn a_lock_is_held_once() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("locks/file.lock");
        let held = Lock::try_take(&path).unwrap();
        assert!(held.is_some());
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_take(&path).unwrap().is_some());
    }
}
