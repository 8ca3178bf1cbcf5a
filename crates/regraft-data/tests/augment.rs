//! Operators of augmentation against Pillow and torchvision bit for bit; what is random against its definition.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regraft_data::augment::colour::{
    adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, adjust_sharpness, autocontrast,
    equalize, posterize, solarize,
};
use regraft_data::augment::geometry::{
    Region, erase, flip_horizontally, flip_vertically, resized_crop, rotate,
};
use regraft_data::augment::{
    Augmentation, ColourJitter, LARGEST_MAGNITUDE, Operator, Policy, RandomErasing, RandomResizedCrop,
};
use regraft_data::decode::{Limits, decode, decode_as};
use regraft_data::preprocess::{PreprocessError, crop, normalise};
use regraft_data::raster::{Channels, Image, Samples};
use regraft_graph::{ChannelOrder, Preprocessing, Resize, ResizeFilter};
use regraft_system::random::stream;
use regraft_system::{files, hash};
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn goldens(part: &str) -> Value {
    let mut all: Value = serde_json::from_slice(&files::read(&golden("augment.json")).unwrap()).unwrap();
    all[part].take()
}

fn photo(mode: &str) -> Image {
    let content = files::read(&golden("resize.png")).unwrap();
    match mode {
        "L" => decode_as(&content, 1, &Limits::default()).unwrap(),
        _ => decode(&content, &Limits::default()).unwrap(),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// A part of an image, from its corners.
fn part(image: &Image, corners: &[f64]) -> Image {
    let corners: Vec<usize> = corners.iter().map(|corner| *corner as usize).collect();
    let [left, top, right, bottom] = corners[..] else { panic!("{corners:?}") };
    let region = Region { left, top, width: right - left, height: bottom - top };
    resized_crop(image, region, (region.width, region.height), ResizeFilter::Bilinear).unwrap()
}

fn digest(image: &Image) -> String {
    hash::sha256_hex(image.pixels())[..16].to_owned()
}

fn operate(image: &Image, name: &str, arguments: &Value) -> Image {
    let argument = arguments[0].as_f64().unwrap_or_default();
    let copy = image.clone();
    match name {
        "horizontal-flip" => flip_horizontally(copy),
        "vertical-flip" => flip_vertically(copy),
        "brightness" => adjust_brightness(copy, argument),
        "contrast" => adjust_contrast(copy, argument),
        "saturation" => adjust_saturation(copy, argument),
        "sharpness" => adjust_sharpness(copy, argument),
        "hue" => adjust_hue(copy, argument),
        "posterize" => posterize(copy, argument as u32),
        "solarize" => solarize(copy, argument),
        "autocontrast" => autocontrast(copy),
        "equalize" => equalize(copy),
        "rotate" => rotate(image, argument),
        "erase" => {
            let place: Vec<usize> = (0..4).map(|index| arguments[index].as_u64().unwrap() as usize).collect();
            let region = Region { left: place[0], top: place[1], width: place[2], height: place[3] };
            let colour: Vec<f32> = numbers(&arguments[4]).iter().map(|level| *level as f32).collect();
            erase(copy, region, &colour)
        }
        "resized-crop" => {
            let place: Vec<usize> = (0..4).map(|index| arguments[index].as_u64().unwrap() as usize).collect();
            let region = Region { top: place[0], left: place[1], height: place[2], width: place[3] };
            let size = numbers(&arguments[4]);
            resized_crop(image, region, (size[1] as usize, size[0] as usize), ResizeFilter::Bilinear).unwrap()
        }
        _ => panic!("{name}"),
    }
}

#[test]
fn every_operator_equals_pillow() {
    let (colour, grey) = (photo("RGB"), photo("L"));
    for case in goldens("operators").as_array().unwrap() {
        let mode = case["mode"].as_str().unwrap();
        let image = part(if mode == "L" { &grey } else { &colour }, &numbers(&case["box"]));
        let name = case["operator"].as_str().unwrap();
        for result in case["results"].as_array().unwrap() {
            let found = operate(&image, name, &result[0]);
            assert_eq!(digest(&found), result[1], "{name} {} {mode} {}", result[0], case["box"]);
        }
    }
}

fn policy(name: &Value) -> Policy {
    match name.as_str().unwrap() {
        "trivial-augment" => Policy::TrivialAugment,
        _ => Policy::RandAugment { operations: 2, magnitude: 9 },
    }
}

fn operator(case: &Value) -> Operator {
    serde_json::from_value(case["operator"].clone()).unwrap()
}

#[test]
fn every_magnitude_equals_torchvision() {
    for case in goldens("magnitudes").as_array().unwrap() {
        for (magnitude, expected) in numbers(&case["amounts"]).into_iter().enumerate() {
            let found = policy(&case["policy"]).amount(operator(case), magnitude, (87, 61));
            assert_eq!(found, expected, "{} {} {magnitude}", case["policy"], case["operator"]);
        }
    }
}

#[test]
fn every_step_of_a_policy_equals_torchvision() {
    let image = part(&photo("RGB"), &[20.0, 10.0, 107.0, 71.0]);
    let mut operators = 0;
    for case in goldens("policies").as_array().unwrap() {
        operators += 1;
        for result in case["results"].as_array().unwrap() {
            let (magnitude, sign) = (result[0].as_u64().unwrap() as usize, result[1].as_f64().unwrap());
            let amount = sign * policy(&case["policy"]).amount(operator(case), magnitude, (87, 61));
            let found = operator(case).apply(image.clone(), amount);
            assert_eq!(digest(&found), result[2], "{} {} {result}", case["policy"], case["operator"]);
        }
    }
    assert_eq!(operators, 2 * Operator::ALL.len());
}

#[test]
fn rectangles_that_never_fit_become_torchvisions_middle() {
    let impossible = RandomResizedCrop { scale: [9.0, 9.0], ..RandomResizedCrop::default() };
    for case in goldens("middles").as_array().unwrap() {
        let size: Vec<usize> = numbers(&case["size"]).iter().map(|side| *side as usize).collect();
        let Region { left, top, width, height } =
            impossible.region((size[0], size[1]), &mut stream(0, "t", 0));
        let found = [left, top, width, height].map(|number| number as f64);
        assert_eq!(found[..], numbers(&case["region"]), "{case}");
    }
}

fn preprocessing(mean: &[f32], resize: Resize, crop: [usize; 2]) -> Preprocessing {
    let std = vec![58.0; mean.len()].into();
    let (channel_order, filter) = (ChannelOrder::Rgb, ResizeFilter::Bilinear);
    Preprocessing { channel_order, resize, filter, crop, mean: mean.to_vec().into(), std }
}

fn usual() -> Preprocessing {
    preprocessing(&[123.675, 116.28, 103.53], Resize::ShortSide(32), [28, 28])
}

fn everything() -> Augmentation {
    let colour_jitter = Some(ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 });
    let random_erasing = Some(RandomErasing { probability: 1.0, ..RandomErasing::default() });
    Augmentation { vertical_flip: 0.5, colour_jitter, random_erasing, ..Augmentation::strong() }
}

#[test]
fn nothing_random_is_the_usual_crop() {
    let photo = photo("RGB");
    let mut draws = stream(1, "augment", 0);
    let found = Augmentation::none().apply(&photo, &usual(), &mut draws).unwrap();
    assert_eq!(found, crop(&photo, &usual()).unwrap());
    assert!(Augmentation::none().is_none() && !Augmentation::flip().is_none());
}

#[test]
fn the_same_stream_gives_the_same_bits() {
    let photo = photo("RGB");
    let variant = |index| everything().apply(&photo, &usual(), &mut stream(1, "augment", index)).unwrap();
    for index in 0..20 {
        assert_eq!(variant(index), variant(index));
        assert_ne!(variant(index), variant(index + 1));
    }
}

#[test]
fn pixels_do_not_change_what_is_drawn() {
    use rand::Rng as _;
    let dark = Image::rgb(131, 87, vec![3; 3 * 131 * 87]).unwrap();
    for index in 0..50 {
        let after = |image: &Image| {
            let mut draws = stream(1, "augment", index);
            everything().apply(image, &usual(), &mut draws).unwrap();
            draws.next_u64()
        };
        assert_eq!(after(&photo("RGB")), after(&dark));
    }
}

#[test]
fn the_presets_draw_what_they_drew_before() {
    let photo = photo("RGB");
    for (name, expected) in
        [("flip", "b0803c013b5c74a3"), ("standard", "3813c520471aca9c"), ("strong", "bf11bf9f46ad25d5")]
    {
        let augmentation: Augmentation = name.parse().unwrap();
        let variant = |index| augmentation.apply(&photo, &usual(), &mut stream(7, "augment", index)).unwrap();
        let pixels: Vec<u8> = (0..16).flat_map(|index| variant(index).pixels().to_vec()).collect();
        assert_eq!(hash::sha256_hex(&pixels)[..16], *expected, "{name}");
    }
}

#[test]
fn any_image_becomes_the_crop() {
    for channels in [1, 2, 3, 4, 5] {
        let preprocessing = preprocessing(&vec![100.0; channels], Resize::ShortSide(13), [11, 17]);
        for (width, height) in [(1, 1), (1, 5000), (5000, 1), (2, 3), (40, 30)] {
            let bytes: Vec<u8> =
                (0..channels * width * height).map(|index| (index * 37 % 251) as u8).collect();
            let deep = bytes.iter().map(|byte| f32::from(*byte)).collect();
            for samples in [Samples::Bytes(bytes), Samples::Numbers(deep)] {
                let image = Image::new(width, height, channels, samples).unwrap();
                for index in 0..10 {
                    let mut draws = stream(1, "augment", index);
                    let found = everything().apply(&image, &preprocessing, &mut draws).unwrap();
                    assert_eq!((found.width(), found.height(), found.channels()), (17, 11, channels));
                    assert_eq!(found.pixels().is_empty(), image.pixels().is_empty());
                }
            }
        }
    }
}

#[test]
fn numbers_are_moved_as_bytes_are_but_for_rounding() {
    let bytes = photo("RGB");
    let samples = bytes.pixels().iter().map(|byte| f32::from(*byte)).collect();
    let deep = Image::new(131, 87, 3, Samples::Numbers(samples)).unwrap();
    let augmentation = Augmentation { colour_jitter: None, policy: Policy::None, ..everything() };
    for index in 0..20 {
        let variant = |image| augmentation.apply(image, &usual(), &mut stream(1, "augment", index)).unwrap();
        let Samples::Numbers(found) = variant(&deep).into_samples() else { panic!("numbers") };
        let expected = variant(&bytes);
        assert!(
            found.iter().zip(expected.pixels()).all(|(found, byte)| (found - f32::from(*byte)).abs() <= 1.0)
        );
    }
    for (operator, amount) in
        [(Operator::Rotate, 31.0), (Operator::ShearX, 0.3), (Operator::Brightness, -0.4)]
    {
        let Samples::Numbers(found) = operator.apply(deep.clone(), amount).into_samples() else {
            panic!("numbers")
        };
        let expected = operator.apply(bytes.clone(), amount);
        assert!(
            found.iter().zip(expected.pixels()).all(|(found, byte)| (found - f32::from(*byte)).abs() <= 1.0)
        );
    }
}

#[test]
fn alpha_and_bands_keep_what_has_no_colour() {
    let bytes: Vec<u8> = (0..4 * 9 * 7).map(|index| (index * 37 % 251) as u8).collect();
    let alpha = Image::new(9, 7, 4, Samples::Bytes(bytes.clone())).unwrap();
    let bands = alpha.clone().from_file(Channels { count: 4, deep: false, visible: false });
    for operator in
        Operator::ALL.into_iter().filter(|operator| *operator as usize >= Operator::Brightness as usize)
    {
        let last = |image: &Image| -> Vec<u8> { image.pixels().iter().skip(3).step_by(4).copied().collect() };
        let changed = operator.apply(alpha.clone(), 0.5);
        assert_eq!(last(&changed), last(&alpha), "{operator:?}");
        if operator == Operator::Color {
            assert_eq!(changed, alpha);
        }
        if operator == Operator::Brightness {
            assert_ne!(last(&operator.apply(bands.clone(), 0.5)), last(&bands));
        }
    }
}

/// 0 to 24 in five rows.
fn small() -> Image {
    Image::new(5, 5, 1, Samples::Bytes((0..25).collect())).unwrap()
}

#[test]
fn flips_happen_as_often_as_they_should() {
    let preprocessing = preprocessing(&[0.0], Resize::Exact([5, 5]), [5, 5]);
    let augmentation = Augmentation { horizontal_flip: 0.3, vertical_flip: 0.8, ..Augmentation::none() };
    let mut counts = [0; 4];
    for index in 0..4000 {
        let found = augmentation.apply(&small(), &preprocessing, &mut stream(1, "augment", index)).unwrap();
        let corners = [0, 4, 20, 24];
        counts[corners.iter().position(|corner| *corner == found.pixels()[0]).unwrap()] += 1;
    }
    // Four standard deviations of a binomial distribution are at most 0.032.
    for (count, expected) in counts.iter().zip([0.7 * 0.2, 0.3 * 0.2, 0.7 * 0.8, 0.3 * 0.8]) {
        assert!((f64::from(*count) / 4000.0 - expected).abs() < 0.032, "{counts:?}");
    }
}

#[test]
fn random_parts_have_the_area_and_the_ratio_asked_for() {
    let crop = RandomResizedCrop { scale: [0.2, 0.4], ratio: [0.5, 2.0] };
    let mut draws = stream(1, "augment", 0);
    let regions: Vec<Region> = (0..4000).map(|_| crop.region((400, 300), &mut draws)).collect();
    let shares: Vec<f64> = regions.iter().map(|part| (part.width * part.height) as f64 / 120_000.0).collect();
    assert!(shares.iter().all(|share| (0.197..0.403).contains(share)));
    // The mean of a uniform share is 0.3 with a standard error of 0.0009.
    assert!((shares.iter().sum::<f64>() / 4000.0 - 0.3).abs() < 0.005);
    let ratios: Vec<f64> = regions.iter().map(|part| (part.width as f64 / part.height as f64).ln()).collect();
    assert!(ratios.iter().all(|ratio| ratio.abs() < 2f64.ln() + 0.02));
    assert!((ratios.iter().sum::<f64>() / 4000.0).abs() < 0.05);
    assert!(regions.iter().all(|part| part.left + part.width <= 400 && part.top + part.height <= 300));
    assert!(regions.iter().any(|part| part.left == 0) && regions.iter().any(|part| part.top > 150));
}

/// What TrivialAugment can make of an image, and with which operator. Those that change nothing count as the first.
fn results(image: &Image) -> BTreeMap<Vec<u8>, Operator> {
    let mut results = BTreeMap::new();
    for operator in Operator::ALL {
        for magnitude in 0..=LARGEST_MAGNITUDE {
            let amount = Policy::TrivialAugment.amount(operator, magnitude, (image.width(), image.height()));
            for amount in [amount, -amount] {
                let result = operator.apply(image.clone(), amount);
                results.entry(result.pixels().to_vec()).or_insert(operator);
            }
        }
    }
    results
}

#[test]
fn a_policy_takes_every_operator_alike() {
    let image = part(&photo("RGB"), &[20.0, 10.0, 60.0, 45.0]);
    let results = results(&image);
    let mut draws = stream(1, "augment", 0);
    let mut counts = [0; Operator::ALL.len()];
    for _ in 0..2800 {
        let found = Policy::TrivialAugment.apply(image.clone(), &mut draws);
        counts[results[found.pixels()] as usize] += 1;
    }
    // 200 each with a standard deviation of 14, but for the smallest magnitudes.
    assert!(counts[1..].iter().all(|count| (140..260).contains(count)), "{counts:?}");
    assert!(counts[0] > 200, "{counts:?}");
    let nothing = Policy::RandAugment { operations: 0, magnitude: 9 };
    assert_eq!(nothing.apply(image.clone(), &mut draws), image);
}

#[test]
fn what_is_erased_is_zero_for_the_network() {
    let erasing = RandomErasing { probability: 1.0, scale: [0.25, 0.25], ratio: [1.0, 1.0] };
    let augmentation = Augmentation { random_erasing: Some(erasing), ..Augmentation::none() };
    for channel_order in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
        let preprocessing = Preprocessing { channel_order, ..usual() };
        let numbers = vec![255.0; 3 * 40 * 40];
        let image = Image::new(40, 40, 3, Samples::Numbers(numbers)).unwrap();
        let crop = augmentation.apply(&image, &preprocessing, &mut stream(3, "augment", 0)).unwrap();
        let mut input = vec![f32::NAN; 3 * 28 * 28];
        normalise(crop.samples(), &preprocessing, &mut input);
        assert_eq!(input.iter().filter(|value| **value == 0.0).count(), 3 * 14 * 14);
    }
}

#[test]
fn wrong_images_and_sizes_are_refused() {
    let mut draws = stream(1, "augment", 0);
    let grey = photo("L");
    for augmentation in [Augmentation::none(), Augmentation::strong()] {
        let wrong = augmentation.apply(&grey, &usual(), &mut draws).unwrap_err();
        assert_eq!(wrong, PreprocessError::WrongChannels { expected: 3, found: 1 });
        let empty = Preprocessing { crop: [0, 3], ..usual() };
        let zero = augmentation.apply(&photo("RGB"), &empty, &mut draws).unwrap_err();
        assert!(matches!(zero, PreprocessError::ZeroSize { .. }));
    }
}

#[test]
fn numbers_outside_their_range_are_named() {
    let message = |change: fn(&mut Augmentation)| {
        let mut augmentation = everything();
        change(&mut augmentation);
        augmentation.check().unwrap_err().to_string()
    };
    everything().check().unwrap();
    assert_eq!(
        message(|augmentation| augmentation.horizontal_flip = 1.5),
        "augmentation: horizontal-flip is 1.5; it must be a probability from 0 to 1"
    );
    assert_eq!(
        message(|augmentation| augmentation.random_resized_crop =
            Some(RandomResizedCrop { scale: [0.5, 1.5], ratio: [1.0; 2] })),
        "augmentation: random-resized-crop.scale is [0.5, 1.5]; it must be two shares of the area above 0, at most 1, \
         the smaller first"
    );
    let changes: [fn(&mut Augmentation); 10] = [
        |augmentation| augmentation.vertical_flip = f64::NAN,
        |augmentation| augmentation.policy = Policy::RandAugment { operations: 0, magnitude: 9 },
        |augmentation| {
            augmentation.policy = Policy::RandAugment { operations: 2, magnitude: LARGEST_MAGNITUDE + 1 }
        },
        |augmentation| augmentation.random_resized_crop.as_mut().unwrap().scale[0] = f64::NAN,
        |augmentation| augmentation.random_resized_crop.as_mut().unwrap().ratio = [2.0, 1.0],
        |augmentation| augmentation.colour_jitter.as_mut().unwrap().contrast = -0.1,
        |augmentation| augmentation.colour_jitter.as_mut().unwrap().hue = 0.6,
        |augmentation| augmentation.colour_jitter.as_mut().unwrap().brightness = f64::INFINITY,
        |augmentation| augmentation.random_erasing.as_mut().unwrap().probability = -1.0,
        |augmentation| augmentation.random_erasing.as_mut().unwrap().ratio[1] = f64::INFINITY,
    ];
    let names = changes.map(|change| message(change).split(" is ").next().unwrap().to_owned());
    assert_eq!(names.iter().filter(|name| name.starts_with("augmentation: ")).count(), 10, "{names:?}");
}

#[test]
fn unchecked_numbers_do_no_harm() {
    let broken = Augmentation {
        horizontal_flip: f64::NAN,
        policy: Policy::RandAugment { operations: 3, magnitude: 1000 },
        random_resized_crop: Some(RandomResizedCrop { scale: [f64::NAN, -1.0], ratio: [-1.0, 0.0] }),
        colour_jitter: Some(ColourJitter {
            brightness: f64::NAN,
            contrast: -5.0,
            saturation: 1e300,
            hue: 1e300,
        }),
        random_erasing: Some(RandomErasing { probability: 2.0, scale: [5.0, f64::NAN], ratio: [0.0, 0.0] }),
        ..Augmentation::none()
    };
    for index in 0..100 {
        broken.apply(&photo("RGB"), &usual(), &mut stream(1, "augment", index)).unwrap();
    }
}

#[test]
fn a_file_holds_a_name_or_a_table() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct File {
        augmentation: Augmentation,
    }
    for name in Augmentation::PRESETS {
        let file: File = toml::from_str(&format!("augmentation = '{name}'")).unwrap();
        assert_eq!(file.augmentation, name.parse().unwrap());
        file.augmentation.check().unwrap();
    }
    let file = File { augmentation: everything() };
    let text = toml::to_string_pretty(&file).unwrap();
    assert_eq!(toml::from_str::<File>(&text).unwrap(), file, "{text}");
    let json = serde_json::to_string(&file).unwrap();
    assert_eq!(serde_json::from_str::<File>(&json).unwrap(), file);
    let rand = "augmentation = { policy = { rand-augment = { operations = 2, magnitude = 9 } } }";
    let policy = toml::from_str::<File>(rand).unwrap().augmentation.policy;
    assert_eq!(policy, Policy::RandAugment { operations: 2, magnitude: 9 });
    let unknown = toml::from_str::<File>("augmentation = 'weird'").unwrap_err().to_string();
    assert!(unknown.contains("there are none, crop, flip, standard, strong"), "{unknown}");
    let unknown = toml::from_str::<File>("augmentation = { flop = 1 }").unwrap_err().to_string();
    assert!(unknown.contains("flop") && unknown.contains("horizontal-flip"), "{unknown}");
}
