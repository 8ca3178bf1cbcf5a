//! Every operator and a few whole networks against PyTorch, on every instruction set that this machine has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use regraft_engine::{InstructionSet, Precision, Program, Settings};
use regraft_graph::Op;
use support::{Case, error, every_case};

const TOLERANCE: f64 = 1e-5;

/// A convolution rounds its input, its weights and its output to 8 significant bits, each by up to 2⁻⁸ of the number; the
/// errors of several are independent, so that their squares add up.
fn bfloat16_tolerance(case: &Case) -> f64 {
    let sums = |node: &regraft_graph::Node| match node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) | Op::Attention(_) | Op::MatMul => 1,
        // Products of the input, and of every state before.
        Op::Lstm(_) | Op::Gru(_) => 4,
        // The first and the second, and factors near zero divide.
        Op::Div => 4,
        _ => 0,
    };
    let count = case.model.graph().nodes().iter().map(sums).sum::<usize>().max(1);
    3.0 / 256.0 * (count as f64).sqrt()
}

/// Compiles with the case's wires among `wires` and compares those.
fn check(case: &Case, wires: &[&str], set: InstructionSet) {
    let program = Program::compile_for(&case.model, case.image(), wires, set)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let found = program.run(case.input.view()).unwrap();
    for (wire, expected) in &case.outputs {
        let at = wires.iter().position(|name| name == wire).unwrap();
        let error = error(expected, &found[at]);
        assert!(error <= TOLERANCE, "{} on {}: wire '{wire}' is off by {error:.2e}", case.name, set.name());
    }
}

fn available() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL.into_iter().filter(|set| set.is_available())
}

#[test]
fn one_output_at_a_time_equals_pytorch() {
    for case in every_case() {
        for set in available() {
            for (wire, expected) in &case.outputs {
                let single = Case {
                    levels: case.levels,
                    name: case.name.clone(),
                    model: case.model.clone(),
                    input: case.input.clone(),
                    outputs: vec![(wire.clone(), expected.clone())],
                };
                check(&single, &[wire], set);
            }
        }
    }
}

#[test]
fn nothing_fused_equals_pytorch() {
    for case in every_case() {
        for set in available() {
            check(&case, &case.all_wires(), set);
        }
    }
}

#[test]
fn pooled_outputs_are_means_over_the_image() {
    for case in support::family("networks") {
        let wires = case.wires();
        let program = Program::compile(&case.model, case.image(), &wires).unwrap();
        let pooled = program.run_pooled(case.input.view()).unwrap();
        for ((wire, expected), pooled) in case.outputs.iter().zip(pooled) {
            let mean = match expected.ndim() {
                4 => expected.mean_axis(ndarray::Axis(3)).unwrap().mean_axis(ndarray::Axis(2)).unwrap(),
                _ => expected.clone(),
            };
            let error = error(&mean, &pooled.into_dyn());
            assert!(error <= TOLERANCE, "{}: mean of '{wire}' is off by {error:.2e}", case.name);
        }
    }
}

#[test]
fn bfloat16_is_as_close_as_its_rounding() {
    for case in every_case() {
        for instruction_set in available() {
            let settings = Settings { instruction_set, precision: Precision::BFloat16 };
            let wires = case.wires();
            let program = Program::compile_with(&case.model, case.image(), &wires, settings).unwrap();
            let found = program.run(case.input.view()).unwrap();
            for ((wire, expected), found) in case.outputs.iter().zip(found) {
                let error = error(expected, &found);
                let (name, set) = (&case.name, instruction_set.name());
                assert!(
                    error <= bfloat16_tolerance(&case),
                    "{name} on {set}: wire '{wire}' is off by {error:.2e}"
                );
            }
        }
    }
}
