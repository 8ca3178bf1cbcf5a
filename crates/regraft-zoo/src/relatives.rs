//! Networks of timm's that have the tensors of an architecture and compute something else, so that a weight file does not
//! tell them apart.

/// Architectures that all have the same tensors, and such networks; `oracles/zoo_relatives.py` finds them.
#[rustfmt::skip]
const RELATIVES: [(&[&str], &[&str]); 9] = [
    (&["resnet18"], &["resnetblur18"]),
    (&["resnet50"], &["resnetaa50", "resnetblur50"]),
    (&["mobilenetv3_small_100"], &["tf_mobilenetv3_small_100"]),
    (&["mobilenetv3_large_100"], &["tf_mobilenetv3_large_100"]),
    (&["efficientnet_b0", "tf_efficientnet_b0"], &["efficientnet_blur_b0"]),
    (&["tf_efficientnet_lite1"], &["efficientnet_lite1"]),
    (&["tf_efficientnet_lite2"], &["efficientnet_lite2"]),
    (&["tf_efficientnet_lite3"], &["efficientnet_lite3"]),
    (&["tf_efficientnet_lite4"], &["efficientnet_lite4"]),
];

/// The networks that have the tensors of an architecture and are not known here.
pub(crate) fn relatives(architecture: &str) -> &'static [&'static str] {
    let group = RELATIVES.iter().find(|(architectures, _)| architectures.contains(&architecture));
    group.map_or(&[], |(_, relatives)| relatives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_timm_has() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/relatives.json");
        let golden: serde_json::Value =
            serde_json::from_slice(&regraft_system::files::read(&path).unwrap()).unwrap();
        let groups = RELATIVES.iter().map(|(architectures, relatives)| {
            serde_json::json!({ "architectures": architectures, "relatives": relatives })
        });
        assert_eq!(serde_json::Value::Array(groups.collect()), golden);
    }
}
