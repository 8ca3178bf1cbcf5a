//! Groups of images that show the same thing, found from their inspections.
//!
//! Exact duplicates have equal pixels. Near duplicates have difference hashes at most [`HAMMING_LIMIT`] bits apart and
//! thumbnails at most [`DISTANCE_LIMIT`] apart; groups are the connected components of that relation, so that whoever
//! keeps a group on one side of a split keeps every such pair there.
//!
//! # How the limits were set
//! The hash knows no colour and little of flat areas: among the 7.2 million pairs of 3,786 emoji, 5,368 are within 4
//! bits, flags with the same stripes among them. The thumbnail separates these. The closest pairs of emoji that a
//! person tells apart at a glance are 7.8 (neutral and expressionless face), 7.9 (two clocks) and 8.7 (the flags of
//! Honduras and Nicaragua). Of 22 photographs, re-encoding (JPEG quality 50 to 95, WebP 60), halving, quartering and
//! doubling move the thumbnail by at most 1.5 and stay within 4 bits in 91 to 100 % of the cases; cropping 1 % from each
//! edge moves it by 2.8 (median, 77 % found), cropping 2 % by 6.1 (32 % found), brightening by 5 % by 5.4 (59 %).
//! At 6, 99 pairs of emoji are near duplicates, such as a mounted jockey in two skin tones, where the difference is a
//! few pixels; thumbs in two skin tones, hearts in two colours and flags stay apart.
//!
//! # Cost
//! Two hashes at most 4 bits apart agree in at least one of five bands, so only images that share a band are compared;
//! within a band they are ordered by mean brightness, which cannot differ by more than the thumbnails do.

use std::collections::BTreeMap;

use crate::inspect::Inspection;

/// Bits by which the difference hashes of near duplicates may differ.
pub const HAMMING_LIMIT: u32 = 4;
/// Root-mean-square difference of the thumbnails of near duplicates, on the scale 0 to 255.
pub const DISTANCE_LIMIT: f64 = 6.0;

/// First bit and width of each band of a difference hash: one more band than bits that may differ.
const BANDS: [(u32, u32); HAMMING_LIMIT as usize + 1] = [(0, 13), (13, 13), (26, 13), (39, 13), (52, 12)];

/// Groups of two or more images with equal pixels: positions in `inspections`, ascending; groups by their first
/// member. Positions that hold `None` (unreadable files) belong to no group.
pub fn exact_groups(inspections: &[Option<&Inspection>]) -> Vec<Vec<usize>> {
    let mut by_hash: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, inspection) in inspections.iter().enumerate() {
        if let Some(inspection) = inspection {
            by_hash.entry(&inspection.pixel_hash).or_default().push(position);
        }
    }
    in_order(by_hash.into_values())
}

/// Groups of two or more images that are equal or nearly equal, in the same form as [`exact_groups`].
pub fn near_groups(inspections: &[Option<&Inspection>]) -> Vec<Vec<usize>> {
    let mut sets = DisjointSets::new(inspections.len());
    for group in exact_groups(inspections) {
        for pair in group.windows(2) {
            if let [first, second] = pair {
                sets.join(*first, *second);
            }
        }
    }
    for (start, width) in BANDS {
        join_within_band(&distinct(inspections), start, width, &mut sets);
    }
    sets.groups()
}

/// A group number for every position: members of a group share one, everything else has its own.
/// Numbers count from 0 in order of first appearance.
pub fn group_ids(count: usize, groups: &[Vec<usize>]) -> Vec<usize> {
    let mut first: Vec<usize> = (0..count).collect();
    for group in groups {
        for member in group {
            if let (Some(slot), Some(leader)) = (first.get_mut(*member), group.first()) {
                *slot = *leader;
            }
        }
    }
    let mut numbers = BTreeMap::new();
    first
        .into_iter()
        .map(|leader| {
            let next = numbers.len();
            *numbers.entry(leader).or_insert(next)
        })
        .collect()
}

fn in_order(groups: impl Iterator<Item = Vec<usize>>) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = groups.filter(|group| group.len() > 1).collect();
    groups.sort();
    groups
}

/// One image to compare, with what is compared first kept close together.
struct Candidate<'a> {
    hash: u64,
    mean: f64,
    position: usize,
    inspection: &'a Inspection,
}

/// One candidate for each distinct content.
fn distinct<'a>(inspections: &[Option<&'a Inspection>]) -> Vec<Candidate<'a>> {
    let mut by_hash = BTreeMap::new();
    for (position, inspection) in inspections.iter().enumerate() {
        if let Some(inspection) = inspection {
            by_hash.entry(&inspection.pixel_hash).or_insert((position, *inspection));
        }
    }
    let candidate = |(position, inspection): (usize, &'a Inspection)| Candidate {
        hash: inspection.difference_hash,
        mean: inspection.thumbnail.mean(),
        position,
        inspection,
    };
    by_hash.into_values().map(candidate).collect()
}

fn join_within_band(candidates: &[Candidate], start: u32, width: u32, sets: &mut DisjointSets) {
    let band = |candidate: &Candidate| candidate.hash >> start & ((1 << width) - 1);
    let mut ordered: Vec<&Candidate> = candidates.iter().collect();
    ordered.sort_by(|a, b| {
        band(a).cmp(&band(b)).then(a.mean.total_cmp(&b.mean)).then(a.position.cmp(&b.position))
    });
    for bucket in ordered.chunk_by(|a, b| band(a) == band(b)) {
        for (index, first) in bucket.iter().enumerate() {
            let others = bucket.iter().skip(index + 1);
            for second in others.take_while(|second| second.mean - first.mean <= DISTANCE_LIMIT) {
                join_if_near(first, second, sets);
            }
        }
    }
}

fn join_if_near(first: &Candidate, second: &Candidate, sets: &mut DisjointSets) {
    if (first.hash ^ second.hash).count_ones() <= HAMMING_LIMIT
        && !sets.joined(first.position, second.position)
        && first.inspection.thumbnail.distance(&second.inspection.thumbnail) <= DISTANCE_LIMIT
    {
        sets.join(first.position, second.position);
    }
}

/// Union–find with path halving; a set's leader is its smallest member, so that the outcome is independent of order.
struct DisjointSets(Vec<usize>);

#[allow(clippy::indexing_slicing, reason = "parents are positions in the same vector")]
impl DisjointSets {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn leader(&mut self, mut member: usize) -> usize {
        while self.0[member] != member {
            self.0[member] = self.0[self.0[member]];
            member = self.0[member];
        }
        member
    }

    fn joined(&mut self, a: usize, b: usize) -> bool {
        self.leader(a) == self.leader(b)
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.leader(a), self.leader(b));
        self.0[a.max(b)] = a.min(b);
    }

    fn groups(mut self) -> Vec<Vec<usize>> {
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for member in 0..self.0.len() {
            groups.entry(self.leader(member)).or_default().push(member);
        }
        in_order(groups.into_values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{THUMBNAIL_BYTES, Thumbnail};
    use crate::raster::Channels;

    fn inspection(pixel_hash: usize, difference_hash: u64, level: u8) -> Inspection {
        let thumbnail = Thumbnail([level; THUMBNAIL_BYTES]);
        let pixel_hash = pixel_hash.to_string();
        let channels = Channels::RGB;
        Inspection {
            width: 8,
            height: 8,
            transparent: false,
            channels,
            pixel_hash,
            difference_hash,
            thumbnail,
        }
    }

    fn near(inspections: &[Inspection]) -> Vec<Vec<usize>> {
        near_groups(&inspections.iter().map(Some).collect::<Vec<_>>())
    }

    #[test]
    fn four_bits_in_four_bands_are_found_and_five_are_not() {
        let four = 1 | 1 << 16 | 1 << 32 | 1 << 48;
        assert_eq!(near(&[inspection(0, 0, 9), inspection(1, four, 9)]), [[0, 1]]);
        assert!(near(&[inspection(0, 0, 9), inspection(1, four | 1 << 63, 9)]).is_empty());
    }

    #[test]
    fn brightness_separates_and_chains_connect() {
        assert!(near(&[inspection(0, 5, 10), inspection(1, 5, 17)]).is_empty());
        let chain = [inspection(0, 5, 22), inspection(1, 5, 10), inspection(2, 5, 16), inspection(3, 5, 60)];
        assert_eq!(near(&chain), [[0, 1, 2]]);
    }

    #[test]
    fn banded_search_equals_comparing_all_pairs() {
        let mut state = 1_u64;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 33
        };
        let inspections: Vec<Inspection> = (0..300)
            .map(|index| {
                let flips = (0..draw() % 5).fold(0_u64, |hash, _| hash ^ 1 << (draw() % 64));
                inspection(index, [0, u64::MAX, 0xff00][draw() as usize % 3] ^ flips, (draw() % 30) as u8)
            })
            .collect();
        let mut sets = DisjointSets::new(inspections.len());
        for (i, a) in inspections.iter().enumerate() {
            for (j, b) in inspections.iter().enumerate() {
                let bits = (a.difference_hash ^ b.difference_hash).count_ones();
                if bits <= HAMMING_LIMIT && a.thumbnail.distance(&b.thumbnail) <= DISTANCE_LIMIT {
                    sets.join(i, j);
                }
            }
        }
        assert_eq!(near(&inspections), sets.groups());
    }

    #[test]
    fn unreadable_files_are_in_no_group_and_every_position_has_a_number() {
        let one = inspection(0, 5, 9);
        let groups = near_groups(&[Some(&one), None, Some(&one), None]);
        assert_eq!(groups, [[0, 2]]);
        assert_eq!(group_ids(4, &groups), [0, 1, 0, 2]);
    }
}
