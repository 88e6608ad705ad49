//! Classes of syscalls, those of strace's `-e trace=%class`.

use core::ops::BitOr;

/// A set of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Class(u32);

impl Class {
    /// No class.
    pub const NONE: Self = Self(0);
    /// Takes a file name.
    pub const FILE: Self = Self(1 << 0);
    /// Network.
    pub const NETWORK: Self = Self(1 << 1);
    /// Takes or returns a file descriptor.
    pub const DESC: Self = Self(1 << 2);
    /// Process lifecycle.
    pub const PROCESS: Self = Self(1 << 3);
    /// Memory mappings and memory policy.
    pub const MEMORY: Self = Self(1 << 4);
    /// Signals.
    pub const SIGNAL: Self = Self(1 << 5);
    /// System V IPC.
    pub const IPC: Self = Self(1 << 6);
    /// Reads or sets a clock.
    pub const CLOCK: Self = Self(1 << 7);
    /// Reads or sets user and group ids and capabilities.
    pub const CREDS: Self = Self(1 << 8);
    /// Always succeeds and takes no arguments.
    pub const PURE: Self = Self(1 << 9);
    /// Variants of `stat`.
    pub const STAT: Self = Self(1 << 10);
    /// Variants of `lstat`.
    pub const LSTAT: Self = Self(1 << 11);
    /// Variants of `fstat`, `fstatat` and `statx`.
    pub const FSTAT: Self = Self(1 << 12);
    /// Variants of `statfs`.
    pub const STATFS: Self = Self(1 << 13);
    /// Variants of `fstatfs`.
    pub const FSTATFS: Self = Self(1 << 14);
    /// All that ask for a file's status: `%%stat`.
    pub const STAT_LIKE: Self = Self(1 << 15);
    /// All that ask for a file system's statistics: `%%statfs`.
    pub const STATFS_LIKE: Self = Self(1 << 16);
    /// Variants of `uname`; strace has no such class, so it is not in [`Self::NAMES`].
    pub const UNAME: Self = Self(1 << 17);

    /// strace's names, without the percent sign that stands before them.
    pub const NAMES: &[(&str, Self)] = &[
        ("file", Self::FILE),
        ("network", Self::NETWORK),
        ("net", Self::NETWORK),
        ("desc", Self::DESC),
        ("process", Self::PROCESS),
        ("memory", Self::MEMORY),
        ("signal", Self::SIGNAL),
        ("ipc", Self::IPC),
        ("clock", Self::CLOCK),
        ("creds", Self::CREDS),
        ("pure", Self::PURE),
        ("stat", Self::STAT),
        ("lstat", Self::LSTAT),
        ("fstat", Self::FSTAT),
        ("%stat", Self::STAT_LIKE),
        ("statfs", Self::STATFS),
        ("fstatfs", Self::FSTATFS),
        ("%statfs", Self::STATFS_LIKE),
    ];

    /// The class with this name, without its percent sign.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, class)| *class)
    }

    /// Whether all classes of `other` are in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any class of `other` is in this set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The classes of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is no class in this set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Class {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let set = Class::FILE | Class::DESC;
        assert!(set.contains(Class::FILE) && set.intersects(Class::DESC.union(Class::IPC)));
        assert!(!set.contains(Class::DESC.union(Class::IPC)) && !set.intersects(Class::IPC));
        assert!(Class::NONE.is_empty() && !set.is_empty());
        assert_eq!(Class::default(), Class::NONE);
    }

    #[test]
    fn names() {
        assert_eq!(Class::from_name("net"), Some(Class::NETWORK));
        assert_eq!(Class::from_name("%stat"), Some(Class::STAT_LIKE));
        assert_eq!(Class::from_name("stat"), Some(Class::STAT));
        assert_eq!(Class::from_name("uname"), None);
    }
}
