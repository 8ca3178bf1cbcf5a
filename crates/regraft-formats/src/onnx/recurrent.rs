//! Recurrent layers: ONNX's layout and order of gates into PyTorch's.

use regraft_graph::{Concat, Dim, GateFunction, Op, ParameterKind, Recurrent};

use super::call::Call;
use super::constant::Constant;
use super::parameters::{Parameter, Parameters};
use super::reader::{Reader, label};
use super::value::Value;

/// Where the gates of the graph's layer are among ONNX's: input, output, forget, cell, and update, reset, new.
const LSTM_GATES: [usize; 4] = [0, 2, 3, 1];
const GRU_GATES: [usize; 3] = [1, 0, 2];

impl Reader<'_> {
    pub(super) fn recurrent(&mut self, call: &Call<'_>) -> Result<Vec<Value>, String> {
        check(call)?;
        let wire = call.wire(0)?;
        let batch = if call.flag("layout") { 0 } else { 1 };
        if wire.rank() != 3 || wire.shape.get(batch) != Some(&Dim::Fixed(1)) {
            return Err("its input is no batch of sequences".to_owned());
        }
        let label = label(call.node);
        let sequence = self.as_dropped(&label, &wire, &wire.shape, Some(batch))?;
        let directions: &[bool] = match call.text("direction", "forward").as_str() {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => return Err(format!("direction '{other}'")),
        };
        // Each direction's weights are copied, and all of them looked through for it.
        for input in call.inputs.iter().flatten() {
            if let Value::Constant(constant) = input {
                self.net.budget.spend(&constant.shape)?;
                self.net.budget.spend(&constant.shape)?;
            }
        }
        let mut outputs = Vec::new();
        for (index, reverse) in directions.iter().enumerate() {
            let (op, parameters) = direction(call, index, directions.len(), *reverse)?;
            let name = if directions.len() == 1 {
                label.clone()
            } else {
                format!("{label}.{}", if *reverse { "backward" } else { "forward" })
            };
            outputs.push((self.net.add(&name, op, &[&sequence], parameters)?, *reverse));
        }
        let all = self.all_states(&label, &outputs, batch)?;
        if self.is_used(call.node, 2) {
            return Err("the last cell state is not kept".to_owned());
        }
        let mut values = vec![all];
        if self.is_used(call.node, 1) {
            values.push(self.last_states(&label, &outputs, batch)?);
        }
        Ok(values)
    }

    /// The states of all tokens: S×directions×N×H, or N×S×directions×H.
    fn all_states(&mut self, label: &str, outputs: &[(String, bool)], batch: usize) -> Result<Value, String> {
        let names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
        let joined = match names.as_slice() {
            [one] => (*one).to_owned(),
            _ => self.net.add(label, Op::Concat(Concat { axis: 2 }), &names, Vec::new())?,
        };
        let dims = self.net.dims(&joined);
        let [tokens, Dim::Fixed(features)] = *dims.as_slice() else {
            return Err("it gives no sequence".to_owned());
        };
        let hidden = features / outputs.len().max(1);
        let parted = [tokens, Dim::Fixed(outputs.len()), Dim::Fixed(hidden)];
        let name = self.net.reshape(&format!("{label}.directions"), &joined, &parted)?;
        let dropped = if batch == 0 { 0 } else { 2 };
        Ok(self.value_of(name, Some(dropped)))
    }

    /// The state behind each direction's last token: directions×N×H, or N×directions×H.
    fn last_states(
        &mut self,
        label: &str,
        outputs: &[(String, bool)],
        batch: usize,
    ) -> Result<Value, String> {
        let mut states = Vec::new();
        for (name, reverse) in outputs {
            let dims = self.net.dims(name);
            let tokens = match dims.first() {
                Some(Dim::Fixed(tokens)) => *tokens,
                _ => return Err("the number of tokens is not fixed".to_owned()),
            };
            let index = if *reverse { 0 } else { tokens.saturating_sub(1) };
            states.push(self.net.add(
                &format!("{name}.last"),
                Op::SelectToken { index },
                &[name],
                Vec::new(),
            )?);
        }
        let names: Vec<&str> = states.iter().map(String::as_str).collect();
        let joined = match names.as_slice() {
            [one] => (*one).to_owned(),
            _ => {
                self.net.add(&format!("{label}.last"), Op::Concat(Concat { axis: 1 }), &names, Vec::new())?
            }
        };
        let features = self.net.dims(&joined);
        let Some(Dim::Fixed(features)) = features.first() else {
            return Err("it gives no states".to_owned());
        };
        let parted = [Dim::Fixed(outputs.len()), Dim::Fixed(features / outputs.len().max(1))];
        let name = self.net.reshape(&format!("{label}.last_directions"), &joined, &parted)?;
        Ok(self.value_of(name, Some(if batch == 0 { 0 } else { 1 })))
    }
}

/// Refuses what the graph's layers do not have.
fn check(call: &Call<'_>) -> Result<(), String> {
    let starts_from_zero = |place: usize| match call.input(place) {
        None => Ok(()),
        Some(_) => {
            let state = call.weights(place)?.float_array()?;
            let zero = state.values.iter().all(|value| *value == 0.0);
            if zero { Ok(()) } else { Err("it starts from a state that is not zero".to_owned()) }
        }
    };
    call.without(4, "a length of each sequence")?;
    starts_from_zero(5)?;
    if call.node.op_type == "LSTM" {
        starts_from_zero(6)?;
        call.without(7, "a connection from the cell to the gates")?;
    }
    if call.has("clip") || call.flag("input_forget") {
        return Err("its values are clipped, or its gates coupled".to_owned());
    }
    Ok(())
}

fn gate_function(call: &Call<'_>, directions: usize) -> Result<GateFunction, String> {
    let names = call.texts("activations");
    let functions = if call.node.op_type == "LSTM" { 3 } else { 2 };
    if names.is_empty() {
        return Ok(GateFunction::Sigmoid);
    }
    let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let first = lower.first().cloned().unwrap_or_default();
    let expected = std::iter::once(first.as_str()).chain(std::iter::repeat_n("tanh", functions - 1));
    let expected: Vec<&str> =
        std::iter::repeat_n(expected.collect::<Vec<_>>(), directions).flatten().collect();
    let all = |name, usual: f32| {
        call.floats(name).unwrap_or_default().iter().all(|value| (value - usual).abs() < 1e-6)
    };
    let usual_slope = all("activation_alpha", 0.2) && all("activation_beta", 0.5);
    match first.as_str() {
        _ if lower != expected => Err(format!("its functions are {}", names.join(", "))),
        "sigmoid" => Ok(GateFunction::Sigmoid),
        "hardsigmoid" if usual_slope => Ok(GateFunction::HardSigmoid),
        _ => Err(format!("its functions are {}", names.join(", "))),
    }
}

fn direction(
    call: &Call<'_>,
    index: usize,
    directions: usize,
    reverse: bool,
) -> Result<(Op, Parameters), String> {
    let lstm = call.node.op_type == "LSTM";
    let order: &[usize] = if lstm { &LSTM_GATES } else { &GRU_GATES };
    let (input, state) =
        (part(call.weights(1)?, index, directions)?, part(call.weights(2)?, index, directions)?);
    let ([rows, features], [_, hidden]) = (input.shape, state.shape);
    if rows != hidden.saturating_mul(order.len()) {
        return Err("its weights do not fit its number of gates".to_owned());
    }
    let biases = match call.input(3) {
        Some(_) => call.weights(3)?.float_array()?.values,
        None => vec![0.0; 2 * rows * directions],
    };
    let biases = biases.get(2 * rows * index..2 * rows * (index + 1)).ok_or("its bias is too short")?;
    let (input_bias, state_bias) = biases.split_at(rows);
    let layer = Recurrent {
        features,
        hidden,
        reverse,
        gates: gate_function(call, directions)?,
        reset_after: !lstm && call.flag("linear_before_reset"),
    };
    let tensor = |shape: Vec<usize>, values: &[f32]| {
        let row = values.len() / rows.max(1);
        Parameter::new(shape, &reordered(values, order, hidden * row))
    };
    let parameters = vec![
        (ParameterKind::InputWeight, tensor(vec![rows, features], &input.values)?),
        (ParameterKind::StateWeight, tensor(vec![rows, hidden], &state.values)?),
        (ParameterKind::InputBias, tensor(vec![rows], input_bias)?),
        (ParameterKind::StateBias, tensor(vec![rows], state_bias)?),
    ];
    Ok((if lstm { Op::Lstm(layer) } else { Op::Gru(layer) }, parameters))
}

/// One direction's weights.
struct Part {
    shape: [usize; 2],
    values: Vec<f32>,
}

fn part(constant: &Constant, index: usize, directions: usize) -> Result<Part, String> {
    let [stored, rows, columns] = constant.shape[..] else {
        return Err("its weights have not three axes".to_owned());
    };
    if stored != directions {
        return Err(format!("it has weights for {stored} directions, not {directions}"));
    }
    let size = rows.checked_mul(columns).ok_or("its weights are absurd")?;
    let values = constant.float_array()?.values;
    let values = values.get(size * index..size * (index + 1)).ok_or("its weights are too short")?;
    Ok(Part { shape: [rows, columns], values: values.to_vec() })
}

/// Gates in another order; `order` says which of the stored ones each is.
pub(super) fn reordered(values: &[f32], order: &[usize], gate: usize) -> Vec<f32> {
    let of = |place: &usize| values.get(place * gate..(place + 1) * gate).unwrap_or_default();
    order.iter().flat_map(of).copied().collect()
}
