//! Image sources, splits, the data doctor, decoding and resizing.
//!
//! A folder of files becomes a list of items ([`source`]); a file's bytes become pixels ([`decode`]), a summary of its
//! content ([`inspect`]) and the network's input ([`preprocess`]), in training a random variant of it ([`augment`], [`mix`]),
//! and several for one prediction ([`views`]). Summaries give groups of equal and nearly equal
//! images ([`duplicates`]), which no [`split`] tears apart, and findings for the user ([`doctor`]).
//!
//! Every pixel equals what Pillow and torchvision compute, bit for bit where the format allows: published weights were
//! trained on those pixels, and a second opinion on a result starts from them.

pub mod augment;
pub mod decode;
pub mod doctor;
pub mod duplicates;
pub mod inspect;
pub mod mix;
pub mod preprocess;
pub mod raster;
pub mod resize;
pub mod source;
pub mod split;
pub mod thumbnail;
pub mod views;
