//! Rust text without comments and the contents of literals, line by line as it was.

/// The code: comments and literals become spaces, line ends stay.
pub(super) fn only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = not_code(rest, code.ends_with(is_word));
        if len == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..len].chars().map(blank));
            rest = &rest[len..];
        }
    }
    code
}

/// The code without items that only tests have.
pub(super) fn without_tests(code: &str) -> String {
    const TEST: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(TEST) {
        let (before, item) = rest.split_at(start);
        let end = TEST.len() + item_len(&item[TEST.len()..]);
        out.push_str(before);
        out.extend(item[..end].chars().map(blank));
        rest = &item[end..];
    }
    out + rest
}

/// Whether the character can be part of a name.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank(c: char) -> char {
    if c == '\n' { '\n' } else { ' ' }
}

/// Up to the semicolon or the brace that ends the item.
fn item_len(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The length of the comment or literal that the text starts with, or 0.
fn not_code(text: &str, in_word: bool) -> usize {
    if text.starts_with("//") {
        text.find('\n').unwrap_or(text.len())
    } else if text.starts_with("/*") {
        block_comment_len(text)
    } else if text.starts_with('"') {
        string_len(text)
    } else if text.starts_with('\'') && !in_word {
        char_len(text)
    } else if in_word {
        0
    } else if text.starts_with("b'") {
        1 + char_len(&text[1..])
    } else {
        raw_string_len(text)
    }
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character, or 0 for a lifetime.
fn char_len(text: &str) -> usize {
    let mut chars = text[1..].char_indices();
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            chars.find(|&(_, c)| c == '\'').map_or(text.len(), |(at, _)| at + 2)
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 2,
            _ => 0,
        },
        None => 0,
    }
}

/// `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`; 0 for anything else, a raw name included.
fn raw_string_len(text: &str) -> usize {
    let body = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let Some(body) = body.strip_prefix('r') else { return 0 };
    let quoted = body.trim_start_matches('#');
    if !quoted.starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(body.len() - quoted.len()));
    let start = text.len() - quoted.len() + 1;
    text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code with runs of spaces made one.
    fn words(text: &str) -> String {
        only(text).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_go() {
        assert_eq!(words("a // unsafe {\nb /* x /* y */ z */ c"), "a b c");
        assert_eq!(
            words(r#"f("un\"safe", b"x", '"', '\'', b'\\', '\u{1F}') + g"#),
            "f( , b , , , , ) + g"
        );
        assert_eq!(words(r##"r"\" + r#"a"b"# + br"x" + c"y" + r#type"##), "+ + + c + r#type");
        assert_eq!(
            words("fn f<'a>(x: &'a str) -> &'static str {}"),
            "fn f<'a>(x: &'a str) -> &'static str {}"
        );
        assert_eq!(words("'é' + x"), "+ x");
    }

    #[test]
    fn unfinished_literals_end_with_the_text() {
        for text in ["\"x", "/* x", "r#\"x\"", "'\\", "'"] {
            assert_eq!(only(text).chars().count(), text.chars().count(), "{text}");
        }
    }

    #[test]
    fn lines_stay() {
        let text = "a\n/* x\ny */\n\"p\nq\"\nb";
        assert_eq!(only(text).lines().count(), text.lines().count());
        assert!(only(text).ends_with("\nb"));
    }

    #[test]
    fn tests_go() {
        let code = "use a;\n#[cfg(test)]\nmod tests { fn f() { b } }\nuse c;\n#[cfg(test)]\nuse d;\nuse e;";
        let kept: Vec<String> = without_tests(code).split_whitespace().map(str::to_owned).collect();
        assert_eq!(kept, ["use", "a;", "use", "c;", "use", "e;"]);
        assert_eq!(without_tests(code).lines().count(), code.lines().count());
    }
}
