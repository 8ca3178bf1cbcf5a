//! Some steps of a program, and memory for what they compute.

use std::{
    marker::PhantomData,
    sync::{Mutex, PoisonError},
};

use crate::{
    EngineError, Settings,
    buffer::Buffer,
    crew::{self, Crew, Part},
    element::{UInt8, bytes_mut},
    geometry::Geometry,
    kernels::{Operands, Span},
    plan::{Lifetime, Plan},
    step::Step,
    views::{View, Views},
};

/// Steps with fewer vector operations are not worth waking other threads for.
const SMALLEST_SHARED_STEP: usize = 20_000;

/// Bytes of a number of an arena; places are whole cache lines.
const NUMBER: usize = size_of::<f32>();

/// Steps that run one after the other on some images. It never changes, and any number of threads may run it at the same
/// time, each with an arena.
#[derive(Debug)]
pub(crate) struct Phase {
    settings: Settings,
    steps: Vec<Step>,
    /// Means of outputs over height and width, where they are asked for.
    pooling: Vec<Step>,
    /// One a value.
    places: Vec<Place>,
    /// Bytes of an image's values.
    total: usize,
    /// Memory that no run is using at the moment.
    arenas: Mutex<Vec<Arena>>,
}

/// Where a value of one image lies, in bytes.
#[derive(Debug)]
struct Place {
    offset: usize,
    /// From there to the value's first channel, where it is a view.
    channel: usize,
    stride: usize,
    /// What stands for zero in the border, where that is not zero.
    border: Option<u8>,
}

/// Values of a group of up to `images` images.
#[derive(Debug)]
pub(crate) struct Arena {
    numbers: Buffer,
    images: usize,
}

/// How steps are run.
#[derive(Clone, Copy)]
pub(crate) struct Mode<'a> {
    /// Whether the means of outputs are computed.
    pub(crate) pooled: bool,
    /// Threads that divide every step among them.
    pub(crate) threads: usize,
    /// Called with the name of every step that is done.
    pub(crate) after: Option<&'a (dyn Fn(&str) + Sync)>,
}

impl Mode<'_> {
    pub(crate) fn done(&self, name: &str) {
        if let Some(after) = self.after {
            after(name);
        }
    }
}

/// The values of a program.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) geometries: &'a [Geometry],
    pub(crate) views: &'a Views,
}

/// Values that are there before the first step, and those that are read behind the last one.
pub(crate) struct Ends<'a> {
    pub(crate) given: &'a [usize],
    pub(crate) kept: &'a [usize],
}

impl Phase {
    pub(crate) fn new(
        settings: Settings,
        values: Values<'_>,
        ends: &Ends<'_>,
        steps: Vec<Step>,
        pooling: Vec<Step>,
    ) -> Self {
        let lifetimes = lifetimes(values, ends, &steps, &pooling);
        let plan = Plan::new(&lifetimes);
        let place = |value: usize| {
            let View { whole, channel } = values.views.of(value);
            let geometry = values.geometries.get(whole).copied().unwrap_or(Geometry::blocked([1, 1, 1]));
            let levels = geometry.element.levels();
            let is_here = lifetimes.get(value).is_some_and(Option::is_some);
            let bordered = is_here && geometry.has_border() && !values.views.is_view(value);
            Place {
                offset: plan.offsets.get(whole).copied().unwrap_or(0),
                channel: channel / geometry.lanes * geometry.plane() * geometry.element.size(),
                stride: geometry.bytes(),
                border: levels.filter(|_| bordered).map(|levels| levels.zero),
            }
        };
        let places = (0..values.geometries.len()).map(place).collect();
        Self { settings, steps, pooling, places, total: plan.total, arenas: Mutex::default() }
    }

    /// Bytes of an image's values.
    pub(crate) fn bytes(&self) -> usize {
        self.total
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Where a value's first image starts in an arena with room for so many, and the bytes from it to the next.
    fn place(&self, value: usize, room: usize) -> (usize, usize) {
        let at = |place: &Place| (place.offset * room + place.channel, place.stride);
        self.places.get(value).map_or((0, NUMBER), at)
    }

    /// An image of a value, and what lies behind it.
    pub(crate) fn image<'a>(&self, arena: &'a Arena, value: usize, image: usize) -> &'a [f32] {
        let (start, stride) = self.place(value, arena.images);
        arena.numbers.get((start + image * stride) / NUMBER..).unwrap_or(&[])
    }

    /// The images of a value, for writing; not of a view.
    pub(crate) fn images_mut<'a>(
        &self,
        arena: &'a mut Arena,
        value: usize,
    ) -> impl Iterator<Item = &'a mut [f32]> + use<'a> {
        let (start, stride) = self.place(value, arena.images);
        let numbers = arena.numbers.get_mut(start / NUMBER..).unwrap_or(&mut []);
        numbers.chunks_exact_mut(stride / NUMBER)
    }

    /// Numbers from an image of a value to the next.
    pub(crate) fn stride(&self, value: usize) -> usize {
        self.places.get(value).map_or(1, |place| place.stride / NUMBER)
    }

    /// Sorts values by their places.
    pub(crate) fn sort(&self, values: &mut [usize]) {
        values.sort_by_key(|value| self.places.get(*value).map_or(0, |place| place.offset));
    }

    /// All images of some values that are alive together, in the order of their places.
    pub(crate) fn values_mut<'a>(
        &self,
        arena: &'a mut Arena,
        values: &[usize],
        images: usize,
    ) -> Vec<&'a mut [f32]> {
        let places: Vec<(usize, usize)> =
            values.iter().map(|value| self.place(*value, arena.images)).collect();
        let (mut rest, mut passed) = (&mut arena.numbers[..], 0);
        let mut slices = Vec::with_capacity(values.len());
        for (start, stride) in places {
            let (_, behind) = rest.split_at_mut((start / NUMBER).saturating_sub(passed).min(rest.len()));
            let (slice, behind) = behind.split_at_mut((images * stride / NUMBER).min(behind.len()));
            passed = start / NUMBER + slice.len();
            (rest, _) = (behind, slices.push(slice));
        }
        slices
    }

    /// Runs all steps.
    pub(crate) fn run(&self, arena: &mut Arena, images: usize, mode: Mode<'_>) {
        let run = self.begin(arena, images, mode.threads);
        let pooling = if mode.pooled { self.pooling.len() } else { 0 };
        let lead = |crew: &Crew<_>| {
            for job in 0..self.steps.len() + pooling {
                let Some(step) = self.step(job) else { continue };
                #[cfg(regraft_sanitized)]
                let _only_the_steps_values = run.guard(step);
                match run.parts(step) {
                    1 => run.part(Part { job, part: 0, of: 1 }),
                    parts => crew.share(job, parts),
                }
                mode.done(&step.name);
            }
        };
        crew::lead(mode.threads.saturating_sub(1), |part| run.part(part), lead);
    }

    /// Runs one of the steps on an image.
    pub(crate) fn run_step(&self, job: usize, arena: &mut Arena) {
        self.begin(arena, 1, 1).part(Part { job, part: 0, of: 1 });
    }

    fn begin<'a>(&'a self, arena: &'a mut Arena, images: usize, threads: usize) -> Run<'a> {
        let memory = Span { pointer: arena.numbers.as_mut_ptr().cast(), image: self.total };
        Run { phase: self, memory, room: arena.images, images, threads, _arena: PhantomData }
    }

    /// A step, or behind them one that computes a mean.
    fn step(&self, index: usize) -> Option<&Step> {
        self.steps.get(index).or_else(|| self.pooling.get(index - self.steps.len()))
    }

    /// Memory for some images, from an earlier run if there is some.
    pub(crate) fn arena(&self, images: usize) -> Result<Arena, EngineError> {
        let mut arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fit) = arenas.iter().position(|arena| arena.images >= images) {
            return Ok(arenas.swap_remove(fit));
        }
        // Too small for this batch size, so probably for the next one too.
        arenas.pop();
        drop(arenas);
        let bytes = self.total.checked_mul(images);
        let bytes = bytes.ok_or(EngineError::Memory { megabytes: usize::MAX })?;
        let mut arena = Arena { numbers: Buffer::zeroed(bytes / NUMBER)?, images };
        self.fill_borders(&mut arena);
        Ok(arena)
    }

    /// Writes the byte that stands for zero where nobody else writes, see `plan`.
    fn fill_borders(&self, arena: &mut Arena) {
        for place in &self.places {
            if let Some(zero) = place.border {
                let start = place.offset * arena.images;
                let place = bytes_mut(&mut arena.numbers).get_mut(start..start + arena.images * place.stride);
                place.unwrap_or(&mut []).fill(UInt8::of_bits(zero));
            }
        }
    }

    pub(crate) fn give_back(&self, arena: Arena) {
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
    }
}

/// A run on some images, whose memory it has for itself.
#[derive(Clone, Copy)]
struct Run<'a> {
    phase: &'a Phase,
    /// Of the arena: so many bytes for each of the images that there is room for.
    memory: Span,
    room: usize,
    images: usize,
    threads: usize,
    _arena: PhantomData<&'a mut Arena>,
}

impl Run<'_> {
    /// Threads that share a step.
    fn threads(&self, step: &Step) -> usize {
        if step.operation.cost(self.images) >= SMALLEST_SHARED_STEP { self.threads } else { 1 }
    }

    /// Number of parts that a step is done in.
    fn parts(&self, step: &Step) -> usize {
        match self.threads(step) {
            1 => 1,
            threads => {
                let operation = &step.operation;
                operation.units(self.images, threads).min(operation.most_parts(threads))
            }
        }
    }

    fn part(&self, Part { job, part, of }: Part) {
        let Some(step) = self.phase.step(job) else { return };
        let operands = self.operands(step);
        let units = step.operation.units(self.images, operands.threads);
        let units = part * units / of..(part + 1) * units / of;
        // SAFETY: the arena holds at least `images` images of every value at the plan's offsets, values that are alive
        // together lie apart, the arena is this run's alone, and no unit is in two parts.
        unsafe { step.operation.run(self.phase.settings, &operands, units) };
    }

    fn operands(&self, step: &Step) -> Operands {
        let span = |value: usize| {
            let (start, image) = self.phase.place(value, self.room);
            // In bounds: the plan's total covers every value.
            Span { pointer: self.memory.pointer.wrapping_add(start), image }
        };
        let first = step.reads.first().copied().unwrap_or(0);
        let second = step.reads.get(1).copied().unwrap_or(first);
        let (input, second, output) = (span(first), span(second), span(step.writes));
        Operands { input, second, output, images: self.images, threads: self.threads(step) }
    }

    /// Forbids what a step neither reads nor writes; of a view, the whole of which it is a part is allowed.
    #[cfg(regraft_sanitized)]
    fn guard(&self, step: &Step) -> crate::guard::Guard {
        let places = &self.phase.places;
        let values = step.reads.iter().chain([&step.writes]).filter_map(|value| places.get(*value));
        let parts = values.map(|place| (place.offset * self.room, place.stride * self.room));
        crate::guard::Guard::new(self.memory.pointer, self.memory.image * self.room, parts)
    }
}

/// When every value with memory of its own, or a view of it, is written first and read last. `None` for what the steps
/// do not touch.
fn lifetimes(values: Values<'_>, ends: &Ends<'_>, steps: &[Step], pooling: &[Step]) -> Vec<Option<Lifetime>> {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; values.geometries.len()];
    let mut touch = |value: usize, write: bool, at: usize| {
        let whole = values.views.of(value).whole;
        let (Some(lifetime), Some(geometry)) = (lifetimes.get_mut(whole), values.geometries.get(whole))
        else {
            return;
        };
        let unused = Lifetime { geometry: *geometry, first: usize::MAX, last: 0 };
        let lifetime = lifetime.get_or_insert(unused);
        lifetime.first = if write { lifetime.first.min(at) } else { lifetime.first };
        lifetime.last = lifetime.last.max(at);
    };
    // Given values are there before the first step.
    ends.given.iter().for_each(|value| touch(*value, true, 0));
    for (at, step) in steps.iter().enumerate() {
        step.reads.iter().for_each(|value| touch(*value, false, at));
        touch(step.writes, true, at);
    }
    ends.kept.iter().for_each(|value| touch(*value, false, usize::MAX));
    for step in pooling {
        touch(step.writes, true, steps.len());
        touch(step.writes, false, usize::MAX);
    }
    lifetimes
}
