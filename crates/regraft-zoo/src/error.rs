//! What can be wrong with a source model.

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
    #[error("{origin}: {} of the weights of '{architecture}' are missing: {}; {hint}", .missing.len(), first_few(.missing))]
    MissingWeights {
        /// Where the weights are from.
        origin: String,
        /// The architecture that was asked for.
        architecture: &'static str,
        /// Names of what is missing, in the network's order.
        missing: Vec<String>,
        /// What would fit, or what to look at.
        hint: String,
    },
    /// The tensors of a weight file are those of no known architecture.
    #[error(
        "{origin}: its {tensors} tensors (such as {}) fit none of the known architectures: {}",
        first_few(.examples),
        .known.join(", ")
    )]
    UnknownWeights {
        /// Where the weights are from.
        origin: String,
        /// How many tensors there are.
        tensors: usize,
        /// Some of their names.
        examples: Vec<String>,
        /// All architectures.
        known: Vec<&'static str>,
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

fn suggest(nearest: Option<&str>) -> String {
    nearest.map_or_else(|| "nothing looks like it".to_owned(), |name| format!("did you mean '{name}'?"))
}

/// The name that is fewest edits away, if that is at most a third of the word.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let close = known.iter().map(|candidate| (edits(name, candidate), *candidate));
    let limit = (name.chars().count() / 3).max(2);
    close
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein distance: insertions, deletions and substitutions.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut previous = index + 1;
        let mut next = vec![previous];
        for ((other, diagonal), above) in right.iter().zip(&row).zip(row.iter().skip(1)) {
            let substituted = diagonal + usize::from(letter != *other);
            previous = substituted.min(above + 1).min(previous + 1);
            next.push(previous);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (left, right, expected) in
            [("", "abc", 3), ("kitten", "sitting", 3), ("resnet50", "resnet50", 0), ("flaw", "lawn", 2)]
        {
            assert_eq!(edits(left, right), expected, "{left} {right}");
            assert_eq!(edits(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn suggests_only_what_is_alike() {
        let known = ["resnet18", "resnet50", "efficientnet-lite0"];
        assert_eq!(nearest("resnet5O", &known), Some("resnet50"));
        assert_eq!(nearest("efficientnet_lite0", &known), Some("efficientnet-lite0"));
        assert_eq!(nearest("vgg", &known), None);
    }
}
