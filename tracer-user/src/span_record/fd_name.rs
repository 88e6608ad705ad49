//! What the descriptors of a call led to, where that is followed.

use std::sync::Arc;

/// A descriptor of a call, and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdName {
    /// The descriptor, or [`FdName::CURRENT_FOLDER`].
    pub fd: i32,
    /// Whether this is what it leads to once the call has returned, not before it.
    pub returned: bool,
    /// As strace's `-y` writes it, brackets included: `</etc/hostname>`. Safe for a terminal.
    pub name: Arc<str>,
}

impl FdName {
    /// `AT_FDCWD`, openat(2): stands for the process's current folder.
    pub const CURRENT_FOLDER: i32 = -100;

    /// The name of a descriptor among `names`: before the call, or once it has returned, which is
    /// what it was before where the call has not changed it.
    pub fn find(names: &[Self], fd: i32, returned: bool) -> Option<&str> {
        let of = |after| names.iter().find(|it| it.fd == fd && it.returned == after);
        let found = if returned { of(true).or_else(|| of(false)) } else { of(false) };
        found.map(|it| &*it.name)
    }
}

/// The names of a span, behind one pointer: most spans have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FdNames(pub(super) Vec<FdName>);
