//! Randomness: independent streams keyed by a seed, a purpose and an index.
//!
//! A stream depends on nothing else, neither on the order in which streams are asked for nor on the thread that asks:
//! `stream(seed, "split", 0)` is the same everywhere and for ever (ChaCha8 with a BLAKE3-derived key).

use rand::SeedableRng as _;

/// The generator behind every stream.
pub type Stream = rand_chacha::ChaCha8Rng;

/// The random stream for `purpose` number `index` under `seed`.
///
/// ```
/// use rand::Rng as _;
/// let draw = |seed, index| regraft_system::random::stream(seed, "split", index).next_u64();
/// assert_eq!(draw(1, 0), draw(1, 0));
/// assert_ne!(draw(1, 0), draw(1, 1));
/// assert_ne!(draw(1, 0), draw(2, 0));
/// ```
pub fn stream(seed: u64, purpose: &str, index: u64) -> Stream {
    let mut material = Vec::with_capacity(16 + purpose.len());
    material.extend_from_slice(&seed.to_le_bytes());
    material.extend_from_slice(&index.to_le_bytes());
    material.extend_from_slice(purpose.as_bytes());
    Stream::from_seed(*blake3::hash(&material).as_bytes())
}

/// Puts `items` in a random order (Fisher–Yates).
pub fn shuffle<T>(items: &mut [T], stream: &mut Stream) {
    use rand::seq::SliceRandom as _;
    items.shuffle(stream);
}
