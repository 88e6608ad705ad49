//! What the kernel side needs to find the file behind a descriptor: offsets of fields, and the id of
//! the function by which it loads them.

use std::borrow::Cow;

use tracer_common::{
    abi::{CAST_MARKER, WORDS_MARKER, global},
    file::detail,
};

use super::btf::{BtfError, KernelTypes};

/// A call of a function of the kernel, before its id: `BPF_JMP | BPF_CALL` with
/// `BPF_PSEUDO_KFUNC_CALL`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h#L1330>.
const CALL: [u8; 4] = [0x85, 0x20, 0, 0];
/// `r2 =` a number of 32 bits, before that.
const SECOND: [u8; 4] = [0xb7, 2, 0, 0];
/// `r0 = r1`.
const MOVE: [u8; 8] = [0xbf, 0x10, 0, 0, 0, 0, 0, 0];

/// The object with each call of `bpf_rdonly_cast` completed, or made a move where the kernel has no
/// such function (before 6.2).
pub(super) fn complete(object: &[u8], types: &KernelTypes) -> Cow<'static, [u8]> {
    let mut object = object.to_vec();
    let (call, second) = match cast_ids(types) {
        Some((function, words)) => (instruction(CALL, function), instruction(SECOND, words)),
        None => (MOVE, instruction(SECOND, 0)),
    };
    let (instructions, _) = object.as_chunks_mut::<8>();
    for it in instructions {
        if *it == instruction(CALL, CAST_MARKER) {
            *it = call;
        } else if *it == instruction(SECOND, WORDS_MARKER) {
            *it = second;
        }
    }
    Cow::Owned(object)
}

fn instruction(head: [u8; 4], number: u32) -> [u8; 8] {
    (u64::from(u32::from_le_bytes(head)) | u64::from(number) << 32).to_le_bytes()
}

/// Whether the kernel side reads fields by loads, and not by calls of a helper.
pub(super) fn reads_by_loads(types: &KernelTypes) -> bool {
    cast_ids(types).is_some()
}

/// The ids of `bpf_rdonly_cast` and of the struct as which memory is read.
fn cast_ids(types: &KernelTypes) -> Option<(u32, u32)> {
    Some((types.function(CAST)?, types.struct_id(WORDS)?))
}

/// 18 words on every architecture of 64 bits,
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/resource.h#L24>.
const WORDS: &str = "rusage";

/// `void *bpf_rdonly_cast(void *obj, u32 btf_id)`,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/helpers.c#L2685>.
const CAST: &str = "bpf_rdonly_cast";

/// How much is looked up of the files of descriptors, as strace's `-y` and `-yy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileDetail {
    /// Paths, and the kernel's names of what has none: `-y`.
    #[default]
    Paths,
    /// Protocols and addresses of sockets, numbers of devices and processes too: `-yy`.
    Protocols,
}

impl FileDetail {
    const fn number(wanted: Option<Self>) -> u32 {
        match wanted {
            None => detail::OFF,
            Some(Self::Paths) => detail::PATHS,
            Some(Self::Protocols) => detail::PROTOCOLS,
        }
    }
}

/// The globals, with so much of files switched on as is `wanted`.
///
/// # Errors
/// When this kernel lacks a field without which no file can be named.
pub(super) fn globals(
    types: &KernelTypes,
    wanted: Option<FileDetail>,
) -> Result<Vec<(&'static str, u32)>, BtfError> {
    let at = |owner, field| types.offset(owner, field);
    let or = |owner, field, other| types.offset(owner, field).unwrap_or(other);
    let hash = at("dentry", "d_hash")?;
    check_neighbours(types, hash)?;
    Ok(vec![
        (global::FILES, FileDetail::number(wanted)),
        (global::HAS_CAST, u32::from(reads_by_loads(types))),
        (global::TASK_FILES, at("task_struct", "files")?),
        (global::TASK_FS, at("task_struct", "fs")?),
        (global::FILES_FDT, at("files_struct", "fdt")?),
        (global::FDT_MAX_FDS, at("fdtable", "max_fds")?),
        (global::FDT_FD, at("fdtable", "fd")?),
        (global::FS_ROOT, at("fs_struct", "root")?),
        (global::FS_PWD, at("fs_struct", "pwd")?),
        (global::FILE_PATH, at("file", "f_path")?),
        (global::FILE_INODE, at("file", "f_inode")?),
        (global::FILE_PRIVATE, at("file", "private_data")?),
        (global::INODE_MODE, at("inode", "i_mode")?),
        (global::INODE_INO, at("inode", "i_ino")?),
        (global::INODE_RDEV, at("inode", "i_rdev")?),
        (global::INODE_SB, at("inode", "i_sb")?),
        (global::INODE_PRIVATE, at("inode", "i_private")?),
        (global::SB_DEV, at("super_block", "s_dev")?),
        (global::SB_MAGIC, at("super_block", "s_magic")?),
        (global::DENTRY_HASH, hash),
        (global::VFSMOUNT_ROOT, at("vfsmount", "mnt_root")?),
        (global::MOUNT_MNT, at("mount", "mnt")?),
        (global::MOUNT_PARENT, at("mount", "mnt_parent")?),
        (global::NS_COMMON_OPS, or("ns_common", "ops", u32::MAX)),
        (global::NS_OPS_NAME, or("proc_ns_operations", "name", 0)),
        (global::SOCKET_TYPE, at("socket", "type")?),
        (global::SOCKET_SK, at("socket", "sk")?),
        (global::SOCK_PROTOCOL, at("sock", "sk_protocol")?),
        (global::SOCK_SOCKET, at("sock", "sk_socket")?),
        (global::SKC_FAMILY, at("sock_common", "skc_family")?),
        (global::SKC_STATE, at("sock_common", "skc_state")?),
        (global::SKC_DPORT, at("sock_common", "skc_dport")?),
        (global::SKC_DADDR, at("sock_common", "skc_daddr")?),
        (global::SKC_RCV_SADDR, at("sock_common", "skc_rcv_saddr")?),
        (global::SKC_V6_DADDR, or("sock_common", "skc_v6_daddr", 0)),
        (global::SKC_V6_RCV_SADDR, or("sock_common", "skc_v6_rcv_saddr", 0)),
        (global::INET_SPORT, at("inet_sock", "inet_sport")?),
        (global::UNIX_ADDR, or("unix_sock", "addr", 0)),
        (global::UNIX_PEER, or("unix_sock", "peer", 0)),
        (global::UNIX_ADDRESS_LEN, or("unix_address", "len", 0)),
        (global::UNIX_ADDRESS_NAME, or("unix_address", "name", 0)),
        (global::ALLOC_INODE, at("socket_alloc", "vfs_inode")?),
        (global::NETLINK_PORTID, or("netlink_sock", "portid", 0)),
    ])
}

/// The kernel side reads these fields of a dentry at once.
fn check_neighbours(types: &KernelTypes, hash: u32) -> Result<(), BtfError> {
    let neighbours =
        [("d_seq", hash.wrapping_sub(4)), ("d_parent", hash + 16), ("d_name", hash + 24)];
    for (field, expected) in neighbours {
        if types.offset("dentry", field)? != expected {
            return Err(BtfError::NoField { path: format!("dentry.{field} where it is expected") });
        }
    }
    let root = types.offset("mount", "mnt_parent")?;
    if types.offset("mount", "mnt_mountpoint")? != root + 8 {
        let path = "mount.mnt_mountpoint where it is expected".into();
        return Err(BtfError::NoField { path });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{btf::VMLINUX, object},
        *,
    };

    #[test]
    fn every_call_of_the_cast_is_completed() {
        let Ok(bytes) = std::fs::read(VMLINUX) else {
            println!("SKIPPED: this kernel shows no BTF");
            return;
        };
        let types = KernelTypes::parse(&bytes).unwrap();
        let done = complete(object::BYTES, &types);
        assert_eq!(done.len(), object::BYTES.len());
        for marker in [CAST_MARKER, WORDS_MARKER] {
            let marks =
                |bytes: &[u8]| bytes.windows(4).filter(|it| **it == marker.to_le_bytes()).count();
            assert!(marks(object::BYTES) > 0);
            assert_eq!(marks(&done), 0);
        }
    }

    #[test]
    fn this_kernel_has_the_fields() {
        let Ok(bytes) = std::fs::read(VMLINUX) else {
            println!("SKIPPED: this kernel shows no BTF");
            return;
        };
        let types = KernelTypes::parse(&bytes).unwrap();
        let globals = globals(&types, Some(FileDetail::Protocols)).unwrap();
        assert!(globals.contains(&(global::FILES, detail::PROTOCOLS)));
    }
}
