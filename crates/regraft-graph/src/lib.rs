//! The model as data: graph, facts, weights, card, surgery.

mod card;

pub use card::{Card, ChannelOrder, Preprocessing, Resize, ResizeFilter};
