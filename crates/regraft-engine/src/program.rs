//! A compiled network and how a batch goes through it.
//!
//! A batch is cut into groups of images. A group goes through all steps on one thread with memory of its own, which needs
//! no synchronisation; the images that are left when the threads have equal shares go through together, every step
//! divided among the threads. Both ways run the same units, so the result does not depend on which was taken.

use std::sync::{Mutex, PoisonError};

use ndarray::{Array2, ArrayD, ArrayView, ArrayView4, Axis, Dimension, Ix3, Ix4, IxDyn};
use rayon::prelude::*;
use regraft_graph::Model;

use crate::{
    Calibration, EngineError, InstructionSet, Normalization, Precision, Settings,
    buffer::Buffer,
    compile::{Compiled, compile},
    element::{UInt8, bytes_mut},
    geometry::{Geometry, NUMBERS_PER_MEGABYTE},
    images::Images,
    kernels::{Operands, Span, average::GlobalAverage},
    layout,
    network::{Network, Observed, fold},
    plan::{Lifetime, Plan},
    step::{Operation, Step},
    views::{View, Views},
};

/// Most images of a group.
const LARGEST_GROUP: usize = 2;

/// A group's activations stay under this many bytes, down to one image.
const GROUP_BYTES: usize = 256_000_000;

/// Steps with fewer vector operations are not worth waking other threads for.
const SMALLEST_SHARED_STEP: usize = 20_000;

/// Bytes of a number of an arena; places are whole cache lines.
const NUMBER: usize = size_of::<f32>();

/// A network compiled for one image size: weights packed, activations planned. It never changes, and any number of
/// threads may run it at the same time.
#[derive(Debug)]
pub struct Program {
    settings: Settings,
    steps: Vec<Step>,
    outputs: Vec<Output>,
    geometries: Vec<Geometry>,
    views: Views,
    plan: Plan,
    group: usize,
    /// Memory that no run is using at the moment.
    arenas: Mutex<Vec<Arena>>,
}

/// An output wire.
#[derive(Debug)]
struct Output {
    value: usize,
    /// 4 for N×C×H×W, 3 for N×S×D, 2 for N×D.
    axes: usize,
    /// Takes the mean over height and width.
    pooling: Step,
}

/// Activations of a group of up to `images` images.
#[derive(Debug)]
struct Arena {
    numbers: Buffer,
    images: usize,
}

/// Some images and the places of their results, one slice an output.
struct Group<'i, 'r> {
    images: Images<'i>,
    results: Vec<&'r mut [f32]>,
}

/// How a group's steps are run.
#[derive(Clone, Copy)]
struct Mode<'a> {
    pooled: bool,
    shared: bool,
    /// Called with the name of every step that is done.
    after: Option<&'a (dyn Fn(&str) + Sync)>,
}

impl Program {
    /// Compiles for batches of N×C×`height`×`width`. `outputs` are wires of the graph, in the order in which
    /// [`run`](Self::run) returns them; any wire will do, and several. A sequence of S tokens is an image of 1×S pixels.
    ///
    /// # Errors
    /// A wire is unknown, the image is too small for the network or does not fit its input, a weight is missing, or an
    /// operator cannot be computed; the message names the node.
    pub fn compile(model: &Model, image: [usize; 2], outputs: &[&str]) -> Result<Self, EngineError> {
        Self::compile_for(model, image, outputs, InstructionSet::detect())
    }

    /// As [`compile`](Self::compile), for a certain instruction set.
    ///
    /// # Errors
    /// As [`compile`](Self::compile), or the processor lacks the instructions.
    pub fn compile_for(
        model: &Model,
        image: [usize; 2],
        outputs: &[&str],
        set: InstructionSet,
    ) -> Result<Self, EngineError> {
        Self::compile_with(model, image, outputs, Settings { instruction_set: set, ..Settings::default() })
    }

    /// As [`compile`](Self::compile), with a certain instruction set and precision.
    ///
    /// # Errors
    /// As [`compile`](Self::compile), or the processor lacks the instruction set. Instructions for a precision are not
    /// needed, only faster: see [`Precision::is_native`](crate::Precision::is_native).
    pub fn compile_with(
        model: &Model,
        image: [usize; 2],
        outputs: &[&str],
        settings: Settings,
    ) -> Result<Self, EngineError> {
        if settings.precision == Precision::Int8 {
            return Err(EngineError::NotCalibrated);
        }
        Ok(Self::compile_named(model, image, outputs, settings)?.0)
    }

    /// As [`compile_for`](Self::compile_for), in 8-bit integers ([`Precision::Int8`]). The calibration must be of the same
    /// model, image size and outputs.
    ///
    /// # Errors
    /// As [`compile_for`](Self::compile_for), or the calibration lacks a range that is needed.
    pub fn compile_int8(
        model: &Model,
        image: [usize; 2],
        outputs: &[&str],
        set: InstructionSet,
        calibration: &Calibration,
    ) -> Result<Self, EngineError> {
        let settings = Settings { instruction_set: set, precision: Precision::Int8 };
        Ok(Self::build(model, image, outputs, settings, Some(calibration))?.0)
    }

    /// As [`compile_with`](Self::compile_with), with the name of the wire of each value.
    pub(crate) fn compile_named(
        model: &Model,
        image: [usize; 2],
        outputs: &[&str],
        settings: Settings,
    ) -> Result<(Self, Vec<String>), EngineError> {
        Self::build(model, image, outputs, settings, None)
    }

    fn build(
        model: &Model,
        image: [usize; 2],
        outputs: &[&str],
        settings: Settings,
        calibration: Option<&Calibration>,
    ) -> Result<(Self, Vec<String>), EngineError> {
        let set = settings.instruction_set;
        if !set.is_available() {
            return Err(EngineError::InstructionSet { name: set.name() });
        }
        let model = fold(model, outputs)?;
        let (graph, weights) = (model.graph().clone(), model.weights().clone());
        // The folded tensors are given back one by one while they are packed.
        drop(model);
        let network = Network::new(&graph, image)?;
        let Compiled { steps, mut geometries, views } =
            compile(&graph, weights, &network, settings, calibration)?;
        let outputs: Vec<Output> =
            network.outputs.iter().map(|output| Output::new(*output, &mut geometries)).collect();
        let plan = Plan::new(&lifetimes(&geometries, &views, &steps, &outputs));
        let group = (GROUP_BYTES / plan.total.max(1)).clamp(1, LARGEST_GROUP);
        let arenas = Mutex::default();
        Ok((Self { settings, steps, outputs, geometries, views, plan, group, arenas }, network.names))
    }

    /// Runs a batch of any size. Returns one array an output, rows in the order of the batch: N×C×H×W for an image wire,
    /// N×S×D for a sequence, N×D for a vector. A batch of sequences may be given as N×S×D. Work is divided among the threads of the current rayon pool; their number changes no bit of the
    /// result, nor does the size of the batch.
    ///
    /// # Errors
    /// The batch has another image shape than the program, or memory runs out.
    pub fn run<D: Dimension>(&self, input: ArrayView<'_, f32, D>) -> Result<Vec<ArrayD<f32>>, EngineError> {
        let input = Images::Numbers(self.images(input)?);
        let batch = input.len();
        let results = self.execute(input, false)?;
        let shaped = self.outputs.iter().zip(results).map(|(output, numbers)| {
            let Geometry { channels, height, width, .. } = self.geometry(output.value);
            let shape = match output.axes {
                4 => vec![batch, channels, height, width],
                3 => vec![batch, width, channels],
                _ => vec![batch, channels],
            };
            ArrayD::from_shape_vec(IxDyn(&shape), numbers).map_err(|_| self.misfit(input))
        });
        shaped.collect()
    }

    /// As [`run`](Self::run), with image outputs reduced to their means over height and width, and sequences over the
    /// tokens: N×C.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_pooled<D: Dimension>(
        &self,
        input: ArrayView<'_, f32, D>,
    ) -> Result<Vec<Array2<f32>>, EngineError> {
        self.pooled(Images::Numbers(self.images(input)?))
    }

    /// As [`run_pooled`](Self::run_pooled), for decoded images of height × width × 3 bytes each, which are normalised while
    /// they are loaded: the same bits as if they had been normalised before.
    ///
    /// # Errors
    /// The program's input does not have three channels, an image has another number of bytes, or memory runs out.
    pub fn run_pooled_pixels(
        &self,
        images: &[&[u8]],
        normalization: &Normalization,
    ) -> Result<Vec<Array2<f32>>, EngineError> {
        self.pooled(Images::Pixels(images, normalization))
    }

    fn pooled(&self, input: Images<'_>) -> Result<Vec<Array2<f32>>, EngineError> {
        let batch = input.len();
        let results = self.execute(input, true)?;
        let shaped = self.outputs.iter().zip(results).map(|(output, numbers)| {
            let channels = self.geometry(output.value).channels;
            Array2::from_shape_vec([batch, channels], numbers).map_err(|_| self.misfit(input))
        });
        shaped.collect()
    }

    /// `avx512`, `avx2+fma` or `portable`.
    pub fn instruction_set(&self) -> &'static str {
        self.settings.instruction_set.name()
    }

    /// A number of images from which on larger batches are hardly faster per image, for the current thread pool.
    pub fn preferred_batch(&self) -> usize {
        self.group * rayon::current_num_threads()
    }

    /// Runs at most one group of images on this thread and calls `after` with the name of every step that is done.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    #[doc(hidden)]
    pub fn trace<D: Dimension>(
        &self,
        input: ArrayView<'_, f32, D>,
        after: &(dyn Fn(&str) + Sync),
    ) -> Result<(), EngineError> {
        let input = self.images(input)?;
        self.check(Images::Numbers(input))?;
        let images = Images::first(input, self.group);
        let group = Group { images, results: Vec::new() };
        self.run_group(group, Mode { pooled: false, shared: false, after: Some(after) })
    }

    /// N×C×H×W as it is; N×S×D as images of D channels, one row and S columns.
    pub(crate) fn images<'i, D: Dimension>(
        &self,
        input: ArrayView<'i, f32, D>,
    ) -> Result<ArrayView4<'i, f32>, EngineError> {
        let Geometry { channels, height, width, .. } = self.geometry(0);
        let found = input.shape().to_vec();
        let images = if input.ndim() == 3 {
            let sequences = input.into_dimensionality::<Ix3>();
            sequences.map(|tokens| tokens.permuted_axes([0, 2, 1]).insert_axis(Axis(2)))
        } else {
            input.into_dimensionality::<Ix4>()
        };
        images.map_err(|_| EngineError::InputShape { expected: [channels, height, width], found })
    }

    /// Runs one image on this thread and shows the numbers of the input and of what each step writes, but for copies, a
    /// pixel's channels at a time. For programs in single precision.
    pub(crate) fn observe(
        &self,
        image: Images<'_>,
        seen: &mut dyn FnMut(Observed<'_>),
    ) -> Result<(), EngineError> {
        self.check(image)?;
        let mode = Mode { pooled: false, shared: false, after: None };
        let mut arena = self.arena(1)?;
        self.load(&image, &mut arena, mode);
        self.show(0, &arena, seen);
        for step in &self.steps {
            self.run_step(step, &mut arena, 1, false);
            if !matches!(step.operation, Operation::Concat(_)) {
                self.show(step.writes, &arena, seen);
            }
        }
        self.give_back(arena);
        Ok(())
    }

    fn show(&self, value: usize, arena: &Arena, seen: &mut dyn FnMut(Observed<'_>)) {
        let geometry = self.geometry(value);
        let (start, _) = self.place(value, arena.images);
        let image = arena.numbers.get(start / NUMBER..).unwrap_or(&[]);
        for channel in (0..geometry.channels).step_by(geometry.lanes) {
            let channels = geometry.lanes.min(geometry.channels - channel);
            for y in 0..geometry.height {
                let row = geometry.element(channel, y, 0);
                let row = image.get(row..row + geometry.width * geometry.lanes).unwrap_or(&[]);
                for pixel in row.chunks_exact(geometry.lanes) {
                    seen(Observed { value, numbers: pixel.get(..channels).unwrap_or(&[]) });
                }
            }
        }
    }

    fn geometry(&self, value: usize) -> Geometry {
        self.geometries.get(value).copied().unwrap_or(Geometry::blocked([1, 1, 1]))
    }

    fn misfit(&self, input: Images<'_>) -> EngineError {
        let Geometry { channels, height, width, .. } = self.geometry(0);
        EngineError::InputShape { expected: [channels, height, width], found: input.shape() }
    }

    pub(crate) fn check(&self, input: Images<'_>) -> Result<(), EngineError> {
        if input.fit(self.geometry(0)) { Ok(()) } else { Err(self.misfit(input)) }
    }

    /// Numbers of one row of an output.
    fn row(&self, output: &Output, pooled: bool) -> usize {
        let geometry = self.geometry(output.value);
        if pooled { geometry.channels } else { geometry.channels * geometry.pixels() }
    }

    fn execute(&self, input: Images<'_>, pooled: bool) -> Result<Vec<Vec<f32>>, EngineError> {
        self.check(input)?;
        let batch = input.len();
        let rows: Vec<usize> = self.outputs.iter().map(|output| self.row(output, pooled)).collect();
        let mut results = rows.iter().map(|row| zeros(batch, *row)).collect::<Result<Vec<_>, _>>()?;
        let slices = results.iter_mut().map(Vec::as_mut_slice).collect();
        let (alone, together) = self.shares(batch);
        let mut groups = Group { images: input, results: slices }.split(&rows, alone.iter().chain(&together));
        let shared = groups.split_off(alone.len());
        let mode = Mode { pooled, shared: false, after: None };
        groups.into_par_iter().with_max_len(1).try_for_each(|group| self.run_group(group, mode))?;
        shared.into_iter().try_for_each(|group| self.run_group(group, Mode { shared: true, ..mode }))?;
        Ok(results)
    }

    /// Sizes of the groups that have a thread each, and of those that all threads work on.
    fn shares(&self, batch: usize) -> (Vec<usize>, Vec<usize>) {
        let threads = rayon::current_num_threads().max(1);
        let even = batch - batch % threads;
        let count = threads * even.div_ceil(threads * self.group);
        let share = |index: usize| (index + 1) * even / count - index * even / count;
        let rest = batch - even;
        let together = (0..rest).step_by(self.group).map(|first| self.group.min(rest - first));
        ((0..count).map(share).collect(), together.collect())
    }

    fn run_group(&self, group: Group<'_, '_>, mode: Mode<'_>) -> Result<(), EngineError> {
        let mut arena = self.arena(group.images.len())?;
        self.load(&group.images, &mut arena, mode);
        let images = group.images.len();
        let pooling = self.outputs.iter().filter(|_| mode.pooled).map(|output| &output.pooling);
        for step in self.steps.iter().chain(pooling) {
            self.run_step(step, &mut arena, images, mode.shared);
            if let Some(after) = mode.after {
                after(&step.name);
            }
        }
        for (output, result) in self.outputs.iter().zip(group.results) {
            let (value, axes) =
                if mode.pooled { (output.pooling.writes, 2) } else { (output.value, output.axes) };
            self.store(value, axes, &arena, result);
        }
        if let Some(after) = mode.after {
            after("store");
        }
        self.give_back(arena);
        Ok(())
    }

    fn load(&self, images: &Images<'_>, arena: &mut Arena, mode: Mode<'_>) {
        let geometry = self.geometry(0);
        let (start, stride) = self.place(0, arena.images);
        let places =
            arena.numbers.get_mut(start / NUMBER..).unwrap_or(&mut []).chunks_exact_mut(stride / NUMBER);
        images.pack(&geometry, places);
        if let Some(after) = mode.after {
            after("load");
        }
    }

    fn store(&self, value: usize, axes: usize, arena: &Arena, result: &mut [f32]) {
        let geometry = self.geometry(value);
        let (start, stride) = self.place(value, arena.images);
        let rows = result.chunks_exact_mut((geometry.channels * geometry.pixels()).max(1));
        for (image, to) in rows.enumerate() {
            let from = arena.numbers.get((start + image * stride) / NUMBER..).unwrap_or(&[]);
            if axes == 3 {
                layout::unpack_tokens(from, &geometry, to);
            } else {
                layout::unpack(from, &geometry, to);
            }
        }
    }

    /// Where a value's first image starts in an arena for this many images, and the bytes from it to the next.
    fn place(&self, value: usize, images: usize) -> (usize, usize) {
        let View { whole, channel } = self.views.of(value);
        let geometry = self.geometry(whole);
        let start = self.plan.offsets.get(whole).copied().unwrap_or(0) * images;
        (start + channel / geometry.lanes * geometry.plane() * geometry.element.size(), geometry.bytes())
    }

    fn run_step(&self, step: &Step, arena: &mut Arena, images: usize, shared: bool) {
        let capacity = arena.images;
        let base = arena.numbers.as_mut_ptr().cast::<u8>();
        let span = |value: usize| {
            let (start, image) = self.place(value, capacity);
            // In bounds: the plan's total covers every value.
            Span { pointer: base.wrapping_add(start), image }
        };
        let first = step.reads.first().copied().unwrap_or(0);
        let second = step.reads.get(1).copied().unwrap_or(first);
        let shared = shared && step.operation.cost(images) >= SMALLEST_SHARED_STEP;
        let threads = if shared { rayon::current_num_threads() } else { 1 };
        let (input, second, output) = (span(first), span(second), span(step.writes));
        let operands = Operands { input, second, output, images, threads };
        let units = step.operation.units(images, threads);
        if !shared {
            // SAFETY: the arena holds at least `images` images of every value at the plan's offsets, values that are
            // alive together lie apart, and the arena is this call's alone.
            unsafe { step.operation.run(self.settings, &operands, 0..units) };
            return;
        }
        let parts = units.min(4 * rayon::current_num_threads());
        (0..parts).into_par_iter().for_each(|part| {
            let units = part * units / parts..(part + 1) * units / parts;
            // SAFETY: as above; no unit is in two parts.
            unsafe { step.operation.run(self.settings, &operands, units) };
        });
    }

    /// Memory for a group, from an earlier run if there is some.
    fn arena(&self, images: usize) -> Result<Arena, EngineError> {
        let mut arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fit) = arenas.iter().position(|arena| arena.images >= images) {
            return Ok(arenas.swap_remove(fit));
        }
        // Too small for this batch size, so probably for the next one too.
        arenas.pop();
        drop(arenas);
        let bytes = self.plan.total.checked_mul(images);
        let bytes = bytes.ok_or(EngineError::Memory { megabytes: usize::MAX })?;
        let mut numbers = Buffer::zeroed(bytes / NUMBER)?;
        self.fill_borders(&mut numbers, images);
        Ok(Arena { numbers, images })
    }

    /// Writes the byte that stands for zero where nobody else writes, see `plan`.
    fn fill_borders(&self, numbers: &mut [f32], images: usize) {
        for (value, geometry) in self.geometries.iter().enumerate() {
            let levels =
                geometry.element.levels().filter(|_| geometry.has_border() && !self.views.is_view(value));
            if let Some(levels) = levels {
                let (start, stride) = self.place(value, images);
                let place = bytes_mut(numbers).get_mut(start..start + images * stride).unwrap_or(&mut []);
                place.fill(UInt8::of_bits(levels.zero));
            }
        }
    }

    fn give_back(&self, arena: Arena) {
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
    }
}

impl Output {
    fn new((value, axes): (usize, usize), geometries: &mut Vec<Geometry>) -> Self {
        let input = geometries.get(value).copied().unwrap_or(Geometry::blocked([1, 1, 1]));
        let pooled = geometries.len();
        geometries.push(Geometry::blocked([input.channels, 1, 1]));
        let operation = Operation::Average(GlobalAverage { input });
        let pooling = Step { name: "mean".to_owned(), reads: vec![value], writes: pooled, operation };
        Self { value, axes, pooling }
    }
}

impl Group<'_, '_> {
    /// Cuts off groups of these sizes, one after the other.
    fn split<'s>(self, rows: &[usize], sizes: impl Iterator<Item = &'s usize>) -> Vec<Self> {
        let Self { mut images, mut results } = self;
        let mut groups = Vec::new();
        for size in sizes {
            let (head, tail) = images.split_at(*size);
            let parts = results.into_iter().zip(rows).map(|(result, row)| result.split_at_mut(size * row));
            let (heads, tails) = parts.unzip();
            groups.push(Group { images: head, results: heads });
            (images, results) = (tail, tails);
        }
        groups
    }
}

/// When every value with memory of its own, or a view of it, is written first and read last.
fn lifetimes(
    geometries: &[Geometry],
    views: &Views,
    steps: &[Step],
    outputs: &[Output],
) -> Vec<Option<Lifetime>> {
    // The input is there before the first step.
    let first = |value: usize| if value == 0 { 0 } else { usize::MAX };
    let alive = |(value, geometry): (usize, &Geometry)| {
        let lifetime = Lifetime { geometry: *geometry, first: first(value), last: 0 };
        (!views.is_view(value)).then_some(lifetime)
    };
    let mut lifetimes: Vec<Option<Lifetime>> = geometries.iter().enumerate().map(alive).collect();
    let mut touch = |value: usize, read: bool, at: usize| {
        if let Some(Some(lifetime)) = lifetimes.get_mut(views.of(value).whole) {
            lifetime.first = if read { lifetime.first } else { lifetime.first.min(at) };
            lifetime.last = lifetime.last.max(at);
        }
    };
    for (at, step) in steps.iter().enumerate() {
        step.reads.iter().for_each(|value| touch(*value, true, at));
        touch(step.writes, false, at);
    }
    for output in outputs {
        touch(output.value, true, usize::MAX);
        touch(output.pooling.writes, false, steps.len());
        touch(output.pooling.writes, true, usize::MAX);
    }
    lifetimes
}

fn zeros(batch: usize, row: usize) -> Result<Vec<f32>, EngineError> {
    let failed = EngineError::Memory { megabytes: batch.saturating_mul(row) / NUMBERS_PER_MEGABYTE };
    let len = batch.checked_mul(row).ok_or_else(|| failed.clone())?;
    let mut numbers = Vec::new();
    numbers.try_reserve_exact(len).map_err(|_| failed)?;
    numbers.resize(len, 0.0);
    Ok(numbers)
}
