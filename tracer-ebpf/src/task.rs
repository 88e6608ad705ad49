//! What is known of a task. Rust emits no CO-RE relocations, so the offsets of fields come from
//! the running kernel's BTF as globals; the verifier checks each load of a [`Task`] against that BTF.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{pt_regs, task_struct},
    helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
};
use tracer_common::event::COMM_LEN;

use crate::{
    kernel_memory::{at, field, read_kernel, read_kernel_to},
    maps::{
        CGROUP_KN, CGROUP_PARENT, COMPAT_MASK, COMPAT_OFFSET, CRED_EGID, CRED_EUID, CRED_UID,
        CSS_SET_DFL_CGRP, FILE_INODE, INODE_INO, INODE_SB, KERNFS_NODE_ID, MM_ARG_START,
        MM_EXE_FILE, PID_LEVEL, PID_NUMBERS, SB_DEV, SIGNAL_FLAGS, SIGNAL_GROUP_EXIT_CODE,
        SIGNAL_LIVE, TASK_BPF_STORAGE, TASK_CGROUPS, TASK_COMM, TASK_CRED, TASK_EXEC_ID,
        TASK_EXIT_CODE, TASK_FILES, TASK_FLAGS, TASK_FS, TASK_GROUP_LEADER, TASK_MM, TASK_NSPROXY,
        TASK_ON_CPU, TASK_PID, TASK_REAL_PARENT, TASK_SIGNAL, TASK_START_BOOTTIME, TASK_STATE,
        TASK_SWITCHES, TASK_TGID, TASK_THREAD_PID, UNPADDED_COMM,
    },
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

    /// What a pointer in it holds, as a number, which is read with [`read_kernel`] alone. A pointer
    /// that the verifier knows costs a load less, and the start of tracer up to a millisecond each time
    /// the verifier comes by: it looks for the name of its type in all types of the kernel, for what
    /// may be trusted. So the programs at calls follow such pointers, and others only that to the first thread
    /// of the process, of which they need the storage.
    #[inline(always)]
    fn address(self, offset: u32) -> u64 {
        read_kernel(self.0 as u64 + u64::from(offset))
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
        pad(&mut comm);
        comm
    }

    /// Boot clock when the process started, in nanoseconds.
    #[inline(always)]
    pub(crate) fn process_start_ns(self) -> u64 {
        self.leader().read(TASK_START_BOOTTIME.load())
    }

    /// The first thread of the process.
    #[inline(always)]
    pub(crate) fn leader(self) -> Self {
        Self(self.read(TASK_GROUP_LEADER.load()))
    }

    /// The same for programs of a process's life; see `address`.
    #[inline(always)]
    pub(crate) fn leader_address(self) -> TaskAddress {
        TaskAddress(self.address(TASK_GROUP_LEADER.load()))
    }

    /// The task to which the end of the process is told: a thread of the parent.
    #[inline(always)]
    pub(crate) fn parent(self) -> TaskAddress {
        TaskAddress(self.address(TASK_REAL_PARENT.load()))
    }

    /// Whether it is a thread of the kernel: `PF_KTHREAD`,
    /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h#L1702>.
    #[inline(always)]
    pub(crate) fn is_kernel_thread(self) -> bool {
        const PF_KTHREAD: u32 = 0x0020_0000;
        self.read::<u32>(TASK_FLAGS.load()) & PF_KTHREAD != 0
    }

    /// Whether it runs code of a program: a thread that the kernel has started in a process (of
    /// `io_uring`, or for a virtual machine) does not, nor one that is exiting. The flags:
    /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h#L1686>.
    #[inline(always)]
    pub(crate) fn is_of_program(self) -> bool {
        const PF_EXITING: u32 = 0x4;
        const PF_IO_WORKER: u32 = 0x10;
        const PF_USER_WORKER: u32 = 0x4000;
        const PF_KTHREAD: u32 = 0x0020_0000;
        let others = PF_EXITING | PF_IO_WORKER | PF_USER_WORKER | PF_KTHREAD;
        self.read::<u32>(TASK_FLAGS.load()) & others == 0
    }

    /// How often the task has given up the processor, where it waits for something and is on none:
    /// of two looks with the same number, the task has run nothing in between. `None` for one that
    /// runs, could run, or is stopped.
    #[inline(always)]
    pub(crate) fn waits(self) -> Option<u64> {
        /// `TASK_INTERRUPTIBLE` and `TASK_UNINTERRUPTIBLE`,
        /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h#L100>.
        const WAITING: u32 = 0x1 | 0x2;
        /// `__TASK_STOPPED` and `__TASK_TRACED`.
        const STOPPED: u32 = 0x4 | 0x8;
        let state: u32 = self.read(TASK_STATE.load());
        if state & WAITING == 0 || state & STOPPED != 0 {
            return None;
        }
        // One byte since 7.3, the first of an `int` of 0 or 1 before.
        let on_cpu = TASK_ON_CPU.load();
        if on_cpu != 0 && self.read::<u8>(on_cpu) != 0 {
            return None;
        }
        Some(self.read(TASK_SWITCHES.load()))
    }

    /// The number of the exec by which it got its program.
    #[inline(always)]
    pub(crate) fn exec_id(self) -> u32 {
        self.read(TASK_EXEC_ID.load())
    }

    /// Where its memory is described, for comparison.
    #[inline(always)]
    pub(crate) fn memory(self) -> u64 {
        self.address(TASK_MM.load())
    }

    /// Where in its memory arguments and environment stand: start and end of each.
    #[inline(always)]
    pub(crate) fn launch_ranges(self) -> Option<[u64; 4]> {
        let mm = self.address(TASK_MM.load());
        // Four words follow each other there.
        (mm != 0).then(|| read_kernel(mm + u64::from(MM_ARG_START.load())))
    }

    /// The `struct file` that its program was mapped from; 0 where there is none.
    #[inline(always)]
    pub(crate) fn exe_file(self) -> u64 {
        let mm = self.address(TASK_MM.load());
        if mm == 0 { 0 } else { read_kernel(mm + u64::from(MM_EXE_FILE.load())) }
    }

    /// Where its root and current folder are described.
    #[inline(always)]
    pub(crate) fn fs(self) -> u64 {
        self.address(TASK_FS.load())
    }

    /// The file that its program was mapped from: its device as the kernel numbers it, and its inode
    /// number; zeroes where there is none.
    #[inline(always)]
    pub(crate) fn executable(self) -> (u32, u64) {
        let file = self.exe_file();
        let inode: u64 = read_kernel(file + u64::from(FILE_INODE.load()));
        let file_system: u64 = read_kernel(inode + u64::from(INODE_SB.load()));
        if file == 0 || inode == 0 || file_system == 0 {
            return (0, 0);
        }
        let device = read_kernel(file_system + u64::from(SB_DEV.load()));
        (device, read_kernel(inode + u64::from(INODE_INO.load())))
    }

    /// Effective user and group id, in the initial user namespace.
    #[inline(always)]
    pub(crate) fn effective_ids(self) -> (u32, u32) {
        let cred: *mut u8 = self.read(TASK_CRED.load());
        // SAFETY: a `cred`, checked by the verifier like a task.
        unsafe { (field(cred, CRED_EUID.load()), field(cred, CRED_EGID.load())) }
    }

    /// The same for programs that run less often than calls are made; see `address`.
    #[inline(always)]
    pub(crate) fn effective_ids_by_address(self) -> (u32, u32) {
        let cred = self.credentials();
        (
            read_kernel(cred + u64::from(CRED_EUID.load())),
            read_kernel(cred + u64::from(CRED_EGID.load())),
        )
    }

    /// Process id in the process's own pid namespace.
    #[inline(always)]
    pub(crate) fn inner_pid(self) -> u32 {
        let upid = self.innermost_pid();
        // The number is its first member.
        if upid == 0 { self.tgid() } else { read_kernel(upid) }
    }

    /// Where the first thread's id in its own pid namespace is described, a `struct upid`; 0 where it
    /// has none any more.
    #[inline(always)]
    pub(crate) fn innermost_pid(self) -> u64 {
        const UPID: u64 = 16;
        let leader = self.address(TASK_GROUP_LEADER.load());
        let pid: u64 = read_kernel(leader + u64::from(TASK_THREAD_PID.load()));
        let level: u32 = read_kernel(pid + u64::from(PID_LEVEL.load()));
        if pid == 0 { 0 } else { pid + u64::from(PID_NUMBERS.load()) + u64::from(level) * UPID }
    }

    /// Where its credentials are described.
    #[inline(always)]
    pub(crate) fn credentials(self) -> u64 {
        self.address(TASK_CRED.load())
    }

    /// Where most of its namespaces are described.
    #[inline(always)]
    pub(crate) fn namespaces(self) -> u64 {
        self.address(TASK_NSPROXY.load())
    }

    /// How the process ended as its parent will see it, once its last thread ends:
    /// <https://github.com/torvalds/linux/blob/v6.12/kernel/exit.c#L1209>.
    #[inline(always)]
    pub(crate) fn process_status(self) -> u32 {
        const SIGNAL_GROUP_EXIT: u32 = 4;
        let signal = self.address(TASK_SIGNAL.load());
        let flags: u32 = read_kernel(signal + u64::from(SIGNAL_FLAGS.load()));
        if flags & SIGNAL_GROUP_EXIT != 0 {
            return read_kernel(signal + u64::from(SIGNAL_GROUP_EXIT_CODE.load()));
        }
        self.leader_address().read(TASK_EXIT_CODE.load())
    }

    /// The signal by which the whole process is ending, 0 where there is none.
    #[inline(always)]
    pub(crate) fn deadly_signal(self) -> u32 {
        const SIGNAL_GROUP_EXIT: u32 = 4;
        const NUMBER: u32 = 0x7f;
        let signal = self.address(TASK_SIGNAL.load());
        let flags: u32 = read_kernel(signal + u64::from(SIGNAL_FLAGS.load()));
        let code: u32 = read_kernel(signal + u64::from(SIGNAL_GROUP_EXIT_CODE.load()));
        if flags & SIGNAL_GROUP_EXIT == 0 { 0 } else { code & NUMBER }
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

    /// The same for programs that run less often than calls are made; see `address`.
    #[inline(always)]
    pub(crate) fn cgroup_id_by_address(self) -> u64 {
        cgroup_id(self.cgroup())
    }

    /// Real user id, in the initial user namespace.
    #[inline(always)]
    pub(crate) fn real_uid(self) -> u32 {
        read_kernel(self.credentials() + u64::from(CRED_UID.load()))
    }

    /// Where its cgroup in the v2 hierarchy is described.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> u64 {
        let set = self.address(TASK_CGROUPS.load());
        read_kernel(set + u64::from(CSS_SET_DFL_CGRP.load()))
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

    /// Threads of the process that have not begun to exit.
    #[inline(always)]
    pub(crate) fn live_threads(self) -> u32 {
        let signal = self.address(TASK_SIGNAL.load());
        read_kernel(signal + u64::from(SIGNAL_LIVE.load()))
    }
}

/// A task that the verifier does not know; see `Task::address`.
#[derive(Clone, Copy)]
pub(crate) struct TaskAddress(pub(crate) u64);

impl TaskAddress {
    #[inline(always)]
    fn read<T: Copy + Default>(self, offset: u32) -> T {
        read_kernel(self.0 + u64::from(offset))
    }

    /// Its table of descriptors, a `struct files_struct`.
    #[inline(always)]
    pub(crate) fn files<const CAST: bool>(self) -> u64 {
        at::<CAST>(self.0, &TASK_FILES)
    }

    /// The `struct fs_struct` with its current folder and its root.
    #[inline(always)]
    pub(crate) fn fs<const CAST: bool>(self) -> u64 {
        at::<CAST>(self.0, &TASK_FS)
    }

    /// Process id in the initial pid namespace.
    #[inline(always)]
    pub(crate) fn tgid(self) -> u32 {
        self.read(TASK_TGID.load())
    }

    /// The first thread of the process.
    #[inline(always)]
    pub(crate) fn leader(self) -> Self {
        Self(self.read(TASK_GROUP_LEADER.load()))
    }

    /// Boot clock when the task started, in nanoseconds; that of a first thread is its process's.
    #[inline(always)]
    pub(crate) fn start_ns(self) -> u64 {
        self.read(TASK_START_BOOTTIME.load())
    }

    /// Writes the command name of the thread, in its place: programs of a process's life have little
    /// stack.
    #[inline(always)]
    pub(crate) fn write_comm(self, to: &mut [u8; COMM_LEN]) {
        read_kernel_to(self.0 + u64::from(TASK_COMM.load()), to);
        pad(to);
    }
}

/// Writes zeroes behind a name. Before 5.17 what a longer, earlier one has left stands there,
/// <https://github.com/torvalds/linux/commit/06c5088aeedd>.
#[inline(always)]
fn pad(comm: &mut [u8; COMM_LEN]) {
    if UNPADDED_COMM.load() == 0 {
        return;
    }
    let mut mask = 0xff;
    for byte in comm {
        *byte &= mask;
        if *byte == 0 {
            mask = 0;
        }
    }
}

/// `struct bpf_iter__task`,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/task_iter.c#L193>.
#[repr(C)]
struct IteratorContext {
    meta: *mut c_void,
    task: *mut task_struct,
}

/// The task that an iterator has come to; null at the end.
///
/// # Safety
/// `ctx` must be what the kernel has passed to a task iterator.
#[inline(always)]
pub(crate) unsafe fn of_iterator(ctx: *mut c_void) -> Task {
    // SAFETY: by the caller's word.
    Task(unsafe { (*ctx.cast::<IteratorContext>()).task })
}

/// The id of a cgroup.
#[inline(always)]
pub(crate) fn cgroup_id(cgroup: u64) -> u64 {
    let node: u64 = read_kernel(cgroup + u64::from(CGROUP_KN.load()));
    read_kernel(node + u64::from(KERNFS_NODE_ID.load()))
}

/// The cgroup above one; 0 above the root.
#[inline(always)]
pub(crate) fn parent_cgroup(cgroup: u64) -> u64 {
    if cgroup == 0 { 0 } else { read_kernel(cgroup + u64::from(CGROUP_PARENT.load())) }
}
