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
