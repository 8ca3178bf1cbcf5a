//! Losses, optimisers and schedules against PyTorch (`oracles/adapt_training.py`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use ndarray::Array2;
use regraft_adapt::training::{
    Optimizer, OptimizerState, ParameterGroup, Schedule, Targets, approach, clip_by_global_norm,
    softmax_cross_entropy,
};
use serde_json::Value;

fn golden(part: &str) -> Value {
    let path = format!("{}/tests/golden/training.json", env!("CARGO_MANIFEST_DIR"));
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    all[part].clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn singles(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|number| number as f32).collect()
}

fn rows(value: &Value) -> Array2<f32> {
    let rows: Vec<Vec<f32>> = value.as_array().unwrap().iter().map(singles).collect();
    Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).unwrap()
}

#[test]
fn losses_and_gradients_equal_pytorch() {
    let golden = golden("losses");
    let logits = rows(&golden["logits"]);
    for case in golden["cases"].as_array().unwrap() {
        let smoothing = case["smoothing"].as_f64().unwrap();
        let classes: Option<Vec<usize>> =
            case.get("classes").map(|classes| numbers(classes).iter().map(|class| *class as usize).collect());
        let soft = case.get("probabilities").map(rows);
        let targets = match (&classes, &soft) {
            (Some(classes), _) => Targets::Classes(classes),
            (_, Some(soft)) => Targets::Probabilities(soft.view()),
            _ => panic!(),
        };
        let (loss, gradient) = softmax_cross_entropy(logits.view(), targets, smoothing).unwrap();
        assert!((loss / case["loss"].as_f64().unwrap() - 1.0).abs() < 1e-6, "{case}");
        for (found, expected) in gradient.iter().zip(&rows(&case["gradient"])) {
            assert!((found - expected).abs() < 1e-7, "{case}");
        }
    }
}

#[test]
fn targets_that_do_not_fit_are_refused() {
    let logits = Array2::<f32>::zeros((2, 3));
    let loss = |targets, smoothing| softmax_cross_entropy(logits.view(), targets, smoothing);
    assert!(loss(Targets::Classes(&[0, 3]), 0.0).unwrap_err().to_string().contains("only 3 classes"));
    assert!(loss(Targets::Classes(&[0]), 0.0).is_err());
    assert!(loss(Targets::Classes(&[0, 1]), 1.5).is_err());
    assert!(loss(Targets::Classes(&[0, 1]), f64::NAN).is_err());
    for soft in [Array2::zeros((2, 2)), Array2::from_elem((2, 3), f32::NAN)] {
        assert!(
            softmax_cross_entropy(logits.view(), Targets::Probabilities(soft.view()), 0.0).is_err(),
            "{soft}"
        );
    }
    assert!(softmax_cross_entropy(Array2::zeros((0, 3)).view(), Targets::Classes(&[]), 0.0).is_err());
}

fn optimizer(case: &Value) -> Optimizer {
    let number = |key: &str| case[key].as_f64().unwrap();
    match case["name"].as_str().unwrap() {
        "sgd" => {
            Optimizer::Sgd { momentum: number("momentum"), nesterov: case["nesterov"].as_bool().unwrap() }
        }
        _ => {
            let betas = numbers(&case["betas"]);
            Optimizer::AdamW { beta1: betas[0], beta2: betas[1], epsilon: number("eps") }
        }
    }
}

#[test]
fn steps_of_optimisers_equal_pytorch() {
    let golden = golden("optimizers");
    let gradients: Vec<Vec<f32>> = golden["gradients"].as_array().unwrap().iter().map(singles).collect();
    for case in golden["cases"].as_array().unwrap() {
        let (mut values, mut state) = (singles(&golden["start"]), OptimizerState::default());
        let optimizer = optimizer(case);
        optimizer.check().unwrap();
        let weight_decay = case["weight_decay"].as_f64().unwrap();
        // Two groups are one, where they are alike.
        let group = |range| ParameterGroup { range, learning_rate_factor: 1.0, weight_decay };
        let groups = [group(0..3), group(3..values.len())];
        let expected = case["values"].as_array().unwrap();
        for ((rate, gradient), expected) in numbers(&golden["rates"]).iter().zip(&gradients).zip(expected) {
            state.step(&optimizer, &groups, *rate, (&mut values, gradient)).unwrap();
            for (found, expected) in values.iter().zip(numbers(expected)) {
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{case} {found} {expected}");
            }
        }
    }
}

#[test]
fn steps_of_lamb_equal_timm() {
    let golden = golden("lamb");
    let (mut values, mut state) = (singles(&golden["start"]), OptimizerState::default());
    let mut place = 0;
    let group = |tensor: &Value| {
        let range = place..place + tensor["size"].as_u64().unwrap() as usize;
        place = range.end;
        let weight_decay = tensor["weight_decay"].as_f64().unwrap();
        ParameterGroup { range, learning_rate_factor: 1.0, weight_decay }
    };
    let groups: Vec<ParameterGroup> = golden["tensors"].as_array().unwrap().iter().map(group).collect();
    Optimizer::LAMB.check().unwrap();
    let steps = golden["gradients"].as_array().unwrap().iter().zip(golden["values"].as_array().unwrap());
    for (rate, (gradients, expected)) in numbers(&golden["rates"]).into_iter().zip(steps) {
        let gradients = singles(gradients);
        state.step(&Optimizer::LAMB, &groups, rate, (&mut values, &gradients)).unwrap();
        for (found, expected) in values.iter().zip(numbers(expected)) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
    assert_eq!(state.steps, 20);
}

#[test]
fn values_outside_of_groups_and_with_a_factor_of_zero_stay() {
    let (mut values, gradients) = (vec![1.0f32; 4], [1.0f32; 4]);
    let group =
        |range, learning_rate_factor| ParameterGroup { range, learning_rate_factor, weight_decay: 0.1 };
    let groups = [group(0..1, 1.0), group(2..3, 0.0)];
    for optimizer in [Optimizer::SGD, Optimizer::ADAMW, Optimizer::LAMB] {
        OptimizerState::default().step(&optimizer, &groups, 0.5, (&mut values, &gradients)).unwrap();
    }
    assert!(values[0] < 0.5 && values[1..] == [1.0; 3], "{values:?}");
    let refused = |groups: &[ParameterGroup], rate, gradients: &[f32]| {
        let mut values = [1.0; 4];
        OptimizerState::default().step(&Optimizer::SGD, groups, rate, (&mut values, gradients)).unwrap_err()
    };
    assert!(refused(&[group(2..5, 1.0)], 0.1, &gradients).to_string().contains("parameter group"));
    assert!(refused(&groups, f64::NAN, &gradients).to_string().contains("learning rate"));
    assert!(refused(&groups, -1.0, &gradients).to_string().contains("learning rate"));
    assert!(refused(&groups, 0.1, &gradients[1..]).to_string().contains("gradients"));
}

#[test]
fn gradients_are_clipped_by_their_norm() {
    let mut gradients = vec![3.0f32, -4.0];
    assert_eq!(clip_by_global_norm(&mut gradients, 10.0), 5.0);
    assert_eq!(gradients, [3.0, -4.0]);
    assert_eq!(clip_by_global_norm(&mut gradients, 1.0), 5.0);
    assert!((gradients[0] - 0.6).abs() < 1e-6 && (gradients[1] + 0.8).abs() < 1e-6);
}

#[test]
fn means_of_weights_equal_pytorch() {
    let golden = golden("averages");
    let mut averages = Vec::new();
    let points = golden["trajectory"].as_array().unwrap().iter().zip(golden["means"].as_array().unwrap());
    for (count, (weights, expected)) in (1..).zip(points) {
        approach(&mut averages, &singles(weights), 1.0 / f64::from(count));
        for (found, expected) in averages.iter().zip(singles(expected)) {
            assert!((found - expected).abs() < 1e-6, "{count}: {found} {expected}");
        }
    }
}

#[test]
fn schedules_equal_pytorch() {
    let golden = golden("schedules");
    for (name, schedule) in [
        ("cosine", Schedule::Cosine { warm_up: 0.0 }),
        ("one_cycle", Schedule::OneCycle { rise: 0.3, start: 25.0, end: 1e4 }),
        ("step", Schedule::Step { parts: 4 }),
    ] {
        schedule.check().unwrap();
        let expected = numbers(&golden[name]);
        for (step, expected) in expected.iter().enumerate() {
            let found = schedule.share(step, 20);
            assert!((found - expected).abs() < 1e-9, "{name} {step}: {found} {expected}");
        }
    }
    assert!((0..9).all(|step| Schedule::Constant.share(step, 9) == 1.0));
}

#[test]
fn the_slanted_triangle_rises_for_a_tenth_and_falls_to_its_least() {
    let schedule = Schedule::SlantedTriangular { ratio: 32.0 };
    let shares: Vec<f64> = (0..100).map(|step| schedule.share(step, 100)).collect();
    assert_eq!((shares[0], shares[10]), (1.0 / 32.0, 1.0));
    assert!(shares.windows(2).take(10).all(|pair| pair[0] < pair[1]));
    assert!(shares.windows(2).skip(10).all(|pair| pair[0] > pair[1]));
    for schedule in [
        schedule,
        Schedule::OneCycle { rise: 0.25, start: 25.0, end: 1e5 },
        Schedule::Cosine { warm_up: 0.1 },
        Schedule::Step { parts: 3 },
    ] {
        for steps in [0, 1, 2, 3, 50] {
            let shares = (0..steps).map(|step| schedule.share(step, steps));
            assert!(shares.into_iter().all(|share| (0.0..=1.0).contains(&share)), "{schedule:?} {steps}");
        }
    }
    assert!(Schedule::OneCycle { rise: 1.0, start: 25.0, end: 1e5 }.check().is_err());
    assert!(Schedule::Cosine { warm_up: f64::NAN }.check().is_err());
    assert!(Schedule::Step { parts: 0 }.check().is_err());
    assert!(Optimizer::Sgd { momentum: 1.0, nesterov: true }.check().is_err());
}
