//! Dense layers and normalisations, whose weights go over the channels.

use regraft_graph::{BatchNormalization, Dim, Gemm, LayerNormalization, Op, ParameterKind, Scale, Tensor};
use serde_json::Value as Json;

use super::activation::power;
use super::network::{Builder, Use};
use crate::FormatError;
use crate::channels_last::{Order, Value, permuted, weighted};

/// Channels for which numbers are made that the file does not hold.
const MOST_CHANNELS: usize = 1 << 24;

impl<'a> Builder<'a> {
    pub(super) fn dense(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let input = self.one(used)?;
        let input = self.channels_where_they_belong(&input)?;
        let biased = used.settings.flag(&["use_bias", "bias"], true);
        let expected = [("", "kernel"), ("", "bias")];
        let weights =
            self.some_weights(used, expected.get(..if biased { 2 } else { 1 }).unwrap_or_default())?;
        let [kernel, bias @ ..] = weights.as_slice() else {
            return Err(self.canvas.malformed("it has no kernel"));
        };
        let kernel = self.canvas.features(&input, kernel, 0)?;
        let kernel = permuted(&kernel, &[1, 0]);
        let kernel = kernel.ok_or_else(|| self.canvas.malformed("its kernel is no matrix"))?;
        let [out_features, in_features] = *kernel.shape() else {
            return Err(self.canvas.malformed("its kernel is no matrix"));
        };
        let op = Op::Gemm(Gemm { in_features, out_features, bias: biased });
        let tensors = weighted(kernel, bias.first().cloned());
        let wire = self.canvas.add(&self.inner_name(used), op, &[&input.wire], tensors)?;
        let order = if input.order == Order::ChannelsFirst { input.order } else { Order::Declared };
        self.activated(used, &Value { wire, order })
    }

    /// Keras's dense layers and normalisations work over the last axis; ours over the channels, which are that axis of
    /// vectors and sequences, and axis 1 of images.
    fn channels_where_they_belong(&mut self, input: &Value) -> Result<Value, FormatError> {
        match (self.canvas.shape(input)?.len(), input.order) {
            (4, _) => Ok(Value::image(self.canvas.image(input)?)),
            (2 | 3, _) => Ok(input.clone()),
            (rank, _) => Err(self.canvas.unsupported(format!("inputs of {rank} axes are not computed"))),
        }
    }

    pub(super) fn batch_normalization(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        if used.settings.count(&["mode"]).is_some_and(|mode| mode != 0 && mode != 2) {
            return Err(self
                .canvas
                .unsupported("'mode' 1 normalises every example by itself; only 0 and 2 are read"));
        }
        let input = self.one(used)?;
        let axis = used.settings.integers(&["axis"]).unwrap_or_else(|| vec![-1]);
        let axis = self.resolve_axis(&input, &axis)?;
        let input = self.with_channels_at(&input, axis)?;
        let center = used.settings.flag(&["center"], true);
        let scale = used.settings.flag(&["scale"], true);
        let mut expected = vec![("", "moving_mean"), ("", "moving_variance")];
        center.then(|| expected.insert(0, ("", "beta")));
        scale.then(|| expected.insert(0, ("", "gamma")));
        let mut weights = self.some_weights(used, &expected)?.into_iter();
        let channels = weights.len();
        let mut next = |learned: bool| if learned { weights.next() } else { None };
        let [gamma, beta, mean, variance] = [next(scale), next(center), next(true), next(true)];
        let (Some(mean), Some(variance)) = (mean, variance) else {
            return Err(self.canvas.malformed(format!("it has {channels} weights")));
        };
        let channels = mean.len();
        let one = |value: f32| constant(channels, value);
        let tensors = [
            (ParameterKind::Weight, gamma.map_or_else(|| one(1.0), Ok)),
            (ParameterKind::Bias, beta.map_or_else(|| one(0.0), Ok)),
            (ParameterKind::RunningMean, Ok(mean)),
            (ParameterKind::RunningVariance, Ok(variance)),
        ];
        let epsilon = used.settings.number(&["epsilon"], 1e-3);
        let op = Op::BatchNormalization(BatchNormalization { channels, epsilon });
        self.per_channel(used.name, op, &input, tensors)
    }

    /// The input with its channels where ours are, if these are axis `axis` of the file.
    fn with_channels_at(&mut self, input: &Value, axis: usize) -> Result<Value, FormatError> {
        let rank = self.canvas.shape(input)?.len();
        match (rank, axis) {
            (2, 1) | (3, 2) => Ok(input.clone()),
            (4, 3) => Ok(Value::image(self.canvas.image(input)?)),
            (4, 1) => Ok(Value::declared(self.canvas.in_order(input)?)),
            _ => Err(self.canvas.unsupported(format!("it works along axis {axis} of {rank}"))),
        }
    }

    /// A node with a number a channel for each of its tensors.
    fn per_channel<const COUNT: usize>(
        &mut self,
        name: &str,
        op: Op,
        input: &Value,
        tensors: [(ParameterKind, Result<Tensor, String>); COUNT],
    ) -> Result<Value, FormatError> {
        let mut placed = Vec::new();
        for (kind, tensor) in tensors {
            let tensor = tensor.map_err(|error| self.canvas.malformed(error))?;
            placed.push((kind, self.canvas.features(input, &tensor, 0)?));
        }
        Ok(input.with(self.canvas.add(name, op, &[&input.wire], placed)?))
    }

    pub(super) fn layer_normalization(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let input = self.one(used)?;
        let rank = self.canvas.shape(&input)?.len();
        let axis = used.settings.integers(&["axis"]).unwrap_or_else(|| vec![-1]);
        if self.resolve_axis(&input, &axis)? + 1 != rank || used.settings.flag(&["rms_scaling"], false) {
            return Err(self.canvas.unsupported("it normalises something else than the channels"));
        }
        let input = self.channels_where_they_belong(&input)?;
        let scale = used.settings.flag(&["scale"], true);
        let center = used.settings.flag(&["center"], true);
        let names = [("", "gamma", scale), ("", "beta", center)];
        let expected: Vec<(&str, &str)> =
            names.iter().filter(|(.., used)| *used).map(|(part, name, _)| (*part, *name)).collect();
        let mut weights =
            if expected.is_empty() { Vec::new() } else { self.some_weights(used, &expected)? }.into_iter();
        let gamma = if scale { weights.next() } else { None };
        let beta = weights.next();
        let sizes = self.canvas.shape(&input)?;
        let Some(Dim::Fixed(features)) = sizes.last().copied() else {
            return Err(self.canvas.unsupported("its input's number of channels is not known"));
        };
        let tensors = [
            (ParameterKind::Weight, gamma.map_or_else(|| constant(features, 1.0), Ok)),
            (ParameterKind::Bias, beta.map_or_else(|| constant(features, 0.0), Ok)),
        ];
        let epsilon = used.settings.number(&["epsilon"], 1e-3);
        let op = Op::LayerNormalization(LayerNormalization { features, epsilon });
        self.per_channel(used.name, op, &input, tensors)
    }

    /// `x · scale + offset`, with one number for all channels or one a channel.
    pub(super) fn rescaling(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let scale = self.numbers(used, "scale")?.unwrap_or_else(|| vec![1.0]);
        let offset = self.numbers(used, "offset")?.unwrap_or_else(|| vec![0.0]);
        self.affine(used, &scale, &offset)
    }

    /// `(x − mean) / √variance`, from the settings or from what `adapt` has left in the weights.
    pub(super) fn normalization(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let given = self.numbers(used, "mean")?.zip(self.numbers(used, "variance")?);
        let (mean, variance) = match given {
            Some(given) => given,
            None => {
                let expected = [("", "mean"), ("", "variance"), ("", "count")];
                let [mean, variance, _] = self.weights(used, expected)?;
                (doubles(&mean), doubles(&variance))
            }
        };
        let deviation = variance.iter().map(|variance| variance.sqrt().max(1e-7));
        let deviation: Vec<f64> = deviation.collect();
        if used.settings.flag(&["invert"], false) {
            return self.affine(used, &deviation, &mean);
        }
        let scale: Vec<f64> = deviation.iter().map(|deviation| 1.0 / deviation).collect();
        let offset: Vec<f64> =
            mean.iter().zip(scale.iter().cycle()).map(|(mean, scale)| -mean * scale).collect();
        self.affine(used, &scale, &offset)
    }

    fn affine(&mut self, used: &Use<'a, '_>, scale: &[f64], offset: &[f64]) -> Result<Value, FormatError> {
        let input = self.one(used)?;
        if let ([scale], [offset]) = (scale, offset) {
            return self.canvas.pointwise(used.name, power(*scale as f32, *offset as f32), &input);
        }
        let rank = self.canvas.shape(&input)?.len();
        let input = self.with_channels_at(&input, rank.saturating_sub(1))?;
        let channels = scale.len().max(offset.len());
        let tensor = |numbers: &[f64]| {
            let numbers: Vec<f32> =
                numbers.iter().cycle().take(channels).map(|number| *number as f32).collect();
            Tensor::from_f32(vec![channels], &numbers).map_err(|error| error.to_string())
        };
        let tensors = [(ParameterKind::Weight, tensor(scale)), (ParameterKind::Bias, tensor(offset))];
        self.per_channel(used.name, Op::Scale(Scale { channels, bias: true }), &input, tensors)
    }

    /// A setting that is a number or a list of numbers, perhaps in lists of one.
    fn numbers(&self, used: &Use<'a, '_>, name: &str) -> Result<Option<Vec<f64>>, FormatError> {
        fn collect(json: &Json, numbers: &mut Vec<f64>) {
            match json {
                Json::Number(number) => numbers.extend(number.as_f64()),
                Json::Array(items) => items.iter().for_each(|item| collect(item, numbers)),
                Json::Object(fields) => {
                    let value = fields.get("value").or_else(|| fields.get("config")?.get("value"));
                    value.into_iter().for_each(|value| collect(value, numbers));
                }
                _ => {}
            }
        }
        let Some(json) = used.settings.get(name) else { return Ok(None) };
        let mut numbers = Vec::new();
        collect(json, &mut numbers);
        if numbers.is_empty() {
            return Err(self.canvas.malformed(format!("'{name}' holds no numbers")));
        }
        Ok(Some(numbers))
    }
}

fn doubles(tensor: &Tensor) -> Vec<f64> {
    tensor.to_f32().into_iter().map(f64::from).collect()
}

fn constant(count: usize, value: f32) -> Result<Tensor, String> {
    if count > MOST_CHANNELS {
        return Err(format!("{count} channels are too many"));
    }
    Tensor::from_f32(vec![count], &vec![value; count]).map_err(|error| error.to_string())
}
