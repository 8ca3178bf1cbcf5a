//! Content hashes: BLAKE3 for cache keys, SHA-256 where the outside world publishes SHA-256, and SHA-1 where it did so long ago.

use sha2::Digest as _;

/// BLAKE3 of some content, as 64 hexadecimal digits.
pub fn blake3_hex(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

/// SHA-256 of some content, as 64 hexadecimal digits.
///
/// ```
/// let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// assert_eq!(regraft_system::hash::sha256_hex(b""), empty);
/// ```
pub fn sha256_hex(content: &[u8]) -> String {
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-1 of some content, as 40 hexadecimal digits. It tells a damaged file, and not one that was made to look the same.
///
/// ```
/// assert_eq!(regraft_system::hash::sha1_hex(b""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
/// ```
pub fn sha1_hex(content: &[u8]) -> String {
    sha1::Sha1::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hash over named fields, unambiguous whatever the fields hold: every name and value is preceded by its length.
#[derive(Debug, Clone, Default)]
pub struct KeyHasher(blake3::Hasher);

impl KeyHasher {
    /// An empty key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        for part in [name.as_bytes(), value.as_ref()] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// The key, as 64 hexadecimal digits.
    pub fn finish(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_together() {
        let key = |a: &str, b: &str| KeyHasher::new().field("a", a).field("b", b).finish();
        assert_ne!(key("xy", ""), key("x", "y"));
        assert_eq!(key("x", "y"), key("x", "y"));
    }
}
