//! Sums, products and the like, of wires and constants that repeat along axes.

use regraft_graph::{Clip, Dim, Op, ParameterKind, PositionEmbedding, Power, Scale};

use super::call::Call;
use super::constant::Constant;
use super::parameters::Parameter;
use super::reader::{Reader, label};
use super::value::{Value, Wire};

/// Two wires of the graph with as many axes, and the axis of the file's values that both lack.
pub(super) struct Aligned {
    pub(super) left: String,
    pub(super) right: String,
    pub(super) dropped: Option<usize>,
}

/// The same shape with axes of size 1 in front.
pub(super) fn padded(shape: &[Dim], rank: usize) -> Vec<Dim> {
    let new = rank.saturating_sub(shape.len());
    [vec![Dim::Fixed(1); new], shape.to_vec()].concat()
}

/// An axis of size 1 in both, if there is one: that which a wire lacks already, so that nothing is reshaped.
fn common_drop(shapes: [&[Dim]; 2], preferred: [Option<usize>; 2], last: usize) -> Option<usize> {
    let both =
        |axis: &usize| *axis < last && shapes.iter().all(|shape| shape.get(*axis) == Some(&Dim::Fixed(1)));
    preferred.into_iter().flatten().find(both).or_else(|| (0..last).find(both))
}

impl Reader<'_> {
    /// Brings two wires to one number of axes; the last `kept` axes stay.
    pub(super) fn aligned(
        &mut self,
        call: &Call<'_>,
        left: &Wire,
        right: &Wire,
        kept: usize,
    ) -> Result<Aligned, String> {
        let rank = left.rank().max(right.rank());
        let shapes = [padded(&left.shape, rank), padded(&right.shape, rank)];
        let shifted = |wire: &Wire| wire.dropped.map(|axis| axis + rank - wire.rank());
        let [first, second] = &shapes;
        let last = rank.saturating_sub(kept);
        let dropped = common_drop([first, second], [shifted(left), shifted(right)], last);
        let label = label(call.node);
        Ok(Aligned {
            left: self.as_dropped(&label, left, first, dropped)?,
            right: self.as_dropped(&label, right, second, dropped)?,
            dropped,
        })
    }

    pub(super) fn arithmetic(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let operator = match call.node.op_type.as_str() {
            "Sum" | "Mean" => "Add",
            other => other,
        };
        let values =
            (0..call.inputs.len()).map(|place| call.input(place).cloned().ok_or("an input is missing"));
        let mut values = values.collect::<Result<Vec<_>, _>>()?.into_iter();
        let mut result = values.next().ok_or("it has no inputs")?;
        for value in values {
            result = self.pair(call, operator, &result, &value)?;
        }
        let Value::Wire(wire) = &result else { return Ok(result) };
        if call.node.op_type == "Mean" {
            let power = Power { scale: 1.0 / call.inputs.len() as f32, shift: 0.0, power: 1.0 };
            return self.map(call, Op::Power(power), wire);
        }
        Ok(result)
    }

    fn pair(
        &mut self,
        call: &Call<'_>,
        operator: &str,
        left: &Value,
        right: &Value,
    ) -> Result<Value, String> {
        match (left, right) {
            (Value::Wire(left), Value::Wire(right)) => {
                let op = wires_op(operator).ok_or("its exponent is computed from the image")?;
                let Aligned { left, right, dropped } = self.aligned(call, left, right, 0)?;
                let name = self.net.add(&label(call.node), op, &[&left, &right], Vec::new())?;
                Ok(self.value_of(name, dropped))
            }
            (Value::Wire(wire), Value::Constant(constant)) => {
                self.with_constant(call, operator, wire, constant, false)
            }
            (Value::Constant(constant), Value::Wire(wire)) => {
                self.with_constant(call, operator, wire, constant, true)
            }
            (Value::Constant(_), Value::Constant(_)) => {
                Err("constants of such a kind are not added up".to_owned())
            }
        }
    }

    /// A wire and a constant; `first` if the constant is the first operand.
    fn with_constant(
        &mut self,
        call: &Call<'_>,
        operator: &str,
        wire: &Wire,
        constant: &Constant,
        first: bool,
    ) -> Result<Value, String> {
        if let super::constant::Data::Unreadable(reason) = &constant.data {
            return Err(reason.clone());
        }
        let rank = wire.rank().max(constant.shape.len());
        let shape = padded(&wire.shape, rank);
        let dims: Vec<Dim> = constant.shape.iter().copied().map(Dim::Fixed).collect();
        let numbers = padded(&dims, rank);
        let shifted = wire.dropped.map(|axis| axis + rank - wire.rank());
        let dropped = common_drop([&shape, &numbers], [shifted, None], rank);
        let name = self.as_dropped(&label(call.node), wire, &shape, dropped)?;
        let wire = Wire::new(name, shape, dropped);
        if let Some(number) = constant.number() {
            return self.with_number(call, operator, &wire, number, first);
        }
        if let Some(value) = self.with_channels(call, operator, &wire, constant, &numbers, first)? {
            return Ok(value);
        }
        let own = super::fold::fixed(&Wire::without(&numbers, dropped))?;
        let label = label(call.node);
        if operator == "Add"
            && own.len() == 2
            && self.net.dims(&wire.name) == Wire::without(&numbers, dropped)
        {
            return self.position(call, &wire, constant, &own);
        }
        let op = wires_op(operator).ok_or("its exponents are several numbers")?;
        let constant = self.constant_wire(&label, constant, own)?;
        let inputs = if first { [constant.as_str(), &wire.name] } else { [&wire.name, constant.as_str()] };
        let name = self.net.add(&label, op, &inputs, Vec::new())?;
        Ok(self.value_of(name, dropped))
    }

    fn position(
        &mut self,
        call: &Call<'_>,
        wire: &Wire,
        constant: &Constant,
        sizes: &[usize],
    ) -> Result<Value, String> {
        let [tokens, features] = *sizes else { return Err("it adds no vector to each token".to_owned()) };
        let table = self.net.parameter(constant, vec![1, tokens, features])?;
        let op = Op::PositionEmbedding(PositionEmbedding { tokens, features, shorter: false });
        self.map_with(call, op, wire, vec![(ParameterKind::Position, table)])
    }

    fn with_number(
        &mut self,
        call: &Call<'_>,
        operator: &str,
        wire: &Wire,
        number: f32,
        first: bool,
    ) -> Result<Value, String> {
        let power = |scale, shift, power| Op::Power(Power { scale, shift, power });
        let op = match (operator, first) {
            ("Add", _) => power(1.0, number, 1.0),
            ("Sub", false) => power(1.0, -number, 1.0),
            ("Sub", true) => power(-1.0, number, 1.0),
            ("Mul", _) => power(number, 0.0, 1.0),
            ("Div", false) => power(1.0 / number, 0.0, 1.0),
            ("Div", true) => power(1.0 / number, 0.0, -1.0),
            ("Pow", false) => power(1.0, 0.0, number),
            ("Max", _) => clip(number, f32::MAX),
            ("Min", _) => clip(f32::MIN, number),
            ("Pow", true) if number > 0.0 => {
                let exponent = self.map(call, power(number.ln(), 0.0, 1.0), wire)?;
                let Value::Wire(exponent) = exponent else { return Ok(exponent) };
                return self.map(call, Op::Exp, &exponent);
            }
            _ => return Err(format!("{operator} with the number {number}")),
        };
        if let Op::Power(Power { scale, shift, power }) = &op
            && !(scale.is_finite() && shift.is_finite() && power.is_finite())
        {
            return Err(format!("{operator} with the number {number}"));
        }
        self.map(call, op, wire)
    }

    /// One number for each channel, if it is that.
    fn with_channels(
        &mut self,
        call: &Call<'_>,
        operator: &str,
        wire: &Wire,
        constant: &Constant,
        numbers: &[Dim],
        first: bool,
    ) -> Result<Option<Value>, String> {
        let mut several = numbers.iter().enumerate().filter(|(_, dim)| **dim != Dim::Fixed(1));
        let (Some((axis, size)), None) = (several.next(), several.next()) else { return Ok(None) };
        let rank = self.net.dims(&wire.name).len();
        let channels = match (rank, wire.graph_axis(axis)) {
            (1, Some(1)) | (2, Some(2)) | (3, Some(1)) => false,
            (3, Some(3)) => true,
            _ => return Ok(None),
        };
        if wire.shape.get(axis) != Some(size) {
            return Ok(None);
        }
        let label = label(call.node);
        let source = if channels {
            self.net.transpose(&format!("{label}.channels_first"), &wire.name, &[0, 3, 1, 2])?
        } else {
            wire.name.clone()
        };
        let Some(result) = self.scaled(&label, operator, &source, constant, first)? else { return Ok(None) };
        let name = if channels {
            self.net.transpose(&format!("{label}.channels_last"), &result, &[0, 2, 3, 1])?
        } else {
            result
        };
        Ok(Some(Value::Wire(Wire { name, ..wire.clone() })))
    }

    /// Arithmetic with a number for each channel.
    fn scaled(
        &mut self,
        label: &str,
        operator: &str,
        wire: &str,
        constant: &Constant,
        first: bool,
    ) -> Result<Option<String>, String> {
        let channels = constant.len();
        let net = &mut self.net;
        let shape = vec![channels];
        let (weight, bias): (Parameter, _) = match (operator, first) {
            ("Mul", _) => (net.parameter(constant, shape)?, None),
            ("Div", false) => (net.mapped(constant, shape, f32::recip)?, None),
            ("Add", _) => {
                let bias = net.parameter(constant, shape)?;
                return net.add_bias(label, wire, bias).map(Some);
            }
            ("Sub", false) => {
                let bias = net.mapped(constant, shape, |value| -value)?;
                return net.add_bias(label, wire, bias).map(Some);
            }
            ("Sub", true) => {
                let weight = net.mapped(constant, shape.clone(), |_| -1.0)?;
                (weight, Some(net.parameter(constant, shape)?))
            }
            _ => return Ok(None),
        };
        let op = Op::Scale(Scale { channels, bias: bias.is_some() });
        let bias = bias.map(|bias| (ParameterKind::Bias, bias));
        let parameters = std::iter::once((ParameterKind::Weight, weight)).chain(bias).collect();
        self.net.add(label, op, &[wire], parameters).map(Some)
    }
}

pub(super) fn clip(min: f32, max: f32) -> Op {
    if (min, max) == (0.0, f32::MAX) { Op::Relu } else { Op::Clip(Clip { min, max }) }
}

fn wires_op(operator: &str) -> Option<Op> {
    Some(match operator {
        "Add" => Op::Add,
        "Sub" => Op::Sub,
        "Mul" => Op::Mul,
        "Div" => Op::Div,
        "Max" => Op::Max,
        "Min" => Op::Min,
        _ => return None,
    })
}
