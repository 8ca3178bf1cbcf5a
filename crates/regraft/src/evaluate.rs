//! `regraft evaluate`: the same metrics on other data.

use std::fmt;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use regraft_data::source::{ImageFolder, Item, Part};
use regraft_graph::Model;
use regraft_report::record::{ClassMetrics, Estimate, TestMetrics};
use serde::Serialize;

use crate::cache::hex;
use crate::ingest::{FileRecord, Ingest, Network};
use crate::judge::{Judgement, judge, probabilities};
use crate::precision::FrozenPrecision;
use crate::predict::{Unusable, labels};
use crate::run::learned_contents;
use crate::source::resolve_cut;
use crate::{Context, Error, Result, load_source_telling};

/// What a run does on other data.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// The run folder.
    pub run: String,
    /// The data folder.
    pub data: String,
    /// Number of images judged.
    pub n: usize,
    /// How many of them the run has learned from, by content: their labels are no surprise to it. `None` where there
    /// is no record of what it has learned from.
    pub n_seen_in_training: Option<usize>,
    /// Classes of the model without an image here. They count as 0 in the macro-F1, as scikit-learn does with all
    /// labels given, and not at all in the balanced accuracy.
    pub classes_without_images: usize,
    /// Class names, in the order of the model's outputs.
    pub classes: Vec<String>,
    /// The headline numbers with their intervals.
    pub metrics: TestMetrics,
    /// Numbers of each class.
    pub per_class: Vec<ClassMetrics>,
    /// Counts: rows are true classes, columns predicted ones.
    pub confusion: Vec<Vec<u64>>,
    /// Files that could not be used.
    pub unusable: Vec<Unusable>,
}

/// Judges a run on a folder of labelled images. Where the folder has a split, its test part is used, else its
/// validation part.
///
/// # Errors
/// The run or the folder cannot be used, or the folder has a class that the model does not know.
pub fn evaluate(run: &Path, data: &Path, seed: u64, context: &Context<'_>) -> Result<Evaluation> {
    let model = load_source_telling(run, None, context.progress)?;
    let classes = labels(&model)?;
    let folder = ImageFolder::scan(data).map_err(Error::data)?;
    let known = |class: &String| classes.iter().position(|known| known == class);
    let mapping: Vec<Option<usize>> = folder.classes.iter().map(known).collect();
    let items = judged_part(folder.items);
    let strangers: Vec<&str> = folder
        .classes
        .iter()
        .zip(&mapping)
        .filter(|(_, known)| known.is_none())
        .map(|(class, _)| class.as_str())
        .collect();
    if !strangers.is_empty() {
        return Err(Error::Data(format!(
            "{}: the model of {} does not know the classes {}; it knows {}",
            data.display(),
            run.display(),
            shortened(&strangers),
            shortened(&classes)
        )));
    }
    let (logits, files) = run_logits(&model, &FrozenPrecision::of_source(run)?, &items, context)?;
    let learned = learned_contents(run);
    let (mut truths, mut unusable, mut seen) = (Vec::new(), Vec::new(), 0);
    for (item, file) in items.iter().zip(files) {
        match (file, mapping.get(item.class).copied().flatten()) {
            (Ok(file), Some(label)) => {
                let known = learned.as_ref().is_some_and(|learned| learned.contains(&hex(&file.content)));
                seen += usize::from(known);
                truths.push(label);
            }
            (Err(reason), _) => {
                unusable.push(Unusable { path: item.path.to_string_lossy().into_owned(), reason })
            }
            _ => {}
        }
    }
    let Judgement { metrics, per_class, confusion } =
        judge(&truths, probabilities(&logits, 1.0)?.view(), &classes, seed)?;
    let (run, data) = (run.to_string_lossy().into_owned(), data.to_string_lossy().into_owned());
    Ok(Evaluation {
        run,
        data,
        n: truths.len(),
        n_seen_in_training: learned.map(|_| seen),
        classes_without_images: per_class.iter().filter(|class| class.support == 0).count(),
        classes,
        metrics,
        per_class,
        confusion,
        unusable,
    })
}

/// The test part where there is one, else the validation part, else everything.
fn judged_part(items: Vec<Item>) -> Vec<Item> {
    let part =
        [Part::Test, Part::Validation].into_iter().find(|part| items.iter().any(|item| item.part == *part));
    items.into_iter().filter(|item| part.is_none_or(|part| item.part == part)).collect()
}

fn shortened(names: &[impl AsRef<str>]) -> String {
    let shown: Vec<&str> = names.iter().take(10).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

type Usable = std::result::Result<FileRecord, String>;

fn run_logits(
    model: &Model,
    precision: &FrozenPrecision,
    items: &[Item],
    context: &Context<'_>,
) -> Result<(Array2<f32>, Vec<Usable>)> {
    let ingest = Ingest {
        limits: context.limits,
        inspections: None,
        networks: vec![Network::trained(
            model,
            &[&resolve_cut(model, "logits")?],
            precision,
            &context.cache,
        )?],
        preprocessing: model.card().preprocessing.clone(),
        progress: context.progress,
    };
    let paths: Vec<PathBuf> = items.iter().map(|item| item.path.clone()).collect();
    context.progress.start("reading images, computing labels", paths.len() as u64);
    let ingested = ingest.run(&paths)?;
    context.progress.finish();
    let logits = ingested.features.into_iter().next().unwrap_or_default();
    Ok((logits, ingested.files))
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {}: {} images, {} classes", self.run, self.data, self.n, self.classes.len())?;
        match self.n_seen_in_training {
            None => writeln!(
                f,
                "note: there is no record of what this model has learned from, perhaps these images"
            )?,
            Some(0) => {}
            Some(seen) => writeln!(
                f,
                "warning: the run has learned from {seen} of these images; the numbers flatter it"
            )?,
        }
        if self.classes_without_images > 0 {
            let absent = self.classes_without_images;
            writeln!(
                f,
                "note: {absent} classes have no image here; macro-F1 counts them as 0, balanced accuracy not at all"
            )?;
        }
        let metrics = &self.metrics;
        for (name, estimate) in [
            ("accuracy", metrics.accuracy),
            ("balanced accuracy", metrics.balanced_accuracy),
            ("macro-F1", metrics.macro_f1),
            ("log-loss", metrics.log_loss),
            ("ECE", metrics.ece),
        ] {
            writeln!(f, "  {name:<18} {}", with_interval(estimate))?;
        }
        for file in &self.unusable {
            writeln!(f, "  skipped {}: {}", file.path, file.reason)?;
        }
        Ok(())
    }
}

fn with_interval(estimate: Estimate) -> String {
    format!("{:.3}  (95 % interval {:.3} to {:.3})", estimate.value, estimate.low, estimate.high)
}
