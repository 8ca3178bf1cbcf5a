//! Archives: only ordinary files, only inside the destination, only up to a size.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use regraft_system::files;

use crate::address::inside;
use crate::{HubError, Watch, javascript};

/// More than the packages of models have, less than what a hostile archive would like to fill, or to keep busy with.
const LARGEST_TOTAL: u64 = 8 << 30;
const MOST_MEMBERS: usize = 1 << 17;

/// The part of a tar that tells the long name of its next member is read into memory.
const LONGEST_HEADER: u64 = 1 << 16;

/// Unpacks the files of a wheel or a gzipped tar that are among `wanted` or lie below one of them, and says where they lie, in
/// the order of the archive.
///
/// # Errors
/// The archive is damaged, holds none of them, or one would lie outside `destination`; together, or with what is not wanted,
/// they are larger than 8 GiB; the user asks to stop.
pub fn unpack(
    archive: &Path,
    wanted: &[&str],
    destination: &Path,
    watch: &dyn Watch,
) -> Result<Vec<PathBuf>, HubError> {
    unpack_within(LARGEST_TOTAL, archive, wanted, destination, watch)
}

fn unpack_within(
    limit: u64,
    archive: &Path,
    wanted: &[&str],
    destination: &Path,
    watch: &dyn Watch,
) -> Result<Vec<PathBuf>, HubError> {
    let content = files::map(archive)?;
    let mut unpacking = Unpacking { wanted, destination, watch, limit, left: limit, done: Vec::new() };
    let unpacked = if content.starts_with(b"PK") { unpacking.zip(&content) } else { unpacking.tar(&content) };
    let damaged = |message: String| HubError::Archive { path: archive.to_path_buf(), message };
    unpacked.map_err(|failure| match failure {
        Failure::Archive(message) => damaged(message),
        Failure::Other(error) => error,
    })?;
    if unpacking.done.is_empty() {
        return Err(damaged(format!("it holds none of {}", wanted.join(", "))));
    }
    Ok(unpacking.done)
}

/// Replaces every JavaScript module `NAME.min.js` below a folder by the file that it exports: `NAME.json`, or `NAME` where that is
/// binary.
///
/// # Errors
/// A module exports anything but a literal, or a file cannot be written.
pub fn unwrap_modules(folder: &Path) -> Result<(), HubError> {
    for path in files::files_below(folder)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(name) = name.strip_suffix(".min.js") else { continue };
        let content = files::map(&path)?;
        let exported = std::str::from_utf8(&content).ok().and_then(javascript::exported);
        let (content, is_json) = exported.ok_or_else(|| {
            let message = "a JavaScript module that does more than hold a file".to_owned();
            HubError::Archive { path: path.clone(), message }
        })?;
        let name = if is_json { format!("{name}.json") } else { name.to_owned() };
        files::write_atomically(&path.with_file_name(name), &content)?;
        files::remove_if_there(&path)?;
    }
    Ok(())
}

struct Unpacking<'a> {
    wanted: &'a [&'a str],
    destination: &'a Path,
    watch: &'a dyn Watch,
    limit: u64,
    left: u64,
    done: Vec<PathBuf>,
}

/// Why an archive cannot be unpacked; the archive's path comes later.
enum Failure {
    Archive(String),
    Other(HubError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Archive(error.to_string())
    }
}

impl From<zip::result::ZipError> for Failure {
    fn from(error: zip::result::ZipError) -> Self {
        Self::Archive(error.to_string())
    }
}

impl Unpacking<'_> {
    fn zip(&mut self, content: &[u8]) -> Result<(), Failure> {
        let mut archive = zip::ZipArchive::new(io::Cursor::new(content))?;
        for index in 0..archive.len() {
            self.look(index)?;
            let mut member = archive.by_index(index)?;
            let name = member.name()?.into_owned();
            if member.is_file() && self.wants(&name) {
                self.write(&mut member, &name)?;
            }
        }
        Ok(())
    }

    fn tar(&mut self, content: &[u8]) -> Result<(), Failure> {
        self.check_names(content)?;
        let mut archive = unzipped(content, self.limit);
        for (index, member) in archive.entries()?.enumerate() {
            self.look(index)?;
            let mut member = member?;
            let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
            if member.header().entry_type().is_file() && self.wants(&name) {
                self.write(&mut member, &name)?;
            }
        }
        Ok(())
    }

    /// The library reads long names into memory, however long they are.
    fn check_names(&self, content: &[u8]) -> Result<(), Failure> {
        let mut archive = unzipped(content, self.limit);
        for (index, member) in archive.entries()?.raw(true).enumerate() {
            self.look(index)?;
            let member = member?;
            let kind = member.header().entry_type();
            let is_name = kind.is_gnu_longname() || kind.is_gnu_longlink();
            let is_name = is_name || kind.is_pax_local_extensions() || kind.is_pax_global_extensions();
            if is_name && member.size() > LONGEST_HEADER {
                return Err(Failure::Archive("a name in it is longer than that of any file".to_owned()));
            }
        }
        Ok(())
    }

    /// Before every member: is it one too many, and does the user want to go on?
    fn look(&self, index: usize) -> Result<(), Failure> {
        match index {
            _ if self.watch.interrupted() => Err(Failure::Other(HubError::Interrupted)),
            MOST_MEMBERS.. => Err(Failure::Archive(format!("it holds more than {MOST_MEMBERS} files"))),
            _ => Ok(()),
        }
    }

    fn wants(&self, name: &str) -> bool {
        let below = |start: &&str| name.strip_prefix(start.trim_end_matches('/'));
        let mut below = self.wanted.iter().filter_map(below);
        !name.ends_with('/') && below.any(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn write(&mut self, member: &mut dyn Read, name: &str) -> Result<(), Failure> {
        let path = inside(self.destination, name).map_err(Failure::Other)?;
        let limit = self.left;
        let mut size = 0;
        let written = files::write_atomically_with(&path, |file: &mut dyn Write| {
            size = io::copy(&mut member.take(limit + 1), file)?;
            let message = "the files in it are larger than any model";
            if size > limit { Err(io::Error::new(io::ErrorKind::InvalidData, message)) } else { Ok(()) }
        });
        written.map_err(|error| match error.source.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                Failure::Archive(format!("'{name}': {}", error.source))
            }
            _ => Failure::Other(error.into()),
        })?;
        self.left -= size;
        self.done.push(path);
        Ok(())
    }
}

/// The tar, which ends where it gets too large.
fn unzipped(content: &[u8], limit: u64) -> tar::Archive<impl Read + '_> {
    tar::Archive::new(flate2::read::GzDecoder::new(content).take(limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    /// A gzipped tar whose members have these raw names and types.
    fn tar_gz(members: &[(&str, tar::EntryType)]) -> Vec<u8> {
        let mut builder =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (name, kind) in members {
            let mut header = tar::Header::new_ustar();
            // The builder would refuse a hostile name; a hostile archive does not ask it.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_link_name("/etc/passwd").unwrap();
            header.set_size(4);
            header.set_cksum();
            builder.append(&header, b"data".as_slice()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn zip(names: &[&str]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for name in names {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(b"data").unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn unpacked(archive: &[u8]) -> (tempfile::TempDir, Result<Vec<PathBuf>, HubError>) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("archive");
        files::write_atomically(&path, archive).unwrap();
        let result = unpack(&path, &["package/"], &place.path().join("inside"), &Silent);
        (place, result)
    }

    #[test]
    fn takes_the_wanted_files() {
        let file = tar::EntryType::Regular;
        for archive in [tar_gz(&[("package/a/b", file), ("other/c", file)]), zip(&["package/a/b", "other/c"])]
        {
            let (place, result) = unpacked(&archive);
            result.unwrap();
            assert_eq!(files::read(&place.path().join("inside/package/a/b")).unwrap(), b"data");
            assert!(!place.path().join("inside/other").exists());
        }
    }

    #[test]
    fn refuses_to_leave_the_folder() {
        let hostile = "package/../../evil";
        for archive in [tar_gz(&[(hostile, tar::EntryType::Regular)]), zip(&[hostile])] {
            let (place, result) = unpacked(&archive);
            assert!(result.unwrap_err().to_string().contains("outside"));
            assert!(!place.path().join("evil").exists());
        }
    }

    #[test]
    fn stops_at_the_limit_whatever_an_archive_unfolds_to() {
        let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for name in ["package/a", "package/b"] {
            writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let archive = writer.finish().unwrap().into_inner();
        assert!(archive.len() < 10_000);
        let place = tempfile::tempdir().unwrap();
        let (path, inside) = (place.path().join("archive"), place.path().join("inside"));
        files::write_atomically(&path, &archive).unwrap();
        let error = unpack_within((1 << 20) + 5, &path, &["package/"], &inside, &Silent).unwrap_err();
        assert!(error.to_string().contains("'package/b': the files in it are larger"), "{error}");
        assert!(!inside.join("package/b").exists());
        unpack_within(2 << 20, &path, &["package/"], &inside, &Silent).unwrap();
    }

    #[test]
    fn a_tar_is_looked_at_as_a_whole() {
        let zipped = |names: &[(&str, tar::EntryType)], length: usize| {
            let mut builder =
                tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
            for (name, kind) in names {
                let mut header = tar::Header::new_gnu();
                header.set_path(name).unwrap();
                header.set_entry_type(*kind);
                header.set_size(length as u64);
                header.set_cksum();
                builder.append(&header, vec![b'a'; length].as_slice()).unwrap();
            }
            builder.into_inner().unwrap().finish().unwrap()
        };
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("archive");
        let unpack = |archive: &[u8]| {
            files::write_atomically(&path, archive).unwrap();
            unpack_within(1 << 20, &path, &["a"], &place.path().join("inside"), &Silent)
        };
        let file = tar::EntryType::Regular;
        unpack(&zipped(&[("a/b", file), ("ab", file)], 1000)).unwrap();
        assert!(place.path().join("inside/a/b").exists() && !place.path().join("inside/ab").exists());
        let long = unpack(&zipped(&[("x", tar::EntryType::GNULongName), ("a", file)], 100_000)).unwrap_err();
        assert!(long.to_string().contains("longer than that of any file"), "{long}");
        unpack(&zipped(&[("other", file), ("a", file)], 1 << 20)).unwrap_err();
    }

    #[test]
    fn a_damaged_archive_is_an_error() {
        let whole = zip(&["package/a"]);
        let place = tempfile::tempdir().unwrap();
        for damaged in [&whole[..whole.len() / 2], b"PK", b"", b"\x1f\x8b\x08 not gzip"] {
            let path = place.path().join("archive");
            files::write_atomically(&path, damaged).unwrap();
            let error = unpack(&path, &["package/"], &place.path().join("inside"), &Silent).unwrap_err();
            assert!(matches!(error, HubError::Archive { .. }), "{error}");
        }
    }

    #[test]
    fn follows_no_links() {
        let (place, result) = unpacked(&tar_gz(&[("package/link", tar::EntryType::Symlink)]));
        assert!(result.unwrap_err().to_string().contains("holds none of"));
        assert!(!place.path().join("inside/package/link").exists());
    }
}
