//! The pieces of an argument's text, without the ways in which the same is written differently.

/// A piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name, of a constant or a member.
    Word(String),
    /// Digits, and the letters in a number that is no decimal.
    Number(String),
    /// The bytes of a string, whichever way they were escaped.
    Bytes(Vec<u8>),
    /// Anything else.
    Sign(char),
}

/// What tracer marks that it has read at the call's end; strace reads all at its beginning.
const LATE: &str = "@exit";

/// Splits a text; spaces outside of strings do not count.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix(LATE) {
            rest = behind;
            continue;
        }
        let behind = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = match c {
            '"' => {
                let (bytes, rest) = string(behind);
                tokens.push(Token::Bytes(bytes));
                rest
            }
            '\\' => {
                let mut bytes = Vec::new();
                let rest = escape(behind, &mut bytes);
                tokens.push(Token::Bytes(bytes));
                rest
            }
            _ if c.is_ascii_alphanumeric() || c == '_' => {
                let is_in = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = rest.find(|c| !is_in(c)).unwrap_or(rest.len());
                let (word, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
                tokens.push(if c.is_ascii_digit() {
                    Token::Number(word.to_owned())
                } else {
                    Token::Word(word.to_owned())
                });
                rest
            }
            _ if c.is_ascii() => {
                if !c.is_ascii_whitespace() {
                    tokens.push(Token::Sign(c));
                }
                behind
            }
            _ => {
                // strace escapes what is outside of ASCII byte by byte.
                let mut bytes = [0; 4];
                let bytes = c.encode_utf8(&mut bytes).bytes();
                tokens.extend(bytes.map(|byte| Token::Bytes(vec![byte])));
                behind
            }
        };
    }
    tokens
}

/// The bytes up to the closing quote, and what is behind it.
fn string(text: &str) -> (Vec<u8>, &str) {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let behind = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = match c {
            '"' => return (bytes, behind),
            '\\' => escape(behind, &mut bytes),
            _ => {
                bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
                behind
            }
        };
    }
    (bytes, rest)
}

/// Appends what an escape means, and returns what is behind it.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> &'a str {
    let Some(c) = text.chars().next() else { return text };
    let behind = text.get(c.len_utf8()..).unwrap_or_default();
    let digits = |text: &'a str, most: usize, radix: u32| {
        let end = text.find(|c: char| !c.is_digit(radix)).unwrap_or(text.len()).min(most);
        text.split_at_checked(end).filter(|(digits, _)| !digits.is_empty())
    };
    let simple = match c {
        'n' => b'\n',
        't' => b'\t',
        'r' => b'\r',
        'v' => 0x0b,
        'f' => 0x0c,
        '0'..='7' => {
            let Some((number, rest)) = digits(text, 3, 8) else { return behind };
            let number = u16::from_str_radix(number, 8).unwrap_or_default();
            bytes.push(number.to_le_bytes()[0]);
            return rest;
        }
        'x' => {
            let Some((number, rest)) = digits(behind, 2, 16) else { return behind };
            bytes.push(u8::from_str_radix(number, 16).unwrap_or_default());
            return rest;
        }
        'u' if behind.starts_with('{') => {
            let code = behind.get(1..).and_then(|it| it.split_once('}'));
            let Some((code, rest)) = code else { return behind };
            let c = u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
            bytes.extend(c.unwrap_or_default().encode_utf8(&mut [0; 4]).bytes());
            return rest;
        }
        _ => {
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            return behind;
        }
    };
    bytes.push(simple);
    behind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_the_same() {
        let same = |a: &str, b: &str| assert_eq!(tokens(a), tokens(b));
        same(r#""a\0\177\n\v""#, r#""a\x00\x7f\n\x0b""#);
        same(r#""\303\251""#, "\"é\"");
        same(r"3</\303\251>", "3</é>");
        same(r#""\342\200\256""#, r#""\u{202e}""#);
        same("{a=1,b=2}", "{a=1, b=2}");
        same(r#"["a"]"#, r#"["a"@exit]"#);
    }

    #[test]
    fn what_is_different_stays_so() {
        let different = |a: &str, b: &str| assert_ne!(tokens(a), tokens(b));
        different("\"1\"", "1");
        different("0x10", "16");
        different(r#""a@exit""#, r#""a""#);
        different("\"ab\"", "\"ab\"...");
        different("1 2", "12");
        different(r#""\1""#, r#""1""#);
        different("0x7ffc12345678", "0x7ffc12345679");
    }

    #[test]
    fn unfinished_strings_and_escapes_end() {
        for text in
            ["\"abc", "\"a\\", "\\", "\\x", "\"\\x", "\"\\u{", "\\u{110000}", "\\777", "\\é"]
        {
            assert!(!tokens(text).is_empty() || text == "\\", "{text}");
        }
    }
}
