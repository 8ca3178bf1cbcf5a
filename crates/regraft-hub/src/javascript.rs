//! Data files that were wrapped into JavaScript modules, as some npm packages publish models for browsers.
//!
//! What such a module exports is a literal: a string of base64, which is a binary file, or an object, which is JSON in
//! JavaScript's shorter spelling (`{a:.5,b:!0}`). The literal is read and nothing is run; a module that computes what it
//! exports is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

/// Nesting beyond that of any model.
const DEEPEST: usize = 128;

/// The file that a module exports, and whether it is JSON; `None` if it exports anything but one literal.
pub(crate) fn exported(module: &str) -> Option<(Vec<u8>, bool)> {
    // The bundler's own code exports the answer of a function.
    let mut literals = module.split(".exports=").skip(1).filter(|rest| rest.starts_with(['{', '"', '\'']));
    let (Some(rest), None) = (literals.next(), literals.next()) else { return None };
    let mut reader = Reader { rest };
    let value = reader.value(0)?;
    if reader.peek().is_some_and(|next| !"};,\n".contains(next)) {
        return None;
    }
    match value {
        Value::String(text) => Some((STANDARD.decode(text).ok()?, false)),
        value => Some((serde_json::to_vec(&value).ok()?, true)),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            '{' => self.object(depth),
            '[' => self.array(depth),
            '"' | '\'' => self.string().map(Value::String),
            '!' if self.take("!0").is_some() => Some(Value::Bool(true)),
            '!' => self.take("!1").map(|()| Value::Bool(false)),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.take("{")?;
        let mut object = Map::new();
        while self.take("}").is_none() {
            if !object.is_empty() {
                self.take(",")?;
            }
            let key = match self.peek()? {
                '"' | '\'' => self.string()?,
                _ => self
                    .while_true(|character| character.is_ascii_alphanumeric() || "_$".contains(character))?
                    .to_owned(),
            };
            self.take(":")?;
            object.insert(key, self.value(depth + 1)?);
        }
        Some(Value::Object(object))
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        self.take("[")?;
        let mut array = Vec::new();
        while self.take("]").is_none() {
            if !array.is_empty() {
                self.take(",")?;
            }
            array.push(self.value(depth + 1)?);
        }
        Some(Value::Array(array))
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Option<Value> {
        match self.while_true(|character| character.is_ascii_alphanumeric() || "+-.".contains(character))? {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            word => number(word),
        }
    }

    /// Text between quotes. The only escapes are those that stand for the character itself: what needs others is no file
    /// of a model.
    fn string(&mut self) -> Option<String> {
        let quote = self.peek()?;
        let (mut text, mut is_escaped) = (String::new(), false);
        for (index, character) in self.rest.char_indices().skip(1) {
            match character {
                _ if is_escaped && character.is_ascii_alphanumeric() => return None,
                '\\' if !is_escaped => is_escaped = true,
                _ if character == quote && !is_escaped => {
                    self.rest = self.rest.get(index + 1..)?;
                    return Some(text);
                }
                _ => {
                    text.push(character);
                    is_escaped = false;
                }
            }
        }
        None
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    /// The longest beginning of such characters, which must not be empty.
    fn while_true(&mut self, belongs: impl Fn(char) -> bool) -> Option<&'a str> {
        let end = self.rest.find(|character| !belongs(character)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).filter(|(word, _)| !word.is_empty())?;
        self.rest = rest;
        Some(word)
    }
}

/// JavaScript leaves out a zero before the point.
fn number(word: &str) -> Option<Value> {
    let (sign, digits) = word.strip_prefix('-').map_or(("", word), |digits| ("-", digits));
    let zero = if digits.starts_with('.') { "0" } else { "" };
    let number: Number = serde_json::from_str(&format!("{sign}{zero}{digits}")).ok()?;
    Some(Value::Number(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_becomes_json() {
        let module = r#"!function(e){var t={exports:{}}}({1:[function(e,a,n){a.exports={a:.5,b:!0,"c-d":[-.25,1e-5,null,!1,[]],e:{},f:'it\'s',g:7}},{}]},{},[1]);"#;
        let (json, is_json) = exported(module).unwrap();
        let expected = serde_json::json!({ "a": 0.5, "b": true, "c-d": [-0.25, 1e-5, null, false, []], "e": {}, "f": "it's", "g": 7 });
        assert_eq!((serde_json::from_slice::<Value>(&json).unwrap(), is_json), (expected, true));
    }

    #[test]
    fn a_string_becomes_the_bytes_that_it_stands_for() {
        assert_eq!(exported("x.exports=\"AAEC/w==\"},{}]"), Some((vec![0, 1, 2, 255], false)));
    }

    #[test]
    fn what_would_have_to_be_run_is_refused() {
        let deep = format!("a.exports={{a:{}", "[".repeat(100_000));
        for module in [
            "",
            "a.exports=f()",
            "a.exports={a:f()}",
            "a.exports={a:1",
            "a.exports={a:1+1}",
            "a.exports={...b}",
            "a.exports=\"no base64\"",
            "a.exports=\"AAEC",
            "a.exports={a:\"\\u0041\"}",
            "a.exports={a:0x10}",
            "a.exports={a:1,,}",
            "a.exports=\"AAEC\"+f()",
            "a.exports=\"AAEC\".b",
            "a.exports={a:1}.a",
            "a.exports=\"AAEC\";a.exports=\"AAEC\"",
            "a.exports=7",
            &deep,
        ] {
            assert_eq!(exported(module), None, "{}", module.get(..40).unwrap_or(module));
        }
    }
}
