//! Every head against scikit-learn on committed data (`oracles/adapt_heads.py`), and the exact identities of ridge
//! against brute force.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use ndarray::{Array1, Array2, Axis};
use regraft_adapt::knn::NearestNeighbours;
use regraft_adapt::ridge::Ridge;
use regraft_adapt::standardise::Standardisation;
use regraft_adapt::{Examples, LinearSolution, lda, logistic, nearest_mean};
use serde_json::Value;

const CASES: [&str; 4] = ["two_wide", "three_tall", "nine_tall", "nine_wide"];

struct Case {
    name: &'static str,
    features: Array2<f32>,
    labels: Vec<usize>,
    classes: usize,
    record: Value,
}

impl Case {
    fn load(name: &'static str) -> Self {
        let path = format!("{}/tests/golden/heads_{name}.json", env!("CARGO_MANIFEST_DIR"));
        let record: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let shape = (size(&record["rows"]), size(&record["dimension"]));
        let features =
            vector(&record["features"]).mapv(|value| value as f32).into_shape_with_order(shape).unwrap();
        let labels = record["labels"].as_array().unwrap().iter().map(size).collect();
        Case { name, features, labels, classes: size(&record["classes"]), record }
    }

    fn examples(&self) -> Examples<'_> {
        Examples::new(self.features.view(), &self.labels, self.classes).unwrap()
    }

    fn standardisation(&self) -> Standardisation {
        Standardisation::fit(&self.examples())
    }

    /// The solution's weights as they are for standardised features, one row for two classes as in scikit-learn.
    fn standardised(&self, solution: &LinearSolution) -> (Array2<f64>, Array1<f64>) {
        let (mean, scale) = (vector(&self.record["mean"]), vector(&self.record["scale"]));
        let bias = &solution.bias + &solution.weight.dot(&mean);
        let weight = &solution.weight * &scale;
        (binary_difference(weight), binary_difference(bias.insert_axis(Axis(1))).remove_axis(Axis(1)))
    }
}

fn binary_difference(rows: Array2<f64>) -> Array2<f64> {
    if rows.nrows() == 2 { (&rows.row(1) - &rows.row(0)).insert_axis(Axis(0)) } else { rows }
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn vector(value: &Value) -> Array1<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn matrix(value: &Value) -> Array2<f64> {
    let rows: Vec<Array1<f64>> = value.as_array().unwrap().iter().map(vector).collect();
    ndarray::stack(Axis(0), &rows.iter().map(|row| row.view()).collect::<Vec<_>>()).unwrap()
}

fn greatest_difference(left: &Array2<f64>, right: &Array2<f64>) -> f64 {
    assert_eq!(left.dim(), right.dim());
    (left - right).iter().fold(0.0, |greatest, value| value.abs().max(greatest))
}

fn assert_close(what: &str, left: &Array2<f64>, right: &Array2<f64>, tolerance: f64) {
    let difference = greatest_difference(left, right);
    assert!(difference <= tolerance, "{what}: differs by {difference:e}, allowed {tolerance:e}");
}

#[test]
fn standardisation_is_that_of_the_reference() {
    for case in CASES.map(Case::load) {
        let fitted = Standardisation::fit(&case.examples());
        let column = |values: &[f64]| Array1::from(values.to_vec()).insert_axis(Axis(1));
        let expected = |name: &str| vector(&case.record[name]).insert_axis(Axis(1));
        assert_close(case.name, &column(fitted.mean()), &expected("mean"), 1e-11);
        assert_close(case.name, &column(fitted.scale()), &expected("scale"), 1e-11);
    }
}

#[test]
fn logistic_regression_is_that_of_the_reference() {
    for case in CASES.map(Case::load) {
        for expected in case.record["logistic"].as_array().unwrap() {
            let c = expected["c"].as_f64().unwrap();
            let fit = logistic::fit(&case.examples(), &case.standardisation(), c).unwrap();
            let what = format!("logistic {} C={c}", case.name);
            let loss = expected["loss"].as_f64().unwrap();
            assert!(
                (fit.objective - loss).abs() <= 1e-6 * loss.min(1.0),
                "{what}: {} against {loss}",
                fit.objective
            );
            let (weight, bias) = case.standardised(&fit.solution);
            assert_close(&what, &weight, &matrix(&expected["coefficients"]), 1e-4);
            assert_close(&what, &column(bias), &column(vector(&expected["intercept"])), 1e-4);
        }
    }
}

fn column(values: Array1<f64>) -> Array2<f64> {
    values.insert_axis(Axis(1))
}

#[test]
fn ridge_is_that_of_the_reference() {
    for case in CASES.map(Case::load) {
        let ridge = Ridge::new(&case.examples(), &case.standardisation()).unwrap();
        let expected = &case.record["ridge"];
        let solution = ridge.solution(expected["alphas"][1].as_f64().unwrap()).unwrap();
        let (weight, bias) = case.standardised(&solution);
        assert_close(case.name, &weight, &binary_difference(matrix(&expected["coefficients"])), 1e-10);
        let intercept = binary_difference(column(vector(&expected["intercept"])));
        assert_close(case.name, &column(bias), &intercept, 1e-10);
    }
}

#[test]
fn ridge_leave_one_out_is_brute_force() {
    for case in CASES.map(Case::load) {
        let ridge = Ridge::new(&case.examples(), &case.standardisation()).unwrap();
        let expected = &case.record["ridge"];
        for (alpha, residuals) in
            vector(&expected["alphas"]).iter().zip(expected["residuals"].as_array().unwrap())
        {
            let found = ridge.leave_one_out(*alpha).unwrap();
            assert_close(&format!("{} α={alpha}", case.name), &found, &matrix(residuals), 1e-10);
        }
    }
}

#[test]
fn ridge_leave_one_out_chooses_the_penalty_of_the_reference() {
    for case in CASES.map(Case::load) {
        let ridge = Ridge::new(&case.examples(), &case.standardisation()).unwrap();
        let expected = &case.record["ridge"];
        let alphas = vector(&expected["alphas"]);
        let score = |&alpha: &f64| ridge.leave_one_out_score(alpha).unwrap();
        let errors: Vec<f64> = alphas.iter().map(|alpha| score(alpha).mean_squared_error).collect();
        let best = (0..errors.len()).min_by(|&a, &b| errors[a].total_cmp(&errors[b])).unwrap();
        assert_eq!(alphas[best], expected["ridge_cv_alpha"].as_f64().unwrap(), "{}", case.name);
        if case.classes == 2 {
            continue; // RidgeClassifierCV takes the argmax over its single column and always finds an accuracy of 1.
        }
        let greatest = alphas.iter().map(|alpha| score(alpha).accuracy).fold(0.0, f64::max);
        let reference = expected["classifier_cv_accuracy"].as_f64().unwrap();
        assert!((greatest - reference).abs() < 1e-12, "{}: {greatest} against {reference}", case.name);
    }
}

/// Refits ridge without the rows of each group, on features standardised over all rows, by Gaussian elimination on
/// the normal equations: no code in common with what it checks.
fn brute_force(features: &Array2<f64>, targets: &Array2<f64>, groups: &[usize], alpha: f64) -> Array2<f64> {
    let mut residuals = targets.clone();
    for left_out in 0..=*groups.iter().max().unwrap() {
        let rest: Vec<usize> = (0..groups.len()).filter(|&row| groups[row] != left_out).collect();
        let (x, y) = (features.select(Axis(0), &rest), targets.select(Axis(0), &rest));
        let (x_mean, y_mean) = (x.mean_axis(Axis(0)).unwrap(), y.mean_axis(Axis(0)).unwrap());
        let (x, y) = (x - &x_mean, y - &y_mean);
        let weights = eliminate(x.t().dot(&x) + Array2::<f64>::eye(x.ncols()) * alpha, x.t().dot(&y));
        for row in (0..groups.len()).filter(|&row| groups[row] == left_out) {
            let fitted = (&features.row(row) - &x_mean).dot(&weights) + &y_mean;
            residuals.row_mut(row).zip_mut_with(&fitted, |residual, fitted| *residual -= fitted);
        }
    }
    residuals
}

fn eliminate(mut matrix: Array2<f64>, mut right: Array2<f64>) -> Array2<f64> {
    for pivot in 0..matrix.nrows() {
        for row in (0..matrix.nrows()).filter(|&row| row != pivot) {
            let factor = matrix[(row, pivot)] / matrix[(pivot, pivot)];
            let (from, from_right) = (matrix.row(pivot).to_owned(), right.row(pivot).to_owned());
            matrix.row_mut(row).scaled_add(-factor, &from);
            right.row_mut(row).scaled_add(-factor, &from_right);
        }
    }
    let diagonal = matrix.diag().to_owned().insert_axis(Axis(1));
    right / diagonal
}

#[test]
fn ridge_leave_groups_out_is_brute_force_over_the_whole_path() {
    for case in CASES.map(Case::load) {
        let ridge = Ridge::new(&case.examples(), &case.standardisation()).unwrap();
        let moments = (vector(&case.record["mean"]), vector(&case.record["scale"]));
        let standardised = (case.features.mapv(f64::from) - &moments.0) / &moments.1;
        let targets = Array2::from_shape_fn((case.labels.len(), case.classes), |(row, class)| {
            f64::from(u8::from(case.labels[row] == class))
        });
        let groups: Vec<usize> = (0..case.labels.len()).map(|row| row % 7).collect();
        let path = ridge.path();
        for alpha in [path[0], path[path.len() / 2], path[path.len() - 1]] {
            let found = ridge.leave_groups_out(alpha, &groups).unwrap();
            let expected = brute_force(&standardised, &targets, &groups, alpha);
            assert_close(&format!("{} α={alpha:.2e}", case.name), &found, &expected, 1e-10);
        }
    }
}

#[test]
fn lda_is_that_of_the_reference() {
    for case in CASES.map(Case::load) {
        let logits =
            lda::fit(&case.examples(), &case.standardisation()).unwrap().logits(case.features.view());
        let expected = &case.record["lda"];
        let (logits, expected) = match case.classes {
            2 => (binary_difference(logits.t().to_owned()), vector(expected).insert_axis(Axis(0))),
            _ => (logits, matrix(expected)),
        };
        let scale = expected.iter().fold(0.0, |greatest: f64, value| value.abs().max(greatest));
        assert_close(&format!("lda {} (greatest {scale})", case.name), &logits, &expected, 1e-6 * scale);
    }
}

#[test]
fn nearest_class_mean_is_that_of_the_reference() {
    for case in CASES.map(Case::load) {
        let logits = nearest_mean::fit(&case.examples(), &case.standardisation())
            .unwrap()
            .logits(case.features.view());
        for (row, expected) in
            logits.rows().into_iter().zip(case.record["nearest_class_mean"].as_array().unwrap())
        {
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
            assert_eq!(best, size(expected), "{}", case.name);
        }
    }
}

#[test]
fn nearest_neighbours_are_those_of_the_reference() {
    for case in CASES.map(Case::load) {
        let head = NearestNeighbours::fit(&case.examples(), 1).unwrap();
        let found = head.leave_one_out(&[1, 5, 20]).unwrap();
        for (shares, expected) in found.iter().zip(case.record["knn"].as_array().unwrap()) {
            let what = format!("knn {} k={}", case.name, expected["k"]);
            assert_close(&what, shares, &matrix(&expected["shares"]), 1e-5);
        }
    }
}

#[test]
fn a_rounded_head_gives_the_logits_of_its_solution() {
    let case = Case::load("nine_wide");
    let solution = lda::fit(&case.examples(), &case.standardisation()).unwrap();
    let rounded = solution.rounded().logits(case.features.view()).unwrap().mapv(f64::from);
    let exact = solution.logits(case.features.view());
    let scale = exact.iter().fold(0.0, |greatest: f64, value| value.abs().max(greatest));
    assert_close("rounded", &rounded, &exact, 1e-4 * scale);
}
