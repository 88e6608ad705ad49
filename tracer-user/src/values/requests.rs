//! What requests of `ioctl` to files and devices point to, where that is a list of fields or a number.

use tracer_common::syscalls::Set;

use super::{
    layout::{self, Entry, Kind, field},
    node::Node,
    reader::Reader,
};

/// `struct fsxattr`, `linux/fs.h`; how many extents there are is only returned.
const EXTENDED_SET: &[Entry] = &[
    field("fsx_xflags", Kind::Flags32(Set::FsXflags)),
    field("fsx_extsize", Kind::U32),
    layout::silent("fsx_nextents", Kind::U32),
    field("fsx_projid", Kind::X32),
    field("fsx_cowextsize", Kind::U32),
];
const EXTENDED_GOT: &[Entry] = &[
    field("fsx_xflags", Kind::Flags32(Set::FsXflags)),
    field("fsx_extsize", Kind::U32),
    field("fsx_nextents", Kind::U32),
    field("fsx_projid", Kind::X32),
    field("fsx_cowextsize", Kind::U32),
];
/// `struct fstrim_range`
const TRIM: &[Entry] =
    &[field("start", Kind::X64), field("len", Kind::U64), field("minlen", Kind::U64)];
/// `struct file_clone_range`
const CLONE_RANGE: &[Entry] = &[
    field("src_fd", Kind::Fd),
    layout::skip(4),
    field("src_offset", Kind::U64),
    field("src_length", Kind::U64),
    field("dest_offset", Kind::U64),
];
/// `struct uffdio_range`, `linux/userfaultfd.h`
const RANGE: &[Entry] = &[field("start", Kind::X64), field("len", Kind::X64)];
/// A name of an interface and another, `struct ifreq`.
const RENAMED: &[Entry] =
    &[field("ifr_name", Kind::Text(16)), field("ifr_newname", Kind::Text(16))];
const FILE_FLAGS: Kind = Kind::Flags32(Set::FileFlags);

/// What a request points to, and whether that only returns something.
const REQUESTS: &[(&str, Kind, bool)] = &[
    ("FS_IOC_FSGETXATTR", Kind::Inner(EXTENDED_GOT), true),
    ("FS_IOC_FSSETXATTR", Kind::Inner(EXTENDED_SET), false),
    ("FS_IOC_GETFLAGS", Kind::Array(&FILE_FLAGS, 1), true),
    ("FS_IOC_SETFLAGS", Kind::Array(&FILE_FLAGS, 1), false),
    ("FITRIM", Kind::Inner(TRIM), false),
    ("BTRFS_IOC_CLONE_RANGE or FICLONERANGE", Kind::Inner(CLONE_RANGE), false),
    ("UFFDIO_UNREGISTER", Kind::Inner(RANGE), false),
    ("UFFDIO_WAKE", Kind::Inner(RANGE), false),
    ("SIOCSIFNAME", Kind::Inner(RENAMED), false),
    ("SIOCGIFENCAP", Kind::Array(&Kind::I32, 1), true),
    ("SIOCSIFENCAP", Kind::Array(&Kind::I32, 1), false),
    ("TIOCGSOFTCAR", Kind::Array(&Kind::I32, 1), true),
    ("TIOCSSOFTCAR", Kind::Array(&Kind::I32, 1), false),
    ("FIOSETOWN", Kind::Array(&Kind::I32, 1), false),
    ("SIOCSPGRP", Kind::Array(&Kind::I32, 1), false),
    ("FIOGETOWN", Kind::Array(&Kind::I32, 1), true),
    ("SIOCGPGRP", Kind::Array(&Kind::I32, 1), true),
    ("SIOCATMARK", Kind::Array(&Kind::I32, 1), true),
    ("TIOCGDEV", Kind::Array(&Kind::U32, 1), true),
    ("BLKBSZSET", Kind::Array(&Kind::I32, 1), false),
    ("BLKGETZONESZ", Kind::Array(&Kind::U32, 1), true),
    ("BLKGETNRZONES", Kind::Array(&Kind::U32, 1), true),
    ("BLKGETDISKSEQ", Kind::Array(&Kind::U64, 1), true),
    ("RNDGETENTCNT", Kind::Array(&Kind::I32, 1), true),
    ("RNDADDTOENTCNT", Kind::Array(&Kind::I32, 1), false),
];

/// What a request points to; nothing where it is not known, or nothing was passed.
pub(super) fn argument(reader: &mut Reader<'_>, command: &str, at_exit: bool) -> Option<Node> {
    let (_, kind, is_returned) = REQUESTS.iter().find(|(known, ..)| *known == command)?;
    // Before the call there is nothing of use in what it is to fill in.
    if *is_returned && !at_exit { None } else { kind.read(reader) }
}

#[cfg(test)]
mod tests {
    use tracer_common::event::Abi;

    use super::*;

    fn text(command: &str, at_exit: bool, words: &[u32]) -> String {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut out = Vec::new();
        let node = argument(&mut Reader::new(&bytes, Abi::X86_64), command, at_exit);
        if let Some(node) = node {
            node.push_text(&mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_returned_is_not_shown_before() {
        let words = [2, 4096, 3, 8, 0, 0, 0];
        assert_eq!(text("FS_IOC_FSGETXATTR", false, &words), "");
        let all = "{fsx_xflags=FS_XFLAG_PREALLOC, fsx_extsize=4096, fsx_nextents=3, fsx_projid=0x8, \
                   fsx_cowextsize=0}";
        assert_eq!(text("FS_IOC_FSGETXATTR", true, &words), all);
        assert_eq!(text("FS_IOC_FSSETXATTR", false, &words), all.replace("fsx_nextents=3, ", ""));
        assert_eq!(text("FS_IOC_SETFLAGS", false, &[0x30]), "[FS_IMMUTABLE_FL|FS_APPEND_FL]");
        assert_eq!(text("FIOSETOWN", false, &[0xffff_ff00]), "[-256]");
        assert_eq!(text("FIOSETOWN", false, &[]), "");
    }
}
