//! A compiled network and how a batch goes through it.
//!
//! A batch is cut into groups of images. A group goes through all steps on one thread with memory of its own; a thread
//! that is done before the others takes over parts of their last groups' steps, because no two cores are equally fast for
//! long on a shared machine. The images that are left when the threads have equal shares go through together, divided
//! among the threads. Every sum has one order however a step is divided, so the result does not depend on which way was
//! taken. The first steps take fewer images at a time than the last ones, see `stages`.
//!
//! The dense layers at the end, which have one vector an image, are a phase of their own: all images go through it
//! together, so that the weights are read from memory once for all of them and not once a group (VGG-16: 500 MB).

use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array2, ArrayD, ArrayView, Dimension, IxDyn};
use rayon::prelude::*;
use regraft_graph::{Model, Op};

use crate::{
    Calibration, EngineError, InstructionSet, Normalization, Precision, Settings,
    compile::{Compiled, compile},
    geometry::Geometry,
    groups::{Group, Rows, zeros},
    images::{self, Images},
    kernels::average::GlobalAverage,
    layout,
    network::{Instruction, Network, Observed, fold},
    phase::{Arena, Ends, Mode, Phase, Values},
    simd::LANES,
    stages::{self, Division, Parts},
    step::{Operation, Step},
    views::Views,
};

/// Threads for which the steps of the last groups are divided: their own and one that helps. Finer parts would cost those
/// whom nobody helps more.
const HELPED: usize = 2;

/// A group's activations stay under this many bytes, down to one image.
const GROUP_BYTES: usize = 256_000_000;

/// Fewest vectors of weights of a tail: less stays in the second-level cache from one group to the next.
const SMALLEST_TAIL: usize = 250_000 / LANES;

/// Images that go through the tail together.
const TAIL_IMAGES: usize = 64;

/// A network compiled for one image size: weights packed, activations planned. It never changes, and any number of
/// threads may run it at the same time.
#[derive(Debug)]
pub struct Program {
    settings: Settings,
    outputs: Vec<Output>,
    geometries: Vec<Geometry>,
    /// At least one.
    body: Vec<Stage>,
    /// The steps at the end that compute vectors from vectors.
    tail: Option<Stage>,
    /// The smallest table whose rows the input names: the node and the number of rows.
    table: Option<(String, usize)>,
}

/// Steps that take so many images at a time.
#[derive(Debug)]
struct Stage {
    phase: Phase,
    /// Values of earlier stages that it or a later one reads, in the order of their places; of the first the network's input.
    inputs: Vec<usize>,
    images: usize,
}

/// An output wire.
#[derive(Debug)]
struct Output {
    value: usize,
    /// Sizes behind the batch axis.
    shape: Vec<usize>,
    /// The value's mean over height and width.
    pooled: usize,
    /// Which stage computes it; the tail comes behind those of the body.
    stage: usize,
}

impl Program {
    /// Compiles for batches of N×C×`height`×`width`. `outputs` are wires of the graph, in the order in which
    /// [`run`](Self::run) returns them; any wire will do, and several. A sequence of S tokens is an image of 1×S pixels, and
    /// so are the numbers of S tokens; a vector is one of a single pixel.
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
        let compiled = compile(&graph, weights, &network, settings, calibration, Views::new(&network))?;
        let program = Self::assemble(compiled, &network.outputs, settings);
        Ok((Self { table: smallest_table(&network), ..program }, network.names))
    }

    fn assemble(compiled: Compiled, outputs: &[(usize, Vec<usize>)], settings: Settings) -> Self {
        let Compiled { mut steps, mut geometries, views, .. } = compiled;
        let tail = steps.split_off(tail_start(&steps, &geometries, &views));
        let mut divisions = stages::divide(&steps, Values { geometries: &geometries, views: &views });
        divisions.push(Division { steps: steps.len()..steps.len() + tail.len(), images: TAIL_IMAGES });
        let parts = Parts::new(steps.into_iter().chain(tail), &divisions, &views);
        let mut ended: Vec<Ended> = divisions.iter().map(|_| Ended::default()).collect();
        let place = |(value, shape): &(usize, Vec<usize>)| {
            let (value, shape, stage) = (*value, shape.clone(), parts.written_in(*value));
            let pooled = ended.get_mut(stage).map_or(value, |ended| ended.push(value, &mut geometries));
            Output { value, shape, pooled, stage }
        };
        let outputs = outputs.iter().map(place).collect();
        let inputs: Vec<Vec<usize>> = (0..divisions.len()).map(|stage| parts.inputs(stage)).collect();
        let Parts { steps, .. } = parts;
        inputs.iter().skip(1).zip(&mut ended).for_each(|(inputs, ended)| ended.kept.extend(inputs));
        let values = Values { geometries: &geometries, views: &views };
        let stages = steps.into_iter().zip(divisions).zip(inputs.into_iter().zip(ended));
        let mut body: Vec<Stage> = stages
            .map(|((steps, division), (inputs, ended))| {
                Stage::new(settings, values, steps, (inputs, ended), division.images)
            })
            .collect();
        let tail = body.pop().filter(|tail| !tail.phase.steps().is_empty());
        Self { settings, outputs, geometries, body, tail, table: None }
    }

    /// Runs a batch of any size: N×C×H×W, N×S×D or N×D, as the graph's input is; numbers of tokens are N×S. Returns one array
    /// an output, of the wire's shape with rows in the order of the batch. Work is divided among the threads of the current
    /// rayon pool; their number changes no bit of the result, nor does the size of the batch.
    ///
    /// # Errors
    /// The batch has another image shape than the program, or memory runs out.
    pub fn run<D: Dimension>(&self, input: ArrayView<'_, f32, D>) -> Result<Vec<ArrayD<f32>>, EngineError> {
        let input = Images::Numbers(images::shaped(input, &self.geometry(0))?);
        let batch = input.len();
        let results = self.execute(input, false)?;
        let shaped = self.outputs.iter().zip(results).map(|(output, numbers)| {
            let shape = [&[batch], output.shape.as_slice()].concat();
            ArrayD::from_shape_vec(IxDyn(&shape), numbers).map_err(|_| self.misfit(input))
        });
        shaped.collect()
    }

    /// As [`run`](Self::run), with image outputs reduced to their means over height and width, and sequences over the
    /// tokens: N×C. Of outputs with more axes the first one behind the batch stays.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_pooled<D: Dimension>(
        &self,
        input: ArrayView<'_, f32, D>,
    ) -> Result<Vec<Array2<f32>>, EngineError> {
        self.pooled(Images::Numbers(images::shaped(input, &self.geometry(0))?))
    }

    /// As [`run_pooled`](Self::run_pooled), for decoded images of height × width × channels bytes each, which are normalised while
    /// they are loaded: the same bits as if they had been normalised before.
    ///
    /// # Errors
    /// The program's input has other channels than the normalisation, an image has another number of bytes, or memory
    /// runs out.
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

    /// `amx`, `avx512`, `avx2+fma` or `portable`.
    pub fn instruction_set(&self) -> &'static str {
        self.settings.instruction_set.name()
    }

    /// A number of images from which on larger batches are hardly faster per image, for the current thread pool.
    pub fn preferred_batch(&self) -> usize {
        self.group() * rayon::current_num_threads()
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
        let input = images::shaped(input, &self.geometry(0))?;
        self.check(Images::Numbers(input))?;
        let images = Images::first(input, self.group());
        let part = Group { images, results: Vec::new(), for_next: Vec::new() };
        self.run_part(part, Mode { pooled: false, threads: 1, after: Some(after) })
    }

    /// Runs one image on this thread and shows the numbers of the input and of what each step writes, but for copies, a
    /// pixel's channels at a time. For programs in single precision.
    pub(crate) fn observe(
        &self,
        image: Images<'_>,
        seen: &mut dyn FnMut(Observed<'_>),
    ) -> Result<(), EngineError> {
        self.check(image)?;
        let mut before: Option<(&Stage, Arena)> = None;
        for stage in self.body.iter().chain(&self.tail) {
            let mut arena = stage.phase.arena(1)?;
            match before.take() {
                None => {
                    image.pack(&self.geometry(0), stage.phase.images_mut(&mut arena, 0));
                    self.show(0, stage.phase.image(&arena, 0, 0), seen);
                }
                Some((earlier, from)) => {
                    let places = stage.phase.values_mut(&mut arena, &stage.inputs, 1);
                    stage
                        .inputs
                        .iter()
                        .zip(places)
                        .for_each(|(value, to)| earlier.hand_on(*value, &from, to));
                    earlier.phase.give_back(from);
                }
            }
            self.observe_steps(&stage.phase, &mut arena, seen);
            before = Some((stage, arena));
        }
        before.into_iter().for_each(|(stage, arena)| stage.phase.give_back(arena));
        Ok(())
    }

    fn observe_steps(&self, phase: &Phase, arena: &mut Arena, seen: &mut dyn FnMut(Observed<'_>)) {
        for (index, step) in phase.steps().iter().enumerate() {
            phase.run_step(index, arena);
            if !matches!(step.operation, Operation::Concat(_)) {
                self.show(step.writes, phase.image(arena, step.writes, 0), seen);
            }
        }
    }

    fn show(&self, value: usize, image: &[f32], seen: &mut dyn FnMut(Observed<'_>)) {
        let geometry = self.geometry(value);
        for channel in (0..geometry.channels).step_by(geometry.lanes) {
            let channels = geometry.lanes.min(geometry.channels - channel);
            for y in 0..geometry.height {
                let row = geometry.element(channel, y, 0);
                let row = image.get(row..row + geometry.width * geometry.lanes).unwrap_or(&[]);
                if channels == geometry.lanes {
                    seen(Observed { value, numbers: row });
                    continue;
                }
                for pixel in row.chunks_exact(geometry.lanes) {
                    seen(Observed { value, numbers: pixel.get(..channels).unwrap_or(&[]) });
                }
            }
        }
    }

    pub(crate) fn geometry(&self, value: usize) -> Geometry {
        self.geometries.get(value).copied().unwrap_or(Geometry::blocked([1, 1, 1]))
    }

    fn misfit(&self, input: Images<'_>) -> EngineError {
        let Geometry { channels, height, width, .. } = self.geometry(0);
        EngineError::InputShape { expected: [channels, height, width], found: input.shape() }
    }

    pub(crate) fn check(&self, input: Images<'_>) -> Result<(), EngineError> {
        if !input.fit(self.geometry(0)) {
            return Err(self.misfit(input));
        }
        match (&self.table, input) {
            (Some(table), Images::Numbers(numbers)) => check_rows(table, numbers.iter()),
            _ => Ok(()),
        }
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
        let results_of_all = results.iter_mut().map(Vec::as_mut_slice).collect();
        let whole = Group { images: input, results: results_of_all, for_next: Vec::new() };
        let most = match &self.tail {
            Some(tail) => tail.images.max(2 * self.preferred_batch()),
            None => batch.max(1),
        };
        let sizes: Vec<usize> = (0..batch).step_by(most).map(|first| most.min(batch - first)).collect();
        let mode = Mode { pooled, threads: 1, after: None };
        let parts = whole.split(&Rows { results: rows, for_next: Vec::new() }, sizes.iter());
        parts.into_iter().try_for_each(|part| self.run_part(part, mode))?;
        Ok(results)
    }

    /// Runs body and tail on some images.
    fn run_part(&self, part: Group<'_, '_>, mode: Mode<'_>) -> Result<(), EngineError> {
        let Some(tail) = &self.tail else { return self.run_body(part, mode) };
        let threads = if mode.after.is_some() { 1 } else { rayon::current_num_threads() };
        self.run_stage(tail, self.body.len(), part, Mode { threads, ..mode }, |part| {
            self.run_body(part, mode)
        })
    }

    /// Runs the body on groups of images.
    fn run_body(&self, part: Group<'_, '_>, mode: Mode<'_>) -> Result<(), EngineError> {
        if mode.after.is_some() {
            return self.run_stages(&self.body, part, mode);
        }
        let rows = self.rows(self.body.len() - 1, mode);
        let (alone, together) = self.shares(part.images.len());
        let mut groups = part.split(&rows, alone.iter().chain(&together));
        let shared = groups.split_off(alone.len());
        let run = |group, mode| self.run_stages(&self.body, group, mode);
        let (threads, count, begun) = (rayon::current_num_threads(), groups.len(), AtomicUsize::new(0));
        groups.into_par_iter().with_max_len(1).try_for_each(|group| {
            let is_last = begun.fetch_add(1, Ordering::Relaxed) + threads >= count;
            run(group, Mode { threads: if is_last { threads.min(HELPED) } else { 1 }, ..mode })
        })?;
        shared.into_iter().try_for_each(|group| run(group, Mode { threads, ..mode }))
    }

    /// Sizes of a group's slices when a stage of the body and those before it run.
    fn rows(&self, stage: usize, mode: Mode<'_>) -> Rows {
        let outputs = self.outputs.iter().filter(|output| output.stage <= stage);
        let next = self.body.get(stage + 1).or(self.tail.as_ref());
        let phase = self.body.get(stage).map(|stage| &stage.phase);
        let stride = |value: &usize| phase.map_or(1, |phase| phase.stride(*value));
        Rows {
            results: outputs.map(|output| self.row(output, mode.pooled)).collect(),
            for_next: next.iter().flat_map(|next| &next.inputs).map(stride).collect(),
        }
    }

    /// Images of a group: as many as the last stage takes.
    fn group(&self) -> usize {
        self.body.last().map_or(1, |stage| stage.images)
    }

    /// Sizes of the groups that have a thread each, and of those that all threads work on.
    fn shares(&self, batch: usize) -> (Vec<usize>, Vec<usize>) {
        let (threads, group) = (rayon::current_num_threads().max(1), self.group());
        let even = batch - batch % threads;
        let count = threads * even.div_ceil(threads * group);
        let share = |index: usize| (index + 1) * even / count - index * even / count;
        let rest = batch - even;
        let together = (0..rest).step_by(group).map(|first| group.min(rest - first));
        ((0..count).map(share).collect(), together.collect())
    }

    /// Runs stages of the body on a group: the last one on all of its images, those before on as many at a time as they
    /// take.
    fn run_stages(&self, stages: &[Stage], group: Group<'_, '_>, mode: Mode<'_>) -> Result<(), EngineError> {
        let Some((stage, earlier)) = stages.split_last() else { return Ok(()) };
        self.run_stage(stage, earlier.len(), group, mode, |group| {
            let count = group.images.len();
            let most = earlier.last().map_or(1, |stage| stage.images);
            let sizes: Vec<usize> = (0..count).step_by(most).map(|first| most.min(count - first)).collect();
            let rows = self.rows(earlier.len() - 1, mode);
            let parts = group.split(&rows, sizes.iter());
            if mode.threads > 1 && parts.len() >= 2 * mode.threads {
                let alone = Mode { threads: 1, ..mode };
                let parts = parts.into_par_iter().with_max_len(1);
                return parts.try_for_each(|part| self.run_stages(earlier, part, alone));
            }
            parts.into_iter().try_for_each(|part| self.run_stages(earlier, part, mode))
        })
    }

    /// Runs a stage behind those before it.
    fn run_stage(
        &self,
        stage: &Stage,
        index: usize,
        group: Group<'_, '_>,
        mode: Mode<'_>,
        before: impl FnOnce(Group<'_, '_>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let Group { images, results, for_next } = group;
        let mut arena = stage.phase.arena(images.len())?;
        let placed = self.outputs.iter().filter(|output| output.stage <= index).zip(results);
        let (here, earlier): (Vec<_>, Vec<_>) = placed.partition(|(output, _)| output.stage == index);
        if index == 0 {
            images.pack(&self.geometry(0), stage.phase.images_mut(&mut arena, 0));
            mode.done("load");
        } else {
            let results = earlier.into_iter().map(|(_, result)| result).collect();
            let for_next = stage.phase.values_mut(&mut arena, &stage.inputs, images.len());
            before(Group { images, results, for_next })?;
        }
        stage.phase.run(&mut arena, images.len(), mode);
        for (output, result) in here {
            self.store(output, &stage.phase, &arena, mode.pooled, result);
        }
        let next = self.body.get(index + 1).or(self.tail.as_ref());
        let inputs = next.iter().flat_map(|next| &next.inputs);
        inputs.zip(for_next).for_each(|(value, to)| stage.hand_on(*value, &arena, to));
        mode.done("store");
        stage.phase.give_back(arena);
        Ok(())
    }

    fn store(&self, output: &Output, phase: &Phase, arena: &Arena, pooled: bool, result: &mut [f32]) {
        let value = if pooled { output.pooled } else { output.value };
        let geometry = self.geometry(value);
        let rows = result.chunks_exact_mut((geometry.channels * geometry.pixels()).max(1));
        for (image, to) in rows.enumerate() {
            let from = phase.image(arena, value, image);
            if !pooled && output.shape.len() == 2 {
                layout::unpack_tokens(from, &geometry, to);
            } else {
                layout::unpack(from, &geometry, to);
            }
        }
    }
}

/// Refuses numbers that name no row of a node's table.
pub(crate) fn check_rows<'a>(
    (node, entries): &(String, usize),
    mut numbers: impl Iterator<Item = &'a f32>,
) -> Result<(), EngineError> {
    let names_row = |number: f32| number.fract() == 0.0 && number >= 0.0 && number < *entries as f32;
    let wrong = numbers.find(|number| !names_row(**number));
    wrong.map_or(Ok(()), |found| {
        Err(EngineError::NoEntry { node: node.clone(), entries: *entries, found: *found })
    })
}

/// The node whose embedding has the fewest rows, and how many.
pub(crate) fn smallest_table(network: &Network<'_>) -> Option<(String, usize)> {
    let table = |instruction: &Instruction<'_>| match &instruction.node.op {
        Op::Embedding(embedding) => Some((instruction.node.name.clone(), embedding.entries)),
        _ => None,
    };
    network.instructions.iter().filter_map(table).min_by_key(|(_, entries)| *entries)
}

/// The first of the steps at the end that make vectors of vectors, if their weights are many; else the end.
fn tail_start(steps: &[Step], geometries: &[Geometry], views: &Views) -> usize {
    let is_vector = |value: &usize| {
        let geometry = geometries.get(*value).filter(|geometry| geometry.pixels() == 1);
        geometry.is_some_and(|geometry| !geometry.has_border()) && views.is_apart(*value)
    };
    let in_tail = |step: &&Step| is_vector(&step.writes) && step.reads.iter().all(is_vector);
    let tail = steps.iter().rev().take_while(in_tail);
    let (count, cost) = tail.fold((0, 0), |(count, cost), step| (count + 1, cost + step.operation.cost(1)));
    if cost < SMALLEST_TAIL { steps.len() } else { steps.len() - count }
}

impl Stage {
    fn new(
        settings: Settings,
        values: Values<'_>,
        steps: Vec<Step>,
        (mut inputs, ended): (Vec<usize>, Ended),
        images: usize,
    ) -> Self {
        let ends = Ends { given: &inputs, kept: &ended.kept };
        let phase = Phase::new(settings, values, &ends, steps, ended.pooling);
        phase.sort(&mut inputs);
        let images = (GROUP_BYTES / phase.bytes().max(1)).clamp(1, images);
        Self { phase, inputs, images }
    }

    /// Copies a value to its place in the next stage.
    fn hand_on(&self, value: usize, arena: &Arena, to: &mut [f32]) {
        for (index, to) in to.chunks_exact_mut(self.phase.stride(value)).enumerate() {
            let image = self.phase.image(arena, value, index);
            to.iter_mut().zip(image).for_each(|(to, number)| *to = *number);
        }
    }
}

/// Outputs of a phase.
#[derive(Default)]
struct Ended {
    kept: Vec<usize>,
    pooling: Vec<Step>,
}

impl Ended {
    /// Adds an output and returns the value of its mean.
    fn push(&mut self, value: usize, geometries: &mut Vec<Geometry>) -> usize {
        let input = geometries.get(value).copied().unwrap_or(Geometry::blocked([1, 1, 1]));
        let pooled = geometries.len();
        geometries.push(Geometry::blocked([input.channels, 1, 1]));
        let operation = Operation::Average(GlobalAverage { input });
        self.kept.push(value);
        self.pooling.push(Step { name: "mean".to_owned(), reads: vec![value], writes: pooled, operation });
        pooled
    }
}
