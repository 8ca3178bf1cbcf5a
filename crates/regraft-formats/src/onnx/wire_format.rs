//! The file's outermost fields, looked at before any message is built.
//!
//! A message of two bytes becomes a structure of some 200: a file made of empty messages would take a hundred times its
//! size. So they are counted first, which skips over the weights, and a file whose messages are emptier than any real
//! one is refused. What is left takes at most 32 times the file's size, beside the weights, which stay in the file.

/// Where messages lie inside messages: the field of a graph, of its nodes, and so on.
struct Nested {
    field: u64,
    inside: &'static [Nested],
}

const fn leaf(field: u64) -> Nested {
    Nested { field, inside: &[] }
}

const TENSOR: &[Nested] = &[leaf(6), leaf(13)];
const ATTRIBUTE: &[Nested] = &[Nested { field: 5, inside: TENSOR }, leaf(9)];
const NODE: &[Nested] = &[leaf(1), leaf(2), Nested { field: 5, inside: ATTRIBUTE }];
const VALUE: &[Nested] = &[Nested { field: 2, inside: &[Nested { field: 1, inside: TENSOR_TYPE }] }];
const TENSOR_TYPE: &[Nested] = &[Nested { field: 2, inside: &[leaf(1)] }];
const GRAPH: &[Nested] = &[
    Nested { field: 1, inside: NODE },
    Nested { field: 5, inside: TENSOR },
    Nested { field: 11, inside: VALUE },
    Nested { field: 12, inside: VALUE },
    Nested { field: 13, inside: VALUE },
    leaf(15),
];
const FUNCTION: &[Nested] = &[leaf(4), leaf(5), leaf(6), Nested { field: 7, inside: NODE }, leaf(9)];
const MODEL: &[Nested] =
    &[Nested { field: 7, inside: GRAPH }, leaf(8), leaf(14), Nested { field: 25, inside: FUNCTION }];

/// Fewest bytes that a message or a text of a real file has on average, with those inside it.
const SMALLEST_AVERAGE: usize = 6;

/// Messages that any file may have.
const ALWAYS_FINE: usize = 100_000;

/// Checks that a file has no more messages than its size lets it have.
///
/// # Errors
/// It has, or its fields do not fit into each other.
pub(super) fn check(content: &[u8]) -> Result<(), String> {
    let mut left = ALWAYS_FINE.max(content.len() / SMALLEST_AVERAGE);
    walk(content, MODEL, &mut left)
}

fn walk(mut content: &[u8], inside: &[Nested], left: &mut usize) -> Result<(), String> {
    while !content.is_empty() {
        let field = field(&mut content).ok_or("a field ends behind the end of its message")?;
        let Field { number, bytes: Some(bytes) } = field else { continue };
        if let Some(nested) = inside.iter().find(|nested| nested.field == number) {
            *left = left.checked_sub(1).ok_or("it has more nodes and names than its size can hold")?;
            if !nested.inside.is_empty() {
                walk(bytes, nested.inside, left)?;
            }
        }
    }
    Ok(())
}

/// A field and, where it has a length, its bytes.
struct Field<'a> {
    number: u64,
    bytes: Option<&'a [u8]>,
}

fn field<'a>(content: &mut &'a [u8]) -> Option<Field<'a>> {
    let key = varint(content)?;
    let bytes = match key & 7 {
        0 => {
            varint(content)?;
            None
        }
        1 => {
            take(content, 8)?;
            None
        }
        2 => {
            let length = usize::try_from(varint(content)?).ok()?;
            Some(take(content, length)?)
        }
        5 => {
            take(content, 4)?;
            None
        }
        _ => return None,
    };
    Some(Field { number: key >> 3, bytes })
}

fn take<'a>(content: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = content.split_at_checked(length)?;
    *content = rest;
    Some(taken)
}

fn varint(content: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = content.split_first()?;
        *content = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Whether a file looks like an ONNX model: its first fields are a version of the format (field 1, a small number) and
/// one of those that follow it.
pub fn is_onnx(beginning: &[u8]) -> bool {
    let mut content = beginning;
    let version = matches!(content, [0x08, 3..=20, ..]) && field(&mut content).is_some();
    let next = varint(&mut content);
    // Producer, its version, domain, model version, documentation, graph, operators.
    version && matches!(next, Some(0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42))
}
