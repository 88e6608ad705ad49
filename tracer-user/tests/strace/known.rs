//! Differences that are meant, each with its reason.

/// Whether strace has its own name for the call.
pub(crate) fn has_other_name(_ours: &str, _theirs: &str) -> bool {
    false
}

/// Why two texts may differ.
pub(crate) fn reason(_call: &str, _ours: &str, _theirs: &str) -> Option<&'static str> {
    None
}
