//! Made-up runs for the tests and for the example that prints a sample report. No number here was measured.

#![allow(dead_code, unused_imports, reason = "every test and the example use some of the samples")]

mod depth;
mod tuning;

pub(crate) use depth::{forty_cuts, hostile_cuts, twelve_cuts, two_cuts, unmeasured_cuts, with_protocol};
pub(crate) use tuning::tuned;

use regraft_report::record::{
    Baseline, Baselines, ClassMetrics, CurvePoint, CurveSeries, Estimate, Finding, HeadCandidate,
    LearningCurve, MeanSd, Mistake, PairedGain, PrecisionCandidate, PrecisionRecord, RunRecord, Severity,
    TestMetrics, Timing, TopK,
};
use regraft_report::thumbnail::png_data_uri;

const PICTURES: [&[u8]; 6] = [
    include_bytes!("mistake_0.png"),
    include_bytes!("mistake_1.png"),
    include_bytes!("mistake_2.png"),
    include_bytes!("mistake_3.png"),
    include_bytes!("mistake_4.png"),
    include_bytes!("mistake_5.png"),
];

/// Nine classes, everything measured.
pub(crate) fn nine_classes() -> RunRecord {
    let classes = names(&[
        "activities",
        "animals-nature",
        "flags",
        "food-drink",
        "objects",
        "people-body",
        "smileys-emotion",
        "symbols",
        "travel-places",
    ]);
    let confusion = vec![
        vec![13, 0, 0, 1, 2, 0, 0, 0, 0],
        vec![0, 25, 0, 1, 0, 0, 1, 0, 0],
        vec![0, 0, 30, 0, 0, 0, 0, 0, 0],
        vec![0, 1, 0, 23, 1, 0, 0, 0, 0],
        vec![2, 0, 0, 1, 36, 0, 0, 2, 3],
        vec![0, 0, 0, 0, 0, 31, 1, 0, 0],
        vec![0, 1, 0, 0, 0, 0, 28, 0, 0],
        vec![0, 0, 0, 0, 2, 0, 0, 32, 0],
        vec![0, 1, 0, 0, 3, 0, 0, 1, 25],
    ];
    RunRecord {
        name: "SAMPLE: emoji (made-up numbers)".to_owned(),
        run_path: "runs/sample".to_owned(),
        input: "The network sees RGB, as its source was trained. It sees 224×224 pixels, the size that its source was \
                trained on."
            .to_owned(),
        data_path: "examples/emoji".to_owned(),
        n_train: 1066,
        n_test: 267,
        test: TestMetrics {
            accuracy: Estimate::new(0.910, 0.873, 0.944),
            balanced_accuracy: Estimate::new(0.910, 0.869, 0.945),
            macro_f1: Estimate::new(0.907, 0.867, 0.942),
            log_loss: Estimate::new(0.284, 0.211, 0.362),
            ece: Estimate::new(0.031, 0.022, 0.058),
            ece_if_calibrated: Some(MeanSd { mean: 0.029, sd: 0.008 }),
            top_k: vec![TopK { k: 3, accuracy: Estimate::new(0.989, 0.974, 1.0) }],
        },
        baselines: baselines(),
        per_class: per_class(&classes, &confusion),
        confusion,
        classes,
        learning_curve: learning_curve(),
        head_candidates: heads(),
        mistakes: mistakes(),
        findings: findings(),
        ..setting()
    }
}

/// Two classes, a tiny test set, no learning curve, nothing wrong, one baseline.
pub(crate) fn two_classes() -> RunRecord {
    let classes = names(&["cat", "dog"]);
    let confusion = vec![vec![9, 0], vec![0, 7]];
    let one = Estimate::new(1.0, 0.794, 1.0);
    RunRecord {
        name: "SAMPLE: two classes (made-up numbers)".to_owned(),
        n_train: 64,
        n_test: 16,
        n_validation: 16,
        test: TestMetrics {
            accuracy: one,
            balanced_accuracy: one,
            macro_f1: one,
            log_loss: Estimate::new(0.034, 0.012, 0.071),
            ece: Estimate::new(0.030, 0.011, 0.062),
            ..TestMetrics::default()
        },
        baselines: Baselines {
            majority: Some(baseline((0.5625, 0.332, 0.769), (0.4375, 0.1875, 0.6875), 0.999)),
            ..Baselines::default()
        },
        per_class: per_class(&classes, &confusion),
        confusion,
        classes,
        ..setting()
    }
}

/// A hundred classes with more mistakes than pictures, and a source that is not better than raw pixels.
pub(crate) fn hundred_classes() -> RunRecord {
    let classes: Vec<_> = (0..100).map(|index| format!("class {index:02}")).collect();
    let confusion: Vec<Vec<u64>> = (0..100).map(hundred_row).collect();
    let mut baselines = baselines();
    baselines.majority = Some(baseline((0.010, 0.006, 0.015), (0.680, 0.659, 0.701), 1.0));
    baselines.random_features = Some(baseline((0.398, 0.377, 0.419), (0.292, 0.268, 0.317), 1.0));
    baselines.pixel_knn = Some(baseline((0.688, 0.667, 0.708), (0.002, -0.011, 0.015), 0.61));
    let picture =
        |index: usize| Mistake { path: format!("class {index:02}/{index:04}.png"), ..mistake(index % 6) };
    RunRecord {
        name: "SAMPLE: a hundred classes (made-up numbers)".to_owned(),
        n_train: 50_000,
        n_test: 2_000,
        test: TestMetrics {
            accuracy: Estimate::new(0.690, 0.670, 0.710),
            balanced_accuracy: Estimate::new(0.690, 0.671, 0.709),
            macro_f1: Estimate::new(0.688, 0.668, 0.708),
            log_loss: Estimate::new(1.213, 1.142, 1.288),
            ece: Estimate::new(0.041, 0.030, 0.057),
            top_k: vec![TopK { k: 5, accuracy: Estimate::new(0.902, 0.889, 0.915) }],
            ..TestMetrics::default()
        },
        baselines,
        per_class: per_class(&classes, &confusion),
        confusion,
        classes,
        head_candidates: heads(),
        mistakes: (0..40).map(picture).collect(),
        findings: findings(),
        ..setting()
    }
}

/// A run with `classes` classes, ten examples each, nine of them right where there is a second class.
pub(crate) fn square(classes: usize) -> RunRecord {
    let mut confusion = vec![vec![0; classes]; classes];
    for (index, row) in confusion.iter_mut().enumerate() {
        row[index] += 9;
        row[(index * 5 + 1) % classes] += 1;
    }
    let classes: Vec<_> = (0..classes).map(|index| format!("name of class {index}")).collect();
    RunRecord { per_class: per_class(&classes, &confusion), classes, confusion, ..two_classes() }
}

/// A user's names that hold markup, control characters, quotes and scripts from right to left.
pub(crate) fn hostile() -> RunRecord {
    let evil = "<script>alert('1')</script>\"&\u{0}\u{1b}[2J\u{202e}";
    let mut record = two_classes();
    record.classes = names(&[evil, "</title></svg><img src=x onerror=alert(1)>"]);
    record.per_class = per_class(&record.classes, &[vec![6, 3], vec![2, 5]]);
    record.confusion = vec![vec![6, 3], vec![2, 5]];
    for text in [
        &mut record.task,
        &mut record.name,
        &mut record.run_path,
        &mut record.data_path,
        &mut record.source,
        &mut record.source_origin,
        &mut record.source_licence,
        &mut record.source_sha256,
        &mut record.cut,
        &mut record.method,
        &mut record.regraft_version,
    ] {
        *text = evil.to_owned();
    }
    record.label_file = Some(evil.to_owned());
    record.created = Some(evil.to_owned());
    record.head_candidates = heads();
    record.head_candidates[0] = HeadCandidate {
        kind: evil.to_owned(),
        hyper_parameter: evil.to_owned(),
        note: evil.to_owned(),
        ..record.head_candidates[0].clone()
    };
    record.learning_curve = learning_curve();
    record.learning_curve.series[1].name = evil.to_owned();
    record.mistakes = vec![
        Mistake {
            path: evil.to_owned(),
            true_class: evil.to_owned(),
            predicted: evil.to_owned(),
            probability: f64::NAN,
            thumbnail: Some("https://example.org/tracker.png".to_owned()),
        },
        Mistake { thumbnail: Some(format!("data:image/png;base64,{evil}")), ..mistake(0) },
    ];
    record.findings = vec![Finding {
        severity: Severity::Error,
        code: evil.to_owned(),
        message: evil.to_owned(),
        files: vec![evil.to_owned(); 5],
    }];
    record
}

fn setting() -> RunRecord {
    RunRecord {
        source: "efficientnet-lite0".to_owned(),
        source_origin: "sample origin 1.0".to_owned(),
        source_licence: "Apache-2.0".to_owned(),
        source_sha256: "5a3c0de5a3c0de5a3c0de5a3c0de5a3c0de5a3c0de5a3c0de5a3c0de5a3c0de5".to_owned(),
        cut: "features".to_owned(),
        method: "linear probe: logistic-regression, C = 0.1".to_owned(),
        precision: precision(),
        timing: Timing { decode_s: 0.42, features_s: 11.8, head_s: 3.07, total_s: 16.2 },
        images_per_second: 112.9,
        peak_rss_mb: 143.2,
        seed: 1,
        threads: 2,
        instruction_set: "avx512".to_owned(),
        temperature: Some(1.083),
        regraft_version: "0.1.0".to_owned(),
        model_parameters: 3_382_537,
        model_macs: 385_000_000,
        image_size: 224,
        created: Some("2026-11-23T14:00:00Z".to_owned()),
        ..RunRecord::default()
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn per_class(classes: &[String], confusion: &[Vec<u64>]) -> Vec<ClassMetrics> {
    let metrics = |(index, class): (usize, &String)| {
        let right = confusion[index][index] as f64;
        let support: u64 = confusion[index].iter().sum();
        let predicted: u64 = confusion.iter().map(|row| row[index]).sum();
        let (precision, recall) = (right / predicted as f64, right / support as f64);
        let f1 = 2.0 * right / (predicted + support) as f64;
        ClassMetrics { class: class.clone(), precision, recall, f1, support }
    };
    classes.iter().enumerate().map(metrics).collect()
}

fn baselines() -> Baselines {
    Baselines {
        majority: Some(baseline((0.165, 0.122, 0.211), (0.745, 0.689, 0.798), 1.0)),
        pixel_knn: Some(baseline((0.543, 0.484, 0.603), (0.367, 0.300, 0.431), 1.0)),
        random_features: Some(baseline((0.618, 0.558, 0.674), (0.292, 0.232, 0.352), 1.0)),
    }
}

fn baseline(accuracy: (f64, f64, f64), gain: (f64, f64, f64), probability: f64) -> Baseline {
    let estimate = |(value, low, high)| Estimate::new(value, low, high);
    Baseline {
        accuracy: estimate(accuracy),
        balanced_accuracy: Some(estimate(accuracy)),
        macro_f1: None,
        gain: Some(PairedGain { estimate: estimate(gain), probability }),
    }
}

fn learning_curve() -> LearningCurve {
    let sizes = vec![18, 36, 72, 144, 288, 576, 1066];
    let series = |name: &str, means: [f64; 7], half: f64| CurveSeries {
        name: name.to_owned(),
        points: sizes.iter().zip(means).map(|(n, mean)| point(*n, mean, half)).collect(),
    };
    LearningCurve {
        series: vec![
            series("source", [0.583, 0.672, 0.754, 0.812, 0.861, 0.888, 0.910], 0.10),
            series("random_features", [0.271, 0.334, 0.402, 0.468, 0.522, 0.577, 0.618], 0.09),
            series("pixel_knn", [0.262, 0.309, 0.352, 0.401, 0.455, 0.502, 0.543], 0.08),
        ],
        sizes,
    }
}

fn point(n: usize, mean: f64, half: f64) -> CurvePoint {
    let half = half * (18.0 / n as f64).powf(0.35);
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    CurvePoint { n, mean, low: rounded(mean - half), high: rounded(mean + half) }
}

fn heads() -> Vec<HeadCandidate> {
    let head =
        |kind: &str, hyper_parameter: &str, accuracy, standard_error, log_loss, note: &str| HeadCandidate {
            kind: kind.to_owned(),
            hyper_parameter: hyper_parameter.to_owned(),
            accuracy,
            standard_error,
            log_loss,
            chosen: hyper_parameter == "C = 0.1",
            note: note.to_owned(),
        };
    vec![
        head("nearest-class-mean", "", 0.828, 0.011, 0.611, ""),
        head("knn", "k = 5", 0.846, 0.012, 0.702, "leave-one-out"),
        head("shrinkage-lda", "shrinkage = 0.31", 0.893, 0.009, 0.402, ""),
        head("ridge", "λ = 100", 0.889, 0.010, f64::NAN, "exact leave-one-out"),
        head("ridge", "λ = 1000", 0.884, 0.010, f64::NAN, "exact leave-one-out"),
        head("logistic-regression", "C = 0.001", 0.851, 0.010, 0.588, ""),
        head("logistic-regression", "C = 0.01", 0.889, 0.009, 0.372, ""),
        head("logistic-regression", "C = 0.1", 0.901, 0.008, 0.311, ""),
        head("logistic-regression", "C = 1", 0.904, 0.009, 0.334, "most accurate"),
        head("logistic-regression", "C = 10", 0.897, 0.009, 0.409, ""),
    ]
}

fn mistakes() -> Vec<Mistake> {
    (0..6).map(mistake).collect()
}

fn mistake(index: usize) -> Mistake {
    let (path, true_class, predicted, probability) = [
        ("animals-nature/sun-with-face.png", "animals-nature", "smileys-emotion", 0.9994),
        ("smileys-emotion/fox.png", "smileys-emotion", "animals-nature", 0.964),
        ("travel-places/deciduous-tree.png", "travel-places", "animals-nature", 0.921),
        ("objects/delivery-truck.png", "objects", "travel-places", 0.883),
        ("objects/red-lantern-with-a-rather-long-name.png", "objects", "food-drink", 0.741),
        ("activities/circus-tent.png", "activities", "objects", 0.688),
    ][index];
    Mistake {
        path: path.to_owned(),
        true_class: true_class.to_owned(),
        predicted: predicted.to_owned(),
        probability,
        thumbnail: Some(png_data_uri(PICTURES[index])),
    }
}

fn findings() -> Vec<Finding> {
    let finding = |severity, code: &str, message: &str, files: &[&str]| Finding {
        severity,
        code: code.to_owned(),
        message: message.to_owned(),
        files: names(files),
    };
    vec![
        finding(Severity::Note, "class-order", "Classes are ordered bytewise by folder name.", &[]),
        finding(
            Severity::Warning,
            "near-duplicate",
            "4 near-identical images were found; they were kept on one side of the split.",
            &["symbols/a.png", "symbols/b.png", "objects/c.png", "objects/d.png"],
        ),
        finding(
            Severity::Error,
            "unreadable",
            "1 file could not be decoded and was left out: the JPEG ends after 312 of 4,096 bytes.",
            &["food-drink/truncated.jpg"],
        ),
    ]
}

/// Twenty examples: most on the diagonal, the rest on a few neighbours.
fn hundred_row(class: usize) -> Vec<u64> {
    let mut row = vec![0; 100];
    let wrong = (class * 7 % 13) as u64;
    row[class] = 20 - wrong;
    row[(class + 1) % 100] += wrong.div_ceil(2);
    row[(class + 37) % 100] += wrong / 2;
    row
}

fn precision() -> PrecisionRecord {
    let candidate = |precision: &str, accuracy, chosen| PrecisionCandidate {
        precision: precision.to_owned(),
        accuracy,
        standard_error: 0.011,
        chosen,
    };
    PrecisionRecord {
        asked: "auto".to_owned(),
        used: "bf16".to_owned(),
        reason: "a logistic-regression head keeps its accuracy in cross-validation: 93.1 %; 93.2 % in f32, with a \
                 standard error of 1.1 points"
            .to_owned(),
        candidates: vec![
            candidate("int8", 0.914, false),
            candidate("bf16", 0.931, true),
            candidate("f32", 0.932, false),
        ],
        sample: 640,
        calibration_images: 256,
    }
}
