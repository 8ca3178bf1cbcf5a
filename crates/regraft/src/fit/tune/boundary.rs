//! The values at the boundary between what is frozen and what is trained.
//!
//! What stands in front of the boundary gives the same values in every epoch, so they are computed once, kept in the cache
//! in half precision, and mapped; an epoch then costs what stands behind it and nothing else. Of images that are shown in
//! random variants a few variants are kept, which come round in turn. Where keeping them would take too much room, or reading
//! them as long as computing them, they are computed anew each time.

use std::sync::OnceLock;

use bytes::Bytes;
use half::f16;
use half::slice::HalfFloatSliceExt as _;
use ndarray::{ArrayD, IxDyn};
use regraft_data::decode::DECODER;
use regraft_engine::{InstructionSet, KERNELS, Precision, Program, Settings};
use regraft_graph::{Bindings, Model, Patch};
use regraft_system::hash::KeyHasher;

use super::images::{Images, Look};
use crate::cache::{Cache, Store, StoreInfo};
use crate::ingest::fingerprint;
use crate::{Context, Error, Result};

/// Gives the values at the boundary for images by position.
pub(crate) struct Boundary {
    images: Images,
    /// Sizes behind the batch axis.
    shape: Vec<usize>,
    /// `None` where the boundary is the input.
    prefix: Option<Prefix>,
}

struct Prefix {
    program: Program,
    key: KeyHasher,
    info: StoreInfo,
    /// Multiplications for an image.
    cost: u64,
    /// Kept values; empty where they are computed anew each time.
    plain: Kept,
    variants: Vec<Kept>,
}

/// A row an image, in half precision, where it is computed.
type Kept = Vec<OnceLock<Bytes>>;

/// Images that go through the prefix together.
const BATCH: usize = 32;

/// Bytes of values that are kept at most.
const ROOM: u64 = 8_000_000_000;
/// Multiplications, and bytes of kept values, that take about as long as each other: 50 billion and a gigabyte a second.
const MULTIPLICATIONS_PER_BYTE: u64 = 50;

impl Boundary {
    /// For a model's wire, with so many variants of each image. `model` may end anywhere behind the wire.
    pub(crate) fn open(model: &Model, wire: &str, images: Images, variants: usize) -> Result<Self> {
        let [height, width] = images.size();
        let bindings = Bindings { batch: 1, height, width };
        let fact = model.graph().fact(wire).map_err(Error::model)?;
        let shape: Vec<usize> = fact.bind(&bindings).into_iter().flatten().skip(1).collect();
        let is_input = wire == model.graph().input();
        let variants = if images.augmentation().is_none() { 0 } else { variants };
        let open = || Prefix::open(model, wire, &images, &shape, variants);
        let prefix = (!is_input).then(open).transpose()?;
        Ok(Self { images, shape, prefix })
    }

    /// Sizes of a value behind the batch axis.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether the values are computed once and kept.
    pub(crate) fn is_cached(&self) -> bool {
        self.prefix.as_ref().is_some_and(|prefix| !prefix.plain.is_empty())
    }

    /// Computes the values at these positions, or takes them from the cache, and keeps them, where that pays.
    ///
    /// # Errors
    /// A file can no longer be read, memory runs out, or the user has asked to stop.
    pub(crate) fn prepare(&mut self, positions: &[usize], context: &Context<'_>) -> Result<()> {
        let Some(prefix) = &mut self.prefix else { return Ok(()) };
        let wire = prefix.info.description.clone();
        let bytes = prefix.bytes(positions.len());
        let megabytes = bytes.div_ceil(1_000_000);
        if !prefix.pays(bytes) {
            let message = format!(
                "{wire}: computed anew in each epoch; keeping it would take {megabytes} MB and gain nothing"
            );
            context.progress.message(&message);
            prefix.forget();
            return Ok(());
        }
        context.progress.message(&format!("{wire}: computed once and kept, {megabytes} MB"));
        prefix.prepare(&self.images, positions, Look::Plain, context)?;
        (0..prefix.variants.len())
            .try_for_each(|variant| prefix.prepare(&self.images, positions, Look::Variant(variant), context))
    }

    /// The values at these positions, one row each.
    ///
    /// # Errors
    /// A file can no longer be read, or memory runs out.
    pub(crate) fn batch(&self, positions: &[usize], look: Look) -> Result<ArrayD<f32>> {
        match &self.prefix {
            Some(prefix) if self.is_cached() => prefix.kept_rows(positions, look, &self.shape),
            Some(prefix) => prefix.run(&self.images, positions, look),
            None => Ok(self.images.batch(positions, look)?.into_dyn()),
        }
    }
}

impl Prefix {
    fn open(model: &Model, wire: &str, images: &Images, shape: &[usize], variants: usize) -> Result<Self> {
        let part = Patch::cut(wire).apply(model.clone()).map_err(Error::model)?;
        let set = InstructionSet::detect();
        let settings = Settings { instruction_set: set, precision: Precision::Float32 };
        let program = Program::compile_with(&part, images.size(), &[wire], settings).map_err(Error::model)?;
        let preprocessing = serde_json::to_vec(&model.card().preprocessing).map_err(Error::model)?;
        let key = KeyHasher::new()
            .field("weights in front of the boundary", fingerprint(&part)?)
            .field("preprocessing", preprocessing)
            .field("decoder", DECODER)
            .field("instructions", set.name())
            .field("kernels", KERNELS.to_le_bytes());
        let [height, width] = images.size();
        let cost = part.graph().cost(&Bindings { batch: 1, height, width }).map_err(Error::model)?.macs;
        let description = format!("{} up to {wire}, {height}×{width}, f16", model.card().name);
        let row_bytes = shape.iter().product::<usize>() * size_of::<f16>();
        let info = StoreInfo { kind: "activations".to_owned(), description, row_bytes };
        let empty = || (0..images.len()).map(|_| OnceLock::new()).collect();
        let variants = (0..variants).map(|_| empty()).collect();
        Ok(Self { program, key, info, cost, plain: empty(), variants })
    }

    /// Bytes of the values of so many images.
    fn bytes(&self, images: usize) -> u64 {
        (self.info.row_bytes as u64) * (images as u64) * (1 + self.variants.len() as u64)
    }

    fn pays(&self, bytes: u64) -> bool {
        bytes <= ROOM && self.cost > MULTIPLICATIONS_PER_BYTE * self.info.row_bytes as u64
    }

    /// From here on nothing is kept.
    fn forget(&mut self) {
        (self.plain, self.variants) = (Vec::new(), Vec::new());
    }

    fn kept(&self, look: Look) -> &[OnceLock<Bytes>] {
        match look {
            Look::Variant(variant) if !self.variants.is_empty() => {
                self.variants.get(variant % self.variants.len()).map_or(&[], Vec::as_slice)
            }
            _ => &self.plain,
        }
    }

    fn kept_rows(&self, positions: &[usize], look: Look, shape: &[usize]) -> Result<ArrayD<f32>> {
        let mut values = ArrayD::zeros(IxDyn(&[&[positions.len()], shape].concat()));
        let length: usize = shape.iter().product();
        let places = values.as_slice_mut().unwrap_or_default().chunks_exact_mut(length.max(1));
        let kept = self.kept(look);
        for (place, position) in places.zip(positions) {
            let row = kept.get(*position).and_then(OnceLock::get);
            let row = row.ok_or_else(|| Error::Data("an image was not prepared".to_owned()))?;
            let halves = row.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes));
            halves.collect::<Vec<f16>>().convert_to_f32_slice(place);
        }
        Ok(values)
    }

    fn run(&self, images: &Images, positions: &[usize], look: Look) -> Result<ArrayD<f32>> {
        let values = self.program.run(images.batch(positions, look)?.view()).map_err(Error::model)?.pop();
        values.ok_or_else(|| Error::Model("the network has no such wire".to_owned()))
    }

    fn prepare(&self, images: &Images, positions: &[usize], look: Look, context: &Context<'_>) -> Result<()> {
        let store = self.store(images, look, &context.cache)?;
        self.take(&store, images, positions, look);
        let pass = Pass { images, look, store: &store, in_memory: context.cache.root().is_none() };
        self.compute_missing(positions, &pass, context)?;
        // Rows are mapped from the cache, so that memory does not grow with their number; what a full disk has not taken is
        // computed again and stays in memory.
        self.take(&self.store(images, look, &context.cache)?, images, positions, look);
        self.compute_missing(positions, &Pass { in_memory: true, ..pass }, context)
    }

    fn compute_missing(&self, positions: &[usize], pass: &Pass<'_>, context: &Context<'_>) -> Result<()> {
        let kept = self.kept(pass.look);
        let is_missing = |position: &usize| kept.get(*position).is_some_and(|row| row.get().is_none());
        let missing: Vec<usize> = positions.iter().copied().filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(());
        }
        context.progress.start("computing the frozen part", missing.len() as u64);
        for positions in missing.chunks(BATCH) {
            if context.progress.interrupted() {
                return Err(Error::Interrupted);
            }
            self.compute(positions, pass)?;
            context.progress.advance(positions.len() as u64);
        }
        context.progress.finish();
        if let Err(error) = pass.store.flush() {
            context.progress.message(&format!("warning: nothing more is kept for the next run: {error}"));
        }
        Ok(())
    }

    fn store(&self, images: &Images, look: Look, cache: &Cache) -> Result<Store> {
        let (mut key, mut info) = (self.key.clone(), self.info.clone());
        if let Look::Variant(variant) = look {
            key = images.key_of_variants(key)?.field("variant", (variant as u64).to_le_bytes());
            info.description += &format!(", variant {}", variant + 1);
        }
        Ok(cache.store(&key, info))
    }

    /// Takes what the cache has.
    fn take(&self, store: &Store, images: &Images, positions: &[usize], look: Look) {
        let kept = self.kept(look);
        for position in positions {
            let row = images.content(*position).and_then(|content| store.get(content));
            if let (Some(row), Some(place)) = (row, kept.get(*position)) {
                let _ = place.set(row.clone());
            }
        }
    }

    fn compute(&self, positions: &[usize], pass: &Pass<'_>) -> Result<()> {
        let values = self.run(pass.images, positions, pass.look)?;
        for (row, position) in values.outer_iter().zip(positions) {
            let bytes: Vec<u8> = row.iter().flat_map(|value| half(*value).to_le_bytes()).collect();
            if pass.in_memory {
                self.kept(pass.look).get(*position).map(|place| place.set(bytes.into()));
            } else if let Some(content) = pass.images.content(*position) {
                // A cache that cannot be written is told of when it is flushed.
                let _ = pass.store.put(*content, bytes);
            }
        }
        Ok(())
    }
}

/// What is computed, and where it goes.
struct Pass<'a> {
    images: &'a Images,
    look: Look,
    store: &'a Store,
    in_memory: bool,
}

/// In half precision; what is beyond its range becomes its largest number.
fn half(value: f32) -> f16 {
    f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}
