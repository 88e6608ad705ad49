//! The path of a file as the kernel holds it in memory: from its dentry up through folders and
//! mounts to the root of the process. Nothing is opened and nothing waits.
//!
//! The program runs under RCU, which keeps dentries, mounts and inodes in memory; another thread can
//! still rename a folder or reuse a `struct file` meanwhile. So each component is read between two
//! looks at its dentry's sequence number, and a component that has changed is read again.
//!
//! A kernel that has `bpf_rdonly_cast` (6.2) lets a program load fields through a pointer that it
//! has not given it: one instruction each. Elsewhere each field costs a call of a helper. There are
//! two copies of what follows for these two ways; the one that is not used returns at once.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::file::{COMPONENT, PATH_BYTES, flag};

use crate::{
    capture::{bounded, opaque},
    maps::{
        DENTRY_HASH, DENTRY_NAME, DENTRY_PARENT, DENTRY_SEQ, FileDesk, HAS_CAST, ID_DENTRY,
        ID_VFSMOUNT, MOUNT_MNT, MOUNT_PARENT, VFSMOUNT_ROOT,
    },
    task::{field, read_kernel},
};

/// Folders and mounts that are gone through, at most.
const STEPS: usize = 64;
/// Where the last component can begin.
const LAST: usize = PATH_BYTES - COMPONENT - 9;

/// Takes a number for a pointer to a struct of the kernel, the one with the id `id` in its BTF.
/// Reading through it cannot fault: where there is no memory the value is 0.
///
/// The instruction calls `bpf_rdonly_cast`; the loader writes the function's id to where the marker
/// stands, [`tracer_common::abi::CAST_MARKER`]. The verifier makes a move of it.
#[inline(always)]
pub(crate) fn cast(pointer: u64, id: u32) -> *mut u8 {
    let typed: *mut u8;
    // SAFETY: changes the registers that a call changes.
    unsafe {
        core::arch::asm!(
            ".byte 0x85, 0x20, 0, 0",
            ".long {marker}",
            marker = const tracer_common::abi::CAST_MARKER,
            in("r1") pointer,
            in("r2") u64::from(id),
            lateout("r0") typed,
            lateout("r1") _,
            lateout("r2") _,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
            options(nostack),
        );
    }
    typed
}

/// A pointer to a struct of the kernel: one that the verifier knows if `CAST`, else a number.
#[inline(always)]
pub(crate) fn pointer<const CAST: bool>(address: u64, id: u32) -> *mut u8 {
    if CAST { cast(address, id) } else { address as *mut u8 }
}

/// Loads a field through such a pointer.
#[inline(always)]
pub(crate) fn get<const CAST: bool, T: Copy + Default>(base: *mut u8, offset: u32) -> T {
    if CAST {
        // SAFETY: the offset is that of a field of this type, by the kernel's BTF.
        unsafe { field(base, offset) }
    } else {
        read_kernel(base as u64 + u64::from(offset))
    }
}

/// What is needed of a dentry: neighbours in memory, which the loader has checked.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Dentry {
    flags: u32,
    seq: u32,
    next: u64,
    previous: u64,
    parent: u64,
    hash: u32,
    len: u32,
    name: u64,
}

/// What one step of the walk has come to.
const GOES_ON: u32 = 0;
const AT_END: u32 = 1;

/// Goes one step up from the dentry `desk.path[1]` in the mount `desk.path[0]`, which begins at
/// `desk.top`: over a folder, whose name is written, or over a mount.
#[inline(always)]
fn step<const CAST: bool>(desk: &mut FileDesk) -> u32 {
    let mount = desk.path[0];
    let dentry = pointer::<CAST>(desk.path[1], ID_DENTRY.load());
    if dentry as u64 == desk.root[1] && mount == desk.root[0] {
        return AT_END;
    }
    if dentry as u64 == desk.top {
        return above::<CAST>(desk, mount);
    }
    let mut all = Dentry::default();
    if CAST {
        // The number comes before all that it is about: what has moved meanwhile is seen by it.
        all.seq = get::<CAST, u32>(dentry, DENTRY_SEQ.load());
        // SAFETY: the offset is that of the field.
        all.parent = unsafe { field::<*mut u8>(dentry, DENTRY_PARENT.load()) } as u64;
        all.previous = get::<CAST, u64>(dentry, DENTRY_HASH.load() + 8);
        all.len = get::<CAST, u32>(dentry, DENTRY_NAME.load() + 4);
        all.name = get::<CAST, u64>(dentry, DENTRY_NAME.load() + 8);
    } else {
        all = read_kernel(dentry as u64 + u64::from(DENTRY_HASH.load()) - 8);
    }
    let Some(is_read) = write_component(desk, &all) else { return AT_END };
    if all.seq & 1 != 0 || get::<CAST, u32>(dentry, DENTRY_SEQ.load()) != all.seq {
        desk.header.flags |= flag::RENAMED;
        return GOES_ON;
    }
    let is_alone = all.parent == dentry as u64;
    if desk.len == 0 && all.previous == 0 && !is_alone {
        desk.header.flags |= flag::DELETED;
    }
    if !is_read {
        desk.header.flags |= flag::FAULT;
    }
    desk.len = desk.next;
    if is_alone {
        desk.is_alone = 1;
        return AT_END;
    }
    desk.path[1] = all.parent;
    GOES_ON
}

/// Goes from where a mount begins to the folder that it is mounted on. That a mount has been moved
/// between the reading of the one above and of the folder there, no number tells: both are read
/// again.
#[inline(always)]
fn above<const CAST: bool>(desk: &mut FileDesk, mount: u64) -> u32 {
    let around = mount - u64::from(MOUNT_MNT.load()) + u64::from(MOUNT_PARENT.load());
    let above: [u64; 2] = read_kernel(around);
    let again: [u64; 2] = read_kernel(around);
    if above != again {
        desk.header.flags |= flag::RENAMED;
        return GOES_ON;
    }
    let up = above[0] + u64::from(MOUNT_MNT.load());
    if up == mount || above[0] == 0 {
        desk.header.flags |= flag::OUTSIDE_ROOT;
        return AT_END;
    }
    desk.path = [up, above[1]];
    desk.top = top_of::<CAST>(up);
    GOES_ON
}

/// The dentry at which a mount begins.
#[inline(always)]
fn top_of<const CAST: bool>(mount: u64) -> u64 {
    get::<CAST, u64>(pointer::<CAST>(mount, ID_VFSMOUNT.load()), VFSMOUNT_ROOT.load())
}

/// Whether a dentry's last link has been removed: of one that a mount begins at, which the walk goes
/// past.
#[inline(always)]
fn is_removed(dentry: u64) -> bool {
    let parent: u64 = read_kernel(dentry + u64::from(DENTRY_PARENT.load()));
    let previous: u64 = read_kernel(dentry + u64::from(DENTRY_HASH.load()) + 8);
    previous == 0 && parent != dentry
}

/// Writes one component and notes in `desk.next` where it ends; says whether it could be read, and
/// nothing where there was no room. The length stands in memory: as a number that the verifier knows
/// it would make another state of each round.
#[inline(always)]
fn write_component(desk: &mut FileDesk, dentry: &Dentry) -> Option<bool> {
    let at = desk.len as usize;
    if at > LAST {
        desk.header.flags |= flag::CUT;
        return None;
    }
    let len = bounded(dentry.len as usize, COMPONENT);
    let at = bounded(at, LAST);
    // SAFETY: a component and its zero fit behind the last place where one can begin.
    let to = unsafe { desk.bytes.as_mut_ptr().add(at) };
    // SAFETY: as above; the helper checks the address.
    let failed = unsafe { bpf_probe_read_kernel(to.cast(), len as u32, dentry.name as *const _) };
    // SAFETY: as above.
    unsafe { *to.add(len) = 0 };
    desk.next = (at + len + 1) as u32;
    Some(failed == 0)
}

/// [`step`] by fields that the verifier knows. A global function for the kernel, as those of `place`:
/// looked at once, and not once for each round of the walk.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn step_by_cast(desk: *mut FileDesk) -> u32 {
    // SAFETY: by the caller's word it is null or a desk that it has taken.
    let Some(desk) = (unsafe { desk.as_mut() }) else { return AT_END };
    // Kernels before 6.8 look at a global function that nobody calls, too.
    if HAS_CAST.load() == 0 {
        return AT_END;
    }
    step::<true>(desk)
}

/// [`step`] by the helper that reads memory of the kernel.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn step_by_probe(desk: *mut FileDesk) -> u32 {
    // SAFETY: as above.
    let Some(desk) = (unsafe { desk.as_mut() }) else { return AT_END };
    if HAS_CAST.load() != 0 {
        return AT_END;
    }
    step::<false>(desk)
}

/// Writes the path that begins at `desk.path` to the desk, as seen from `desk.root`. A global function
/// for the kernel, as those of `place`.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn write_path_to(desk: *mut FileDesk) -> u32 {
    // SAFETY: by the caller's word it is null or a desk that it has taken.
    let Some(it) = (unsafe { desk.as_mut() }) else { return 0 };
    (it.len, it.next, it.is_alone) = (0, 0, 0);
    let mount = it.path[0];
    it.top = if HAS_CAST.load() != 0 { top_of::<true>(mount) } else { top_of::<false>(mount) };
    if it.path[1] == it.top && is_removed(it.top) {
        it.header.flags |= flag::DELETED;
    }
    for _ in (0..STEPS).map(opaque) {
        let done = if HAS_CAST.load() != 0 { step_by_cast(desk) } else { step_by_probe(desk) };
        if done != GOES_ON {
            return 0;
        }
    }
    it.header.flags |= flag::CUT;
    0
}

/// Writes the path that begins at `desk.path` to the desk, as seen from `desk.root`.
#[inline(always)]
pub(crate) fn write(desk: *mut FileDesk) {
    write_path_to(desk);
}
