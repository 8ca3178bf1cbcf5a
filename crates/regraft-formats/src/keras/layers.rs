//! Which layer becomes what.

use regraft_graph::{Embedding, Op, ParameterKind};
use serde_json::Value as Json;

use super::network::{Builder, Operand, Use};
use super::settings::Settings;
use crate::FormatError;
use crate::channels_last::Value;

const CUSTOM: &str = "code in a file is never run; save a model without it: put what it does into layers of Keras \
                      (Rescaling, Resizing, Activation …), or cut the model before it";

impl<'a> Builder<'a> {
    /// Adds the nodes of one call of a layer and returns its output.
    pub(super) fn apply(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        match used.class {
            "InputLayer"
            | "ActivityRegularization"
            | "GaussianNoise"
            | "GaussianDropout"
            | "AlphaDropout"
            | "SpatialDropout1D"
            | "SpatialDropout2D"
            | "Identity" => self.one(used),
            "Dropout" => self.dropout(used),
            "Dense" | "TimeDistributedDense" => self.dense(used),
            "Conv2D" | "Convolution2D" | "AtrousConvolution2D" => self.conv2d(used),
            "DepthwiseConv2D" => self.depthwise(used),
            "SeparableConv2D" | "SeparableConvolution2D" => self.separable(used),
            "Conv2DTranspose" | "Convolution2DTranspose" => self.transposed(used),
            "Conv1D" | "Convolution1D" => self.conv1d(used),
            "BatchNormalization" => self.batch_normalization(used),
            "LayerNormalization" => self.layer_normalization(used),
            "Rescaling" => self.rescaling(used),
            "Normalization" => self.normalization(used),
            "MaxPooling2D" | "MaxPool2D" | "AveragePooling2D" | "AvgPool2D" => self.pool2d(used),
            "MaxPooling1D" | "MaxPool1D" | "AveragePooling1D" | "AvgPool1D" => self.pool1d(used),
            "GlobalAveragePooling2D"
            | "GlobalAvgPool2D"
            | "GlobalMaxPooling2D"
            | "GlobalMaxPool2D"
            | "GlobalAveragePooling1D"
            | "GlobalAvgPool1D"
            | "GlobalMaxPooling1D"
            | "GlobalMaxPool1D" => self.global_pool(used),
            "Flatten" => self.flatten(used),
            "Reshape" => self.reshape(used),
            "Permute" => self.permute(used),
            "RepeatVector" => self.repeat_vector(used),
            "ZeroPadding2D" => self.zero_padding(used),
            "Cropping2D" => self.cropping(used),
            "CenterCrop" => self.center_crop(used),
            "UpSampling2D" => self.up_sampling(used),
            "Resizing" => self.resizing(used),
            "Embedding" => self.embedding(used),
            "LSTM" | "GRU" => self.recurrent(used),
            "Bidirectional" => self.bidirectional(used),
            "TimeDistributed" => self.time_distributed(used),
            class if class.starts_with("Random") => self.augmentation(used),
            _ => self.function_layer(used),
        }
    }

    /// Activations as layers, merges, and functions of `keras.ops` and TensorFlow.
    fn function_layer(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        if let Some(value) = self.merge(used)? {
            return Ok(value);
        }
        if let Some(value) = self.activation_layer(used)? {
            return Ok(value);
        }
        Err(self.refusal(used))
    }

    fn refusal(&self, used: &Use<'_, '_>) -> FormatError {
        let custom =
            used.class.contains('>') || ["Lambda", "Function", "TensorFlowOpLayer"].contains(&used.class);
        self.canvas.unsupported(match used.class {
            _ if custom => CUSTOM,
            "TFOpLambda" => {
                "of TensorFlow's functions only arithmetic and activations are read; use a layer of Keras"
            }
            "Masking" => "sequences with masked tokens are not computed",
            "ThresholdedReLU" => "a rectifier with a threshold is not computed; use ReLU",
            "SimpleRNN" | "ConvLSTM2D" | "RNN" | "ConvLSTM1D" => "of recurrent layers LSTM and GRU are read",
            class if class.ends_with("3D") => "volumes are not computed, only images and sequences",
            _ => "layers of this class are not read; a class of your own needs its layers in their place",
        })
    }

    fn dropout(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let ratio = used.settings.number(&["rate", "p"], 0.0);
        let input = self.one(used)?;
        self.canvas.pointwise(used.name, Op::Dropout { ratio }, &input)
    }

    /// Augmentation changes an image in training only; what changes its size is no such thing.
    fn augmentation(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        if ["RandomCrop", "RandomHeight", "RandomWidth"].contains(&used.class) {
            return Err(self.canvas.unsupported("it changes the image's size; use Resizing or CenterCrop"));
        }
        self.notes.push(format!("'{}' ({}) only changes images in training", used.name, used.class));
        self.one(used)
    }

    fn embedding(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let input = self.one(used)?;
        let input = self.canvas.in_order(&input)?;
        let [weight] = self.weights(used, [("", "embeddings")])?;
        let [entries, features] = *weight.shape() else {
            return Err(self.canvas.malformed("its weights are no table"));
        };
        if used.settings.flag(&["mask_zero"], false) {
            self.masked = Some(used.name.to_owned());
        }
        let op = Op::Embedding(Embedding { entries, features });
        let wire = self.canvas.add(used.name, op, &[&input], [(ParameterKind::Weight, weight)])?;
        Ok(Value::declared(wire))
    }

    /// A layer for each place of a sequence: what a layer that looks at no other place does anyway.
    fn time_distributed(&mut self, used: &Use<'a, '_>) -> Result<Value, FormatError> {
        let (class, settings) = self.wrapped(used, "layer")?;
        let input = self.one(used)?;
        let by_place = ["Dense", "Activation", "Dropout", "ReLU", "LeakyReLU", "ELU", "BatchNormalization"];
        let sequence = self.canvas.shape(&input)?.len() == 3;
        if !sequence || !by_place.contains(&class) {
            return Err(self
                .canvas
                .unsupported(format!("for each place of a sequence '{class}' is not computed")));
        }
        let operands = vec![Operand::Value(input)];
        let places = used.places;
        self.apply(&Use { class, name: used.name, settings, operands, places, within: "layer" })
    }

    /// The class and settings of the layer inside of a layer.
    pub(super) fn wrapped(
        &self,
        used: &Use<'a, '_>,
        key: &str,
    ) -> Result<(&'a str, Settings<'a>), FormatError> {
        let layer = used.settings.get(key);
        let class = layer.and_then(|layer| layer.get("class_name")).and_then(Json::as_str);
        let config = layer.and_then(|layer| layer.get("config"));
        match (class, config) {
            (Some(class), Some(config)) => Ok((class, Settings::of(config))),
            _ => Err(self.canvas.malformed(format!("it has no '{key}'"))),
        }
    }
}
