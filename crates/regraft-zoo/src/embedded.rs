//! What is compiled into the program: the default model's weights, ImageNet's label names, and the description of a network
//! whose published file holds weights only.
//!
//! `assets/NOTICE` says where each file of `assets` comes from and under which licence; `cargo xtask embed-default` makes them.

use std::path::Path;

use bytes::Bytes;
use regraft_formats::FormatError;
use regraft_graph::Weights;

static EFFICIENTNET_LITE0: &[u8] = include_bytes!("../../../assets/efficientnet-lite0.f16.safetensors");
static HED: &str = include_str!("hed.json");
static IMAGENET_LABELS: &str = include_str!("../../../assets/imagenet-1k-labels.txt");

/// The weights of EfficientNet-Lite0 in half precision: views into the program itself.
pub(crate) fn efficientnet_lite0() -> Result<Weights, FormatError> {
    let content = Bytes::from_static(EFFICIENTNET_LITE0);
    Ok(regraft_formats::safetensors::parse(Path::new("<embedded efficientnet-lite0>"), content)?.0)
}

/// The file of that name that describes a network of the catalogue, if it comes with the program.
pub(crate) fn definition(name: &str) -> Option<&'static str> {
    (name == "hed.json").then_some(HED)
}

/// A readable name for each of the 1,000 classes of ImageNet-1k, in the order of the published networks' logits.
pub fn imagenet_labels() -> impl Iterator<Item = &'static str> {
    IMAGENET_LABELS.lines()
}
