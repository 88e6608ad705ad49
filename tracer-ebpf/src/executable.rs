//! The path of the file that a program was mapped from, by [`crate::path`].

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::lifecycle::exe;

use crate::{
    capture::{bounded, bounded_part},
    kernel_memory::read_kernel,
    maps::{DENTRY_HASH, FILE_PATH, FS_ROOT, FileDesk, Launched},
    path,
    stats::swap,
    task::Task,
};

/// Writes the components to the record, the last one first, from `at` of its launch on, where there
/// is room for `EXE` bytes behind `BEFORE` others at most. Not inlined: it has the stack for itself.
#[inline(never)]
pub(crate) fn write_path<const ROOM: usize, const BEFORE: usize, const EXE: usize>(
    desk: Option<*mut FileDesk>,
    record: &mut Launched<ROOM>,
    task: Task,
    at: usize,
) {
    record.event.exe_len = 0;
    record.event.exe_flags = 0;
    let file = task.exe_file();
    // Where the kernel's types do not have them, no path is known.
    if file == 0 || DENTRY_HASH.load() == 0 {
        return;
    }
    let Some(desk) = desk else { return };
    // A program that was preempted may use it.
    // SAFETY: aligned and valid.
    if unsafe { swap(&raw mut (*desk).is_taken, 1) } != 0 {
        record.event.exe_flags = exe::FAULT;
        return;
    }
    // SAFETY: the desk is this program's until it is given back.
    let it = unsafe { &mut *desk };
    it.root = read_kernel(task.fs() + u64::from(FS_ROOT.load()));
    it.path = read_kernel(file + u64::from(FILE_PATH.load()));
    it.header.flags = 0;
    path::write_path_to(desk);
    let len = it.len as usize;
    // One that does not fit would be cut in the middle of a component.
    if len <= EXE {
        let (at, len) = (bounded_part(at, BEFORE), bounded(len, EXE));
        // SAFETY: so many bytes fit behind those before.
        let to = unsafe { record.launch.as_mut_ptr().add(at) };
        let from = it.bytes.as_ptr().cast();
        // SAFETY: as above; map values can always be read.
        if unsafe { bpf_probe_read_kernel(to.cast(), len as u32, from) } == 0 {
            record.event.exe_len = len as u16;
            let alone = if it.is_alone == 0 { 0 } else { exe::ALONE };
            record.event.exe_flags = it.header.flags & !exe::ALONE | alone;
        }
    }
    // SAFETY: aligned and valid.
    unsafe { (&raw mut (*desk).is_taken).write_volatile(0) };
}
