//! Data sets of other channels and sizes than the sources were trained on, from files to a saved model that predicts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

#[path = "../../regraft-zoo/tests/common/mod.rs"]
mod formula;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regraft::{
    ChannelChoice, Context, EmbedPrecision, ExtraChannels, FitConfig, Fitted, FrozenPrecision, InputChoice,
    Model, PrecisionChoice, Stem, check, embed, evaluate, fit, load_source, predict,
};
use regraft_formats::{model_folder, npy};
use regraft_graph::{Graph, Node, Op};
use regraft_zoo::{Architecture, Network, architectures};

const IMAGES_PER_CLASS: usize = 12;
const SIDE: usize = 64;

/// A sample of stripes of any brightness that run across in the first class and down in the second, with noise.
fn sample(class: usize, image: usize, y: usize, x: usize, channel: usize) -> u8 {
    let along = if class == 0 { y } else { x };
    let stripe = 40 + (image * 7867 + along / 8 * 9973 + class * 131) % 160;
    let noise = (image * 7919 + y * 104_729 + x * 1_299_709 + channel * 15_485_863) % 41;
    (stripe + noise) as u8
}

fn samples(class: usize, image: usize, channels: usize) -> Vec<u8> {
    let place = |index: usize| (index / channels / SIDE, index / channels % SIDE, index % channels);
    let value = |index: usize| {
        let (y, x, channel) = place(index);
        sample(class, image, y, x, channel)
    };
    (0..SIDE * SIDE * channels).map(value).collect()
}

fn png(color: png::ColorType, samples: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, SIDE as u32, SIDE as u32);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(samples).unwrap();
    file
}

/// NumPy's format, version 1.0, of 16-bit samples in the lower twelfth of their range.
fn array(channels: usize, samples: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '<u2', 'fortran_order': False, 'shape': ({SIDE}, {SIDE}, {channels}), }}");
    let text = format!("{text:<117}\n");
    let values = samples.iter().flat_map(|sample| (u16::from(*sample) * 20).to_le_bytes());
    [b"\x93NUMPY\x01\x00\x76\x00", text.as_bytes(), &values.collect::<Vec<u8>>()].concat()
}

/// A folder of two classes in `data`.
fn place(extension: &str, file: impl Fn(usize, usize) -> Vec<u8>) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for class in 0..2 {
        let folder = place.path().join("data").join(["across", "down"][class]);
        std::fs::create_dir_all(&folder).unwrap();
        for image in 0..IMAGES_PER_CLASS {
            let path = folder.join(format!("{image:02}.{extension}"));
            regraft_system::files::write_atomically(&path, &file(class, image)).unwrap();
        }
    }
    place
}

fn grey() -> tempfile::TempDir {
    place("png", |class, image| png(png::ColorType::Grayscale, &samples(class, image, 1)))
}

fn five_bands() -> tempfile::TempDir {
    place("npy", |class, image| array(5, &samples(class, image, 5)))
}

fn config(place: &Path, name: &str) -> FitConfig {
    FitConfig {
        data: place.join("data"),
        out: Some(place.join(name)),
        heads: vec![regraft::HeadKind::Ridge],
        folds: 2,
        curve_repetitions: 0,
        ..FitConfig::default()
    }
}

fn fitted(config: &FitConfig) -> Fitted {
    fit(config, &Context::default()).unwrap_or_else(|error| panic!("{}: {error}", config.source))
}

/// One architecture of each family, the one with the fewest parameters. A family is called what their names begin with.
fn families() -> Vec<&'static Architecture> {
    let mut smallest: BTreeMap<&str, (usize, &Architecture)> = BTreeMap::new();
    for architecture in architectures() {
        let family =
            architecture.name.split(|character: char| !character.is_ascii_alphabetic()).next().unwrap();
        let parameters = parameters(&architecture.network(2).unwrap().graph);
        let known = smallest.entry(family).or_insert((parameters, architecture));
        if parameters < known.0 {
            *known = (parameters, architecture);
        }
    }
    smallest.into_values().map(|(_, architecture)| architecture).collect()
}

fn parameters(graph: &Graph) -> usize {
    graph.parameters().iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum()
}

/// Parameters of a source in these tests: more cost time and nothing else.
const MOST_PARAMETERS: usize = 4_000_000;

/// A head needs a vector: of tokens, the first.
fn vector(mut graph: Graph, wire: String) -> (Graph, String) {
    if graph.fact(&wire).unwrap().shape.len() != 3 {
        return (graph, wire);
    }
    graph.push(Node::new("first", Op::SelectToken { index: 0 }, [wire])).unwrap();
    graph.set_output("first").unwrap();
    (graph, "first".to_owned())
}

/// An architecture up to the last cut point with few enough parameters, with formula weights, saved.
fn saved(architecture: &Architecture, folder: &Path) {
    let Network { graph, roles } = architecture.network(2).unwrap();
    let shortened = |end: &String| {
        let mut short = Graph::new(graph.input(), graph.input_fact().clone());
        for node in graph.nodes() {
            short.push(node.clone()).unwrap();
            if node.name == *end {
                break;
            }
        }
        short.set_output(end).unwrap();
        (short, end.clone())
    };
    let all = roles.cuts.iter().map(shortened);
    let (short, end) = all
        .take_while(|(short, _)| parameters(short) <= MOST_PARAMETERS)
        .last()
        .unwrap_or_else(|| shortened(roles.cuts.first().unwrap()));
    let (short, end) = vector(short, end);
    let mut card = architecture.card("formula weights");
    card.roles.features = end;
    let weights = formula::hashed_parameters(&short, 2.0);
    model_folder::save(&Model::new(short, weights, card).unwrap(), folder).unwrap();
}

/// What a run says of files, by their names in its data.
fn predicted(run: &Path, files: &[PathBuf]) -> Vec<(String, f64)> {
    let model = load_source(run, None).unwrap();
    let mut answers = Vec::new();
    let precision = FrozenPrecision::of_source(run).unwrap();
    predict(&model, &precision, files, 1, None, &Context::default(), &mut |answer| {
        let answer = answer.unwrap_or_else(|file| panic!("{}: {}", file.path, file.reason));
        answers.push((answer.label, answer.probability));
        Ok(())
    })
    .unwrap();
    answers
}

/// Predictions of the saved model are those that the run has for its test images.
fn assert_predicts_its_own(run: &Fitted, data: &Path) {
    let mut table = csv::Reader::from_path(run.folder.join("predictions.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let files: Vec<PathBuf> = rows.iter().map(|row| data.join(&row[0])).collect();
    for ((label, probability), row) in predicted(&run.folder, &files).iter().zip(&rows) {
        let largest = row.iter().skip(3).map(|value| value.parse::<f64>().unwrap()).fold(0.0, f64::max);
        assert_eq!(label, &row[2]);
        assert!((probability - largest).abs() < 1e-4, "{}: {probability} {largest}", run.folder.display());
    }
}

#[test]
fn every_family_fits_grey_images_and_bands() {
    let sources = tempfile::tempdir().unwrap();
    let sets = [(grey(), 1, "The network sees grey"), (five_bands(), 5, "The network sees 5 bands")];
    for architecture in families() {
        let source = sources.path().join(architecture.name);
        saved(architecture, &source);
        for (place, channels, sentence) in &sets {
            // The least that Inception takes is 75.
            let size = if architecture.name.starts_with("inception") { 96 } else { 64 };
            let config = FitConfig {
                source: source.to_string_lossy().into_owned(),
                image_size: Some(size),
                ..config(place.path(), architecture.name)
            };
            let run = fitted(&config);
            let name = architecture.name;
            assert!(run.record.input.starts_with(sentence), "{name}: {}", run.record.input);
            assert!(
                run.record.input.contains(&format!("{size}×{size} pixels")),
                "{name}: {}",
                run.record.input
            );
            // Weights that are a formula promise no accuracy, only numbers.
            assert!(run.record.test.log_loss.value.is_finite(), "{name}");
            let model = load_source(&run.folder, None).unwrap();
            assert_eq!(model.card().preprocessing.channels(), *channels, "{name}");
            let changed = architecture.preprocessing.channels() != *channels;
            let told = model.history().iter().any(|reason| reason.contains("channels"));
            assert_eq!(told, changed, "{name}");
            assert_predicts_its_own(&run, &place.path().join("data"));
        }
    }
}

#[test]
fn grey_images_give_what_they_gave_in_rgb() {
    let place = grey();
    let accuracy = |choice, name: &str| {
        let run = fitted(&FitConfig { channels: choice, ..config(place.path(), name) });
        assert!(run.record.test.accuracy.value >= 0.8, "{}", run.record.test.accuracy.value);
        (run.record.test.log_loss.value, run.record.input.clone())
    };
    let (grey, sentence) = accuracy(ChannelChoice::Auto, "grey");
    let (colour, _) = accuracy(ChannelChoice::Rgb, "rgb");
    assert!((grey - colour).abs() < 1e-3, "{grey} {colour}");
    assert!(sentence.contains("what its source would of the same images in RGB"), "{sentence}");
    assert!(sentence.contains("224×224 pixels, the size that its source was trained on"), "{sentence}");
    assert!(sentence.contains("some 64 pixels on their shorter side and are enlarged"), "{sentence}");
}

#[test]
fn colour_and_transparent_sets_are_seen_as_ever() {
    for color in [png::ColorType::Rgb, png::ColorType::Rgba] {
        let channels = if color == png::ColorType::Rgb { 3 } else { 4 };
        let place = place("png", |class, image| png(color, &samples(class, image, channels)));
        let run = fitted(&config(place.path(), "run"));
        assert!(run.record.input.starts_with("The network sees RGB, as its source was trained."));
        let (model, source) =
            (load_source(&run.folder, None).unwrap(), load_source(&run.record.source, None).unwrap());
        assert_eq!(model.card().preprocessing, source.card().preprocessing);
    }
}

#[test]
fn alpha_is_there_for_who_asks_and_changes_nothing_at_first() {
    let place = place("png", |class, image| png(png::ColorType::Rgba, &samples(class, image, 4)));
    let features = |choice: ChannelChoice, name: &str| {
        let (model, out) = (load_source("efficientnet-lite0", None).unwrap(), place.path().join(name));
        let choice = InputChoice { channels: choice, image_size: Some(64), ..InputChoice::default() };
        let precision = EmbedPrecision::Given(FrozenPrecision::Float32);
        embed(
            &model,
            &[place.path().join("data")],
            &choice,
            "features",
            precision,
            &out,
            &Context::default(),
        )
        .unwrap();
        npy::read_f32(&out).unwrap()
    };
    let (alpha, none) = (features(ChannelChoice::Native, "a.npy"), features(ChannelChoice::Auto, "b.npy"));
    let apart = alpha.iter().zip(&none).map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap();
    assert!(apart <= 1e-4, "{apart}");
    let run = fitted(&FitConfig {
        channels: ChannelChoice::Native,
        image_size: Some(64),
        ..config(place.path(), "run")
    });
    let model = load_source(&run.folder, None).unwrap();
    assert_eq!(model.card().preprocessing.channels(), 4);
    assert_predicts_its_own(&run, &place.path().join("data"));
}

#[test]
fn tokens_give_a_row_of_their_means() {
    let (place, sources) = (grey(), tempfile::tempdir().unwrap());
    let vit = architectures().iter().find(|architecture| architecture.name == "vit_b_16").unwrap();
    saved(vit, sources.path());
    let (model, out) = (load_source(sources.path(), None).unwrap(), place.path().join("tokens.npy"));
    let choice = InputChoice { image_size: Some(48), ..InputChoice::default() };
    let (data, precision) = (place.path().join("data"), EmbedPrecision::Given(FrozenPrecision::Float32));
    let cut = "encoder.layers.encoder_layer_0.add_1";
    let embedded = embed(&model, &[data], &choice, cut, precision, &out, &Context::default()).unwrap();
    assert_eq!((embedded.images, embedded.dim), (2 * IMAGES_PER_CLASS, 768));
}

#[test]
fn a_mixed_set_is_rgb_and_the_doctor_says_so() {
    let place = place("png", |class, image| match image {
        0 => png(png::ColorType::Rgb, &samples(class, image, 3)),
        _ => png(png::ColorType::Grayscale, &samples(class, image, 1)),
    });
    let run = fitted(&FitConfig { image_size: Some(64), ..config(place.path(), "run") });
    assert!(run.record.input.starts_with("The network sees RGB"), "{}", run.record.input);
    let checkup = check(&place.path().join("data"), None, 2, &Context::default()).unwrap();
    let finding = checkup.findings.iter().find(|finding| finding.code == "different-channels").unwrap();
    assert!(finding.message.contains("2 of colour"), "{}", finding.message);
    assert!(finding.message.contains("22 of grey"), "{}", finding.message);
}

#[test]
fn a_small_stem_sees_small_images_at_their_size() {
    let (place, sources) = (grey(), tempfile::tempdir().unwrap());
    let resnet = architectures().iter().find(|architecture| architecture.name == "resnet18").unwrap();
    saved(resnet, sources.path());
    let source = sources.path().to_string_lossy().into_owned();
    let run = fitted(&FitConfig { source, stem: Stem::Small, ..config(place.path(), "run") });
    assert!(run.record.input.contains("It sees 56×56 pixels"), "{}", run.record.input);
    assert!(run.record.input.contains("4 times fewer"), "{}", run.record.input);
    let model = load_source(&run.folder, None).unwrap();
    assert!(model.graph().nodes().iter().all(|node| !matches!(node.op, Op::MaxPool(_))));
    assert_predicts_its_own(&run, &place.path().join("data"));
    let evaluation =
        evaluate(&run.folder, &place.path().join("data"), None, 0, 0, &Context::default()).unwrap();
    assert_eq!(evaluation.n, 2 * IMAGES_PER_CLASS);
}

#[test]
fn bands_are_calibrated_and_their_rule_can_be_chosen() {
    let place = five_bands();
    for (rule, words) in [(None, "repeated over"), (Some(ExtraChannels::Mean), "the mean of the others")] {
        let run = fitted(&FitConfig {
            image_size: Some(64),
            extra_channels: rule,
            precision: PrecisionChoice::Int8,
            ..config(place.path(), words)
        });
        assert!(run.record.input.contains(words), "{}", run.record.input);
        assert!(run.record.input.contains("in the training images"), "{}", run.record.input);
        assert_predicts_its_own(&run, &place.path().join("data"));
    }
}

#[test]
fn a_size_below_the_least_is_refused_with_the_least() {
    let place = grey();
    let sources = tempfile::tempdir().unwrap();
    let inception = architectures().iter().find(|architecture| architecture.name == "inception_v3").unwrap();
    saved(inception, sources.path());
    let source = sources.path().to_string_lossy().into_owned();
    let config = FitConfig { source, image_size: Some(9), ..config(place.path(), "run") };
    let message = fit(&config, &Context::default()).unwrap_err().to_string();
    assert!(message.contains("--image-size 9") && message.contains("the least it takes is"), "{message}");
    let message = FitConfig { image_size: Some(0), ..config }.check().unwrap_err().to_string();
    assert!(message.contains("image-size"), "{message}");
}

#[test]
fn an_array_of_many_images_may_have_any_size_and_who_asks_gets_any_channels() {
    let place = tempfile::tempdir().unwrap();
    let model = load_source("efficientnet-lite0", None).unwrap();
    for (channels, height, width) in [(1, 64, 64), (5, 48, 80), (3, 40, 40)] {
        let path = place.path().join("images.npy");
        let values = ndarray::ArrayD::from_shape_fn(vec![2, channels, height, width], |place| {
            (place[0] * 31 + place[1] * 7 + place[2] * 3 + place[3]) as f32 % 5.0 - 2.0
        });
        npy::write_f32(&path, values.view()).unwrap();
        let out = place.path().join("features.npy");
        let embedded = |channels: ChannelChoice| {
            let choice = InputChoice { channels, ..InputChoice::default() };
            let precision = EmbedPrecision::Given(FrozenPrecision::Float32);
            let (paths, context) = (std::slice::from_ref(&path), Context::default());
            embed(&model, paths, &choice, "features", precision, &out, &context)
        };
        assert_eq!(embedded(ChannelChoice::Native).unwrap().images, 2, "{channels}");
        assert_eq!(embedded(ChannelChoice::Auto).is_ok(), channels == 3, "{channels}");
    }
}
