//! The file that a descriptor of the running task leads to.

use tracer_common::file::{CURRENT_FOLDER, FileHeader, FileKind, PATH_BYTES, detail, flag};

use crate::{
    capture::bounded,
    kernel_memory::{at, clear_words, word, words},
    maps::{
        ATOMIC_COUNTERS, FDT_FD, FDT_MAX_FDS, FILE_DESKS, FILE_INODE, FILE_PATH, FILE_PRIVATE,
        FILES, FILES_FDT, FS_PWD, FS_ROOT, FileDesk, HAS_CAST, INODE_INO, INODE_MODE,
        INODE_PRIVATE, INODE_RDEV, INODE_SB, NS_COMMON_OPS, NS_OPS_NAME, PID_NUMBERS, SB_DEV,
        SB_MAGIC,
    },
    path::{self, store},
    socket::write_socket,
    stats::{order_loads, swap},
    task::TaskAddress,
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

/// A place in a table of descriptors.
struct Place {
    /// Where the address of the table stands.
    table_at: u64,
    /// The table, a `struct fdtable`.
    table: u64,
    /// The place; 0 when the table has none.
    slot: u64,
}

/// Where a `struct file` stands for a descriptor of the task.
#[inline(always)]
fn place_of<const CAST: bool>(task: TaskAddress, fd: i32) -> Place {
    let table_at = task.files::<CAST>() + u64::from(FILES_FDT.load());
    let table = word::<CAST>(table_at);
    let fd = fd as u32;
    if fd >= at::<CAST>(table, &FDT_MAX_FDS) as u32 {
        return Place { table_at, table, slot: 0 };
    }
    Place { table_at, table, slot: at::<CAST>(table, &FDT_FD) + u64::from(fd) * 8 }
}

/// [`print_of`] a descriptor that is not open.
pub(crate) const CLOSED: u64 = 1;

/// What descriptor `fd` leads to at this moment, or the current folder for [`CURRENT_FOLDER`], as a
/// number to compare with that of another moment: never 0. A `struct file` that is freed can come
/// back at once for another file, and so can the dentry of a pipe or a socket: mount, dentry and the
/// inode's number count too.
#[inline(always)]
pub(crate) fn print_of(task: TaskAddress, fd: i32) -> u64 {
    if HAS_CAST.load() != 0 { print_by::<true>(task, fd) } else { print_by::<false>(task, fd) }
}

#[inline(always)]
fn print_by<const CAST: bool>(task: TaskAddress, fd: i32) -> u64 {
    if fd == CURRENT_FOLDER {
        return print(0, current_folder::<CAST>(task), 0);
    }
    print_at::<CAST>(place_of::<CAST>(task, fd).slot)
}

/// Of what stands at this place of a table.
#[inline(always)]
fn print_at<const CAST: bool>(slot: u64) -> u64 {
    let file = if slot == 0 { 0 } else { word::<CAST>(slot) };
    if file == 0 {
        return CLOSED;
    }
    let inode = at::<CAST>(file, &FILE_INODE);
    print(file, path_of::<CAST>(file), at::<CAST>(inode, &INODE_INO))
}

/// One number of four: each times an odd one of its own, whose bits are those of the square roots of
/// the first primes.
#[inline(always)]
fn print(file: u64, path: [u64; 2], inode: u64) -> u64 {
    let sum = file
        .wrapping_mul(0x6a09_e667_f3bc_c909)
        .wrapping_add(path[0].wrapping_mul(0xbb67_ae85_84ca_a73b))
        .wrapping_add(path[1].wrapping_mul(0x3c6e_f372_fe94_f82b))
        .wrapping_add(inode.wrapping_mul(0xa54f_f53a_5f1d_36f1));
    (sum ^ sum >> 32) | 2
}

/// Mount and dentry of a `struct file`.
#[inline(always)]
fn path_of<const CAST: bool>(file: u64) -> [u64; 2] {
    words::<CAST>(file + u64::from(FILE_PATH.load()))
}

/// Mount and dentry of the current folder.
#[inline(always)]
fn current_folder<const CAST: bool>(task: TaskAddress) -> [u64; 2] {
    words::<CAST>(task.fs::<CAST>() + u64::from(FS_PWD.load()))
}

/// Writes to the desk what descriptor `fd` leads to, or the current folder for [`CURRENT_FOLDER`].
#[inline(always)]
pub(crate) fn write_file(it: &mut FileDesk, task: TaskAddress, fd: i32) {
    if HAS_CAST.load() != 0 {
        write_file_by::<true>(it, task, fd);
    } else {
        write_file_by::<false>(it, task, fd);
    }
}

#[inline(always)]
fn write_file_by<const CAST: bool>(it: &mut FileDesk, task: TaskAddress, fd: i32) {
    it.len = 0;
    it.is_alone = 0;
    it.print = CLOSED;
    // SAFETY: the header is so many words.
    unsafe { clear_words::<{ size_of::<FileHeader>() / 8 }>((&raw mut it.header).cast()) };
    it.header.fd = fd;
    let has_changed = if fd == CURRENT_FOLDER {
        it.path = current_folder::<CAST>(task);
        it.print = print(0, it.path, 0);
        it.header.kind = FileKind::File as u8;
        write_path::<CAST>(it, task);
        // SAFETY: aligned and valid.
        unsafe { order_loads(&raw mut it.fence) };
        print_by::<CAST>(task, fd) != it.print
    } else {
        let place = place_of::<CAST>(task, fd);
        it.file = if place.slot == 0 { 0 } else { word::<CAST>(place.slot) };
        if it.file != 0 {
            write_open::<CAST>(it, task);
        }
        // SAFETY: aligned and valid.
        unsafe { order_loads(&raw mut it.fence) };
        // The table of a process grows by becoming another one.
        let is_there = word::<CAST>(place.table_at) == place.table;
        let slot = if is_there { place.slot } else { place_of::<CAST>(task, fd).slot };
        print_at::<CAST>(slot) != it.print
    };
    if has_changed {
        it.header.flags |= flag::CHANGED;
    }
    end_with_zeroes(it);
}

/// What is kept is whole words: behind the last byte nothing may stand that was there before.
#[inline(always)]
fn end_with_zeroes(desk: &mut FileDesk) {
    let end = bounded(desk.len as usize, PATH_BYTES - 8);
    // SAFETY: a word fits behind the last byte.
    unsafe { store::<0>(desk.bytes.as_mut_ptr().add(end), 0) };
}

/// Writes what is known of the file `desk.file`.
#[inline(always)]
fn write_open<const CAST: bool>(desk: &mut FileDesk, task: TaskAddress) {
    let magic = look::<CAST>(desk);
    let kind = match magic {
        SOCKFS => FileKind::Socket,
        PIPEFS => FileKind::Pipe,
        ANONYMOUS => FileKind::Anonymous,
        NSFS => FileKind::Namespace,
        PIDFS => FileKind::Process,
        _ => FileKind::File,
    };
    desk.header.kind = kind as u8;
    match magic {
        SOCKFS if FILES.load() == detail::PROTOCOLS => {
            write_socket(desk, at::<CAST>(desk.file, &FILE_PRIVATE));
        }
        PIDFS if FILES.load() == detail::PROTOCOLS => process::<CAST>(desk),
        SOCKFS | PIPEFS | PIDFS => {}
        NSFS => namespace::<CAST>(desk),
        _ => {
            write_path::<CAST>(desk, task);
            if magic != ANONYMOUS && desk.is_alone != 0 {
                desk.header.kind = match magic {
                    TMPFS | HUGETLBFS | SECRETMEM => FileKind::Memory,
                    _ => FileKind::Other,
                } as u8;
            }
        }
    }
}

/// Writes the path that begins at `desk.path`, as the process sees it.
#[inline(always)]
fn write_path<const CAST: bool>(desk: &mut FileDesk, task: TaskAddress) {
    let root = task.fs::<CAST>() + u64::from(FS_ROOT.load());
    desk.root = words::<CAST>(root);
    path::write::<CAST>(desk);
    // SAFETY: aligned and valid.
    unsafe { order_loads(&raw mut desk.fence) };
    let after = words::<CAST>(root);
    if after[0] != desk.root[0] || after[1] != desk.root[1] {
        desk.header.flags |= flag::CHANGED;
    }
}

/// Writes the id of the process that a pidfd is about: its inode has the `struct pid`,
/// <https://github.com/torvalds/linux/blob/v6.12/fs/pidfs.c#L126>.
#[inline(always)]
fn process<const CAST: bool>(desk: &mut FileDesk) {
    let inode = at::<CAST>(desk.file, &FILE_INODE);
    let pid = at::<CAST>(inode, &INODE_PRIVATE);
    if pid == 0 {
        return;
    }
    let number = at::<CAST>(pid, &PID_NUMBERS) as u32;
    // SAFETY: the bytes begin at a multiple of 8, and there is room.
    unsafe { desk.bytes.as_mut_ptr().cast::<u32>().write(number) };
    desk.len = 4;
}

/// Writes path and what the inode says to the desk; returns the magic number of the inode's file
/// system.
#[inline(always)]
fn look<const CAST: bool>(desk: &mut FileDesk) -> u64 {
    let file = desk.file;
    desk.path = path_of::<CAST>(file);
    let inode = at::<CAST>(file, &FILE_INODE);
    desk.header.mode = at::<CAST>(inode, &INODE_MODE) as u16;
    desk.header.inode = at::<CAST>(inode, &INODE_INO);
    if FILES.load() == detail::PROTOCOLS {
        desk.header.rdev = at::<CAST>(inode, &INODE_RDEV) as u32;
    }
    let super_block = at::<CAST>(inode, &INODE_SB);
    desk.header.device = at::<CAST>(super_block, &SB_DEV) as u32;
    desk.print = print(file, desk.path, desk.header.inode);
    at::<CAST>(super_block, &SB_MAGIC)
}

/// Writes the type of a namespace, `net`, as the one component.
#[inline(always)]
fn namespace<const CAST: bool>(desk: &mut FileDesk) {
    const TYPE: u32 = 16;
    if NS_COMMON_OPS.load() == u32::MAX {
        return;
    }
    let inode = at::<CAST>(desk.file, &FILE_INODE);
    let namespace = at::<CAST>(inode, &INODE_PRIVATE);
    let operations = at::<CAST>(namespace, &NS_COMMON_OPS);
    let name = at::<CAST>(operations, &NS_OPS_NAME);
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
