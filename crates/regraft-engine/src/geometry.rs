//! How the activations of one image lie in memory.
//!
//! Channels come in blocks of 16, `[channels / 16][height + border][width + border][16]`, so that a block at one pixel is
//! one vector; the zero border that the next convolution needs is stored with the tensor, so that no inner loop has an
//! edge case. The network's input may stay planar, which is the same formula with blocks of one channel. A vector of D
//! numbers is an image of D channels and one pixel.

use crate::{EngineError, element::Element, simd::LANES};

/// Rows and columns at the top, left, bottom and right.
pub(crate) type Border = [usize; 4];

/// Sizes of one image's tensor, and the distances between its elements in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Geometry {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) border: Border,
    /// Channels of a block: [`LANES`], or 1 for a planar tensor.
    pub(crate) lanes: usize,
    /// How the numbers are stored.
    pub(crate) element: Element,
}

impl Geometry {
    /// A blocked tensor without border.
    pub(crate) fn blocked([channels, height, width]: [usize; 3]) -> Self {
        Self { channels, height, width, border: [0; 4], lanes: LANES, element: Element::Float32 }
    }

    /// Number of channel blocks; the last one may be partly filled.
    pub(crate) fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    /// From a pixel to the one below it.
    pub(crate) fn row(&self) -> usize {
        (self.border[1] + self.width + self.border[3]) * self.lanes
    }

    /// From a block to the next one at the same pixel. Behind a whole number of kilobytes a vector stays empty, because the
    /// blocks of a pixel would share few of the caches' lines and drive each other out.
    pub(crate) fn plane(&self) -> usize {
        let plane = (self.border[0] + self.height + self.border[2]) * self.row();
        if self.lanes == LANES && plane.is_multiple_of(KILOBYTE) { plane + LANES } else { plane }
    }

    /// Where the pixel at the top left starts in the first block.
    pub(crate) fn origin(&self) -> usize {
        self.border[0] * self.row() + self.border[1] * self.lanes
    }

    /// Where a pixel starts in the first block.
    pub(crate) fn pixel(&self, y: usize, x: usize) -> usize {
        self.origin() + y * self.row() + x * self.lanes
    }

    /// Where an element lies.
    pub(crate) fn element(&self, channel: usize, y: usize, x: usize) -> usize {
        channel / self.lanes * self.plane() + self.pixel(y, x) + channel % self.lanes
    }

    /// Numbers from one image to the next: all blocks, rounded up to whole vectors.
    pub(crate) fn image(&self) -> usize {
        (self.blocks() * self.plane()).next_multiple_of(LANES)
    }

    /// Bytes from one image to the next: whole cache lines.
    pub(crate) fn bytes(&self) -> usize {
        (self.image() * self.element.size()).next_multiple_of(64)
    }

    /// Number of pixels without the border.
    pub(crate) fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Makes the border at least this wide on every side.
    pub(crate) fn widen(&mut self, border: Border) {
        self.border.iter_mut().zip(border).for_each(|(side, needed)| *side = needed.max(*side));
    }

    /// The geometry without what its bytes stand for, apart from zero.
    pub(crate) fn stored(self) -> Self {
        let element = match self.element {
            Element::UInt8(levels) => Element::UInt8(levels.with_unit_scale()),
            element => element,
        };
        Self { element, ..self }
    }

    /// Whether there is a border.
    pub(crate) fn has_border(&self) -> bool {
        self.border != [0; 4]
    }

    /// Refuses sizes whose products would not fit in memory addresses, so that the plain arithmetic above is exact.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        let [top, left, bottom, right] = self.border;
        let sizes = [
            self.channels.checked_next_multiple_of(self.lanes),
            top.checked_add(self.height).and_then(|size| size.checked_add(bottom)),
            left.checked_add(self.width).and_then(|size| size.checked_add(right)),
        ];
        let elements = sizes.into_iter().try_fold(1usize, |product, size| product.checked_mul(size?));
        // With what stays empty behind the planes.
        let elements = elements.and_then(|elements| elements.checked_add(self.channels.checked_mul(LANES)?));
        match elements {
            Some(elements) if elements <= LARGEST => Ok(()),
            Some(elements) => Err(EngineError::Memory { megabytes: elements / NUMBERS_PER_MEGABYTE }),
            None => Err(EngineError::Memory { megabytes: usize::MAX }),
        }
    }
}

/// Numbers in a million bytes.
pub(crate) const NUMBERS_PER_MEGABYTE: usize = 250_000;

/// Numbers in 1,024 bytes.
const KILOBYTE: usize = 256;

/// Elements of the largest tensor of one image: 16 GiB, and offsets in it fit in 32 bits.
const LARGEST: usize = u32::MAX as usize;
