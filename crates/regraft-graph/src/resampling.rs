//! Weights of a resampled axis, in the order of operations that Pillow uses. PyTorch's interpolation with `antialias`
//! has the same ones.

use std::ops::Range;

use crate::ResizeFilter;

/// A filter stretched over the positions of one axis: what each output position is made of.
#[derive(Debug, Clone)]
pub struct Resampling {
    filter: ResizeFilter,
    input: usize,
    /// Input positions per output position.
    scale: f64,
    /// `scale` when shrinking, 1 when enlarging.
    stretch: f64,
}

impl Resampling {
    /// From `input` positions to `output`; neither is zero.
    pub fn new(input: usize, output: usize, filter: ResizeFilter) -> Self {
        let scale = input as f64 / output as f64;
        Self { filter, input, scale, stretch: scale.max(1.0) }
    }

    /// Half its width in input positions.
    fn support(&self) -> f64 {
        self.filter.support() * self.stretch
    }

    /// No [`span`](Self::span) is longer than this.
    pub fn longest(&self) -> usize {
        (self.support().ceil() as usize * 2 + 1).min(self.input)
    }

    fn centre(&self, position: usize) -> f64 {
        (position as f64 + 0.5) * self.scale
    }

    /// The input positions that an output position is made of. The casts cut towards zero and saturate at zero.
    pub fn span(&self, position: usize) -> Range<usize> {
        let start = (self.centre(position) - self.support() + 0.5) as usize;
        let end = (self.centre(position) + self.support() + 0.5) as usize;
        start..end.min(self.input)
    }

    /// What each position of the [`span`](Self::span) counts; together 1.
    pub fn weights(&self, position: usize) -> Vec<f64> {
        let (centre, inverse) = (self.centre(position), 1.0 / self.stretch);
        let value = |sample: usize| self.filter.value((sample as f64 - centre + 0.5) * inverse);
        let raw: Vec<f64> = self.span(position).map(value).collect();
        let sum: f64 = raw.iter().sum();
        if sum == 0.0 { raw } else { raw.into_iter().map(|weight| weight / sum).collect() }
    }
}

impl ResizeFilter {
    /// Half its width at scale 1.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// Its value at a distance: the triangle, or Keys' cubic convolution with a = −0.5 (IEEE Trans. ASSP 29, 1981).
    fn value(self, distance: f64) -> f64 {
        const A: f64 = -0.5;
        let x = distance.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}
