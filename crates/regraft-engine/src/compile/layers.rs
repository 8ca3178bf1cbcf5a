//! Layers that are computed in several steps, and functions of single numbers.

use regraft_graph::{ConvTranspose, Node, Op, ParameterKind, Recurrent as Layer};

use super::{Compiler, Shapes};
use crate::{
    EngineError, Settings,
    axes::{Axes, NOWHERE},
    buffer::Buffer,
    geometry::Geometry,
    kernels::{
        Computation,
        dense::{Dense, Recipe},
        embedding::Embedding,
        functions::{Formula, Pointwise},
        gather::{Constant, Gather, Otherwise, Sources},
        lrn::Lrn,
        matmul::MatMul,
        reading::Turned,
        recurrent::{Recurrent, forward::Cell},
    },
    network::{Clamp, Instruction},
    simd::LANES,
    step::Operation,
    window::Window,
};

impl Compiler<'_> {
    /// Operators of one step that nothing is fused with.
    pub(super) fn other(&self, instruction: &Instruction<'_>) -> Result<Box<dyn Computation>, EngineError> {
        let node = instruction.node;
        let Shapes { input, output, .. } = self.shapes(instruction);
        match &node.op {
            Op::Flatten | Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) | Op::Pad(_) => {
                self.moved(instruction)
            }
            Op::Resize(resize) => self.resized(instruction, resize),
            Op::Reduce(reduce) => self.reduced(instruction, reduce),
            Op::Lrn(attributes) if attributes.size % 2 == 1 => {
                Ok(Box::new(Lrn { input, output, attributes: *attributes }))
            }
            Op::Lrn(_) => Err(self.refused(instruction, "an even number of neighbours has no middle")),
            Op::Constant(_) => {
                let to = self.axes(&node.name, instruction.output)?;
                Ok(Box::new(Constant::new(&to, &self.tensor(node, ParameterKind::Value)?)?))
            }
            Op::MatMul => self.product(instruction),
            Op::Embedding(attributes) => {
                if instruction.inputs != [0] || attributes.entries == 0 {
                    let message = "only the network's input can name rows of a table, which must have some";
                    return Err(self.refused(instruction, message));
                }
                let rows = self.tensor(node, ParameterKind::Weight)?;
                Ok(Box::new(Embedding::new([input, output], &rows)?))
            }
            Op::Custom(custom) => {
                let message = format!(
                    "the operator '{}' of '{}' is kept and written, but cannot be computed; cut the network before it",
                    custom.operator, custom.domain
                );
                Err(self.refused(instruction, message))
            }
            _ => {
                let formula = self.formula(node, &input)?;
                let formula =
                    formula.ok_or_else(|| self.refused(instruction, "this operator has no kernel"))?;
                Ok(Box::new(Pointwise { input, output, formula }))
            }
        }
    }

    fn formula(&self, node: &Node, input: &Geometry) -> Result<Option<Formula>, EngineError> {
        let learned = match &node.op {
            Op::PRelu(_) => self.tensor(node, ParameterKind::Weight)?,
            _ => Vec::new(),
        };
        formula(&node.op, input, &learned)
    }

    fn product(&self, instruction: &Instruction<'_>) -> Result<Box<dyn Computation>, EngineError> {
        let [left, _] = self.ends(instruction)?;
        let Shapes { input, second, output } = self.shapes(instruction);
        let [.., rows, terms] = left.shape.as_slice() else {
            return Err(self.refused(instruction, "a product needs matrices behind the batch axis"));
        };
        let is_sequence = left.shape.len() == 2;
        let inputs = [input, second.unwrap_or(input)];
        Ok(Box::new(MatMul { inputs, output, rows: *rows, terms: *terms, is_sequence }))
    }

    /// The image with zeros between its pixels and around them, and a convolution with the kernel turned around.
    pub(super) fn push_transposed(
        &mut self,
        instruction: &Instruction<'_>,
        conv: &ConvTranspose,
    ) -> Result<(), EngineError> {
        let node = instruction.node;
        let Shapes { input, output, .. } = self.shapes(instruction);
        let ([rows, columns], [down, right]) = (conv.kernel, conv.dilation);
        let [reach_down, reach_right] = [(rows - 1) * down, (columns - 1) * right];
        let (height, width) = (output.height + reach_down, output.width + reach_right);
        let (value, spread) = self.new_value([input.channels, height, width])?;
        let [from, _] = self.ends(instruction)?;
        let to = Axes::new(vec![input.channels, height, width], spread)?;
        let [top, left, ..] = conv.padding;
        let places = vec![
            from.places(0),
            apart(&from.places(1), height, conv.stride[0], [reach_down, top]),
            apart(&from.places(2), width, conv.stride[1], [reach_right, left]),
        ];
        let sources = Sources::Parts(to.parts(&input, places));
        let step = Gather::new([input, spread], sources, Otherwise::Fill(0.0))?;
        let name = format!("{} (spread)", node.name);
        self.push_step(&name, instruction.inputs.clone(), value, Operation::Other(Box::new(step)));

        let turned = Turned::round(rows * columns);
        let tensors = [self.tensor(node, ParameterKind::Weight)?, self.bias(node, conv.bias)?];
        let shapes = Shapes { input: spread, second: None, output };
        let window = Window { kernel: conv.kernel, stride: [1; 2], dilation: conv.dilation, before: [0; 2] };
        let recipe = shapes.recipe(&tensors, (Clamp::NONE, None));
        let operation =
            self.convolution(&Recipe { window, groups: conv.groups, turned: Some(&turned), ..recipe })?;
        self.push_step(&node.name, vec![value], instruction.output, operation);
        Ok(())
    }

    /// The products of all tokens' inputs as one dense layer, and the recurrence.
    pub(super) fn push_recurrent(
        &mut self,
        instruction: &Instruction<'_>,
        layer: &Layer,
    ) -> Result<(), EngineError> {
        use ParameterKind::{InputBias, InputWeight, StateBias, StateWeight};
        let node = instruction.node;
        let Shapes { input, output, .. } = self.shapes(instruction);
        let kind = (cell(&node.op, layer), layer);
        let tensor = |kind| self.tensor(node, kind);
        let [weight, bias] = [tensor(InputWeight)?, tensor(InputBias)?];
        let [state_weight, state_bias] = [tensor(StateWeight)?, tensor(StateBias)?];
        let padded = layer.hidden.next_multiple_of(LANES);
        let (value, products) = self.new_value([kind.0.gates() * padded, 1, output.width])?;
        let dense = inputs([input, products], kind, [&weight, &bias, &state_bias], self.settings)?;
        let name = format!("{} (inputs)", node.name);
        self.push_step(&name, instruction.inputs.clone(), value, Operation::Dense(Box::new(dense)));
        let step = recurrence([products, output], kind, [&state_weight, &state_bias])?;
        self.push_step(&node.name, vec![value], instruction.output, Operation::Other(Box::new(step)));
        Ok(())
    }
}

/// The formula that an operator is, on so many channels; `learned` are the slopes of its negative side.
pub(crate) fn formula(op: &Op, input: &Geometry, learned: &[f32]) -> Result<Option<Formula>, EngineError> {
    Ok(Some(match op {
        Op::Tanh => Formula::Tanh,
        Op::Elu(elu) => Formula::Elu(elu.alpha),
        Op::LeakyRelu(rectifier) => Formula::Rectify(rectify(input, true, &[rectifier.alpha])?),
        Op::PRelu(rectifier) => Formula::Rectify(rectify(input, rectifier.slopes == 1, learned)?),
        Op::Softplus => Formula::Softplus,
        Op::Exp => Formula::Exp,
        Op::Log => Formula::Log,
        Op::Abs => Formula::Abs,
        Op::Power(power) => Formula::Power { scale: power.scale, shift: power.shift, exponent: power.power },
        _ => return Ok(None),
    }))
}

/// A slope for each channel, from a single one or from as many.
pub(crate) fn rectify(input: &Geometry, single: bool, slopes: &[f32]) -> Result<Buffer, EngineError> {
    let mut buffer = Buffer::zeroed(input.blocks() * LANES)?;
    let slope = |channel: usize| slopes.get(if single { 0 } else { channel }).copied().unwrap_or(0.0);
    buffer.iter_mut().enumerate().for_each(|(channel, place)| *place = slope(channel));
    Ok(buffer)
}

/// What becomes of the gates of a recurrent layer.
pub(crate) fn cell(op: &Op, layer: &Layer) -> Cell {
    match (op, layer.reset_after) {
        (Op::Lstm(_), _) => Cell::Lstm,
        (_, true) => Cell::GruAfter,
        (_, false) => Cell::GruBefore,
    }
}

/// Rows of the state's bias that are added to the inputs' products: not those of a GRU's new gate, whose bias is added to the
/// state's product.
pub(crate) fn added(cell: Cell, layer: &Layer) -> usize {
    if cell == Cell::Lstm { 4 * layer.hidden } else { 2 * layer.hidden }
}

/// The products of all tokens' inputs, with the biases that can be added there.
pub(crate) fn inputs(
    [input, output]: [Geometry; 2],
    (cell, layer): (Cell, &Layer),
    [weight, bias, state_bias]: [&[f32]; 3],
    settings: Settings,
) -> Result<Dense, EngineError> {
    let added = added(cell, layer);
    let bias = bias.iter().zip(state_bias).enumerate();
    let bias: Vec<f32> =
        bias.map(|(row, (bias, more))| if row < added { bias + more } else { *bias }).collect();
    let tensors = [by_blocks(weight, layer, layer.features), by_blocks(&bias, layer, 1)];
    let shapes = Shapes { input, second: None, output };
    Dense::new(&shapes.recipe(&tensors, (Clamp::NONE, None)), settings)
}

/// The state's part.
pub(crate) fn recurrence(
    ends: [Geometry; 2],
    (cell, layer): (Cell, &Layer),
    [weight, bias]: [&[f32]; 2],
) -> Result<Recurrent, EngineError> {
    let kind = (cell, layer.gates, layer.reverse);
    Recurrent::new(ends, kind, weight, bias.get(added(cell, layer)..).unwrap_or(&[]))
}

/// Rows of each gate followed by zeros up to a whole block.
fn by_blocks(rows: &[f32], layer: &Layer, row: usize) -> Vec<f32> {
    let gate = layer.hidden * row;
    let wide = layer.hidden.next_multiple_of(LANES) * row;
    let mut padded = vec![0.0; rows.len() / gate.max(1) * wide];
    for (to, from) in padded.chunks_exact_mut(wide).zip(rows.chunks_exact(gate)) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
    padded
}

/// For each row or column of an image with zeros between the pixels the pixel that is there.
pub(crate) fn apart(places: &[u32], size: usize, stride: usize, [reach, cut]: [usize; 2]) -> Vec<u32> {
    let at = |index: usize| {
        // Pixel p is at p · stride + reach − cut.
        let place = (index + cut).checked_sub(reach).filter(|place| place.is_multiple_of(stride));
        place.and_then(|place| places.get(place / stride)).copied().unwrap_or(NOWHERE)
    };
    (0..size).map(at).collect()
}
