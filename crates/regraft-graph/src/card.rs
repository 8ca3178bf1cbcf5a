//! The record that travels with the weights: where they come from and how to feed them.
//!
//! Weights without their preprocessing give plausible, wrong numbers; weights without their origin cannot be trusted.
//! So neither is ever saved or loaded alone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is known about a model beside its graph and weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Name in the catalogue, `architecture.tag` as in timm: `efficientnet-lite0.in1k`.
    pub name: String,
    /// Where the weights come from: a package, a URL or a file, as a person would look it up.
    pub origin: String,
    /// SHA-256 of the file that the weights were read from, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// SPDX expression of the weights' licence; `None` where nobody has stated one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// How an image becomes the network's input.
    pub preprocessing: Preprocessing,
    /// What each logit stands for, in order. Empty where the head has no names.
    #[serde(default)]
    pub labels: Vec<String>,
    /// What the weights were trained on, such as `ImageNet-1k`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_task: Option<String>,
    /// Published accuracy on that task, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_accuracy: Option<f64>,
    /// Which wire is what.
    pub roles: Roles,
    /// Further names of the origin for wires: a blob that several layers write one after the other, a layer that became
    /// part of another's node. A wire of that name may exist, too, and goes first: Caffe's `fc7` is a layer, and a blob
    /// that the rectifier behind it writes again. A name of a wire that was cut off stands for nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, String>,
}

/// What the wires of a network are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// The last wire whose values describe the image without naming a class: N×D, or N×D×1×1.
    pub features: String,
    /// One number a class, before the softmax. `None` for a network without a head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<String>,
    /// Wires where the network may be cut: ends of blocks, from generic to specific.
    #[serde(default)]
    pub cuts: Vec<String>,
}

impl Roles {
    /// All wires that are named.
    pub fn wires(&self) -> impl Iterator<Item = &str> {
        let ends = std::iter::once(&self.features).chain(&self.logits);
        ends.chain(&self.cuts).map(String::as_str)
    }
}

/// How a decoded image becomes the network's input tensor, in this order: resize, centre crop, scale, normalise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Order of the colour channels that the network expects, where it has three channels.
    pub channel_order: ChannelOrder,
    /// How the image is brought to size.
    pub resize: Resize,
    /// Filter of the resampling, with antialiasing when shrinking (as Pillow does).
    pub filter: ResizeFilter,
    /// Height and width in pixels of the centre crop that the network sees.
    pub crop: [usize; 2],
    /// Subtracted from each channel (in `channel_order`) of a pixel in 0 … 255. One number for each channel of the
    /// network's input.
    pub mean: Cow<'static, [f32]>,
    /// Divides each channel after the subtraction. As many as `mean` has.
    pub std: Cow<'static, [f32]>,
}

impl Preprocessing {
    /// Number of channels of the network's input.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Which sample of a pixel, counted from 0, a channel of the network's input is made of.
    pub fn sample(&self, channel: usize) -> usize {
        match self.channel_order {
            ChannelOrder::Bgr if self.channels() == 3 => 2usize.saturating_sub(channel),
            _ => channel,
        }
    }

    /// A channel's value for a sample in 0 … 255: `(sample − mean) / std` in single precision.
    pub fn normalise(&self, channel: usize, sample: f32) -> f32 {
        let mean = self.mean.get(channel).copied().unwrap_or(0.0);
        let std = self.std.get(channel).copied().unwrap_or(1.0);
        (sample - mean) / std
    }

    /// For a channel of the network's input: which [`sample`](Self::sample) of a pixel it is made of, and its value for
    /// each 8-bit sample.
    pub fn channel(&self, channel: usize) -> (usize, [f32; 256]) {
        (self.sample(channel), std::array::from_fn(|sample| self.normalise(channel, sample as f32)))
    }
}

/// Order of colour channels, where there are three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red first: PyTorch, Keras.
    Rgb,
    /// Blue first: Caffe.
    Bgr,
}

/// How an image is brought to size before the centre crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The shorter side becomes this many pixels; the longer one keeps the aspect ratio, rounded down
    /// (torchvision's `Resize(int)`).
    ShortSide(usize),
    /// Height and width become exactly these; the aspect ratio is not kept.
    Exact([usize; 2]),
}

/// Resampling filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResizeFilter {
    /// Triangle filter, support 1.
    Bilinear,
    /// Cubic convolution with a = −0.5, support 2.
    Bicubic,
}
