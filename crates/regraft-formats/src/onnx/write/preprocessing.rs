//! Normalisation inside the file: bytes of an RGB image to the network's input.

use regraft_graph::{Card, ChannelOrder, Preprocessing};

use super::super::schema::{self, element};
use super::export::{Export, int, known, sizes, value_info};

/// Name of the input that takes pixels.
pub const PIXELS: &str = "pixels";

impl Export<'_> {
    /// The steps from pixels to the network's input.
    pub(super) fn preprocessing(&mut self) {
        let Preprocessing { channel_order, mean, std, .. } = self.model.card().preprocessing.clone();
        let input = self.model.graph().input().to_owned();
        let mut value =
            self.step(&input, "numbers", "Cast", &[PIXELS], vec![int("to", element::FLOAT.into())]);
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
        let [height, width] = self.model.card().preprocessing.crop;
        let dims = vec![self.batch(), known(height), known(width), known(3)];
        value_info(PIXELS, element::UINT8, dims)
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
