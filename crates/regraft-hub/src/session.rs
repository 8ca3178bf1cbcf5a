//! What all requests of one command share, and who watches them.

use crate::client::Client;
use crate::{HubError, Settings};

/// Settings and the connections made under them.
pub struct Session {
    pub(crate) settings: Settings,
    pub(crate) client: Client,
}

impl Session {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// The address of a proxy cannot be used.
    pub fn new(settings: Settings) -> Result<Self, HubError> {
        Ok(Self { client: Client::new(&settings)?, settings })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Fails where the user has forbidden the network.
    pub(crate) fn check_online(&self, what: &str) -> Result<(), HubError> {
        let Some(variable) = self.settings.offline else { return Ok(()) };
        Err(HubError::Offline { what: what.to_owned(), variable })
    }
}

/// A listener for downloads.
pub trait Watch {
    /// A file begins of which `here` bytes have arrived in an earlier run; the server may not say how many there are.
    fn begin(&self, name: &str, here: u64, total: Option<u64>);
    /// So many more bytes have arrived.
    fn received(&self, bytes: u64);
    /// Something that the user should read now.
    fn message(&self, text: &str);
    /// Whether the user has asked to stop; looked at after every piece.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Watch for Silent {
    fn begin(&self, _name: &str, _here: u64, _total: Option<u64>) {}
    fn received(&self, _bytes: u64) {}
    fn message(&self, _text: &str) {}
}
