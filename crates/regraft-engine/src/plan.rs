//! Where every value lies in a worker's memory.
//!
//! Values that are alive at the same time lie apart; others share. A value with a zero border shares only with values of
//! exactly its geometry: nobody writes the border, so that it is zeroed once, when the memory is allocated. Values in
//! bytes may differ in their scale, but not in the byte that stands for zero.

use std::collections::HashMap;

use crate::geometry::Geometry;

/// Bytes behind a value, for a read or write beyond it to be noticed; see `guard`.
const GAP: usize = if cfg!(regraft_sanitized) { 64 } else { 0 };

/// A value's geometry and the steps between which it is alive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetime {
    pub(crate) geometry: Geometry,
    /// Step that writes it.
    pub(crate) first: usize,
    /// Last step that reads it.
    pub(crate) last: usize,
}

/// Offsets in bytes for one image; a group of `n` images has everything `n` times as far.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) offsets: Vec<usize>,
    pub(crate) total: usize,
}

impl Plan {
    /// Places the values: first fit, largest first.
    ///
    /// A value that is `None` lies in another one and gets no place.
    pub(crate) fn new(values: &[Option<Lifetime>]) -> Self {
        let mut order: Vec<usize> = (0..values.len()).collect();
        let size = |index: &usize| {
            values.get(*index).and_then(Option::as_ref).map_or(0, |value| value.geometry.bytes())
        };
        order.sort_by_key(|index| (std::cmp::Reverse(size(index)), *index));
        let mut placement = Placement::default();
        let mut offsets = vec![0; values.len()];
        for index in order {
            if let (Some(Some(value)), Some(offset)) = (values.get(index), offsets.get_mut(index)) {
                *offset = placement.place(value);
            }
        }
        Self { offsets, total: placement.end }
    }
}

#[derive(Default)]
struct Placement {
    slots: Vec<Slot>,
    /// Slots that only one geometry may use.
    bordered: HashMap<Geometry, Vec<usize>>,
    end: usize,
}

/// A stretch of memory and when it is in use.
struct Slot {
    start: usize,
    end: usize,
    uses: Vec<[usize; 2]>,
    shared: bool,
}

impl Slot {
    fn is_free(&self, value: &Lifetime) -> bool {
        self.uses.iter().all(|[first, last]| value.last < *first || *last < value.first)
    }
}

impl Placement {
    fn place(&mut self, value: &Lifetime) -> usize {
        if value.geometry.has_border() { self.place_bordered(value) } else { self.place_shared(value) }
    }

    fn place_bordered(&mut self, value: &Lifetime) -> usize {
        let candidates = self.bordered.entry(value.geometry.stored()).or_default();
        for slot in candidates.iter() {
            if let Some(slot) = self.slots.get_mut(*slot).filter(|slot| slot.is_free(value)) {
                slot.uses.push([value.first, value.last]);
                return slot.start;
            }
        }
        candidates.push(self.slots.len());
        // Behind everything, so that no shared value ever overlaps it.
        let start = self.end;
        self.push(value, start, false);
        start
    }

    fn place_shared(&mut self, value: &Lifetime) -> usize {
        let mut taken: Vec<(usize, usize)> = self
            .slots
            .iter()
            .filter(|slot| !slot.shared || !slot.is_free(value))
            .map(|slot| (slot.start, slot.end))
            .collect();
        taken.sort_unstable();
        let size = value.geometry.bytes() + GAP;
        let mut start = 0;
        for (from, to) in taken {
            if start + size <= from {
                break;
            }
            start = start.max(to);
        }
        self.push(value, start, true);
        start
    }

    fn push(&mut self, value: &Lifetime, start: usize, shared: bool) {
        let end = start + value.geometry.bytes() + GAP;
        self.slots.push(Slot { start, end, uses: vec![[value.first, value.last]], shared });
        self.end = self.end.max(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(channels: usize, border: usize, first: usize, last: usize) -> Lifetime {
        let geometry = Geometry { border: [border; 4], ..Geometry::blocked([channels, 3, 3]) };
        Lifetime { geometry, first, last }
    }

    fn overlap(values: &[Lifetime], plan: &Plan, a: usize, b: usize) -> bool {
        let range = |index: usize| {
            let start = plan.offsets[index];
            start..start + values[index].geometry.bytes()
        };
        range(a).start < range(b).end && range(b).start < range(a).end
    }

    #[test]
    fn values_that_are_alive_together_lie_apart_and_others_share() {
        let values: Vec<Lifetime> = (0..40)
            .map(|step| value(16 * (1 + step * 7 % 5), usize::from(step % 3 == 0), step, step + 1 + step % 4))
            .collect();
        let plan = Plan::new(&values.iter().copied().map(Some).collect::<Vec<_>>());
        for a in 0..values.len() {
            for b in 0..a {
                let together = values[a].first <= values[b].last && values[b].first <= values[a].last;
                let bordered = values[a].geometry.has_border() || values[b].geometry.has_border();
                let same = values[a].geometry == values[b].geometry;
                if together || (bordered && !same) {
                    assert!(!overlap(&values, &plan, a, b), "{a} and {b}");
                }
            }
        }
        let all: usize = values.iter().map(|value| value.geometry.bytes()).sum();
        assert!(plan.total < all / 2);
    }
}
