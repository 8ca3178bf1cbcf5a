//! `cargo xtask bench training`: a training step of Regraft and of PyTorch in turn, each in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use regraft_system::files;
use serde::{Deserialize, Serialize};

use super::{Options, machine, median, process, read, write};
use crate::{example, python};

/// Networks, as both sides know them, and their batches.
const NETWORKS: [(&str, usize); 9] = [
    ("resnet18", 16),
    ("mobilenet_v2", 16),
    ("tf_efficientnet_lite0", 16),
    ("resnet50", 8),
    ("resnet50@layer3", 8),
    ("vit_tiny_patch16_224", 16),
    ("encoder", 16),
    ("lstm", 32),
    ("vgg11", 8),
];

/// Settings of glibc's allocator with which it gives nothing back to the system: PyTorch allocates all activations anew in each
/// step.
const TUNED: [(&str, &str); 2] = [("MALLOC_MMAP_MAX_", "0"), ("MALLOC_TRIM_THRESHOLD_", "1073741824")];

/// Who trains.
const ENGINES: [(&str, Option<&str>, bool); 4] = [
    ("Regraft", None, false),
    ("PyTorch channels_last", Some("channels_last"), false),
    ("PyTorch contiguous", Some("contiguous_format"), false),
    ("PyTorch channels_last, malloc tuned", Some("channels_last"), true),
];

const FILE: &str = "training.json";
const PAGE: &str = "docs/performance-training.md";

/// What a program answers.
#[derive(Debug, Deserialize)]
struct Step {
    milliseconds: f64,
    peak_mb: f64,
}

/// A network's steps: one list an engine, one number a turn.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    network: String,
    batch: usize,
    threads: usize,
    date: String,
    processor: String,
    milliseconds: Vec<Vec<f64>>,
    peak_mb: Vec<f64>,
}

/// Measures the networks that the options name, and prints the table.
///
/// # Errors
/// An unknown network, or a program that cannot be run.
pub(crate) fn training(options: &Options) -> Result<()> {
    let names: Vec<&str> = NETWORKS.iter().map(|(name, _)| *name).collect();
    for name in &options.only {
        ensure!(names.contains(&name.as_str()), "no network '{name}'; there are {}", names.join(", "));
    }
    let place = super::place()?;
    let mut rows: Vec<Row> = read(&place.join(FILE))?.unwrap_or_default();
    if options.alternations > 0 {
        let python = interpreter(&place, options)?;
        crate::check::cargo("build --release --workspace --example train_step", &[])?;
        for (network, batch) in NETWORKS.iter().filter(|(name, _)| options.includes(name)) {
            let row = measure(network, *batch, &python, options)?;
            rows.retain(|known| known.network != *network);
            rows.push(row);
            write(&place.join(FILE), &rows)?;
        }
    }
    rows.sort_by_key(|row| names.iter().position(|name| *name == row.network));
    let page = markdown(&rows);
    println!("\n{page}");
    if options.write {
        files::write_atomically(Path::new(PAGE), page.as_bytes())?;
    }
    Ok(())
}

fn interpreter(place: &Path, options: &Options) -> Result<PathBuf> {
    match &options.python {
        Some(python) => Ok(python.clone()),
        None => python::virtual_environment(&place.join("venv"), &super::PACKAGES),
    }
}

fn measure(network: &str, batch: usize, python: &Path, options: &Options) -> Result<Row> {
    let mut row = Row {
        network: network.to_owned(),
        batch,
        threads: options.threads,
        date: machine::date()?,
        processor: machine::processor(),
        milliseconds: vec![Vec::new(); ENGINES.len()],
        peak_mb: vec![0.0; ENGINES.len()],
    };
    for round in 1..=options.alternations {
        for (engine, (times, peak)) in ENGINES.iter().zip(row.milliseconds.iter_mut().zip(&mut row.peak_mb)) {
            let step = step(engine, network, [batch, options.threads], python)?;
            println!("{network} round {round}: {} {:.0} ms", engine.0, step.milliseconds);
            times.push(step.milliseconds);
            *peak = step.peak_mb.max(*peak);
        }
    }
    Ok(row)
}

fn step(
    (_, format, is_tuned): &(&str, Option<&str>, bool),
    network: &str,
    numbers: [usize; 2],
    python: &Path,
) -> Result<Step> {
    let numbers = numbers.map(|number| number.to_string());
    let Some(format) = format else {
        return process::answer(Command::new(example("train_step")).arg(network).args(numbers).arg("json"));
    };
    let mut command = Command::new(python);
    command.arg("oracles/bench_training.py").arg(network).args(numbers).arg(format);
    process::answer(command.envs(TUNED.iter().copied().filter(|_| *is_tuned)))
}

fn markdown(rows: &[Row]) -> String {
    let mut text = "# Speed of training on a CPU\n\nWritten by `cargo xtask bench training --write`: milliseconds of a training step \
                    (forward, softmax cross-entropy, back, update) in single precision, of networks with random weights; batch \
                    normalisation goes by the batch, dropout is left out. Each engine is a process of its own; they take turns. \
                    Milliseconds are medians over the turns, ratios medians over the turns of PyTorch's time over Regraft's; \
                    peak memory is the largest of the turns, and its ratio Regraft's share of that of PyTorch with channels_last. \
                    `malloc tuned`: glibc's allocator told to give no memory back to the system. `resnet50@layer3`: only what stands behind \
                    that stage is trained, as in each epoch but the first, for which Regraft keeps the values there (reading them \
                    is not in its step) and PyTorch computes them again.\n"
        .to_owned();
    for row in rows {
        text += &section(row);
    }
    text
}

fn section(row: &Row) -> String {
    let Row { network, batch, threads, date, processor, milliseconds, peak_mb } = row;
    let turns = milliseconds.first().map_or(0, Vec::len);
    let mut text = format!(
        "\n## {network}, batch {batch}\n\n{date}, {processor}, {threads} threads, {turns} turns.\n\n\
         | engine | ms a step | ratio | peak memory, MB | ratio |\n|---|---|---|---|---|\n"
    );
    let own = milliseconds.first().cloned().unwrap_or_default();
    for (index, (times, peak)) in milliseconds.iter().zip(peak_mb).enumerate() {
        let ratio = median(times.iter().zip(&own).map(|(theirs, own)| theirs / own).collect());
        let share = peak_mb.first().map_or(f64::NAN, |own| own / peak);
        let ratios = if index == 0 {
            [String::new(), String::new()]
        } else {
            [format!("**{ratio:.2}**"), format!("{share:.2}")]
        };
        let name = ENGINES.get(index).map_or("", |engine| engine.0);
        let [ratio, share] = ratios;
        text += &format!("| {name} | {:.0} | {ratio} | {peak:.0} | {share} |\n", median(times.clone()));
    }
    text
}
