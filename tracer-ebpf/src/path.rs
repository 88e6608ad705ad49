//! The path of a file as the kernel holds it in memory: from its dentry up through folders and
//! mounts to the root of the process. Nothing is opened and nothing waits.
//!
//! The program runs under RCU, which keeps dentries, mounts and inodes in memory; another thread can
//! still rename a folder or reuse a `struct file` meanwhile. So each component is read between two
//! looks at its dentry's sequence number, and a component that has changed is read again.
//!
//! A kernel that has `bpf_rdonly_cast` (6.2) lets a program load 8 bytes from any of its addresses with
//! one instruction ([`crate::kernel_memory::word`]). Elsewhere each such load is a call of a helper. There are two copies of
//! what follows for these two ways; the one that is not used returns at once.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::file::{COMPONENT, PATH_BYTES, flag};

use crate::{
    capture::{bounded, opaque},
    kernel_memory::{WORD, Words, at, read_kernel, words},
    maps::{DENTRY_HASH, FileDesk, HAS_CAST, MOUNT_MNT, MOUNT_PARENT, VFSMOUNT_ROOT},
    stats::order_loads,
};

/// Folders and mounts that are gone through, at most.
const STEPS: u32 = 64;
/// Rounds of the walk, at most: those in which something was renamed are done again. By loads a round
/// takes some 20 ns, and a renaming a few microseconds.
const ROUNDS: usize = 512;
const SLOW_ROUNDS: usize = 128;
/// Where the last component can begin.
const LAST: usize = PATH_BYTES - COMPONENT - 9;

/// The longest name that is copied by words: of no other does the dentry itself hold all.
const SHORT: usize = 40;

/// What is needed of a dentry: neighbours in memory, which the loader has checked.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Dentry {
    flags: u32,
    seq: u32,
    next: u64,
    /// 0 for one that is not in the table of names, as those are whose last link has been removed.
    previous: u64,
    parent: u64,
    hash: u32,
    len: u32,
    name: u64,
}

impl Dentry {
    /// Where these fields begin.
    #[inline(always)]
    fn address(dentry: u64) -> u64 {
        dentry + u64::from(DENTRY_HASH.load()) - WORD
    }

    /// By loads. The sequence number, which is odd during a renaming, comes before all that it is
    /// about: what has moved meanwhile is seen by it.
    #[inline(always)]
    fn load(words: Words, fence: *mut u32) -> Self {
        let seq = Self::sequence(words);
        // SAFETY: the caller's desk.
        unsafe { order_loads(fence) };
        let (previous, parent) = (words.get::<2>(), words.get::<3>());
        let len = (words.get::<4>() >> 32) as u32;
        Self { seq, previous, parent, len, name: words.get::<5>(), ..Self::default() }
    }

    #[inline(always)]
    fn sequence(words: Words) -> u32 {
        (words.get::<0>() >> 32) as u32
    }
}

/// What one step of the walk has come to.
const GOES_ON: u32 = 0;
const AT_END: u32 = 1;

/// Goes one step up from the dentry `desk.path[1]` in the mount `desk.path[0]`, which begins at
/// `desk.top`: over a folder, whose name is written, or over a mount.
#[inline(always)]
fn step<const CAST: bool>(desk: &mut FileDesk) -> u32 {
    let [mount, dentry] = desk.path;
    if dentry == desk.root[1] && mount == desk.root[0] {
        return AT_END;
    }
    if dentry == desk.top {
        return above::<CAST>(desk, mount);
    }
    let Some(it) = component::<CAST>(desk, Dentry::address(dentry)) else { return AT_END };
    let all = it.dentry;
    if all.seq & 1 != 0 || it.seq_after != all.seq {
        desk.header.flags |= flag::RENAMED;
        return GOES_ON;
    }
    let is_alone = all.parent == dentry;
    if desk.len == 0 && all.previous == 0 && !is_alone {
        desk.header.flags |= flag::DELETED;
    }
    if !it.is_read {
        desk.header.flags |= flag::FAULT;
    }
    desk.len = it.end;
    if is_alone {
        desk.is_alone = 1;
        return AT_END;
    }
    desk.path[1] = all.parent;
    next(desk)
}

/// Whether there may be another step.
#[inline(always)]
fn next(desk: &mut FileDesk) -> u32 {
    desk.steps += 1;
    if desk.steps < STEPS {
        return GOES_ON;
    }
    desk.header.flags |= flag::CUT;
    AT_END
}

/// One component of a path.
struct Component {
    dentry: Dentry,
    /// The dentry's sequence number after its name was written.
    seq_after: u32,
    /// Whether the name could be read.
    is_read: bool,
    /// Where it ends among the desk's bytes.
    end: u32,
}

/// Reads a dentry, writes its name, and reads its sequence number again. `None` where there was no
/// room.
#[inline(always)]
fn component<const CAST: bool>(desk: &mut FileDesk, address: u64) -> Option<Component> {
    let fence = &raw mut desk.fence;
    if CAST {
        let words = Words::at(address);
        let dentry = Dentry::load(words, fence);
        let (is_read, end) = write_component::<true>(desk, &dentry)?;
        // SAFETY: aligned and valid.
        unsafe { order_loads(fence) };
        Some(Component { dentry, seq_after: Dentry::sequence(words), is_read, end })
    } else {
        let dentry: Dentry = read_kernel(address);
        let (is_read, end) = write_component::<false>(desk, &dentry)?;
        // SAFETY: as above.
        unsafe { order_loads(fence) };
        Some(Component { dentry, seq_after: read_kernel(address + WORD / 2), is_read, end })
    }
}

/// Goes from where a mount begins to the folder that it is mounted on. That a mount has been moved
/// between the reading of the one above and of the folder there, no number tells: both are read
/// again.
#[inline(always)]
fn above<const CAST: bool>(desk: &mut FileDesk, mount: u64) -> u32 {
    let around = mount - u64::from(MOUNT_MNT.load()) + u64::from(MOUNT_PARENT.load());
    let above = words::<CAST>(around);
    // SAFETY: aligned and valid.
    unsafe { order_loads(&raw mut desk.fence) };
    let again = words::<CAST>(around);
    if above[0] != again[0] || above[1] != again[1] {
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
    next(desk)
}

/// The dentry at which a mount begins.
#[inline(always)]
fn top_of<const CAST: bool>(mount: u64) -> u64 {
    at::<CAST>(mount, &VFSMOUNT_ROOT)
}

/// Whether a dentry's last link has been removed: of one that a mount begins at, which the walk goes
/// past.
#[inline(always)]
fn is_removed<const CAST: bool>(dentry: u64) -> bool {
    let [previous, parent] = words::<CAST>(Dentry::address(dentry) + 2 * WORD);
    previous == 0 && parent != dentry
}

/// Writes one component; says whether it could be read and where it ends, and nothing where there was
/// no room. The length of all stands in memory: as a number that the verifier knows it would make
/// another state of each round.
#[inline(always)]
fn write_component<const CAST: bool>(desk: &mut FileDesk, dentry: &Dentry) -> Option<(bool, u32)> {
    let start = desk.len as usize;
    if start > LAST {
        desk.header.flags |= flag::CUT;
        return None;
    }
    let len = bounded(dentry.len as usize, COMPONENT);
    let start = bounded(start, LAST);
    // SAFETY: a component and its zero fit behind the last place where one can begin.
    let to = unsafe { desk.bytes.as_mut_ptr().add(start) };
    let is_read = if CAST && len <= SHORT {
        copy_short(to, dentry.name, len)
    } else {
        // SAFETY: as above; the helper checks the address.
        unsafe { bpf_probe_read_kernel(to.cast(), len as u32, dentry.name as *const _) == 0 }
    };
    // SAFETY: as above.
    unsafe { *to.add(len) = 0 };
    Some((is_read, (start + len + 1) as u32))
}

/// Copies a name of at most [`SHORT`] bytes, and what stands behind it up to so many: the next component
/// overwrites that, and what is kept ends before it. Says whether there was one: no name begins with a zero.
#[inline(always)]
fn copy_short(to: *mut u8, name: u64, len: usize) -> bool {
    let name = Words::at(name);
    let first = name.get::<0>();
    store::<0>(to, first);
    if len > WORD as usize {
        store::<8>(to, name.get::<1>());
        store::<16>(to, name.get::<2>());
    }
    if len > 3 * WORD as usize {
        store::<24>(to, name.get::<3>());
        store::<32>(to, name.get::<4>());
    }
    first & 0xff != 0 || len == 0
}

/// Stores a word at an address that need not be a multiple of 8. The compiler would do it byte by
/// byte; kernels of both architectures take it as it is.
#[inline(always)]
pub(crate) fn store<const OFFSET: i16>(to: *mut u8, word: u64) {
    // SAFETY: the caller has room for a word there.
    unsafe {
        core::arch::asm!(
            "*(u64 *)({to} + {offset}) = {word}",
            to = in(reg) to,
            offset = const OFFSET,
            word = in(reg) word,
            options(nostack),
        );
    }
}

/// Rounds in one call of [`steps_by_cast`].
const AT_ONCE: usize = 8;

/// [`step`] by loads, until the end or for [`AT_ONCE`] rounds. A global function for the kernel, as
/// those of `place`: looked at once, and not once for each call.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn steps_by_cast(desk: *mut FileDesk) -> u32 {
    // SAFETY: by the caller's word it is null or a desk that it has taken.
    let Some(desk) = (unsafe { desk.as_mut() }) else { return AT_END };
    // Kernels before 6.8 look at a global function that nobody calls, too.
    if HAS_CAST.load() == 0 {
        return AT_END;
    }
    for _ in (0..AT_ONCE).map(opaque) {
        if step::<true>(desk) != GOES_ON {
            return AT_END;
        }
    }
    GOES_ON
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
    let Some(desk) = (unsafe { desk.as_mut() }) else { return 0 };
    if HAS_CAST.load() != 0 {
        write::<true>(desk)
    } else {
        write::<false>(desk)
    }
    0
}

/// [`write_path_to`] without a call, for each named descriptor.
#[inline(always)]
pub(crate) fn write<const CAST: bool>(desk: &mut FileDesk) {
    (desk.len, desk.is_alone, desk.steps) = (0, 0, 0);
    desk.top = top_of::<CAST>(desk.path[0]);
    if desk.path[1] == desk.top && is_removed::<CAST>(desk.top) {
        desk.header.flags |= flag::DELETED;
    }
    if CAST {
        for _ in (0..ROUNDS / AT_ONCE).map(opaque) {
            if steps_by_cast(desk) != GOES_ON {
                return;
            }
        }
    } else {
        for _ in (0..SLOW_ROUNDS).map(opaque) {
            if step_by_probe(desk) != GOES_ON {
                return;
            }
        }
    }
    desk.header.flags |= flag::CUT;
}
