//! Layers that combine several inputs, and arithmetic with numbers.

use regraft_graph::{Clip, Concat, Dim, Op, Power, Reduce, ReduceKind};

use super::activation::power;
use super::network::{Builder, Operand, Use};
use crate::FormatError;
use crate::channels_last::{Order, Value};

/// What two inputs are combined by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Add,
    Subtract,
    Multiply,
    Divide,
    Maximum,
    Minimum,
}

impl<'a> Builder<'a> {
    /// The layer, if it combines inputs or computes with a number; `None` for another class.
    pub(super) fn merge(&mut self, used: &Use<'a, '_>) -> Result<Option<Value>, FormatError> {
        let class = match used.class {
            "Merge" => used.settings.text("mode").unwrap_or("sum"),
            "TFOpLambda" => used.settings.text("function").unwrap_or_default(),
            class => class,
        };
        let kind = match class {
            "Add" | "sum" | "math.add" | "__operators__.add" => Kind::Add,
            "Subtract" | "math.subtract" | "__operators__.sub" => Kind::Subtract,
            "Multiply" | "mul" | "math.multiply" | "__operators__.mul" => Kind::Multiply,
            "TrueDivide" | "Divide" | "math.truediv" | "math.divide" | "__operators__.truediv" => {
                Kind::Divide
            }
            "Maximum" | "max" | "math.maximum" => Kind::Maximum,
            "Minimum" | "math.minimum" => Kind::Minimum,
            "Average" | "ave" => return self.average(used).map(Some),
            "Concatenate" | "concat" => return self.concatenate(used).map(Some),
            "Dot" | "dot" => return self.dot(used).map(Some),
            function if used.class == "TFOpLambda" => return self.tensorflow_function(used, function),
            _ => return Ok(None),
        };
        self.fold(used.name, kind, &used.operands).map(Some)
    }

    fn tensorflow_function(
        &mut self,
        used: &Use<'a, '_>,
        function: &str,
    ) -> Result<Option<Value>, FormatError> {
        let Some((_, name)) = function.rsplit_once('.') else { return Ok(None) };
        let known = ["relu", "relu6", "sigmoid", "tanh", "softmax", "elu", "silu", "softplus", "selu"];
        if !known.contains(&name) {
            return Ok(None);
        }
        let input = self.one(used)?;
        self.function(used.name, name, &input).map(Some)
    }

    /// All operands one after the other; the last node has the layer's name.
    fn fold(&mut self, name: &str, kind: Kind, operands: &[Operand]) -> Result<Value, FormatError> {
        let [first, rest @ ..] = operands else {
            return Err(self.canvas.malformed("it has no inputs"));
        };
        let mut sum = first.clone();
        for (place, operand) in rest.iter().enumerate() {
            let last = place + 1 == rest.len();
            let name = if last { name.to_owned() } else { format!("{name}/{}", place + 1) };
            sum = Operand::Value(self.pair(&name, kind, &sum, operand)?);
        }
        match sum {
            Operand::Value(value) => Ok(value),
            Operand::Number(_) => Err(self.canvas.unsupported("it computes with numbers only")),
        }
    }

    fn pair(
        &mut self,
        name: &str,
        kind: Kind,
        left: &Operand,
        right: &Operand,
    ) -> Result<Value, FormatError> {
        match (left, right) {
            (Operand::Value(left), Operand::Value(right)) => self.elementwise(name, kind, left, right),
            (Operand::Value(value), Operand::Number(number)) => {
                self.canvas.pointwise(name, with_number(kind, *number as f32), value)
            }
            (Operand::Number(number), Operand::Value(value)) => {
                self.canvas.pointwise(name, of_number(kind, *number as f32), value)
            }
            _ => Err(self.canvas.unsupported("it computes with numbers only")),
        }
    }

    fn elementwise(
        &mut self,
        name: &str,
        kind: Kind,
        left: &Value,
        right: &Value,
    ) -> Result<Value, FormatError> {
        let rank = self.canvas.shape(left)?.len().max(self.canvas.shape(right)?.len());
        let values = [self.with_rank(left, rank)?, self.with_rank(right, rank)?];
        let (wires, order) = self.canvas.alike(&values)?;
        let inputs: Vec<&str> = wires.iter().map(String::as_str).collect();
        let op = match kind {
            Kind::Add => Op::Add,
            Kind::Subtract => Op::Sub,
            Kind::Multiply => Op::Mul,
            Kind::Divide => Op::Div,
            Kind::Maximum => Op::Max,
            Kind::Minimum => Op::Min,
        };
        Ok(Value { wire: self.canvas.add(name, op, &inputs, [])?, order })
    }

    /// Where an input has fewer axes, Keras puts axes of size 1 behind the batch.
    fn with_rank(&mut self, value: &Value, rank: usize) -> Result<Value, FormatError> {
        let shape = self.canvas.shape(value)?;
        if shape.len() >= rank {
            return Ok(value.clone());
        }
        let wire = self.canvas.in_order(value)?;
        let sizes: Option<Vec<usize>> = shape.iter().skip(1).map(|dim| fixed(*dim)).collect();
        let sizes = sizes.ok_or_else(|| self.canvas.unsupported("an input's size is not known"))?;
        let ones = vec![1; rank - shape.len()];
        let wire = self.canvas.reshape("expand", &wire, &[ones, sizes].concat())?;
        Ok(Value::declared(wire))
    }

    fn average(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let sum = self.fold(&format!("{}/sum", used.name), Kind::Add, &used.operands)?;
        let count = used.operands.len() as f32;
        self.canvas.pointwise(used.name, power(1.0 / count, 0.0), &sum)
    }

    fn concatenate(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let mut values = self.several(used)?;
        for value in &mut values {
            if let Order::Flattened(_) = value.order {
                *value = Value::declared(self.canvas.in_order(value)?);
            }
        }
        let (wires, order) = self.canvas.alike(&values)?;
        let first = wires.first().ok_or_else(|| self.canvas.malformed("it has no inputs"))?;
        let value = Value { wire: first.clone(), order };
        let axis = used.settings.integers(&["axis", "concat_axis"]).unwrap_or_else(|| vec![-1]);
        let axis = self.resolve_axis(&value, &axis)?;
        let inputs: Vec<&str> = wires.iter().map(String::as_str).collect();
        let op = Op::Concat(Concat { axis: self.canvas.axis(&value, axis) });
        Ok(value.with(self.canvas.add(used.name, op, &inputs, [])?))
    }

    /// One axis behind the batch, counted from the end where it is negative.
    pub(super) fn resolve_axis(&self, value: &Value, axes: &[i64]) -> Result<usize, FormatError> {
        let rank = self.canvas.shape(value)?.len();
        let from_end = |axis: i64| if axis < 0 { axis + i64::try_from(rank).unwrap_or(0) } else { axis };
        let axis = match axes {
            [axis] => usize::try_from(from_end(*axis)).ok().filter(|axis| (1..rank).contains(axis)),
            _ => None,
        };
        axis.ok_or_else(|| self.canvas.unsupported(format!("it works along the axes {axes:?} of {rank}")))
    }

    /// The sum of products of two vectors.
    fn dot(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let values = self.several(used)?;
        let mut vectors = values.len() == 2;
        for value in &values {
            vectors &= self.canvas.shape(value)?.len() == 2;
        }
        if !vectors || used.settings.flag(&["normalize"], false) {
            return Err(self.canvas.unsupported("only the product of two vectors as they are is computed"));
        }
        let products = self.fold(&format!("{}/products", used.name), Kind::Multiply, &used.operands)?;
        let op = Op::Reduce(Reduce { kind: ReduceKind::Sum, axes: vec![1], keep_axes: true });
        Ok(Value::declared(self.canvas.add(used.name, op, &[&products.wire], [])?))
    }
}

fn with_number(kind: Kind, number: f32) -> Op {
    match kind {
        Kind::Add => power(1.0, number),
        Kind::Subtract => power(1.0, -number),
        Kind::Multiply => power(number, 0.0),
        Kind::Divide => power(1.0 / number, 0.0),
        Kind::Maximum => Op::Clip(Clip { min: number, max: f32::MAX }),
        Kind::Minimum => Op::Clip(Clip { min: f32::MIN, max: number }),
    }
}

/// The same with the number first.
fn of_number(kind: Kind, number: f32) -> Op {
    match kind {
        Kind::Subtract => power(-1.0, number),
        Kind::Divide => Op::Power(Power { scale: 1.0 / number, shift: 0.0, power: -1.0 }),
        kind => with_number(kind, number),
    }
}

pub(super) fn fixed(dim: Dim) -> Option<usize> {
    if let Dim::Fixed(size) = dim { Some(size) } else { None }
}
