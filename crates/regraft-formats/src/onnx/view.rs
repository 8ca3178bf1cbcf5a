//! Wires that hold the numbers of another wire in another order.
//!
//! Exporters write attention, tokens and the splitting of a dense layer's output as chains of `Reshape`, `Transpose` and
//! `Slice`, in many variants. What such a chain does is a list of sizes and strides over the wire that it starts from,
//! as NumPy's views are, and two chains do the same exactly when their lists are the same once neighbouring axes that
//! lie one in the other are joined. So patterns are recognised by what they do and not by how they are written.

/// Numbers of one example of a wire, in an order of their own, times a factor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// The wire whose numbers they are.
    pub(super) base: String,
    pub(super) offset: usize,
    /// Size and stride of each axis.
    pub(super) axes: Vec<(usize, usize)>,
    pub(super) factor: f64,
}

impl View {
    /// All numbers of a wire in their own order.
    pub(super) fn whole(base: &str, sizes: &[usize]) -> Self {
        Self { base: base.to_owned(), offset: 0, axes: contiguous(sizes), factor: 1.0 }
    }

    /// Axes in another order, which does not count the batch.
    pub(super) fn transposed(&self, order: &[usize]) -> Option<Self> {
        let axes = order.iter().map(|axis| self.axes.get(*axis).copied()).collect::<Option<_>>()?;
        Some(Self { axes, ..self.clone() })
    }

    /// Some places of an axis.
    pub(super) fn sliced(&self, axis: usize, start: usize, count: usize, step: usize) -> Option<Self> {
        let mut view = self.clone();
        let (size, stride) = view.axes.get_mut(axis)?;
        view.offset = view.offset.saturating_add(start.saturating_mul(*stride));
        (*size, *stride) = (count, stride.saturating_mul(step));
        Some(view)
    }

    /// Another shape of as many numbers. `None` where that needs a copy.
    pub(super) fn reshaped(&self, sizes: &[usize]) -> Option<Self> {
        let mut old = joined(&self.axes).into_iter();
        let mut axes = Vec::new();
        let (mut left, mut stride) = (1, 1);
        for size in sizes {
            if *size == 1 {
                axes.push((1, 1));
                continue;
            }
            if left == 1 {
                (left, stride) = old.next()?;
            }
            if *size == 0 || !left.is_multiple_of(*size) {
                return None;
            }
            left /= size;
            axes.push((*size, stride * left));
        }
        (left == 1 && old.next().is_none()).then(|| Self { axes, ..self.clone() })
    }

    /// Whether these are the numbers from `offset` on in the order that sizes and strides give.
    pub(super) fn is(&self, offset: usize, axes: &[(usize, usize)]) -> bool {
        self.offset == offset && joined(&self.axes) == joined(axes)
    }
}

/// Sizes and strides of numbers in row-major order.
pub(super) fn contiguous(sizes: &[usize]) -> Vec<(usize, usize)> {
    let mut stride = 1usize;
    let mut axes: Vec<_> = sizes
        .iter()
        .rev()
        .map(|size| {
            let axis = (*size, stride);
            stride = stride.saturating_mul(*size);
            axis
        })
        .collect();
    axes.reverse();
    axes
}

/// The same order with as few axes as it takes: none of size 1, none that lies evenly in the one before it.
fn joined(axes: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut joined: Vec<(usize, usize)> = Vec::new();
    for (size, stride) in axes.iter().copied().filter(|(size, _)| *size != 1) {
        match joined.last_mut() {
            Some((outer, step)) if *step == size.saturating_mul(stride) => {
                (*outer, *step) = (outer.saturating_mul(size), stride);
            }
            _ => joined.push((size, stride)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_that_do_the_same_are_the_same() {
        // Queries out of one dense layer, 2 heads of 3 numbers for 5 tokens, as timm and as torchvision write it.
        let whole = View::whole("qkv", &[5, 18]);
        let timm = whole.reshaped(&[5, 3, 2, 3]).unwrap();
        let timm = timm.transposed(&[1, 2, 0, 3]).unwrap().sliced(0, 0, 1, 1).unwrap();
        let timm = timm.reshaped(&[2, 5, 3]).unwrap();
        let torchvision = whole.reshaped(&[5, 1, 3, 6]).unwrap().transposed(&[2, 0, 1, 3]).unwrap();
        let torchvision = torchvision.sliced(0, 0, 1, 1).unwrap().reshaped(&[5, 2, 3]).unwrap();
        let torchvision = torchvision.transposed(&[1, 0, 2]).unwrap();
        let expected = [(2, 3), (5, 18), (3, 1)];
        assert!(timm.is(0, &expected) && torchvision.is(0, &expected));
        assert!(!timm.sliced(2, 1, 2, 1).unwrap().is(0, &expected));
    }

    #[test]
    fn a_transposed_matrix_is_no_view_of_one_axis() {
        let turned = View::whole("matrix", &[4, 6]).transposed(&[1, 0]).unwrap();
        assert_eq!(turned.reshaped(&[24]), None);
        assert!(turned.reshaped(&[3, 2, 4]).unwrap().is(0, &[(6, 1), (4, 6)]));
    }
}
