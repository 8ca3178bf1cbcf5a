//! `regraft zoo verify`: are the files what was published, and does the model still say what it said?

use std::path::Path;

use regraft_data::preprocess::crop;
use regraft_data::raster::{Image, Samples};
use regraft_engine::Normalization;
use regraft_graph::Model;
use regraft_hub::{Expected, HubError, HubFile, check_content};
use regraft_zoo::{Entry, Fingerprint, From, IMAGE_SIZE, fingerprint_image, split_entry};
use serde::Serialize;

use crate::precision::FrozenPrecision;
use crate::predict::Scores;
use crate::source::resolve_cut;
use crate::zoo::Zoo;
use crate::zoo::place::fetch_again;
use crate::zoo::pull::{Record, RecordedFile, expected};
use crate::{Error, Result};

/// What was found about a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verified {
    /// Its name in the catalogue.
    pub name: String,
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// `hash`, `shapes` or `top 5`.
    pub what: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// In words.
    pub detail: String,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// There is nothing to compare with.
    NotRecorded,
}

impl Verified {
    /// Whether nothing failed.
    pub fn is_sound(&self) -> bool {
        self.checks.iter().all(|check| check.outcome != Outcome::Failed)
    }
}

impl Zoo {
    /// Names of the models that are here, or should be: what a user has added.
    pub fn names_here(&self) -> Vec<String> {
        let here = |entry: &&Entry| {
            matches!(entry.from, From::Embedded | From::File(_))
                || self.locate(entry).is_ok_and(|located| located.is_some())
        };
        self.catalogue.entries().iter().filter(here).map(|entry| entry.name.clone()).collect()
    }

    /// Verifies the model of that name.
    ///
    /// # Errors
    /// There is no such model, or it is not here.
    pub fn verify(&self, name: &str) -> Result<Verified> {
        let entry = &self.entry(name)?;
        let hash = match self.locate(entry)? {
            Some(located) => self.hash(entry, &located.path),
            None if entry.from == From::Embedded => check("hash", Outcome::Passed, "part of the program"),
            None => return Err(self.not_here(entry)),
        };
        let mut checks = vec![hash];
        match self.load(entry) {
            Ok(source) => {
                let model = source.model;
                let tensors = model.weights().len();
                checks.push(check("shapes", Outcome::Passed, format!("{tensors} tensors fit the network")));
                checks.push(top_five(entry, &model));
            }
            Err(error) => checks.push(check("shapes", Outcome::Failed, error.to_string())),
        }
        Ok(Verified { name: entry.name.clone(), checks })
    }

    fn hash(&self, entry: &Entry, path: &Path) -> Check {
        match self.compare(entry, path) {
            Ok(with) if with.is_empty() => check("hash", Outcome::NotRecorded, "nothing to compare with"),
            Ok(with) => check("hash", Outcome::Passed, with.join(", ")),
            Err(error) if matches!(entry.from, From::File(_)) => {
                check("hash", Outcome::Failed, error.to_string())
            }
            Err(error) => check("hash", Outcome::Failed, format!("{error}{}", fetch_again(&entry.name))),
        }
    }

    /// The hashed file against the catalogue, files of the Hub against the names of their contents, and every file of a model's
    /// folder against what was recorded when it came. Says which of these there was to compare with.
    fn compare(&self, entry: &Entry, path: &Path) -> std::result::Result<Vec<String>, HubError> {
        let mut with = Vec::new();
        let (file, _) = split_entry(path);
        let file = match entry.hashed_file() {
            Some(name) if path.is_dir() => self.model_folder(entry).join(name),
            _ => file,
        };
        let published = expected(entry);
        if file.is_file() {
            check_content(&file, &file.to_string_lossy(), published)?;
            let hashes = published.sha256.is_some() || published.sha1.is_some();
            with.extend(hashes.then(|| "as published".to_owned()));
        }
        with.extend(self.compare_with_hub(entry)?);
        let folder = self.model_folder(entry);
        if let Some(record) = Record::read(&folder)? {
            for RecordedFile { path, size, sha256 } in &record.files {
                let path = folder.join(path);
                let expected = Expected { size: Some(*size), sha256: Some(sha256), sha1: None };
                check_content(&path, &path.to_string_lossy(), expected)?;
            }
            with.push("as it came".to_owned());
        }
        Ok(with)
    }

    fn compare_with_hub(&self, entry: &Entry) -> std::result::Result<Option<String>, HubError> {
        let From::HuggingFace { repository, revision, files } = &entry.from else { return Ok(None) };
        let cache = self.cache();
        let files = if files.is_empty() { cache.files(repository, revision)? } else { files.clone() };
        let mut named = 0;
        for file in &files {
            named += usize::from(cache.check(&HubFile { repository, revision, file })?);
        }
        Ok(match named {
            0 => None,
            _ if named == files.len() => Some("as the Hub says".to_owned()),
            _ => Some(format!("{named} of {} files as the Hub says", files.len())),
        })
    }
}

fn check(what: &'static str, outcome: Outcome, detail: impl Into<String>) -> Check {
    Check { what, outcome, detail: detail.into() }
}

fn top_five(entry: &Entry, model: &Model) -> Check {
    if model.card().roles.logits.is_none() {
        return check("top 5", Outcome::NotRecorded, "the model has no classes");
    }
    if let Err(error) = Scores::of(model) {
        return check("top 5", Outcome::NotRecorded, error.to_string());
    }
    let found = match probabilities(model) {
        Ok(found) => found,
        Err(error) => return check("top 5", Outcome::Failed, error.to_string()),
    };
    let said = in_words(model, &Fingerprint::of(&found));
    match &entry.fingerprint {
        None => check("top 5", Outcome::NotRecorded, said),
        Some(recorded) if recorded.fits(&found) => check("top 5", Outcome::Passed, said),
        Some(recorded) => {
            let recorded = in_words(model, recorded);
            check("top 5", Outcome::Failed, format!("{said}; recorded: {recorded}"))
        }
    }
}

fn in_words(model: &Model, fingerprint: &Fingerprint) -> String {
    let named = |(class, probability): (&usize, &f64)| {
        let label = model.card().labels.get(*class).cloned().unwrap_or_else(|| format!("class {class}"));
        format!("{label} {:.1} %", 100.0 * probability)
    };
    let words: Vec<String> = fingerprint.classes.iter().zip(&fingerprint.probabilities).map(named).collect();
    words.join(", ")
}

/// What a model says of the known image.
pub(crate) fn fingerprint(model: &Model) -> Result<Fingerprint> {
    probabilities(model).map(|found| Fingerprint::of(&found))
}

fn probabilities(model: &Model) -> Result<Vec<f64>> {
    let wire = resolve_cut(model, "logits")?;
    let preprocessing = &model.card().preprocessing;
    let cropped = crop(&known_image(preprocessing.channels())?, preprocessing).map_err(Error::model)?;
    let program =
        FrozenPrecision::Float32.compile(model, preprocessing.crop, &[&wire]).map_err(Error::model)?;
    let normalization = Normalization::new(preprocessing);
    let logits = program.run_pooled_pixels(&[cropped.pixels()], &normalization).map_err(Error::model)?.pop();
    let scores = Scores::of(model)?;
    let logits = logits.as_ref().and_then(|rows| rows.rows().into_iter().next());
    let logits = logits.map(|row| scores.probabilities(row));
    let found: Vec<f64> =
        logits.ok_or_else(|| Error::Model(format!("the network has no output at '{wire}'")))?;
    if found.iter().all(|probability| probability.is_finite()) {
        return Ok(found);
    }
    Err(Error::Model("the network computes infinities, and no probabilities".to_owned()))
}

/// The known image for a network of so many channels: its red, green and blue, and these again.
fn known_image(channels: usize) -> Result<Image> {
    let [width, height] = IMAGE_SIZE;
    let pixels = fingerprint_image();
    let samples = pixels.chunks_exact(3).flat_map(|pixel| pixel.iter().copied().cycle().take(channels));
    let image = Image::new(width, height, channels, Samples::Bytes(samples.collect()));
    image.ok_or_else(|| Error::Model("a network without channels".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::tests::network;

    #[test]
    fn a_network_without_probabilities_has_none_to_compare() {
        let entry = Entry::new("single", From::File("single.onnx".into()));
        assert_eq!(top_five(&entry, &network(1, None)).outcome, Outcome::NotRecorded);
    }
}
