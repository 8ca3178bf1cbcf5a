//! Between arrays in row-major order and the engine's layout.
#![allow(clippy::indexing_slicing, reason = "indices come from geometries whose size the slices have")]

use ndarray::ArrayView3;

use crate::{
    element::{Affine, Element, Number, UInt8, bytes, bytes_mut, halves, halves_mut},
    geometry::Geometry,
    images::Channel,
};

/// Writes one image, channels × height × width, into its place. The border and the lanes without a channel stay as they
/// are: zero, or the byte for it.
pub(crate) fn pack(image: ArrayView3<'_, f32>, geometry: &Geometry, to: &mut [f32]) {
    match geometry.element {
        Element::Float32 => pack_as(image, geometry, to),
        Element::BFloat16 => pack_as(image, geometry, halves_mut(to)),
        Element::UInt8(_) => pack_as(image, geometry, bytes_mut(to)),
    }
}

fn pack_as<N: Number>(image: ArrayView3<'_, f32>, geometry: &Geometry, to: &mut [N]) {
    let real_to_stored = geometry.element.to_stored();
    let stored = |value: f32| stored::<N>(value, real_to_stored);
    for (channel, plane) in image.outer_iter().enumerate() {
        for (y, row) in plane.outer_iter().enumerate() {
            let places = to[geometry.element(channel, y, 0)..].iter_mut();
            // The step of one is written out, because only then is the loop a copy.
            if geometry.lanes == 1 {
                places.zip(row).for_each(|(to, value)| *to = stored(*value));
            } else {
                places.step_by(geometry.lanes).zip(row).for_each(|(to, value)| *to = stored(*value));
            }
        }
    }
}

#[inline(always)]
fn stored<N: Number>(value: f32, real_to_stored: Affine) -> N {
    N::new(if N::IS_LEVEL { real_to_stored.of(value) } else { value })
}

/// Writes one image of bytes, height × width × channels, into its place, normalised.
pub(crate) fn pack_pixels(pixels: &[u8], channels: &[Channel], geometry: &Geometry, to: &mut [f32]) {
    match geometry.element {
        Element::Float32 => pack_pixels_as(pixels, channels, geometry, to),
        Element::BFloat16 => pack_pixels_as(pixels, channels, geometry, halves_mut(to)),
        Element::UInt8(_) => pack_pixels_as(pixels, channels, geometry, bytes_mut(to)),
    }
}

fn pack_pixels_as<N: Number>(pixels: &[u8], channels: &[Channel], geometry: &Geometry, to: &mut [N]) {
    let real_to_stored = geometry.element.to_stored();
    for (channel, Channel { sample, values }) in channels.iter().enumerate() {
        let values = values.map(|value| stored::<N>(value, real_to_stored));
        for (y, row) in pixels.chunks_exact(channels.len() * geometry.width).enumerate() {
            let places = to[geometry.element(channel, y, 0)..].iter_mut().step_by(geometry.lanes);
            for (to, sample) in places.zip(row[*sample..].iter().step_by(channels.len())) {
                *to = values[usize::from(*sample)];
            }
        }
    }
}

/// Reads one image into channels × height × width in row-major order.
pub(crate) fn unpack(from: &[f32], geometry: &Geometry, to: &mut [f32]) {
    match geometry.element {
        Element::Float32 => unpack_as(from, geometry, to),
        Element::BFloat16 => unpack_as(halves(from), geometry, to),
        Element::UInt8(_) => unpack_as::<UInt8>(bytes(from), geometry, to),
    }
}

fn unpack_as<N: Number>(from: &[N], geometry: &Geometry, to: &mut [f32]) {
    let real = geometry.element.to_real();
    for (row, to) in to.chunks_exact_mut(geometry.width).enumerate() {
        let start = geometry.element(row / geometry.height, row % geometry.height, 0);
        let values = from[start..].iter().step_by(geometry.lanes);
        to.iter_mut()
            .zip(values)
            .for_each(|(to, value)| *to = if N::IS_LEVEL { real.of(value.value()) } else { value.value() });
    }
}

/// Reads one sequence into tokens × features in row-major order.
pub(crate) fn unpack_tokens(from: &[f32], geometry: &Geometry, to: &mut [f32]) {
    match geometry.element {
        Element::Float32 => unpack_tokens_as(from, geometry, to),
        Element::BFloat16 => unpack_tokens_as(halves(from), geometry, to),
        Element::UInt8(_) => unpack_tokens_as::<UInt8>(bytes(from), geometry, to),
    }
}

fn unpack_tokens_as<N: Number>(from: &[N], geometry: &Geometry, to: &mut [f32]) {
    let real = geometry.element.to_real();
    for (token, to) in to.chunks_exact_mut(geometry.channels).enumerate() {
        for (block, to) in to.chunks_mut(geometry.lanes).enumerate() {
            let start = geometry.element(block * geometry.lanes, 0, token);
            to.iter_mut().zip(&from[start..]).for_each(|(to, value)| {
                *to = if N::IS_LEVEL { real.of(value.value()) } else { value.value() }
            });
        }
    }
}
