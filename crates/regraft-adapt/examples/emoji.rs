//! Selection on real features beside scikit-learn's LogisticRegressionCV: test accuracy, log-loss and seconds for the
//! five splits of a folder made by `oracles/adapt_emoji_features.py` and `oracles/adapt_emoji_reference.py`.
//!
//! usage: emoji FOLDER [STEP]   (of the training rows, every STEP-th is kept; the reference always has them all)
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement by hand"
)]

use std::path::Path;

use ndarray::{Array2, Axis};
use regraft_adapt::{Examples, HeadKind, Partition, Selection, select};
use regraft_system::{clock::Stopwatch, files};

const CLASSES: usize = 9;

fn read<T: npyz::Deserialize>(folder: &Path, name: &str) -> (Vec<u64>, Vec<T>) {
    let bytes = files::read(&folder.join(name)).unwrap();
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    (file.shape().to_vec(), file.into_vec().unwrap())
}

fn judge(selection: &Selection, features: &Array2<f32>, labels: &[usize]) -> (f64, f64) {
    let logits = selection.head.logits(features.view()).unwrap().mapv(f64::from);
    let probabilities =
        regraft_eval::calibration::softmax_with_temperature(logits.view(), selection.temperature).unwrap();
    let rows = || probabilities.rows().into_iter().zip(labels);
    let right = rows().filter(|(row, label)| row.iter().all(|value| *value <= row[**label])).count();
    let loss: f64 = rows().map(|(row, &label)| -row[label].ln()).sum();
    (right as f64 / labels.len() as f64, loss / labels.len() as f64)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let folder = Path::new(&arguments[1]);
    let step: usize = arguments.get(2).map_or(1, |step| step.parse().unwrap());
    let (shape, values) = read::<f32>(folder, "emoji_features.npy");
    let features = Array2::from_shape_vec((shape[0] as usize, shape[1] as usize), values).unwrap();
    let labels = read::<i64>(folder, "emoji_labels.npy").1;
    let reference: serde_json::Value =
        serde_json::from_slice(&files::read(&folder.join("emoji_reference.json")).unwrap()).unwrap();
    let mut sums = [0.0; 2];
    for seed in 0..5 {
        let folds = read::<i64>(folder, &format!("emoji_split_{seed}.npy")).1;
        let (train, test): (Vec<usize>, Vec<usize>) = (0..folds.len()).partition(|&row| folds[row] >= 0);
        let train: Vec<usize> = train.into_iter().step_by(step).collect();
        let pick = |rows: &[usize]| -> Vec<usize> { rows.iter().map(|&row| labels[row] as usize).collect() };
        let (x, y) = (features.select(Axis(0), &train), pick(&train));
        let partition =
            Partition::folds(&train.iter().map(|&row| folds[row] as usize).collect::<Vec<_>>()).unwrap();
        let stopwatch = Stopwatch::start();
        let examples = Examples::new(x.view(), &y, CLASSES).unwrap();
        let selection = select(&examples, &partition, &HeadKind::ALL).unwrap();
        let seconds = stopwatch.seconds();
        let (accuracy, loss) = judge(&selection, &features.select(Axis(0), &test), &pick(&test));
        println!(
            "split {seed}, n {}: {} {:?}, accuracy {accuracy:.4}, log-loss {loss:.4}, {seconds:.2} s; reference {:.4}, {:.4}, {:.2} s",
            y.len(),
            selection.kind,
            selection.hyper_parameter,
            reference[seed]["accuracy"].as_f64().unwrap(),
            reference[seed]["log_loss"].as_f64().unwrap(),
            reference[seed]["seconds"].as_f64().unwrap(),
        );
        sums[0] += accuracy / 5.0;
        sums[1] += reference[seed]["accuracy"].as_f64().unwrap() / 5.0;
    }
    println!("mean accuracy {:.4}, reference {:.4}", sums[0], sums[1]);
}
