//! The calls that processors do not have in common.

/// What waits for a signal, and its number.
#[cfg(target_arch = "x86_64")]
pub(crate) const PAUSE: (&str, i64) = ("pause", libc::SYS_pause);
#[cfg(target_arch = "aarch64")]
pub(crate) const PAUSE: (&str, i64) = ("ppoll", libc::SYS_ppoll);

/// What opens files.
#[cfg(target_arch = "x86_64")]
pub(crate) const OPEN: &str = "openat,open";
#[cfg(target_arch = "aarch64")]
pub(crate) const OPEN: &str = "openat";

/// What renames, and which arguments are its two paths.
#[cfg(target_arch = "x86_64")]
pub(crate) const RENAME: (&str, [usize; 2]) = ("rename", [0, 1]);
#[cfg(target_arch = "aarch64")]
pub(crate) const RENAME: (&str, [usize; 2]) = ("renameat", [1, 3]);

/// Whether the kernel tells of a child's first return as of an exit: of a new process, and of a
/// program that it starts by itself. arm64's goes another way,
/// <https://github.com/torvalds/linux/blob/v6.12/arch/arm64/kernel/entry.S#L856>.
pub(crate) const CHILDREN_RETURN: bool = cfg!(target_arch = "x86_64");
