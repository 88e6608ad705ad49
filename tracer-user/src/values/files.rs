//! What files and file systems are.

use std::borrow::Cow;

use tracer_common::{event::Abi, syscalls::Set};

use super::{
    Context,
    layout::{self, Entry, Kind, abridged, field, silent, skip},
    node::{Fields, Node, Shown, hex_text},
    number,
    reader::Reader,
    set, time,
};

const MODE16: Kind = Kind::Custom(|reader| reader.u16().map(|mode| file_mode(mode.into())));
const MODE32: Kind = Kind::Custom(|reader| reader.u32().map(file_mode));
const DEVICE: Kind = Kind::Custom(|reader| reader.ulong().map(device));
const DEVICE64: Kind = Kind::Custom(|reader| reader.u64().map(device));
const DEVICE16: Kind = Kind::Custom(|reader| reader.u16().map(|dev| device(dev.into())));

/// The type of a file, `S_IFMT`.
const TYPE: u32 = 0o170_000;
const STAT_X86_64: &[Entry] = &[
    abridged("st_dev", DEVICE),
    abridged("st_ino", Kind::Ulong),
    abridged("st_nlink", Kind::Ulong),
    field("st_mode", MODE32),
    abridged("st_uid", Kind::U32),
    abridged("st_gid", Kind::U32),
    skip(4),
    abridged("st_rdev", DEVICE),
    field("st_size", Kind::Ulong),
    abridged("st_blksize", Kind::Long),
    abridged("st_blocks", Kind::Long),
    abridged("st_atime", Kind::Long),
    abridged("st_atime_nsec", Kind::Ulong),
    abridged("st_mtime", Kind::Long),
    abridged("st_mtime_nsec", Kind::Ulong),
    abridged("st_ctime", Kind::Long),
    abridged("st_ctime_nsec", Kind::Ulong),
];
/// asm-generic/stat.h
const STAT_GENERIC: &[Entry] = &[
    abridged("st_dev", DEVICE),
    abridged("st_ino", Kind::Ulong),
    field("st_mode", MODE32),
    abridged("st_nlink", Kind::U32),
    abridged("st_uid", Kind::U32),
    abridged("st_gid", Kind::U32),
    abridged("st_rdev", DEVICE),
    skip(8),
    field("st_size", Kind::Ulong),
    abridged("st_blksize", Kind::I32),
    skip(4),
    abridged("st_blocks", Kind::Long),
    abridged("st_atime", Kind::Long),
    abridged("st_atime_nsec", Kind::Ulong),
    abridged("st_mtime", Kind::Long),
    abridged("st_mtime_nsec", Kind::Ulong),
    abridged("st_ctime", Kind::Long),
    abridged("st_ctime_nsec", Kind::Ulong),
];
const STAT_I386: &[Entry] = &[
    abridged("st_dev", DEVICE),
    abridged("st_ino", Kind::Ulong),
    field("st_mode", MODE16),
    abridged("st_nlink", Kind::U16),
    abridged("st_uid", Kind::U16),
    abridged("st_gid", Kind::U16),
    abridged("st_rdev", DEVICE),
    field("st_size", Kind::Ulong),
    abridged("st_blksize", Kind::Ulong),
    abridged("st_blocks", Kind::Ulong),
    abridged("st_atime", Kind::Ulong),
    abridged("st_atime_nsec", Kind::Ulong),
    abridged("st_mtime", Kind::Ulong),
    abridged("st_mtime_nsec", Kind::Ulong),
    abridged("st_ctime", Kind::Ulong),
    abridged("st_ctime_nsec", Kind::Ulong),
];
/// `struct stat64` of i386, and of arm with other gaps, which no ABI with a table has.
const STAT64_I386: &[Entry] = &[
    abridged("st_dev", DEVICE64),
    skip(4),
    skip(4),
    field("st_mode", MODE32),
    abridged("st_nlink", Kind::U32),
    abridged("st_uid", Kind::U32),
    abridged("st_gid", Kind::U32),
    abridged("st_rdev", DEVICE64),
    skip(4),
    field("st_size", Kind::U64),
    abridged("st_blksize", Kind::U32),
    abridged("st_blocks", Kind::U64),
    abridged("st_atime", Kind::U32),
    abridged("st_atime_nsec", Kind::U32),
    abridged("st_mtime", Kind::U32),
    abridged("st_mtime_nsec", Kind::U32),
    abridged("st_ctime", Kind::U32),
    abridged("st_ctime_nsec", Kind::U32),
    abridged("st_ino", Kind::U64),
];
const OLDSTAT: &[Entry] = &[
    abridged("st_dev", DEVICE16),
    abridged("st_ino", Kind::U16),
    field("st_mode", MODE16),
    abridged("st_nlink", Kind::U16),
    abridged("st_uid", Kind::U16),
    abridged("st_gid", Kind::U16),
    abridged("st_rdev", DEVICE16),
    field("st_size", Kind::U32),
    abridged("st_atime", Kind::U32),
    abridged("st_mtime", Kind::U32),
    abridged("st_ctime", Kind::U32),
];
const STATX: &[Entry] = &[
    field("stx_mask", Kind::Flags32(Set::StatxMask)),
    abridged("stx_blksize", Kind::U32),
    field("stx_attributes", Kind::Flags64(Set::StatxAttributes)),
    abridged("stx_nlink", Kind::U32),
    abridged("stx_uid", Kind::U32),
    abridged("stx_gid", Kind::U32),
    field("stx_mode", MODE16),
    skip(2),
    abridged("stx_ino", Kind::U64),
    field("stx_size", Kind::U64),
    abridged("stx_blocks", Kind::U64),
    abridged("stx_attributes_mask", Kind::Flags64(Set::StatxAttributes)),
    abridged("stx_atime", Kind::Inner(time::STATX_TIMESTAMP)),
    abridged("stx_btime", Kind::Inner(time::STATX_TIMESTAMP)),
    abridged("stx_ctime", Kind::Inner(time::STATX_TIMESTAMP)),
    abridged("stx_mtime", Kind::Inner(time::STATX_TIMESTAMP)),
    abridged("stx_rdev_major", Kind::U32),
    abridged("stx_rdev_minor", Kind::U32),
    abridged("stx_dev_major", Kind::U32),
    abridged("stx_dev_minor", Kind::U32),
    abridged("stx_mnt_id", Kind::U64),
];

const FSID: &[Entry] = &[field("val", Kind::Array(&Kind::X32, 2))];
const STATFS: &[Entry] = &[
    field("f_type", Kind::EnumLong(Set::FsMagic)),
    field("f_bsize", Kind::Ulong),
    field("f_blocks", Kind::Ulong),
    field("f_bfree", Kind::Ulong),
    field("f_bavail", Kind::Ulong),
    field("f_files", Kind::Ulong),
    field("f_ffree", Kind::Ulong),
    field("f_fsid", Kind::Inner(FSID)),
    field("f_namelen", Kind::Ulong),
    field("f_frsize", Kind::Ulong),
    field("f_flags", Kind::FlagsLong(Set::StatfsFlags)),
];
const STATFS64_I386: &[Entry] = &[
    field("f_type", Kind::Enum32(Set::FsMagic)),
    field("f_bsize", Kind::U32),
    field("f_blocks", Kind::U64),
    field("f_bfree", Kind::U64),
    field("f_bavail", Kind::U64),
    field("f_files", Kind::U64),
    field("f_ffree", Kind::U64),
    field("f_fsid", Kind::Inner(FSID)),
    field("f_namelen", Kind::U32),
    field("f_frsize", Kind::U32),
    field("f_flags", Kind::Flags32(Set::StatfsFlags)),
];
pub(super) const USTAT: &[Entry] = &[
    field("f_tfree", Kind::I32),
    field("f_tinode", Kind::Ulong),
    silent("f_fname", Kind::Text(6)),
    silent("f_fpack", Kind::Text(6)),
];
pub(super) const MOUNT_ATTR: &[Entry] = &[
    field("attr_set", Kind::Flags64(Set::MountAttributes)),
    field("attr_clr", Kind::Flags64(Set::MountAttributes)),
    field("propagation", Kind::Custom(propagation)),
    field("userns_fd", Kind::I64),
];
pub(super) const FILE_ATTR: &[Entry] = &[
    field("fa_xflags", Kind::X64),
    field("fa_extsize", Kind::U32),
    field("fa_nextents", Kind::U32),
    field("fa_projid", Kind::U32),
    field("fa_cowextsize", Kind::U32),
];
pub(super) const XATTR_ARGS: &[Entry] = &[
    field("value", Kind::Pointer64),
    field("size", Kind::U32),
    field("flags", Kind::Flags32(Set::XattrFlags)),
];
pub(super) const CACHESTAT_RANGE: &[Entry] = &[field("off", Kind::U64), field("len", Kind::U64)];
pub(super) const CACHESTAT: &[Entry] = &[
    field("nr_cache", Kind::U64),
    field("nr_dirty", Kind::U64),
    field("nr_writeback", Kind::U64),
    field("nr_evicted", Kind::U64),
    field("nr_recently_evicted", Kind::U64),
];

/// One of the kinds of propagation.
fn propagation(reader: &mut Reader<'_>) -> Option<Node> {
    let value = reader.u64()?;
    Some(Node::Symbol(set::value_text(Set::MountPropagation, reader.abi(), value)))
}

/// `struct stat`, of the ABI; `oldstat` and `stat64` are others.
pub(super) fn stat(reader: &mut Reader<'_>) -> Fields {
    let layout = match reader.abi() {
        Abi::X86_64 | Abi::X32 => STAT_X86_64,
        Abi::Aarch64 => STAT_GENERIC,
        Abi::I386 | Abi::Arm => STAT_I386,
    };
    stat_of(layout, reader)
}

/// `struct stat64`: an own structure on i386 alone.
pub(super) fn stat64(reader: &mut Reader<'_>) -> Fields {
    if reader.is_narrow() { stat_of(STAT64_I386, reader) } else { stat(reader) }
}

/// `struct __old_kernel_stat`
pub(super) fn oldstat(reader: &mut Reader<'_>) -> Fields {
    stat_of(OLDSTAT, reader)
}

fn stat_of(layout: &[Entry], reader: &mut Reader<'_>) -> Fields {
    let mut fields = layout::read(layout, reader);
    if is_device(&fields, "st_mode") {
        fields.show("st_rdev", Shown::Always);
        fields.show("st_size", Shown::Silent);
    }
    fields
}

/// `struct statx`
pub(super) fn statx(reader: &mut Reader<'_>) -> Fields {
    // Bits of the mask that say that there is a type, a mode, a size.
    const MODE: [&str; 4] = ["STATX_TYPE", "STATX_MODE", "STATX_BASIC_STATS", "STATX_ALL"];
    const SIZE: [&str; 3] = ["STATX_SIZE", "STATX_BASIC_STATS", "STATX_ALL"];
    let mut fields = layout::read(STATX, reader);
    let mask = fields.symbol("stx_mask").unwrap_or_default().to_owned();
    let has = |names: &[&str]| mask.split('|').any(|name| names.contains(&name));
    for (field, shown) in [("stx_mode", has(&MODE)), ("stx_size", has(&SIZE))] {
        fields.show(field, if shown { Shown::Always } else { Shown::Abridged });
    }
    fields
}

fn is_device(fields: &Fields, name: &str) -> bool {
    let types = ["S_IFCHR", "S_IFBLK"];
    fields.symbol(name).is_some_and(|mode| types.iter().any(|kind| mode.starts_with(kind)))
}

/// `struct statfs`
pub(super) fn statfs(reader: &mut Reader<'_>) -> Fields {
    statfs_of(STATFS, reader)
}

/// `struct statfs64`: an own structure where `long` has 32 bits.
pub(super) fn statfs64(reader: &mut Reader<'_>) -> Fields {
    statfs_of(if reader.is_narrow() { STATFS64_I386 } else { STATFS }, reader)
}

/// The flags say themselves whether they are filled in.
fn statfs_of(layout: &[Entry], reader: &mut Reader<'_>) -> Fields {
    let mut fields = layout::read(layout, reader);
    if !fields.symbol("f_flags").is_some_and(|flags| flags.starts_with("ST_VALID")) {
        fields.show("f_flags", Shown::Silent);
    }
    fields
}

/// `struct open_how`: the mode where a file may be made.
pub(super) fn open_how(reader: &mut Reader<'_>) -> Fields {
    // `O_CREAT`, and the own bit of `O_TMPFILE`: the same on every ABI here.
    const CREATES: u64 = 0o100 | 0o20_000_000;
    let mut fields = Fields::default();
    let abi = reader.abi();
    let Some(flags) = reader.u64() else {
        fields.cut_after(reader.len());
        return fields;
    };
    fields.push("flags", Node::Symbol(open_flags(abi, flags)));
    let (Some(mode), Some(resolve)) = (reader.u64(), reader.u64()) else {
        fields.cut_after(reader.len());
        return fields;
    };
    let shown = if mode != 0 || flags & CREATES != 0 { Shown::Always } else { Shown::Silent };
    fields.push_as("mode", Node::Octal(mode), shown);
    fields.push("resolve", Node::Symbol(set::flags_text(Set::ResolveFlags, abi, resolve)));
    fields
}

/// `struct file_handle`: its type and its bytes.
pub(super) fn file_handle(reader: &mut Reader<'_>, context: &Context<'_>) -> Fields {
    let mut fields = Fields::default();
    let Some(bytes) = reader.u32() else {
        fields.cut_after(reader.len());
        return fields;
    };
    fields.push("handle_bytes", Node::Unsigned(bytes.into()));
    // Before the call is done there is only room for it.
    if context.name == "name_to_handle_at" && !context.at_exit {
        return fields;
    }
    let Some(kind) = reader.i32() else {
        fields.cut_after(reader.len());
        return fields;
    };
    fields.push("handle_type", Node::Signed(kind.into()));
    let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).min(128);
    let handle = reader.take_up_to(wanted);
    fields.push("f_handle", hex_text(handle));
    if handle.len() < wanted {
        fields.cut_after(reader.len());
    }
    fields
}

/// Flags of `open`: how the file is accessed is a number of two bits, the rest are bits.
pub(super) fn open_flags(abi: Abi, flags: u64) -> String {
    // `O_ACCMODE`
    let access = flags & 3;
    let unnamed = || Cow::Owned(set::value_text(Set::OpenAccess, abi, access));
    let access = set::name(Set::OpenAccess, abi, access).map_or_else(unnamed, Cow::Borrowed);
    set::joined(&access, Set::OpenFlags, abi, flags & !3)
}

/// A mode with the file's type: `S_IFREG|0644`.
pub(super) fn file_mode(mode: u32) -> Node {
    Node::Symbol(file_mode_text(mode))
}

/// `S_IFREG|0644`; `S_ISUID` and its like by name.
pub(super) fn file_mode_text(mode: u32) -> String {
    const SPECIAL: [(u32, &str); 3] =
        [(0o4000, "S_ISUID"), (0o2000, "S_ISGID"), (0o1000, "S_ISVTX")];
    let mut text = String::new();
    let mut rest = mode;
    match set::name(Set::FileTypes, Abi::X86_64, (mode & TYPE).into()) {
        Some(kind) => {
            text.push_str(kind);
            text.push('|');
            rest &= !TYPE;
        }
        None if mode & TYPE != 0 => return number::octal(mode),
        None => {}
    }
    for (bit, name) in SPECIAL {
        if rest & bit != 0 {
            text.push_str(name);
            text.push('|');
            rest &= !bit;
        }
    }
    text + &number::octal(rest)
}

/// `makedev(0x8, 0x1)`, by the parts of the kernel's new encoding.
pub(super) fn device(device: u64) -> Node {
    let major = (device >> 8 & 0xfff) | (device >> 32 & 0xffff_f000);
    let minor = (device & 0xff) | (device >> 12 & 0xffff_ff00);
    Node::Call("makedev", vec![Node::Hex(major), Node::Hex(minor)])
}

/// What a file system is told when it is mounted: text, where the call mounts one at all.
pub(super) fn mount_data(bytes: &[u8], context: &Context<'_>) -> Option<Node> {
    // do_mount of fs/namespace.c: these do something else with what is mounted.
    const OTHERS: [&str; 6] =
        ["MS_BIND", "MS_MOVE", "MS_UNBINDABLE", "MS_PRIVATE", "MS_SLAVE", "MS_SHARED"];
    let is_set = |name: &&str| {
        let bit = set::table(Set::MountFlags, context.abi).entries.iter().find(|it| it.0 == *name);
        bit.is_some_and(|(_, bit)| context.args[3] & bit != 0)
    };
    let does_other = !is_set(&"MS_REMOUNT") && OTHERS.iter().any(is_set);
    (!does_other).then(|| Node::text(bytes))
}
