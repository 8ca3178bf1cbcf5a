//! The architectures by name, each with the preprocessing that its published weights expect.

use std::borrow::Cow;

use regraft_graph::{Card, ChannelOrder, GraphError, Preprocessing, Resize, ResizeFilter, Roles};

use crate::builder::Network;
use crate::{densenet, efficientnet, inception, mobilenet, resnet, transformer, vgg};

/// A family of networks that differ in nothing but their weights and their number of classes.
#[derive(Debug)]
pub struct Architecture {
    /// Name in the catalogue and on the command line.
    pub name: &'static str,
    /// Node that gives the logits; the shape of its weight tells the number of classes.
    pub classifier: &'static str,
    /// What the published weights expect. A model's own card goes before it.
    pub preprocessing: Preprocessing,
    build: fn(usize) -> Result<Network, GraphError>,
}

impl Architecture {
    /// The graph for a number of classes, and the roles of its wires.
    ///
    /// # Errors
    /// None for a possible number of classes.
    pub fn network(&self, classes: usize) -> Result<Network, GraphError> {
        (self.build)(classes)
    }

    /// A card with this architecture's preprocessing, for weights of which only their origin is known. Its roles
    /// are filled in by [`crate::load_weights`].
    pub fn card(&self, origin: impl Into<String>) -> Card {
        Card {
            name: self.name.to_owned(),
            origin: origin.into(),
            sha256: None,
            licence: None,
            preprocessing: self.preprocessing.clone(),
            labels: Vec::new(),
            source_task: None,
            source_accuracy: None,
            roles: Roles { features: String::new(), logits: None, cuts: Vec::new() },
        }
    }
}

/// All architectures, in the order of their size within a family.
pub fn architectures() -> &'static [Architecture] {
    &ARCHITECTURES
}

/// The architecture of that name.
pub fn architecture(name: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|architecture| architecture.name == name)
}

static ARCHITECTURES: [Architecture; 11] = [
    Architecture {
        name: "efficientnet-lite0",
        classifier: "_fc",
        preprocessing: LITE,
        build: efficientnet::efficientnet_lite0,
    },
    torchvision("resnet18", "fc", resnet::resnet18),
    torchvision("resnet34", "fc", resnet::resnet34),
    torchvision("resnet50", "fc", resnet::resnet50),
    torchvision("resnet101", "fc", resnet::resnet101),
    torchvision("resnet152", "fc", resnet::resnet152),
    torchvision("mobilenet_v2", "classifier.1", mobilenet::mobilenet_v2),
    torchvision("densenet121", "classifier", densenet::densenet121),
    torchvision("vgg16", "classifier.6", vgg::vgg16),
    torchvision("vit_b_16", "heads.head", transformer::vit_b_16),
    Architecture {
        name: "inception_v3",
        classifier: "fc",
        preprocessing: INCEPTION,
        build: inception::inception_v3,
    },
];

const fn torchvision(
    name: &'static str,
    classifier: &'static str,
    build: fn(usize) -> Result<Network, GraphError>,
) -> Architecture {
    Architecture { name, classifier, preprocessing: TORCHVISION, build }
}

/// The reference preprocessing of the TensorFlow models.
const LITE: Preprocessing = Preprocessing {
    channel_order: ChannelOrder::Rgb,
    resize: Resize::ShortSide(256),
    filter: ResizeFilter::Bicubic,
    crop: [224, 224],
    mean: Cow::Borrowed(&[127.0; 3]),
    std: Cow::Borrowed(&[128.0; 3]),
};

/// torchvision's, with the mean and standard deviation of ImageNet's training pixels in 0 … 255.
const TORCHVISION: Preprocessing = Preprocessing {
    channel_order: ChannelOrder::Rgb,
    resize: Resize::ShortSide(256),
    filter: ResizeFilter::Bilinear,
    crop: [224, 224],
    mean: Cow::Borrowed(&[0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0]),
    std: Cow::Borrowed(&[0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0]),
};

/// Pixels in −1 … 1, which torchvision reaches by its own mean and standard deviation and `transform_input`.
const INCEPTION: Preprocessing = Preprocessing {
    channel_order: ChannelOrder::Rgb,
    resize: Resize::ShortSide(342),
    filter: ResizeFilter::Bilinear,
    crop: [299, 299],
    mean: Cow::Borrowed(&[127.5; 3]),
    std: Cow::Borrowed(&[127.5; 3]),
};
