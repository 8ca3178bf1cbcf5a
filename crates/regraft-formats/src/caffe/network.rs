//! The layers of a file, whichever of Caffe's three generations it is of.
//!
//! Older layers become current ones here: the kinds' names, the attributes' places, and the padding that once was a layer
//! of its own. Everything behind this module knows current layers only.

use std::collections::HashMap;

use super::schema::V1_KINDS;
use super::tree::{FieldError, Message};

/// A network description, or a file of weights with the description that it carries.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// `name`, `input` and the like.
    pub(super) fields: Message,
    pub(super) layers: Vec<Layer>,
}

/// A layer.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    pub(super) name: String,
    /// Its kind, as it is called today.
    pub(super) kind: String,
    /// The blobs that it reads.
    pub(super) bottoms: Vec<String>,
    /// The blobs that it writes.
    pub(super) tops: Vec<String>,
    /// Its attributes, in `…_param` messages.
    pub(super) fields: Message,
    /// Its weights, as they are stored.
    pub(super) blobs: Vec<Message>,
}

impl Network {
    pub(super) fn new(fields: Message) -> Self {
        let current = fields.parts("layer").map(Layer::current);
        let older = fields.parts("layers").map(Layer::older);
        let layers = without_padding_layers(current.chain(older));
        Self { layers, fields }
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.fields.text("name").filter(|name| !name.is_empty())
    }
}

impl Layer {
    fn current(fields: &Message) -> Self {
        Self::of(fields, fields.text("type").unwrap_or_default().to_owned())
    }

    fn of(fields: &Message, kind: String) -> Self {
        let texts = |name| fields.texts(name).map(str::to_owned).collect();
        Self {
            name: fields.text("name").unwrap_or_default().to_owned(),
            kind,
            bottoms: texts("bottom"),
            tops: texts("top"),
            blobs: fields.parts("blobs").cloned().collect(),
            fields: fields.clone(),
        }
    }

    /// From a layer whose kind is a word in capitals, or from one inside of such a layer.
    fn older(fields: &Message) -> Self {
        if fields.has("layer") {
            return Self::oldest(fields, fields.part("layer"));
        }
        let word = fields.text("type").unwrap_or_default();
        let kind = V1_KINDS.iter().find(|(_, known, _)| *known == word).map_or(word, |(_, _, kind)| *kind);
        Self::of(fields, kind.to_owned())
    }

    fn oldest(outer: &Message, inner: &Message) -> Self {
        let word = inner.text("type").unwrap_or_default();
        let known = V0_KINDS.iter().find(|(known, ..)| *known == word);
        let (kind, place) = known.map_or((word, ""), |(_, kind, place)| (*kind, *place));
        let attributes = inner.renamed(|name| V0_NAMES.iter().find(|pair| pair.0 == name).map(|pair| pair.1));
        let mut layer = Self::of(outer, kind.to_owned());
        layer.name = inner.text("name").unwrap_or_default().to_owned();
        layer.blobs = inner.parts("blobs").cloned().collect();
        layer.fields = Message::default();
        for place in [place, "transform_param"].into_iter().filter(|place| !place.is_empty()) {
            layer.fields.insert(place, attributes.clone());
        }
        layer
    }

    /// The attributes of its kind.
    pub(super) fn attributes(&self, name: &'static str) -> &Message {
        self.fields.part(name)
    }

    /// Whether it belongs to the network that is tested, not to the one that is trained.
    pub(super) fn is_tested(&self) -> Result<bool, FieldError> {
        let any = |name| {
            self.fields.parts(name).try_fold(false, |any, rule| Ok::<_, FieldError>(any || is_met(rule)?))
        };
        if self.fields.has("include") { any("include") } else { Ok(!any("exclude")?) }
    }
}

/// Whether the network that is tested, at level 0 and of no certain stage, meets a rule.
fn is_met(rule: &Message) -> Result<bool, FieldError> {
    let phase = rule.text("phase").is_none_or(|phase| phase == "TEST");
    let lowest = rule.integer("min_level")?.is_none_or(|level| level <= 0);
    let highest = rule.integer("max_level")?.is_none_or(|level| level >= 0);
    Ok(phase && lowest && highest && !rule.has("stage"))
}

/// Words of the first layers' kinds, their names today, and where their attributes are today.
#[rustfmt::skip]
const V0_KINDS: [(&str, &str, &str); 24] = [
    ("accuracy", "Accuracy", ""), ("bnll", "BNLL", ""), ("concat", "Concat", "concat_param"),
    ("conv", "Convolution", "convolution_param"), ("data", "Data", "data_param"),
    ("dropout", "Dropout", "dropout_param"), ("euclidean_loss", "EuclideanLoss", ""), ("flatten", "Flatten", ""),
    ("hdf5_data", "HDF5Data", ""), ("hdf5_output", "HDF5Output", ""), ("im2col", "Im2col", ""),
    ("images", "ImageData", "image_data_param"), ("infogain_loss", "InfogainLoss", ""),
    ("innerproduct", "InnerProduct", "inner_product_param"), ("lrn", "LRN", "lrn_param"),
    ("multinomial_logistic_loss", "MultinomialLogisticLoss", ""), ("pool", "Pooling", "pooling_param"),
    ("relu", "ReLU", ""), ("sigmoid", "Sigmoid", ""), ("softmax", "Softmax", ""),
    ("softmax_loss", "SoftmaxWithLoss", ""), ("split", "Split", ""), ("tanh", "TanH", ""),
    ("window_data", "WindowData", "window_data_param"),
];

/// Attributes of the first layers that have another name today.
const V0_NAMES: [(&str, &str); 4] = [
    ("biasterm", "bias_term"),
    ("kernelsize", "kernel_size"),
    ("meanfile", "mean_file"),
    ("cropsize", "crop_size"),
];

/// A border once was a layer in front of the convolution or pooling that it is an attribute of today.
fn without_padding_layers(layers: impl Iterator<Item = Layer>) -> Vec<Layer> {
    let mut borders: HashMap<String, (String, Message)> = HashMap::new();
    let mut kept = Vec::new();
    for mut layer in layers {
        if layer.kind == "padding" {
            let border = layer.attributes("transform_param").clone();
            if let ([bottom], [top]) = (layer.bottoms.as_slice(), layer.tops.as_slice()) {
                borders.insert(top.clone(), (bottom.clone(), border));
                continue;
            }
        }
        let place = if layer.kind == "Pooling" { "pooling_param" } else { "convolution_param" };
        for bottom in &mut layer.bottoms {
            if let Some((source, border)) = borders.get(bottom.as_str()) {
                bottom.clone_from(source);
                let attributes = layer.fields.part(place).with(border, "pad");
                layer.fields.insert(place, attributes);
            }
        }
        kept.push(layer);
    }
    kept
}
