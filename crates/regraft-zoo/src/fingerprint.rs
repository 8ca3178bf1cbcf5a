//! A known image: what a model says of it tells whether weights, graph and preparation are still the same.
//!
//! It is a formula and not a photograph, so that it needs no file and is the same everywhere to the bit: integers only. It
//! is neither square nor symmetric, its colours are of unequal strength and it has edges, fine stripes and smooth parts,
//! so that exchanged channels, a missing crop or another filter show.

use crate::Fingerprint;

/// Width and height in pixels of the image.
pub const IMAGE_SIZE: [usize; 2] = [320, 256];

/// The pixels, rows from the top, red first: a bright disc with a dark ring before a sky that gets darker downwards, stripes
/// below.
pub fn fingerprint_image() -> Vec<u8> {
    let [width, height] = IMAGE_SIZE;
    let pixel = |index: usize| colour(index % width, index / width);
    (0..width * height).flat_map(pixel).collect()
}

fn colour(x: usize, y: usize) -> [u8; 3] {
    let from_centre = x.abs_diff(130).pow(2) + y.abs_diff(110).pow(2);
    let rgb = match from_centre {
        0..900 => [40, 25, 20],
        900..6400 => [235, 150 + (from_centre / 80), 35 + y / 4],
        _ if y > 190 => [60 + 90 * (x / 6 % 2), 110 + (x * 7 + y * 3) % 40, 30],
        _ => [70 + x / 8, 130 + y / 3, 230 - y / 4],
    };
    rgb.map(|sample| sample.min(255) as u8)
}

/// Probabilities that differ by less than this are taken for equal: instruction sets round differently.
const TOLERANCE: f64 = 2e-3;

impl Fingerprint {
    /// The five largest of these probabilities.
    pub fn of(probabilities: &[f64]) -> Self {
        let mut ranked: Vec<(usize, f64)> = probabilities.iter().copied().enumerate().collect();
        ranked.sort_by(|(a, p), (b, q)| q.total_cmp(p).then(a.cmp(b)));
        ranked.truncate(5);
        let rounded = |probability: f64| (probability * 1e5).round() / 1e5;
        Self {
            classes: ranked.iter().map(|(class, _)| *class).collect(),
            probabilities: ranked.iter().map(|(_, probability)| rounded(*probability)).collect(),
        }
    }

    /// Whether there is one probability for each class, and at least one class.
    pub(crate) fn is_whole(&self) -> bool {
        !self.classes.is_empty() && self.classes.len() == self.probabilities.len()
    }

    /// Whether these probabilities are those that were recorded: the same classes in the same order, equals aside.
    pub fn fits(&self, probabilities: &[f64]) -> bool {
        let found = Self::of(probabilities);
        let near = |a: &f64, b: &f64| (a - b).abs() <= TOLERANCE;
        let expected = self.classes.iter().zip(&self.probabilities);
        let as_expected = expected.into_iter().all(|(class, expected)| {
            probabilities.get(*class).is_some_and(|probability| near(probability, expected))
        });
        let ranked = found
            .probabilities
            .iter()
            .zip(&self.probabilities)
            .all(|(found, expected)| near(found, expected));
        as_expected && ranked && found.classes.len() == self.classes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_the_same_for_ever() {
        let pixels = fingerprint_image();
        assert_eq!(pixels.len(), 3 * 320 * 256);
        assert_eq!(regraft_system::hash::sha256_hex(&pixels), IMAGE_HASH);
    }

    const IMAGE_HASH: &str = "e5afc8dc8449b8acbb57646887e6d7fb9ee001b069f0677d30ae8f65bc163a06";

    #[test]
    fn equals_may_trade_places_and_others_may_not() {
        let recorded = Fingerprint::of(&[0.3, 0.25, 0.2, 0.15, 0.1, 0.0]);
        assert_eq!(recorded.classes, [0, 1, 2, 3, 4]);
        assert!(recorded.fits(&[0.3005, 0.25, 0.2, 0.1495, 0.1, 0.0]));
        assert!(!recorded.fits(&[0.25, 0.3, 0.2, 0.15, 0.1, 0.0]));
        assert!(!recorded.fits(&[0.3, 0.25, 0.2, 0.15, 0.05, 0.05]));
        assert!(!recorded.fits(&[0.3, 0.25]));
        let tied = Fingerprint::of(&[0.2505, 0.25, 0.2, 0.15, 0.1]);
        assert!(tied.fits(&[0.25, 0.2505, 0.2, 0.15, 0.1]));
        assert_eq!(Fingerprint::of(&[0.5, 0.5]).classes, [0, 1]);
    }
}
