//! What is known of a task. Rust emits no CO-RE relocations, so the offsets of fields come from
//! the running kernel's BTF as globals; the verifier checks each load against that BTF.

use aya_ebpf::{
    bindings::{pt_regs, task_struct},
    helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
};
use tracer_common::event::COMM_LEN;

use crate::maps::{
    CGROUP_KN, COMPAT_MASK, COMPAT_OFFSET, CSS_SET_DFL_CGRP, KERNFS_NODE_ID, SIGNAL_LIVE,
    TASK_BPF_STORAGE, TASK_CGROUPS, TASK_COMM, TASK_GROUP_LEADER, TASK_PID, TASK_SIGNAL,
    TASK_START_BOOTTIME, TASK_TGID, UNPADDED_COMM,
};

/// A task that the kernel handed to a program.
#[derive(Clone, Copy)]
pub(crate) struct Task(pub(crate) *mut task_struct);

impl Task {
    /// The task that runs the program.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: has no preconditions.
        Self(unsafe { bpf_get_current_task_btf() })
    }

    #[inline(always)]
    fn read<T: Copy>(self, offset: u32) -> T {
        // SAFETY: `offset` is that of a field of this type; a wrong one does not pass the verifier.
        unsafe { field(self.0.cast(), offset) }
    }

    /// The registers with which the task entered the kernel.
    #[inline(always)]
    pub(crate) fn user_regs(self) -> *const pt_regs {
        // SAFETY: the task comes from the kernel.
        unsafe { bpf_task_pt_regs(self.0) as *const pt_regs }
    }

    /// Thread id in the initial pid namespace.
    #[inline(always)]
    pub(crate) fn tid(self) -> u32 {
        self.read(TASK_PID.load())
    }

    /// Process id in the initial pid namespace.
    #[inline(always)]
    pub(crate) fn tgid(self) -> u32 {
        self.read(TASK_TGID.load())
    }

    /// Command name of the thread.
    #[inline(always)]
    pub(crate) fn comm(self) -> [u8; COMM_LEN] {
        let words: [u64; 2] = [self.read(TASK_COMM.load()), self.read(TASK_COMM.load() + 8)];
        // SAFETY: same size, and any bytes are valid.
        let mut comm = unsafe { core::mem::transmute::<[u64; 2], [u8; COMM_LEN]>(words) };
        // Before 5.17 what a longer, earlier name has left stands behind the zero,
        // <https://github.com/torvalds/linux/commit/06c5088aeedd>.
        if UNPADDED_COMM.load() != 0 {
            let mut mask = 0xff;
            for byte in &mut comm {
                *byte &= mask;
                if *byte == 0 {
                    mask = 0;
                }
            }
        }
        comm
    }

    /// Boot clock when the process started, in nanoseconds.
    #[inline(always)]
    pub(crate) fn process_start_ns(self) -> u64 {
        let leader: *mut task_struct = self.read(TASK_GROUP_LEADER.load());
        Self(leader).read(TASK_START_BOOTTIME.load())
    }

    /// Id of the task's cgroup in the v2 hierarchy: what `bpf_get_current_cgroup_id` returns, without
    /// a call; `task_dfl_cgroup`,
    /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/cgroup.h#L505>.
    #[inline(always)]
    pub(crate) fn cgroup_id(self) -> u64 {
        let set: *mut u8 = self.read(TASK_CGROUPS.load());
        // SAFETY: a `css_set`, checked by the verifier like a task; and so on.
        let cgroup: *mut u8 = unsafe { field(set, CSS_SET_DFL_CGRP.load()) };
        // SAFETY: as above.
        let node: *mut u8 = unsafe { field(cgroup, CGROUP_KN.load()) };
        // SAFETY: as above.
        unsafe { field(node, KERNFS_NODE_ID.load()) }
    }

    /// Whether this call uses the 32-bit ABI.
    #[inline(always)]
    pub(crate) fn is_compat(self) -> bool {
        let mask = COMPAT_MASK.load();
        mask != 0 && self.read::<u32>(COMPAT_OFFSET.load()) & mask != 0
    }

    /// Whether the task has any storage at all: far cheaper to ask than for one that is not there.
    #[inline(always)]
    pub(crate) fn has_storage(self) -> bool {
        let offset = TASK_BPF_STORAGE.load();
        offset == 0 || self.read::<u64>(offset) != 0
    }

    /// Threads of the process that have not exited.
    #[inline(always)]
    pub(crate) fn live_threads(self) -> u32 {
        let signal: *mut u8 = self.read(TASK_SIGNAL.load());
        // SAFETY: `signal` is a `signal_struct`, checked by the verifier like a task.
        unsafe { field(signal, SIGNAL_LIVE.load()) }
    }
}

/// Loads a field of a kernel struct.
///
/// # Safety
/// `base` must be a pointer that the verifier knows, `offset` that of a field of type `T`.
#[inline(always)]
pub(crate) unsafe fn field<T: Copy>(base: *mut u8, offset: u32) -> T {
    // SAFETY: by the caller's word; volatile, so that loads are neither merged nor widened.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<T>()) }
}
