//! What can be wrong with a source model.

use std::fmt;

use regraft_formats::FormatError;
use regraft_graph::GraphError;

use crate::matching::first_few;

/// A source model that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZooError {
    /// The catalogue has no model of that name.
    #[error("there is no source model called '{name}'; {}; 'regraft zoo list' shows all", suggest(.nearest.as_deref()))]
    UnknownModel {
        /// The name that was asked for.
        name: String,
        /// The name that looks most like it.
        nearest: Option<String>,
        /// How many names there are.
        known: usize,
    },
    /// There is no architecture of that name.
    #[error("there is no architecture called '{name}'; {}", nearest_or_all(*.nearest, .known))]
    UnknownArchitecture {
        /// The name that was asked for.
        name: String,
        /// The name that looks most like it.
        nearest: Option<&'static str>,
        /// All names.
        known: Vec<&'static str>,
    },
    /// The model is known, but its files are not on this machine.
    #[error("'{name}' is not on this machine; fetch it: regraft zoo pull {name}{}{}", size(.bytes), own_file(.architecture))]
    NotHere {
        /// Name in the catalogue.
        name: String,
        /// Its architecture, if it is one that is known by name.
        architecture: Option<String>,
        /// Size in bytes of what would be fetched.
        bytes: Option<u64>,
    },
    /// A catalogue of the user's cannot be used.
    #[error("{}: {message}", path.display())]
    UserCatalogue {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A weight file lacks tensors that the architecture needs.
    #[error("{origin}: {} of the weights of {tried} are missing: {}; {hint}", .missing.len(), first_few(.missing))]
    MissingWeights {
        /// Where the weights are from.
        origin: String,
        /// The architecture.
        tried: Tried,
        /// Names of what is missing, in the network's order.
        missing: Vec<String>,
        /// What would fit, or what to do.
        hint: String,
    },
    /// A weight file has tensors inside of the architecture's modules that the architecture does not have.
    #[error(
        "{origin}: its network computes something else than {tried}, which has no place for {} of its tensors: {}; {hint}",
        .foreign.len(),
        first_few(.foreign)
    )]
    ForeignWeights {
        /// Where the weights are from.
        origin: String,
        /// The architecture.
        tried: Tried,
        /// Names of these tensors.
        foreign: Vec<String>,
        /// What would fit, or what to do.
        hint: String,
    },
    /// A tensor of a weight file has another shape than the architecture's.
    #[error("{origin}: it has other shapes than {tried}: {differences}; {hint}")]
    Shapes {
        /// Where the weights are from.
        origin: String,
        /// The architecture.
        tried: Tried,
        /// The first tensor with the shapes that were expected and found, and how many more there are.
        differences: String,
        /// What would fit, or what to do.
        hint: String,
    },
    /// A file's name is that of a network with the tensors of a known architecture which computes something else.
    #[error(
        "{origin}: its name says '{relative}', which has the tensors of '{architecture}' and computes something else with \
         them; {TO_ONNX}; if the file is '{architecture}' after all, say so: --arch {architecture}"
    )]
    Relative {
        /// Where the weights are from.
        origin: String,
        /// The network's name.
        relative: &'static str,
        /// The architecture.
        architecture: &'static str,
    },
    /// The tensors of a weight file are those of no known architecture.
    #[error(
        "{origin}: its {tensors} tensors (such as {}) fit none of the known architectures{}; {TO_ONNX}; README.md lists the \
         architectures",
        first_few(.examples),
        unlike(.nearest, .lacking)
    )]
    UnknownWeights {
        /// Where the weights are from.
        origin: String,
        /// How many tensors there are.
        tensors: usize,
        /// Some of their names.
        examples: Vec<String>,
        /// The architectures whose names of tensors are most alike.
        nearest: Vec<&'static str>,
        /// Names of the first of these that the file does not have.
        lacking: Vec<String>,
    },
    /// A weight file has no such entry.
    #[error("{}: it has no entry '{entry}'; its names begin with {}", path.display(), first_few(.known))]
    UnknownEntry {
        /// The file.
        path: std::path::PathBuf,
        /// The entry that was asked for.
        entry: String,
        /// How the names of its tensors begin.
        known: Vec<String>,
    },
    /// The number of label names is not the number of classes.
    #[error("{origin}: expected one label for each of {classes} classes, found {labels}")]
    Labels {
        /// Where the weights are from.
        origin: String,
        /// Rows of the classifier.
        classes: usize,
        /// Labels on the card.
        labels: usize,
    },
    /// The weights do not fit the graph.
    #[error("{origin}: {source}")]
    Graph {
        /// Where the weights are from.
        origin: String,
        /// What does not fit.
        source: GraphError,
    },
    /// A folder is no model that is known here.
    #[error("{}: {message}", path.display())]
    Folder {
        /// The folder, or the file in it.
        path: std::path::PathBuf,
        /// What was expected and found.
        message: String,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The catalogue that is compiled in is not valid.
    #[error("the catalogue is not valid: {0}")]
    Catalogue(#[from] toml::de::Error),
}

/// What to do with a network that no architecture stands for.
pub(crate) const TO_ONNX: &str =
    "export it to ONNX with the library that it is from, and use that file as the source";

/// The architecture that weights were measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// Its name.
    pub architecture: &'static str,
    /// Whether it was not named but is nearest by the names of the tensors.
    pub guessed: bool,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.guessed { "guessed from the tensors" } else { "as asked for" };
        write!(f, "'{}' ({how})", self.architecture)
    }
}

impl ZooError {
    /// [`Self::NotHere`] for an entry.
    pub fn not_here(entry: &crate::Entry) -> Self {
        let architecture = entry.architecture.clone();
        Self::NotHere { name: entry.name.clone(), architecture, bytes: entry.download_bytes() }
    }
}

fn size(bytes: &Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| format!(" ({:.0} MB)", (bytes as f64 / 1e6).ceil()))
}

fn own_file(architecture: &Option<String>) -> String {
    architecture.as_ref().map_or_else(String::new, |architecture| {
        format!(", or give a weight file of your own: --source FILE --arch {architecture}")
    })
}

fn nearest_or_all(nearest: Option<&str>, known: &[&str]) -> String {
    match nearest {
        Some(_) => suggest(nearest),
        None => format!("known: {}", known.join(", ")),
    }
}

fn unlike(nearest: &[&str], lacking: &[String]) -> String {
    let Some(first) = nearest.first() else { return String::new() };
    let all = nearest.join("', '");
    let count = lacking.len();
    format!(
        "; their names are most like those of '{all}', but {count} of '{first}' are not there: {}",
        first_few(lacking)
    )
}

fn suggest(nearest: Option<&str>) -> String {
    nearest.map_or_else(|| "nothing looks like it".to_owned(), |name| format!("did you mean '{name}'?"))
}
