//! `cargo xtask bench`: ResNet-50 at 224×224 in f32 through `regraft embed` and through ONNX Runtime, alternately, on
//! the same weights and the same input.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use regraft_formats::{npy, safetensors};
use regraft_graph::Tensor;
use serde_json::Value;

use crate::python::{run, virtual_environment};

/// Both engines see the same number of images a run: about two seconds' work, so that start-up does not count.
const IMAGES: usize = 96;
/// Runs of each engine; the table shows the median.
const ALTERNATIONS: usize = 5;
const PACKAGES: [&str; 4] = ["numpy==2.4.6", "onnx==1.23.2", "onnxruntime==1.32.0", "safetensors==0.8.0"];

/// Prepares the peer in a virtual environment under `target/`, runs both engines in turn and prints the ratio.
///
/// # Errors
/// A program that cannot be run, or logits that differ by more than 1e-4 of the largest.
pub(crate) fn bench(threads: usize) -> Result<()> {
    let place = PathBuf::from("target/bench");
    std::fs::create_dir_all(&place)?;
    let python = virtual_environment(&place.join("venv"), &PACKAGES)?;
    let (weights, input) = (place.join("resnet50.safetensors"), place.join("input.npy"));
    prepare(&weights, &input)?;
    run(Command::new("cargo").args(["build", "--release", "--package", "regraft-cli"]))?;
    let (ours, theirs) = (place.join("ours.npy"), place.join("theirs.npy"));
    let (mut regraft, mut peer) = (Vec::new(), Vec::new());
    for round in 1..=ALTERNATIONS {
        let our_speed = regraft_throughput(&weights, &input, &ours, threads)?;
        let their_speed = peer_throughput(&python, &weights, &input, &theirs, threads)?;
        println!("round {round}: Regraft {our_speed:.1}, ONNX Runtime {their_speed:.1} images/s");
        regraft.push(our_speed);
        peer.push(their_speed);
    }
    compare_logits(&ours, &theirs)?;
    let (ours, theirs) = (median(&mut regraft), median(&mut peer));
    println!("\n| ResNet-50, 224×224, f32, batch 8, {threads} threads | images/s | ratio |\n|---|---|---|");
    println!("| ONNX Runtime 1.32.0 | {theirs:.1} | 1.00 |\n| Regraft | {ours:.1} | {:.2} |", ours / theirs);
    Ok(())
}

/// Random weights are as fast as trained ones, and need no download.
fn prepare(weights: &Path, input: &Path) -> Result<()> {
    let network = regraft_zoo::resnet50(1000)?;
    safetensors::write(weights, &regraft_zoo::random_weights(&network.graph, 0)?)?;
    // A fixed pattern with the range of a normalised photograph.
    let value = |index: usize| (index.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 16384.0 - 2.0;
    let values: Vec<f32> = (0..IMAGES * 3 * 224 * 224).map(value).collect();
    let tensor = Tensor::from_f32(vec![IMAGES, 3, 224, 224], &values)?;
    npy::write_f32(
        input,
        ndarray::ArrayView::from_shape((IMAGES, 3, 224, 224), &tensor.to_f32())?.into_dyn(),
    )?;
    Ok(())
}

fn regraft_throughput(weights: &Path, input: &Path, out: &Path, threads: usize) -> Result<f64> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let mut command = Command::new(target.join("release/regraft"));
    command
        .arg("embed")
        .arg(input)
        .arg("--source")
        .arg(weights)
        .args(["--arch", "resnet50", "--cut", "logits"]);
    throughput(
        command.arg("--out").arg(out).args(["--quiet", "--json", "--threads"]).arg(threads.to_string()),
    )
}

fn peer_throughput(python: &Path, weights: &Path, input: &Path, out: &Path, threads: usize) -> Result<f64> {
    let mut command = Command::new(python);
    throughput(
        command.arg("oracles/bench_onnxruntime.py").args([weights, input]).arg(threads.to_string()).arg(out),
    )
}

fn throughput(command: &mut Command) -> Result<f64> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    answer.get("images_per_second").and_then(Value::as_f64).context("no images_per_second in the answer")
}

/// A fast wrong answer is worth nothing.
fn compare_logits(ours: &Path, theirs: &Path) -> Result<()> {
    let (ours, theirs) = (npy::read_f32(ours)?, npy::read_f32(theirs)?);
    let largest = theirs.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let difference = ours.iter().zip(&theirs).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
    println!("largest difference of the logits: {:.1e} of the largest logit", difference / largest);
    if difference > 1e-4 * largest {
        bail!("the logits differ");
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
