//! TensorBoard's event files: scalars as protocol-buffer messages in TFRecord frames.
//!
//! A frame is the length of its message, the masked CRC-32C of the length, the message, and the masked CRC-32C of the message
//! (TensorFlow, `lib/io/record_writer.cc`); messages are `tensorflow.Event` of `event.proto`.

use crc::{CRC_32_ISCSI, Crc};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// The frame that an event file begins with. `wall_time` is in seconds since 1970.
pub fn first_event(wall_time: f64) -> Vec<u8> {
    let file_version = Some("brain.Event:2".to_owned());
    frame(&Event { wall_time, step: 0, file_version, summary: None })
}

/// The frame of some named numbers at a step. `wall_time` is in seconds since 1970.
pub fn scalars_event<'a>(
    wall_time: f64,
    step: i64,
    scalars: impl IntoIterator<Item = (&'a str, f64)>,
) -> Vec<u8> {
    let scalar = |(tag, value): (&str, f64)| Scalar { tag: tag.to_owned(), simple_value: Some(value as f32) };
    let summary = Summary { value: scalars.into_iter().map(scalar).collect() };
    frame(&Event { wall_time, step, file_version: None, summary: Some(summary) })
}

fn frame(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    let parts: [&[u8]; 4] =
        [&length, &checksum(&length).to_le_bytes(), &message, &checksum(&message).to_le_bytes()];
    parts.concat()
}

/// CRC-32C, rotated and moved, so that the checksum of a file with checksums in it is no constant.
fn checksum(bytes: &[u8]) -> u32 {
    const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    const MASK: u32 = 0xa282_ead8;
    CASTAGNOLI.checksum(bytes).rotate_right(15).wrapping_add(MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_tensorboard() {
        // `tensorboard.summary.writer.record_writer.RecordWriter` with the same event.
        let expected = [
            24, 0, 0, 0, 0, 0, 0, 0, 163, 127, 75, 34, 9, 0, 0, 0, 0, 0, 0, 248, 63, 26, 13, 98, 114, 97,
            105, 110, 46, 69, 118, 101, 110, 116, 58, 50,
        ];
        assert_eq!(first_event(1.5).get(..36), Some(expected.as_slice()));
    }
}
