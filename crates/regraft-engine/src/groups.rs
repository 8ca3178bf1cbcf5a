//! Images that go through a program together, and where their results go.

use crate::{EngineError, geometry::NUMBERS_PER_MEGABYTE, images::Images};

/// Some images and the places of their results, one slice an output.
pub(crate) struct Group<'i, 'r> {
    pub(crate) images: Images<'i>,
    pub(crate) results: Vec<&'r mut [f32]>,
    /// Places of the next stage's inputs.
    pub(crate) for_next: Vec<&'r mut [f32]>,
}

/// Numbers of an image in each of a group's slices.
pub(crate) struct Rows {
    pub(crate) results: Vec<usize>,
    pub(crate) for_next: Vec<usize>,
}

impl Group<'_, '_> {
    /// Cuts off groups of these sizes, one after the other.
    pub(crate) fn split<'s>(self, rows: &Rows, sizes: impl Iterator<Item = &'s usize>) -> Vec<Self> {
        let mut rest = self;
        let mut groups = Vec::new();
        for size in sizes {
            let (images, behind) = rest.images.split_at(*size);
            let (results, results_behind) = split_all(rest.results, &rows.results, *size);
            let (for_next, for_next_behind) = split_all(rest.for_next, &rows.for_next, *size);
            groups.push(Group { images, results, for_next });
            rest = Group { images: behind, results: results_behind, for_next: for_next_behind };
        }
        groups
    }
}

type Slices<'r> = Vec<&'r mut [f32]>;

fn split_all<'r>(slices: Slices<'r>, rows: &[usize], images: usize) -> (Slices<'r>, Slices<'r>) {
    slices.into_iter().zip(rows).map(|(slice, row)| slice.split_at_mut(images * row)).unzip()
}

/// So many rows of zeros.
///
/// # Errors
/// [`EngineError::Memory`].
pub(crate) fn zeros(batch: usize, row: usize) -> Result<Vec<f32>, EngineError> {
    let failed = EngineError::Memory { megabytes: batch.saturating_mul(row) / NUMBERS_PER_MEGABYTE };
    let len = batch.checked_mul(row).ok_or_else(|| failed.clone())?;
    let mut numbers = Vec::new();
    numbers.try_reserve_exact(len).map_err(|_| failed)?;
    numbers.resize(len, 0.0);
    Ok(numbers)
}
