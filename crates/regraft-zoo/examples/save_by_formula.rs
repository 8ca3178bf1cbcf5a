//! Saves an architecture with weights that are a formula, whole and with a new head, each with an `image.npy` and the
//! `logits.npy` that Regraft gives for it: `save_by_formula FOLDER ARCHITECTURE` for `oracles/zoo_open_saved.py`. Without
//! arguments it lists the architectures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "an oracle's other half"
)]
#![allow(clippy::print_stdout, reason = "a list for a script")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::Path;

use common::{by_formula, compute, formula_image, with_head};
use regraft_formats::npy;
use regraft_graph::Model;
use regraft_zoo::{architectures, save_folder};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [folder, name] => {
            let whole = by_formula(name, 5);
            save(&whole, &Path::new(folder).join("whole"));
            // A new head goes where one was.
            if whole.card().roles.logits.is_some() {
                save(&with_head(by_formula(name, 0)), &Path::new(folder).join("adapted"));
            }
        }
        _ => architectures().iter().for_each(|architecture| println!("{}", architecture.name)),
    }
}

fn save(model: &Model, folder: &Path) {
    save_folder(model, folder).unwrap();
    let size = model.card().preprocessing.crop;
    npy::write_f32(
        &folder.join("image.npy"),
        formula_image(model.card().preprocessing.channels(), size).view().into_dyn(),
    )
    .unwrap();
    let logits = ndarray::Array1::from_vec(compute(model, size));
    npy::write_f32(&folder.join("logits.npy"), logits.view().into_dyn()).unwrap();
}
