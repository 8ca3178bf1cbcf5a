//! Between arrays in row-major order and the engine's layout.
#![allow(clippy::indexing_slicing, reason = "indices come from geometries whose size the slices have")]

use ndarray::ArrayView3;

use crate::geometry::Geometry;

/// Writes one image, channels × height × width, into its place. The border and the lanes without a channel stay as they
/// are: zero.
pub(crate) fn pack(image: ArrayView3<'_, f32>, geometry: &Geometry, to: &mut [f32]) {
    for (channel, plane) in image.outer_iter().enumerate() {
        for (y, row) in plane.outer_iter().enumerate() {
            let start = geometry.element(channel, y, 0);
            match row.as_slice() {
                Some(row) if geometry.lanes == 1 => to[start..start + row.len()].copy_from_slice(row),
                _ => {
                    let places = to[start..].iter_mut().step_by(geometry.lanes);
                    places.zip(row).for_each(|(to, value)| *to = *value);
                }
            }
        }
    }
}

/// Reads one image into channels × height × width in row-major order.
pub(crate) fn unpack(from: &[f32], geometry: &Geometry, to: &mut [f32]) {
    for (row, to) in to.chunks_exact_mut(geometry.width).enumerate() {
        let start = geometry.element(row / geometry.height, row % geometry.height, 0);
        let values = from[start..].iter().step_by(geometry.lanes);
        to.iter_mut().zip(values).for_each(|(to, value)| *to = *value);
    }
}
