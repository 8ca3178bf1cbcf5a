//! The cache: what has been computed from a file's content is never computed again.
//!
//! A [`Store`] maps the BLAKE3 hash of a file's content to a row of bytes of one length: features, or what the data
//! doctor saw. The store's name is the hash of everything else that determines the rows (weights, cut, preprocessing,
//! decoder, precision), so nothing is keyed by a path and nothing has to be invalidated.
//!
//! A store is a folder of shards. A shard is written under a temporary name and renamed, holds its own checksum, and is
//! named by the hash of its keys; so a killed run loses at most the shard that it was writing, a damaged shard is
//! noticed and computed again, and two runs may write to one store at the same time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use regraft_system::files::{self, FileError};
use regraft_system::hash::KeyHasher;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Hash of a file's content.
pub type ContentHash = [u8; 32];

/// A hash as 64 hexadecimal digits.
pub(crate) fn hex(hash: &ContentHash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

const MAGIC: &[u8; 8] = b"RGSHARD1";
const HEADER: usize = 8 + 8 + 8;
const CHECKSUM: usize = 32;
/// Rows that a killed run can lose: small enough to be a few seconds of work, large enough to keep shards few.
const ROWS_PER_SHARD: usize = 128;

/// The folder that holds all stores.
#[derive(Debug, Clone)]
pub struct Cache {
    root: Option<PathBuf>,
    /// Set at the first write that fails: a full disk or a read-only folder is reported once and not tried again.
    closed: Arc<AtomicBool>,
}

/// What a store holds, as `regraft cache list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// `features` or `inspections`.
    pub kind: String,
    /// What the rows were computed with.
    pub description: String,
    /// Length of a row in bytes.
    pub row_bytes: usize,
}

/// A store as it stands on disk.
#[derive(Debug, Clone, Serialize)]
pub struct StoreSummary {
    /// Name of the folder.
    pub name: String,
    /// What it holds.
    #[serde(flatten)]
    pub info: StoreInfo,
    /// Number of rows.
    pub rows: u64,
    /// Size on disk in bytes.
    pub bytes: u64,
    /// When it was last used, in seconds since 1970.
    pub last_used: u64,
}

impl Cache {
    /// The cache in `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: Some(root.into()), closed: Arc::default() }
    }

    /// A cache that remembers nothing after the process ends.
    pub fn disabled() -> Self {
        Self { root: None, closed: Arc::default() }
    }

    /// The user's cache: `REGRAFT_CACHE`, else `regraft` in the system's cache folder.
    ///
    /// # Errors
    /// Neither is known.
    pub fn of_user() -> Result<Self> {
        if let Some(root) = std::env::var_os("REGRAFT_CACHE").filter(|root| !root.is_empty()) {
            return Ok(Self::at(root));
        }
        use etcetera::BaseStrategy as _;
        let strategy = etcetera::choose_base_strategy().map_err(|error| {
            Error::Usage(format!(
                "{error}: no place for the cache; set REGRAFT_CACHE to a folder, or use --no-cache"
            ))
        })?;
        Ok(Self::at(strategy.cache_dir().join("regraft")))
    }

    /// The folder, unless the cache is disabled.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Opens the store for rows that `key` and `info` determine, creating nothing until the first row is written.
    pub(crate) fn store(&self, key: &KeyHasher, info: StoreInfo) -> Store {
        let name = format!("{}-{}", info.kind, key.finish().get(..24).unwrap_or_default());
        let folder = self.root.as_ref().map(|root| root.join(name));
        let rows = folder.as_deref().map(|folder| open_shards(folder, info.row_bytes)).unwrap_or_default();
        Store { folder, info, rows, pending: Mutex::default(), closed: Arc::clone(&self.closed) }
    }

    /// All stores, most recently used first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<StoreSummary>> {
        let Some(root) = self.root.as_deref().filter(|root| root.exists()) else { return Ok(Vec::new()) };
        let folders = std::fs::read_dir(root).map_err(FileError::on(root, "read")).map_err(Error::data)?;
        let mut stores: Vec<_> = folders.flatten().filter_map(|entry| summary(&entry.path())).collect();
        stores.sort_by(|a, b| b.last_used.cmp(&a.last_used).then_with(|| a.name.cmp(&b.name)));
        Ok(stores)
    }

    /// Removes the least recently used stores until at most `keep_bytes` are left; returns what went.
    ///
    /// # Errors
    /// A store cannot be removed.
    pub fn trim(&self, keep_bytes: u64) -> Result<Vec<StoreSummary>> {
        let Some(root) = self.root.as_deref() else { return Ok(Vec::new()) };
        let mut kept = 0u64;
        let over = |store: &StoreSummary| {
            kept = kept.saturating_add(store.bytes);
            kept > keep_bytes
        };
        let removed: Vec<StoreSummary> = self.list()?.into_iter().filter(over).collect();
        for store in &removed {
            let folder = root.join(&store.name);
            std::fs::remove_dir_all(&folder)
                .map_err(FileError::on(&folder, "remove"))
                .map_err(Error::output(&folder, "trimming the cache"))?;
        }
        Ok(removed)
    }
}

/// Rows of bytes by content hash.
pub(crate) struct Store {
    folder: Option<PathBuf>,
    info: StoreInfo,
    rows: HashMap<ContentHash, Bytes>,
    pending: Mutex<Vec<(ContentHash, Vec<u8>)>>,
    closed: Arc<AtomicBool>,
}

impl Store {
    /// The row of that content, if it was there when the store was opened.
    pub(crate) fn get(&self, key: &ContentHash) -> Option<&Bytes> {
        self.rows.get(key)
    }

    /// Keeps a row for the next run; it reaches the disk when a shard is full or at [`Self::flush`]. An error is
    /// returned for the first write that fails; after that, nothing more is written to the cache.
    pub(crate) fn put(&self, key: ContentHash, row: Vec<u8>) -> Result<()> {
        if self.folder.is_none() {
            return Ok(());
        }
        let full = {
            let mut pending = self.lock();
            pending.push((key, row));
            if pending.len() < ROWS_PER_SHARD { Vec::new() } else { std::mem::take(&mut *pending) }
        };
        self.write(full)
    }

    /// Writes what is waiting.
    pub(crate) fn flush(&self) -> Result<()> {
        let waiting = std::mem::take(&mut *self.lock());
        self.write(waiting)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(ContentHash, Vec<u8>)>> {
        // A thread that panicked while pushing has left whole rows behind: the list is good.
        self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self, rows: Vec<(ContentHash, Vec<u8>)>) -> Result<()> {
        let Some(folder) = self.folder.as_deref().filter(|_| !rows.is_empty()) else { return Ok(()) };
        if self.closed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let written = self.write_shard(folder, rows);
        let first_failure = written.is_err() && !self.closed.swap(true, Ordering::Relaxed);
        if first_failure { written } else { Ok(()) }
    }

    fn write_shard(&self, folder: &Path, mut rows: Vec<(ContentHash, Vec<u8>)>) -> Result<()> {
        rows.sort();
        rows.dedup_by(|a, b| a.0 == b.0);
        let shard = encode_shard(&rows, self.info.row_bytes);
        let keys: Vec<u8> = rows.iter().flat_map(|(key, _)| *key).collect();
        let name = format!("{}.shard", &regraft_system::hash::blake3_hex(&keys));
        let failed = |error| Error::output(folder, "writing the cache")(error);
        let info = folder.join("store.json");
        if !info.exists() {
            let text = serde_json::to_vec_pretty(&self.info).map_err(Error::data)?;
            files::write_atomically(&info, &text).map_err(failed)?;
        }
        files::write_atomically(&folder.join(name), &shard).map_err(failed)
    }
}

fn encode_shard(rows: &[(ContentHash, Vec<u8>)], row_bytes: usize) -> Vec<u8> {
    let mut shard = Vec::with_capacity(HEADER + rows.len() * (32 + row_bytes) + CHECKSUM);
    shard.extend_from_slice(MAGIC);
    shard.extend_from_slice(&(rows.len() as u64).to_le_bytes());
    shard.extend_from_slice(&(row_bytes as u64).to_le_bytes());
    rows.iter().for_each(|(key, _)| shard.extend_from_slice(key));
    rows.iter().for_each(|(_, row)| shard.extend_from_slice(row));
    let checksum = *blake3::hash(&shard).as_bytes();
    shard.extend_from_slice(&checksum);
    shard
}

/// Keys and rows of a shard; `None` if it is damaged or of another row length.
fn decode_shard(shard: &Bytes, row_bytes: usize) -> Option<Vec<(ContentHash, Bytes)>> {
    let body = shard.len().checked_sub(CHECKSUM)?;
    let (content, checksum) = shard.split_at_checked(body)?;
    let number = |range: std::ops::Range<usize>| -> Option<usize> {
        usize::try_from(u64::from_le_bytes(content.get(range)?.try_into().ok()?)).ok()
    };
    let (rows, length) = (number(8..16)?, number(16..24)?);
    let expected = rows.checked_mul(32usize.checked_add(row_bytes)?)?.checked_add(HEADER)?;
    let whole = content.starts_with(MAGIC) && length == row_bytes && content.len() == expected;
    if !whole || blake3::hash(content).as_bytes() != checksum {
        return None;
    }
    let keys = content.get(HEADER..HEADER + rows * 32)?;
    let start = HEADER + rows * 32;
    let row = |index: usize| shard.slice(start + index * row_bytes..start + (index + 1) * row_bytes);
    Some(keys.as_chunks::<32>().0.iter().enumerate().map(|(index, key)| (*key, row(index))).collect())
}

fn open_shards(folder: &Path, row_bytes: usize) -> HashMap<ContentHash, Bytes> {
    let shards = shard_paths(folder);
    // The folder's own time says when the store was last used; failing to set it costs only the order of trimming.
    let _ = std::fs::File::open(folder).and_then(|folder| folder.set_modified(regraft_system::clock::now()));
    let rows = shards.iter().filter_map(|path| decode_shard(&files::map(path).ok()?, row_bytes));
    rows.flatten().collect()
}

fn shard_paths(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut shards: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "shard")).collect();
    shards.sort();
    shards
}

fn summary(folder: &Path) -> Option<StoreSummary> {
    let info: StoreInfo = serde_json::from_slice(&files::read(&folder.join("store.json")).ok()?).ok()?;
    let sizes =
        shard_paths(folder).iter().filter_map(|path| Some(path.metadata().ok()?.len())).collect::<Vec<_>>();
    let overhead = (HEADER + CHECKSUM) as u64;
    let rows = sizes.iter().map(|size| size.saturating_sub(overhead) / (32 + info.row_bytes as u64)).sum();
    let modified = folder.metadata().and_then(|metadata| metadata.modified()).ok()?;
    let last_used = modified.duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let name = folder.file_name()?.to_string_lossy().into_owned();
    Some(StoreSummary { name, info, rows, bytes: sizes.iter().sum(), last_used })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> StoreInfo {
        StoreInfo { kind: "features".into(), description: "a test".into(), row_bytes: 4 }
    }

    fn filled(root: &Path) -> PathBuf {
        let store = Cache::at(root).store(&KeyHasher::new(), info());
        store.put([1; 32], vec![1, 2, 3, 4]).unwrap();
        store.put([2; 32], vec![5, 6, 7, 8]).unwrap();
        store.flush().unwrap();
        shard_paths(store.folder.as_deref().unwrap()).remove(0)
    }

    #[test]
    fn rows_survive_and_are_found_by_content() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path());
        let store = Cache::at(root.path()).store(&KeyHasher::new(), info());
        assert_eq!(store.get(&[2; 32]).unwrap()[..], [5, 6, 7, 8]);
        assert!(store.get(&[3; 32]).is_none());
        let other = Cache::at(root.path()).store(&KeyHasher::new().field("weights", "other"), info());
        assert!(other.get(&[2; 32]).is_none());
    }

    #[test]
    fn a_damaged_shard_counts_as_absent() {
        let root = tempfile::tempdir().unwrap();
        let shard = filled(root.path());
        let whole = files::read(&shard).unwrap();
        for cut in 0..whole.len() {
            assert!(decode_shard(&Bytes::copy_from_slice(&whole[..cut]), 4).is_none(), "cut to {cut} bytes");
            let mut flipped = whole.clone();
            flipped[cut] ^= 1;
            assert!(decode_shard(&flipped.into(), 4).is_none(), "bit flipped at {cut}");
        }
        assert!(decode_shard(&whole.into(), 8).is_none());
    }

    #[test]
    fn trimming_removes_the_least_recently_used_first() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        filled(root.path());
        assert_eq!(cache.list().unwrap().len(), 1);
        assert_eq!(cache.list().unwrap()[0].rows, 2);
        assert!(cache.trim(1 << 20).unwrap().is_empty());
        assert_eq!(cache.trim(0).unwrap().len(), 1);
        assert!(cache.list().unwrap().is_empty());
    }

    #[test]
    fn a_disabled_cache_forgets() {
        let store = Cache::disabled().store(&KeyHasher::new(), info());
        store.put([1; 32], vec![0; 4]).unwrap();
        store.flush().unwrap();
        assert!(store.get(&[1; 32]).is_none());
    }
}
