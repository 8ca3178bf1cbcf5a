//! Gradients of layers that multiply numbers in bfloat16, on every instruction set that this machine has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use ndarray::{ArrayD, Axis};
use regraft_engine::{InstructionSet, Precision, Tape, TapeOptions};
use regraft_graph::{Model, Op, Tensor};
use support::{Case, available, factors, golden_numbers, run, some};

const TOLERANCE: f64 = 1e-5;

const TRAINABLE: [Precision; 2] = [Precision::Float32, Precision::BFloat16];

/// The nearest number in bfloat16; ties, which these tests have none of, aside.
fn rounded(number: f32) -> f32 {
    f32::from_bits((number.to_bits() + 0x8000) & 0xffff_0000)
}

/// The case with tensors and input that bfloat16 holds exactly.
fn rounded_case(mut case: Case) -> Case {
    let mut weights = case.model.weights().clone();
    for parameter in case.model.graph().nodes().iter().flat_map(|node| node.parameters()) {
        let tensor = weights.get(&parameter.name).unwrap();
        let numbers: Vec<f32> = tensor.to_f32().into_iter().map(rounded).collect();
        weights.insert(&*parameter.name, Tensor::from_f32(parameter.shape, &numbers).unwrap());
    }
    case.model = Model::new(case.model.graph().clone(), weights, case.model.card().clone()).unwrap();
    case.input.mapv_inplace(rounded);
    case
}

/// With stored statistics.
fn compile(case: &Case, precision: Precision, instruction_set: InstructionSet) -> Tape {
    let options = TapeOptions {
        batch_statistics: &|_| false,
        input_gradient: true,
        instruction_set,
        precision,
        ..TapeOptions::default()
    };
    Tape::compile(&case.model, case.image(), &case.wires(), &options).unwrap()
}

/// The outputs and all gradients, from gradients of the outputs that bfloat16 holds exactly.
fn results(case: &Case, precision: Precision, set: InstructionSet) -> Vec<(String, Vec<f32>)> {
    let mut tape = compile(case, precision, set);
    let outputs = tape.forward(case.input.view()).unwrap();
    let gradients: Vec<_> =
        case.wires().iter().zip(&outputs).map(|(wire, output)| factors(wire, output).mapv(rounded)).collect();
    tape.backward(&gradients.iter().map(|gradient| gradient.view()).collect::<Vec<_>>()).unwrap();
    let all = |array: &ArrayD<f32>| array.iter().copied().collect::<Vec<f32>>();
    let mut results: Vec<(String, Vec<f32>)> =
        case.wires().iter().zip(&outputs).map(|(wire, output)| ((*wire).to_owned(), all(output))).collect();
    results.extend(tape.input_gradient().unwrap().iter().map(|array| ("input".to_owned(), all(array))));
    results.extend(
        tape.parameters()
            .iter()
            .map(|parameter| (parameter.name.clone(), tape.gradients()[parameter.range.clone()].to_vec())),
    );
    results
}

#[test]
fn many_images_in_bfloat16_add_up_to_what_they_do_in_single_precision() {
    let case = support::family("conv").into_iter().find(is_single_layer).unwrap();
    let mut case = rounded_case(case);
    // Operands of the gradient of weights are laid out by at most a megabyte at a time, and these take more than three.
    let batches = (3 << 20) / (2 * case.input.len()) + 1;
    let batches: Vec<ArrayD<f32>> = (0..batches).map(|part| case.batch(&format!("input {part}"))).collect();
    let views: Vec<_> = batches.iter().map(|batch| batch.view()).collect();
    case.input = ndarray::concatenate(Axis(0), &views).unwrap().mapv(rounded);
    for set in available() {
        let exact = results(&case, Precision::Float32, set);
        for ((name, expected), (_, found)) in exact.iter().zip(&results(&case, Precision::BFloat16, set)) {
            check_all(&format!("{} ({}): {name}", case.name, set.name()), found, expected, 1e-4);
        }
    }
}

/// The gradients of the input and of all parameters by their names, with stored statistics, as the oracle keeps them.
fn gradients(case: &Case, set: InstructionSet) -> Vec<f32> {
    let mut tape = compile(case, Precision::BFloat16, set);
    run(case, &mut tape);
    let mut gradients =
        tape.input_gradient().unwrap().map_or_else(Vec::new, |array| some(array.as_slice().unwrap()));
    let mut parameters = tape.parameters().to_vec();
    parameters.sort_by(|a, b| a.name.cmp(&b.name));
    gradients
        .extend(parameters.iter().flat_map(|parameter| some(&tape.gradients()[parameter.range.clone()])));
    gradients
}

#[test]
fn networks_in_bfloat16_have_the_gradients_of_pytorch_rounded_at_the_same_places() {
    for set in available() {
        let mut expected = golden_numbers("networks.rounded").into_iter();
        for case in support::family("networks") {
            let found = gradients(&case, set);
            let expected: Vec<f32> = expected.by_ref().take(found.len()).collect();
            let error = relative_error(&found, &expected);
            // Those in single precision are off by 0.03 to 0.05; a sum in another order may be rounded to the next number.
            assert!(error < 2e-3, "{} ({}): off by {error:.5}", case.name, set.name());
        }
        assert_eq!(expected.next(), None);
    }
}

/// Length of the difference over that of what is expected.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let square = |number: f32| f64::from(number).powi(2);
    let off: f64 = found.iter().zip(expected).map(|(found, expected)| square(found - expected)).sum();
    (off / expected.iter().copied().map(square).sum::<f64>().max(1e-12)).sqrt()
}

fn is_grouped(case: &Case) -> bool {
    case.has(|op| matches!(op, Op::Conv(conv) if conv.groups > 1))
}

/// A layer, and nothing that changes numbers.
fn is_single_layer(case: &Case) -> bool {
    let nodes = case.model.graph().nodes();
    let layers = nodes.iter().filter(|node| matches!(node.op, Op::Conv(_) | Op::Gemm(_))).count();
    layers == 1 && nodes.iter().all(|node| matches!(node.op, Op::Conv(_) | Op::Gemm(_) | Op::Relu))
}

#[test]
fn layers_in_bfloat16_multiply_what_it_holds_exactly() {
    let mut count = 0;
    for set in available() {
        for case in support::differentiable().flat_map(support::family).filter(is_single_layer) {
            let is_layer = case.image().iter().product::<usize>() > 1 && !is_grouped(&case);
            let [single, half] = TRAINABLE.map(|precision| results(&case, precision, set));
            assert!(!is_layer || single != half, "{}: nothing is rounded", case.name);
            let case = rounded_case(case);
            let exact = results(&case, Precision::Float32, set);
            for ((name, expected), (_, found)) in exact.iter().zip(&results(&case, Precision::BFloat16, set))
            {
                check_all(&format!("{} ({}): {name}", case.name, set.name()), found, expected, TOLERANCE);
            }
            count += 1;
        }
    }
    assert!(count >= 30, "{count}");
}

fn check_all(what: &str, found: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-3f64, |largest, number| largest.max(f64::from(number.abs())));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = f64::from((found - expected).abs()) / largest;
        assert!(off <= tolerance, "{what}[{index}]: {found} for {expected}, off by {off:.2e} of the largest");
    }
}
