//! Which values of a network are stored in bytes, and what the bytes stand for.
//!
//! Every value that a convolution mixes channels of, or adds as its residual, is stored in bytes where all of its readers
//! and its producer can; what feeds such a value through a pool or a concatenation too. What no convolution reads, such
//! as the map before the global mean, stays in single precision, and so do vectors and tokens. Pools and concatenations
//! have one scale for inputs and outputs, so that they move bytes.

use regraft_graph::{Conv, Op};

use crate::{
    Calibration, EngineError,
    element::Levels,
    kernels::int8::LARGEST_SUM,
    network::{Instruction, Network},
    views::parts,
};

/// The levels of each value that is stored in bytes.
///
/// # Errors
/// [`EngineError::NoRange`].
pub(crate) fn levels(
    network: &Network<'_>,
    calibration: &Calibration,
) -> Result<Vec<Option<Levels>>, EngineError> {
    let in_bytes = in_bytes(network);
    let groups = groups(network, &in_bytes);
    let mut ranges = vec![[0.0f32; 2]; network.values.len()];
    let computed_in_parts = parts_of_concatenations(network);
    for (value, name) in network.names.iter().enumerate() {
        if !get(&in_bytes, value) || get(&computed_in_parts, value) {
            continue;
        }
        let no_range = || EngineError::NoRange { wire: name.clone() };
        let [low, high] = calibration.range(name).ok_or_else(no_range)?;
        if let Some(range) = groups.get(value).and_then(|group| ranges.get_mut(*group)) {
            *range = [range[0].min(low), range[1].max(high)];
        }
    }
    let levels = |(value, group): (usize, &usize)| {
        let range = ranges.get(*group).copied().unwrap_or_default();
        get(&in_bytes, value).then(|| Levels::covering(range))
    };
    Ok(groups.iter().enumerate().map(levels).collect())
}

fn get(flags: &[bool], value: usize) -> bool {
    flags.get(value).copied().unwrap_or(false)
}

fn set(flags: &mut [bool], value: usize, flag: bool) -> bool {
    flags.get_mut(value).is_some_and(|place| std::mem::replace(place, flag) != flag)
}

/// Whether an instruction is a convolution that mixes channels and whose sums fit.
fn is_dense(op: &Op) -> bool {
    matches!(op, Op::Conv(conv) if !is_depthwise(conv) && products(conv) <= LARGEST_SUM)
}

fn is_depthwise(conv: &Conv) -> bool {
    conv.groups > 1 && conv.groups == conv.in_channels && conv.groups == conv.out_channels
}

fn products(conv: &Conv) -> usize {
    let [height, width] = conv.kernel;
    (conv.in_channels / conv.groups.max(1)).saturating_mul(height).saturating_mul(width)
}

fn keeps_scale(op: &Op) -> bool {
    matches!(op, Op::Concat(_) | Op::MaxPool(_) | Op::AveragePool(_) | Op::AdaptiveAveragePool { .. })
}

/// Whether the kernel of an operator reads and writes bytes and single precision alike.
fn takes_both(op: &Op) -> bool {
    match op {
        Op::Conv(conv) => is_depthwise(conv),
        Op::BatchNormalization(_)
        | Op::Scale(_)
        | Op::Relu
        | Op::Clip(_)
        | Op::Sigmoid
        | Op::Silu
        | Op::HardSigmoid
        | Op::HardSwish
        | Op::Gelu(_)
        | Op::Add
        | Op::Mul
        | Op::GlobalAveragePool => true,
        _ => keeps_scale(op),
    }
}

fn values<'i>(instruction: &'i Instruction<'_>) -> impl Iterator<Item = usize> + 'i {
    instruction.inputs.iter().chain(&instruction.residual).copied().chain([instruction.output])
}

fn in_bytes(network: &Network<'_>) -> Vec<bool> {
    let mut in_bytes = vec![false; network.values.len()];
    for instruction in network.instructions.iter().rev() {
        let dense = is_dense(&instruction.node.op);
        let depthwise = matches!(&instruction.node.op, Op::Conv(conv) if is_depthwise(conv));
        let passes = keeps_scale(&instruction.node.op) && get(&in_bytes, instruction.output);
        if dense || passes || depthwise {
            for value in instruction.inputs.iter().chain(&instruction.residual) {
                set(&mut in_bytes, *value, true);
            }
        }
    }
    for (value, [_, height, width]) in network.values.iter().enumerate() {
        if height * width == 1 {
            set(&mut in_bytes, value, false);
        }
    }
    while network.instructions.iter().any(|instruction| withdraw(network, instruction, &mut in_bytes)) {}
    in_bytes
}

/// Takes back what an instruction cannot read or write. Returns whether that changed anything.
fn withdraw(network: &Network<'_>, instruction: &Instruction<'_>, in_bytes: &mut [bool]) -> bool {
    let op = &instruction.node.op;
    let input = instruction.inputs.first().is_some_and(|input| get(in_bytes, *input));
    let fits = match op {
        Op::Concat(_) if parts(network, instruction).is_empty() => false,
        Op::Concat(_) => values(instruction).all(|value| get(in_bytes, value)),
        _ if is_dense(op) => input,
        _ => takes_both(op),
    };
    // A factor a channel is a vector and read as such.
    let mut changed = false;
    if !fits {
        values(instruction).for_each(|value| changed |= set(in_bytes, value, false));
    }
    changed
}

/// The values that concatenations write.
fn parts_of_concatenations(network: &Network<'_>) -> Vec<bool> {
    let mut flags = vec![false; network.values.len()];
    for instruction in &network.instructions {
        if matches!(instruction.node.op, Op::Concat(_)) {
            set(&mut flags, instruction.output, true);
        }
    }
    flags
}

/// For each value the first one whose scale it shares.
fn groups(network: &Network<'_>, in_bytes: &[bool]) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..network.values.len()).collect();
    for instruction in network.instructions.iter().filter(|one| keeps_scale(&one.node.op)) {
        for input in &instruction.inputs {
            if get(in_bytes, *input) && get(in_bytes, instruction.output) {
                join(&mut groups, *input, instruction.output);
            }
        }
    }
    groups
}

fn join(groups: &mut [usize], a: usize, b: usize) {
    let group = |value: usize| groups.get(value).copied().unwrap_or(value);
    let (first, second) = (group(a).min(group(b)), group(a).max(group(b)));
    groups.iter_mut().filter(|group| **group == second).for_each(|group| *group = first);
}
