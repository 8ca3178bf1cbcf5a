//! The data doctor's summaries as rows of one length, for the cache.

use regraft_data::inspect::{Inspection, THUMBNAIL_BYTES, Thumbnail};
use regraft_data::raster::Channels;

/// Width, height, transparency, channels (their number, whether they are deep, whether a picture), hash of the pixels in hexadecimal digits, difference hash, thumbnail.
pub(crate) const ROW_BYTES: usize = 8 + 8 + 1 + 8 + 1 + 1 + HASH_DIGITS + 8 + THUMBNAIL_BYTES;
/// Names the order above; a change of it needs another name, so that old rows are not misread.
pub(crate) const LAYOUT: &str = "width height transparent channels pixel-hash difference-hash thumbnail";
const HASH_DIGITS: usize = 64;

/// A summary as a row.
pub(crate) fn encode(inspection: &Inspection) -> Vec<u8> {
    let mut row = Vec::with_capacity(ROW_BYTES);
    row.extend((inspection.width as u64).to_le_bytes());
    row.extend((inspection.height as u64).to_le_bytes());
    row.push(u8::from(inspection.transparent));
    let Channels { count, deep, visible } = inspection.channels;
    row.extend((count as u64).to_le_bytes());
    row.extend([u8::from(deep), u8::from(visible)]);
    row.extend(inspection.pixel_hash.as_bytes());
    row.extend(inspection.difference_hash.to_le_bytes());
    row.extend(inspection.thumbnail.0);
    row
}

/// A summary from a row; `None` if it is not one.
pub(crate) fn decode(row: &[u8]) -> Option<Inspection> {
    let (width, rest) = row.split_first_chunk()?;
    let (height, rest) = rest.split_first_chunk()?;
    let ([transparent], rest) = rest.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let ([deep, visible], rest) = rest.split_first_chunk()?;
    let (pixel_hash, rest) = rest.split_first_chunk::<HASH_DIGITS>()?;
    let (difference_hash, rest) = rest.split_first_chunk()?;
    Some(Inspection {
        width: usize::try_from(u64::from_le_bytes(*width)).ok()?,
        height: usize::try_from(u64::from_le_bytes(*height)).ok()?,
        transparent: *transparent != 0,
        channels: Channels {
            count: usize::try_from(u64::from_le_bytes(*count)).ok()?,
            deep: *deep != 0,
            visible: *visible != 0,
        },
        pixel_hash: str::from_utf8(pixel_hash).ok()?.to_owned(),
        difference_hash: u64::from_le_bytes(*difference_hash),
        thumbnail: Thumbnail(rest.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_survives_the_cache() {
        let inspection = Inspection {
            width: 640,
            height: 480,
            transparent: true,
            channels: Channels { count: 5, deep: true, visible: false },
            pixel_hash: "0123456789abcdef".repeat(4),
            difference_hash: 0xfeed_beef,
            thumbnail: Thumbnail(std::array::from_fn(|index| index as u8)),
        };
        let row = encode(&inspection);
        assert_eq!(row.len(), ROW_BYTES);
        assert_eq!(decode(&row), Some(inspection));
        assert_eq!(decode(&row[1..]), None);
    }
}
