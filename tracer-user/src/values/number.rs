//! Numbers that are not written in decimals.

/// `0644`; at least three digits.
pub(super) fn octal(mode: impl Into<u64>) -> String {
    let mode = mode.into();
    format!("{:0>3}", if mode == 0 { String::new() } else { format!("0{mode:o}") })
}
