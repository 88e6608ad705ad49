//! The records of the kernel ring.

/// Bytes of a command name, the terminating zero included: `TASK_COMM_LEN`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h#L317>.
pub const COMM_LEN: usize = 16;

/// Arguments of a syscall, at most: the registers of the calling convention, syscall(2).
pub const MAX_ARGS: usize = 6;

/// Value of [`SyscallEvent::kind`] of a syscall.
pub const KIND_SYSCALL: u16 = 1;

wire_struct! {
    /// One syscall, as the kernel side writes it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SyscallEvent {
        /// [`KIND_SYSCALL`]; other values are other records.
        pub kind: u16,
        /// A [`Record`].
        pub record: u8,
        /// An [`Abi`].
        pub abi: u8,
        /// A [`Reason`].
        pub reason: u8,
        /// Number of captures that follow.
        pub captures: u8,
        /// Zero.
        pub pad: u16,
        /// The number the call was entered with, in the numbering of `abi`.
        pub nr: u32,
        /// Process id (thread group id) in the initial pid namespace.
        pub tgid: u32,
        /// Thread id in the initial pid namespace.
        pub tid: u32,
        /// Bytes after this struct that belong to the record.
        pub payload_len: u32,
        /// Boot clock at entry, in nanoseconds (`CLOCK_BOOTTIME`); for [`Record::ExitOnly`] at exit, for
        /// [`Reason::RunningAtAttach`] when the thread was looked at.
        pub start_ns: u64,
        /// Time between entry and exit, in nanoseconds; for a call without an exit, time until the
        /// record was made. 0 where the entry was not seen.
        pub duration_ns: u64,
        /// The result as the kernel returns it: -4095..=-1 is an error number.
        pub ret: i64,
        /// The arguments as the registers held them at entry.
        pub args: [u64; MAX_ARGS],
        /// Id of the task's cgroup in the v2 hierarchy, at entry.
        pub cgroup_id: u64,
        /// Boot clock when the process started, in nanoseconds.
        pub process_start_ns: u64,
        /// Command name of the thread at entry; after a successful exec, the new one.
        pub comm: [u8; COMM_LEN],
        /// Effective user id of the thread, in the initial user namespace, at entry; for
        /// [`Record::ExitOnly`] at exit.
        pub uid: u32,
        /// Effective group id, likewise.
        pub gid: u32,
        /// The thread's `self_exec_id` at the same moment: with the process it names the program that
        /// made the call, <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h#L1148>.
        pub exec_id: u32,
        /// Zero.
        pub spare: u32,
    }
}

const _: () = {
    assert!(size_of::<SyscallEvent>() == 144);
    assert!(align_of::<SyscallEvent>() == 8);
};

wire_struct! {
    /// Stands before each capture; the bytes follow, padded to a multiple of 8.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct CaptureHeader {
        /// Which argument it belongs to, 0..=5.
        pub arg: u8,
        /// A [`CaptureState`].
        pub state: u8,
        /// A [`Phase`].
        pub phase: u8,
        /// Which part of the argument, see [`crate::memory::part`].
        pub part: u8,
        /// Bytes that follow, without the zero that ends a string and without padding.
        pub len: u32,
    }
}

const _: () = assert!(size_of::<CaptureHeader>() == 8);

wire_enum! {
    /// Which ends of the call were seen.
    Record {
        /// Entry and exit.
        Complete = 0 "complete",
        /// Exit alone: start and duration are unknown.
        ExitOnly = 1 "exit_only",
        /// Entry alone: there is no result.
        EnterOnly = 2 "enter_only",
    }
}

wire_enum! {
    /// Why a record is not complete.
    Reason {
        /// The record is complete.
        None = 0 "none",
        /// The call does not return: `exit`, `exit_group`.
        NoReturn = 1 "noreturn",
        /// The call was still running when tracing stopped.
        Unfinished = 2 "unfinished",
        /// The task died inside the call.
        TaskDied = 3 "task_died",
        /// The task entered another call without leaving this one.
        Superseded = 4 "superseded",
        /// The exit came without an entry: the call was running at attach, or denied by seccomp.
        EnterNotSeen = 5 "enter_not_seen",
        /// The call was entered before tracing began, and had not returned then. Its exit, where it
        /// comes, has a record of its own.
        RunningAtAttach = 6 "running_at_attach",
    }
}

wire_enum! {
    /// The calling convention, and with it the meaning of numbers and registers.
    Abi {
        /// 64-bit calls on x86-64.
        X86_64 = 0 "x86_64",
        /// 32-bit calls on x86-64 (`int 0x80`, 32-bit programs).
        I386 = 1 "i386",
        /// Calls of the x32 ABI: x86-64 with bit 30 of the number set.
        X32 = 2 "x32",
        /// 64-bit calls on aarch64.
        Aarch64 = 3 "aarch64",
        /// 32-bit calls on aarch64.
        Arm = 4 "arm",
    }
}

wire_enum! {
    /// When memory was read, and so whose it is.
    Phase {
        /// At entry: what the program passed.
        Enter = 0 "enter",
        /// At exit, because the page was not resident at entry: what the program passed.
        Late = 1 "late",
        /// At exit: what the kernel returned.
        Exit = 2 "exit",
    }
}

wire_enum! {
    /// What became of the reading of memory.
    CaptureState {
        /// All of it.
        Whole = 0 "ok",
        /// The beginning of it.
        Truncated = 1 "truncated",
        /// The memory could not be read.
        Fault = 2 "fault",
        /// No memory to keep it.
        NotRead = 3 "not_read",
    }
}

/// What the bit 30 of an x86-64 syscall number says: the x32 ABI. `__X32_SYSCALL_BIT`,
/// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/include/uapi/asm/unistd.h#L14>.
pub const X32_SYSCALL_BIT: u32 = 0x4000_0000;

/// Longest string in bytes, the terminating zero included: `PATH_MAX`.
pub const MAX_STRING: usize = 4096;

/// Bytes for captures that a task keeps with its call; with the rest of what it keeps and the
/// kernel's own header (72 bytes) it fits an allocation of 1 KiB.
pub const SMALL_PAYLOAD: usize = 720;

/// Longest string that fits there, the terminating zero included.
pub const SMALL_STRING: usize = 256;

/// Bytes for captures in the storage for long ones; with the event and the kernel's own
/// header it fits an allocation of 8 KiB, the most that newer kernels give without sleeping.
pub const LARGE_PAYLOAD: usize = 7904;
