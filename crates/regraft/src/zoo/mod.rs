//! `regraft zoo`: what source models there are, where they lie, how they come here and whether they are still whole.
//!
//! A [`Zoo`] is the catalogue that is compiled in, with the user's own, and two places for files: the user's folder, with one
//! folder a model, and the cache of the Hugging Face Hub, which Python shares. Nothing here uses the network but
//! [`Zoo::pull`].

mod add;
mod info;
mod list;
mod place;
mod pull;
mod remove;
mod verify;

pub use add::{Addition, Inspected, Keep, Missing};
pub use info::Info;
pub use list::{Filter, Listed, table};
pub use place::Zoo;
pub use pull::Pulled;
pub use regraft_hub::Settings;
pub use remove::Removed;
pub use verify::{Check, Outcome, Verified};

pub(crate) use place::{is_zoo_name, local_source};
