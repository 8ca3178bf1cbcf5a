//! Gradients of every operator that has one, and of whole networks, against PyTorch, on every instruction set that this
//! machine has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};
use regraft_engine::{InstructionSet, Precision, Tape, TapeOptions};
use regraft_graph::{Op, Parameter};
use support::{Case, available, golden_numbers, run, some};

const TOLERANCE: f64 = 1e-5;

/// The gradient in front of batch normalisation is what is left of sums that cancel.
const BATCH_TOLERANCE: f64 = 3e-5;

const TRAINABLE: [Precision; 2] = [Precision::Float32, Precision::BFloat16];

/// Compares with as many of the expected numbers as there are.
fn check(what: &str, found: &[f32], tolerance: f64, expected: &mut impl Iterator<Item = f32>) {
    let found = some(found);
    let expected: Vec<f32> = expected.by_ref().take(found.len()).collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-3f64, |largest, number| largest.max(f64::from(number.abs())));
    for (found, expected) in found.iter().zip(&expected) {
        let off = f64::from((found - expected).abs()) / largest;
        assert!(off <= tolerance, "{what}: {found} for {expected}, off by {off:.2e} of the largest");
    }
}

fn compile(case: &Case, of_batch: bool, set: InstructionSet) -> Tape {
    let options = TapeOptions {
        batch_statistics: &|_| of_batch,
        input_gradient: true,
        instruction_set: set,
        ..TapeOptions::default()
    };
    Tape::compile(&case.model, case.image(), &case.wires(), &options)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

fn check_gradients(case: &Case, tape: &Tape, tolerance: f64, expected: &mut impl Iterator<Item = f32>) {
    // Numbers that name rows have no gradient.
    if let Some(of_input) = tape.input_gradient().unwrap() {
        check(&format!("{}: input", case.name), of_input.as_slice().unwrap(), tolerance, expected);
    }
    let mut parameters = tape.parameters().to_vec();
    parameters.sort_by(|a, b| a.name.cmp(&b.name));
    for parameter in parameters {
        let gradient = &tape.gradients()[parameter.range.clone()];
        check(&format!("{}: {}", case.name, parameter.name), gradient, tolerance, expected);
    }
}

fn has_gradients(case: &Case) -> bool {
    !case.has(|op| matches!(op, Op::NearestNeighbors(_)))
}

fn has_norm(case: &Case) -> bool {
    case.has(|op| matches!(op, Op::BatchNormalization(_)))
}

#[test]
fn gradients_equal_pytorch() {
    for set in available() {
        for family in support::differentiable() {
            let mut expected = golden_numbers(&format!("{family}.gradients")).into_iter();
            for case in support::family(family).into_iter().filter(has_gradients) {
                let mut tape = compile(&case, false, set);
                let outputs = run(&case, &mut tape);
                for ((wire, expected), found) in case.outputs.iter().zip(&outputs) {
                    let error = support::error(expected, found);
                    assert!(error <= TOLERANCE, "{}: '{wire}' is off by {error:.2e}", case.name);
                }
                check_gradients(&case, &tape, TOLERANCE, &mut expected);
            }
            assert_eq!(expected.next(), None, "{family}");
        }
    }
}

#[test]
fn gradients_through_the_statistics_of_a_batch_equal_pytorch() {
    for set in available() {
        for family in ["concat", "elementwise", "networks", "trained"] {
            let mut expected = golden_numbers(&format!("{family}.batch")).into_iter();
            for case in support::family(family).into_iter().filter(has_norm) {
                let mut tape = compile(&case, true, set);
                let outputs = run(&case, &mut tape);
                for (wire, found) in case.wires().iter().zip(&outputs) {
                    let what = format!("{}: '{wire}'", case.name);
                    check(&what, found.as_slice().unwrap(), BATCH_TOLERANCE, &mut expected);
                }
                check_gradients(&case, &tape, BATCH_TOLERANCE, &mut expected);
            }
            assert_eq!(expected.next(), None, "{family}");
        }
    }
}

/// The residual network of the golden files.
fn residual() -> Case {
    support::family("networks").into_iter().find(|case| case.name.ends_with("residual")).unwrap()
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let trained = support::family("trained");
    for case in trained.iter().chain([&residual()]) {
        let with_threads = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| TRAINABLE.map(|precision| bits_of_gradients(case, precision)))
        };
        let one = with_threads(1);
        assert!(one.iter().flatten().any(|bits| *bits != 0));
        for threads in [2, 3, 7] {
            assert!(with_threads(threads) == one, "{}: {threads} threads", case.name);
        }
    }
}

/// With everything that is a sum over the batch, and dropout.
fn bits_of_gradients(case: &Case, precision: Precision) -> Vec<u32> {
    let options = TapeOptions { dropout: Some(1), input_gradient: true, precision, ..TapeOptions::default() };
    let mut tape = Tape::compile(&case.model, case.image(), &case.wires(), &options).unwrap();
    run(case, &mut tape);
    let of_input = tape.input_gradient().unwrap();
    let all = tape.gradients().iter().chain(of_input.iter().flatten());
    all.map(|number| number.to_bits()).collect()
}

#[test]
fn what_is_computed_again_is_the_same_and_takes_less_memory() {
    let cases: Vec<Case> =
        ["networks", "trained", "normalisations"].into_iter().flat_map(support::family).collect();
    for precision in TRAINABLE {
        let mut saved = 0;
        for (case, of_batch) in cases.iter().flat_map(|case| [(case, false), (case, true)]) {
            let [kept, again] = [false, true].map(|recompute| {
                let options = TapeOptions {
                    recompute,
                    dropout: Some(1),
                    batch_statistics: &|_| of_batch,
                    precision,
                    ..TapeOptions::default()
                };
                let output = case.wires()[0];
                let mut tape = Tape::compile(&case.model, case.image(), &[output], &options).unwrap();
                let output = tape.forward(case.input.view()).unwrap().remove(0);
                tape.backward(&[output.view()]).unwrap();
                (tape.gradients().to_vec(), tape.bytes(1))
            });
            assert!(kept.0 == again.0, "{}", case.name);
            saved += usize::from(again.1 < kept.1);
        }
        assert!(saved >= 24, "{}: {saved}", precision.name());
    }
}

/// The outputs of a batch, and the gradients where those of the outputs are the outputs.
fn answers(case: &Case, batch: ArrayViewD<'_, f32>) -> (ArrayD<f32>, Vec<f32>) {
    let mut tape = Tape::compile(&case.model, case.image(), &["fc"], &TapeOptions::default()).unwrap();
    let output = tape.forward(batch).unwrap().remove(0);
    tape.backward(&[output.view()]).unwrap();
    (output, tape.gradients().to_vec())
}

#[test]
fn recurrent_layers_give_many_images_what_they_give_each() {
    let is_recurrent = |case: &Case| case.has(|op| matches!(op, Op::Lstm(_) | Op::Gru(_)));
    for case in support::family("trained").into_iter().filter(is_recurrent) {
        let parts: Vec<ArrayD<f32>> = (0..16).map(|part| case.batch(&format!("input {part}"))).collect();
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        let batch = ndarray::concatenate(Axis(0), &views).unwrap();
        // On one thread in groups of 16, 8, 4 and single ones.
        let batch = batch.slice_axis(Axis(0), (0..31).into());
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let (together, gradients) = one.install(|| answers(&case, batch.view()));
        let mut sums = vec![0.0f64; gradients.len()];
        for (image, output) in batch.axis_chunks_iter(Axis(0), 1).zip(together.axis_chunks_iter(Axis(0), 1)) {
            let (alone, gradients) = answers(&case, image);
            assert_eq!(alone, output, "{}", case.name);
            sums.iter_mut().zip(gradients).for_each(|(sum, gradient)| *sum += f64::from(gradient));
        }
        let largest = sums.iter().fold(0.0f64, |largest, sum| largest.max(sum.abs()));
        for (found, expected) in gradients.iter().zip(sums) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-5 * largest,
                "{}: {found} {expected}",
                case.name
            );
        }
    }
}

#[test]
fn a_frozen_recurrent_layer_gives_back_what_a_trained_one_does() {
    // The numbers that name an embedding's rows have no gradient.
    let is_recurrent = |case: &Case| {
        case.has(|op| matches!(op, Op::Lstm(_) | Op::Gru(_)))
            && !case.has(|op| matches!(op, Op::Embedding(_)))
    };
    let mut count = 0;
    for case in support::family("sequences").into_iter().filter(is_recurrent) {
        let of_input = |trains: bool| {
            let trains: &dyn Fn(&Parameter) -> bool = &|_| trains;
            let options = TapeOptions { trains, input_gradient: true, ..TapeOptions::default() };
            let outputs: Vec<&str> = case.model.graph().outputs().iter().map(String::as_str).collect();
            let mut tape = Tape::compile(&case.model, case.image(), &outputs, &options).unwrap();
            let values = tape.forward(case.input.view()).unwrap();
            tape.backward(&values.iter().map(|value| value.view()).collect::<Vec<_>>()).unwrap();
            tape.input_gradient().unwrap().unwrap()
        };
        assert_eq!(of_input(false), of_input(true), "{}", case.name);
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn dropout_drops_other_numbers_in_every_batch_and_with_every_seed() {
    let case = support::family("networks")
        .into_iter()
        .find(|case| case.name.ends_with("inverted residual"))
        .unwrap();
    let kept = |dropout: Option<u64>, batches: usize| {
        let options = TapeOptions { dropout, batch_statistics: &|_| false, ..TapeOptions::default() };
        let mut tape = Tape::compile(&case.model, case.image(), &["drop"], &options).unwrap();
        let mut run = || tape.forward(case.input.view()).unwrap().remove(0);
        (0..batches).for_each(|_| drop(run()));
        run()
    };
    let all = kept(None, 0);
    let is_kept = |(number, all): (&f32, &f32)| {
        assert!(*number == 0.0 || (number - all / 0.8).abs() <= 1e-6 * all.abs());
        *number != 0.0
    };
    let pattern = |number: &ArrayD<f32>| {
        let pairs = number.iter().zip(&all).filter(|(_, all)| **all != 0.0);
        pairs.map(is_kept).collect::<Vec<bool>>()
    };
    let first = pattern(&kept(Some(1), 0));
    let share = first.iter().filter(|is_kept| **is_kept).count() as f64 / first.len() as f64;
    assert!((0.65..0.95).contains(&share), "{share}");
    assert_eq!(first, pattern(&kept(Some(1), 0)));
    assert_ne!(first, pattern(&kept(Some(1), 1)));
    assert_ne!(first, pattern(&kept(Some(2), 0)));
}

#[test]
fn what_is_frozen_has_no_gradient_and_stays_as_it_is() {
    let case = residual();
    let trains: &dyn Fn(&Parameter) -> bool = &|parameter| parameter.name.starts_with("fc.");
    let options = TapeOptions { trains, batch_statistics: &|_| false, ..TapeOptions::default() };
    let mut tape = Tape::compile(&case.model, case.image(), &["fc"], &options).unwrap();
    assert_eq!(
        tape.parameters().iter().map(|trained| trained.name.as_str()).collect::<Vec<_>>(),
        ["fc.weight", "fc.bias"]
    );
    let before = tape.forward(case.input.view()).unwrap();
    let gradient = ArrayD::from_elem(before[0].raw_dim(), 1.0);
    tape.backward(&[gradient.view()]).unwrap();
    assert!(tape.input_gradient().unwrap().is_none());
    let (values, gradients) = tape.values_and_gradients();
    values.iter_mut().zip(gradients).for_each(|(value, gradient)| *value -= 0.1 * gradient);
    let after = tape.forward(case.input.view()).unwrap();
    assert!(before[0].sum() > after[0].sum(), "a step against the gradient makes the sum smaller");
    let model = tape.model().unwrap();
    for (name, tensor) in case.model.weights().iter() {
        let same = model.weights().get(name).unwrap().data() == tensor.data();
        assert_eq!(same, !name.starts_with("fc."), "{name}");
    }
}

#[test]
fn running_statistics_move_with_those_of_the_batch() {
    let case = residual();
    let of_batch: &dyn Fn(&str) -> bool = &|name| name == "stem_bn";
    let options = TapeOptions { batch_statistics: of_batch, momentum: 1.0, ..TapeOptions::default() };
    let mut tape = Tape::compile(&case.model, case.image(), &["stem", "fc"], &options).unwrap();
    let outputs = tape.forward(case.input.view()).unwrap();
    let model = tape.model().unwrap();
    let stem = outputs[0].view().into_dimensionality::<ndarray::Ix4>().unwrap();
    let number = |name: &str, channel: usize| model.weights().get(name).unwrap().to_f32()[channel];
    for (channel, plane) in stem.axis_iter(Axis(1)).enumerate() {
        let count = plane.len() as f32;
        let mean = plane.sum() / count;
        let variance = plane.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / (count - 1.0);
        assert!((number("stem_bn.running_mean", channel) - mean).abs() < 1e-5);
        assert!((number("stem_bn.running_var", channel) / variance - 1.0).abs() < 1e-4);
    }
    let before = case.model.weights().get("a.bn1.running_mean").unwrap();
    assert_eq!(model.weights().get("a.bn1.running_mean").unwrap().data(), before.data());
}

#[test]
fn what_cannot_be_trained_is_told_by_its_name() {
    let case = support::family("rows").into_iter().find(|case| !has_gradients(case)).unwrap();
    let error = Tape::compile(&case.model, case.image(), &["v"], &TapeOptions::default()).unwrap_err();
    assert!(error.to_string().contains("has no gradient yet"), "{error}");
    let case = support::family("transformers").into_iter().find(|case| case.name.contains("vision")).unwrap();
    let trains: &dyn Fn(&Parameter) -> bool = &|parameter| parameter.name.starts_with("head.");
    let options = TapeOptions { trains, ..TapeOptions::default() };
    let mut tape = Tape::compile(&case.model, case.image(), &["head"], &options).unwrap();
    assert!(tape.forward(ArrayD::<f32>::zeros(IxDyn(&[1, 3, 2, 2])).view()).is_err());
    assert!(Tape::compile(&case.model, case.image(), &[], &options).is_err());
}

#[test]
fn numbers_that_name_no_row_are_refused() {
    let case =
        support::family("trained").into_iter().find(|case| case.name.ends_with("encoder of words")).unwrap();
    let mut tape = Tape::compile(&case.model, case.image(), &["fc"], &TapeOptions::default()).unwrap();
    for wrong in [-1.0, 0.5, 30.0, f32::NAN] {
        let mut input = case.input.clone();
        *input.last_mut().unwrap() = wrong;
        assert!(tape.forward(input.view()).is_err(), "{wrong}");
    }
    assert!(tape.forward(case.input.view()).is_ok());
}

/// Mean cross-entropy and its gradient.
fn cross_entropy(logits: &ArrayD<f32>, class_of: impl Fn(usize) -> usize) -> (f64, ArrayD<f32>) {
    let mut gradient = logits.clone();
    let rows = logits.shape()[0];
    let mut total = 0.0;
    for (row, mut logits) in gradient.outer_iter_mut().enumerate() {
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        let class = class_of(row);
        total += sum.ln() - f64::from(logits[class]);
        for (index, logit) in logits.iter_mut().enumerate() {
            let target = f64::from(u8::from(index == class));
            *logit = ((f64::from(*logit).exp() / sum - target) / rows as f64) as f32;
        }
    }
    (total / rows as f64, gradient)
}

/// Losses of 20 steps of gradient descent with momentum, as `oracles/engine_cases.py` takes them.
fn losses(case: &Case, of_batch: bool, dropout: Option<u64>, precision: Precision) -> Vec<f64> {
    let options =
        TapeOptions { batch_statistics: &|_| of_batch, dropout, precision, ..TapeOptions::default() };
    let mut tape = Tape::compile(&case.model, case.image(), &["fc"], &options).unwrap();
    let mut momenta = vec![0.0f32; tape.values().len()];
    let step = |step: usize| {
        let batch = case.batch(&format!("input {}", step % 4));
        let logits = tape.forward(batch.view()).unwrap().remove(0);
        let classes = logits.shape()[1];
        let (loss, gradient) = cross_entropy(&logits, |row| (3 * row + step) % classes);
        tape.backward(&[gradient.view()]).unwrap();
        let (values, gradients) = tape.values_and_gradients();
        for ((value, gradient), momentum) in values.iter_mut().zip(gradients).zip(&mut momenta) {
            *momentum = 0.9 * *momentum + gradient;
            *value -= 0.02 * *momentum;
        }
        loss
    };
    (0..20).map(step).collect()
}

/// Compares with PyTorch's losses of 20 steps, relatively.
fn check_losses(precision: Precision, tolerance: f64) {
    for family in ["networks", "trained"] {
        let mut expected = golden_numbers(&format!("{family}.training")).into_iter();
        for case in support::family(family) {
            let runs = [
                Some((false, None)),
                has_norm(&case).then_some((true, None)),
                case.has(|op| matches!(op, Op::Dropout { .. })).then_some((false, Some(7))),
            ];
            for (of_batch, dropout) in runs.into_iter().flatten() {
                for (step, loss) in losses(&case, of_batch, dropout, precision).into_iter().enumerate() {
                    let expected = f64::from(expected.next().unwrap());
                    let off = (loss / expected - 1.0).abs();
                    let what = format!("{} {of_batch} {dropout:?} step {step}", case.name);
                    assert!(off < tolerance, "{what}: {loss} for {expected}, off by {off:.2e}");
                }
            }
        }
        assert_eq!(expected.next(), None, "{family}");
    }
}

#[test]
fn losses_of_twenty_steps_equal_pytorch() {
    check_losses(Precision::Float32, 1e-4);
}

/// What is rounded goes another way from step to step, in PyTorch as here: an exact value is there for single layers only.
#[test]
fn losses_of_twenty_steps_in_bfloat16_stay_near_those_of_pytorch_in_single_precision() {
    check_losses(Precision::BFloat16, 0.1);
}

#[test]
fn a_batch_of_nonsense_leaves_nothing_behind() {
    let cases = support::differentiable().flat_map(support::family).filter(has_gradients);
    // Numbers that name rows are refused if they are none.
    let cases = cases.filter(|case| case.levels.is_none());
    for (case, precision) in cases.flat_map(|case| TRAINABLE.map(|precision| (case.clone(), precision))) {
        let options = TapeOptions {
            batch_statistics: &|_| false,
            input_gradient: true,
            precision,
            ..TapeOptions::default()
        };
        let compile = || Tape::compile(&case.model, case.image(), &case.wires(), &options).unwrap();
        let (mut fresh, mut used) = (compile(), compile());
        let outputs = used.forward(case.input.mapv(|_| f32::NAN).view()).unwrap();
        let nonsense: Vec<_> = outputs.iter().map(|output| output.mapv(|_| f32::NAN)).collect();
        used.backward(&nonsense.iter().map(|gradient| gradient.view()).collect::<Vec<_>>()).unwrap();
        let bits = |tape: &mut Tape| {
            run(&case, tape);
            let of_input = tape.input_gradient().unwrap();
            let all = tape.gradients().iter().chain(of_input.iter().flatten());
            all.map(|number| number.to_bits()).collect::<Vec<u32>>()
        };
        assert!(bits(&mut fresh) == bits(&mut used), "{} in {}", case.name, precision.name());
    }
}

#[test]
fn nothing_is_trained_in_integers() {
    let case = residual();
    let options = TapeOptions { precision: Precision::Int8, ..TapeOptions::default() };
    let error = Tape::compile(&case.model, case.image(), &["fc"], &options).unwrap_err();
    assert!(error.to_string().contains("int8"), "{error}");
}
