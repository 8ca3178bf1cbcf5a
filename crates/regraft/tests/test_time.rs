//! Test-time augmentation: what is averaged, that it is always the same, and that a run says what it was worth.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod support;

use std::path::{Path, PathBuf};

use regraft::{
    Augmentation, Cache, Context, FitConfig, Fitted, FrozenPrecision, HeadKind, Method, TestTime,
    TuningConfig, evaluate, fit, load_source, metrics_json, predict, with_threads,
};
use support::CLASSES;
use tempfile::TempDir;

fn fitted(place: &TempDir, name: &str, method: Method, tta: usize, augmentation: Augmentation) -> Fitted {
    let config = FitConfig {
        data: place.path().join("data"),
        out: Some(place.path().join(name)),
        // Resized to 64 first: the margin is even, so that the centre of the mirrored picture is the mirrored centre.
        image_size: Some(56),
        curve_repetitions: 0,
        folds: 2,
        heads: vec![HeadKind::LogisticRegression],
        method,
        tta,
        tuning: TuningConfig { epochs: 1, augmentation, ..TuningConfig::default() },
        ..FitConfig::default()
    };
    fit(&config, &context(place)).unwrap()
}

fn context(place: &TempDir) -> Context<'static> {
    Context { cache: Cache::at(place.path().join("cache")), ..Context::default() }
}

/// One probability a class.
fn answer(run: &Path, image: &Path, variants: usize) -> Vec<f64> {
    let test_time = TestTime::of_run(run, variants).unwrap();
    let model = load_source(run.to_str().unwrap(), None).unwrap();
    let (precision, paths) = (FrozenPrecision::Float32, [image.to_path_buf()]);
    let mut probabilities = vec![f64::NAN; CLASSES.len()];
    predict(
        &model,
        &precision,
        &paths,
        CLASSES.len(),
        test_time.as_ref(),
        &Context::default(),
        &mut |answer| {
            for scored in answer.unwrap().top {
                probabilities[CLASSES.iter().position(|class| *class == scored.label).unwrap()] =
                    scored.probability;
            }
            Ok(())
        },
    )
    .unwrap();
    probabilities
}

/// A picture with something on one side, and its mirror image.
fn pictures(place: &TempDir) -> [PathBuf; 2] {
    const SIDE: usize = 96;
    let pixel = |x: usize, y: usize| {
        if x < SIDE / 3 && y > SIDE / 4 { [(x * 7) as u8, 30, (y * 2) as u8] } else { [240, 250, 180] }
    };
    [false, true].map(|mirrored| {
        let across = |x: usize| if mirrored { SIDE - 1 - x } else { x };
        let pixels: Vec<u8> =
            (0..SIDE * SIDE).flat_map(|place| pixel(across(place % SIDE), place / SIDE)).collect();
        let path = place.path().join(format!("{mirrored}.png"));
        let file = std::fs::File::create(&path).unwrap();
        let mut encoder = png::Encoder::new(file, SIDE as u32, SIDE as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        path
    })
}

fn apart(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn probabilities_are_averaged_and_the_variants_are_always_the_same() {
    let place = support::place(6);
    let run = fitted(&place, "run", Method::Probe, 0, Augmentation::standard()).folder;
    let [plain, mirrored] = pictures(&place);
    let (one, other) = (answer(&run, &plain, 0), answer(&run, &mirrored, 0));
    let mean: Vec<f64> = one.iter().zip(&other).map(|(a, b)| (a + b) / 2.0).collect();
    let found = answer(&run, &plain, 1);
    assert!(apart(&one, &other) > 5e-3, "{one:?} {other:?}");
    assert!(apart(&found, &mean) < 5e-4, "{found:?} {mean:?}");

    let copy = place.path().join("copy.png");
    std::fs::copy(&plain, &copy).unwrap();
    let many = with_threads(1, || Ok(answer(&run, &plain, 3))).unwrap();
    assert_eq!(many, with_threads(3, || Ok(answer(&run, &copy, 3))).unwrap());
    assert!((many.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{many:?}");
    assert!(apart(&many, &one) > 1e-6 && apart(&many, &found) > 1e-6);
}

#[test]
fn a_run_says_what_it_is_worth_and_evaluate_the_same() {
    let place = support::place(8);
    for method in [Method::Probe, Method::LastBlock] {
        let fitted = fitted(&place, method.name(), method, 2, Augmentation::crop());
        let own = fitted.record.test_time.as_ref().unwrap();
        assert_eq!((own.variants, own.views.as_str()), (2, "2 random variants (crop)"));
        // The same images on their own.
        let parts = place.path().join(format!("{}-test", method.name()));
        let split = std::fs::read_to_string(fitted.folder.join("split.csv")).unwrap();
        for row in
            split.lines().map(|line| line.split(',').collect::<Vec<_>>()).filter(|row| row[2] == "test")
        {
            std::fs::create_dir_all(parts.join(row[1])).unwrap();
            std::fs::copy(place.path().join("data").join(row[0]), parts.join(row[0])).unwrap();
        }
        let evaluation = evaluate(&fitted.folder, &parts, None, 2, 0, &context(&place)).unwrap();
        let found = evaluation.test_time.as_ref().unwrap();
        assert_eq!(found.test.accuracy.value, own.test.accuracy.value);
        assert_eq!(found.gain.estimate.value, own.gain.estimate.value);
        let gain = own.test.accuracy.value - fitted.record.test.accuracy.value;
        assert!((own.gain.estimate.value - gain).abs() < 1e-12);
        assert!((found.test.log_loss.value - own.test.log_loss.value).abs() < 1e-4, "{found:?} {own:?}");
        assert!((found.test.log_loss.value - evaluation.metrics.log_loss.value).abs() > 1e-6);
        assert!(evaluation.to_string().contains("over the image and 2 random variants (crop)"));
        assert_eq!(metrics_json(&fitted.record)["test_time"]["variants"], 2);
        let report = std::fs::read_to_string(fitted.folder.join("report.html")).unwrap();
        assert!(report.contains("With test-time augmentation"));
    }
}
