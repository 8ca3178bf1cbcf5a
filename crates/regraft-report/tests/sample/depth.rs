//! Made-up comparisons of cuts. No number here was measured.

use regraft_report::DepthRecord;
use regraft_report::record::{
    CutRecord, CutTest, CutTuning, Estimate, PairedGain, ProtocolArm, ProtocolPoint, TransferProtocol,
};

/// Twelve cuts, everything measured but the protocol; a cut in the middle is best.
pub(crate) fn twelve_cuts() -> DepthRecord {
    let accuracies =
        [0.412, 0.537, 0.641, 0.722, 0.781, 0.829, 0.871, 0.903, 0.911, 0.898, 0.881, 0.874].map(Some);
    let mut record = DepthRecord { cuts: cuts(&accuracies), ..setting() };
    mark(&mut record, 7, 8, 11);
    record.reason =
        "The cut that needs the fewest parameters of those whose log-loss is within one standard error of \
                     the best, features.7 against features.8."
            .to_owned();
    record.test = vec![
        test("features.7", (0.910, 0.873, 0.944), Some((0.030, 0.004, 0.056))),
        test("features.11", (0.880, 0.838, 0.918), None),
    ];
    record.tuned = vec![
        tuning("features.7", (0.902, 0.911), (0.331, 0.302)),
        tuning("features.8", (0.909, 0.926), (0.322, 0.251)),
    ];
    record
}

/// Two cuts, no random weights, no fine-tuning, no protocol; the default is kept.
pub(crate) fn two_cuts() -> DepthRecord {
    let mut record = DepthRecord { cuts: cuts(&[Some(0.71), Some(0.84)]), ..setting() };
    record.cuts.iter_mut().for_each(|cut| cut.random = Estimate::UNKNOWN);
    mark(&mut record, 1, 1, 1);
    record.reason = "The cut with the lowest log-loss.".to_owned();
    record.test = vec![test("features.1", (0.812, 0.636, 0.928), None)];
    (record.n_train, record.n_validation, record.n_test) = (96, 32, 32);
    record
}

/// Seven cuts with the protocol, no test images.
pub(crate) fn with_protocol() -> DepthRecord {
    let accuracies = [0.31, 0.44, 0.52, 0.61, 0.66, 0.68, 0.67].map(Some);
    let mut record = DepthRecord { cuts: cuts(&accuracies), n_test: 0, ..setting() };
    mark(&mut record, 5, 5, 6);
    record.reason = "The cut with the lowest log-loss.".to_owned();
    record.protocol = Some(protocol());
    record
}

/// Forty cuts with the long names of an exported graph, the chosen one beside the default one.
pub(crate) fn forty_cuts() -> DepthRecord {
    let accuracies: Vec<_> =
        (0..40).map(|cut| (cut != 20).then(|| 0.3 + 0.6 * (f64::from(cut) / 26.0).min(1.0))).collect();
    let mut record = DepthRecord { cuts: cuts(&accuracies), ..setting() };
    for (index, cut) in record.cuts.iter_mut().enumerate() {
        cut.wire = format!("/model/stages.{}/blocks.{}/conv_pw/Conv_output_{index}", index / 8, index % 8);
    }
    mark(&mut record, 37, 37, 38);
    record
}

/// Names that hold markup, control characters, separators and quotes.
pub(crate) fn hostile_cuts() -> DepthRecord {
    let evil = "</text></title><script>alert('1')</script>\",\"&\u{0}\u{1b}[2J\u{202e}\n";
    let mut record = DepthRecord { protocol: Some(protocol()), ..twelve_cuts() };
    for text in [
        &mut record.regraft_version,
        &mut record.name,
        &mut record.source,
        &mut record.data,
        &mut record.head,
        &mut record.input,
        &mut record.reason,
    ] {
        *text = evil.to_owned();
    }
    record.created = Some(evil.to_owned());
    record.classes = vec![evil.to_owned(); 3];
    record.cuts.iter_mut().for_each(|cut| cut.wire = evil.to_owned());
    record.test.iter_mut().for_each(|test| test.wire = evil.to_owned());
    record.tuned.iter_mut().for_each(|tuning| tuning.wire = evil.to_owned());
    if let Some(protocol) = &mut record.protocol {
        protocol.classes_a = vec![evil.to_owned(); 20];
        protocol.arms[0].name = evil.to_owned();
        protocol
            .arms
            .iter_mut()
            .flat_map(|arm| &mut arm.points)
            .for_each(|point| point.wire = evil.to_owned());
    }
    record
}

/// Everything in its place, nothing measured.
pub(crate) fn unmeasured_cuts() -> DepthRecord {
    DepthRecord {
        cuts: vec![CutRecord { is_chosen: true, ..CutRecord::default() }, CutRecord::default()],
        test: vec![CutTest { gain: Some(PairedGain::default()), ..CutTest::default() }],
        tuned: vec![CutTuning::default(); 2],
        protocol: Some(TransferProtocol {
            arms: vec![ProtocolArm { points: vec![ProtocolPoint::default()], ..ProtocolArm::default() }],
            ..TransferProtocol::default()
        }),
        ..DepthRecord::default()
    }
}

fn setting() -> DepthRecord {
    let classes = ["activities", "animals-nature", "flags", "food-drink", "objects", "symbols"];
    DepthRecord {
        regraft_version: "0.1.0".to_owned(),
        name: "SAMPLE: emoji (made-up numbers)".to_owned(),
        source: "efficientnet-lite0".to_owned(),
        data: "examples/emoji".to_owned(),
        created: Some("2026-11-23T14:00:00Z".to_owned()),
        classes: classes.map(str::to_owned).to_vec(),
        n_train: 1066,
        n_test: 267,
        head: "logistic-regression".to_owned(),
        input: "The network sees 224×224 pixels in RGB, as its source was trained.".to_owned(),
        chance: 0.174,
        threads: 2,
        seconds: 48.3,
        peak_rss_mb: 212.4,
        ..DepthRecord::default()
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn around(value: f64, half: f64) -> Estimate {
    Estimate::new(rounded(value), rounded(value - half), rounded(value + half))
}

/// Log-losses go against the accuracies; random weights forget with depth.
fn cuts(accuracies: &[Option<f64>]) -> Vec<CutRecord> {
    let best = accuracies.iter().flatten().copied().fold(0.0, f64::max);
    let cut = |(index, accuracy): (usize, &Option<f64>)| {
        let accuracy = accuracy.unwrap_or(f64::NAN);
        let depth = index as f64;
        CutRecord {
            wire: format!("features.{index}"),
            dimensions: 32 << (index / 2).min(5),
            parameters: 928 + 9_216 * (index as u64 + 1).pow(2) * (index as u64 + 1),
            milliseconds: rounded(0.61 + 0.83 * depth),
            accuracy: around(accuracy, 0.05 - 0.03 * accuracy),
            log_loss: rounded(0.3 + 2.8 * (best - accuracy)),
            excess: rounded(2.8 * (best - accuracy)),
            excess_standard_error: rounded(0.012 + 0.16 * (best - accuracy)),
            random: around(0.38 + 0.03 * depth.min(5.0) - 0.012 * depth, 0.028),
            ..CutRecord::default()
        }
    };
    accuracies.iter().enumerate().map(cut).collect()
}

fn mark(record: &mut DepthRecord, chosen: usize, best: usize, default: usize) {
    record.cuts[chosen].is_chosen = true;
    record.cuts[best].is_best = true;
    record.cuts[default].is_default = true;
    record.cuts[chosen].excess_standard_error = 0.024;
}

fn test(wire: &str, accuracy: (f64, f64, f64), gain: Option<(f64, f64, f64)>) -> CutTest {
    let estimate = |(value, low, high)| Estimate::new(value, low, high);
    let gain = gain.map(|gain| PairedGain { estimate: estimate(gain), probability: 0.988 });
    CutTest { wire: wire.to_owned(), accuracy: estimate(accuracy), gain }
}

fn tuning(wire: &str, accuracy: (f64, f64), log_loss: (f64, f64)) -> CutTuning {
    CutTuning {
        wire: wire.to_owned(),
        epochs: 2,
        images: 213,
        accuracy_before: accuracy.0,
        accuracy_after: accuracy.1,
        log_loss_before: log_loss.0,
        log_loss_after: log_loss.1,
        seconds: 11.7,
    }
}

fn protocol() -> TransferProtocol {
    let point = |layers: usize, mean: f64| ProtocolPoint {
        wire: if layers == 0 { String::new() } else { format!("features.{}", layers - 1) },
        layers,
        values: [-0.011, 0.002, 0.009].map(|noise| rounded(mean + noise)).to_vec(),
        mean,
        low: rounded(mean - 0.013),
        high: rounded(mean + 0.013),
    };
    let arm = |name: &str, means: [f64; 7]| ProtocolArm {
        name: name.to_owned(),
        points: (1..).zip(means).map(|(layers, mean)| point(layers, mean)).collect(),
    };
    TransferProtocol {
        classes_a: ["activities", "flags", "symbols"].map(str::to_owned).to_vec(),
        classes_b: ["animals-nature", "food-drink", "objects"].map(str::to_owned).to_vec(),
        n_train_a: 540,
        n_train_b: 526,
        n_test_b: 131,
        epochs: 20,
        repetitions: 3,
        base_b: point(0, 0.625),
        arms: vec![
            arm("AnB", [0.622, 0.619, 0.602, 0.571, 0.538, 0.506, 0.487]),
            arm("AnB+", [0.631, 0.638, 0.641, 0.645, 0.647, 0.643, 0.646]),
            arm("BnB", [0.624, 0.621, 0.612, 0.596, 0.604, 0.618, 0.626]),
            arm("BnB+", [0.626, 0.623, 0.628, 0.622, 0.627, 0.624, 0.629]),
        ],
    }
}
