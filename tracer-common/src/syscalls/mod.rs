//! The syscall table: names, arguments and classes by ABI and number.
//!
//! The data is generated from `syscalls.txt`, `sets.txt` and `structs.txt` in
//! `xtask/src/codegen` by `cargo xtask codegen`.

mod aarch64;
mod arg;
mod class;
mod definitions;
mod i386;
mod names;
mod x86_64;

pub use self::arg::{Arg, ArgKind, Command, Extent, Ret, When};
pub use self::class::Class;
pub use self::names::{Set, Struct};

use crate::event::{Abi, MAX_ARGS, X32_SYSCALL_BIT};

/// A syscall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Syscall {
    /// The kernel's name.
    pub name: &'static str,
    /// The classes it is in.
    pub class: Class,
    /// Its arguments, in the order of the registers; six at most.
    pub args: &'static [Arg],
    /// What it returns.
    pub ret: Ret,
}

impl Syscall {
    /// The arguments as the kernel takes them: of each register the bits that [`Arg::bits`] says.
    /// Registers without an argument are whole.
    #[must_use]
    pub fn taken(&self, registers: [u64; MAX_ARGS]) -> [u64; MAX_ARGS] {
        let mut taken = registers;
        for (value, arg) in taken.iter_mut().zip(self.args) {
            *value = arg.taken(*value);
        }
        taken
    }
}

/// The syscall with this number. There is no table of [`Abi::Arm`]; x32's numbers, with or without
/// their bit, are looked up among x86-64's, where 512 to 547, which x32 has to itself, are not.
pub fn lookup(abi: Abi, nr: u32) -> Option<&'static Syscall> {
    let nr = match abi {
        Abi::X32 => nr & !X32_SYSCALL_BIT,
        _ => nr,
    };
    *table(abi).get(usize::try_from(nr).ok()?)?
}

/// All syscalls of an ABI with their numbers, in ascending order; x32's numbers have its bit.
pub fn all(abi: Abi) -> impl Iterator<Item = (u32, &'static Syscall)> {
    let bit = match abi {
        Abi::X32 => X32_SYSCALL_BIT,
        _ => 0,
    };
    (0..).zip(table(abi)).filter_map(move |(nr, entry)| Some((nr | bit, (*entry)?)))
}

/// The number of the syscall with this name; x32's numbers have its bit.
pub fn number(abi: Abi, name: &str) -> Option<u32> {
    all(abi).find(|(_, syscall)| syscall.name == name).map(|(nr, _)| nr)
}

fn table(abi: Abi) -> &'static [Option<&'static Syscall>] {
    match abi {
        Abi::X86_64 | Abi::X32 => &x86_64::TABLE,
        Abi::I386 => &i386::TABLE,
        Abi::Aarch64 => &aarch64::TABLE,
        Abi::Arm => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(abi: Abi, name: &str) -> &'static Syscall {
        lookup(abi, number(abi, name).unwrap()).unwrap()
    }

    fn arg_names(abi: Abi, name: &str) -> Vec<&'static str> {
        named(abi, name).args.iter().map(|arg| arg.name).collect()
    }

    #[test]
    fn openat() {
        let openat = lookup(Abi::X86_64, 257).unwrap();
        assert_eq!((openat.name, openat.ret), ("openat", Ret::Fd));
        assert_eq!(openat.class, Class::FILE | Class::DESC);
        let args = [
            Arg::new("dfd", ArgKind::DirFd),
            Arg::new("filename", ArgKind::Path),
            Arg::new("flags", ArgKind::Flags(Set::OpenFlags)),
            Arg::new("mode", ArgKind::Mode),
        ];
        assert_eq!(openat.args, args);
        assert_eq!(lookup(Abi::Aarch64, 56), Some(openat));
        assert_eq!(lookup(Abi::I386, 295), Some(openat));
    }

    #[test]
    fn known_numbers() {
        for (abi, name, nr) in [
            (Abi::X86_64, "read", 0),
            (Abi::X86_64, "uretprobe", 335),
            (Abi::X86_64, "file_setattr", 469),
            (Abi::X86_64, "listns", 470),
            (Abi::I386, "break", 17),
            (Abi::I386, "getgid32", 200),
            (Abi::I386, "listns", 470),
            (Abi::Aarch64, "io_setup", 0),
            (Abi::Aarch64, "newfstatat", 79),
            (Abi::Aarch64, "listns", 470),
        ] {
            assert_eq!(number(abi, name), Some(nr), "{} {name}", abi.name());
        }
        assert_eq!(number(Abi::Aarch64, "open"), None);
        assert_eq!(lookup(Abi::X86_64, 400), None);
        assert_eq!(lookup(Abi::X86_64, u32::MAX), None);
    }

    #[test]
    fn x32_and_arm() {
        assert_eq!(lookup(Abi::X32, 0x4000_0101), lookup(Abi::X86_64, 257));
        assert_eq!(lookup(Abi::X86_64, 0x4000_0101), None);
        assert_eq!(number(Abi::X32, "openat"), Some(0x4000_0101));
        assert_eq!(lookup(Abi::Arm, 1), None);
        assert_eq!(all(Abi::Arm).count(), 0);
    }

    #[test]
    fn arguments_depend_on_the_abi() {
        let backwards = ["clone_flags", "newsp", "parent_tidptr", "tls", "child_tidptr"];
        assert_eq!(arg_names(Abi::I386, "clone"), backwards);
        assert_eq!(arg_names(Abi::Aarch64, "clone"), backwards);
        assert_eq!(
            arg_names(Abi::X86_64, "clone"),
            ["clone_flags", "newsp", "parent_tidptr", "child_tidptr", "tls"]
        );
        assert_eq!(arg_names(Abi::I386, "mmap"), ["arg"]);
        assert_eq!(arg_names(Abi::I386, "pread64"), ["fd", "buf", "count", "pos_low", "pos_high"]);
        assert_eq!(arg_names(Abi::X86_64, "pread64"), ["fd", "buf", "count", "pos"]);
    }

    #[test]
    fn of_a_register_the_kernel_takes_what_the_prototype_says() {
        let taken = |name| named(Abi::X86_64, name).taken([u64::MAX; MAX_ARGS]);
        const INT: u64 = u32::MAX as u64;
        assert_eq!(taken("unshare"), [u64::MAX; MAX_ARGS]);
        assert_eq!(taken("openat")[2..4], [INT, 0xffff]);
        assert_eq!(taken("mremap")[3], u64::MAX);
        assert_eq!(taken("pidfd_getfd")[2], INT);
        // `old_uid_t`, of which all bits are -1, and `uid_t` of the same call on x86-64.
        let short = |uid| named(Abi::I386, "setuid").taken([uid; MAX_ARGS])[0];
        assert_eq!((short(0x1_2345), short(0xffff)), (0x2345, INT));
        assert_eq!(taken("setuid")[0], INT);
    }

    #[test]
    fn definitions_stay_within_the_limits() {
        for abi in Abi::ALL {
            for (nr, syscall) in all(*abi) {
                let Syscall { name, args, .. } = syscall;
                assert!(args.len() <= MAX_ARGS, "{name}");
                assert!(args.iter().filter(|arg| arg.kind.is_string()).count() <= 3, "{name}");
                assert_eq!(number(*abi, name), Some(nr), "{name}");
                assert_eq!(lookup(*abi, nr), Some(syscall), "{name}");
                let wide = args.iter().any(|arg| arg.kind == ArgKind::Offset);
                assert!(*abi != Abi::I386 || !wide, "{name}: 64 bits in one 32-bit register");
            }
        }
    }

    #[test]
    fn file_names_are_in_the_file_class() {
        for abi in Abi::ALL {
            for (_, syscall) in all(*abi) {
                let has_path = syscall.args.iter().any(|arg| arg.kind == ArgKind::Path);
                assert!(!has_path || syscall.class.contains(Class::FILE), "{}", syscall.name);
            }
        }
    }

    #[test]
    fn numbers_match_the_installed_headers() {
        for (abi, path) in [
            (Abi::X86_64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
            (Abi::I386, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h"),
        ] {
            let Ok(header) = std::fs::read_to_string(path) else {
                eprintln!("SKIPPED: there is no {path} to compare {} with", abi.name());
                continue;
            };
            let mut compared = 0;
            for line in header.lines() {
                let Some(rest) = line.strip_prefix("#define __NR_") else { continue };
                let Some((name, nr)) = rest.split_once(' ') else { continue };
                let Ok(nr) = nr.trim().parse() else { continue };
                // A header newer than the table may have more.
                if nr <= 470 {
                    assert_eq!(lookup(abi, nr).map(|syscall| syscall.name), Some(name), "{path}");
                    compared += 1;
                }
            }
            assert!(compared > 300, "{path}: only {compared} numbers found");
        }
    }
}
