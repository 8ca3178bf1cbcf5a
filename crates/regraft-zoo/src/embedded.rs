//! What is compiled into the program: the default model's weights, ImageNet's label names.
//!
//! `assets/NOTICE` says where each file comes from and under which licence; `cargo xtask embed-default` makes them.

use std::path::Path;

use bytes::Bytes;
use regraft_formats::FormatError;
use regraft_graph::Weights;

static EFFICIENTNET_LITE0: &[u8] = include_bytes!("../../../assets/efficientnet-lite0.f16.safetensors");
static IMAGENET_LABELS: &str = include_str!("../../../assets/imagenet-1k-labels.txt");

/// The weights of EfficientNet-Lite0 in half precision: views into the program itself.
pub(crate) fn efficientnet_lite0() -> Result<Weights, FormatError> {
    let content = Bytes::from_static(EFFICIENTNET_LITE0);
    Ok(regraft_formats::safetensors::parse(Path::new("<embedded efficientnet-lite0>"), content)?.0)
}

/// A readable name for each of the 1,000 classes of ImageNet-1k, in the order of the published networks' logits.
pub fn imagenet_labels() -> impl Iterator<Item = &'static str> {
    IMAGENET_LABELS.lines()
}
