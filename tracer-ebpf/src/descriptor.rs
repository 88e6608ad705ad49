//! The file that a descriptor of the running task leads to.

use aya_ebpf::{bindings::task_struct, helpers::generated::bpf_get_current_task_btf};
use tracer_common::file::{CURRENT_FOLDER, FileHeader, FileKind, detail, flag};

use crate::{
    maps::{
        ATOMIC_COUNTERS, FDT_FD, FDT_MAX_FDS, FILE_DESKS, FILE_INODE, FILE_PATH, FILE_PRIVATE,
        FILES, FILES_FDT, FS_PWD, FS_ROOT, FileDesk, HAS_CAST, ID_FILE, INODE_INO, INODE_MODE,
        INODE_PRIVATE, INODE_RDEV, INODE_SB, NS_COMMON_OPS, NS_OPS_NAME, PID_NUMBERS, SB_DEV,
        SB_MAGIC, TASK_FILES, TASK_FS,
    },
    path::{self, get, pointer},
    socket::write_socket,
    stats::swap,
    task::{field, read_kernel},
};

/// Magic numbers of file systems, `uapi/linux/magic.h`.
const SOCKFS: u64 = 0x534f_434b;
const PIPEFS: u64 = 0x5049_5045;
const ANONYMOUS: u64 = 0x0904_1934;
const NSFS: u64 = 0x6e73_6673;
const PIDFS: u64 = 0x5049_4446;
/// Those whose files without a folder are memory: `memfd_create` and the like.
const TMPFS: u64 = 0x0102_1994;
const HUGETLBFS: u64 = 0x9584_58f6;
const SECRETMEM: u64 = 0x5345_434d;

/// Takes this processor's desk; `None` while a program that was preempted uses it.
#[inline(always)]
pub(crate) fn take() -> Option<*mut FileDesk> {
    let desk = FILE_DESKS.get_ptr_mut(0)?;
    if ATOMIC_COUNTERS.load() == 0 {
        return Some(desk);
    }
    // SAFETY: aligned and valid.
    (unsafe { swap(&raw mut (*desk).is_taken, 1) } == 0).then_some(desk)
}

/// Gives the desk back.
#[inline(always)]
pub(crate) fn give_back(desk: *mut FileDesk) {
    if ATOMIC_COUNTERS.load() != 0 {
        // SAFETY: aligned and valid.
        unsafe { (&raw mut (*desk).is_taken).write_volatile(0) };
    }
}

/// The `struct file` behind a descriptor; 0 when it is not open.
#[inline(always)]
pub(crate) fn file_of(fd: i32) -> u64 {
    // SAFETY: the offsets are those of the fields; the verifier checks each load.
    let (max, table): (u32, u64) = unsafe {
        let task: *mut task_struct = bpf_get_current_task_btf();
        let files: *mut u8 = field(task.cast(), TASK_FILES.load());
        let table: *mut u8 = field(files, FILES_FDT.load());
        (field(table, FDT_MAX_FDS.load()), field(table, FDT_FD.load()))
    };
    let fd = fd as u32;
    if fd >= max {
        return 0;
    }
    read_kernel(table + u64::from(fd) * 8)
}

/// [`print_of`] a descriptor that is not open.
pub(crate) const CLOSED: u64 = 1;

/// What descriptor `fd` leads to at this moment, or the current folder for [`CURRENT_FOLDER`], as a
/// number to compare with that of another moment: never 0. A `struct file` that is freed can come
/// back at once for another file, and so can the dentry of a pipe or a socket: mount, dentry and the
/// inode's number count too. A global function for the kernel, as those of `place`.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn print_of(fd: u32) -> u64 {
    // Kernels before 6.8 look at a global function that nobody calls, too.
    if FILES.load() == 0 {
        return CLOSED;
    }
    let fd = fd as i32;
    if fd == CURRENT_FOLDER {
        return print(0, current_folder(), 0);
    }
    let file = file_of(fd);
    if file == 0 { CLOSED } else { print(file, path_of(file), inode_number(file)) }
}

#[inline(always)]
fn print(file: u64, path: [u64; 2], inode: u64) -> u64 {
    /// Odd, so that no bit is lost; 2^64 by the golden ratio.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sum = 0_u64;
    for word in [file, path[0], path[1], inode] {
        sum = (sum ^ word).wrapping_mul(SPREAD);
        sum ^= sum >> 32;
    }
    sum | 2
}

/// Mount and dentry of a `struct file`.
#[inline(always)]
fn path_of(file: u64) -> [u64; 2] {
    read_kernel(file + u64::from(FILE_PATH.load()))
}

/// Mount and dentry of the current folder.
#[inline(always)]
fn current_folder() -> [u64; 2] {
    // SAFETY: the offset is that of the field; the verifier checks the load.
    let fs = unsafe {
        let task: *mut task_struct = bpf_get_current_task_btf();
        field::<*mut u8>(task.cast(), TASK_FS.load()) as u64
    };
    read_kernel(fs + u64::from(FS_PWD.load()))
}

#[inline(always)]
fn inode_number(file: u64) -> u64 {
    if HAS_CAST.load() != 0 {
        let inode: *mut u8 = load::<true>(pointer::<true>(file, ID_FILE.load()), FILE_INODE.load());
        get::<true, u64>(inode, INODE_INO.load())
    } else {
        let inode: *mut u8 = load::<false>(file as *mut u8, FILE_INODE.load());
        get::<false, u64>(inode, INODE_INO.load())
    }
}

/// Writes to the desk what descriptor `fd` leads to, or the current folder for
/// [`CURRENT_FOLDER`]. A global function for the kernel, as those of `place`.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn write_file(desk: *mut FileDesk, fd: u32) -> u32 {
    // Kernels before 6.8 look at a global function that nobody calls, too.
    if FILES.load() == 0 {
        return 0;
    }
    // SAFETY: by the caller's word it is null or a desk that it has taken.
    let Some(it) = (unsafe { desk.as_mut() }) else { return 0 };
    let fd = fd as i32;
    it.len = 0;
    it.is_alone = 0;
    it.print = CLOSED;
    it.header = FileHeader { fd, kind: FileKind::Closed as u8, ..FileHeader::default() };
    if fd == CURRENT_FOLDER {
        it.header.kind = FileKind::File as u8;
        it.path = current_folder();
        it.print = print(0, it.path, 0);
        write_path(it);
        return 0;
    }
    let file = file_of(fd);
    if file == 0 {
        return 0;
    }
    it.path = path_of(file);
    let magic =
        if HAS_CAST.load() != 0 { inode::<true>(it, file) } else { inode::<false>(it, file) };
    it.print = print(file, it.path, it.header.inode);
    let kind = match magic {
        SOCKFS => FileKind::Socket,
        PIPEFS => FileKind::Pipe,
        ANONYMOUS => FileKind::Anonymous,
        NSFS => FileKind::Namespace,
        PIDFS => FileKind::Process,
        _ => FileKind::File,
    };
    it.header.kind = kind as u8;
    match magic {
        SOCKFS if FILES.load() == detail::PROTOCOLS => {
            write_socket(desk, read_kernel(file + u64::from(FILE_PRIVATE.load())));
        }
        PIDFS if FILES.load() == detail::PROTOCOLS => process(it, file),
        SOCKFS | PIPEFS | PIDFS => {}
        NSFS => namespace(it, file),
        _ => {
            write_path(it);
            if magic != ANONYMOUS && it.is_alone != 0 {
                it.header.kind = match magic {
                    TMPFS | HUGETLBFS | SECRETMEM => FileKind::Memory,
                    _ => FileKind::Other,
                } as u8;
            }
        }
    }
    0
}

/// Writes the path that begins at `desk.path`, as the process sees it.
#[inline(always)]
fn write_path(desk: &mut FileDesk) {
    write_root(&raw mut desk.root);
    path::write(desk);
    write_root(&raw mut desk.root_after);
    let [before, after] = [&raw const desk.root, &raw const desk.root_after];
    // SAFETY: aligned and valid. From memory the verifier takes them for numbers, which it lets
    // compilers put together as they like.
    if unsafe { before.read_volatile() != after.read_volatile() } {
        desk.header.flags |= flag::CHANGED;
    }
}

/// Writes mount and dentry at which paths of the process begin.
#[inline(always)]
fn write_root(to: *mut [u64; 2]) {
    // SAFETY: the offsets are those of the fields; the verifier checks each load. There is room.
    unsafe {
        let task: *mut task_struct = bpf_get_current_task_btf();
        let fs: *mut u8 = field(task.cast(), TASK_FS.load());
        to.write_volatile([field(fs, FS_ROOT.load()), field(fs, FS_ROOT.load() + 8)]);
    }
}

/// Writes the id of the process that a pidfd is about: its inode has the `struct pid`,
/// <https://github.com/torvalds/linux/blob/v6.12/fs/pidfs.c#L126>.
#[inline(always)]
fn process(desk: &mut FileDesk, file: u64) {
    let inode: u64 = read_kernel(file + u64::from(FILE_INODE.load()));
    let pid: u64 = read_kernel(inode + u64::from(INODE_PRIVATE.load()));
    if pid == 0 {
        return;
    }
    let number: u32 = read_kernel(pid + u64::from(PID_NUMBERS.load()));
    // SAFETY: the bytes begin at a multiple of 8, and there is room.
    unsafe { desk.bytes.as_mut_ptr().cast::<u32>().write(number) };
    desk.len = 4;
}

/// Writes what the inode says to the desk's header; returns the magic number of its file system.
#[inline(always)]
fn inode<const CAST: bool>(desk: &mut FileDesk, file: u64) -> u64 {
    let file = pointer::<CAST>(file, ID_FILE.load());
    let inode: *mut u8 = load::<CAST>(file, FILE_INODE.load());
    desk.header.mode = get::<CAST, u16>(inode, INODE_MODE.load());
    desk.header.inode = get::<CAST, u64>(inode, INODE_INO.load());
    if FILES.load() == detail::PROTOCOLS {
        desk.header.rdev = get::<CAST, u32>(inode, INODE_RDEV.load());
    }
    let super_block: *mut u8 = load::<CAST>(inode, INODE_SB.load());
    desk.header.device = get::<CAST, u32>(super_block, SB_DEV.load());
    get::<CAST, u64>(super_block, SB_MAGIC.load())
}

/// Loads a pointer to a struct.
#[inline(always)]
fn load<const CAST: bool>(base: *mut u8, offset: u32) -> *mut u8 {
    if CAST {
        // SAFETY: the offset is that of a field of this type, by the kernel's BTF.
        unsafe { field(base, offset) }
    } else {
        read_kernel::<u64>(base as u64 + u64::from(offset)) as *mut u8
    }
}

/// Writes the type of a namespace, `net`, as the one component.
#[inline(always)]
fn namespace(desk: &mut FileDesk, file: u64) {
    const TYPE: u32 = 16;
    if NS_COMMON_OPS.load() == u32::MAX {
        return;
    }
    let inode: u64 = read_kernel(file + u64::from(FILE_INODE.load()));
    let namespace: u64 = read_kernel(inode + u64::from(INODE_PRIVATE.load()));
    let operations: u64 = read_kernel(namespace + u64::from(NS_COMMON_OPS.load()));
    let name: u64 = read_kernel(operations + u64::from(NS_OPS_NAME.load()));
    // SAFETY: there is room; the helper checks the address.
    let len = unsafe {
        let to = desk.bytes.as_mut_ptr();
        aya_ebpf::helpers::generated::bpf_probe_read_kernel_str(to.cast(), TYPE, name as *const _)
    };
    if len > 0 && len <= i64::from(TYPE) {
        desk.len = len as u32;
    } else {
        desk.header.flags |= flag::FAULT;
    }
}
