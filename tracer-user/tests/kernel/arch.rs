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
