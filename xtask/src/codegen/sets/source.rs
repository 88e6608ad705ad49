//! Parses `sets.txt`, and finds the values of a set's constants.

use anyhow::{Context as _, Result, bail, ensure};

use super::constants::Constants;

/// One set of the file.
#[derive(Debug)]
pub(super) struct SetSource {
    pub(super) name: String,
    /// The comment on a value without a name.
    pub(super) unknown: String,
    tokens: Vec<Token>,
}

/// A word of a set's list.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Name { shown: String, of: String, optional: bool },
    Number { shown: String, value: u64 },
    Glob(String),
    Not(String),
}

/// The sets, in the file's order.
pub(super) fn parse(text: &str) -> Result<Vec<SetSource>> {
    let mut sets: Vec<SetSource> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = match (line.strip_prefix("  "), sets.last_mut()) {
            (Some(more), Some(set)) => tokens(more).map(|tokens| set.tokens.extend(tokens)),
            _ => head(line).map(|set| sets.push(set)),
        };
        parsed.with_context(|| format!("line {number}: `{line}`"))?;
    }
    for (at, set) in sets.iter().enumerate() {
        ensure!(sets[..at].iter().all(|other| other.name != set.name), "two sets `{}`", set.name);
    }
    Ok(sets)
}

fn head(line: &str) -> Result<SetSource> {
    let (head, list) = line.split_once(": ").context("no `: `")?;
    let mut words = head.split_whitespace();
    ensure!(matches!(words.next(), Some("flags" | "enum")), "neither `flags` nor `enum`");
    let (Some(name), Some(unknown), None) = (words.next(), words.next(), words.next()) else {
        bail!("a set has a name and a word for the unknown")
    };
    Ok(SetSource {
        name: name.to_owned(),
        unknown: match unknown {
            "-" => String::new(),
            whole if whole.contains('?') => whole.to_owned(),
            start => format!("{start}_???"),
        },
        tokens: tokens(list)?,
    })
}

fn tokens(list: &str) -> Result<Vec<Token>> {
    list.split_whitespace().map(token).collect()
}

fn token(word: &str) -> Result<Token> {
    if let Some(not) = word.strip_prefix('!') {
        return Ok(Token::Not(not.to_owned()));
    }
    if word.contains('*') {
        return Ok(Token::Glob(word.to_owned()));
    }
    let (word, optional) = match word.strip_suffix('?') {
        Some(word) => (word, true),
        None => (word, false),
    };
    let (shown, of) = word.split_once('=').unwrap_or((word, word));
    let shown = shown.replace('+', " or ");
    if let Some(digits) = of.strip_prefix("0x") {
        let value = u64::from_str_radix(digits, 16).context("no number")?;
        return Ok(Token::Number { shown, value });
    }
    Ok(Token::Name { shown, of: of.to_owned(), optional })
}

impl SetSource {
    /// Constants that every ABI must have.
    pub(super) fn required(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Name { of, optional: false, .. } => Some(of.as_str()),
            _ => None,
        })
    }

    /// Names and values in the order in which they are tried.
    pub(super) fn resolve(&self, constants: &Constants) -> Result<Vec<(String, u64)>> {
        let mut values: Vec<(String, u64)> = Vec::new();
        for token in &self.tokens {
            match token {
                Token::Not(_) => {}
                Token::Number { shown, value } => values.push((shown.clone(), *value)),
                Token::Glob(glob) => values.extend(self.expand(glob, constants)),
                Token::Name { shown, of, optional } => match constants.get(of) {
                    Some(value) => values.push((shown.clone(), *value)),
                    None if *optional => {}
                    None => bail!("no value of `{of}`: run `cargo xtask codegen --harvest`"),
                },
            }
        }
        let mut kept: Vec<(String, u64)> = Vec::new();
        for (name, value) in values {
            if !kept.iter().any(|(_, other)| *other == value) {
                kept.push((name, value));
            }
        }
        ensure!(!kept.is_empty(), "no constants");
        Ok(kept)
    }

    fn expand(&self, glob: &str, constants: &Constants) -> Vec<(String, u64)> {
        let mut found: Vec<(String, u64)> = constants
            .iter()
            .filter(|(name, _)| matches(glob, name) && !self.excludes(name))
            .map(|(name, value)| (name.clone(), *value))
            .collect();
        found.sort_by_key(|(_, value)| *value);
        found
    }

    fn excludes(&self, name: &str) -> bool {
        self.tokens.iter().any(|token| matches!(token, Token::Not(glob) if matches(glob, name)))
    }
}

/// Whether a name fits a pattern with at most one `*`.
fn matches(glob: &str, name: &str) -> bool {
    match glob.split_once('*') {
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
        None => glob == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constants() -> Constants {
        [("A_ONE", 1), ("A_TWO", 2), ("A_UNO", 1), ("A_MASK", 3), ("B", 8)]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    fn resolved(text: &str) -> String {
        let set = &parse(text).unwrap()[0];
        let values = set.resolve(&constants()).unwrap();
        let shown = values.iter().map(|(name, value)| format!("{name}={value}"));
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn words_are_resolved_in_their_order() {
        assert_eq!(resolved("flags x X: A_MASK A_*"), "A_MASK=3 A_ONE=1 A_TWO=2");
        assert_eq!(resolved("enum x X: A_* !A_MASK\n  C=B D=0x10 E?"), "A_ONE=1 A_TWO=2 C=8 D=16");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| format!("{:#}", parse(text).unwrap_err());
        assert_eq!(error("set x X: A"), "line 1: `set x X: A`: neither `flags` nor `enum`");
        assert_eq!(error("enum x X: A\nenum x Y: B"), "two sets `x`");
        let set = &parse("enum x X: E").unwrap()[0];
        let error = set.resolve(&constants()).unwrap_err().to_string();
        assert_eq!(error, "no value of `E`: run `cargo xtask codegen --harvest`");
    }
}
