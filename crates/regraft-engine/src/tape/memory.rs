//! Memory for the values and gradients of a batch, and how steps run on it.

use rayon::prelude::*;

use super::steps::Step;
use crate::{
    EngineError, Settings,
    buffer::Buffer,
    geometry::Geometry,
    kernels::{Span, gradient::Shared},
    plan::{Lifetime, Plan},
};

const NUMBER: usize = size_of::<f32>();

/// Values with the same place, if they are not alive together.
#[derive(Debug)]
pub(super) struct Memory {
    /// Offset and size of an image of each value, in bytes; offsets are multiplied by the number of images there is room for.
    places: Vec<(usize, usize)>,
    /// Bytes of an image of all values.
    total: usize,
    numbers: Buffer,
    /// Images that there is room for.
    room: usize,
}

impl Memory {
    pub(super) fn new(geometries: &[Geometry], lifetimes: &[Option<Lifetime>]) -> Result<Self, EngineError> {
        let plan = Plan::new(lifetimes);
        let places =
            plan.offsets.iter().zip(geometries).map(|(offset, geometry)| (*offset, geometry.bytes()));
        Ok(Self { places: places.collect(), total: plan.total, numbers: Buffer::zeroed(0)?, room: 0 })
    }

    /// Bytes that so many images take.
    pub(super) fn bytes(&self, images: usize) -> usize {
        self.total.saturating_mul(images)
    }

    /// Makes room for so many images.
    pub(super) fn reserve(&mut self, images: usize) -> Result<(), EngineError> {
        if images > self.room {
            let bytes = self.total.checked_mul(images);
            let bytes = bytes.ok_or(EngineError::Memory { megabytes: usize::MAX })?;
            // The old memory is given back first.
            self.numbers = Buffer::zeroed(0)?;
            self.numbers = Buffer::zeroed(bytes / NUMBER)?;
            self.room = images;
        }
        Ok(())
    }

    fn place(&self, value: usize) -> (usize, usize) {
        self.places.get(value).map_or((0, NUMBER), |(offset, size)| (offset * self.room, *size))
    }

    /// An image of a value, and what lies behind it.
    pub(super) fn image(&self, value: usize, image: usize) -> &[f32] {
        let (start, size) = self.place(value);
        self.numbers.get((start + image * size) / NUMBER..).unwrap_or(&[])
    }

    /// The images of a value, for writing.
    pub(super) fn images_mut(&mut self, value: usize) -> impl Iterator<Item = &mut [f32]> {
        let (start, size) = self.place(value);
        let numbers = self.numbers.get_mut(start / NUMBER..).unwrap_or(&mut []);
        numbers.chunks_exact_mut(size / NUMBER)
    }

    /// Runs steps one after the other, each divided among the threads of the current pool; some may be those forward again.
    /// The weights of trained layers are packed from `values` into `packed`.
    /// Calls `after` with the name and the kind of every step that is done.
    pub(super) fn run(
        &mut self,
        (steps, forward): (&mut [Step], &[Step]),
        (values, packed): (&[f32], &mut Buffer),
        settings: Settings,
        (images, shared): (usize, Shared),
        after: &dyn Fn(&str, &str),
    ) {
        let memory = Span { pointer: self.numbers.as_mut_ptr().cast(), image: 0 };
        let threads = rayon::current_num_threads();
        for step in steps {
            step.work.pack(values, settings.instruction_set, packed);
            let work = step.work.of(forward);
            let units = work.units(images, threads);
            let parts = units.min(work.most_parts(threads));
            let spans = |value: &usize| {
                let (start, image) = self.place(*value);
                // In bounds: the plan's total covers every value.
                Span { pointer: memory.pointer.wrapping_add(start), image }
            };
            let reads: Vec<Span> = step.reads.iter().map(spans).collect();
            let output = step.writes.as_ref().map_or(memory, spans);
            (0..parts).into_par_iter().with_max_len(1).for_each(|part| {
                let units = part * units / parts..(part + 1) * units / parts;
                // SAFETY: there is room for `images` images of every value at the plan's offsets, values that are alive
                // together lie apart, memory and shared numbers are borrowed for this run alone, and no unit is in two
                // parts.
                unsafe { work.run(settings, (&reads, output), (images, threads), shared, units) };
            });
            step.work.give_back(packed);
            after(&step.name, step.work.kind());
        }
    }
}

/// When every value is written first and read last. `given` are there before a step, `kept` are read behind the last one.
pub(super) fn lifetimes(
    geometries: &[Geometry],
    steps: &[&[Step]],
    given: &[(usize, usize)],
    kept: &[usize],
) -> Vec<Option<Lifetime>> {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; geometries.len()];
    let mut touch = |value: usize, at: usize| {
        if let (Some(lifetime), Some(geometry)) = (lifetimes.get_mut(value), geometries.get(value)) {
            let lifetime = lifetime.get_or_insert(Lifetime { geometry: *geometry, first: at, last: at });
            lifetime.first = lifetime.first.min(at);
            lifetime.last = lifetime.last.max(at);
        }
    };
    given.iter().for_each(|(value, at)| touch(*value, *at));
    for (at, step) in steps.iter().copied().flatten().enumerate() {
        step.reads.iter().chain(&step.writes).for_each(|value| touch(*value, at));
    }
    kept.iter().for_each(|value| touch(*value, usize::MAX));
    lifetimes
}
