//! Activations, as a layer's argument and as layers.

use regraft_graph::{Approximation, Clip, Elu, Gelu, LeakyRelu, Op, PRelu, ParameterKind, Power};
use serde_json::Value as Json;

use super::network::{Builder, Use};
use super::settings::Settings;
use crate::FormatError;
use crate::channels_last::{Order, Value, reshaped};

/// Factor and limit of `selu`, from which Keras computes in single precision.
const SELU_SCALE: f32 = 1.050_701;
const SELU_ALPHA: f32 = 1.673_263_2;

impl<'a> Builder<'a> {
    /// What a layer's main node is called: as the layer, whose output the last node is, unless an activation follows.
    pub(super) fn inner_name(&self, used: &Use<'a, '_>) -> String {
        let linear = self.activation_of(used).is_none_or(is_linear);
        if linear { used.name.to_owned() } else { format!("{}/linear", used.name) }
    }

    /// Adds the activation that a layer ends with.
    pub(super) fn activated(&mut self, used: &Use<'a, '_>, value: &Value) -> Result<Value, FormatError> {
        match self.activation_of(used) {
            Some(activation) => self.activation(used.name, activation, value),
            None => Ok(value.clone()),
        }
    }

    fn activation_of(&self, used: &Use<'a, '_>) -> Option<&'a Json> {
        used.settings.get("activation")
    }

    /// An activation by its name, or as an object that names it.
    pub(super) fn activation(
        &mut self,
        name: &str,
        activation: &'a Json,
        value: &Value,
    ) -> Result<Value, FormatError> {
        if let Some(function) = function_name(activation) {
            return self.function(name, function, value);
        }
        let class = activation.get("class_name").and_then(Json::as_str);
        let (Some(class), Some(config)) = (class, activation.get("config")) else {
            return Err(self.canvas.malformed("its activation has no name"));
        };
        let added = self.rectifier(name, class, Settings::of(config), value)?;
        added.ok_or_else(|| self.unknown(class))
    }

    fn unknown(&self, function: &str) -> FormatError {
        self.canvas.unsupported(format!(
            "the activation '{function}' is not one that is read; code in a file is never run, \
             use an activation of Keras"
        ))
    }

    pub(super) fn function(
        &mut self,
        name: &str,
        function: &str,
        value: &Value,
    ) -> Result<Value, FormatError> {
        let op = match function {
            "linear" => return Ok(value.clone()),
            "relu" => Op::Relu,
            "relu6" => Op::Clip(Clip { min: 0.0, max: 6.0 }),
            "sigmoid" => Op::Sigmoid,
            "tanh" => Op::Tanh,
            "silu" | "swish" => Op::Silu,
            "elu" => Op::Elu(Elu { alpha: 1.0 }),
            "gelu" => Op::Gelu(Gelu { approximate: Approximation::None }),
            "softplus" => Op::Softplus,
            "exponential" => Op::Exp,
            "hard_silu" | "hard_swish" => Op::HardSwish,
            "leaky_relu" => Op::LeakyRelu(LeakyRelu { alpha: 0.2 }),
            "hard_sigmoid" if self.origin.generation >= 3 => Op::HardSigmoid,
            "softmax" => return self.softmax(name, value),
            _ => return self.composed(name, function, value),
        };
        self.canvas.pointwise(name, op, value)
    }

    /// Activations of several nodes, of which the last has the layer's name.
    fn composed(&mut self, name: &str, function: &str, value: &Value) -> Result<Value, FormatError> {
        let step = |step: &str| format!("{name}/{step}");
        let canvas = &mut self.canvas;
        match function {
            "hard_sigmoid" => {
                let line = canvas.pointwise(&step("line"), power(0.2, 0.5), value)?;
                canvas.pointwise(name, Op::Clip(Clip { min: 0.0, max: 1.0 }), &line)
            }
            "selu" => {
                let elu = canvas.pointwise(&step("elu"), Op::Elu(Elu { alpha: SELU_ALPHA }), value)?;
                canvas.pointwise(name, power(SELU_SCALE, 0.0), &elu)
            }
            "mish" => {
                let plus = canvas.pointwise(&step("softplus"), Op::Softplus, value)?;
                let tanh = canvas.pointwise(&step("tanh"), Op::Tanh, &plus)?;
                Ok(value.with(canvas.add(name, Op::Mul, &[&value.wire, &tanh.wire], [])?))
            }
            "softsign" => {
                let size = canvas.pointwise(&step("abs"), Op::Abs, value)?;
                let divisor = canvas.pointwise(&step("divisor"), power(1.0, 1.0), &size)?;
                Ok(value.with(canvas.add(name, Op::Div, &[&value.wire, &divisor.wire], [])?))
            }
            "log_softmax" => {
                let softmax = self.softmax(&step("softmax"), value)?;
                self.canvas.pointwise(name, Op::Log, &softmax)
            }
            _ => Err(self.unknown(function)),
        }
    }

    /// Over the last axis, as the file has the axes.
    pub(super) fn softmax(&mut self, name: &str, value: &Value) -> Result<Value, FormatError> {
        let wire = self.canvas.in_order(value)?;
        Ok(Value::declared(self.canvas.add(name, Op::Softmax, &[&wire], [])?))
    }

    /// The layers that are activations; `None` for another class.
    pub(super) fn activation_layer(&mut self, used: &Use<'a, '_>) -> Result<Option<Value>, FormatError> {
        let value = |used: &Use<'a, '_>| self.one(used);
        match used.class {
            "Activation" => {
                let input = value(used)?;
                let activation = used.settings.get("activation");
                let activation = activation.ok_or_else(|| self.canvas.malformed("it has no 'activation'"))?;
                self.activation(used.name, activation, &input).map(Some)
            }
            "PReLU" => self.prelu(used).map(Some),
            class => {
                let Ok(input) = self.one(used) else { return Ok(None) };
                self.rectifier(used.name, class, used.settings, &input)
            }
        }
    }

    /// Activations with settings, which may be layers or stand in an argument.
    fn rectifier(
        &mut self,
        name: &str,
        class: &str,
        settings: Settings<'a>,
        value: &Value,
    ) -> Result<Option<Value>, FormatError> {
        let op = match class {
            "ReLU" | "Relu" => return self.relu(name, settings, value).map(Some),
            "Softmax" => {
                let rank = i64::try_from(self.canvas.shape(value)?.len()).unwrap_or(0);
                let axes = settings.integers(&["axis"]).unwrap_or_else(|| vec![-1]);
                if axes != [-1] && axes != [rank - 1] {
                    return Err(self.canvas.unsupported("a softmax goes over the last axis here"));
                }
                return self.softmax(name, value).map(Some);
            }
            "LeakyReLU" => Op::LeakyRelu(LeakyRelu { alpha: alpha(settings, 0.3) }),
            "LeakyRelu" => Op::LeakyRelu(LeakyRelu { alpha: alpha(settings, 0.2) }),
            "ELU" | "Elu" => Op::Elu(Elu { alpha: alpha(settings, 1.0) }),
            "GELU" | "Gelu" => {
                let tanh = settings.flag(&["approximate"], class == "Gelu");
                let approximate = if tanh { Approximation::Tanh } else { Approximation::None };
                Op::Gelu(Gelu { approximate })
            }
            _ => match named_operation(class) {
                Some(function) => return self.function(name, function, value).map(Some),
                None => return Ok(None),
            },
        };
        self.canvas.pointwise(name, op, value).map(Some)
    }

    fn relu(&mut self, name: &str, settings: Settings<'a>, value: &Value) -> Result<Value, FormatError> {
        let slope = settings.number(&["negative_slope", "alpha"], 0.0) as f32;
        if settings.number(&["threshold"], 0.0) != 0.0 {
            return Err(self.canvas.unsupported("a rectifier with a threshold is not computed"));
        }
        let leaky = Op::LeakyRelu(LeakyRelu { alpha: slope });
        match settings.get("max_value").and_then(Json::as_f64) {
            Some(max) if slope == 0.0 => {
                self.canvas.pointwise(name, Op::Clip(Clip { min: 0.0, max: max as f32 }), value)
            }
            Some(max) => {
                let line = self.canvas.pointwise(&format!("{name}/leaky"), leaky, value)?;
                self.canvas.pointwise(name, Op::Clip(Clip { min: f32::MIN, max: max as f32 }), &line)
            }
            None if slope == 0.0 => self.canvas.pointwise(name, Op::Relu, value),
            None => self.canvas.pointwise(name, leaky, value),
        }
    }

    /// One slope a channel, or one for all.
    fn prelu(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let input = self.one(used)?;
        let [alpha] = self.weights(used, [("", "alpha")])?;
        let channels = match alpha.shape() {
            [features] | [1, features] | [1, 1, features] => Some(*features),
            _ => None,
        };
        let slopes = channels.filter(|slopes| *slopes == alpha.len());
        let message =
            "slopes that differ from place to place are not read; share the axes of height and width";
        let slopes = slopes.ok_or_else(|| self.canvas.unsupported(message))?;
        let flat = reshaped(&alpha, vec![slopes]);
        let flat = flat.ok_or_else(|| self.canvas.malformed("its slopes have no shape"))?;
        let value = match (self.canvas.shape(&input)?.len(), input.order) {
            (4, Order::Declared) => Value::image(self.canvas.image(&input)?),
            _ => input,
        };
        let slope = self.canvas.features(&value, &flat, 0)?;
        let op = Op::PRelu(PRelu { slopes });
        let wire = self.canvas.add(used.name, op, &[&value.wire], [(ParameterKind::Weight, slope)])?;
        Ok(value.with(wire))
    }
}

pub(super) fn power(scale: f32, shift: f32) -> Op {
    Op::Power(Power { scale, shift, power: 1.0 })
}

fn alpha(settings: Settings<'_>, default: f64) -> f32 {
    settings.number(&["negative_slope", "alpha"], default) as f32
}

fn is_linear(activation: &Json) -> bool {
    function_name(activation) == Some("linear")
}

/// `"relu"`, or since Keras 3 `{"class_name": "function", "config": "relu"}`.
fn function_name(activation: &Json) -> Option<&str> {
    let nested = || activation.get("config").and_then(Json::as_str);
    let name = activation.as_str().or_else(nested)?;
    // A function that was registered by a program has its package before its name.
    Some(name.rsplit('.').next().unwrap_or(name))
}

/// Activations among the operations of `keras.ops`.
fn named_operation(class: &str) -> Option<&'static str> {
    Some(match class {
        "Relu6" => "relu6",
        "Sigmoid" => "sigmoid",
        "Tanh" => "tanh",
        "Silu" => "silu",
        "Softplus" => "softplus",
        "Softsign" => "softsign",
        "Exp" => "exponential",
        "HardSigmoid" => "hard_sigmoid",
        "HardSilu" => "hard_silu",
        "Selu" => "selu",
        _ => return None,
    })
}
