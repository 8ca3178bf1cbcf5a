//! Small pictures inside the page, as `data:` addresses (RFC 2397) in base64 (RFC 4648, section 4).

/// The `data:` address of a PNG file's bytes, ready for [`Mistake::thumbnail`](crate::record::Mistake::thumbnail).
pub fn png_data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64(png))
}

/// The address that may be put into the page, or `None` when `text` is anything but an embedded raster picture:
/// a record can come from elsewhere, and a foreign address would call the network.
pub(crate) fn embedded(text: &str) -> Option<String> {
    const KINDS: [&str; 4] = ["png", "jpeg", "webp", "gif"];
    let Some(address) = text.strip_prefix("data:image/") else {
        return is_base64(text).then(|| format!("data:image/png;base64,{text}"));
    };
    let (kind, content) = address.split_once(";base64,")?;
    (KINDS.contains(&kind) && is_base64(content)).then(|| text.to_owned())
}

fn is_base64(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}

fn base64(bytes: &[u8]) -> String {
    bytes.chunks(3).flat_map(quartet).collect()
}

/// Three bytes (or the last one or two) as four letters.
fn quartet(chunk: &[u8]) -> [char; 4] {
    let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
    let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    [18, 12, 6, 0].map(|shift| (shift, letter(bits >> shift & 63))).map(|(shift, letter)| {
        let holds_data = 18 - shift <= chunk.len() as u32 * 6;
        if holds_data { letter } else { '=' }
    })
}

fn letter(six_bits: u32) -> char {
    let byte = match six_bits as u8 {
        value @ 0..26 => b'A' + value,
        value @ 26..52 => b'a' + value - 26,
        value @ 52..62 => b'0' + value - 52,
        62 => b'+',
        _ => b'/',
    };
    char::from(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_equals_the_test_vectors_of_rfc_4648() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (text, expected) in vectors {
            assert_eq!(base64(text.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn only_embedded_raster_pictures_pass() {
        assert_eq!(embedded("Zm9v").as_deref(), Some("data:image/png;base64,Zm9v"));
        assert!(embedded(&png_data_uri(b"foo")).is_some());
        assert!(embedded("data:image/jpeg;base64,Zm9v").is_some());
        for refused in [
            "",
            "https://example.org/a.png",
            "data:image/svg+xml;base64,Zm9v",
            "data:text/html;base64,Zm9v",
            "data:image/png;base64,Zm9v\" onerror=\"x",
            "data:image/png,plain",
        ] {
            assert_eq!(embedded(refused), None, "{refused}");
        }
    }
}
