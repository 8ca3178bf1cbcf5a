//! Files, randomness, time and hashing: the one door each.
//!
//! Everything that makes a run differ from its repetition comes through here, so that a run is reproducible by
//! construction: a random number has a name and a seed, a file appears under its final name only when it is whole,
//! and nothing else asks what time it is. `clippy.toml` forbids the standard library's doors elsewhere.
//!
//! `spelling` is here because both the data and the source models have names that people mistype.

pub mod clock;
pub mod files;
pub mod hash;
pub mod memory;
pub mod partial;
pub mod random;
pub mod spelling;
