//! What the generated tables of names are made of.

/// The names of a set in one ABI.
#[derive(Debug)]
pub(super) struct Table {
    /// The comment on a value without a name; empty where strace has none.
    pub(super) unknown: &'static str,
    /// Names and values, in the order in which they are tried.
    pub(super) entries: &'static [(&'static str, u64)],
}
