//! Text for XML and HTML: escaping, shortening, and an estimate of how wide it will be.

/// Escapes text for element content and for double-quoted attributes of HTML and XML.
///
/// Control characters that XML 1.0 forbids (section 2.2) become U+FFFD, so that any file name gives valid XML.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other if is_xml_character(other) => escaped.push(other),
            _ => escaped.push('\u{fffd}'),
        }
    }
    escaped
}

fn is_xml_character(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && !('\u{7f}'..='\u{9f}').contains(&character)
}

/// A user's name inside a sentence or a table: escaped, and isolated from the direction of the text around it,
/// so that a right-to-left name or an override character cannot reorder the numbers beside it. Nothing stays nothing.
pub(crate) fn name(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<bdi>{}</bdi>", escape(text)) }
}

/// A sentence that holds a user's names and cannot isolate them: the characters that would reorder the words behind
/// them (Unicode Standard Annex #9, explicit formatting) become U+FFFD.
pub(crate) fn without_reordering(text: &str) -> String {
    let reorders = |character| matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|character| if reorders(character) { '\u{fffd}' } else { character }).collect()
}

/// The first characters of `text`, with an ellipsis where something was left out; `limit` is at least 1.
pub(crate) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// Estimated width of `text` in a sans-serif face of the given size, in the unit of `size`.
///
/// Without font metrics a rule must do: 0.56 em for a letter of an alphabet, 1 em from the CJK blocks upwards.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().map(|character| if character < '\u{2e80}' { 0.56 } else { 1.0 }).sum::<f64>() * size
}

/// Shortens `text` until its estimated width fits.
pub(crate) fn fit_width(text: &str, size: f64, width: f64) -> String {
    // No character is narrower than 0.56 em, so more than this cannot fit, however long the text is.
    let most = (width / (0.56 * size)).max(1.0).ceil() as usize;
    let mut limit = text.chars().take(most + 1).count().max(1);
    while limit > 1 && text_width(&shorten(text, limit), size) > width {
        limit -= 1;
    }
    shorten(text, limit)
}

/// Shortens `text` in front instead of behind: names of neighbouring wires differ at their end.
pub(crate) fn keep_end(text: &str, shorten: impl Fn(&str) -> String) -> String {
    let reversed = |text: &str| text.chars().rev().collect::<String>();
    reversed(&shorten(&reversed(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_names_is_neutral() {
        assert_eq!(escape(r#"<b a="1">&'"#), "&lt;b a=&quot;1&quot;&gt;&amp;&#39;");
    }

    #[test]
    fn characters_that_xml_forbids_are_replaced() {
        assert_eq!(escape("a\0b\u{1b}c\u{ffff}d\u{85}e\tf"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e\tf");
        assert_eq!(escape("Käse 猫 🦊"), "Käse 猫 🦊");
    }

    #[test]
    fn a_name_cannot_reorder_the_sentence_behind_it() {
        assert_eq!(without_reordering("cut \u{202e}cba\u{2066}, שלום"), "cut \u{fffd}cba\u{fffd}, שלום");
    }

    #[test]
    fn shortening_counts_characters_not_bytes() {
        assert_eq!(shorten("猫猫猫猫", 4), "猫猫猫猫");
        assert_eq!(shorten("猫猫猫猫", 3), "猫猫…");
        assert_eq!(keep_end("blocks.12.add", |text| shorten(text, 7)), "…12.add");
        assert_eq!(fit_width("abcdefgh", 10.0, 28.1), "abcd…");
        assert_eq!(fit_width("", 10.0, 28.0), "");
        assert_eq!(fit_width("long", 10.0, 0.0), "…");
    }
}
