//! What the fuzz targets share.

mod readers;

/// Gives an input to the reader of that name.
pub fn read(name: &str, data: &[u8]) {
    let reader = readers::READERS.iter().find(|(known, _)| *known == name);
    reader.expect("a name of READERS").1(data);
}
