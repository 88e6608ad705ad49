//! Bytes of traced programs for a person's terminal and for JSON: never raw, never trusted to be
//! UTF-8, and different bytes always look different.

use crate::span_record::push_hex;

/// Appends `bytes` so that no terminal acts on them: control, format and direction characters and
/// whatever is not UTF-8 become escapes, as do quotation marks and backslashes.
pub(crate) fn push_visible(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.extend(b"\\n"),
                '\t' => out.extend(b"\\t"),
                '\r' => out.extend(b"\\r"),
                '"' => out.extend(b"\\\""),
                '\\' => out.extend(b"\\\\"),
                c if c.is_ascii() && !c.is_ascii_control() => out.push(c as u8),
                c if c.is_ascii() => push_byte_escape(out, c as u8),
                c if is_unsafe(c) => out.extend(format!("\\u{{{:x}}}", c as u32).bytes()),
                c => push_char(out, c),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_byte_escape(out, *byte));
    }
}

/// Appends `bytes` in quotation marks, as [`push_visible`] writes them.
pub(crate) fn push_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    push_visible(out, bytes);
    out.push(b'"');
}

/// Appends a JSON string. Bytes that are not UTF-8 are written as `\xNN`, and then a backslash is
/// written twice; returns whether that was so, for the text cannot tell.
pub(crate) fn push_json(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    out.push(b'"');
    let is_plain = bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e) && !b"\"\\".contains(byte));
    let escaped = !is_plain && std::str::from_utf8(bytes).is_err();
    if is_plain {
        out.extend_from_slice(bytes);
    } else {
        for chunk in bytes.utf8_chunks() {
            chunk.valid().chars().for_each(|c| push_json_char(out, c, escaped));
            for byte in chunk.invalid() {
                out.push(b'\\');
                push_byte_escape(out, *byte);
            }
        }
    }
    out.push(b'"');
    escaped
}

/// Appends bytes that are not UTF-8 as text: a byte that is no part of a character as `\xNN`, a
/// backslash twice.
pub(crate) fn push_utf8(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            if byte == b'\\' {
                out.push(b'\\');
            }
            out.push(byte);
        }
        chunk.invalid().iter().for_each(|byte| push_byte_escape(out, *byte));
    }
}

/// Bytes that [`push_utf8`] appends.
pub(crate) fn utf8_len(bytes: &[u8]) -> usize {
    let len = |chunk: std::str::Utf8Chunk<'_>| {
        let backslashes = chunk.valid().bytes().filter(|byte| *byte == b'\\').count();
        chunk.valid().len() + backslashes + 4 * chunk.invalid().len()
    };
    bytes.utf8_chunks().map(len).sum()
}

fn push_json_char(out: &mut Vec<u8>, c: char, double_backslash: bool) {
    match c {
        '"' => out.extend(b"\\\""),
        '\\' if double_backslash => out.extend(b"\\\\\\\\"),
        '\\' => out.extend(b"\\\\"),
        '\n' => out.extend(b"\\n"),
        '\t' => out.extend(b"\\t"),
        '\r' => out.extend(b"\\r"),
        // All of these are in the basic plane, so four digits do.
        c if c.is_control() || is_unsafe(c) => out.extend(format!("\\u{:04x}", c as u32).bytes()),
        c => push_char(out, c),
    }
}

fn push_byte_escape(out: &mut Vec<u8>, byte: u8) {
    out.extend(b"\\x");
    push_hex(out, &[byte]);
}

fn push_char(out: &mut Vec<u8>, c: char) {
    out.extend(c.encode_utf8(&mut [0; 4]).bytes());
}

/// Characters beyond ASCII that a terminal or a line reader may act on: C1 controls, line and
/// paragraph separators, marks that change the direction of text, invisible ones.
fn is_unsafe(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn visible(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        push_quoted(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    fn json(bytes: &[u8]) -> (String, bool) {
        let mut out = Vec::new();
        let escaped = push_json(&mut out, bytes);
        (String::from_utf8(out).unwrap(), escaped)
    }

    #[test]
    fn hostile_bytes_are_shown_not_obeyed() {
        assert_eq!(visible(b"/etc/hostname"), "\"/etc/hostname\"");
        assert_eq!(visible(b"\x1b]0;x\x07"), r#""\x1b]0;x\x07""#);
        assert_eq!(visible("a\u{202e}b\u{9b}é".as_bytes()), "\"a\\u{202e}b\\u{9b}é\"");
        assert_eq!(visible(b"\xff\n\"\\"), r#""\xff\n\"\\""#);
        assert_eq!(json(b"a\xffb\\").0, r#""a\\xffb\\\\""#);
        assert_eq!(json("\u{2028}".as_bytes()), (r#""\u2028""#.to_owned(), false));
    }

    /// Undoes the escaping of bytes that are not UTF-8.
    pub(crate) fn unescape(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            out.extend(rest[..at].bytes());
            if let Some(hex) = rest[at..].strip_prefix("\\x") {
                out.push(u8::from_str_radix(&hex[..2], 16).unwrap());
                rest = &hex[2..];
            } else {
                out.push(b'\\');
                rest = &rest[at + 2..];
            }
        }
        out.extend(rest.bytes());
        out
    }

    proptest! {
        #[test]
        fn json_comes_back_whole(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let (text, escaped) = json(&bytes);
            prop_assert!(!text.bytes().any(|byte| byte < 0x20 || byte == 0x7f));
            let parsed: String = serde_json::from_str(&text).unwrap();
            let back = if escaped { unescape(&parsed) } else { parsed.into_bytes() };
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn text_comes_back_whole(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut out = Vec::new();
            push_utf8(&mut out, &bytes);
            prop_assert_eq!(utf8_len(&bytes), out.len());
            prop_assert_eq!(unescape(std::str::from_utf8(&out).unwrap()), bytes);
        }

        #[test]
        fn what_is_visible_is_harmless_and_distinct(
            a in proptest::collection::vec(any::<u8>(), 0..12),
            b in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            let text = visible(&a);
            prop_assert!(!text.chars().any(|c| c.is_control() || is_unsafe(c)));
            prop_assert_eq!(a == b, text == visible(&b));
        }
    }
}
