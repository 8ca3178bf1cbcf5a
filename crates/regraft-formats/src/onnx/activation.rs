//! Functions of single values, reductions and the softmax.

use regraft_graph::{Approximation, Dim, Elu, Gelu, LeakyRelu, Op, Power, Reduce, ReduceKind};

use super::arithmetic::clip;
use super::call::{Call, axis};
use super::patterns::close;
use super::reader::{Reader, label};
use super::value::{Value, Wire};

impl Reader<'_> {
    /// A function of single values; `None` for an unknown operator.
    pub(super) fn activation(&mut self, call: &Call<'_>) -> Result<Option<Value>, String> {
        let power = |scale, shift, power| Op::Power(Power { scale, shift, power });
        let ops = match call.node.op_type.as_str() {
            "Relu" => vec![Op::Relu],
            "Sigmoid" => vec![Op::Sigmoid],
            "Tanh" => vec![Op::Tanh],
            "Softplus" => vec![Op::Softplus],
            "Exp" => vec![Op::Exp],
            "Log" => vec![Op::Log],
            "Abs" => vec![Op::Abs],
            "Neg" => vec![power(-1.0, 0.0, 1.0)],
            "Sqrt" => vec![power(1.0, 0.0, 0.5)],
            "Reciprocal" => vec![power(1.0, 0.0, -1.0)],
            "HardSwish" => vec![Op::HardSwish],
            "Elu" => vec![Op::Elu(Elu { alpha: call.float("alpha", 1.0) })],
            "LeakyRelu" => vec![Op::LeakyRelu(LeakyRelu { alpha: call.float("alpha", 0.01) })],
            "Celu" => {
                // max(x, 0) + min(0, α (exp(x / α) − 1)) is α times an ELU of x / α.
                let alpha = call.float("alpha", 1.0);
                let scaled = |scale| power(scale, 0.0, 1.0);
                vec![scaled(1.0 / alpha), Op::Elu(Elu { alpha: 1.0 }), scaled(alpha)]
            }
            "Selu" => {
                let alpha = call.float("alpha", 1.673_263_2);
                vec![Op::Elu(Elu { alpha }), power(call.float("gamma", 1.050_701), 0.0, 1.0)]
            }
            "Gelu" => {
                let tanh = call.text("approximate", "none") == "tanh";
                let approximate = if tanh { Approximation::Tanh } else { Approximation::None };
                vec![Op::Gelu(Gelu { approximate })]
            }
            "HardSigmoid" => {
                let (alpha, beta) = (call.float("alpha", 0.2), call.float("beta", 0.5));
                if close(alpha.into(), 1.0 / 6.0) && beta == 0.5 {
                    vec![Op::HardSigmoid]
                } else {
                    vec![power(alpha, beta, 1.0), clip(0.0, 1.0)]
                }
            }
            "Clip" => vec![self.clip(call)?],
            "Dropout" => vec![Op::Dropout { ratio: dropout_ratio(call) }],
            "Mish" => return self.mish(call).map(Some),
            _ => return Ok(None),
        };
        let mut value = Value::Wire(call.wire(0)?);
        for op in ops {
            let Value::Wire(wire) = &value else { break };
            value = self.map(call, op, &wire.clone())?;
        }
        Ok(Some(value))
    }

    fn clip(&mut self, call: &Call<'_>) -> Result<Op, String> {
        let bound = |place, name, default| match call.input(place) {
            Some(_) => call.weights(place)?.number().ok_or_else(|| format!("its {name} is no number")),
            None => Ok(call.float(name, default)),
        };
        let (low, high) = (bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?);
        if low.is_nan() || high.is_nan() {
            return Err("its bounds are not numbers".to_owned());
        }
        Ok(clip(low.max(f32::MIN), high.min(f32::MAX)))
    }

    /// `x · tanh(ln(1 + exp(x)))`.
    fn mish(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        let name = label(call.node);
        let soft = self.net.add(&format!("{name}.softplus"), Op::Softplus, &[&wire.name], Vec::new())?;
        let gate = self.net.add(&format!("{name}.tanh"), Op::Tanh, &[&soft], Vec::new())?;
        let name = self.net.add(&name, Op::Mul, &[&wire.name, &gate], Vec::new())?;
        Ok(Value::Wire(Wire { name, ..wire }))
    }

    pub(super) fn reduce(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        let kind = match call.node.op_type.as_str() {
            "ReduceMean" => ReduceKind::Mean,
            "ReduceMax" => ReduceKind::Max,
            "ReduceMin" => ReduceKind::Min,
            "ReduceL2" => ReduceKind::L2,
            _ => ReduceKind::Sum,
        };
        let axes = reduced_axes(call, wire.rank())?;
        if axes.is_empty() && wire.rank() > 0 {
            return Ok(Value::Wire(wire));
        }
        let squares = call.node.op_type == "ReduceSumSquare";
        let wire = if squares {
            let square = Op::Power(Power { scale: 1.0, shift: 0.0, power: 2.0 });
            match self.map(call, square, &wire)? {
                Value::Wire(wire) => wire,
                Value::Constant(_) => return Err("its input is known".to_owned()),
            }
        } else {
            wire
        };
        self.reduced(call, &wire, kind, &axes, call.int("keepdims", 1) != 0)
    }

    /// A reduction over the file's axes. The axis that the graph's wire lacks has one value and needs none.
    fn reduced(
        &mut self,
        call: &Call<'_>,
        wire: &Wire,
        kind: ReduceKind,
        axes: &[usize],
        keep_axes: bool,
    ) -> Result<Value, String> {
        let mut own: Vec<usize> = axes.iter().filter_map(|axis| wire.graph_axis(*axis)).collect();
        own.sort_unstable();
        own.dedup();
        let mut name = wire.name.clone();
        if !own.is_empty() {
            let reduce = Op::Reduce(Reduce { kind, axes: own, keep_axes });
            name = self.net.add(&label(call.node), reduce, &[&name], Vec::new())?;
        } else if kind == ReduceKind::L2 {
            name = self.net.add(&label(call.node), Op::Abs, &[&name], Vec::new())?;
        }
        if keep_axes {
            return Ok(self.value_of(name, wire.dropped));
        }
        // Where the missing axis was among them, none is missing any more.
        let dropped = wire.dropped.filter(|axis| !axes.contains(axis));
        Ok(self.value_of(name, dropped.map(|axis| axis - axes.iter().filter(|other| **other < axis).count())))
    }

    pub(super) fn global_pool(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        let image = self.image(call, &wire)?;
        let op = if call.node.op_type == "GlobalAveragePool" {
            Op::GlobalAveragePool
        } else {
            Op::Reduce(Reduce { kind: ReduceKind::Max, axes: vec![2, 3], keep_axes: true })
        };
        let name = self.net.add(&label(call.node), op, &[&image], Vec::new())?;
        self.image_value(call, wire.rank(), name)
    }

    pub(super) fn softmax(&mut self, call: &Call<'_>) -> Result<Value, String> {
        let wire = call.wire(0)?;
        let axis = axis(call.int("axis", if call.opset < 13 { 1 } else { -1 }), wire.rank())?;
        let result = if call.opset < 13 && axis + 1 < wire.rank() {
            self.flat_softmax(call, &wire, axis)?
        } else {
            self.softmax_over(call, &wire, axis)?
        };
        Ok(Value::Wire(result))
    }

    /// Before version 13, over all axes from one on together.
    fn flat_softmax(&mut self, call: &Call<'_>, wire: &Wire, axis: usize) -> Result<Wire, String> {
        let sizes = wire.sizes()?;
        let (outer, inner) = sizes.split_at_checked(axis).unwrap_or_default();
        let count = |sizes| super::array::count(sizes).map(Dim::Fixed).ok_or("its input is absurdly large");
        let shape = vec![count(outer)?, count(inner)?];
        let dropped = (shape.first() == Some(&Dim::Fixed(1))).then_some(0);
        let name = self.as_dropped(&label(call.node), wire, &shape, dropped)?;
        let flat =
            self.softmax_over(call, &Wire { kind: wire.kind, ..Wire::new(name, shape, dropped) }, 1)?;
        let name = self.as_dropped(&label(call.node), &flat, &wire.shape, wire.dropped)?;
        Ok(Wire { name, ..wire.clone() })
    }

    fn softmax_over(&mut self, call: &Call<'_>, wire: &Wire, axis: usize) -> Result<Wire, String> {
        let last = wire.rank() - 1;
        if wire.graph_axis(axis).is_none() {
            return Err("it goes over an axis of size 1".to_owned());
        }
        let mut order: Vec<usize> = (0..wire.rank()).collect();
        order.swap(axis, last);
        let label = label(call.node);
        let turned = self.reordered(&format!("{label}.turned"), wire, &order)?;
        let name = if call.node.op_type == "Softmax" {
            self.net.add(&label, Op::Softmax, &[&turned.name], Vec::new())?
        } else {
            self.log_softmax(&label, &turned.name)?
        };
        self.reordered(&format!("{label}.turned_back"), &Wire { name, ..turned }, &order)
    }
}

impl Reader<'_> {
    /// `x − max − ln Σ exp(x − max)` over the last axis: the logarithm of a softmax is lost where that underflows.
    fn log_softmax(&mut self, label: &str, wire: &str) -> Result<String, String> {
        let axis = self.net.dims(wire).len();
        let over = |kind| Op::Reduce(Reduce { kind, axes: vec![axis], keep_axes: true });
        let part = |part: &str| format!("{label}.{part}");
        let net = &mut self.net;
        let largest = net.add(&part("largest"), over(ReduceKind::Max), &[wire], Vec::new())?;
        let below = net.add(&part("below"), Op::Sub, &[wire, &largest], Vec::new())?;
        let powers = net.add(&part("powers"), Op::Exp, &[&below], Vec::new())?;
        let sum = net.add(&part("sum"), over(ReduceKind::Sum), &[&powers], Vec::new())?;
        let log = net.add(&part("log"), Op::Log, &[&sum], Vec::new())?;
        net.add(label, Op::Sub, &[&below, &log], Vec::new())
    }
}

/// The axes that a reduction goes over: all of them where it names none, unless it says that these are none.
pub(super) fn reduced_axes(call: &Call<'_>, rank: usize) -> Result<Vec<usize>, String> {
    let axes = call.setting(1, "axes")?.unwrap_or_default();
    match axes.as_slice() {
        [] if call.flag("noop_with_empty_axes") => Ok(Vec::new()),
        [] => Ok((0..rank).collect()),
        axes => axes.iter().map(|number| axis(*number, rank)).collect(),
    }
}

fn dropout_ratio(call: &Call<'_>) -> f64 {
    let input = call.constant(1).and_then(super::constant::Constant::number);
    f64::from(input.unwrap_or_else(|| call.float("ratio", 0.5)))
}
