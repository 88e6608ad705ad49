//! One counter per cause. The kernel side adds, the ledger reads; see `docs/ARCHITECTURE.md`.

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What a kernel-side counter counts. The discriminant is its place in [`Counters`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter { $($(#[$doc])* $variant,)* }

        impl Counter {
            /// All counters, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// The name in the ledger.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

counters! {
    /// Every run of the `sys_enter` program.
    EnterSeen = "enter_seen",
    /// Enters out of scope, of a syscall that is not traced, or of the tracer itself.
    Filtered = "filtered",
    /// Enters kept with their task until the exit.
    Stored = "stored",
    /// Enters of `exit` and `exit_group`, which have no exit and are recorded at once.
    NoReturn = "noreturn",
    /// Enters that could not be kept: the kernel had no memory for the task's storage.
    StoreFailed = "store_failed",
    /// Exits whose enter was kept.
    Matched = "matched",
    /// Kept enters that a second enter of the same task replaced.
    Superseded = "superseded",
    /// Kept enters whose task died without an exit.
    TaskDied = "task_died",
    /// Kept enters still running when tracing stopped.
    InFlight = "in_flight",
    /// Exits in a new task: the child's side of `fork`, `vfork`, `clone` and `clone3`.
    ChildReturn = "child_return",
    /// Exits in scope whose enter was not seen: running at attach, or denied by seccomp.
    ExitOnly = "exit_only",
    /// Exits in scope whose entry may have been out of scope: they are not recorded.
    ExitUnknown = "exit_unknown",
    /// Calls that a filter on result, error or duration rejected.
    FilteredResult = "filtered_result",
    /// Records written to the ring.
    Submitted = "submitted",
    /// Records for which the ring had no room.
    ReserveFailed = "reserve_failed",
    /// Calls in scope that were entered before tracing began and had not returned then.
    RunningAtAttach = "running_at_attach",
    /// Records of these written to the ring.
    RunningSubmitted = "running_submitted",
    /// Records of these for which the ring had no room.
    RunningReserveFailed = "running_reserve_failed",
    /// Processes in scope that were there when tracing began.
    Alive = "alive",
    /// Command lines of these that were read.
    CommandLines = "command_lines",
    /// Births of processes and threads in scope.
    Forked = "forked",
    /// Programs that processes in scope have begun.
    Executed = "executed",
    /// Ends of threads in scope.
    Exited = "exited",
    /// Records of these five written to the ring.
    LifecycleSubmitted = "lifecycle_submitted",
    /// Records of these five for which the ring had no room.
    LifecycleReserveFailed = "lifecycle_reserve_failed",
    /// Signals in scope that were delivered.
    Signals = "signals",
    /// Records of these written to the ring.
    SignalSubmitted = "signal_submitted",
    /// Records of these for which the ring had no room.
    SignalReserveFailed = "signal_reserve_failed",
    /// Deadly signals of which nothing was kept until they were delivered: the kernel had no memory.
    SignalNotKept = "signal_not_kept",
    /// Programs whose path, arguments and environment were not read: no memory to keep them.
    LaunchNotRead = "launch_not_read",
    /// Strings not read because the kernel had no memory to keep them.
    StringNotRead = "string_not_read",
    /// Strings that could be read neither at enter nor at exit.
    StringFault = "string_fault",
    /// Other memory not read because there was no room to keep it.
    MemoryNotRead = "memory_not_read",
    /// Other memory that could not be read.
    MemoryFault = "memory_fault",
    /// Files of descriptors that are not named because there was no room to keep them.
    FileNotRead = "file_not_read",
    /// `io_uring` operations of processes in scope, which are no syscalls and not traced. 0 where
    /// the kernel has no tracepoint for them.
    IoUringOps = "io_uring_ops",
    /// Cgroups (v2) that were made.
    CgroupMade = "cgroup_made",
    /// Those of them for which the ring of cgroups had no room.
    CgroupLost = "cgroup_lost",
}

/// How many counters there are.
pub const COUNT: usize = Counter::ALL.len();

/// The counters of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Indexed by [`Counter`].
    pub values: [u64; COUNT],
}

impl Default for Counters {
    fn default() -> Self {
        Self { values: [0; COUNT] }
    }
}

impl Counters {
    /// The value of one counter.
    pub const fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }
}

const _: () = assert!(size_of::<Counters>() == COUNT * 8);
