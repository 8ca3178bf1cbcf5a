//! From files to rows: read, hash, decode, summarise, run the network; whatever the cache knows is not done again.
//!
//! Images go through in batches: all threads decode, then all threads run the network. Both are arithmetic, so decoding
//! one batch beside the network of the one before gains nothing, and it costs: the network's groups of images no longer
//! come out even at the end of a batch (ResNet-50 on two threads: 92 % of the network alone, in turns 97 %). An image on
//! its way is the bytes that the network sees, and results are handed on batch by batch, so memory depends neither on
//! the number of files nor, beyond one decoded image a thread, on their sizes.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::{Array2, Array4};
use rayon::prelude::*;
use regraft_data::decode::{DECODER, Limits, decode_as};
use regraft_data::inspect::{Inspection, inspect_image};
use regraft_data::preprocess::normalise;
use regraft_data::raster::Samples;
use regraft_engine::{EngineError, InstructionSet, KERNELS, Normalization, Program};
use regraft_graph::{ChannelOrder, Dim, Model, Preprocessing, Resize, ResizeFilter};
use regraft_system::clock::Stopwatch;
use regraft_system::files;
use regraft_system::hash::KeyHasher;

use crate::cache::{Cache, ContentHash, Store, StoreInfo};
use crate::inspections;
use crate::precision::FrozenPrecision;
use crate::progress::Progress;
use crate::source::resolve_cut;
use crate::test_time::View;
use crate::{Context, Error, Result};

/// A network that gives rows of numbers for an image: the values of some wires, averaged over height and width, all of them
/// by one run.
pub(crate) struct Network<'a> {
    weights: NetworkWeights<'a>,
    name: String,
    precision: FrozenPrecision,
    taps: Vec<Tap>,
    program: OnceLock<Program>,
}

/// A wire whose value is wanted.
struct Tap {
    cut: String,
    dimensions: usize,
    store: Store,
}

enum NetworkWeights<'a> {
    Trained(&'a Model),
    /// The same graph with freshly drawn weights: the baseline that tells training from architecture.
    Random(&'a Model, u64),
}

impl<'a> Network<'a> {
    /// The trained network at some wires.
    pub(crate) fn trained(
        model: &'a Model,
        cuts: &[&str],
        precision: &FrozenPrecision,
        cache: &Cache,
    ) -> Result<Self> {
        let key = KeyHasher::new().field("weights", fingerprint(model)?);
        Self::open(NetworkWeights::Trained(model), model, cuts, precision.clone(), key, cache)
    }

    /// The same network with random weights; in single precision where that of the trained one needs a calibration.
    pub(crate) fn random(
        model: &'a Model,
        cuts: &[&str],
        precision: &FrozenPrecision,
        seed: u64,
        cache: &Cache,
    ) -> Result<Self> {
        let graph = serde_json::to_vec(model.graph()).map_err(Error::model)?;
        let key = KeyHasher::new().field("random weights", seed.to_le_bytes()).field("graph", graph);
        let precision = precision.of_another_network();
        Self::open(NetworkWeights::Random(model, seed), model, cuts, precision, key, cache)
    }

    fn open(
        weights: NetworkWeights<'a>,
        model: &Model,
        cuts: &[&str],
        precision: FrozenPrecision,
        key: KeyHasher,
        cache: &Cache,
    ) -> Result<Self> {
        let kind = if matches!(weights, NetworkWeights::Random(..)) { ", random weights" } else { "" };
        let tap = |cut: &&str| Tap::open(model, cut, kind, &precision, key.clone(), cache);
        let taps = cuts.iter().map(tap).collect::<Result<_>>()?;
        Ok(Self { weights, name: model.card().name.clone(), precision, taps, program: OnceLock::new() })
    }

    /// For each tap one row for each crop.
    fn run(&self, crops: &[&Samples], preprocessing: &Preprocessing) -> Result<Vec<Array2<f32>>> {
        let program = self.program()?;
        let rows = match bytes(crops) {
            Some(bytes) => program.run_pooled_pixels(&bytes, &Normalization::new(preprocessing)),
            None => numbers(crops, preprocessing).and_then(|images| program.run_pooled(images.view())),
        };
        let rows = rows.map_err(Error::model)?;
        let is_finite = |rows: &Array2<f32>| rows.iter().all(|value| value.is_finite());
        match self.taps.iter().zip(&rows).find(|(_, rows)| !is_finite(rows)) {
            None => Ok(rows),
            Some((tap, _)) => Err(Error::Model(format!(
                "{}: its values at '{}' are infinite or not numbers; its weights or its preprocessing are damaged, fetch it again",
                self.name, tap.cut
            ))),
        }
    }

    /// Compiled at first use: with everything in the cache it is never needed.
    fn program(&self) -> Result<&Program> {
        match self.program.get() {
            Some(program) => Ok(program),
            None => self.compile().map(|program| self.program.get_or_init(|| program)),
        }
    }

    fn compile(&self) -> Result<Program> {
        let compile = |model: &Model| {
            let crop = model.card().preprocessing.crop;
            let cuts: Vec<&str> = self.taps.iter().map(|tap| tap.cut.as_str()).collect();
            self.precision.compile(model, crop, &cuts).map_err(Error::model)
        };
        match &self.weights {
            NetworkWeights::Trained(model) => compile(model),
            NetworkWeights::Random(model, seed) => {
                let weights = regraft_zoo::random_weights(model.graph(), *seed).map_err(Error::model)?;
                compile(
                    &Model::new(model.graph().clone(), weights, model.card().clone())
                        .map_err(Error::model)?,
                )
            }
        }
    }
}

impl Tap {
    /// `key` is of everything but the wire that determines the rows.
    fn open(
        model: &Model,
        cut: &str,
        kind: &str,
        precision: &FrozenPrecision,
        key: KeyHasher,
        cache: &Cache,
    ) -> Result<Self> {
        let dimensions = channels(model, cut)?;
        let preprocessing = serde_json::to_vec(&model.card().preprocessing).map_err(Error::model)?;
        let key = key.field("cut", cut).field("preprocessing", preprocessing).field("decoder", DECODER);
        let key = precision.key(key)?.field("instructions", InstructionSet::detect().name());
        let key = key.field("kernels", KERNELS.to_le_bytes());
        let [height, width] = model.card().preprocessing.crop;
        let numbers = precision.name();
        let description = format!("{}{kind}, cut at {cut}, {height}×{width}, {numbers}", model.card().name);
        let info = StoreInfo { kind: "features".to_owned(), description, row_bytes: dimensions * 4 };
        Ok(Self { cut: cut.to_owned(), dimensions, store: cache.store(&key, info) })
    }
}

/// The bytes of crops, if all of them have 8-bit samples.
pub(crate) fn bytes<'s>(crops: &[&'s Samples]) -> Option<Vec<&'s [u8]>> {
    let bytes = crops.iter().map(|crop| match crop {
        Samples::Bytes(bytes) => Some(bytes.as_slice()),
        Samples::Numbers(_) => None,
    });
    bytes.collect()
}

/// Crops as a normalised array, N×C×H×W.
pub(crate) fn numbers(
    crops: &[&Samples],
    preprocessing: &Preprocessing,
) -> std::result::Result<Array4<f32>, EngineError> {
    let ([height, width], channels) = (preprocessing.crop, preprocessing.channels());
    let mut images = Array4::zeros([crops.len(), channels, height, width]);
    let places = images.as_slice_mut().unwrap_or_default();
    let places = places.chunks_mut((channels * height * width).max(1));
    crops.iter().zip(places).for_each(|(crop, place)| normalise(crop, preprocessing, place));
    Ok(images)
}

/// Number of values that a wire gives for one image, once averaged over height and width, or over the tokens.
fn channels(model: &Model, wire: &str) -> Result<usize> {
    let fact = model.graph().fact(wire).map_err(Error::model)?;
    match fact.shape.as_slice() {
        [_, _, Dim::Fixed(features)] => Ok(*features),
        [_, Dim::Fixed(channels), ..] => Ok(*channels),
        _ => Err(Error::Model(format!("wire '{wire}' of shape {fact} cannot be used as features"))),
    }
}

/// A hash of everything that determines what a model computes.
pub(crate) fn fingerprint(model: &Model) -> Result<String> {
    let graph = serde_json::to_vec(model.graph()).map_err(Error::model)?;
    let key = KeyHasher::new().field("graph", graph);
    let key = model
        .weights()
        .iter()
        .fold(key, |key, (name, tensor)| key.field(name, tensor.dtype().name()).field("data", tensor.data()));
    Ok(key.finish())
}

/// What to do with each file.
pub(crate) struct Ingest<'a> {
    pub(crate) limits: Limits,
    /// Where summaries for the data doctor are kept; `None` if nobody asks for them.
    pub(crate) inspections: Option<Store>,
    pub(crate) networks: Vec<Network<'a>>,
    /// How the networks want their input; not used without a network.
    pub(crate) preprocessing: Preprocessing,
    /// What they are shown. The cache holds rows of plain images only.
    pub(crate) view: View,
    pub(crate) progress: &'a dyn Progress,
}

/// What came of the files, in their order.
pub(crate) struct Ingested {
    /// One a file; the reason where the file could not be used.
    pub(crate) files: Vec<std::result::Result<FileRecord, String>>,
    /// One array a tap of each network, with one row a usable file.
    pub(crate) features: Vec<Array2<f32>>,
    pub(crate) timing: IngestTiming,
}

/// A usable file.
#[derive(Debug, Clone)]
pub(crate) struct FileRecord {
    pub(crate) content: ContentHash,
    pub(crate) inspection: Option<Inspection>,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IngestTiming {
    /// Seconds of reading, decoding and resizing, added up over the threads.
    pub(crate) decode_seconds: f64,
    /// Seconds from the first file to the last row.
    pub(crate) seconds: f64,
    /// Files whose rows all came from the cache.
    pub(crate) from_cache: usize,
}

impl<'a> Ingest<'a> {
    /// For the data doctor alone, who looks at images as a network of so many channels is shown them.
    pub(crate) fn inspecting(channels: usize, context: &'a Context<'_>) -> Self {
        Self {
            limits: context.limits,
            inspections: Some(inspection_store(&context.cache, channels)),
            networks: Vec::new(),
            preprocessing: Preprocessing {
                channel_order: ChannelOrder::Rgb,
                resize: Resize::ShortSide(1),
                filter: ResizeFilter::Bilinear,
                crop: [1, 1],
                mean: Cow::Owned(vec![0.0; channels]),
                std: Cow::Owned(vec![1.0; channels]),
            },
            view: View::Plain,
            progress: context.progress,
        }
    }

    /// For the logits of a model.
    pub(crate) fn answering(
        model: &'a Model,
        precision: &FrozenPrecision,
        cache: &Cache,
        context: &'a Context<'_>,
    ) -> Result<Self> {
        Ok(Self {
            limits: context.limits,
            inspections: None,
            networks: vec![Network::trained(model, &[&resolve_cut(model, "logits")?], precision, cache)?],
            preprocessing: model.card().preprocessing.clone(),
            view: View::Plain,
            progress: context.progress,
        })
    }
}

/// The store for the data doctor's summaries of images as a network of so many channels is shown them.
pub(crate) fn inspection_store(cache: &Cache, channels: usize) -> Store {
    let info = StoreInfo {
        kind: "inspections".to_owned(),
        description: format!("what the data doctor saw ({DECODER})"),
        row_bytes: inspections::ROW_BYTES,
    };
    let key = KeyHasher::new().field("decoder", DECODER).field("layout", inspections::LAYOUT);
    cache.store(&key.field("channels", (channels as u64).to_le_bytes()), info)
}

/// A file on its way: what the cache knew and what is still to be computed.
pub(crate) struct Prepared {
    key: ContentHash,
    inspection: Option<Inspection>,
    /// One a tap of each network: the row, if the cache has it or once it is computed.
    rows: Vec<Option<Vec<f32>>>,
    from_cache: bool,
    /// What the networks see, height × width × channels, if a row is missing.
    crop: Option<Samples>,
}

impl Prepared {
    /// The row of the first network.
    pub(crate) fn row(&self) -> &[f32] {
        self.rows.first().and_then(Option::as_deref).unwrap_or_default()
    }
}

/// A usable file on its way, or the reason why the file is not usable.
pub(crate) type Outcome = std::result::Result<Prepared, String>;

/// Files in one batch, and the fewest for each thread, so that the threads are done at about the same time.
const BATCH: usize = 32;
const FILES_PER_THREAD: usize = 16;

impl Ingest<'_> {
    fn taps(&self) -> impl Iterator<Item = &Tap> {
        self.networks.iter().flat_map(|network| &network.taps)
    }

    /// Runs over the files.
    ///
    /// # Errors
    /// The network cannot run, or the user has asked to stop. A file that cannot be read
    /// is not an error here: its reason stands in its place.
    pub(crate) fn run(&self, paths: &[PathBuf]) -> Result<Ingested> {
        let mut collected = Collected::new(self.taps().count());
        let timing = self.stream(paths, &mut |outcome| {
            collected.push(outcome);
            Ok(())
        })?;
        let features = collected.rows.into_iter().zip(self.taps()).map(|(rows, tap)| {
            let shape = (rows.len() / tap.dimensions.max(1), tap.dimensions);
            Array2::from_shape_vec(shape, rows).map_err(Error::model)
        });
        Ok(Ingested { features: features.collect::<Result<_>>()?, files: collected.files, timing })
    }

    /// Runs over the files and hands on what came of each, in their order.
    ///
    /// # Errors
    /// As [`run`](Self::run), and whatever `receive` returns.
    pub(crate) fn stream(
        &self,
        paths: &[PathBuf],
        receive: &mut dyn FnMut(Outcome) -> Result<()>,
    ) -> Result<IngestTiming> {
        let watch = Stopwatch::start();
        let decoding = AtomicU64::new(0);
        let outcome = self.work(paths, &decoding, receive);
        // Whatever happened, what was computed is kept.
        let stores = self.inspections.iter().chain(self.taps().map(|tap| &tap.store));
        stores.for_each(|store| self.without_failing(store.flush()));
        Ok(IngestTiming {
            from_cache: outcome?,
            decode_seconds: decoding.into_inner() as f64 * 1e-9,
            seconds: watch.seconds(),
        })
    }

    /// Returns how many files needed no network.
    fn work(
        &self,
        paths: &[PathBuf],
        decoding: &AtomicU64,
        receive: &mut dyn FnMut(Outcome) -> Result<()>,
    ) -> Result<usize> {
        let mut from_cache = 0;
        for paths in paths.chunks(BATCH.max(FILES_PER_THREAD * rayon::current_num_threads())) {
            if self.progress.interrupted() {
                return Err(Error::Interrupted);
            }
            let computed = self.compute(self.prepare(paths, decoding))?;
            self.progress.advance(computed.len() as u64);
            from_cache += computed.iter().flatten().filter(|file| file.from_cache).count();
            computed.into_iter().try_for_each(&mut *receive)?;
        }
        Ok(from_cache)
    }

    fn prepare(&self, paths: &[PathBuf], decoding: &AtomicU64) -> Vec<Outcome> {
        let timed = |path: &PathBuf| {
            let watch = Stopwatch::start();
            let prepared = self.prepare_one(path);
            decoding.fetch_add((watch.seconds() * 1e9) as u64, Ordering::Relaxed);
            prepared
        };
        // One file a task: files differ too much in size to be dealt out in larger parts.
        paths.par_iter().with_max_len(1).map(timed).collect()
    }

    fn prepare_one(&self, path: &Path) -> Outcome {
        let content = files::read(path).map_err(|error| error.source.to_string())?;
        let key = *blake3::hash(&content).as_bytes();
        let inspection = self.inspections.as_ref().and_then(|store| inspections::decode(store.get(&key)?));
        let rows: Vec<_> = self.taps().map(|tap| tap.store.get(&key).map(|row| floats(row))).collect();
        let missing = rows.iter().any(Option::is_none);
        let mut prepared = Prepared { key, inspection, rows, from_cache: !missing, crop: None };
        let inspect = self.inspections.is_some() && prepared.inspection.is_none();
        if inspect || missing {
            let image = decode_as(&content, self.preprocessing.channels(), &self.limits);
            let image = image.map_err(|error| error.to_string())?;
            if inspect {
                prepared.inspection = Some(inspect_image(&image));
            }
            if missing {
                let cropped = self.view.of(&image, &key, &self.preprocessing);
                let cropped = cropped.map_err(|error| error.to_string())?;
                prepared.crop = Some(cropped.into_samples());
            }
        }
        Ok(prepared)
    }

    /// Runs the networks over the files of a batch that need them, and hands new results to the cache.
    fn compute(&self, mut batch: Vec<Outcome>) -> Result<Vec<Outcome>> {
        let mut first = 0;
        for network in &self.networks {
            let places = first..first + network.taps.len();
            first = places.end;
            let mut missing: Vec<&mut Prepared> =
                batch.iter_mut().flatten().filter(|file| is_missing(file, places.clone())).collect();
            if missing.is_empty() {
                continue;
            }
            let crops: Vec<&Samples> = missing.iter().filter_map(|file| file.crop.as_ref()).collect();
            let of_taps = network.run(&crops, &self.preprocessing)?;
            for ((tap, rows), place) in network.taps.iter().zip(of_taps).zip(places) {
                for (file, row) in missing.iter_mut().zip(rows.rows()) {
                    self.take(tap, file, place, row.to_vec());
                }
            }
        }
        self.keep_inspections(&batch);
        Ok(batch)
    }

    /// Hands a row to the cache, unless that had it, and to its file.
    fn take(&self, tap: &Tap, file: &mut Prepared, place: usize, row: Vec<f32>) {
        if let Some(slot @ None) = file.rows.get_mut(place) {
            let bytes = row.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.without_failing(tap.store.put(file.key, bytes));
            *slot = Some(row);
        }
    }

    fn keep_inspections(&self, batch: &[Outcome]) {
        let Some(store) = &self.inspections else { return };
        let new = batch.iter().flatten().filter(|file| store.get(&file.key).is_none());
        new.filter_map(|file| Some((file.key, inspections::encode(file.inspection.as_ref()?))))
            .for_each(|(key, row)| self.without_failing(store.put(key, row)));
    }

    /// A cache that cannot be written costs the next run time, and this one nothing.
    fn without_failing(&self, kept: Result<()>) {
        if let Err(error) = kept {
            self.progress.message(&format!("warning: nothing more is kept for the next run: {error}"));
        }
    }
}

/// Whether a row of a network is missing, whose rows have these places.
fn is_missing(file: &Prepared, places: Range<usize>) -> bool {
    file.rows.get(places).is_some_and(|rows| rows.iter().any(Option::is_none))
}

fn floats(row: &[u8]) -> Vec<f32> {
    row.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Results in the order of the files.
struct Collected {
    files: Vec<std::result::Result<FileRecord, String>>,
    rows: Vec<Vec<f32>>,
}

impl Collected {
    fn new(taps: usize) -> Self {
        Self { files: Vec::new(), rows: vec![Vec::new(); taps] }
    }

    fn push(&mut self, outcome: Outcome) {
        self.files.push(outcome.map(|file| {
            for (all, row) in self.rows.iter_mut().zip(file.rows) {
                all.extend(row.unwrap_or_default());
            }
            FileRecord { content: file.key, inspection: file.inspection }
        }));
    }
}
