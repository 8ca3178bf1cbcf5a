//! `cut` by way of the library: what a tap gives is what a run up to it gives, nothing depends on threads, and the choice is
//! the rule's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod support;

use regraft::{
    Cache, Context, CutConfig, CutOutcome, DepthRecord, EmbedPrecision, Error, FitConfig, FrozenPrecision,
    InputChoice, TuningConfig, cut, embed, load_source, with_threads,
};
use tempfile::TempDir;

const IMAGES_PER_CLASS: usize = 10;
const IMAGE_SIZE: usize = 64;

fn config(place: &TempDir, name: &str) -> CutConfig {
    let CutConfig { fit, .. } = CutConfig::default();
    let tuning = TuningConfig { epochs: 1, batch_size: Some(8), ..fit.tuning };
    let fit = FitConfig {
        data: place.path().join("data"),
        out: Some(place.path().join(name)),
        image_size: Some(IMAGE_SIZE),
        folds: 3,
        tuning,
        ..fit
    };
    let cuts = ["_blocks.4.add", "features", "_blocks.1._bn2"].map(str::to_owned).to_vec();
    CutConfig { fit, cuts, tunes: false, ..CutConfig::default() }
}

fn run(place: &TempDir, config: &CutConfig, threads: usize) -> CutOutcome {
    with_threads(threads, || {
        let context = Context { cache: Cache::at(place.path().join("cache")), ..Context::default() };
        cut(config, &context)
    })
    .unwrap()
}

/// Without what the clock says.
fn timeless(record: &DepthRecord) -> DepthRecord {
    let mut record = record.clone();
    (record.name, record.threads, record.seconds, record.peak_rss_mb) = (String::new(), 0, 0.0, 0.0);
    record.created = None;
    record.cuts.iter_mut().for_each(|cut| cut.milliseconds = 0.0);
    record.tuned.iter_mut().for_each(|tuned| tuned.seconds = 0.0);
    record
}

#[test]
fn every_cut_is_judged_in_its_order_and_one_is_chosen() {
    let place = support::place(IMAGES_PER_CLASS);
    let outcome = run(&place, &config(&place, "run"), 2);
    let record = &outcome.record;
    let wires: Vec<&str> = record.cuts.iter().map(|cut| cut.wire.as_str()).collect();
    assert_eq!(wires, ["_blocks.1._bn2", "_blocks.4.add", "flatten"]);
    assert!(record.cuts.is_sorted_by_key(|cut| cut.parameters));
    assert_eq!(record.cuts.iter().map(|cut| cut.dimensions).collect::<Vec<_>>(), [24, 40, 1280]);
    assert!(record.cuts[2].is_default && !record.cuts[0].is_default);
    let best = record.cuts.iter().find(|cut| cut.is_best).unwrap();
    assert!(record.cuts.iter().all(|cut| cut.log_loss >= best.log_loss - 1e-12));
    // 24 training images of 3 classes are too few to prefer the earliest.
    let last = record.cuts.iter().rfind(|cut| cut.excess <= cut.excess_standard_error).unwrap();
    assert!(last.is_chosen && record.reason.starts_with("The last cut"), "{}", record.reason);
    assert!(record.cuts.iter().all(|cut| cut.random.is_known() && cut.milliseconds > 0.0));
    assert_eq!(record.test[0].wire, last.wire);
    assert_eq!(record.test[0].gain.is_some(), !last.is_default);
    assert_eq!(record.test.len(), if last.is_default { 1 } else { 2 });
    for file in ["cut.json", "cut.csv", "report.html", "log.jsonl", "regraft.toml"] {
        assert!(outcome.folder.join(file).is_file(), "{file}");
    }
    let table = std::fs::read_to_string(outcome.folder.join("cut.csv")).unwrap();
    assert_eq!(table.lines().count(), 4, "{table}");
}

#[test]
fn neither_threads_nor_the_cache_change_a_number() {
    let place = support::place(IMAGES_PER_CLASS);
    let first = run(&place, &CutConfig { tunes: true, ..config(&place, "first") }, 1);
    assert_eq!(first.record.tuned.len(), 2);
    assert!(first.record.tuned.iter().all(|tuned| tuned.log_loss_after.is_finite() && tuned.epochs == 1));
    let second = run(&place, &CutConfig { tunes: true, ..config(&place, "second") }, 3);
    assert_eq!(timeless(&first.record), timeless(&second.record));
    assert!(!place.path().join("first.unfinished").exists());
}

#[test]
fn what_a_tap_gives_is_what_a_run_up_to_it_gives() {
    let place = support::place(IMAGES_PER_CLASS);
    run(&place, &config(&place, "run"), 2);
    let model = load_source(regraft::DEFAULT_SOURCE, None).unwrap();
    let rows = |wire: &str, cache: Cache| {
        let out = place.path().join("rows.npy");
        let context = Context { cache, ..Context::default() };
        let input = InputChoice { image_size: Some(IMAGE_SIZE), ..InputChoice::default() };
        let data = [place.path().join("data")];
        let embedded = embed(
            &model,
            &data,
            &input,
            wire,
            EmbedPrecision::Given(FrozenPrecision::Float32),
            &out,
            &context,
        )
        .unwrap();
        (regraft_system::files::read(&out).unwrap(), embedded.from_cache)
    };
    for wire in ["_blocks.1._bn2", "_blocks.4.add", "features"] {
        let (tapped, known) = rows(wire, Cache::at(place.path().join("cache")));
        assert_eq!(known, 3 * IMAGES_PER_CLASS);
        assert!(tapped == rows(wire, Cache::disabled()).0, "{wire}");
    }
}

#[test]
fn an_experiment_on_two_halves_of_the_classes() {
    let place = support::place(IMAGES_PER_CLASS);
    // A fourth class, so that each task has two.
    let (from, to) = (place.path().join("data/faces"), place.path().join("data/more"));
    std::fs::create_dir(&to).unwrap();
    for (index, file) in std::fs::read_dir(&from).unwrap().enumerate() {
        if index % 2 == 0 {
            let file = file.unwrap();
            std::fs::rename(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    let base = CutConfig::of_transfer(2);
    let own = config(&place, "run");
    let tuning = TuningConfig { epochs: 1, batch_size: Some(4), ..base.fit.tuning.clone() };
    let fit = FitConfig { tuning, image_size: Some(32), folds: 2, ..own.fit };
    let cuts = ["_blocks.1._bn2", "_blocks.13.add"].map(str::to_owned).to_vec();
    let config = CutConfig { fit, cuts, ..base };
    let outcome = run(&place, &config, 2);
    let protocol = outcome.record.protocol.as_ref().unwrap();
    assert_eq!((protocol.classes_a.len(), protocol.classes_b.len()), (2, 2));
    assert!(protocol.classes_a.iter().all(|class| !protocol.classes_b.contains(class)));
    assert_eq!(
        protocol.arms.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>(),
        ["AnB", "AnB+", "BnB", "BnB+"]
    );
    for arm in &protocol.arms {
        assert_eq!(arm.points.iter().map(|point| point.layers).collect::<Vec<_>>(), [1, 2]);
        assert!(arm.points.iter().all(|point| point.values.len() == 2));
        assert!(arm.points.iter().all(|point| point.low <= point.mean && point.mean <= point.high));
    }
    assert_eq!(protocol.base_b.values.len(), 2);
    assert_eq!(protocol.n_train_a + protocol.n_train_b, outcome.record.n_train);
}

#[test]
fn what_cannot_be_done_is_said_before_any_work() {
    let place = support::place(4);
    let refused = |config: CutConfig| match cut(&config, &Context::default()) {
        Err(Error::Usage(message)) => message,
        other => panic!("{other:?}"),
    };
    let mistyped = CutConfig { cuts: vec!["_blocks.4.ad".to_owned()], ..config(&place, "run") };
    let message = refused(mistyped);
    assert!(message.contains("_blocks.4.ad") && message.contains("_blocks.4.add"), "{message}");
    let mut absurd = config(&place, "run");
    absurd.fit.test_fraction = 0.9;
    assert!(refused(absurd).contains("test-fraction"));
    let few = CutConfig { transfer_repetitions: 1, ..config(&place, "run") };
    let message = refused(few);
    assert!(message.contains("two tasks") && !place.path().join("run").exists(), "{message}");
}
