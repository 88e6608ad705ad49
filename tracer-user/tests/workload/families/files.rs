//! Files, file systems, and memory that is mapped.

use super::{
    Arg, address, at_page_end, call, every_bit, everywhere, flags, hex, memory, named, names, num,
    quietly, read, say, string, wide,
};

fn current() -> Arg {
    named(libc::AT_FDCWD, "AT_FDCWD")
}

fn temporary(name: &str) -> String {
    std::env::temp_dir()
        .join(format!("{name}-{}", std::process::id()))
        .to_str()
        .expect("text")
        .to_owned()
}

/// `stat` in its forms, of a file of ours, a folder and a device.
pub(super) fn stat() {
    let path = temporary("families-stat");
    let fd = call(
        "openat",
        libc::SYS_openat,
        &[
            current(),
            string(&path),
            Arg(
                u64::from((libc::O_CREAT | libc::O_EXCL | libc::O_RDWR).cast_unsigned()),
                "O_RDWR|O_CREAT|O_EXCL".to_owned(),
            ),
            Arg(0o640, "0640".to_owned()),
        ],
    );
    call("fchmod", libc::SYS_fchmod, &[num(fd), Arg(0o4711, "04711".to_owned())]);
    call("ftruncate", libc::SYS_ftruncate, &[num(fd), num(1_234_567_890_123_i64)]);
    let own = "{st_mode=S_IFREG|S_ISUID|0711, st_size=1234567890123, ...}";
    let size = size_of::<libc::stat>();
    for room in [memory(&vec![0; size], own), at_page_end(&vec![0; size], own)] {
        call("fstat", libc::SYS_fstat, &[num(fd), room.clone()]);
        call("newfstatat", libc::SYS_newfstatat, &[current(), string(&path), room, num(0)]);
    }
    let failed = [current(), string(&path), num(0), num(0)];
    for place in super::NOWHERE {
        let mut args = failed.clone();
        args[2] = address(place);
        call("newfstatat", libc::SYS_newfstatat, &args);
    }
    let null = "{st_mode=S_IFCHR|0666, st_rdev=makedev(0x1, 0x3), ...}";
    let args = [current(), string("/dev/null"), memory(&vec![0; size], null), num(0)];
    call("newfstatat", libc::SYS_newfstatat, &args);
    let names = [
        ("AT_SYMLINK_NOFOLLOW", 0x100),
        ("AT_REMOVEDIR", 0x200),
        ("AT_SYMLINK_FOLLOW", 0x400),
        ("AT_NO_AUTOMOUNT", 0x800),
        ("AT_EMPTY_PATH", 0x1000),
        ("AT_RECURSIVE", 0x8000),
    ];
    let args = [num(-1), string("relative"), address(0x2000), num(0)];
    every_bit("newfstatat", libc::SYS_newfstatat, &args, 3, &names, "AT");
    call("unlinkat", libc::SYS_unlinkat, &[current(), string(&path), num(0)]);
    statx();
}

/// Bits of `struct statx`'s mask, linux/stat.h.
const STATX: [(&str, u64); 17] = [
    ("STATX_ALL", 0xfff),
    ("STATX_BASIC_STATS", 0x7ff),
    ("STATX_TYPE", 1),
    ("STATX_MODE", 2),
    ("STATX_NLINK", 4),
    ("STATX_UID", 8),
    ("STATX_GID", 0x10),
    ("STATX_ATIME", 0x20),
    ("STATX_MTIME", 0x40),
    ("STATX_CTIME", 0x80),
    ("STATX_INO", 0x100),
    ("STATX_SIZE", 0x200),
    ("STATX_BLOCKS", 0x400),
    ("STATX_BTIME", 0x800),
    ("STATX_MNT_ID", 0x1000),
    ("STATX_DIOALIGN", 0x2000),
    ("STATX_MNT_ID_UNIQUE", 0x4000),
];

fn statx() {
    let basic = [named(0, "AT_STATX_SYNC_AS_STAT"), Arg(0x7ff, "STATX_BASIC_STATS".to_owned())];
    let [sync, mask] = basic;
    let room = memory(&[0; 256], "");
    let args = [current(), string("/dev/null"), sync, mask, room.clone()];
    let ret = quietly(libc::SYS_statx, &args);
    let it: libc::statx = read(&room);
    let names =
        [&STATX[..], &[("STATX_SUBVOL", 0x8000), ("STATX_WRITE_ATOMIC", 0x1_0000)]].concat();
    let text = format!(
        "{{stx_mask={}, stx_attributes={}, stx_mode=S_IFCHR|0666, stx_size=0, ...}}",
        flags(it.stx_mask.into(), &names, "STATX"),
        flags(it.stx_attributes, &[("STATX_ATTR_MOUNT_ROOT", 0x2000)], "STATX_ATTR"),
    );
    let mut args = args;
    args[4].1 = text;
    say("statx", &args, ret);
    let bits = [
        &STATX[2..],
        &[
            ("STATX_SUBVOL", 0x8000),
            ("STATX_WRITE_ATOMIC", 0x1_0000),
            ("STATX_DIO_READ_ALIGN", 0x2_0000),
        ],
    ]
    .concat();
    args[0] = num(-1);
    args[1] = string("relative");
    args[4] = address(0x2000);
    for bit in 0..18 {
        args[3] = Arg(1 << bit, flags(1 << bit, &bits, "STATX"));
        call("statx", libc::SYS_statx, &args);
    }
}

/// `statfs` of file systems that every kernel has.
pub(super) fn statfs() {
    for (path, kind) in [("/proc", "PROC_SUPER_MAGIC"), ("/sys", "SYSFS_MAGIC")] {
        let room = memory(&[0; 120], "");
        let ret = quietly(libc::SYS_statfs, &[string(path), room.clone()]);
        let [_, size, blocks, free, available, files, files_free, id, name, fragment, bits, ..]: [u64; 15] = read(&room);
        // include/linux/statfs.h
        let names = [
            ("ST_VALID", 0x20),
            ("ST_RDONLY", 1),
            ("ST_NOSUID", 2),
            ("ST_NODEV", 4),
            ("ST_NOEXEC", 8),
            ("ST_NOATIME", 0x400),
            ("ST_NODIRATIME", 0x800),
            ("ST_RELATIME", 0x1000),
        ];
        let text = format!(
            "{{f_type={kind}, f_bsize={size}, f_blocks={blocks}, f_bfree={free}, f_bavail={available}, \
             f_files={files}, f_ffree={files_free}, f_fsid={{val=[{}, {}]}}, f_namelen={name}, \
             f_frsize={fragment}, f_flags={}}}",
            hex(id & 0xffff_ffff).1,
            hex(id >> 32).1,
            flags(bits, &names, "ST")
        );
        say("statfs", &[string(path), Arg(room.0, text)], ret);
    }
    for place in super::NOWHERE {
        call("statfs", libc::SYS_statfs, &[string("/proc"), address(place)]);
    }
}

/// Flags of `open` as asm-generic/fcntl.h and the architecture have them.
fn open_names() -> Vec<(&'static str, u64)> {
    // What is `O_DSYNC` and `__O_SYNC` together goes first.
    let mut names = names!(O_CREAT O_EXCL O_NOCTTY O_TRUNC O_APPEND O_NONBLOCK O_SYNC O_DSYNC O_DIRECT O_NOFOLLOW O_NOATIME O_CLOEXEC O_PATH O_TMPFILE O_DIRECTORY).to_vec();
    names.push(("FASYNC", 0o20_000));
    names.insert(
        9,
        ("O_LARGEFILE", if cfg!(target_arch = "x86_64") { 0o100_000 } else { 0o400_000 }),
    );
    names
}

/// Every bit of the flags of `open`, and `struct open_how`.
pub(super) fn open() {
    let names = open_names();
    for bit in (0..32).filter(|bit| ![6, 22].contains(bit)) {
        let value = 1_u64 << bit;
        let text = match value & 3 {
            0 => format!("O_RDONLY|{}", flags(value, &names, "O").replace(" /* O_??? */", "")),
            1 => "O_WRONLY".to_owned(),
            _ => "O_RDWR".to_owned(),
        };
        call("openat", libc::SYS_openat, &[num(-1), string("relative"), Arg(value, text)]);
    }
    let modes = [(0o100, "O_RDONLY|O_CREAT", 0o7777, "07777"), (0o102, "O_RDWR|O_CREAT", 0, "000")];
    for (value, text, mode, its_text) in modes {
        let args = [
            num(-1),
            string("relative"),
            Arg(value, text.to_owned()),
            Arg(mode, its_text.to_owned()),
        ];
        call("openat", libc::SYS_openat, &args);
    }
    let resolve = [
        ("RESOLVE_NO_XDEV", 1),
        ("RESOLVE_NO_MAGICLINKS", 2),
        ("RESOLVE_NO_SYMLINKS", 4),
        ("RESOLVE_BENEATH", 8),
        ("RESOLVE_IN_ROOT", 0x10),
        ("RESOLVE_CACHED", 0x20),
    ];
    for bit in [0_u64, 1, 2, 4, 8, 0x10, 0x20, 0x40, 0x3f, 0xc000_0000_0000_0001] {
        let text =
            format!("{{flags=O_RDONLY|O_CLOEXEC, resolve={}}}", flags(bit, &resolve, "RESOLVE"));
        let content = wide(&[u64::from(libc::O_CLOEXEC.cast_unsigned()), 0, bit]);
        let args = [num(-1), string("relative"), num(0), num(24)];
        everywhere("openat2", libc::SYS_openat2, &args, 2, &content, &text);
    }
}

/// Mounts that fail, and what describes them.
pub(super) fn mount() {
    let names = names!(MS_RDONLY MS_NOSUID MS_NODEV MS_NOEXEC MS_SYNCHRONOUS);
    let plain = [string("/no/device"), string("/no/folder"), string("no-such-fs"), num(0), num(0)];
    let mut args = plain.clone();
    let content = b"size=10%,mode=0700\0";
    for (name, bit) in names {
        args[3] = Arg(bit, name.to_owned());
        everywhere("mount", libc::SYS_mount, &args, 4, content, "\"size=10%,mode=0700\"");
    }
    let kind = string("fs\n\u{1b}[31m\u{ff}");
    call(
        "fsopen",
        libc::SYS_fsopen,
        &[Arg(kind.0, r#""fs\n\x1b[31mÿ""#.to_owned()), named(1, "FSOPEN_CLOEXEC")],
    );
    for (command, name) in [(1, "FSCONFIG_SET_STRING"), (3, "FSCONFIG_SET_PATH")] {
        let args =
            [num(-1), named(command, name), string("source"), string("/dev/no\"ne"), num(-100)];
        call("fsconfig", libc::SYS_fsconfig, &args);
    }
    let attributes = wide(&[1 | 2, 8, 1 << 18, 5]);
    let text = "{attr_set=MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID, attr_clr=MOUNT_ATTR_NOEXEC, propagation=MS_PRIVATE, userns_fd=5}";
    let args = [num(-1), string(""), named(0x9000, "AT_EMPTY_PATH|AT_RECURSIVE"), num(0), num(32)];
    everywhere("mount_setattr", libc::SYS_mount_setattr, &args, 3, &attributes, text);
    let from = [num(-1), string("a"), num(-1), string("b"), num(0)];
    let names = [
        ("MOVE_MOUNT_F_SYMLINKS", 1),
        ("MOVE_MOUNT_F_AUTOMOUNTS", 2),
        ("MOVE_MOUNT_F_EMPTY_PATH", 4),
        ("MOVE_MOUNT_T_SYMLINKS", 0x10),
        ("MOVE_MOUNT_T_AUTOMOUNTS", 0x20),
        ("MOVE_MOUNT_T_EMPTY_PATH", 0x40),
        ("MOVE_MOUNT_SET_GROUP", 0x100),
        ("MOVE_MOUNT_BENEATH", 0x200),
    ];
    every_bit("move_mount", libc::SYS_move_mount, &from, 4, &names, "MOVE_MOUNT");
    let names = [("MNT_FORCE", 1), ("MNT_DETACH", 2), ("MNT_EXPIRE", 4), ("UMOUNT_NOFOLLOW", 8)];
    every_bit("umount2", libc::SYS_umount2, &[string("/no/folder"), num(0)], 1, &names, "MNT");
}

/// Protections and flags of mappings, of no bytes at all.
pub(super) fn mappings() {
    let protections = [
        ("PROT_READ", 1),
        ("PROT_WRITE", 2),
        ("PROT_EXEC", 4),
        ("PROT_SEM", 8),
        ("PROT_GROWSDOWN", 0x100_0000),
        ("PROT_GROWSUP", 0x200_0000),
    ];
    let args = [address(0x1001), num(4096), num(0)];
    every_bit("mprotect", libc::SYS_mprotect, &args, 2, &protections, "PROT");
    let none = [address(0), num(0), named(0, "PROT_NONE"), num(0), num(-1), hex(0)];
    let mut args = none;
    let names = names!(MAP_FIXED MAP_ANONYMOUS MAP_NORESERVE MAP_POPULATE MAP_NONBLOCK MAP_GROWSDOWN MAP_DENYWRITE MAP_EXECUTABLE MAP_LOCKED MAP_STACK MAP_HUGETLB MAP_SYNC MAP_FIXED_NOREPLACE);
    for (name, bit) in names {
        args[3] = Arg(bit | 2, format!("MAP_PRIVATE|{name}"));
        call("mmap", libc::SYS_mmap, &args);
    }
    let args = [address(0x1001), num(1), named(0, "MADV_NORMAL")];
    for (advice, name) in [
        (0, "MADV_NORMAL"),
        (4, "MADV_DONTNEED"),
        (9, "MADV_REMOVE"),
        (14, "MADV_HUGEPAGE"),
        (77, "0x4d /* MADV_??? */"),
    ] {
        let [start, len, _] = args.clone();
        call("madvise", libc::SYS_madvise, &[start, len, named(advice, name)]);
    }
    let names = [("MS_SYNC", 4), ("MS_ASYNC", 1), ("MS_INVALIDATE", 2)];
    every_bit("msync", libc::SYS_msync, &[address(0x1001), num(1), num(0)], 2, &names, "MS");
}
