//! How a long step tells how far it is, without knowing who listens.

/// A listener for long steps. Calls come from several threads.
pub trait Progress: Sync {
    /// A step of `total` units begins; the one before it has ended.
    fn start(&self, step: &str, total: u64);
    /// A step begins whose units are the bytes of a download, of which `here` have arrived before; `total` is 0 where nobody
    /// knows how many there are.
    fn start_bytes(&self, step: &str, here: u64, total: u64) {
        self.start(step, total);
        self.advance(here);
    }
    /// So many more units are done.
    fn advance(&self, units: u64);
    /// The step has ended.
    fn finish(&self);
    /// The step has failed.
    fn abandon(&self) {
        self.finish();
    }
    /// Something that the user should read now.
    fn message(&self, text: &str);
    /// Whether the user has asked to stop; long steps look at it between batches.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _step: &str, _total: u64) {}
    fn advance(&self, _units: u64) {}
    fn finish(&self) {}
    fn message(&self, _text: &str) {}
}
