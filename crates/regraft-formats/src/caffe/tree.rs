//! Protocol buffer messages as a tree of named fields: what the text and the binary form of a message have in common.
//!
//! Readers of a format ask the tree for the fields that they know, by name and kind; what they do not know stays
//! unseen. So a file with a layer of somebody's own can be read as far as the other layers go.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

/// Fields in the order of the file. A field that may occur several times is there several times.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Message {
    fields: Vec<Field>,
}

/// A name and what it holds.
#[derive(Debug, Clone, PartialEq)]
struct Field {
    name: Cow<'static, str>,
    value: Value,
    /// Where it is in a text; 0 in a binary file.
    line: usize,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Any number; whole ones are exact up to 2⁵³.
    Number(f64),
    /// A word without quotes: `MAX`, `true`.
    Word(String),
    /// A text in quotes.
    Text(String),
    /// Fields in braces.
    Message(Message),
    /// Little-endian numbers, or bytes, of a binary file.
    Bytes(Bytes),
}

/// No whole number of a protocol buffer is larger in the formats that are read through this tree.
const LARGEST: f64 = i32::MAX as f64;

impl Message {
    /// Adds a field at the end.
    pub(crate) fn push(&mut self, name: impl Into<Cow<'static, str>>, value: Value, line: usize) {
        self.fields.push(Field { name: name.into(), value, line });
    }

    /// The same fields under the names that `name` gives them.
    pub(crate) fn renamed(&self, name: impl Fn(&str) -> Option<&'static str>) -> Self {
        let rename = |field: &Field| {
            let name = name(&field.name).map_or_else(|| field.name.clone(), Cow::Borrowed);
            Field { name, ..field.clone() }
        };
        Self { fields: self.fields.iter().map(rename).collect() }
    }

    /// Adds a message at the end, where it counts instead of one of that name before it.
    pub(crate) fn insert(&mut self, name: &'static str, message: Self) {
        self.push(name, Value::Message(message), 0);
    }

    /// The same fields and those of one name of another message.
    pub(crate) fn with(&self, other: &Self, name: &str) -> Self {
        Self { fields: self.fields.iter().chain(other.all(name)).cloned().collect() }
    }

    fn all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Field> {
        self.fields.iter().filter(move |field| field.name == name)
    }

    /// The last field of that name: that one counts where only one should be there.
    fn last(&self, name: &str) -> Option<&Field> {
        self.fields.iter().rev().find(|field| field.name == name)
    }

    /// Whether a field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    /// Messages of that name.
    pub(crate) fn parts<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Self> {
        self.all(name).filter_map(|field| match &field.value {
            Value::Message(message) => Some(message),
            _ => None,
        })
    }

    /// The message of that name, or one without fields.
    pub(crate) fn part<'a>(&'a self, name: &'a str) -> &'a Self {
        self.parts(name).next_back().unwrap_or(&EMPTY)
    }

    /// Bytes of that name.
    pub(crate) fn bytes(&self, name: &str) -> Option<&Bytes> {
        self.last(name).and_then(|field| match &field.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        })
    }

    /// All texts of that name; words count, as people forget quotes.
    pub(crate) fn texts<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.all(name).filter_map(|field| match &field.value {
            Value::Text(text) | Value::Word(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The text or word of that name.
    pub(crate) fn text<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.texts(name).next_back()
    }

    /// All numbers of that name.
    ///
    /// # Errors
    /// One is no number.
    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<f64>, FieldError> {
        self.all(name).map(Field::number).collect()
    }

    /// The number of that name.
    ///
    /// # Errors
    /// It is no number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, FieldError> {
        self.last(name).map(Field::number).transpose()
    }

    /// All whole numbers of that name, negative ones included.
    ///
    /// # Errors
    /// One is no whole number, or a larger one than 32 bits hold.
    pub(crate) fn integers(&self, name: &str) -> Result<Vec<i64>, FieldError> {
        self.all(name).map(Field::integer).collect()
    }

    /// The whole number of that name.
    ///
    /// # Errors
    /// It is no whole number, or a larger one than 32 bits hold.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, FieldError> {
        self.last(name).map(Field::integer).transpose()
    }

    /// All counts of that name: whole numbers from 0.
    ///
    /// # Errors
    /// One is no count.
    pub(crate) fn counts(&self, name: &str) -> Result<Vec<usize>, FieldError> {
        self.all(name).map(Field::count).collect()
    }

    /// The count of that name.
    ///
    /// # Errors
    /// It is no count.
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, FieldError> {
        self.last(name).map(Field::count).transpose()
    }

    /// Yes or no; `default` where the field is not there.
    ///
    /// # Errors
    /// It is neither.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, FieldError> {
        self.last(name).map_or(Ok(default), Field::flag)
    }
}

/// What a message without fields is.
static EMPTY: Message = Message { fields: Vec::new() };

impl Field {
    fn number(&self) -> Result<f64, FieldError> {
        match self.value {
            Value::Number(number) => Ok(number),
            _ => Err(self.wrong("a number")),
        }
    }

    fn integer(&self) -> Result<i64, FieldError> {
        let whole = self.number().ok().filter(|number| number.fract() == 0.0 && number.abs() <= LARGEST);
        whole.map(|number| number as i64).ok_or_else(|| self.wrong("a whole number of 32 bits"))
    }

    fn count(&self) -> Result<usize, FieldError> {
        let count = self.integer().ok().and_then(|number| usize::try_from(number).ok());
        count.ok_or_else(|| self.wrong("a whole number from 0 on"))
    }

    fn flag(&self) -> Result<bool, FieldError> {
        match &self.value {
            Value::Word(word) if matches!(word.as_str(), "true" | "True" | "t") => Ok(true),
            Value::Word(word) if matches!(word.as_str(), "false" | "False" | "f") => Ok(false),
            Value::Number(number) if *number == 1.0 => Ok(true),
            Value::Number(number) if *number == 0.0 => Ok(false),
            _ => Err(self.wrong("true or false")),
        }
    }

    fn wrong(&self, expected: &'static str) -> FieldError {
        FieldError { line: self.line, name: self.name.to_string(), expected, found: self.value.to_string() }
    }
}

/// A field that is not what it should be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldError {
    line: usize,
    name: String,
    expected: &'static str,
    found: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        write!(f, "'{}' should be {}, found {}", self.name, self.expected, self.found)
    }
}

/// Text format, in one line.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, field) in self.fields.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            let colon = if matches!(field.value, Value::Message(_)) { "" } else { ":" };
            match &*field.name {
                name if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
                    write!(f, "{gap}{name}{colon} {}", field.value)?;
                }
                extension => write!(f, "{gap}[{extension}]{colon} {}", field.value)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Message(message) => write!(f, "{{ {message} }}"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}
