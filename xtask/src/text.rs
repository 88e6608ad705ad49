//! Making text.

use std::fmt::{Arguments, Write as _};

/// Appends formatted text. Writing to a `String` does not fail.
pub(crate) fn push(out: &mut String, text: Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a String");
}
