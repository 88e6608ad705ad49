//! Bounds of long texts in a footer: short, and true all the same.

/// Longest lower bound, in bytes; an upper one may have three more.
pub(super) const LONGEST: usize = 64;

/// A prefix that is no greater than the text, and short.
pub(super) fn lower_bound(text: &[u8]) -> &[u8] {
    let mut end = text.len().min(LONGEST);
    // Not inside of a character.
    while end < text.len() && text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A short text that is no less than this one: a prefix with its last character raised. `None`
/// where no character can be raised.
pub(super) fn upper_bound(text: &[u8]) -> Option<Vec<u8>> {
    let prefix = lower_bound(text);
    if prefix.len() == text.len() {
        return Some(prefix.to_vec());
    }
    let mut text = std::str::from_utf8(prefix).ok()?.to_owned();
    while let Some(last) = text.pop() {
        // Between the two lie the surrogates, which are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { raised(last) };
        if let Some(next) = next {
            text.push(next);
            return Some(text.into_bytes());
        }
    }
    None
}

fn raised(character: char) -> Option<char> {
    char::from_u32(u32::from(character) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bounds_hold(text in "\\PC{0,200}") {
            prop_assert!(lower_bound(text.as_bytes()) <= text.as_bytes());
            prop_assert!(lower_bound(text.as_bytes()).len() <= LONGEST);
            if let Some(bound) = upper_bound(text.as_bytes()) {
                prop_assert!(bound.as_slice() >= text.as_bytes());
                prop_assert!(bound.len() <= LONGEST + 3);
            }
        }
    }

    #[test]
    fn the_greatest_characters_have_no_bound() {
        let greatest = "\u{10ffff}".repeat(LONGEST);
        assert_eq!(upper_bound(greatest.as_bytes()), None);
        let text = format!("a{greatest}");
        assert_eq!(upper_bound(text.as_bytes()).unwrap(), b"b");
        let text = format!("{}{}", "a".repeat(LONGEST - 3), "\u{d7ff}".repeat(2));
        let bound = format!("{}\u{e000}", "a".repeat(LONGEST - 3));
        assert_eq!(upper_bound(text.as_bytes()).unwrap(), bound.as_bytes());
    }
}
