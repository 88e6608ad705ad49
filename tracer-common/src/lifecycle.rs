//! The records of births, programs and ends: what the tree of processes is made of.

use crate::event::COMM_LEN;

/// Value of [`LifecycleEvent::kind`]; [`crate::event::KIND_SYSCALL`] stands in the same place.
pub const KIND_LIFECYCLE: u16 = 2;

wire_struct! {
    /// What happened to a task, as the kernel side writes it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LifecycleEvent {
        /// [`KIND_LIFECYCLE`].
        pub kind: u16,
        /// A [`What`].
        pub what: u8,
        /// A [`Birth`] for [`What::Fork`]; for [`What::Exec`] 1 when this is the command that tracer
        /// launches; for [`What::Exit`] 1 when no thread of the process is left.
        pub how: u8,
        /// Bytes of the program's path that follow.
        pub path_len: u16,
        /// Bytes of the arguments behind it.
        pub args_len: u16,
        /// Process id (thread group id) in the initial pid namespace; for a fork that of the child.
        pub tgid: u32,
        /// Thread id, likewise.
        pub tid: u32,
        /// Boot clock when it happened, in nanoseconds (`CLOCK_BOOTTIME`).
        pub time_ns: u64,
        /// Boot clock when the process started, in nanoseconds.
        pub process_start_ns: u64,
        /// For a fork the process that forked, else the parent of the process.
        pub parent_tgid: u32,
        /// For a fork the thread that forked, else as `parent_tgid`.
        pub parent_tid: u32,
        /// Boot clock when the process `parent_tgid` started, in nanoseconds.
        pub parent_start_ns: u64,
        /// Boot clock at the entry of the call in which it happened, for a fork that of the thread that
        /// forked; 0 when that call is not traced.
        pub call_start_ns: u64,
        /// Id of the cgroup (v2) of the task: for a fork that of the child.
        pub cgroup_id: u64,
        /// For an exit: how the process ended as its parent sees it, wait(2).
        pub status: u32,
        /// Live threads of the process, with those that the kernel has made in it.
        pub threads: u32,
        /// Process id in the pid namespace of the process; `tgid` in the initial one.
        pub inner_pid: u32,
        /// Bytes of the environment behind them.
        pub env_len: u32,
        /// Bytes that the environment has.
        pub env_total: u32,
        /// Bytes that the arguments have.
        pub args_total: u32,
        /// Effective user id of the task, in the initial user namespace; for a fork that of the child.
        pub uid: u32,
        /// Effective group id, likewise.
        pub gid: u32,
        /// For an exec 1 when what runs is not the file at the path but an interpreter that it names.
        pub is_interpreted: u32,
        /// The task's `self_exec_id`: which of its process's programs it runs. For a fork that of the
        /// child, which has its parent's; for an exec the one that it has begun.
        pub exec_id: u32,
        /// Device of the file that the program was mapped from (`mm->exe_file`), as the kernel numbers
        /// it: major number from bit 20 on, minor number below. Only with `exe_ino`.
        pub exe_dev: u32,
        /// Bytes of the path of that file that follow.
        pub exe_len: u16,
        /// Bits of [`exe`].
        pub exe_flags: u8,
        /// How the reading of the path that was given went: a [`crate::event::CaptureState`].
        pub path_state: u8,
        /// Name of the first thread of the process; for an exec the new one.
        pub comm: [u8; COMM_LEN],
        /// Inode number of the program's file; 0 when there is none: a task without memory of its own.
        pub exe_ino: u64,
        /// Inode numbers of the namespaces that the process is in, of a birth, an exec and of a process
        /// that was there: pid, mnt, net, user, uts, ipc and cgroup; 0 for a kind that the kernel does
        /// not have, and in other records.
        pub namespaces: [u32; NAMESPACES],
        /// Makes the size a multiple of 8.
        pub spare: u32,
    }
}

/// Kinds of namespaces that are told.
pub const NAMESPACES: usize = 7;

/// Most bytes taken of a path, the zero that ends it included.
pub const PATH_ROOM: usize = 4096;
/// Most bytes taken of the arguments of a program.
pub const ARGS_ROOM: usize = 4096;
/// Most bytes taken of the path of a program's file.
pub const EXE_ROOM: usize = 4096;
/// Most bytes taken of an environment, its last ones: what is added stands at the end.
pub const ENV_ROOM: usize = 6144;

/// Most bytes that follow the record of an exec, of a process that was there, or of its command line: the path as it was
/// given; the arguments, each with a zero byte behind it, the first bytes of them; the path of the
/// file; the environment in the same way as the arguments, the last bytes of it. All but the last
/// are padded to a multiple of 8. No bytes follow when the kernel had no memory to collect them, nor
/// after other records.
pub const LAUNCH_ROOM: usize = PATH_ROOM + ARGS_ROOM + EXE_ROOM + ENV_ROOM;

/// Bits of [`LifecycleEvent::exe_flags`], about the path of the program's file. Its components
/// stand there from the last to the first, each with a zero behind it.
pub mod exe {
    /// The file's last link has been removed.
    pub const DELETED: u8 = 1;
    /// The path does not begin at the root of the process, but at that of the mounts, or of a mount
    /// that was taken off.
    pub const OUTSIDE_ROOT: u8 = 1 << 1;
    /// The path is longer: what stands before the captured end of it is missing.
    pub const CUT: u8 = 1 << 3;
    /// Something could not be read: what there is of the path is not to be used.
    pub const FAULT: u8 = 1 << 4;
    /// The file is in no folder; the one component is its name: `memfd:NAME`.
    pub const ALONE: u8 = 1 << 7;
}

/// Bytes with padding.
#[inline(always)]
pub const fn padded(len: usize) -> usize {
    (len + 7) & !7
}

const _: () = {
    assert!(size_of::<LifecycleEvent>() == 168);
    assert!(align_of::<LifecycleEvent>() == 8);
};

wire_enum! {
    /// What happened.
    What {
        /// The process was there when tracing began.
        Alive = 0 "alive",
        /// A process or a thread was born.
        Fork = 1 "fork",
        /// The process runs another program.
        Exec = 2 "exec",
        /// A thread has ended.
        Exit = 3 "exit",
        /// The command line of a process that was there when tracing began, as its memory had it
        /// then.
        CommandLine = 4 "command_line",
    }
}

wire_enum! {
    /// What was born.
    Birth {
        /// A process.
        Process = 0 "process",
        /// A process that uses its parent's memory, as `vfork` makes.
        Shared = 1 "vfork",
        /// A thread of the process. The kernel makes some, for `io_uring`, vhost and KVM.
        Thread = 2 "thread",
    }
}
