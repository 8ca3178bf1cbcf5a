//! Prints a sample report with made-up numbers:
//! `cargo run --release -p regraft-report --example sample -- html nine > sample.html`.
//!
//! The first argument is `html`, `markdown`, `summary`, `metrics`, `record`, or the name of a chart as an SVG file
//! (`accuracy`, `curve`, `confusion`, `recall`, `heads`); the second is `nine`, `two`, `thirty`, `hundred`, `hostile` or `empty`.
//! Comparisons of cuts: `depth`, `depth-text` or `depth-csv` of `twelve`, `two`, `forty`, `protocol`, `hostile` or `empty`.

#![allow(clippy::print_stdout, reason = "an example that prints")]
#![allow(clippy::indexing_slicing, reason = "made-up data of fixed size")]

use regraft_report::{
    DepthRecord, RunRecord, depth_csv, depth_text, metrics_json, render, render_depth, render_markdown,
    summary_text, svg,
};

#[path = "../tests/sample/mod.rs"]
mod sample;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let form = arguments.next().unwrap_or_else(|| "html".to_owned());
    let name = arguments.next();
    let depth = |write: fn(&DepthRecord) -> String| {
        Ok::<_, String>(write(&comparison(name.as_deref().unwrap_or("twelve"))?))
    };
    let text = match form.as_str() {
        "depth" => depth(render_depth)?,
        "depth-text" => depth(depth_text)?,
        "depth-csv" => depth(depth_csv)?,
        form => written(form, &record(name.as_deref().unwrap_or("nine"))?)?,
    };
    print!("{text}");
    Ok(())
}

fn comparison(name: &str) -> Result<DepthRecord, String> {
    match name {
        "twelve" => Ok(sample::twelve_cuts()),
        "two" => Ok(sample::two_cuts()),
        "forty" => Ok(sample::forty_cuts()),
        "protocol" => Ok(sample::with_protocol()),
        "hostile" => Ok(sample::hostile_cuts()),
        "empty" => Ok(DepthRecord::default()),
        other => {
            Err(format!("no comparison is called `{other}`: twelve, two, forty, protocol, hostile, empty"))
        }
    }
}

fn record(name: &str) -> Result<RunRecord, String> {
    match name {
        "nine" => Ok(sample::nine_classes()),
        "two" => Ok(sample::two_classes()),
        "thirty" => Ok(sample::square(30)),
        "hundred" => Ok(sample::hundred_classes()),
        "hostile" => Ok(sample::hostile()),
        "empty" => Ok(RunRecord::default()),
        other => Err(format!("no sample is called `{other}`: nine, two, thirty, hundred, hostile, empty")),
    }
}

fn written(form: &str, record: &RunRecord) -> Result<String, Box<dyn std::error::Error>> {
    let chart = |chart: Option<String>| Ok(svg::standalone(&chart.ok_or("this sample has no such chart")?));
    match form {
        "html" => Ok(render(record)),
        "markdown" => Ok(render_markdown(record)),
        "summary" => Ok(summary_text(record)),
        "metrics" => Ok(serde_json::to_string_pretty(&metrics_json(record))? + "\n"),
        "record" => Ok(record.to_json()?),
        "accuracy" => chart(svg::accuracy(record)),
        "curve" => chart(svg::learning_curve(record)),
        "confusion" => chart(svg::confusion(record)),
        "recall" => chart(svg::recall(record)),
        "heads" => chart(svg::heads(record)),
        other => Err(format!("no form is called `{other}`").into()),
    }
}
