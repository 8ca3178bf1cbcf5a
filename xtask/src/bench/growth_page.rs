//! The curves of `cargo xtask bench growth`, as `docs/performance-growth.md` and its diagrams.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use regraft_system::files;

use super::chart::{Panel, Series, svg};
use super::growth::{Axis, BATCH, Curve, NETWORK, Point, SIZE};
use super::line::sentence;
use super::median;

pub(crate) const PAGE: &str = "docs/performance-growth.md";
/// Batches whose gain by a second thread is an aim.
const WATCHED: [usize; 2] = [1, 32];
const SPEEDUP_AIM: f64 = 1.85;

/// Why a curve is as it is, said once for all machines.
fn explanation(axis: Axis) -> &'static str {
    match axis {
        Axis::Batch => BATCH_EXPLANATION,
        Axis::Size => SIZE_EXPLANATION,
        Axis::Images => IMAGES_EXPLANATION,
    }
}

const BATCH_EXPLANATION: &str = "\
The network takes a batch in groups of up to eight images, and only its last stages take all of a group at a time, so that
an image more adds its input and few maps: 0.57 MB at 224×224 in f32; the rest, and all of a small batch, is the peak of
loading, when the weights are there as read and as packed.";
const SIZE_EXPLANATION: &str = "\
A step between small sizes is the weights that are transformed once the maps are large enough for Winograd's algorithm; then
the maps of a group grow with the pixels, and where a stage takes fewer images the memory falls.";
const IMAGES_EXPLANATION: &str = "\
Files go through in batches and their rows to the disk, so that nothing grows but the list of paths; the fixed part of the
time is compiling the network.";

/// The page.
pub(crate) fn markdown(curves: &[Curve]) -> String {
    let mut text = HEAD.to_owned();
    for curve in Axis::ALL.into_iter().filter_map(|axis| of(curves, axis)) {
        text += &section(curve);
    }
    text + &of(curves, Axis::Batch).map(threads).unwrap_or_default()
}

const HEAD: &str = "\
# How time and memory grow

Written by `cargo xtask bench growth --write`. Every measurement is a process of its own; times are medians over the turns,
peak memory is the largest of them. Lines are fitted to relative differences, so that small measurements count as much as
large ones.
";

fn of(curves: &[Curve], axis: Axis) -> Option<&Curve> {
    curves.iter().find(|curve| curve.axis == axis)
}

/// Writes the page and the diagrams.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(curves: &[Curve]) -> Result<()> {
    for curve in curves {
        files::write_atomically(
            &Path::new("docs").join(diagram(curve.axis)),
            svg(&panels(curve)).as_bytes(),
        )?;
    }
    Ok(files::write_atomically(Path::new(PAGE), markdown(curves).as_bytes())?)
}

/// Relative to the page.
fn diagram(axis: Axis) -> PathBuf {
    PathBuf::from(format!("images/growth-{}.svg", axis.name()))
}

fn section(curve: &Curve) -> String {
    let Curve { axis, date, processor, command, .. } = curve;
    let (title, what) = match axis {
        Axis::Batch => ("Batch", format!("{NETWORK} in f32 at {SIZE}×{SIZE}")),
        Axis::Size => ("Image size", format!("{NETWORK} in f32, {BATCH} images at a time")),
        Axis::Images => (
            "Number of images",
            "`regraft embed` with the built-in network, from small JPEG files, without a cache".to_owned(),
        ),
    };
    let table = match axis {
        Axis::Batch => batch_table(curve),
        Axis::Size => size_table(curve),
        Axis::Images => images_table(curve),
    };
    let (diagram, explanation) = (diagram(*axis), explanation(*axis));
    format!(
        "\n## {title}\n\n{date}, {processor}, `{command}`. {what}.\n\n![{title}]({})\n\n{table}\n{explanation}\n",
        diagram.display()
    )
}

/// Milliseconds an image and megabytes by what grows, a line a number of threads.
fn panels(curve: &Curve) -> [Panel; 2] {
    let series = |height: fn(&Point) -> f64| {
        let threads = numbers_of_threads(curve).into_iter();
        let line = |threads: usize| Series {
            name: format!("{threads} thread{}", if threads == 1 { "" } else { "s" }),
            points: with(curve, threads).map(|point| [point.value as f64, height(point)]).collect(),
        };
        threads.map(line).collect()
    };
    let grows = match curve.axis {
        Axis::Batch => "batch",
        Axis::Size => "side of the image",
        Axis::Images => "number of images",
    };
    [
        Panel { title: format!("milliseconds an image by {grows}"), series: series(milliseconds) },
        Panel { title: format!("peak memory in MB by {grows}"), series: series(megabytes) },
    ]
}

fn milliseconds(point: &Point) -> f64 {
    point.median() * 1e3
}

fn megabytes(point: &Point) -> f64 {
    point.peak_rss_mb.unwrap_or(0.0)
}

fn numbers_of_threads(curve: &Curve) -> Vec<usize> {
    let mut threads: Vec<usize> = curve.points.iter().map(|point| point.threads).collect();
    threads.sort_unstable();
    threads.dedup();
    threads
}

fn with(curve: &Curve, threads: usize) -> impl Iterator<Item = &Point> {
    curve.points.iter().filter(move |point| point.threads == threads)
}

/// The points of most threads.
fn all_threads(curve: &Curve) -> Vec<&Point> {
    let threads = numbers_of_threads(curve).last().copied().unwrap_or(1);
    with(curve, threads).collect()
}

fn pairs(points: &[&Point], x: fn(&Point) -> f64, y: fn(&Point) -> f64) -> Vec<[f64; 2]> {
    points.iter().map(|point| [x(point), y(point)]).collect()
}

fn batch_table(curve: &Curve) -> String {
    let points = all_threads(curve);
    let threads = points.first().map_or(1, |point| point.threads);
    let mut text = format!(
        "| batch | ms an image, 1 thread | {threads} threads | times as fast | MB, 1 thread | {threads} threads |\n\
         |---|---|---|---|---|---|\n"
    );
    for point in &points {
        let Some(alone) = with(curve, 1).find(|alone| alone.value == point.value) else { continue };
        let (slow, fast, gain) = (milliseconds(alone), milliseconds(point), speedup(alone, point));
        let (small, large, batch) = (megabytes(alone), megabytes(point), point.value);
        let _ = writeln!(text, "| {batch} | {slow:.2} | {fast:.2} | {gain:.2} | {small:.0} | {large:.0} |");
    }
    let batch = |point: &Point| point.value as f64;
    let time = pairs(&points, batch, |point| milliseconds(point) * point.value as f64);
    let memory = pairs(&points, batch, megabytes);
    let each = "an image";
    let sentences = sentence(&format!("Time of a batch on {threads} threads"), "ms", each, &time);
    format!("{text}\n{sentences}{}", sentence("Peak memory", "MB", each, &memory))
}

/// Median over the turns of the seconds alone over those of more threads in that turn.
fn speedup(alone: &Point, together: &Point) -> f64 {
    median(alone.seconds.iter().zip(&together.seconds).map(|(alone, together)| alone / together).collect())
}

fn size_table(curve: &Curve) -> String {
    let points = all_threads(curve);
    let mut text =
        "| side | ms an image | billion operations a second | peak memory, MB |\n|---|---|---|---|\n"
            .to_owned();
    for point in &points {
        let speed = 2.0 * point.macs.unwrap_or(0) as f64 / point.median() / 1e9;
        let (side, time, memory) = (point.value, milliseconds(point), megabytes(point));
        let _ = writeln!(text, "| {side} | {time:.2} | {speed:.0} | {memory:.0} |");
    }
    let pixels = |point: &Point| (point.value as f64).powi(2) / 1e6;
    let each = "a million pixels";
    let time = sentence("Time of an image", "ms", each, &pairs(&points, pixels, milliseconds));
    let each = format!("a million pixels in each of {BATCH} images");
    format!("{text}\n{time}{}", sentence("Peak memory", "MB", &each, &pairs(&points, pixels, megabytes)))
}

fn images_table(curve: &Curve) -> String {
    let points = all_threads(curve);
    let mut text = "| files | seconds | ms an image | peak memory, MB |\n|---|---|---|---|\n".to_owned();
    for point in &points {
        let (files, time, memory) = (point.value, milliseconds(point), megabytes(point));
        let seconds = point.median() * point.value as f64;
        let _ = writeln!(text, "| {files} | {seconds:.2} | {time:.2} | {memory:.1} |");
    }
    let thousands = |point: &Point| point.value as f64 / 1e3;
    let each = "a thousand files";
    let time = pairs(&points, thousands, |point| point.median() * point.value as f64);
    let memory = pairs(&points, thousands, megabytes);
    format!("{text}\n{}{}", sentence("Time", "s", each, &time), sentence("Peak memory", "MB", each, &memory))
}

fn threads(curve: &Curve) -> String {
    let mut text = "\n## Threads\n\nFrom the measurements of the batch, in turns.\n\n| batch | threads | times as fast | \
                    aim for 2 threads |\n|---|---|---|---|\n"
        .to_owned();
    for (point, gain) in gains(curve) {
        let (batch, threads) = (point.value, point.threads);
        let _ = writeln!(text, "| {batch} | {threads} | **{gain:.2}** | {SPEEDUP_AIM} |");
    }
    text
}

fn gains(curve: &Curve) -> Vec<(&Point, f64)> {
    let points = all_threads(curve).into_iter().filter(|point| WATCHED.contains(&point.value));
    let alone = |point: &&Point| with(curve, 1).find(|alone| alone.value == point.value);
    points.filter_map(|point| alone(&point).map(|alone| (point, speedup(alone, point)))).collect()
}

/// A line for `docs/performance.md`; nothing before the first measurement.
pub(crate) fn summary(curves: &[Curve]) -> String {
    let Some(curve) = of(curves, Axis::Batch) else { return String::new() };
    let gains = gains(curve).into_iter().map(|(point, gain)| {
        format!("{gain:.2} times as fast on {} threads with batch {}", point.threads, point.value)
    });
    let gains = gains.collect::<Vec<_>>().join(", ");
    format!(
        "\nScaling, {}: {NETWORK} in f32 is {gains} as on one (aim: {SPEEDUP_AIM} on 2); how time and memory grow is in \
         [`performance-growth.md`](performance-growth.md).\n",
        curve.date
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(value: usize, threads: usize, seconds: f64) -> Point {
        let seconds = vec![seconds, seconds * 2.0, seconds];
        Point { value, threads, seconds, peak_rss_mb: Some(100.0 + value as f64), macs: Some(1_000_000_000) }
    }

    fn curve(axis: Axis, points: Vec<Point>) -> Curve {
        let [date, processor, command] = ["2026-11-26", "a processor", "cargo xtask"].map(str::to_owned);
        Curve { axis, date, processor, command, points }
    }

    #[test]
    fn the_page_has_every_curve_and_what_a_second_thread_gains() {
        let batches = [1, 8, 32].into_iter().flat_map(|batch| [point(batch, 1, 0.04), point(batch, 2, 0.02)]);
        let curves = [
            curve(Axis::Batch, batches.collect()),
            curve(Axis::Size, vec![point(64, 2, 0.01), point(128, 2, 0.04)]),
            curve(Axis::Images, vec![point(100, 2, 0.005), point(1000, 2, 0.005)]),
        ];
        let text = markdown(&curves);
        for part in [
            "| 8 | 40.00 | 20.00 | 2.00 | 108 | 108 |",
            "Peak memory: 100 MB and 1.00 MB an image; no measurement is further than 0 %",
            "| 128 | 40.00 | 50 | 228 |",
            "| 1000 | 5.00 | 5.00 | 1100.0 |",
            "| 32 | 2 | **2.00** | 1.85 |",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(summary(&curves).contains("2.00 times as fast on 2 threads with batch 1, 2.00"));
        assert!(summary(&[]).is_empty());
    }

    #[test]
    fn a_machine_of_one_thread_has_a_page() {
        let curves = [curve(Axis::Batch, vec![point(1, 1, 0.04), point(2, 1, 0.04)])];
        assert!(markdown(&curves).contains("## Batch"));
    }
}
