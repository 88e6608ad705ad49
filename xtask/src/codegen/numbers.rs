//! Which syscall has which number.

use syscalls::{aarch64, x86, x86_64};

/// Numbers newer than the `syscalls` crate; the same on all architectures, as every number from
/// 424 on: <https://github.com/torvalds/linux/blob/v6.19/scripts/syscall.tbl>.
const NEWER: [(u32, &str); 1] = [(470, "listns")];

/// The numbers of one ABI.
pub(super) struct Table {
    /// Our name of the ABI.
    pub(super) abi: &'static str,
    /// Highest number in the crate.
    last: i32,
    /// The crate's name of a number.
    name: fn(usize) -> Option<&'static str>,
}

/// The ABIs that have a table.
pub(super) const TABLES: [Table; 3] = [
    Table {
        abi: "x86_64",
        last: x86_64::Sysno::last().id(),
        name: |nr| x86_64::Sysno::new(nr).map(|sysno| sysno.name()),
    },
    Table {
        abi: "i386",
        last: x86::Sysno::last().id(),
        name: |nr| x86::Sysno::new(nr).map(|sysno| sysno.name()),
    },
    Table {
        abi: "aarch64",
        last: aarch64::Sysno::last().id(),
        name: |nr| aarch64::Sysno::new(nr).map(|sysno| sysno.name()),
    },
];

impl Table {
    /// Numbers and names, by number.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u32, &'static str)> {
        // Not `Sysno::iter`: in 0.8.1 it leaves out the last one.
        let last = u32::try_from(self.last).unwrap_or(0);
        (0..=last)
            .filter_map(|nr| Some((nr, self.rename((self.name)(usize::try_from(nr).ok()?)?))))
            .chain(NEWER.into_iter().filter(move |(nr, _)| *nr > last))
    }

    /// The kernel's name for the crate's.
    fn rename(&self, name: &'static str) -> &'static str {
        match (self.abi, name) {
            // __NR_newfstatat is what 64-bit users of asm-generic/unistd.h see at 79.
            ("aarch64", "fstatat") => "newfstatat",
            // A keyword: `r#break`.
            _ => name.strip_prefix("r#").unwrap_or(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ascending_and_reach_the_newest() {
        for table in &TABLES {
            let rows: Vec<_> = table.rows().collect();
            assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "{}", table.abi);
            assert!(rows.contains(&(469, "file_setattr")), "{}", table.abi);
            assert_eq!(rows.last(), Some(&(470, "listns")), "{}", table.abi);
        }
    }
}
