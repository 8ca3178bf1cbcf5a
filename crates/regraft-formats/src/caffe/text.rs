//! The text format of protocol buffers (`.prototxt`, `.pbtxt`), read without knowing the messages.
//!
//! Permissive, because people write these files by hand and programs of many kinds read them: separators between
//! fields, either kind of brackets and quotes, strings in several pieces, lists, and any field name. Never more than
//! [`LARGEST_FILE`] bytes, [`MOST_FIELDS`] fields and [`DEEPEST`] levels.

use std::fmt;

use super::tree::{Message, Value};

/// Larger files are refused. A description of a thousand layers takes a third of a megabyte.
const LARGEST_FILE: usize = 16 << 20;

/// Fields of all messages together.
const MOST_FIELDS: usize = 1 << 19;

/// Messages inside of each other.
const DEEPEST: usize = 64;

/// A text that breaks the format's rules.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TextError {
    line: usize,
    message: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Reads a text.
///
/// # Errors
/// It breaks the format's rules or exceeds the limits above.
pub(crate) fn parse(text: &[u8]) -> Result<Message, TextError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut parser = Parser { rest: text, line: 1, fields: 0 };
    if text.len() > LARGEST_FILE {
        return Err(parser.error(format!("the text has more than {} MB", LARGEST_FILE >> 20)));
    }
    parser.message(None, 0)
}

/// The beginning of the first field: its name and the sign behind it.
pub(crate) fn first_field(text: &[u8]) -> Option<(String, u8)> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut parser = Parser { rest: text, line: 1, fields: 0 };
    let name = parser.name().ok()?;
    Some((name, parser.peek()?))
}

struct Parser<'a> {
    rest: &'a [u8],
    line: usize,
    fields: usize,
}

impl Parser<'_> {
    fn error(&self, message: impl Into<String>) -> TextError {
        TextError { line: self.line, message: message.into() }
    }

    fn unexpected(&mut self, expected: &str) -> TextError {
        let found = self.peek().map_or("the end of the text".to_owned(), |byte| match byte {
            b' '..=b'~' => format!("'{}'", char::from(byte)),
            _ => format!("the byte {byte:02x}"),
        });
        self.error(format!("expected {expected}, found {found}"))
    }

    fn advance(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line += usize::from(*first == b'\n');
        Some(*first)
    }

    /// The next byte that is neither space nor comment.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.rest.first()? {
                b'#' => {
                    let end = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
                    self.rest = self.rest.get(end..).unwrap_or_default();
                }
                byte if byte.is_ascii_whitespace() || byte == 0x0b => {
                    self.advance();
                }
                byte => return Some(byte),
            }
        }
    }

    fn accept(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.advance();
        }
        found
    }

    /// Fields up to the closing bracket, or to the end of the text where there is none.
    fn message(&mut self, close: Option<u8>, depth: usize) -> Result<Message, TextError> {
        if depth > DEEPEST {
            return Err(self.error(format!("more than {DEEPEST} messages inside of each other")));
        }
        let mut message = Message::default();
        loop {
            match (self.peek(), close) {
                (None, None) => return Ok(message),
                (Some(byte), Some(close)) if byte == close => {
                    self.advance();
                    return Ok(message);
                }
                _ => self.field(&mut message, depth)?,
            }
            while self.accept(b';') || self.accept(b',') {}
        }
    }

    fn field(&mut self, message: &mut Message, depth: usize) -> Result<(), TextError> {
        self.peek();
        let line = self.line;
        let name = self.name()?;
        let colon = self.accept(b':');
        match self.peek() {
            Some(b'[') if colon => self.list(message, &name, depth),
            Some(b'{' | b'<') => self.add(message, &name, line, depth),
            _ if colon => self.add(message, &name, line, depth),
            _ => Err(self.unexpected(&format!("':' or '{{' behind '{name}'"))),
        }
    }

    fn list(&mut self, message: &mut Message, name: &str, depth: usize) -> Result<(), TextError> {
        self.advance();
        while !self.accept(b']') {
            self.add(message, name, self.line, depth)?;
            if !self.accept(b',') && self.peek() != Some(b']') {
                return Err(self.unexpected("',' or ']'"));
            }
        }
        Ok(())
    }

    fn add(&mut self, message: &mut Message, name: &str, line: usize, depth: usize) -> Result<(), TextError> {
        self.fields += 1;
        if self.fields > MOST_FIELDS {
            return Err(self.error(format!("more than {MOST_FIELDS} fields")));
        }
        let value = self.value(depth)?;
        message.push(name.to_owned(), value, line);
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value, TextError> {
        let close = match self.peek() {
            Some(b'"' | b'\'') => return self.text(),
            Some(b'{') => b'}',
            Some(b'<') => b'>',
            _ => return self.scalar(),
        };
        self.advance();
        self.message(Some(close), depth + 1).map(Value::Message)
    }

    /// A field's name, or that of an extension in square brackets.
    fn name(&mut self) -> Result<String, TextError> {
        if self.accept(b'[') {
            let name = self.take(|byte| byte != b']' && byte != b'\n');
            return if self.accept(b']') { Ok(name) } else { Err(self.unexpected("']'")) };
        }
        match self.peek() {
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => Ok(self.take(is_name)),
            _ => Err(self.unexpected("a field's name")),
        }
    }

    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> String {
        let end = self.rest.iter().position(|byte| !belongs(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = rest;
        String::from_utf8_lossy(taken).into_owned()
    }

    fn scalar(&mut self) -> Result<Value, TextError> {
        let negative = self.accept(b'-');
        self.peek();
        let token = self.take(|byte| is_name(byte) || matches!(byte, b'.' | b'+' | b'-'));
        let sign = if negative { -1.0 } else { 1.0 };
        match (number(&token), token.as_bytes().first()) {
            (Some(number), _) => Ok(Value::Number(sign * number)),
            (None, Some(b'a'..=b'z' | b'A'..=b'Z' | b'_')) if !negative => Ok(Value::Word(token)),
            (None, Some(_)) => Err(self.error(format!("'{token}' is no number"))),
            (None, None) => Err(self.unexpected("a value")),
        }
    }

    /// Strings one after the other are one.
    fn text(&mut self) -> Result<Value, TextError> {
        let mut bytes = Vec::new();
        while let Some(quote @ (b'"' | b'\'')) = self.peek() {
            self.advance();
            self.quoted(quote, &mut bytes)?;
        }
        Ok(Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn quoted(&mut self, quote: u8, bytes: &mut Vec<u8>) -> Result<(), TextError> {
        loop {
            match self.advance() {
                Some(b'\n') | None => return Err(self.error("a string does not end")),
                Some(byte) if byte == quote => return Ok(()),
                Some(b'\\') => self.escape(bytes)?,
                Some(byte) => bytes.push(byte),
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), TextError> {
        let byte = match self.advance() {
            Some(b'a') => 0x07,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 0x0b,
            Some(byte @ (b'\\' | b'\'' | b'"' | b'?')) => byte,
            Some(first @ b'0'..=b'7') => self.digits(8, 2, u32::from(first - b'0')) as u8,
            Some(b'x' | b'X') => self.digits(16, 2, 0) as u8,
            Some(b'u') => return self.character(4, bytes),
            Some(b'U') => return self.character(8, bytes),
            _ => return Err(self.error("a backslash with nothing that it stands for")),
        };
        bytes.push(byte);
        Ok(())
    }

    fn character(&mut self, most: usize, bytes: &mut Vec<u8>) -> Result<(), TextError> {
        let code = self.digits(16, most, 0);
        let character = char::from_u32(code).ok_or_else(|| self.error("an escape that is no character"))?;
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// The number that up to `most` more digits continue.
    fn digits(&mut self, radix: u32, most: usize, start: u32) -> u32 {
        let mut number = start;
        for _ in 0..most {
            let digit = self.rest.first().and_then(|byte| char::from(*byte).to_digit(radix));
            let Some(digit) = digit else { break };
            number = number.wrapping_mul(radix).wrapping_add(digit);
            self.advance();
        }
        number
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A number without its sign: decimal, hexadecimal, octal, with an exponent, with the `f` of C, infinite or none.
fn number(token: &str) -> Option<f64> {
    let lower = token.to_ascii_lowercase();
    let integer = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(|number| number as f64);
    match lower.as_bytes() {
        b"inf" | b"infinity" => Some(f64::INFINITY),
        b"nan" => Some(f64::NAN),
        [b'0', b'x', ..] => integer(lower.get(2..)?, 16),
        [b'0', rest @ ..] if !rest.is_empty() && rest.iter().all(u8::is_ascii_digit) => integer(&lower, 8),
        // Rust reads words such as "infinity" as numbers too, so that the first sign decides.
        [b'0'..=b'9' | b'.' | b'+', ..] => {
            lower.strip_suffix('f').unwrap_or(&lower).parse().ok().filter(|number: &f64| number.is_finite())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Message {
        parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn every_way_to_write_a_field() {
        let text = "\u{feff}# a comment\n a: 1; b: [2, 3 , 4], c { d: 'x' } e < f: -1.5e1 > g: { h: TRAIN }\n\
                    i: [ { j: 1 } , < j: 2 > ] [pkg.ext] { k: true } l: [] # the end";
        let message = read(text);
        assert_eq!(message.count("a"), Ok(Some(1)));
        assert_eq!(message.counts("b"), Ok(vec![2, 3, 4]));
        assert_eq!(message.part("c").text("d"), Some("x"));
        assert_eq!(message.part("e").number("f"), Ok(Some(-15.0)));
        assert_eq!(message.part("g").text("h"), Some("TRAIN"));
        let parts: Vec<_> = message.parts("i").map(|part| part.count("j")).collect();
        assert_eq!(parts, [Ok(Some(1)), Ok(Some(2))]);
        assert_eq!(message.part("pkg.ext").flag("k", false), Ok(true));
        assert!(!message.has("l"));
        assert_eq!(read(&message.to_string()).to_string(), message.to_string());
    }

    #[test]
    fn every_kind_of_number() {
        let message =
            read("n: 0x1F n: 017 n: 1.5f n: .5 n: 1e-3 n: -inf n: 3. n: - 2 n: 1E2 n: Infinity n: 0");
        let expected = [31.0, 15.0, 1.5, 0.5, 1e-3, f64::NEG_INFINITY, 3.0, -2.0, 100.0, f64::INFINITY, 0.0];
        assert_eq!(message.numbers("n").unwrap(), expected);
        assert!(read("n: nan").number("n").unwrap().unwrap().is_nan());
        for text in ["n: 1.2.3", "n: 0x", "n: 09", "n: -word", "n: 1e999", "n: 1x"] {
            assert!(refused(text).contains("is no number"), "{text}");
        }
    }

    #[test]
    fn strings_with_escapes_in_pieces() {
        let message = read(
            r#"s: "a\tb" 'c"' # comment
            "\x41\102\u00e9\\\?" t: ''"#,
        );
        assert_eq!(message.text("s"), Some("a\tbc\"ABé\\?"));
        assert_eq!(message.text("t"), Some(""));
    }

    #[test]
    fn errors_name_the_line() {
        let cases = [
            ("a: 1\nb", "line 2: expected ':' or '{' behind 'b', found the end of the text"),
            ("a {\n b: 1\n", "line 3: expected a field's name, found the end of the text"),
            ("a: 1 }", "line 1: expected a field's name, found '}'"),
            ("a: 'x\n'", "a string does not end"),
            ("a: \"\\q\"", "a backslash with nothing"),
            ("a: '\\ud800'", "an escape that is no character"),
            ("a: [1 2]", "expected ',' or ']', found '2'"),
            ("a: ,", "expected a value, found ','"),
            ("a\0: 1", "found the byte 00"),
            ("{}", "expected a field's name, found '{'"),
        ];
        for (text, expected) in cases {
            assert!(refused(text).contains(expected), "{text}: {}", refused(text));
        }
        let message = read("\n\nsize: MAX size2: 1.5 size3: -1 flag: 7");
        assert_eq!(
            message.count("size").unwrap_err().to_string(),
            "line 3: 'size' should be a whole number from 0 on, found MAX"
        );
        assert!(message.count("size2").is_err() && message.count("size3").is_err());
        assert!(message.integer("size3").is_ok() && message.flag("flag", true).is_err());
    }

    #[test]
    fn nesting_and_size_are_limited() {
        let deep = |levels: usize| "a{".repeat(levels) + &"}".repeat(levels);
        assert!(parse(deep(DEEPEST).as_bytes()).is_ok());
        assert!(refused(&deep(DEEPEST + 1)).contains("inside of each other"));
        assert!(refused(&"a<".repeat(1_000_000)).contains("inside of each other"));
        assert!(refused(&"a:1 ".repeat(MOST_FIELDS + 1)).contains("fields"));
    }
}
