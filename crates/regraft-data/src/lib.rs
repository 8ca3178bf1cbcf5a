//! Image sources, splits, the data doctor, decoding and resizing.
