//! docs/parity.md, whose two parts are written by two commands.

use std::fs;

use anyhow::{Context as _, Result};

use crate::command;

/// A part of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Real programs: `cargo xtask parity`.
    Programs,
    /// strace's test programs: `cargo xtask oracle`.
    Tests,
}

/// What stands between the parts.
const BORDER: &str = "\n<!-- What follows is written by `cargo xtask oracle`. -->\n";

/// Replaces a part, and leaves the other as it is.
pub(crate) fn write(part: Part, text: &str) -> Result<()> {
    let path = command::root()?.join("docs/parity.md");
    let document = fs::read_to_string(&path).unwrap_or_default();
    fs::write(&path, replace(&document, part, text))
        .with_context(|| format!("writing {}", path.display()))?;
    println!("written: docs/parity.md");
    Ok(())
}

fn replace(document: &str, part: Part, text: &str) -> String {
    let (programs, tests) = document.split_once(BORDER).unwrap_or((document, ""));
    let (programs, tests) = match part {
        Part::Programs => (text, tests),
        Part::Tests => (programs, text),
    };
    format!("{}\n{BORDER}{}\n", programs.trim_end(), tests.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_alone() {
        let one = replace("# Old\n", Part::Tests, "tests\n");
        assert_eq!(one, format!("# Old\n{BORDER}tests\n"));
        let two = replace(&one, Part::Programs, "# New\n");
        assert_eq!(two, format!("# New\n{BORDER}tests\n"));
        assert_eq!(replace(&two, Part::Tests, "tests"), two);
    }
}
