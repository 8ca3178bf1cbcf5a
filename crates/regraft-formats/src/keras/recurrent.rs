//! LSTM and GRU, in one direction and in both.

use regraft_graph::{Concat, DType, Dim, GateFunction, Op, ParameterKind, Recurrent, Tensor};

use super::network::{Builder, Operand, Use};
use super::settings::Settings;
use super::variables::Expected;
use crate::FormatError;
use crate::channels_last::{Value, permuted, reshaped};

/// The weights of one direction.
struct Cell {
    kernel: Tensor,
    state_kernel: Tensor,
    bias: Option<Tensor>,
}

/// One direction of a recurrent layer.
struct Direction<'a> {
    class: &'a str,
    settings: Settings<'a>,
    /// From the last token to the first.
    reverse: bool,
}

impl<'a> Builder<'a> {
    pub(super) fn recurrent(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let reverse = used.settings.flag(&["go_backwards"], false);
        let sequences = used.settings.flag(&["return_sequences"], false);
        if reverse && sequences {
            return Err(self.canvas.unsupported("a sequence that comes out backwards is not read"));
        }
        let input = self.tokens(used)?;
        let direction = Direction { class: used.class, settings: used.settings, reverse };
        let cell = self.cells(used, &[("cell", &direction)])?.pop();
        let cell = cell.ok_or_else(|| self.canvas.malformed("it has no weights"))?;
        let name = if sequences { used.name.to_owned() } else { format!("{}/states", used.name) };
        let states = self.direction(&name, &direction, &input, &cell)?;
        if sequences {
            return Ok(Value::declared(states));
        }
        self.last_state(used.name, &states, reverse).map(Value::declared)
    }

    pub(super) fn bidirectional(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let (class, settings) = self.wrapped(used, "layer")?;
        let (backward_class, backward) = match used.settings.get("backward_layer") {
            Some(_) => self.wrapped(used, "backward_layer")?,
            None => (class, settings),
        };
        if settings.flag(&["go_backwards"], false) {
            return Err(self.canvas.unsupported("its forward layer goes backwards"));
        }
        let directions = [
            Direction { class, settings, reverse: false },
            Direction { class: backward_class, settings: backward, reverse: true },
        ];
        let input = self.tokens(used)?;
        let parts = ["forward_layer/cell", "backward_layer/cell"];
        let parts: Vec<(&str, &Direction<'_>)> = parts.into_iter().zip(&directions).collect();
        let cells = self.cells(used, &parts)?;
        let sequences = settings.flag(&["return_sequences"], false);
        let mut ends = Vec::new();
        for ((direction, cell), side) in directions.iter().zip(&cells).zip(["forward", "backward"]) {
            let name = format!("{}/{side}", used.name);
            let states = self.direction(&name, direction, &input, cell)?;
            ends.push(if sequences {
                states
            } else {
                self.last_state(&format!("{name}_last"), &states, direction.reverse)?
            });
        }
        self.merged(used, &ends, sequences)
    }

    fn merged(&mut self, used: &Use<'a, '_>, ends: &[String], sequences: bool) -> Result<Value, FormatError> {
        let inputs: Vec<&str> = ends.iter().map(String::as_str).collect();
        let op = match used.settings.text("merge_mode").unwrap_or("none") {
            "concat" => Op::Concat(Concat { axis: if sequences { 2 } else { 1 } }),
            "sum" => Op::Add,
            "mul" => Op::Mul,
            "ave" => {
                let sum = self.canvas.add(&format!("{}/sum", used.name), Op::Add, &inputs, [])?;
                return self.canvas.pointwise(
                    used.name,
                    super::activation::power(0.5, 0.0),
                    &Value::declared(sum),
                );
            }
            _ => return Err(self.canvas.unsupported("both directions as two outputs are not read")),
        };
        Ok(Value::declared(self.canvas.add(used.name, op, &inputs, [])?))
    }

    fn tokens(&mut self, used: &Use<'a, '_>) -> Result<String, FormatError> {
        let [Operand::Value(input)] = used.operands.as_slice() else {
            return Err(self
                .canvas
                .unsupported("states that are given to it are not read; it starts from zeros"));
        };
        self.refuse_mask()?;
        self.canvas.in_order(input)
    }

    /// The weights of all directions, in the order in which Keras keeps them.
    fn cells(&self, used: &Use<'a, '_>, parts: &[(&str, &Direction<'a>)]) -> Result<Vec<Cell>, FormatError> {
        let mut expected: Vec<Expected<'_>> = Vec::new();
        for (part, direction) in parts {
            let count = if biased(direction) { 3 } else { 2 };
            let names = ["kernel", "recurrent_kernel", "bias"];
            expected.extend(names.into_iter().take(count).map(|name| (*part, name)));
        }
        let mut weights = self.some_weights(used, &expected)?.into_iter();
        let mut cells = Vec::new();
        for (_, direction) in parts {
            let (Some(kernel), Some(state_kernel)) = (weights.next(), weights.next()) else {
                return Err(self.canvas.malformed("some weights are missing"));
            };
            let bias = if biased(direction) { weights.next() } else { None };
            cells.push(Cell { kernel, state_kernel, bias });
        }
        Ok(cells)
    }

    /// The states over all tokens.
    fn direction(
        &mut self,
        name: &str,
        direction: &Direction<'a>,
        input: &str,
        cell: &Cell,
    ) -> Result<String, FormatError> {
        let settings = direction.settings;
        let broken = || self.canvas.malformed("its weights are no matrices of a fitting size");
        let [hidden, rows] = *cell.state_kernel.shape() else { return Err(broken()) };
        let [features, _] = *cell.kernel.shape() else { return Err(broken()) };
        let gru = match direction.class {
            "GRU" => true,
            "LSTM" => false,
            class => {
                return Err(self.canvas.unsupported(format!("both directions of '{class}' are not read")));
            }
        };
        let gates = if gru { 3 } else { 4 };
        if hidden.checked_mul(gates) != Some(rows) {
            return Err(broken());
        }
        // Ours are input, forget, cell, output as in Keras; reset, update, new where Keras has update, reset, new.
        let order: &[usize] = if gru { &[1, 0, 2] } else { &[0, 1, 2, 3] };
        let matrix = |tensor: &Tensor| permuted(tensor, &[1, 0]).and_then(|tensor| gates_in(&tensor, order));
        let reset_after = gru && settings.flag(&["reset_after"], false);
        let [input_bias, state_bias] = biases(cell.bias.as_ref(), rows, order).ok_or_else(broken)?;
        let tensors = [
            (ParameterKind::InputWeight, matrix(&cell.kernel).ok_or_else(broken)?),
            (ParameterKind::StateWeight, matrix(&cell.state_kernel).ok_or_else(broken)?),
            (ParameterKind::InputBias, input_bias),
            (ParameterKind::StateBias, state_bias),
        ];
        let gates = self.gates(settings)?;
        let layer = Recurrent { features, hidden, reverse: direction.reverse, gates, reset_after };
        let op = if gru { Op::Gru(layer) } else { Op::Lstm(layer) };
        self.canvas.add(name, op, &[input], tensors)
    }

    fn gates(&self, settings: Settings<'a>) -> Result<GateFunction, FormatError> {
        let old = self.origin.generation < 3;
        let state = settings.text("activation").unwrap_or("tanh");
        let gates = settings.text("recurrent_activation").or_else(|| settings.text("inner_activation"));
        match (state, gates.unwrap_or(if old { "hard_sigmoid" } else { "sigmoid" })) {
            ("tanh", "sigmoid") => Ok(GateFunction::Sigmoid),
            ("tanh", "hard_sigmoid") if old => Ok(GateFunction::HardSigmoid),
            (state, gates) => Err(self
                .canvas
                .unsupported(format!("gates with '{gates}' and states with '{state}' are not computed"))),
        }
    }

    fn last_state(&mut self, name: &str, states: &str, reverse: bool) -> Result<String, FormatError> {
        let index = match *self.canvas.sizes(states)? {
            _ if reverse => 0,
            [_, Dim::Fixed(tokens), _] if tokens > 0 => tokens - 1,
            _ => return Err(self.canvas.unsupported("it needs sequences of a fixed length")),
        };
        self.canvas.add(name, Op::SelectToken { index }, &[states], [])
    }
}

fn biased(direction: &Direction<'_>) -> bool {
    direction.settings.flag(&["use_bias"], true)
}

/// The rows of a matrix or a vector, gate by gate in another order.
fn gates_in(tensor: &Tensor, order: &[usize]) -> Option<Tensor> {
    let size = tensor.data().len() / order.len().max(1);
    let blocks: Vec<&[u8]> = tensor.data().chunks_exact(size.max(1)).collect();
    let data: Vec<u8> =
        order.iter().filter_map(|gate| blocks.get(*gate)).flat_map(|block| block.to_vec()).collect();
    Tensor::new(tensor.dtype(), tensor.shape().to_vec(), data.into()).ok()
}

/// The biases of the input's and the state's product; Keras has one for both, or with `reset_after` two.
fn biases(bias: Option<&Tensor>, rows: usize, order: &[usize]) -> Option<[Tensor; 2]> {
    let zeros = || Tensor::new(DType::F32, vec![rows], vec![0; rows.checked_mul(4)?].into()).ok();
    let Some(bias) = bias else { return Some([zeros()?, zeros()?]) };
    match *bias.shape() {
        [size] if size == rows => Some([gates_in(bias, order)?, zeros()?]),
        [2, size] if size == rows => {
            let half = bias.data().len() / 2;
            let part = |start: usize| {
                let data = bias.data().slice(start..start + half);
                let part = Tensor::new(bias.dtype(), vec![rows], data).ok()?;
                gates_in(&reshaped(&part, vec![rows])?, order)
            };
            Some([part(0)?, part(half)?])
        }
        _ => None,
    }
}
