//! The values at the boundary between what is frozen and what is trained.
//!
//! What stands in front of the boundary gives the same values in every epoch, so they are computed once, kept in the cache
//! in half precision, and mapped; an epoch then costs what stands behind it and nothing else.

use std::sync::OnceLock;

use bytes::Bytes;
use half::f16;
use half::slice::HalfFloatSliceExt as _;
use ndarray::{ArrayD, IxDyn};
use regraft_data::decode::DECODER;
use regraft_engine::{InstructionSet, KERNELS, Precision, Program, Settings};
use regraft_graph::{Bindings, Model, Patch};
use regraft_system::hash::KeyHasher;

use super::images::Images;
use crate::cache::{Cache, ContentHash, Store, StoreInfo};
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
    /// A row an image, in half precision, where it is computed.
    rows: Vec<OnceLock<Bytes>>,
}

/// Images that go through the prefix together.
const BATCH: usize = 32;

impl Boundary {
    /// For a model's wire. `model` may end anywhere behind it.
    pub(crate) fn open(model: &Model, wire: &str, images: Images, count: usize) -> Result<Self> {
        let [height, width] = images.size();
        let fact = model.graph().fact(wire).map_err(Error::model)?;
        let shape = fact.bind(&Bindings { batch: 1, height, width });
        let shape: Vec<usize> = shape.into_iter().flatten().skip(1).collect();
        let is_input = wire == model.graph().input();
        let prefix = (!is_input).then(|| Prefix::open(model, wire, &images, &shape, count)).transpose()?;
        Ok(Self { images, shape, prefix })
    }

    /// Sizes of a value behind the batch axis.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether the values are computed once and kept.
    pub(crate) fn is_cached(&self) -> bool {
        self.prefix.is_some()
    }

    /// Computes the values at these positions, or takes them from the cache, and keeps them; nothing where the boundary is
    /// the input.
    ///
    /// # Errors
    /// A file can no longer be read, memory runs out, or the user has asked to stop.
    pub(crate) fn prepare(
        &self,
        positions: &[usize],
        keys: &[ContentHash],
        context: &Context<'_>,
    ) -> Result<()> {
        match &self.prefix {
            Some(prefix) => prefix.prepare(&self.images, positions, keys, context),
            None => Ok(()),
        }
    }

    /// The values at these positions, one row each.
    ///
    /// # Errors
    /// A file can no longer be read, or memory runs out.
    pub(crate) fn batch(&self, positions: &[usize]) -> Result<ArrayD<f32>> {
        let Some(prefix) = &self.prefix else { return Ok(self.images.batch(positions)?.into_dyn()) };
        let shape = [&[positions.len()], self.shape.as_slice()].concat();
        let mut values = ArrayD::zeros(IxDyn(&shape));
        let length: usize = self.shape.iter().product();
        let places = values.as_slice_mut().unwrap_or_default().chunks_exact_mut(length.max(1));
        for (place, position) in places.zip(positions) {
            let row = prefix.rows.get(*position).and_then(OnceLock::get);
            let row = row.ok_or_else(|| Error::Data("an image was not prepared".to_owned()))?;
            let halves: Vec<f16> =
                row.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect();
            halves.convert_to_f32_slice(place);
        }
        Ok(values)
    }
}

impl Prefix {
    fn open(model: &Model, wire: &str, images: &Images, shape: &[usize], count: usize) -> Result<Self> {
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
        let description = format!("{} up to {wire}, {height}×{width}, f16", model.card().name);
        let row_bytes = shape.iter().product::<usize>() * size_of::<f16>();
        let info = StoreInfo { kind: "activations".to_owned(), description, row_bytes };
        Ok(Self { program, key, info, rows: (0..count).map(|_| OnceLock::new()).collect() })
    }

    fn prepare(
        &self,
        images: &Images,
        positions: &[usize],
        keys: &[ContentHash],
        context: &Context<'_>,
    ) -> Result<()> {
        let store = self.store(&context.cache);
        self.take(&store, positions, keys);
        let pass = Pass { images, keys, store: &store, in_memory: context.cache.root().is_none() };
        self.compute_missing(positions, &pass, context)?;
        // Rows are mapped from the cache, so that memory does not grow with their number; what a full disk has not taken is
        // computed again and stays in memory.
        self.take(&self.store(&context.cache), positions, keys);
        self.compute_missing(positions, &Pass { in_memory: true, ..pass }, context)
    }

    fn compute_missing(&self, positions: &[usize], pass: &Pass<'_>, context: &Context<'_>) -> Result<()> {
        let missing: Vec<usize> =
            positions.iter().copied().filter(|position| self.is_missing(*position)).collect();
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

    fn store(&self, cache: &Cache) -> Store {
        cache.store(&self.key, self.info.clone())
    }

    fn is_missing(&self, position: usize) -> bool {
        self.rows.get(position).is_some_and(|row| row.get().is_none())
    }

    /// Takes what the cache has.
    fn take(&self, store: &Store, positions: &[usize], keys: &[ContentHash]) {
        for position in positions {
            let row = keys.get(*position).and_then(|key| store.get(key));
            if let (Some(row), Some(place)) = (row, self.rows.get(*position)) {
                let _ = place.set(row.clone());
            }
        }
    }

    fn compute(&self, positions: &[usize], pass: &Pass<'_>) -> Result<()> {
        let values = self.program.run(pass.images.batch(positions)?.view()).map_err(Error::model)?.pop();
        let values = values.ok_or_else(|| Error::Model("the network has no such wire".to_owned()))?;
        for (row, position) in values.outer_iter().zip(positions) {
            let bytes: Vec<u8> = row.iter().flat_map(|value| half(*value).to_le_bytes()).collect();
            if pass.in_memory {
                self.rows.get(*position).map(|place| place.set(bytes.into()));
            } else if let Some(key) = pass.keys.get(*position) {
                // A cache that cannot be written is told of when it is flushed.
                let _ = pass.store.put(*key, bytes);
            }
        }
        Ok(())
    }
}

/// What is computed, and where it goes.
struct Pass<'a> {
    images: &'a Images,
    keys: &'a [ContentHash],
    store: &'a Store,
    in_memory: bool,
}

/// In half precision; what is beyond its range becomes its largest number.
fn half(value: f32) -> f16 {
    f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}
