//! The path of the file that a program was mapped from, as the kernel holds it in memory: from its
//! dentry up through folders and mounts to the root of the process. Nothing is opened and nothing
//! waits.
//!
//! Another thread or process can rename a folder meanwhile. So each component is read between two
//! looks at its dentry's sequence number, and one that has changed is read again.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::lifecycle::exe;

use crate::{
    capture::{bounded, opaque},
    maps::{
        DENTRY_HASH, DENTRY_NAME, DENTRY_PARENT, DENTRY_SEQ, FILE_PATH, FS_ROOT, LAUNCH_SLACK,
        Launched, MOUNT_MNT, MOUNT_PARENT, VFSMOUNT_ROOT,
    },
    task::{Task, read_kernel},
};

/// Folders and mounts that are gone through, at most.
const STEPS: usize = 64;
/// The longest name of a component: `NAME_MAX`.
const COMPONENT: usize = 255;

/// Writes the components to the record, the last one first, from `at` of its launch on, where there
/// is room for `EXE` bytes behind `BEFORE` others at most. Not inlined: it has the stack for itself.
#[inline(never)]
pub(crate) fn write_path<const ROOM: usize, const BEFORE: usize, const EXE: usize>(
    record: &mut Launched<ROOM>,
    task: Task,
    at: usize,
) {
    record.event.exe_len = 0;
    record.event.exe_flags = 0;
    let file = task.exe_file();
    // Where the kernel's types do not have them, no path is known.
    if file.is_null() || DENTRY_PARENT.load() == 0 {
        return;
    }
    let [root_mount, root]: [u64; 2] = read_kernel(task.fs() + u64::from(FS_ROOT.load()));
    let [mut mount, mut dentry]: [u64; 2] = read_kernel(file as u64 + u64::from(FILE_PATH.load()));
    for _ in (0..STEPS).map(opaque) {
        if dentry == root && mount == root_mount {
            return;
        }
        if dentry == read_kernel(mount + u64::from(VFSMOUNT_ROOT.load())) {
            let around = mount.wrapping_sub(u64::from(MOUNT_MNT.load()));
            let above: [u64; 2] = read_kernel(around + u64::from(MOUNT_PARENT.load()));
            let up = above[0] + u64::from(MOUNT_MNT.load());
            if above[0] == 0 || up == mount {
                record.event.exe_flags |= exe::OUTSIDE_ROOT;
                return;
            }
            (mount, dentry) = (up, above[1]);
            continue;
        }
        let parent: u64 = read_kernel(dentry + u64::from(DENTRY_PARENT.load()));
        let seq: u32 = read_kernel(dentry + u64::from(DENTRY_SEQ.load()));
        let hashed: u64 = read_kernel(dentry + u64::from(DENTRY_HASH.load()) + 8);
        if record.event.exe_len == 0 && hashed == 0 && parent != dentry {
            record.event.exe_flags |= exe::DELETED;
        }
        let Some(end) = write_component::<ROOM, BEFORE, EXE>(record, dentry, at) else { return };
        let now: u32 = read_kernel(dentry + u64::from(DENTRY_SEQ.load()));
        if seq & 1 != 0 || seq != now {
            continue;
        }
        record.event.exe_len = end;
        if parent == dentry {
            record.event.exe_flags |= exe::ALONE;
            return;
        }
        dentry = parent;
    }
    record.event.exe_flags |= exe::CUT;
}

/// Writes one component behind the others; where it ends, or `None` where there is no room. The
/// length stands in memory: as a number that the verifier knows it would make another state of each
/// round.
#[inline(always)]
fn write_component<const ROOM: usize, const BEFORE: usize, const EXE: usize>(
    record: &mut Launched<ROOM>,
    dentry: u64,
    at: usize,
) -> Option<u16> {
    let last = EXE - COMPONENT - 2;
    let used = record.event.exe_len as usize;
    if used > last {
        record.event.exe_flags |= exe::CUT;
        return None;
    }
    let name = dentry + u64::from(DENTRY_NAME.load());
    let (used, len) = (bounded(used, last), read_kernel::<u32>(name + 4));
    let len = bounded(len as usize, COMPONENT);
    let text: u64 = read_kernel(name + 8);
    let at = bounded(at, BEFORE + LAUNCH_SLACK - 1);
    // SAFETY: a component and its zero fit behind the last place where one can begin.
    let to = unsafe { record.launch.as_mut_ptr().add(at).add(used) };
    // SAFETY: as above; the helper checks the address.
    let failed = unsafe { bpf_probe_read_kernel(to.cast(), len as u32, text as *const _) };
    if failed != 0 {
        record.event.exe_flags |= exe::FAULT;
    }
    // SAFETY: as above.
    unsafe { to.add(len).write(0) };
    Some((used + len + 1) as u16)
}
