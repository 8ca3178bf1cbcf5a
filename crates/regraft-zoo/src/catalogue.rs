//! The catalogue: what each source model is, where its weights come from, and what is published about it.

use std::sync::LazyLock;

use regraft_graph::Model;

use crate::architecture::architecture;
use crate::embedded::{efficientnet_lite0, imagenet_labels};
use crate::error::nearest;
use crate::{ZooError, load_weights};

/// A source model in the catalogue.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `architecture.tag`, where the tag says what the weights were trained on.
    pub name: String,
    /// Shorter names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Name of its architecture.
    pub architecture: String,
    /// Whether the weights are part of the program.
    #[serde(default)]
    pub embedded: bool,
    /// What the published weights were trained on.
    pub source_task: String,
    /// Published top-1 accuracy on that task, 0 to 1.
    pub source_accuracy: f64,
    /// Numbers that were trained: running statistics do not count.
    pub parameters: u64,
    /// Multiply–accumulate operations for one image of the default size.
    pub macs: u64,
    /// SPDX expression of the weights' licence.
    pub licence: String,
    /// Where the weights come from: package, version and file, or whose names they must have.
    pub origin: String,
    /// SHA-256 of the original weight file, in hexadecimal digits.
    #[serde(default)]
    pub sha256: Option<String>,
}

#[derive(serde::Deserialize)]
struct Catalogue {
    model: Vec<Entry>,
}

static CATALOGUE: LazyLock<Result<Vec<Entry>, toml::de::Error>> = LazyLock::new(|| {
    toml::from_str::<Catalogue>(include_str!("../zoo.toml")).map(|catalogue| catalogue.model)
});

/// All entries, in the order of the catalogue.
///
/// # Errors
/// None in a program that passed its tests.
pub fn list() -> Result<&'static [Entry], ZooError> {
    CATALOGUE.as_ref().map(Vec::as_slice).map_err(|error| error.clone().into())
}

/// The entry of that name or alias.
///
/// # Errors
/// [`ZooError::UnknownModel`], with the name that looks most like it.
pub fn info(name: &str) -> Result<&'static Entry, ZooError> {
    let entries = list()?;
    let found =
        entries.iter().find(|entry| entry.name == name || entry.aliases.iter().any(|alias| alias == name));
    found.ok_or_else(|| {
        let all = entries.iter().flat_map(|entry| std::iter::once(&entry.name).chain(&entry.aliases));
        let all: Vec<&'static str> = all.map(String::as_str).collect();
        let known = entries.iter().map(|entry| entry.name.as_str()).collect();
        ZooError::UnknownModel { name: name.to_owned(), nearest: nearest(name, &all), known }
    })
}

/// The source model of that name or alias.
///
/// # Errors
/// [`ZooError::UnknownModel`]; [`ZooError::NeedsFile`] for an architecture whose weights the user must bring.
pub fn resolve(name: &str) -> Result<Model, ZooError> {
    let entry = info(name)?;
    let architecture = architecture(&entry.architecture).filter(|_| entry.embedded);
    let architecture = architecture.ok_or_else(|| ZooError::NeedsFile {
        name: entry.name.clone(),
        architecture: entry.architecture.clone(),
        origin: entry.origin.clone(),
    })?;
    let mut card = architecture.card(&entry.origin);
    entry.name.clone_into(&mut card.name);
    card.sha256.clone_from(&entry.sha256);
    card.licence = Some(entry.licence.clone());
    card.source_task = Some(entry.source_task.clone());
    card.source_accuracy = Some(entry.source_accuracy);
    card.labels = imagenet_labels().map(str::to_owned).collect();
    Ok(load_weights(architecture, efficientnet_lite0()?, card)?.0)
}
