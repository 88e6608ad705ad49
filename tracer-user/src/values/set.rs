//! Names of flags and values.

use tracer_common::{event::Abi, syscalls::Set};

use super::{hex_digits, table::Table, tables};

/// Bytes that most texts of flags fit in.
const USUAL: usize = 96;

/// The set's names in an ABI.
pub(super) fn table(set: Set, abi: Abi) -> &'static Table {
    let [x86_64, i386, aarch64] = tables::tables(set);
    match abi {
        Abi::X86_64 | Abi::X32 => x86_64,
        Abi::I386 => i386,
        Abi::Aarch64 | Abi::Arm => aarch64,
    }
}

/// The name of a value, if it has one. A constant below zero is that of an `int` too, which has zeroes
/// above its 32 bits in `value`.
pub(super) fn name(set: Set, abi: Abi, value: u64) -> Option<&'static str> {
    const ABOVE: u64 = 0xffff_ffff_0000_0000;
    let is_it = |known: u64| known == value || (known & ABOVE == ABOVE && known & !ABOVE == value);
    table(set, abi).entries.iter().find(|(_, known)| is_it(*known)).map(|(name, _)| *name)
}

/// `SEEK_SET`, or `0x63 /* SEEK_??? */`.
pub(super) fn value_text(set: Set, abi: Abi, value: u64) -> String {
    match name(set, abi, value) {
        Some(name) => name.to_owned(),
        None => unknown_text(table(set, abi).unknown, value),
    }
}

/// Names joined by `|`, the unknown rest in hexadecimal: `O_CREAT|0x800000`. Without any name
/// `0x800000 /* O_??? */`; no bits at all are `0`, or the name for it.
pub(super) fn flags_text(set: Set, abi: Abi, value: u64) -> String {
    if value == 0 {
        return name(set, abi, 0).unwrap_or("0").to_owned();
    }
    let mut text = String::with_capacity(USUAL);
    let rest = push_names(&mut text, set, abi, value);
    if text.is_empty() {
        return unknown_text(table(set, abi).unknown, rest);
    }
    push_rest(&mut text, rest);
    text
}

/// A value and flags beside it: `SOCK_STREAM|SOCK_CLOEXEC`; flags without a name in hexadecimal.
pub(super) fn joined(value: &str, set: Set, abi: Abi, flags: u64) -> String {
    let mut text = String::with_capacity(USUAL);
    text.push_str(value);
    let rest = push_names(&mut text, set, abi, flags);
    push_rest(&mut text, rest);
    text
}

/// Appends the bits without a name to those with one, if there are any.
pub(super) fn push_rest(text: &mut String, rest: u64) {
    if rest != 0 {
        text.push_str("|0x");
        text.extend(hex_digits(rest).map(char::from));
    }
}

/// Appends the names of the bits, joined by `|`, to others; returns the bits without a name.
pub(super) fn push_names(text: &mut String, set: Set, abi: Abi, value: u64) -> u64 {
    let mut rest = value;
    for (name, bits) in table(set, abi).entries {
        if *bits != 0 && rest & bits == *bits {
            if !text.is_empty() {
                text.push('|');
            }
            text.push_str(name);
            rest &= !bits;
        }
    }
    rest
}

/// `0x63 /* SEEK_??? */`
pub(super) fn unknown_text(unknown: &str, value: u64) -> String {
    let mut text = if value == 0 { "0".to_owned() } else { format!("{value:#x}") };
    if !unknown.is_empty() {
        for part in [" /* ", unknown, " */"] {
            text.push_str(part);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_names_and_a_rest() {
        let text = |value| flags_text(Set::MmapProt, Abi::X86_64, value);
        assert_eq!(text(0), "PROT_NONE");
        assert_eq!(text(3), "PROT_READ|PROT_WRITE");
        assert_eq!(text(0x4000_0001), "PROT_READ|0x40000000");
        assert_eq!(text(0x4000_0000), "0x40000000 /* PROT_??? */");
        assert_eq!(flags_text(Set::MremapFlags, Abi::X86_64, 0), "0");
    }

    #[test]
    fn values_depend_on_the_abi() {
        assert_eq!(flags_text(Set::OpenFlags, Abi::X86_64, 0o200_000), "O_DIRECTORY");
        assert_eq!(flags_text(Set::OpenFlags, Abi::Aarch64, 0o40_000), "O_DIRECTORY");
        assert_eq!(value_text(Set::SeekWhence, Abi::I386, 99), "0x63 /* SEEK_??? */");
        assert_eq!(value_text(Set::FcntlCommands, Abi::I386, 12), "F_GETLK64");
        assert_eq!(value_text(Set::FcntlCommands, Abi::X86_64, 12), "0xc /* F_??? */");
        assert_eq!(value_text(Set::RusageWho, Abi::X86_64, 0xffff_ffff), "RUSAGE_CHILDREN");
    }

    #[test]
    fn bits_without_a_name_follow_those_with_one() {
        let joined = |flags| joined("O_RDWR", Set::OpenFlags, Abi::X86_64, flags);
        assert_eq!(joined(0), "O_RDWR");
        assert_eq!(joined(0o2_000_100), "O_RDWR|O_CREAT|O_CLOEXEC");
        assert_eq!(joined(0x8000_0000_0000_00b4), "O_RDWR|O_EXCL|0x8000000000000034");
    }

    #[test]
    fn every_set_has_names_in_every_abi() {
        for set in Set::ALL {
            for abi in Abi::ALL {
                let table = table(*set, *abi);
                let [native, ..] = tables::tables(*set);
                assert!(!native.entries.is_empty(), "{}", set.name());
                assert!(!table.entries.is_empty(), "{}", set.name());
                let names = table.entries.iter().all(|(name, _)| !name.is_empty());
                assert!(names, "{}", set.name());
            }
        }
    }
}
