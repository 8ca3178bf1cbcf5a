//! The binary form of protocol buffers, read by a table of the fields that are wanted into the tree that the text form
//! gives, too.
//!
//! Generated messages would need each of Caffe's three generations of layers as types of their own, and a conversion
//! between them; in a tree they differ in names only. Numbers of weights are not unpacked: a packed field is a view of
//! the file, and only what was written one by one, or in several pieces, is put together.

use bytes::Bytes;

use super::tree::{Message, Value};

/// The wanted fields of a message. Others are skipped.
pub(super) type Schema = [Entry];

/// A wanted field: its number, its name, and what it holds.
pub(super) struct Entry(pub(super) u32, pub(super) &'static str, pub(super) Kind);

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A whole number.
    Integer,
    /// Yes or no.
    Flag,
    /// A single-precision number.
    Float,
    /// A text.
    Text,
    /// One of some words, which have numbers.
    Enumeration(&'static [(u64, &'static str)]),
    /// A message.
    Message(&'static Schema),
    /// Any number of single-precision numbers, which stay bytes.
    Singles,
    /// Any number of double-precision numbers, which stay bytes.
    Doubles,
    /// Bytes.
    Raw,
}

/// Fields of all messages together. A field takes up to 80 bytes in memory and may have taken one in the file, so that
/// a file grows by less than 50 MB, and its layers by as much again.
const MOST_FIELDS: usize = 1 << 19;

/// Texts are names of layers and files.
const LONGEST_TEXT: usize = 1 << 12;

/// Reads a message.
///
/// # Errors
/// It is cut off, a field is of another kind than the table says, or there are too many.
pub(super) fn parse(content: Bytes, schema: &'static Schema) -> Result<Message, String> {
    let mut budget = MOST_FIELDS;
    parse_message(content, schema, &mut budget)
}

fn parse_message(content: Bytes, schema: &'static Schema, budget: &mut usize) -> Result<Message, String> {
    let mut message = Message::default();
    let mut arrays: Vec<(&'static str, Array)> = Vec::new();
    for field in Fields(content) {
        let (number, raw) = field?;
        let Some(&Entry(_, name, kind)) = schema.iter().find(|entry| entry.0 == number) else { continue };
        match kind {
            Kind::Singles | Kind::Doubles => {
                let width = if matches!(kind, Kind::Singles) { 4 } else { 8 };
                let bytes = raw.numbers(width).ok_or_else(|| wrong_kind(name))?;
                match arrays.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, array)) => array.append(&bytes),
                    None => arrays.push((name, Array::View(bytes))),
                }
            }
            kind => push(&mut message, name, kind, raw, budget)?,
        }
    }
    for (name, array) in arrays {
        message.push(name, Value::Bytes(array.finish()), 0);
    }
    Ok(message)
}

fn wrong_kind(name: &str) -> String {
    format!("the field '{name}' is not of its kind")
}

/// Adds a field, or each of the numbers that are packed in it.
fn push(
    message: &mut Message,
    name: &'static str,
    kind: Kind,
    raw: Raw,
    budget: &mut usize,
) -> Result<(), String> {
    let mut add = |value: Value, budget: &mut usize| {
        *budget = budget.checked_sub(1).ok_or_else(|| format!("more than {MOST_FIELDS} fields"))?;
        message.push(name, value, 0);
        Ok::<(), String>(())
    };
    match (kind, raw) {
        (Kind::Text, Raw::Bytes(bytes)) if bytes.len() > LONGEST_TEXT => {
            Err(format!("the text '{name}' has {} bytes", bytes.len()))
        }
        (Kind::Text, Raw::Bytes(bytes)) => {
            add(Value::Text(String::from_utf8_lossy(&bytes).into_owned()), budget)
        }
        (Kind::Raw, Raw::Bytes(bytes)) => add(Value::Bytes(bytes), budget),
        (Kind::Message(schema), Raw::Bytes(bytes)) => {
            let inner = parse_message(bytes, schema, budget)?;
            add(Value::Message(inner), budget)
        }
        (Kind::Float, Raw::Bytes(bytes)) => {
            let (numbers, rest) = bytes.as_chunks();
            let mut numbers = numbers.iter().map(|bytes| single(*bytes));
            if rest.is_empty() {
                numbers.try_for_each(|value| add(value, budget))
            } else {
                Err(wrong_kind(name))
            }
        }
        (Kind::Float, Raw::Four(bytes)) => add(single(bytes), budget),
        (Kind::Integer | Kind::Flag | Kind::Enumeration(_), Raw::Varint(number)) => {
            add(scalar(kind, number), budget)
        }
        (Kind::Integer | Kind::Flag | Kind::Enumeration(_), Raw::Bytes(mut bytes)) => {
            while !bytes.is_empty() {
                add(scalar(kind, varint(&mut bytes)?), budget)?;
            }
            Ok(())
        }
        _ => Err(wrong_kind(name)),
    }
}

/// The shortest decimal number that is this one in single precision: what the text form would hold.
fn single(bytes: [u8; 4]) -> Value {
    let number = f32::from_le_bytes(bytes);
    Value::Number(number.to_string().parse().unwrap_or(f64::from(number)))
}

fn scalar(kind: Kind, number: u64) -> Value {
    match kind {
        Kind::Flag => Value::Word((number != 0).to_string()),
        Kind::Enumeration(words) => match words.iter().find(|(known, _)| *known == number) {
            Some((_, word)) => Value::Word((*word).to_owned()),
            None => Value::Number(number as f64),
        },
        // Negative numbers are written as 64 bits in two's complement.
        _ => Value::Number(number.cast_signed() as f64),
    }
}

/// Numbers that are put together.
enum Array {
    View(Bytes),
    Copy(Vec<u8>),
}

impl Array {
    fn append(&mut self, more: &[u8]) {
        match self {
            Self::View(bytes) => *self = Self::Copy([bytes.as_ref(), more].concat()),
            Self::Copy(bytes) => bytes.extend_from_slice(more),
        }
    }

    fn finish(self) -> Bytes {
        match self {
            Self::View(bytes) => bytes,
            Self::Copy(bytes) => bytes.into(),
        }
    }
}

/// A field's content as it is stored.
pub(super) enum Raw {
    Varint(u64),
    Four([u8; 4]),
    Eight([u8; 8]),
    Bytes(Bytes),
}

impl Raw {
    /// Numbers of `width` bytes: packed, or one.
    fn numbers(self, width: usize) -> Option<Bytes> {
        let bytes = match self {
            Self::Bytes(bytes) => bytes,
            Self::Four(bytes) => Bytes::copy_from_slice(&bytes),
            Self::Eight(bytes) => Bytes::copy_from_slice(&bytes),
            Self::Varint(_) => return None,
        };
        Some(bytes).filter(|bytes| bytes.len().is_multiple_of(width))
    }
}

/// The fields of a message: numbers and contents. Ends behind the first error.
pub(super) struct Fields(pub(super) Bytes);

impl Fields {
    /// Number and kind of the next field, and the first byte of its content where that is bytes.
    pub(super) fn begins(&self) -> Option<(u32, u8, Option<u8>)> {
        let mut rest = self.0.clone();
        let key = varint(&mut rest).ok()?;
        let first =
            (key & 7 == 2).then(|| varint(&mut rest).ok()).flatten().and_then(|_| rest.first().copied());
        Some((u32::try_from(key >> 3).ok()?, (key & 7) as u8, first))
    }
}

impl Iterator for Fields {
    type Item = Result<(u32, Raw), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = field(&mut self.0);
        if field.is_err() {
            self.0.clear();
        }
        Some(field)
    }
}

fn field(content: &mut Bytes) -> Result<(u32, Raw), String> {
    let key = varint(content)?;
    let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0);
    let number = number.ok_or("a field without a number")?;
    let raw = match key & 7 {
        0 => Raw::Varint(varint(content)?),
        1 => Raw::Eight(fixed(content)?),
        2 => {
            let length = varint(content)?;
            let inside = usize::try_from(length).ok().filter(|length| *length <= content.len());
            let length = inside.ok_or_else(|| {
                format!("field {number} claims {length} bytes, {} are left of its message", content.len())
            })?;
            Raw::Bytes(content.split_to(length))
        }
        5 => Raw::Four(fixed(content)?),
        kind => return Err(format!("field {number} is of the unknown kind {kind}")),
    };
    Ok((number, raw))
}

fn fixed<const SIZE: usize>(content: &mut Bytes) -> Result<[u8; SIZE], String> {
    let bytes = *content.first_chunk().ok_or("a number is cut off")?;
    let _ = content.split_to(SIZE);
    Ok(bytes)
}

/// Seven bits a byte, the least significant ones first.
fn varint(content: &mut Bytes) -> Result<u64, String> {
    let mut number = 0u64;
    for (index, byte) in content.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f).wrapping_shl(7 * index as u32);
        if byte & 0x80 == 0 {
            let _ = content.split_to(index + 1);
            return Ok(number);
        }
    }
    Err("a number is cut off, or longer than 64 bits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    static INNER: [Entry; 2] =
        [Entry(1, "dim", Kind::Integer), Entry(2, "word", Kind::Enumeration(&[(3, "THREE")]))];
    static OUTER: [Entry; 6] = [
        Entry(1, "name", Kind::Text),
        Entry(2, "inner", Kind::Message(&INNER)),
        Entry(5, "data", Kind::Singles),
        Entry(8, "doubles", Kind::Doubles),
        Entry(16, "flag", Kind::Flag),
        Entry(17, "slope", Kind::Float),
    ];

    fn read(content: &[u8]) -> Result<Message, String> {
        parse(Bytes::copy_from_slice(content), &OUTER)
    }

    fn singles(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn fields_by_number_and_kind() {
        let mut content = vec![0x0a, 2, b'h', b'i', 0x18, 0x96, 0x01]; // name, and field 3, which is not wanted
        content.extend([0x12, 18, 0x0a, 3, 0xac, 0x02, 5, 0x08]); // dims 300 and 5 packed, then −1
        content.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x10, 3]);
        content.extend([0x80, 0x01, 1, 0x8d, 0x01]);
        content.extend(singles(&[0.5]));
        let message = read(&content).unwrap();
        assert_eq!(message.text("name"), Some("hi"));
        assert_eq!(message.part("inner").integers("dim"), Ok(vec![300, 5, -1]));
        assert_eq!(message.part("inner").text("word"), Some("THREE"));
        assert_eq!(message.flag("flag", false), Ok(true));
        assert_eq!(message.number("slope"), Ok(Some(0.5)));
        for length in (1..content.len()).filter(|length| ![4, 7, 27, 30].contains(length)) {
            assert!(read(&content[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn numbers_packed_in_pieces_and_one_by_one() {
        let values = singles(&[1.0, 2.0, 3.0]);
        let packed = [[0x2a, 12].as_slice(), &values].concat();
        let pieces =
            [[0x2a, 4].as_slice(), &values[..4], &[0x2d], &values[4..8], &[0x2a, 4], &values[8..]].concat();
        let single = values.chunks(4).flat_map(|bytes| [[0x2d].as_slice(), bytes].concat()).collect();
        for content in [packed.clone(), pieces, single] {
            assert_eq!(read(&content).unwrap().bytes("data").unwrap(), values.as_slice());
        }
        let content = Bytes::from(packed);
        let view = parse(content.clone(), &OUTER).unwrap();
        assert_eq!(view.bytes("data").unwrap().as_ptr(), content[2..].as_ptr());
        assert!(read(&[0x2a, 3, 0, 0, 0]).is_err());
        assert!(read(&[0x42, 4, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn lengths_and_kinds_are_checked() {
        let cases: [(&[u8], &str); 6] = [
            (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], "claims 4294967295 bytes"),
            (
                &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                "claims 18446744073709551615",
            ),
            (&[0x08, 1], "'name' is not of its kind"),
            (&[0x0b], "unknown kind 3"),
            (&[0x02, 0], "without a number"),
            (
                &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
                "longer than 64 bits",
            ),
        ];
        for (content, expected) in cases {
            assert!(read(content).unwrap_err().contains(expected), "{content:?}");
        }
        let long = [[0x0a, 0x81, 0x20].as_slice(), &[b'x'; LONGEST_TEXT + 1]].concat();
        assert!(read(&long).unwrap_err().contains("has 4097 bytes"));
        let many = [0x10, 3].repeat(MOST_FIELDS + 1);
        assert!(parse(many.into(), &INNER).unwrap_err().contains("more than"));
    }
}
