//! The models of `nsfwjs` as plain TensorFlow.js files.
//!
//! The package wraps each file in a small JavaScript module: `model.min.js` holds the `model.json` as an object literal,
//! `group1-shard1of2.min.js` a shard in base64. The literals are read as text; no script is run.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use regraft_system::files::{self, UnfinishedFolder};

/// What stands before the literal.
const EXPORT: &str = ".exports=";

/// Writes the model in the modules of `modules` as `model.json` and shards into the new folder `destination`.
///
/// # Errors
/// A module holds something else, or a file cannot be read or written.
pub(crate) fn unwrap(modules: &Path, destination: &Path) -> Result<()> {
    let unfinished = UnfinishedFolder::start(destination)?;
    for entry in std::fs::read_dir(modules)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix(".min.js") else { continue };
        let module = String::from_utf8(files::read(&modules.join(&name))?)?;
        let literal = exported(&module).with_context(|| format!("{name} exports nothing"))?;
        if stem == "model" {
            files::write_atomically(&unfinished.path().join("model.json"), json(literal)?.as_bytes())?;
        } else {
            let text = literal.strip_prefix('"').and_then(|text| text.split('"').next());
            let text = text.with_context(|| format!("{name} exports no text"))?;
            files::write_atomically(&unfinished.path().join(stem), &base64(text)?)?;
        }
    }
    Ok(unfinished.finish(destination)?)
}

/// The module's own export: the wrapper around it has the first.
fn exported(module: &str) -> Option<&str> {
    module.match_indices(EXPORT).last().and_then(|(place, _)| module.get(place + EXPORT.len()..))
}

/// An object literal of names, texts, numbers, `!0`, `!1` and `null` as JSON, up to its closing brace.
fn json(literal: &str) -> Result<String> {
    let (mut json, mut rest, mut depth) = (String::new(), literal, 0);
    while let Some(letter) = rest.chars().next() {
        let length = match letter {
            '"' => 2 + rest[1..].find('"').context("a text does not end")?,
            '!' => 2,
            letter if is_word(letter) => rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()),
            letter => letter.len_utf8(),
        };
        let (token, after) = rest.split_at_checked(length).context("the literal ends early")?;
        rest = after;
        match token {
            "{" | "[" => depth += 1,
            "}" | "]" => depth -= 1,
            _ => {}
        }
        json.push_str(&in_json(token, rest.starts_with(':'))?);
        if depth == 0 {
            return Ok(json);
        }
    }
    bail!("the literal does not end")
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || "_$.-".contains(letter)
}

fn in_json(token: &str, is_key: bool) -> Result<String> {
    Ok(match token {
        "{" | "}" | "[" | "]" | ":" | "," | "null" => token.to_owned(),
        "!0" => "true".to_owned(),
        "!1" => "false".to_owned(),
        text if text.starts_with('"') => {
            ensure!(!text.contains('\\'), "a text with escapes");
            text.to_owned()
        }
        key if is_key => format!("\"{key}\""),
        number => {
            let value: f64 = number.parse().with_context(|| format!("'{number}' in an object literal"))?;
            // A minifier writes 1000 as 1e3.
            if value.fract() == 0.0 && value.abs() < 1e15 {
                format!("{}", value as i64)
            } else {
                format!("{value:e}")
            }
        }
    })
}

fn base64(text: &str) -> Result<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let digit =
            ALPHABET.iter().position(|digit| *digit == letter).context("a letter that is not base64")?;
        bits = (bits << 6 | digit as u32) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_becomes_json() {
        let module = r#"function e(){module.exports=e()}({1:[function(a){a.exports={a:[.5,-1e-3,1e3,!0],b_c:{d:"x:y",e:null}}},{}]})"#;
        let json = json(exported(module).unwrap()).unwrap();
        assert_eq!(json, r#"{"a":[5e-1,-1e-3,1000,true],"b_c":{"d":"x:y","e":null}}"#);
    }

    #[test]
    fn decodes_base64() {
        assert_eq!(base64("TWFueQ==").unwrap(), b"Many");
    }
}
