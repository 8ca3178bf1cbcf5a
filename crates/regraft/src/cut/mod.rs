//! `regraft cut`: how good every depth of a source network is for a folder of images, and where to cut it.
//!
//! One pass over the images gives the values of all cut points; a head on each is judged by cross-validation inside the
//! training part, over the same folds (Alain and Bengio 2016, "Understanding intermediate layers using linear classifier
//! probes"). The test part is looked at once, at the end, by the chosen cut and by the one that [`fit`](crate::fit()) takes.

mod cost;
mod folder;
mod probes;
mod short;
mod transfer;

use std::path::{Path, PathBuf};

use regraft_adapt::HeadKind;
use regraft_data::source::ImageFolder;
use regraft_engine::InstructionSet;
use regraft_graph::Model;
use regraft_report::record::{CutTest, CutTuning, DepthRecord};
use regraft_system::clock::{now, rfc3339};
use regraft_system::files::UnfinishedFolder;
use regraft_system::memory::peak_resident_bytes;
use serde_json::json;

use crate::config::quoted;
use crate::fit::adapted;
use crate::fit::dataset::{self, Dataset, Tapped};
use crate::fit::folder::destination;
use crate::fit::tune;
use crate::fit::unfinished::Unfinished;
use crate::input::Adapted;
use crate::judge::{baseline, judge};
use crate::log::Log;
use crate::source::resolve_cut;
use crate::{
    Context, Error, FitConfig, LearningRate, Method, NormStatistics, Result, TuningConfig,
    load_source_telling,
};
use probes::Probes;
use transfer::Experiment;

/// What `regraft cut` is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub struct CutConfig {
    /// Data, source, input, split, heads to choose from at each cut and, in its `tuning`, how the short fine-tuning is done.
    /// Its `cut` and `method` have no meaning here.
    pub fit: FitConfig,
    /// Wires to compare; the cut points of the source and its features if empty.
    pub cuts: Vec<String>,
    /// Whether the two best cuts are tuned for a few epochs.
    pub tunes: bool,
    /// How often the experiment of Yosinski et al. 2014 is done, each time from other random weights; 0 leaves it out. Its
    /// networks have the source's architecture and are trained as the `tuning` of `fit` says.
    pub transfer_repetitions: usize,
}

/// Epochs of the short fine-tuning.
const EPOCHS: usize = 2;

impl Default for CutConfig {
    fn default() -> Self {
        let tuning = TuningConfig { epochs: EPOCHS, ..TuningConfig::default() };
        let heads = vec![HeadKind::LogisticRegression];
        let fit = FitConfig { heads, tuning, ..FitConfig::default() };
        Self { fit, cuts: Vec::new(), tunes: true, transfer_repetitions: 0 }
    }
}

impl CutConfig {
    /// For the experiment of Yosinski et al. 2014, instead of the short fine-tuning: ten epochs from random weights, all layers
    /// at one rate, normalisations by the statistics of the batch.
    pub fn of_transfer(repetitions: usize) -> Self {
        let tuning = TuningConfig {
            source_rate_factor: 1.0,
            norm_statistics: NormStatistics::Batch,
            ..TuningConfig::default()
        };
        let Self { fit, cuts, .. } = Self::default();
        Self { fit: FitConfig { tuning, ..fit }, cuts, tunes: false, transfer_repetitions: repetitions }
    }

    /// # Errors
    /// What is asked for of the trainings has no meaning here.
    fn check(&self) -> Result<()> {
        let TuningConfig { soup, learning_rate, .. } = self.fit.tuning;
        let mistake = match (soup, learning_rate, self.transfer_repetitions) {
            (Some(_), ..) => "soup: depths are compared by single trainings",
            (_, Some(LearningRate::Find), 1..) => {
                "learning-rate: the networks of the experiment are to have one rate; name it"
            }
            _ => return Ok(()),
        };
        Err(Error::Usage(mistake.to_owned()))
    }

    /// Method of the trainings, which decides what must be known before them.
    fn method(&self) -> Method {
        match (self.transfer_repetitions, self.tunes) {
            (0, false) => Method::Probe,
            (0, true) => Method::LpFt,
            _ => Method::Full,
        }
    }
}

/// A finished comparison.
#[derive(Debug, Clone)]
pub struct CutOutcome {
    /// The folder with the report.
    pub folder: PathBuf,
    /// Everything that was measured.
    pub record: DepthRecord,
}

/// The command that goes on with a comparison.
const COMMAND: &str = "cut";

/// What the folder's name ends in.
const ENDING: &str = "-cut";

/// Compares the depths of a source model on a folder of images and writes a folder with the report.
///
/// Runs in rayon's current thread pool; see [`crate::with_threads`].
///
/// # Errors
/// Whatever the user can mend: a setting, the data, the source, or the place of the folder. Nothing is then left under the
/// folder's name.
pub fn cut(config: &CutConfig, context: &Context<'_>) -> Result<CutOutcome> {
    let fit = FitConfig { method: config.method(), ..config.fit.clone() };
    fit.check()?;
    config.check()?;
    let log = Log::start();
    let place = destination(&fit, ENDING)?;
    let unfinished = UnfinishedFolder::start(&place)
        .map_err(Error::output(&place, "creating the folder of the report"))?;
    Unfinished::refuse_other(&fit, &place)?;
    let Subject { source, cuts, images, input } = Subject::find(config, &fit, context)?;
    let names: Vec<&str> = cuts.iter().map(String::as_str).collect();
    let (dataset, taps) = Dataset::tapped(&fit, images, &source, &names, context)?;
    log.event(
        "data",
        json!({ "images": dataset.items.len(), "from_cache": dataset.timing.from_cache, "cuts": cuts }),
    );
    let comparison = Comparison { config, fit: &fit, source: &source, cuts: &cuts, place: &place };
    let record = comparison.record(dataset, &taps, &log, context)?;
    let name = place.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let record = DepthRecord {
        name,
        input,
        seconds: record.seconds + log.seconds(),
        created: Some(rfc3339(now())),
        ..record
    };
    log.event("done", json!({ "seconds": record.seconds }));
    folder::write(unfinished, &place, config, &record, &log.text())?;
    Unfinished::forget(&place)?;
    Ok(CutOutcome { folder: place, record })
}

/// What is compared.
struct Subject {
    source: Model,
    /// In the order in which they are computed.
    cuts: Vec<String>,
    images: ImageFolder,
    /// What the network sees, in sentences.
    input: String,
}

impl Subject {
    /// Reads the source and lists the images; whatever can be known to go wrong is refused here.
    fn find(config: &CutConfig, fit: &FitConfig, context: &Context<'_>) -> Result<Self> {
        let source = load_source_telling(&fit.source, fit.arch.as_deref(), context.progress)?;
        wires(&source, &config.cuts)?;
        let images = dataset::scan(fit)?;
        if config.transfer_repetitions > 0 {
            transfer::check(&images.classes)?;
        }
        let Adapted { model: source, sentences, .. } = adapted(fit, source, &images, context)?;
        let cuts = wires(&source, &config.cuts)?;
        cuts.iter().try_for_each(|cut| tune::check(fit, &source, cut, &images.classes))?;
        Ok(Self { source, cuts, images, input: sentences.join(" ") })
    }
}

/// A comparison under way.
struct Comparison<'a> {
    config: &'a CutConfig,
    fit: &'a FitConfig,
    source: &'a Model,
    cuts: &'a [String],
    place: &'a Path,
}

impl Comparison<'_> {
    fn record(
        &self,
        dataset: Dataset,
        taps: &[Tapped],
        log: &Log,
        context: &Context<'_>,
    ) -> Result<DepthRecord> {
        let Self { fit, source, cuts, .. } = *self;
        let probes = Probes::judge(&dataset, taps, &fit.heads, context)?;
        let choice = probes.choose(&dataset)?;
        log.event("probes", json!({ "chosen": cuts.get(choice.chosen), "best": cuts.get(choice.best) }));
        let work = Unfinished::open(fit, self.place, context)?;
        if let Some(work) = &work {
            work.belongs_to(COMMAND)?;
            // Checkpoints are in the order of the cuts.
            work.check_identity(&format!("{} {}", cuts.join(","), tune::identity(source, &dataset)?))?;
        }
        let seconds = work.as_ref().map_or(0.0, Unfinished::earlier_seconds);
        let work_of = |wanted: bool| work.as_ref().filter(|_| wanted);
        let trials = short::Trials { config: fit, source, cuts, probes: &probes };
        let (dataset, tuned) = trials.run(dataset, taps, &choice, work_of(self.config.tunes), context)?;
        let transfers = work_of(self.config.transfer_repetitions > 0);
        let protocol = transfers.map(|work| self.experiment(&dataset, work).run(context)).transpose()?;
        let default = cuts.iter().position(|cut| *cut == source.card().roles.features);
        Ok(DepthRecord {
            cuts: probes.records(cuts, &choice, &cost::costs(source, cuts, &dataset, context)?)?,
            test: tests(&dataset, &probes, cuts, [Some(choice.chosen), default], fit.seed)?,
            head: fit.heads.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or "),
            chance: probes.chance(&dataset),
            reason: choice.reason,
            seconds,
            protocol,
            ..described(fit, &dataset, tuned)
        })
    }

    /// At the cuts that were named, or at a few of all.
    fn experiment<'a>(&'a self, dataset: &'a Dataset, work: &'a Unfinished) -> Experiment<'a> {
        let Self { config, fit, source, cuts, .. } = *self;
        let cuts = if config.cuts.is_empty() { transfer::spread(cuts) } else { cuts.to_vec() };
        Experiment { config: fit, source, dataset, cuts, repetitions: config.transfer_repetitions, work }
    }
}

/// The wires to compare, in the order in which they are computed.
///
/// # Errors
/// A name that the source does not have; the message has those that it has.
fn wires(source: &Model, named: &[String]) -> Result<Vec<String>> {
    let roles = &source.card().roles;
    let own = || roles.cuts.iter().chain([&roles.features]).cloned().collect();
    let named: Vec<String> = if named.is_empty() { own() } else { named.to_vec() };
    let mut wires = named.iter().map(|cut| resolve_cut(source, cut)).collect::<Result<Vec<_>>>()?;
    let place = |wire: &String| source.graph().nodes().iter().position(|node| node.name == *wire);
    wires.sort_by_key(place);
    wires.dedup();
    Ok(wires)
}

/// The chosen cut and the default one on the test images.
fn tests(
    dataset: &Dataset,
    probes: &Probes,
    cuts: &[String],
    [chosen, default]: [Option<usize>; 2],
    seed: u64,
) -> Result<Vec<CutTest>> {
    let truths = dataset.labels_at(&dataset.split.test);
    let answers = |cut: usize| probes.trained.get(cut).map(|judged| judged.head.test_probabilities.view());
    let mut tests = Vec::new();
    let others = default.filter(|default| Some(*default) != chosen);
    for cut in chosen.into_iter().chain(others) {
        let Some(of_cut) = answers(cut) else { continue };
        let judgement = judge(&truths, of_cut, &dataset.classes, seed)?;
        let other = others.filter(|_| Some(cut) == chosen).and_then(answers);
        let gain = other.map(|other| baseline(&truths, of_cut, other, seed)).transpose()?;
        let (wire, gain) = (cuts.get(cut).cloned().unwrap_or_default(), gain.and_then(|gain| gain.gain));
        tests.push(CutTest { wire, accuracy: judgement.metrics.accuracy, gain });
    }
    Ok(tests)
}

/// What the record says of the run beside the comparison.
fn described(config: &FitConfig, dataset: &Dataset, tuned: Vec<CutTuning>) -> DepthRecord {
    let split = &dataset.split;
    DepthRecord {
        regraft_version: env!("CARGO_PKG_VERSION").to_owned(),
        source: config.source.clone(),
        data: config.data.to_string_lossy().into_owned(),
        label_file: config.labels.as_ref().map(|path| path.to_string_lossy().into_owned()),
        input_options: input_options(config),
        split_options: split_options(config),
        classes: dataset.classes.clone(),
        n_train: split.train.len(),
        n_validation: split.validation.len(),
        n_test: split.test.len(),
        tuned,
        threads: rayon::current_num_threads(),
        instruction_set: InstructionSet::detect().name().to_owned(),
        peak_rss_mb: peak_resident_bytes().map_or(f64::NAN, |bytes| bytes as f64 / 1_048_576.0),
        ..DepthRecord::default()
    }
}

/// Options that say what the network sees, where they are no defaults.
fn input_options(config: &FitConfig) -> String {
    let default = FitConfig::default();
    let options = [
        config.arch.as_ref().map(|arch| format!("--arch {}", quoted(arch))),
        config.image_size.map(|size| format!("--image-size {size}")),
        (config.stem != default.stem).then(|| format!("--stem {}", config.stem.name())),
        (config.channels != default.channels).then(|| format!("--channels {}", config.channels.name())),
        config.extra_channels.map(|rule| format!("--extra-channels {}", rule.name())),
    ];
    options.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Options that say where the labels are, and how the images are divided and judged, where they are not the defaults of `cut`.
fn split_options(config: &FitConfig) -> String {
    let default = CutConfig::default().fit;
    let heads = || config.heads.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",");
    let options = [
        (config.seed != default.seed).then(|| format!("--seed {}", config.seed)),
        (config.test_fraction != default.test_fraction)
            .then(|| format!("--test-fraction {}", config.test_fraction)),
        (config.folds != default.folds).then(|| format!("--folds {}", config.folds)),
        (config.heads != default.heads).then(|| format!("--heads {}", heads())),
    ];
    let options = config.label_options().into_iter().chain(options.into_iter().flatten());
    options.collect::<Vec<_>>().join(" ")
}
