//! Fetches what others have published: files of the Hugging Face Hub, plain addresses, Python and npm packages.
//!
//! Whatever comes over the line is untrusted and may be cut at any byte. So a file is written under another name, goes on
//! where the last run stopped, is compared with its length and whatever hash is known (SHA-256 from a catalogue or the Hub, for
//! the Hub's small files git's SHA-1), and only then gets its final name. Names that
//! a server or an archive gives are checked before they become paths. Nothing that was fetched is run, but for the set-up script
//! of a Python package that is published as source only: `pip` runs it, of the archive with a known hash, where the user agrees.
//!
//! Hub files lie in the cache that Python's `huggingface_hub` uses, in its layout, so that neither program fetches what
//! the other has. A token goes to the server that it is for, and to no other that this one may point to.

mod address;
mod archive;
mod client;
mod download;
mod error;
mod hub;
mod javascript;
mod package;
mod session;
mod settings;

pub use archive::{unpack, unwrap_modules};
pub use download::{Expected, check_content, fetch, wait_for_lock};
pub use error::HubError;
pub use hub::{HubCache, HubFile, Listing};
pub use package::{Package, Registry};
pub use session::{Session, Silent, Watch};
pub use settings::{Settings, Token};
