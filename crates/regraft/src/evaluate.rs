//! `regraft evaluate`: the same metrics on other data.

use std::fmt;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use regraft_data::source::{ImageFolder, Item, LabelFile, Part};
use regraft_graph::Model;
use regraft_report::record::{ClassMetrics, Estimate, TestMetrics};
use regraft_system::spelling::nearest;
use serde::Serialize;

use crate::cache::hex;
use crate::ingest::{FileRecord, Ingest, Network};
use crate::inputs::labelled;
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
    /// The table of labels; `None` where folders are the classes.
    pub label_file: Option<String>,
    /// Number of images that have no row in the table and were left out.
    pub without_row: usize,
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

/// Judges a run on a folder of images, with labels from a table or from the folders in it. Where these have a split, its test
/// part is used, else its validation part.
///
/// # Errors
/// The run, the folder or the table cannot be used, or they have a class that the model does not know.
pub fn evaluate(
    run: &Path,
    data: &Path,
    label_file: Option<&LabelFile>,
    seed: u64,
    context: &Context<'_>,
) -> Result<Evaluation> {
    let model = load_source_telling(run, None, context.progress)?;
    let classes = labels(&model)?;
    let folder = labelled(data, label_file)?;
    refuse_strangers(run, &folder, &classes)?;
    let known = |class: &String| classes.iter().position(|known| known == class);
    let mapping: Vec<Option<usize>> = folder.classes.iter().map(known).collect();
    let items = judged_part(folder.items);
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
        label_file: label_file.map(|labels| labels.path.to_string_lossy().into_owned()),
        without_row: folder.labels.map_or(0, |labels| labels.without_row),
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

/// Refuses classes that the model does not have, with what may be meant by them.
fn refuse_strangers(run: &Path, folder: &ImageFolder, classes: &[String]) -> Result<()> {
    let known: Vec<&str> = classes.iter().map(String::as_str).collect();
    let strangers = folder.classes.iter().enumerate().filter(|(_, class)| !classes.contains(class));
    let described = strangers.map(|(position, class)| {
        let line = folder.line_of_class(position).map(|line| format!("line {line}"));
        let meant = nearest(class, &known).map(|known| format!("did you mean {known}?"));
        let details: Vec<String> = line.into_iter().chain(meant).collect();
        if details.is_empty() { class.clone() } else { format!("{class} ({})", details.join("; ")) }
    });
    let described: Vec<String> = described.collect();
    if described.is_empty() {
        return Ok(());
    }
    let place = folder.labels.as_ref().map_or(&folder.root, |labels| &labels.path);
    Err(Error::Data(format!(
        "{}: the model of {} does not know the classes {}; it knows {}",
        place.display(),
        run.display(),
        shortened(&described),
        shortened(classes)
    )))
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
        let labels = self.label_file.as_ref().map_or_else(String::new, |path| format!(" with {path}"));
        let (n, classes) = (self.n, self.classes.len());
        writeln!(f, "{} on {}{labels}: {n} images, {classes} classes", self.run, self.data)?;
        if self.without_row > 0 {
            writeln!(f, "note: left out: {} images without a row in the table of labels", self.without_row)?;
        }
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
