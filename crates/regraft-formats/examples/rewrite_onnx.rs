//! Reads ONNX files and writes what was understood of each, for `oracles/check_onnx.py` to compare.
//!
//! ```sh
//! cargo run --release -p regraft-formats --example rewrite_onnx -- IN.onnx OUT.onnx [OPSET] [pixels]
//! ```
//!
//! Prints the notes, the graph with one line a node, and how long reading took.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::path::Path;

use regraft_formats::onnx::{self, ExportOptions};
use regraft_graph::Model;
use regraft_system::clock::Stopwatch;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, rest @ ..] = arguments.as_slice() else { return Err("usage: IN.onnx OUT.onnx".into()) };
    let watch = Stopwatch::start();
    let imported = onnx::read(Path::new(from))?;
    println!("read in {:.3} s", watch.seconds());
    imported.notes.iter().for_each(|note| println!("note: {note}"));
    print_graph(&imported.model);
    let opset = rest.iter().find_map(|text| text.parse().ok()).unwrap_or(ExportOptions::default().opset);
    let with_preprocessing = rest.iter().any(|text| text == "pixels");
    let options = ExportOptions { opset, with_preprocessing, ..ExportOptions::default() };
    onnx::write(&imported.model, Path::new(to), &options)?;
    Ok(())
}

fn print_graph(model: &Model) {
    let graph = model.graph();
    println!("{} {}", graph.input(), graph.input_fact());
    for node in graph.nodes() {
        let fact = graph.fact(&node.name).map(ToString::to_string).unwrap_or_default();
        let names: Vec<String> = node.parameters().into_iter().map(|parameter| parameter.name).collect();
        println!(
            "{} = {}({}) {fact} {}",
            node.name,
            node.op.name(),
            node.inputs.join(", "),
            names.join(", ")
        );
    }
    println!("outputs {:?}; {:?}", graph.outputs(), model.card().roles);
}
