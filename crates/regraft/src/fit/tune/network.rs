//! What stands behind the boundary as the engine has it: a tape that is trained, and programs that answer.

use ndarray::{Array2, ArrayD};
use regraft_engine::{EngineError, InstructionSet, Precision, Program, Settings, Tape, TapeOptions};
use regraft_graph::{Bindings, Model};
use regraft_system::memory::available_bytes;

use super::boundary::Boundary;
use super::config::TuningConfig;
use super::images::Look;
use super::parameters::{Choice, Parameters};
use super::plan::Plan;
use super::precision::of_choice;
use super::regulariser;
use crate::{Error, FitConfig, Result};

/// Height and width of a value, as the engine takes them: of a sequence its tokens.
pub(super) fn sides(shape: &[usize]) -> [usize; 2] {
    match shape {
        [_, height, width] => [*height, *width],
        [tokens, _] => [1, *tokens],
        _ => [1, 1],
    }
}

pub(super) fn output(model: &Model) -> Result<&str> {
    let output = model.graph().outputs().first().map(String::as_str);
    output.ok_or_else(|| Error::Model("the network has no output".to_owned()))
}

/// Numbers for each trained one: its value, its gradient and the sum of those of several batches, what the optimiser keeps, and
/// what the kernels pack of it.
const COPIES: usize = 8;

/// Refuses a batch that would not fit into the memory that is free.
pub(super) fn check_memory(tape: &Tape, config: &TuningConfig) -> Result<()> {
    let Some(available) = available_bytes() else { return Ok(()) };
    let fixed = (tape.values().len() * COPIES * size_of::<f32>()) as u64;
    let (images, tapes) = (config.batch(), if config.recomputes_statistics() { 2 } else { 1 });
    let of_images = |images: usize| tapes * tape.bytes(images) as u64;
    let (needed, one) = (fixed + of_images(images), of_images(1).max(1));
    if needed <= available {
        return Ok(());
    }
    let most = available.saturating_sub(fixed) / one;
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    Err(Error::Usage(format!(
        "a batch of {images} images needs {:.1} GB of memory, {:.1} GB are free: {}",
        gigabytes(needed),
        gigabytes(available),
        smaller_batch(config, usize::try_from(most).unwrap_or(usize::MAX))
    )))
}

/// What to do where at most so many images fit: a step has as many as before where a smaller batch divides them.
fn smaller_batch(config: &TuningConfig, most: usize) -> String {
    let (images, least) = (config.images_of_step(), if config.goes_by_batch() { 2 } else { 1 });
    let divides = |batch: &usize| images.is_multiple_of(*batch);
    match (least..=most.min(config.batch())).rev().find(divides) {
        Some(batch) => format!(
            "--batch-size {batch} --accumulate {} would fit, with {images} images a step as before",
            images / batch
        ),
        None if most >= least => format!("--batch-size {most} would fit"),
        None if !config.recompute => {
            "--recompute takes less; or choose a smaller --image-size, or a --method that trains less"
                .to_owned()
        }
        None => "choose a smaller --image-size, or a --method that trains less".to_owned(),
    }
}

/// An adapter for `map_err` on what the engine says in a training: where memory runs out, with the flags that save some.
pub(super) fn advising(config: &TuningConfig) -> impl Fn(EngineError) -> Error {
    let least = if config.goes_by_batch() { 2 } else { 1 };
    let flags = [
        (config.batch() > least, "a smaller --batch-size (with --accumulate a step keeps its images)"),
        (!config.recompute, "--recompute"),
    ];
    let flags: Vec<&str> = flags.into_iter().filter(|(helps, _)| *helps).map(|(_, flag)| flag).collect();
    let flags = flags.join(" or ");
    move |error| match error {
        EngineError::Memory { .. } if !flags.is_empty() => {
            Error::Model(format!("{error}, or train with {flags}"))
        }
        error => Error::model(error),
    }
}

/// Compiles what a method would train, for its errors.
///
/// # Errors
/// An operator has no gradient, the rank of low-rank changes is too large, there is nothing that a method could hold on to, or
/// a step does not fit into memory.
pub(super) fn check(model: &Model, plan: &Plan, config: &FitConfig) -> Result<()> {
    let [height, width] = model.card().preprocessing.crop;
    let part = model.behind(&plan.boundary, [height, width]).map_err(Error::model)?;
    let shape = part.graph().input_fact().bind(&Bindings { batch: 1, height, width });
    let shape: Vec<usize> = shape.into_iter().flatten().skip(1).collect();
    let precision = of_choice(config.precision);
    let choice = Choice { method: config.method, config: &config.tuning, plan, seed: config.seed, precision };
    let tape = tape(&part, &choice, &shape)?;
    check_memory(&tape, &config.tuning)?;
    Parameters::new(&choice, &tape).map(|_| ())
}

/// What stands behind the boundary, compiled; `shape` is that of a value at the boundary. Its outputs are the logits and what
/// the method adds to the loss for.
pub(super) fn tape(model: &Model, choice: &Choice<'_>, shape: &[usize]) -> Result<Tape> {
    tape_with(model, choice, shape, TapeOptions::default().momentum)
}

/// As [`tape`], with this share of a batch's statistics in the running ones.
pub(super) fn tape_with(model: &Model, choice: &Choice<'_>, shape: &[usize], momentum: f32) -> Result<Tape> {
    let Choice { config, plan, precision, .. } = *choice;
    let by_batch = config.goes_by_batch();
    let options = TapeOptions {
        trains: &|parameter| plan.trained.contains(&parameter.name),
        batch_statistics: &|node| by_batch && plan.trains_node(model.graph(), node),
        momentum,
        recompute: config.recompute,
        precision,
        ..TapeOptions::default()
    };
    let wires = regulariser::wires(choice, model, sides(shape))?;
    let outputs: Vec<&str> =
        std::iter::once(output(model)?).chain(wires.iter().map(String::as_str)).collect();
    Tape::compile(model, sides(shape), &outputs, &options).map_err(advising(config))
}

/// A network behind the boundary that answers with the values of these wires; `shape` is that of a value at the boundary.
pub(super) fn program(model: &Model, shape: &[usize], wires: &[&str]) -> Result<Program> {
    let settings = Settings { instruction_set: InstructionSet::detect(), precision: Precision::Float32 };
    Program::compile_with(model, sides(shape), wires, settings).map_err(Error::model)
}

/// A value with a row an image, as a matrix.
pub(super) fn matrix(value: ArrayD<f32>) -> Result<Array2<f32>> {
    let rows = value.shape().first().copied().unwrap_or(0);
    let columns = value.len() / rows.max(1);
    value.into_shape_with_order((rows, columns)).map_err(Error::model)
}

/// Images that are judged together.
const JUDGED: usize = 64;

/// The logits of a network behind the boundary for images by position.
pub(super) fn logits(model: &Model, boundary: &Boundary, positions: &[usize]) -> Result<Array2<f32>> {
    answers(model, output(model)?, (boundary, positions), &mut |_| Ok(()))
}

/// The values of a wire, a row for each of some images as in use, told after each batch with its number of images.
pub(super) fn answers(
    model: &Model,
    wire: &str,
    (boundary, positions): (&Boundary, &[usize]),
    told: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Array2<f32>> {
    let (mut all, mut columns) = (Vec::new(), 0);
    if !positions.is_empty() {
        let program = program(model, boundary.shape(), &[wire])?;
        for positions in positions.chunks(JUDGED) {
            let inputs = boundary.batch(positions, Look::Plain)?;
            let rows = program.run(inputs.view()).map_err(Error::model)?.pop();
            let rows = rows.ok_or_else(|| Error::Model("the network has no output".to_owned()))?;
            columns = rows.len() / positions.len();
            all.extend(rows.iter().copied());
            told(positions.len())?;
        }
    }
    Array2::from_shape_vec((positions.len(), columns), all).map_err(Error::model)
}

#[cfg(test)]
mod tests {
    use super::super::config::NormStatistics;
    use super::*;

    #[test]
    fn a_smaller_batch_keeps_the_images_of_a_step() {
        let stored = TuningConfig { batch_size: Some(12), accumulate: 2, ..TuningConfig::default() };
        let batch = TuningConfig { norm_statistics: NormStatistics::Batch, ..stored.clone() };
        assert!(
            smaller_batch(&stored, 11).starts_with("--batch-size 8 --accumulate 3 would fit, with 24 images")
        );
        assert!(smaller_batch(&stored, 1).starts_with("--batch-size 1 --accumulate 24 would fit"));
        // A batch of one image has no statistics.
        assert!(smaller_batch(&batch, 1).contains("choose a smaller --image-size"));
        let prime = TuningConfig { batch_size: Some(7), accumulate: 1, ..batch };
        assert_eq!(smaller_batch(&prime, 5), "--batch-size 5 would fit");
        assert!(smaller_batch(&stored, 0).contains("choose a smaller --image-size"));
    }

    #[test]
    fn where_memory_runs_out_the_flags_are_named_that_help() {
        let says = |batch_size: usize, recompute: bool| {
            let config = TuningConfig { batch_size: Some(batch_size), recompute, ..TuningConfig::default() };
            advising(&config)(EngineError::Memory { megabytes: 7 }).to_string()
        };
        for flag in ["--batch-size", "--accumulate", "--recompute"] {
            assert!(says(16, false).contains(flag), "{}", says(16, false));
        }
        assert!(says(16, true).contains("--batch-size") && !says(16, true).contains("--recompute"));
        assert!(says(1, true).ends_with("use a smaller image size"));
        let other = advising(&TuningConfig::default())(EngineError::NoOutputs);
        assert_eq!(other.to_string(), EngineError::NoOutputs.to_string());
    }
}
