//! Layers that compute each number of their output from the one in its place.

use regraft_graph::{Clip, Elu, LeakyRelu, Op, PRelu, ParameterKind, Power};

use super::{Problem, Site, contradiction, unsupported};
use crate::caffe::tree::{FieldError, Message};

pub(super) fn function(site: &mut Site<'_>) -> Result<String, Problem> {
    let op = match site.layer.kind.as_str() {
        "ReLU" => relu(site.attributes("relu_param"))?,
        "ReLU6" => Op::Clip(Clip { min: 0.0, max: 6.0 }),
        "Sigmoid" => Op::Sigmoid,
        "TanH" => Op::Tanh,
        "AbsVal" => Op::Abs,
        "BNLL" => Op::Softplus,
        "ELU" => Op::Elu(Elu { alpha: float(site.attributes("elu_param"), "alpha", 1.0)? }),
        "Clip" => clip(site.attributes("clip_param"))?,
        "Power" => power(site.attributes("power_param"))?,
        "Dropout" => {
            let ratio = site.attributes("dropout_param").number("dropout_ratio")?.unwrap_or(0.5);
            Op::Dropout { ratio }
        }
        "PReLU" => return prelu(site),
        "Swish" => return swish(site),
        "Exp" => return exponential(site),
        "Log" => return logarithm(site),
        _ => {
            return unsupported(
                "no layer of this kind is known; give it another name or cut the network before it",
            );
        }
    };
    site.unary(op)
}

/// A number, in single precision.
fn float(attributes: &Message, name: &str, default: f32) -> Result<f32, FieldError> {
    Ok(attributes.number(name)?.map_or(default, |number| number as f32))
}

fn relu(attributes: &Message) -> Result<Op, Problem> {
    let alpha = float(attributes, "negative_slope", 0.0)?;
    Ok(if alpha == 0.0 { Op::Relu } else { Op::LeakyRelu(LeakyRelu { alpha }) })
}

fn clip(attributes: &Message) -> Result<Op, Problem> {
    match (attributes.number("min")?, attributes.number("max")?) {
        (Some(min), Some(max)) => Ok(Op::Clip(Clip { min: min as f32, max: max as f32 })),
        _ => contradiction("'min' and 'max' must be given"),
    }
}

fn power(attributes: &Message) -> Result<Op, Problem> {
    Ok(Op::Power(Power {
        scale: float(attributes, "scale", 1.0)?,
        shift: float(attributes, "shift", 0.0)?,
        power: float(attributes, "power", 1.0)?,
    }))
}

fn prelu(site: &mut Site<'_>) -> Result<String, Problem> {
    let shared = site.attributes("prelu_param").flag("channel_shared", false)?;
    let (shape, channels) = site.channels()?;
    if !shared && !matches!(shape.len(), 2 | 4) {
        return unsupported("slopes for each channel of what is neither vector nor image");
    }
    let slopes = if shared { 1 } else { channels };
    let tensors = vec![(ParameterKind::Weight, site.tensor(0, vec![slopes])?)];
    let input = site.input(0)?.to_owned();
    site.add(Op::PRelu(PRelu { slopes }), &[&input], tensors)
}

fn swish(site: &mut Site<'_>) -> Result<String, Problem> {
    let beta = float(site.attributes("swish_param"), "beta", 1.0)?;
    if beta == 1.0 {
        return site.unary(Op::Silu);
    }
    let input = site.input(0)?.to_owned();
    let scaled = site.prepare("scale", linear(beta, 0.0), &[&input], vec![])?;
    let gate = site.prepare("sigmoid", Op::Sigmoid, &[&scaled], vec![])?;
    site.add(Op::Mul, &[&input, &gate], vec![])
}

fn linear(scale: f32, shift: f32) -> Op {
    Op::Power(Power { scale, shift, power: 1.0 })
}

/// The natural logarithm of a layer's base, which is e where it is −1.
fn logarithm_of_base(attributes: &Message) -> Result<f32, Problem> {
    let base = float(attributes, "base", -1.0)?;
    let logarithm = if base == -1.0 { 1.0 } else { base.ln() };
    let usable = logarithm.is_finite() && logarithm != 0.0;
    if usable { Ok(logarithm) } else { contradiction(format!("a base of {base}")) }
}

/// `base^(scale · x + shift)`.
fn exponential(site: &mut Site<'_>) -> Result<String, Problem> {
    let attributes = site.attributes("exp_param");
    let factor = logarithm_of_base(attributes)?;
    let scale = float(attributes, "scale", 1.0)? * factor;
    let shift = float(attributes, "shift", 0.0)? * factor;
    let mut input = site.input(0)?.to_owned();
    if (scale, shift) != (1.0, 0.0) {
        input = site.prepare("scale", linear(scale, shift), &[&input], vec![])?;
    }
    site.add(Op::Exp, &[&input], vec![])
}

/// The logarithm of `scale · x + shift`.
fn logarithm(site: &mut Site<'_>) -> Result<String, Problem> {
    let attributes = site.attributes("log_param");
    let factor = 1.0 / logarithm_of_base(attributes)?;
    let (scale, shift) = (float(attributes, "scale", 1.0)?, float(attributes, "shift", 0.0)?);
    let mut input = site.input(0)?.to_owned();
    if (scale, shift) != (1.0, 0.0) {
        input = site.prepare("scale", linear(scale, shift), &[&input], vec![])?;
    }
    if factor == 1.0 {
        return site.add(Op::Log, &[&input], vec![]);
    }
    let natural = site.prepare("log", Op::Log, &[&input], vec![])?;
    site.add(linear(factor, 0.0), &[&natural], vec![])
}
