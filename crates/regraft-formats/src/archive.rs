//! Zip archives, mapped: the container of PyTorch's `.pth` and of NumPy's `.npz`.
//!
//! A member that is stored as it is (every one that `torch.save` and `numpy.savez` write) is a view into the mapped
//! file. A compressed one is unpacked into memory, up to what its reader allows, whatever size it claims.

use std::io::{Cursor, Read as _};
use std::ops::Range;

use bytes::Bytes;
use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

/// An archive whose table of contents was read.
pub(crate) struct Archive {
    content: Bytes,
    zip: ZipArchive<Cursor<Bytes>>,
}

/// A member that is stored as it is.
pub(crate) struct Stored {
    /// Where it lies in the archive.
    pub(crate) range: Range<usize>,
    /// Its checksum; `None` where the writer computed none.
    pub(crate) crc32: Option<u32>,
}

impl Archive {
    pub(crate) fn open(content: Bytes) -> Result<Self, String> {
        // Where the table of contents begins is known, as nothing stands before an archive. The library's guess fails for one
        // whose first entry is as long as the two records behind the table, which PyTorch always writes.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let zip = ZipArchive::with_config(config, Cursor::new(content.clone()));
        Ok(Self { content, zip: zip.map_err(|error| error.to_string())? })
    }

    /// Names of the members in the order of the table of contents.
    pub(crate) fn names(&self) -> Vec<String> {
        self.zip.file_names().flatten().map(std::borrow::Cow::into_owned).collect()
    }

    /// Where a member lies; `None` where there is no such member, it is not stored as it is, or not inside the file.
    pub(crate) fn stored(&mut self, name: &str) -> Option<Stored> {
        let index = self.zip.index_for_name(name)?;
        let member = self.zip.by_index_raw(index).ok()?;
        let start = usize::try_from(member.data_start()?).ok()?;
        let end = start.checked_add(usize::try_from(member.size()).ok()?)?;
        let plain = member.compression() == CompressionMethod::Stored && !member.encrypted();
        let crc32 = Some(member.crc32()).filter(|crc32| *crc32 != 0);
        let stored = Stored { range: start..end, crc32 };
        (plain && member.size() == member.compressed_size() && end <= self.content.len()).then_some(stored)
    }

    /// The content of a member: a view where it is stored as it is, else at most `limit` bytes of memory.
    pub(crate) fn read(&mut self, name: &str, limit: u64) -> Result<Bytes, String> {
        if let Some(Stored { range, crc32 }) = self.stored(name) {
            let bytes = self.content.slice(range);
            return if matches(&bytes, crc32) { Ok(bytes) } else { Err(damaged(name)) };
        }
        let member = self.zip.by_name(name).map_err(|error| format!("the member '{name}': {error}"))?;
        let mut content = Vec::new();
        let read = member.take(limit.saturating_add(1)).read_to_end(&mut content);
        read.map_err(|error| format!("the member '{name}': {error}"))?;
        if content.len() as u64 > limit {
            return Err(format!("the member '{name}' unpacks to more than {limit} bytes"));
        }
        Ok(content.into())
    }
}

/// What a whole archive may unpack to: a few times its size. Deflate shrinks numbers to a half at best; a bomb to a
/// thousandth.
pub(crate) fn room(size: u64) -> u64 {
    size.saturating_mul(LARGEST_EXPANSION).max(HARMLESS)
}

/// A file whose parts unfold to more than this many times its size, and to more than [`HARMLESS`] bytes, is refused.
const LARGEST_EXPANSION: u64 = 8;

/// Any machine has this much memory to spare.
const HARMLESS: u64 = 256 << 20;

/// Whether the content has that checksum, if there is one.
pub(crate) fn matches(content: &[u8], crc32: Option<u32>) -> bool {
    crc32.is_none_or(|crc32| crc32fast::hash(content) == crc32)
}

pub(crate) fn damaged(name: &str) -> String {
    format!("the member '{name}' does not have its checksum")
}
