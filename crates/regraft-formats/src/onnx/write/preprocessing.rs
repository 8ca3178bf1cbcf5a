//! Normalisation inside the file: bytes of an RGB image to the network's input.

use std::collections::HashMap;

use regraft_graph::{Card, ChannelOrder, Model, Preprocessing};

use super::super::net::free_name;
use super::super::schema::{self, element};
use super::export::{Export, int, known, sizes, value_info};

/// Name of the input that takes pixels in the file of a model: `pixels`, unless one of its wires is called that.
pub fn pixels_name(model: &Model) -> String {
    free_name("pixels", &mut HashMap::new(), |name| model.graph().has_wire(name))
}

impl Export<'_> {
    /// The steps from pixels to the network's input.
    pub(super) fn preprocessing(&mut self) {
        let Preprocessing { channel_order, mean, std, .. } = self.model.card().preprocessing.clone();
        let input = self.model.graph().input().to_owned();
        let pixels = self.fresh("pixels");
        let mut value =
            self.step(&input, "numbers", "Cast", &[&pixels], vec![int("to", element::FLOAT.into())]);
        if channel_order == ChannelOrder::Bgr {
            let order = self.ints(&input, "channels", &[2, 1, 0]);
            value = self.step(&input, "bgr", "Gather", &[&value, &order], vec![int("axis", 3)]);
        }
        let (mean, std) = (self.floats(&input, "mean", &[3], &mean), self.floats(&input, "std", &[3], &std));
        let centred = self.step(&input, "centred", "Sub", &[&value, &mean], Vec::new());
        let scaled = self.step(&input, "scaled", "Div", &[&centred, &std], Vec::new());
        self.push(&input, &input, "Transpose", &[&scaled], vec![sizes("perm", &[0, 3, 1, 2])]);
    }

    /// The input that takes pixels.
    pub(super) fn pixels(&self) -> schema::ValueInfo {
        let image = self.sizes(self.model.graph().input()).unwrap_or_default();
        let image = image.into_iter().skip(1).map(known);
        let dims = std::iter::once(self.batch()).chain(image).chain([known(3)]).collect();
        value_info(&self.pixels, element::UINT8, dims)
    }
}

/// The card of a file that normalises by itself: what is left to do to its pixels.
pub(super) fn of_pixels(card: Card) -> Card {
    let preprocessing = Preprocessing {
        channel_order: ChannelOrder::Rgb,
        mean: vec![0.0; 3].into(),
        std: vec![1.0; 3].into(),
        ..card.preprocessing
    };
    Card { preprocessing, ..card }
}
