//! Pixels in memory: rows from the top, no padding, all channels of a pixel side by side.

/// An image of 8-bit RGB pixels, or of any other number of channels.
///
/// Invariant: there are `channels × width × height` samples, row by row from the top; none of the three is zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    width: usize,
    height: usize,
    channels: usize,
    samples: Samples,
    transparent: bool,
    file: Channels,
}

/// The numbers of an image.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// 0 … 255.
    Bytes(Vec<u8>),
    /// From samples of more than 8 bits, on a scale where what 8-bit samples can be is 0 … 255.
    Numbers(Vec<f32>),
}

/// The numbers of an image, to change but not to add to.
pub(crate) enum SamplesMut<'a> {
    Bytes(&'a mut [u8]),
    Numbers(&'a mut [f32]),
}

/// What the pixels of a file are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channels {
    /// How many there are.
    pub count: usize,
    /// Whether samples have more than 8 bits.
    pub deep: bool,
    /// Whether they are grey, or red, green and blue, perhaps with alpha, and not bands of some other meaning.
    pub visible: bool,
}

impl Channels {
    /// 8-bit red, green and blue.
    pub const RGB: Self = Self { count: 3, deep: false, visible: true };

    /// Grey, with or without alpha.
    pub fn is_grey(self) -> bool {
        self.visible && self.count <= 2
    }

    /// Red, green and blue, with or without alpha.
    pub fn is_colour(self) -> bool {
        self.visible && self.count > 2
    }

    /// `grey`, `grey with alpha`, `RGB`, `RGB with alpha`, `5 bands`.
    pub fn name(self) -> String {
        match (self.visible, self.count) {
            (true, 1) => "grey".to_owned(),
            (true, 2) => "grey with alpha".to_owned(),
            (true, 3) => "RGB".to_owned(),
            (true, _) => "RGB with alpha".to_owned(),
            (false, 1) => "1 band".to_owned(),
            (false, count) => format!("{count} bands"),
        }
    }
}

impl Image {
    /// Wraps bytes, red first. `None` if a side is zero or the number of bytes is not `3 × width × height`.
    pub fn rgb(width: usize, height: usize, pixels: Vec<u8>) -> Option<Self> {
        Self::new(width, height, 3, Samples::Bytes(pixels))
    }

    /// Wraps samples. `None` if there are not `channels × width × height`, or none.
    pub fn new(width: usize, height: usize, channels: usize, samples: Samples) -> Option<Self> {
        let file = Channels {
            count: channels,
            deep: matches!(samples, Samples::Numbers(_)),
            visible: channels <= 4,
        };
        let count = width.checked_mul(height)?.checked_mul(channels)?;
        let image = Self { width, height, channels, samples, transparent: false, file };
        (count > 0 && count == image.samples.len()).then_some(image)
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

    /// The same pixels, remembering what those of the file were made of.
    #[must_use]
    pub fn from_file(self, file: Channels) -> Self {
        Self { file, ..self }
    }

    /// What the pixels of the file were made of.
    pub fn file(&self) -> Channels {
        self.file
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Samples of a pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All samples, `height × width × channels`.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// All bytes, `height × width × channels`; none where samples have more than 8 bits.
    pub fn pixels(&self) -> &[u8] {
        match &self.samples {
            Samples::Bytes(bytes) => bytes,
            Samples::Numbers(_) => &[],
        }
    }

    /// The rows of bytes from the top.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.pixels().chunks_exact(self.channels * self.width)
    }

    /// All samples, to be changed in place.
    pub(crate) fn samples_mut(&mut self) -> SamplesMut<'_> {
        match &mut self.samples {
            Samples::Bytes(bytes) => SamplesMut::Bytes(bytes),
            Samples::Numbers(numbers) => SamplesMut::Numbers(numbers),
        }
    }

    /// Gives the samples back.
    pub fn into_samples(self) -> Samples {
        self.samples
    }

    /// The same image with other samples. `None` if they do not fit.
    pub(crate) fn with_samples(
        &self,
        (width, height): (usize, usize),
        channels: usize,
        samples: Samples,
    ) -> Option<Self> {
        let image = Self::new(width, height, channels, samples)?;
        Some(image.with_transparency(self.transparent).from_file(self.file))
    }
}

impl Samples {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }
}
