//! Numbers at other places: everything that reorders, repeats, cuts or surrounds a value, and what is the same for every
//! image. Where each number comes from is a table that is made when the program is compiled: a part for each channel, row
//! and column where the sum of those is the place, else one entry a number.
#![allow(
    clippy::indexing_slicing,
    reason = "the tables are as long as the output has channels, rows and columns"
)]

use std::ops::Range;

use super::{Computation, Operands, check_bounds, row_of};
use crate::{
    EngineError, Settings,
    axes::{Axes, NOWHERE, Parts},
    buffer::Buffer,
    element::{BFloat16, Element, Number, with_floats},
    geometry::Geometry,
    simd::LANES,
};

/// Where the numbers of an output come from.
#[derive(Debug)]
pub(crate) enum Sources {
    Parts(Parts),
    /// `[blocks][height][width][16]`.
    Each(Vec<u32>),
}

/// What is written where no number of the input belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Otherwise {
    Fill(f32),
    /// Nothing: another step writes it.
    Keep,
}

/// Copies numbers.
#[derive(Debug)]
pub(crate) struct Gather {
    input: Geometry,
    output: Geometry,
    sources: Sources,
    otherwise: Otherwise,
}

impl Gather {
    /// # Errors
    /// [`EngineError::Bounds`].
    pub(crate) fn new(
        [input, output]: [Geometry; 2],
        sources: Sources,
        otherwise: Otherwise,
    ) -> Result<Self, EngineError> {
        check_bounds(reach(&sources), &input)?;
        Ok(Self { input, output, sources, otherwise })
    }

    /// The same numbers in row-major order in another shape.
    ///
    /// # Errors
    /// [`EngineError::Bounds`].
    pub(crate) fn reshape(from: &Axes, to: &Axes) -> Result<Self, EngineError> {
        let Geometry { channels, height, width, .. } = to.geometry;
        let mut places = vec![NOWHERE; to.geometry.blocks() * height * width * LANES];
        for channel in 0..channels {
            for pixel in 0..height * width {
                let index = to.index([channel, pixel / width, pixel % width]);
                let at = (channel / LANES * height * width + pixel) * LANES + channel % LANES;
                places[at] = from.place(index) as u32;
            }
        }
        Self::new([from.geometry, to.geometry], Sources::Each(places), Otherwise::Fill(0.0))
    }
}

/// One behind the last number that is read.
fn reach(sources: &Sources) -> usize {
    let last =
        |parts: &[u32]| parts.iter().filter(|part| **part != NOWHERE).max().map_or(0, |part| *part as usize);
    1 + match sources {
        Sources::Parts(Parts { channels, rows, columns }) => last(channels) + last(rows) + last(columns),
        Sources::Each(places) => last(places),
    }
}

impl Computation for Gather {
    fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.output.height
    }

    fn cost(&self, images: usize) -> usize {
        4 * images * self.output.image()
    }

    unsafe fn run(&self, _: Settings, operands: &Operands, units: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { with_floats!(self.input.element, self.output.element, self.rows(operands, units)) }
    }
}

impl Gather {
    /// # Safety
    /// As for [`Computation::run`], and the numbers of input and output must be `I` and `O`.
    unsafe fn rows<I: Number, O: Number>(&self, operands: &Operands, units: Range<usize>) {
        let output = &self.output;
        for unit in units {
            let [image, block, y] = row_of(output, unit);
            // SAFETY: the row lies in the image; the caller vouches for the operands, and `new` for the places.
            unsafe {
                let from = operands.input.at::<I>(image).cast_const();
                let to = operands.output.at::<O>(image).add(block * output.plane() + output.pixel(y, 0));
                match &self.sources {
                    Sources::Parts(parts) => self.row_of_parts(from, to, parts, block, y),
                    Sources::Each(places) => {
                        let row = (block * output.height + y) * output.width * LANES;
                        for x in 0..output.width {
                            let places = &places[row + x * LANES..][..LANES];
                            self.pixel(from, to.add(x * LANES), places, 0, block);
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// `from` must point to an image of the input and `to` to the block's row in one of the output.
    unsafe fn row_of_parts<I: Number, O: Number>(
        &self,
        from: *const I,
        to: *mut O,
        Parts { channels, rows, columns }: &Parts,
        block: usize,
        y: usize,
    ) {
        let channels = &channels[block * LANES..channels.len().min((block + 1) * LANES)];
        let first = channels[0];
        let follow =
            |(lane, place): (usize, &u32)| *place != NOWHERE && *place == first.wrapping_add(lane as u32);
        let follow = channels.len() == LANES && channels.iter().enumerate().all(follow);
        for (x, column) in columns.iter().enumerate() {
            // SAFETY: the caller's promise; the sums of the parts are places of the input.
            unsafe {
                let to = to.add(x * LANES);
                if rows[y] == NOWHERE || *column == NOWHERE {
                    self.pixel(from, to, &[NOWHERE; LANES][..channels.len()], 0, block);
                } else if follow {
                    let from = from.add((rows[y] + column + first) as usize);
                    for lane in 0..LANES {
                        *to.add(lane) = O::new((*from.add(lane)).value());
                    }
                } else {
                    self.pixel(from, to, channels, rows[y] + column, block);
                }
            }
        }
    }

    /// # Safety
    /// `to` must point to a block of a pixel, and the places must be the input's or [`NOWHERE`].
    #[inline]
    unsafe fn pixel<I: Number, O: Number>(
        &self,
        from: *const I,
        to: *mut O,
        places: &[u32],
        shift: u32,
        block: usize,
    ) {
        let channels = LANES.min(self.output.channels - block * LANES);
        for (lane, place) in places.iter().take(channels).enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                match (*place, self.otherwise) {
                    (NOWHERE, Otherwise::Fill(value)) => *to.add(lane) = O::new(value),
                    (NOWHERE, Otherwise::Keep) => {}
                    (place, _) => *to.add(lane) = O::new((*from.add((place + shift) as usize)).value()),
                }
            }
        }
        for lane in channels..LANES {
            // SAFETY: as above. What stands in lanes without a channel must be finite.
            unsafe { *to.add(lane) = O::new(0.0) };
        }
    }
}

/// Numbers that are the same for every image.
#[derive(Debug)]
pub(crate) struct Constant {
    output: Geometry,
    /// In the output's layout, in single precision.
    numbers: Buffer,
}

impl Constant {
    /// # Errors
    /// [`EngineError::Memory`].
    pub(crate) fn new(output: &Axes, values: &[f32]) -> Result<Self, EngineError> {
        let mut numbers = Buffer::zeroed(output.geometry.image())?;
        values.iter().enumerate().for_each(|(index, value)| numbers[output.place(index)] = *value);
        Ok(Self { output: output.geometry, numbers })
    }
}

impl Computation for Constant {
    fn units(&self, images: usize) -> usize {
        images * self.output.blocks() * self.output.height
    }

    fn cost(&self, images: usize) -> usize {
        images * self.output.image()
    }

    unsafe fn run(&self, _: Settings, operands: &Operands, units: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { with_floats!(Element::Float32, self.output.element, self.rows(operands, units)) }
    }
}

impl Constant {
    /// # Safety
    /// As for [`Computation::run`], and the numbers of the output must be `O`.
    unsafe fn rows<I: Number, O: Number>(&self, operands: &Operands, units: Range<usize>) {
        for unit in units {
            let [image, block, y] = row_of(&self.output, unit);
            let start = block * self.output.plane() + self.output.pixel(y, 0);
            let row = &self.numbers[start..start + self.output.width * LANES];
            // SAFETY: the row lies in the image; the caller vouches for the operands.
            let to = unsafe { operands.output.at::<O>(image).add(start) };
            for (index, number) in row.iter().enumerate() {
                // SAFETY: as above.
                unsafe { *to.add(index) = O::new(*number) };
            }
        }
    }
}
