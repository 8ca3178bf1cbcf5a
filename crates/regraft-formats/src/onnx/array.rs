//! Row-major arrays of any element: what folding does to numbers without computing with them.

/// A row-major array. Its values are as many as the product of its shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array<T> {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<T>,
}

/// Some places of an array: where the first is, and for each axis how many there are and how far apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Places {
    pub(super) offset: isize,
    pub(super) axes: Vec<(usize, isize)>,
}

impl Places {
    /// All places of an array of that shape, in order.
    pub(super) fn all(shape: &[usize]) -> Self {
        let mut stride = 1isize;
        let mut axes: Vec<_> = shape
            .iter()
            .rev()
            .map(|size| {
                let axis = (*size, stride);
                stride = stride.saturating_mul(isize::try_from(*size).unwrap_or(isize::MAX));
                axis
            })
            .collect();
        axes.reverse();
        Self { offset: 0, axes }
    }

    /// The same places repeated along axes of size 1, or along new ones in front, until they have that shape.
    pub(super) fn broadcast(&self, shape: &[usize]) -> Option<Self> {
        let new = shape.len().checked_sub(self.axes.len())?;
        let old = std::iter::repeat_n((1, 0), new).chain(self.axes.iter().copied());
        let axis = |((size, stride), wanted): ((usize, isize), &usize)| match size {
            size if size == *wanted => Some((size, stride)),
            1 => Some((*wanted, 0)),
            _ => None,
        };
        Some(Self { offset: self.offset, axes: old.zip(shape).map(axis).collect::<Option<_>>()? })
    }

    pub(super) fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|(size, _)| *size).collect()
    }

    /// The places one after the other in an array of so many values. `None` where one lies outside.
    pub(super) fn indices(&self, values: usize) -> Option<Vec<usize>> {
        let shape = self.shape();
        let total = count(&shape)?;
        let mut indices = Vec::with_capacity(total);
        let mut index = vec![0usize; shape.len()];
        let mut place = self.offset;
        for _ in 0..total {
            indices.push(usize::try_from(place).ok().filter(|place| *place < values)?);
            for (index, (size, stride)) in index.iter_mut().zip(&self.axes).rev() {
                *index += 1;
                place = place.wrapping_add(*stride);
                if *index < *size {
                    break;
                }
                place = place.wrapping_sub(stride.wrapping_mul(isize::try_from(*size).ok()?));
                *index = 0;
            }
        }
        Some(indices)
    }
}

/// The product, unless it is too large to be a number of elements.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))
}

/// The places of the parts of an axis that `indices` name, in their order. `None` where one lies outside.
pub(super) fn parts(shape: &[usize], axis: usize, indices: &[usize]) -> Option<Vec<usize>> {
    let (outer, rest) = shape.split_at_checked(axis)?;
    let (size, inner) = rest.split_first()?;
    let (rows, length) = (count(outer)?, count(inner)?);
    if count(shape)? == 0 {
        return Some(Vec::new());
    }
    if indices.iter().any(|index| index >= size) {
        return None;
    }
    let starts = (0..rows).flat_map(|row| indices.iter().map(move |index| (row * size + index) * length));
    Some(starts.flat_map(|start| start..start + length).collect())
}

impl<T: Clone> Array<T> {
    /// The values at these places. `None` where a place lies outside.
    pub(super) fn gather(&self, places: &Places) -> Option<Self> {
        let indices = places.indices(self.values.len())?;
        let values = indices.iter().map(|index| self.values.get(*index).cloned()).collect::<Option<_>>()?;
        Some(Self { shape: places.shape(), values })
    }

    /// Arrays one after the other along an axis. `None` where their other axes differ.
    pub(super) fn concat(parts: &[Self], axis: usize) -> Option<Self> {
        let first = parts.first()?;
        let other = |part: &Self| {
            let mut shape = part.shape.clone();
            (axis < shape.len()).then(|| shape.remove(axis))?;
            Some(shape)
        };
        let expected = other(first)?;
        let alike = parts.iter().all(|part| other(part).as_ref() == Some(&expected));
        let empty = parts.iter().all(|part| part.values.is_empty());
        let outer = if empty { 0 } else { alike.then(|| count(first.shape.get(..axis)?)).flatten()? };
        let mut values = Vec::new();
        for row in 0..outer {
            for part in parts {
                let length = part.values.len() / outer.max(1);
                values.extend_from_slice(part.values.get(row * length..(row + 1) * length)?);
            }
        }
        let mut shape = first.shape.clone();
        let total = parts.iter().filter_map(|part| part.shape.get(axis));
        *shape.get_mut(axis)? = total.fold(0usize, |sum, size| sum.saturating_add(*size));
        alike.then_some(Self { shape, values })
    }
}

/// The shape that two shapes have together, an axis of size 1 being repeated.
pub(super) fn common_shape(left: &[usize], right: &[usize]) -> Option<Vec<usize>> {
    let rank = left.len().max(right.len());
    let padded = |shape: &[usize]| [vec![1; rank - shape.len()], shape.to_vec()].concat();
    let axis = |(left, right): (usize, usize)| match (left, right) {
        (left, right) if left == right => Some(left),
        (1, other) | (other, 1) => Some(other),
        _ => None,
    };
    padded(left).into_iter().zip(padded(right)).map(axis).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(shape: &[usize]) -> Array<i64> {
        Array { shape: shape.to_vec(), values: (0..count(shape).unwrap() as i64).collect() }
    }

    #[test]
    fn places_transpose_reverse_and_repeat() {
        let array = ramp(&[2, 3]);
        let transposed = Places { offset: 0, axes: vec![(3, 1), (2, 3)] };
        assert_eq!(array.gather(&transposed).unwrap().values, [0, 3, 1, 4, 2, 5]);
        let reversed = Places { offset: 2, axes: vec![(2, 3), (3, -1)] };
        assert_eq!(array.gather(&reversed).unwrap().values, [2, 1, 0, 5, 4, 3]);
        let repeated = Places::all(&[1, 3]).broadcast(&[2, 2, 3]).unwrap();
        assert_eq!(array.gather(&repeated).unwrap().values, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
        assert_eq!(array.gather(&Places { offset: 4, axes: vec![(3, 1)] }), None);
    }

    #[test]
    fn parts_are_joined_and_taken() {
        let joined = Array::concat(&[ramp(&[2, 1]), ramp(&[2, 2])], 1).unwrap();
        assert_eq!((joined.shape, joined.values), (vec![2, 3], vec![0, 0, 1, 1, 2, 3]));
        assert_eq!(Array::concat(&[ramp(&[2, 1]), ramp(&[3, 1])], 1), None);
        assert_eq!(parts(&[2, 3], 1, &[1]).unwrap(), [1, 4]);
        assert_eq!(parts(&[2, 3, 2], 1, &[2, 0]).unwrap(), [4, 5, 0, 1, 10, 11, 6, 7]);
        assert_eq!(parts(&[2, 3], 1, &[3]), None);
    }
}
