//! Tuning by way of the library: what is trained moves and nothing else does, stopping costs nothing, threads change no bit.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use regraft::{
    Augmentation, Cache, Context, Error, FitConfig, Fitted, FrozenPrecision, HeadKind, LearningRate, Method,
    Model, Progress, TuningConfig, fit, load_source, metrics_json, predict, with_threads,
};
use support::CLASSES;
use tempfile::TempDir;

const IMAGES_PER_CLASS: usize = 10;
/// Small, so that a step takes a tenth of a second without optimisation.
const IMAGE_SIZE: usize = 64;

fn place() -> TempDir {
    support::place(IMAGES_PER_CLASS)
}

fn config(place: &TempDir, name: &str, method: Method) -> FitConfig {
    FitConfig {
        data: place.path().join("data"),
        out: Some(place.path().join(name)),
        image_size: Some(IMAGE_SIZE),
        curve_repetitions: 0,
        folds: 3,
        heads: vec![HeadKind::LogisticRegression],
        method,
        tuning: TuningConfig { epochs: 2, batch_size: Some(8), ..TuningConfig::default() },
        ..FitConfig::default()
    }
}

fn run(place: &TempDir, config: &FitConfig, threads: usize) -> Fitted {
    with_threads(threads, || {
        let context = Context { cache: Cache::at(place.path().join("cache")), ..Context::default() };
        fit(config, &context)
    })
    .unwrap()
}

fn weights(fitted: &Fitted) -> Vec<u8> {
    regraft_system::files::read(&fitted.folder.join("model/model.safetensors")).unwrap()
}

fn model(fitted: &Fitted) -> Model {
    load_source(fitted.folder.to_str().unwrap(), None).unwrap()
}

/// Names of the source's tensors that are not as they were.
fn moved(fitted: &Fitted) -> Vec<String> {
    let source = load_source(regraft::DEFAULT_SOURCE, None).unwrap();
    let tuned = model(fitted);
    let differs = |name: &&str| {
        let (before, after) = (source.weights().get(name), tuned.weights().get(name));
        matches!((before, after), (Some(before), Some(after)) if before.to_f32() != after.to_f32())
    };
    source.weights().iter().map(|(name, _)| name).filter(differs).map(str::to_owned).collect()
}

#[test]
fn a_method_moves_what_it_names_and_nothing_else() {
    let place = place();
    let last = run(&place, &config(&place, "last", Method::LastBlock), 2);
    let tuning = last.record.tuning.as_ref().unwrap();
    assert!(tuning.prefix_cached && tuning.boundary != "input", "{tuning:?}");
    let names = moved(&last);
    assert!(
        !names.is_empty()
            && names.iter().all(|name| name.starts_with("_conv_head") || name.starts_with("_bn1")),
        "{names:?}"
    );
    let affine = moved(&run(&place, &config(&place, "affine", Method::BnAffine), 2));
    assert!(affine.len() > 40 && affine.iter().all(|name| name.contains("bn")), "{affine:?}");
    // Batch normalisation's statistics are neither scale nor shift.
    assert!(affine.iter().all(|name| name.ends_with(".weight") || name.ends_with(".bias")), "{affine:?}");
    let bias = moved(&run(&place, &config(&place, "bias", Method::Bias), 2));
    assert!(bias.iter().all(|name| name.ends_with(".bias")) && bias.len() > 20, "{bias:?}");
    let partial =
        FitConfig { cut: "_blocks.13.add".to_owned(), ..config(&place, "partial", Method::Partial) };
    let partial = run(&place, &partial, 2);
    assert_eq!(partial.record.tuning.as_ref().unwrap().boundary, "_blocks.13.add");
    let early = |name: &str| name.starts_with("_blocks.4.") || name.starts_with("_conv_stem");
    assert!(!moved(&partial).iter().any(|name| early(name)));
}

#[test]
fn training_lowers_the_loss_and_the_run_says_how() {
    let place = place();
    let fitted = run(&place, &config(&place, "run", Method::LpFt), 2);
    let tuning = fitted.record.tuning.as_ref().unwrap();
    let losses = |name: &str| -> Vec<f64> {
        let epochs = tuning.history.iter().filter(|epoch| epoch.training == name);
        epochs.map(|epoch| epoch.training_loss).collect()
    };
    let (judged, last) = (losses("validation"), losses("final"));
    // As many steps without the images of a fold take an epoch more.
    assert_eq!((judged.len(), last.len()), (3, 2));
    assert!(last[1] < last[0], "{last:?}");
    assert!(tuning.history[2].validation_accuracy.is_finite());
    assert!(tuning.probe.as_ref().unwrap().gain.is_some());
    let table = std::fs::read_to_string(fitted.folder.join("training.csv")).unwrap();
    assert_eq!(table.lines().count(), 6, "{table}");
    assert!(fitted.folder.join("tensorboard/final").is_dir());
    let log = std::fs::read_to_string(fitted.folder.join("log.jsonl")).unwrap();
    let events = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let trainings: Vec<_> = events.filter(|event| event["event"] == "training").collect();
    let names: Vec<_> =
        trainings.iter().map(|event| event["details"]["training"].as_str().unwrap()).collect();
    assert_eq!(names, ["validation", "final"]);
    assert_eq!(trainings[0]["details"]["validation_loss"], tuning.history[2].validation_loss);
    assert!(trainings[1]["details"]["validation_loss"].is_null(), "{}", trainings[1]);
    assert!(!place.path().join("run.unfinished").exists());
    // What is saved is what was judged.
    let text = std::fs::read_to_string(fitted.folder.join("predictions.csv")).unwrap();
    let row: Vec<&str> = text.lines().nth(1).unwrap().split(',').collect();
    let image = place.path().join("data").join(row[0]);
    let mut found = Vec::new();
    predict(
        &model(&fitted),
        &FrozenPrecision::Float32,
        &[image],
        3,
        None,
        &Context::default(),
        &mut |answer| {
            found.push(answer.unwrap());
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(found[0].label, row[2]);
    let probability: f64 = row.iter().skip(3).map(|text| text.parse::<f64>().unwrap()).fold(0.0, f64::max);
    assert!((found[0].probability - probability).abs() < 1e-5, "{found:?} {row:?}");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let place = place();
    let one = run(&place, &config(&place, "one", Method::LpFt), 1);
    let two = run(&place, &config(&place, "two", Method::LpFt), 2);
    assert!(weights(&one) == weights(&two), "the saved weights differ");
    assert_eq!(metrics_json(&one.record)["tuning"], metrics_json(&two.record)["tuning"]);
}

#[test]
fn the_first_loss_is_that_of_the_linear_probe() {
    let place = place();
    let augmentation = Augmentation::none();
    let all = TuningConfig { epochs: 1, batch_size: Some(24), augmentation, ..TuningConfig::default() };
    let tuned = run(&place, &FitConfig { tuning: all, ..config(&place, "tuned", Method::LpFt) }, 2);
    let probe = run(&place, &config(&place, "probe", Method::Probe), 2);
    let split = std::fs::read_to_string(probe.folder.join("split.csv")).unwrap();
    let training =
        split.lines().map(|line| line.split(',').collect::<Vec<_>>()).filter(|row| row[2] == "train");
    let (mut loss, mut count) = (0.0, 0);
    for row in training {
        let image = place.path().join("data").join(row[0]);
        predict(
            &model(&probe),
            &FrozenPrecision::Float32,
            &[image],
            3,
            None,
            &Context::default(),
            &mut |answer| {
                let answer = answer.unwrap();
                let own = answer.top.iter().find(|label| label.label == row[1]).unwrap();
                loss -= own.probability.ln();
                count += 1;
                Ok(())
            },
        )
        .unwrap();
    }
    let last = tuned.record.tuning.unwrap().history.into_iter().last().unwrap();
    assert_eq!(last.training, "final");
    let expected = loss / f64::from(count);
    assert!(
        (last.training_loss - expected).abs() < 1e-5 * expected.max(1.0),
        "{} {expected}",
        last.training_loss
    );
}

#[test]
fn a_validation_part_judges_a_head_that_has_not_seen_it() {
    let place = place();
    for class in CLASSES {
        let from = place.path().join("data").join(class);
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(&from).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for (number, file) in files.iter().enumerate() {
            let part = ["train", "train", "val", "test"][number % 4];
            let folder = place.path().join("parts").join(part).join(class);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
        }
    }
    // Nothing moves, so that the head is what it was.
    let config = config(&place, "run", Method::BnAffine);
    let tuning = TuningConfig { learning_rate: Some(1e-12.into()), epochs: 1, ..config.tuning.clone() };
    let fitted = run(&place, &FitConfig { data: place.path().join("parts"), tuning, ..config }, 2);
    let record = fitted.record.tuning.unwrap();
    assert_eq!(record.history.len(), 1);
    // A head that knew the answers would be right about all of them, and the sharpest temperature would suit it best.
    let (epoch, temperature) = (&record.history[0], fitted.record.temperature.unwrap());
    assert!(epoch.validation_loss > epoch.training_loss, "{epoch:?}");
    assert!((0.05..20.0).contains(&temperature), "{temperature}");
}

/// Asks to stop after so many steps.
struct Impatient {
    left: AtomicUsize,
    training: std::sync::atomic::AtomicBool,
}

impl Progress for Impatient {
    fn start(&self, step: &str, _total: u64) {
        self.training.store(step.starts_with("training"), Ordering::Relaxed);
    }
    fn advance(&self, _units: u64) {
        if self.training.load(Ordering::Relaxed) {
            let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        }
    }
    fn finish(&self) {}
    fn message(&self, _text: &str) {}
    fn interrupted(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn a_training_that_gets_no_better_ends_with_its_best_weights() {
    let place = place();
    let config = config(&place, "", Method::LastBlock);
    let tuning = TuningConfig {
        epochs: 8,
        patience: Some(2),
        // It soon knows all there is, and forgets it again.
        learning_rate: Some(0.03.into()),
        schedule: regraft::ScheduleChoice::Constant,
        ..config.tuning.clone()
    };
    let config = FitConfig { tuning, ..config };
    let [fitted, _] = goes_on_to_the_same_bits(&place, &config, &[3, 3]);
    let tuning = fitted.record.tuning.as_ref().unwrap();
    let of = |name: &'static str| tuning.history.iter().filter(move |epoch| epoch.training == name);
    let best = of("validation").min_by(|a, b| a.validation_loss.total_cmp(&b.validation_loss)).unwrap().epoch;
    assert_eq!((tuning.patience, tuning.needed_epochs), (Some(2), Some(best)));
    assert_eq!(of("validation").count(), (best + 2).min(8));
    assert_eq!(of("final").count(), best, "{:?}", tuning.history);
    // As many epochs of the same schedule, and nothing else.
    let until: Vec<f64> = of("validation").take(best).map(|epoch| epoch.learning_rate).collect();
    assert_eq!(of("final").map(|epoch| epoch.learning_rate).collect::<Vec<_>>(), until);
}

#[test]
fn a_step_of_several_batches_is_one_of_a_large_batch() {
    let place = place();
    // Neither the images of a step nor those of an epoch are a multiple of what they are divided into.
    let with = |batch_size, accumulate| {
        let config = config(&place, "", Method::LastBlock);
        let tuning = TuningConfig {
            batch_size: Some(batch_size),
            accumulate,
            optimizer: regraft::OptimizerChoice::Sgd,
            schedule: regraft::ScheduleChoice::Cosine,
            ..config.tuning.clone()
        };
        FitConfig { out: Some(place.path().join(format!("{batch_size}"))), tuning, ..config }
    };
    let large = run(&place, &with(9, 1), 2);
    let [parts, _] = goes_on_to_the_same_bits(&place, &with(3, 3), &[1, 3]);
    let history = |fitted: &Fitted| fitted.record.tuning.as_ref().unwrap().history.clone();
    assert_eq!(parts.record.tuning.as_ref().unwrap().accumulate, 3);
    for (large, parts) in history(&large).iter().zip(&history(&parts)) {
        assert_eq!(large.learning_rate, parts.learning_rate);
        let apart = (large.training_loss - parts.training_loss).abs();
        assert!(apart < 1e-5 * large.training_loss.max(1.0), "{large:?} {parts:?}");
    }
    let (large, parts) = (model(&large), model(&parts));
    for (name, tensor) in large.weights().iter() {
        let numbers = tensor.to_f32().into_iter().zip(parts.weights().get(name).unwrap().to_f32());
        let apart = numbers.map(|(large, part)| (large - part).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "{name}: {apart}");
    }
}

#[test]
fn an_average_of_the_weights_is_judged_and_kept() {
    let place = place();
    let config = config(&place, "", Method::LastBlock);
    let tuning =
        |ema, norm_statistics| TuningConfig { ema, norm_statistics, epochs: 3, ..config.tuning.clone() };
    let batch = regraft::NormStatistics::Batch;
    let of = |name: &str, ema| {
        let out = Some(place.path().join(name));
        run(&place, &FitConfig { out, tuning: tuning(ema, batch), ..config.clone() }, 2)
    };
    let (plain, averaged) =
        (of("plain", None), FitConfig { tuning: tuning(Some(0.9), batch), ..config.clone() });
    let [averaged, _] = goes_on_to_the_same_bits(&place, &averaged, &[2, 4]);
    let history = |fitted: &Fitted| fitted.record.tuning.as_ref().unwrap().history.clone();
    for (plain, averaged) in history(&plain).iter().zip(&history(&averaged)) {
        // It is trained as without.
        assert_eq!(plain.training_loss, averaged.training_loss);
        assert!(plain.validation_loss.is_nan() || plain.validation_loss != averaged.validation_loss);
    }
    assert_eq!(averaged.record.tuning.as_ref().unwrap().ema, Some(0.9));
    // Weights and running statistics alike lie between where they began and where they went, and not there.
    let source = load_source(regraft::DEFAULT_SOURCE, None).unwrap();
    for name in ["_conv_head.weight", "_bn1.running_var"] {
        let numbers = |model: &Model| model.weights().get(name).unwrap().to_f32();
        let distance = |fitted: &Fitted| -> f64 {
            let (before, after) = (numbers(&source), numbers(&model(fitted)));
            before
                .iter()
                .zip(&after)
                .map(|(before, after)| f64::from(after - before).powi(2))
                .sum::<f64>()
                .sqrt()
        };
        let (far, near) = (distance(&plain), distance(&averaged));
        assert!(0.0 < near && near < far, "{name}: {near} {far}");
    }
    // Nearly no memory: the weights themselves, but for rounding.
    let forgetful = history(&of("forgetful", Some(1e-9)));
    for (plain, forgetful) in
        history(&plain).iter().zip(&forgetful).filter(|(epoch, _)| epoch.training == "validation")
    {
        assert!((plain.validation_loss - forgetful.validation_loss).abs() < 1e-4 * plain.validation_loss);
    }
}

#[test]
fn the_mean_of_the_last_epochs_is_judged_and_kept() {
    let place = place();
    let with = |name: &str, epochs, swa, norm_statistics| {
        let config = config(&place, name, Method::LastBlock);
        let schedule = regraft::ScheduleChoice::Constant;
        let tuning = TuningConfig { epochs, swa, norm_statistics, schedule, ..config.tuning.clone() };
        FitConfig { tuning, ..config }
    };
    let stored = regraft::NormStatistics::Stored;
    let [three, four] =
        [3, 4].map(|epochs| run(&place, &with(&format!("{epochs}"), epochs, None, stored), 2));
    let averaged = run(&place, &with("averaged", 4, Some(0.5), stored), 2);
    assert_eq!(averaged.record.tuning.as_ref().unwrap().swa, Some(0.5));
    let history = |fitted: &Fitted| fitted.record.tuning.as_ref().unwrap().history.clone();
    for (plain, averaged) in history(&four).iter().zip(&history(&averaged)) {
        // It is trained as without, and the mean of one epoch is that epoch.
        assert_eq!(plain.training_loss, averaged.training_loss);
        let is_same = plain.validation_loss.to_bits() == averaged.validation_loss.to_bits();
        assert_eq!(is_same, plain.epoch <= 4 || plain.training == "final", "{plain:?} {averaged:?}");
    }
    let name = "_conv_head.weight";
    let [three, four, mean] =
        [&three, &four, &averaged].map(|fitted| model(fitted).weights().get(name).unwrap().to_f32());
    for ((three, four), mean) in three.iter().zip(&four).zip(mean) {
        assert!((0.5 * (three + four) - mean).abs() < 1e-6, "{three} {four} {mean}");
    }
    let batch = regraft::NormStatistics::Batch;
    let own = with("", 4, Some(0.5), batch);
    let [own, _] = goes_on_to_the_same_bits(&place, &own, &[3, 9]);
    let moving = run(&place, &with("moving", 4, None, batch), 2);
    let variances = |fitted: &Fitted| model(fitted).weights().get("_bn1.running_var").unwrap().to_f32();
    assert_ne!(variances(&own), variances(&moving));
}

#[test]
fn a_soup_is_no_worse_than_its_best_ingredient() {
    let place = place();
    let config = config(&place, "", Method::LastBlock);
    let plain = run(&place, &FitConfig { out: Some(place.path().join("plain")), ..config.clone() }, 2);
    let tuning = TuningConfig { soup: Some(3), ..config.tuning.clone() };
    let [fitted, _] = goes_on_to_the_same_bits(&place, &FitConfig { tuning, ..config }, &[2, 6, 8]);
    let history = |fitted: &Fitted, name: &str| -> Vec<f64> {
        let tuning = fitted.record.tuning.as_ref().unwrap();
        let epochs = tuning.history.iter().filter(|epoch| epoch.training == name);
        epochs.map(|epoch| epoch.training_loss).collect()
    };
    let soup = &fitted.record.tuning.as_ref().unwrap().soup;
    let names: Vec<&str> = soup.iter().map(|row| row.training.as_str()).collect();
    assert_eq!(names, ["validation", "validation-soup-2", "validation-soup-3"]);
    assert_eq!(soup.iter().map(|row| row.learning_rate).collect::<Vec<_>>(), [1e-3, 5e-4, 2e-3]);
    assert_eq!(history(&plain, "validation"), history(&fitted, "validation"));
    for name in &names[1..] {
        // They begin alike, but see other images first.
        assert_ne!(history(&fitted, name)[0], history(&plain, "validation")[0], "{name}");
    }
    let best = soup.iter().map(|row| row.validation_loss).fold(f64::INFINITY, f64::min);
    for (row, last) in soup.iter().zip(["final", "final-soup-2", "final-soup-3"]) {
        assert_eq!(history(&fitted, last).len(), if row.is_kept { 2 } else { 0 }, "{soup:?}");
        assert!(!row.is_kept || row.soup_loss <= best, "{soup:?}");
    }
    assert!(soup.iter().any(|row| row.is_kept && row.soup_loss == best));
}

#[test]
fn a_rate_that_is_found_trains_as_one_that_is_given() {
    let place = place();
    let config = config(&place, "", Method::LastBlock);
    let with = |rate: LearningRate| {
        let tuning = TuningConfig { learning_rate: Some(rate), ..config.tuning.clone() };
        FitConfig { tuning, out: Some(place.path().join("given")), ..config.clone() }
    };
    let [found, _] = goes_on_to_the_same_bits(&place, &with(LearningRate::Find), &[3]);
    let tuning = found.record.tuning.as_ref().unwrap();
    let test = tuning.range_test.as_ref().unwrap();
    assert!(test.is_suggested && test.learning_rate == tuning.learning_rate, "{test:?}");
    assert!((20..=100).contains(&test.points.len()), "{test:?}");
    assert!(test.points.windows(2).all(|pair| pair[0].learning_rate < pair[1].learning_rate));
    let given = run(&place, &with(test.learning_rate.into()), 2);
    assert!(given.record.tuning.as_ref().unwrap().range_test.is_none());
    assert!(weights(&found) == weights(&given), "the saved weights differ");
}

/// The methods that add something to the loss.
const REGULARISED: [Method; 4] = [Method::Bss, Method::Delta, Method::Lwf, Method::CoTuning];

#[test]
fn what_a_method_adds_without_weight_changes_no_bit() {
    let place = place();
    let plain = run(&place, &config(&place, "plain", Method::LpFt), 2);
    let tuning = plain.record.tuning.as_ref().unwrap();
    assert!(tuning.regularization.is_none());
    assert!(tuning.history.iter().all(|epoch| epoch.regularization.is_nan()));
    for method in REGULARISED {
        let config = config(&place, method.name(), method);
        let tuning = TuningConfig { regularization: Some(0.0), ..config.tuning.clone() };
        let fitted = run(&place, &FitConfig { tuning, ..config }, 2);
        assert!(weights(&plain) == weights(&fitted), "{method:?}: the saved weights differ");
    }
}

#[test]
fn what_a_method_adds_is_there_and_leaves_nothing_behind() {
    let place = place();
    let plain = run(&place, &config(&place, "plain", Method::LpFt), 2);
    let names = |fitted: &Fitted| -> Vec<String> {
        model(fitted).weights().iter().map(|(name, _)| name.to_owned()).collect()
    };
    for method in REGULARISED {
        let fitted = run(&place, &config(&place, method.name(), method), 2);
        assert!(weights(&plain) != weights(&fitted), "{method:?}");
        assert_eq!(names(&plain), names(&fitted), "{method:?}");
        let tuning = fitted.record.tuning.as_ref().unwrap();
        assert_eq!(tuning.regularization, Some(method.regularization()));
        assert!(
            tuning.history.iter().all(|epoch| epoch.regularization > 0.0),
            "{method:?}: {:?}",
            tuning.history
        );
        // What is held near the source begins at nothing and grows; that all of it goes down the gradient is tested where it is.
        assert!(tuning.history.iter().all(|epoch| epoch.training_loss.is_finite()), "{:?}", tuning.history);
    }
}

#[test]
fn nothing_holds_a_network_that_has_not_moved() {
    let place = place();
    let first = |method: Method| {
        let tuning = TuningConfig {
            epochs: 1,
            batch_size: Some(24),
            augmentation: Augmentation::none(),
            ..TuningConfig::default()
        };
        let fitted = run(&place, &FitConfig { tuning, ..config(&place, method.name(), method) }, 2);
        fitted.record.tuning.unwrap().history.pop().unwrap()
    };
    let plain = first(Method::LpFt).training_loss;
    for method in REGULARISED {
        let epoch = first(method);
        // The one step of the epoch is judged before it is taken.
        assert!((epoch.training_loss - plain).abs() < 1e-6 * plain, "{method:?}: {epoch:?}");
        match method {
            Method::Delta | Method::Lwf => assert!(epoch.regularization < 1e-6, "{method:?}: {epoch:?}"),
            _ => assert!(epoch.regularization > 1e-6, "{method:?}: {epoch:?}"),
        }
    }
}

/// Runs it once, and again with stops after so many steps each.
fn goes_on_to_the_same_bits(place: &TempDir, config: &FitConfig, stops: &[usize]) -> [Fitted; 2] {
    let name = config.method.name();
    let at = |ending: &str| Some(place.path().join(format!("{name}-{ending}")));
    let whole = run(place, &FitConfig { out: at("whole"), ..config.clone() }, 2);
    let stopped = FitConfig { out: at("stopped"), ..config.clone() };
    for steps in stops {
        let progress = Impatient { left: AtomicUsize::new(*steps), training: false.into() };
        let cache = Cache::at(place.path().join("cache"));
        let context = Context { cache, progress: &progress, ..Context::default() };
        assert!(matches!(fit(&stopped, &context), Err(Error::Interrupted)));
    }
    let finished = run(place, &stopped, 1);
    assert!(weights(&whole) == weights(&finished), "{name}: the saved weights differ");
    assert_eq!(metrics_json(&whole.record)["tuning"], metrics_json(&finished.record)["tuning"]);
    [whole, finished]
}

#[test]
fn what_a_method_adds_is_the_same_after_a_stop() {
    let place = place();
    for method in REGULARISED {
        goes_on_to_the_same_bits(&place, &config(&place, "", method), &[2, 4]);
    }
}

/// The largest move of each of the source's weights.
fn moves(fitted: &Fitted) -> Vec<f32> {
    let (source, tuned) = (load_source(regraft::DEFAULT_SOURCE, None).unwrap(), model(fitted));
    let of_both = moved(fitted).into_iter().map(|name| {
        let numbers = |model: &Model| model.weights().get(&name).unwrap().to_f32();
        let pairs = numbers(&source).into_iter().zip(numbers(&tuned));
        pairs.map(|(before, after)| (after - before).abs()).fold(0.0, f32::max)
    });
    of_both.collect()
}

#[test]
fn surgical_moves_tensors_by_their_gradients_and_goes_on_to_the_same_bits() {
    let place = place();
    goes_on_to_the_same_bits(&place, &config(&place, "", Method::Surgical), &[2, 4]);
    // One step of Adam moves a number by at most the rate, and the tensor with the largest relative gradient by all of it.
    let one_step = |method: Method| {
        let config = config(&place, method.name(), method);
        let tuning = TuningConfig {
            epochs: 1,
            // All of the images.
            batch_size: Some(24),
            schedule: regraft::ScheduleChoice::Constant,
            weight_decay: 0.0,
            ..config.tuning.clone()
        };
        moves(&run(&place, &FitConfig { tuning, ..config }, 2))
    };
    let rate = 1e-3 * 0.1;
    let (all, by_gradient) = (one_step(Method::LpFt), one_step(Method::Surgical));
    let largest = by_gradient.iter().copied().fold(0.0, f32::max);
    assert!(all.iter().all(|one| (0.9..1.1).contains(&(one / rate))), "{all:?}");
    assert!((0.9..1.1).contains(&(largest / rate)), "{by_gradient:?}");
    let few = by_gradient.iter().filter(|one| **one < 0.5 * rate).count();
    assert!(few > by_gradient.len() / 2, "{by_gradient:?}");
}

#[test]
fn a_run_that_is_stopped_goes_on_to_the_same_bits() {
    let place = place();
    let whole = run(&place, &config(&place, "whole", Method::LpFt), 2);
    let stopped = config(&place, "stopped", Method::LpFt);
    for steps in [2, 3, 2] {
        let progress = Impatient { left: AtomicUsize::new(steps), training: false.into() };
        let cache = Cache::at(place.path().join("cache"));
        let context = Context { cache, progress: &progress, ..Context::default() };
        assert!(matches!(fit(&stopped, &context), Err(Error::Interrupted)));
        assert!(place.path().join("stopped.unfinished").is_dir());
    }
    let other = FitConfig { seed: 1, ..stopped.clone() };
    let refused = fit(&other, &Context::default()).unwrap_err().to_string();
    assert!(refused.contains("seed: 1, was 0"), "{refused}");
    assert_eq!(regraft::unfinished(&place.path().join("stopped")).unwrap(), stopped);
    let finished = run(&place, &stopped, 2);
    assert!(weights(&whole) == weights(&finished), "the saved weights differ");
    assert_eq!(metrics_json(&whole.record)["tuning"], metrics_json(&finished.record)["tuning"]);
    assert!(regraft::unfinished(&place.path().join("stopped")).is_err());
}

#[test]
fn a_run_goes_on_with_the_labels_that_it_began_with() {
    let place = place();
    let table = place.path().join("labels.csv");
    let row = |line: &str| line.split(',').take(2).collect::<Vec<_>>().join(",");
    let probe = run(&place, &config(&place, "probe", Method::Probe), 2);
    let split = std::fs::read_to_string(probe.folder.join("split.csv")).unwrap();
    let rows: String = split.lines().map(|line| row(line) + "\n").collect();
    let write = |text: &str| regraft_system::files::write_atomically(&table, text.as_bytes()).unwrap();
    write(&rows);
    let config = FitConfig { labels: Some(table.clone()), ..config(&place, "run", Method::LastBlock) };
    let progress = Impatient { left: AtomicUsize::new(3), training: false.into() };
    let context =
        |progress| Context { cache: Cache::at(place.path().join("cache")), progress, ..Context::default() };
    assert!(matches!(fit(&config, &context(&progress)), Err(Error::Interrupted)));
    write(&format!("{rows}\n"));
    let refused = fit(&config, &context(&regraft::Silent)).unwrap_err().to_string();
    assert!(refused.contains("their labels"), "{refused}");
    write(&rows);
    assert_eq!(run(&place, &config, 2).record.n_test, probe.record.n_test);
}
