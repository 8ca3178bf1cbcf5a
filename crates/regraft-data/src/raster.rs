//! Pixels in memory: 8-bit RGB, rows from the top, no padding.

/// An image of 8-bit RGB pixels.
///
/// Invariant: `pixels` holds `3 × width × height` bytes, red first, row by row from the top; neither side is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    transparent: bool,
}

impl RgbImage {
    /// Wraps pixels. `None` if a side is zero or the number of bytes is not `3 × width × height`.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Option<Self> {
        let bytes = width.checked_mul(height)?.checked_mul(3)?;
        (bytes > 0 && bytes == pixels.len()).then_some(Self { width, height, pixels, transparent: false })
    }

    /// The same pixels, remembering whether some of them hid their colour behind transparency in the file.
    #[must_use]
    pub fn with_transparency(self, transparent: bool) -> Self {
        Self { transparent, ..self }
    }

    /// Whether some pixels show a colour that the file hid behind transparency.
    pub fn is_transparent(&self) -> bool {
        self.transparent
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All bytes, `height × width × 3`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The rows from the top, each of `3 × width` bytes.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.pixels.chunks_exact(3 * self.width)
    }

    /// Gives the bytes back.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}
