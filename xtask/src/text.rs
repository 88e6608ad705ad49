//! Making text.

use std::fmt::{Arguments, Write as _};

/// Appends formatted text. Writing to a `String` does not fail.
pub(crate) fn push(out: &mut String, text: Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a String");
}

/// Per cent; none of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^52")]
pub(crate) fn share(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { part as f64 * 100.0 / all as f64 }
}

/// As code in a cell of a table in Markdown: the first 300 characters.
pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('`', "'").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_nothing_are_none() {
        assert!(share(0, 0).abs() < f64::EPSILON && (share(1, 4) - 25.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_cell_cannot_end_itself() {
        assert_eq!(cell("a|`b`"), "a\\|'b'");
        assert_eq!(cell(&"x".repeat(400)).len(), 300);
    }
}
