//! `regraft zoo verify`: are the files what was published, and does the model still say what it said?

use std::path::Path;

use regraft_data::preprocess::crop;
use regraft_data::raster::{Image, Samples};
use regraft_engine::Normalization;
use regraft_graph::Model;
use regraft_hub::{Expected, check_content};
use regraft_system::files;
use regraft_zoo::{Entry, Fingerprint, From, IMAGE_SIZE, fingerprint_image};
use serde::Serialize;

use crate::precision::FrozenPrecision;
use crate::predict::softmax;
use crate::source::resolve_cut;
use crate::zoo::Zoo;
use crate::zoo::pull::{RECORD, Record, expected};
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
    /// Verifies the models of these names, or all that are here.
    ///
    /// # Errors
    /// There is no such model, or it is not here.
    pub fn verify(&self, names: &[String]) -> Result<Vec<Verified>> {
        let entries: Vec<Entry> = if names.is_empty() {
            let here = |entry: &&Entry| {
                entry.from == From::Embedded || self.locate(entry).is_ok_and(|located| located.is_some())
            };
            self.catalogue.entries().iter().filter(here).cloned().collect()
        } else {
            names.iter().map(|name| self.entry(name)).collect::<Result<_>>()?
        };
        entries.iter().map(|entry| self.verify_entry(entry)).collect()
    }

    fn verify_entry(&self, entry: &Entry) -> Result<Verified> {
        let hash = match self.locate(entry)? {
            Some(located) => hash(entry, &located.path, &self.model_folder(entry)),
            None if entry.from == From::Embedded => check("hash", Outcome::Passed, "part of the program"),
            // Says how the model comes here.
            None => {
                return self.load(entry).map(|_| Verified { name: entry.name.clone(), checks: Vec::new() });
            }
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
}

fn check(what: &'static str, outcome: Outcome, detail: impl Into<String>) -> Check {
    Check { what, outcome, detail: detail.into() }
}

/// The main file against the catalogue and, on the Hub, the name of its content; every file against what was recorded when it
/// came here.
fn hash(entry: &Entry, path: &Path, folder: &Path) -> Check {
    let mut known = Vec::new();
    if path.is_file() {
        let published = expected(entry);
        if published.sha256.is_some() || published.sha1.is_some() {
            known.push((path.to_path_buf(), published, "as published"));
        }
    }
    let tag = path.canonicalize().ok().and_then(|content| content.file_name()?.to_str().map(str::to_owned));
    let tag = tag.filter(|tag| tag.len() == 64 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if let Some(tag) = &tag {
        known.push((
            path.to_path_buf(),
            Expected { sha256: Some(tag), ..Expected::default() },
            "as the Hub says",
        ));
    }
    let record: Option<Record> =
        files::read(&folder.join(RECORD)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    for file in record.iter().flat_map(|record| &record.files) {
        let recorded = Expected { size: Some(file.size), sha256: Some(&file.sha256), sha1: None };
        known.push((folder.join(&file.path), recorded, "as it came"));
    }
    let origin = entry.from.to_string();
    for (path, expected, _) in &known {
        if let Err(error) = check_content(path, &origin, *expected) {
            return check("hash", Outcome::Failed, format!("{}: {error}", path.display()));
        }
    }
    match known.first() {
        Some((_, _, how)) => check("hash", Outcome::Passed, *how),
        None => check("hash", Outcome::NotRecorded, "no hash is known"),
    }
}

fn top_five(entry: &Entry, model: &Model) -> Check {
    if model.card().roles.logits.is_none() {
        return check("top 5", Outcome::NotRecorded, "the model has no classes");
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
    let logits = logits.as_ref().and_then(|rows| rows.rows().into_iter().next().map(softmax));
    logits.ok_or_else(|| Error::Model(format!("the network has no output at '{wire}'")))
}

/// The known image for a network of so many channels: its red, green and blue, and these again.
fn known_image(channels: usize) -> Result<Image> {
    let [width, height] = IMAGE_SIZE;
    let pixels = fingerprint_image();
    let samples = pixels.chunks_exact(3).flat_map(|pixel| pixel.iter().copied().cycle().take(channels));
    let image = Image::new(width, height, channels, Samples::Bytes(samples.collect()));
    image.ok_or_else(|| Error::Model("a network without channels".to_owned()))
}
