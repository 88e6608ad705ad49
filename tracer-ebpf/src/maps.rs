//! All maps and all read-only globals. The user side fills the maps and sets the globals before
//! the programs are loaded; a global that is off lets the verifier remove the code behind it.

use aya_ebpf::{
    Global,
    bindings::{
        BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE, task_struct,
    },
    helpers::generated::{bpf_task_storage_delete, bpf_task_storage_get},
    macros::{btf_map, map},
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use tracer_common::{
    abi::ABI_VERSION,
    cgroup::{CGROUP_RING_SIZE, CgroupEvent},
    counter::Counters,
    event::{COMM_LEN, LARGE_PAYLOAD, SMALL_PAYLOAD, SyscallEvent},
    file::{FileHeader, PATH_BYTES},
    lifecycle::{ARGS_ROOM, ENV_ROOM, EXE_ROOM, LAUNCH_ROOM, LifecycleEvent, PATH_ROOM},
    memory::OpWords,
    plan::{MAX_FILES, PLANS as PLAN_COUNT},
    scope::{CGROUP_LIMIT, PROCESS_WORDS, control::COUNT as CONTROLS},
    signal::SIGINFO_LEN,
};

/// Per-task storage: keyed by the task itself, so it survives a change of thread id by exec, is
/// not confused by reuse of ids, cannot be filled up by others, and is freed with the task.
///
/// The layout is what BTF map definitions need: type, key, value, size and flags as pointer types.
#[repr(C)]
pub(crate) struct TaskStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the fields are never read; the loader turns the static into a map.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
            map_flags: core::ptr::null(),
        }
    }

    fn as_ptr(&self) -> *mut core::ffi::c_void {
        core::ptr::from_ref(self).cast_mut().cast()
    }

    /// The task's value, or null when it has none.
    #[inline(always)]
    pub(crate) fn get(&self, task: *mut task_struct) -> *mut T {
        // SAFETY: the map is a task storage and `task` comes from the kernel.
        unsafe { bpf_task_storage_get(self.as_ptr(), task, core::ptr::null_mut(), 0).cast() }
    }

    /// The task's value, made of zeroes when it had none; null when the kernel has no memory.
    #[inline(always)]
    pub(crate) fn get_or_create(&self, task: *mut task_struct) -> *mut T {
        const CREATE: u64 = aya_ebpf::bindings::BPF_LOCAL_STORAGE_GET_F_CREATE as u64;
        // SAFETY: the map is a task storage and `task` comes from the kernel.
        unsafe { bpf_task_storage_get(self.as_ptr(), task, core::ptr::null_mut(), CREATE).cast() }
    }

    /// Frees the task's value.
    #[inline(always)]
    pub(crate) fn delete(&self, task: *mut task_struct) {
        // SAFETY: the map is a task storage and `task` comes from the kernel.
        // That there was no value to free is no error.
        let _ = unsafe { bpf_task_storage_delete(self.as_ptr(), task) };
    }
}

/// Places in [`InFlight::prints`]: a power of two.
pub(crate) const PRINTS: usize = 4;
const _: () = assert!(MAX_FILES < PRINTS);

/// What is kept of a task between entry and exit of a call. Begins with the record to be.
#[repr(C)]
pub(crate) struct InFlight {
    pub(crate) event: SyscallEvent,
    /// Captures, unless they are in [`LARGE`].
    pub(crate) payload: [u8; SMALL_PAYLOAD],
    /// 1 while a call is running. Taken with [`crate::stats::swap`]: when tracing stops, the task's
    /// own exit and the iterator can meet.
    pub(crate) active: u32,
    /// Where the call's captures are, see [`crate::capture`].
    pub(crate) captured: u8,
    /// 1 when the call has operations to run at its exit.
    pub(crate) exit_memory: u8,
    /// Operations that could not read at entry, as a bit set.
    pub(crate) faulted_memory: u8,
    /// The argument whose memory is being read.
    pub(crate) arg: u8,
    /// The [`tracer_common::event::Phase`] in which it is read.
    pub(crate) phase: u8,
    /// 1 when files are to be looked up at the exit, see [`crate::files`].
    pub(crate) exit_files: u8,
    /// Files that have been looked up.
    pub(crate) named: u8,
    /// The place in `prints` of the descriptor that is looked up.
    pub(crate) slot: u8,
    /// The bit at which the search in a set of bits goes on, and descriptors found there.
    pub(crate) scanned: u16,
    pub(crate) found: u8,
    pub(crate) pad: u8,
    /// What each descriptor in a register led to at the entry, and behind them the current folder
    /// of a path, by [`crate::descriptor::print_of`]; 0 for what has not been looked up.
    pub(crate) prints: [u64; PRINTS],
    /// The address of the task, where files are looked up.
    pub(crate) task: u64,
}

/// A record with room for long captures.
#[repr(C)]
pub(crate) struct Long {
    pub(crate) event: SyscallEvent,
    pub(crate) payload: [u8; LARGE_PAYLOAD],
}

/// Bytes behind the last that are never written: how far the verifier may be from the truth.
pub(crate) const LAUNCH_SLACK: usize = 8;

/// Bytes behind the record of an exec, with the room for each part.
pub(crate) struct Rooms {
    pub(crate) path: usize,
    pub(crate) args: usize,
    pub(crate) exe: usize,
    pub(crate) env: usize,
}

impl Rooms {
    /// On the desk: the most that is ever taken.
    pub(crate) const DESK: Self =
        Self { path: PATH_ROOM, args: ARGS_ROOM, exe: EXE_ROOM, env: ENV_ROOM };
    /// In the task's storage, one allocation of at most 8 KiB with the kernel's own header: the
    /// arguments are as many, of paths and environment there is less.
    pub(crate) const STORAGE: Self = Self { path: 512, args: ARGS_ROOM, exe: 1024, env: 2176 };

    /// Where the path of the file begins at the latest.
    pub(crate) const fn before_exe(&self) -> usize {
        self.path + self.args
    }

    pub(crate) const fn all(&self) -> usize {
        self.path + self.args + self.exe + self.env
    }
}

/// The record of an exec.
#[repr(C)]
pub(crate) struct Launched<const ROOM: usize> {
    pub(crate) event: LifecycleEvent,
    pub(crate) launch: [u8; ROOM],
}

/// One in the task's storage.
pub(crate) type Stored = Launched<{ Rooms::STORAGE.all() + LAUNCH_SLACK }>;

/// One on a desk.
pub(crate) type OnDesk = Launched<{ LAUNCH_ROOM + LAUNCH_SLACK }>;

/// One of a command line.
pub(crate) type AtStart = Launched<{ ARGS_ROOM + LAUNCH_SLACK }>;

/// Memory for the record of an exec, a place for each processor.
#[repr(C)]
pub(crate) struct Desk {
    /// 1 while a program writes there: it can be preempted, and then the next one must not.
    pub(crate) is_taken: u32,
    pub(crate) pad: u32,
    pub(crate) record: OnDesk,
}

/// Memory in which a file is looked up, a place for each processor.
#[repr(C)]
pub(crate) struct FileDesk {
    /// 1 while a program writes there: it can be preempted, and then the next one must not.
    pub(crate) is_taken: u32,
    /// Bytes of `bytes` that are in use.
    pub(crate) len: u32,
    /// 1 when the file is in no folder at all.
    pub(crate) is_alone: u32,
    /// Folders and mounts that the walk has gone through.
    pub(crate) steps: u32,
    /// See [`crate::stats::order_loads`].
    pub(crate) fence: u32,
    pub(crate) pad: u32,
    /// What the descriptor leads to, by [`crate::descriptor::print_of`].
    pub(crate) print: u64,
    /// The `struct file`.
    pub(crate) file: u64,
    /// Mount and dentry of the file; during the walk to its path, of where that has come to.
    pub(crate) path: [u64; 2],
    /// The dentry at which that mount begins.
    pub(crate) top: u64,
    /// Mount and dentry at which paths of the process begin.
    pub(crate) root: [u64; 2],
    /// What is kept: this, and `len` bytes of those behind it.
    pub(crate) header: FileHeader,
    pub(crate) bytes: [u8; PATH_BYTES],
}

/// What has been told of a task, where programs run in two copies: each record is written once.
#[repr(C)]
pub(crate) struct Told {
    /// 1 when its birth has been told.
    pub(crate) birth: u32,
    /// Which of its programs was told last, by the number of the exec.
    pub(crate) exec: u32,
    /// 1 when its end has been told.
    pub(crate) end: u32,
    pub(crate) pad: u32,
}

/// Kept with the first thread of a process, see [`crate::threads`].
#[repr(C)]
pub(crate) struct Threads {
    /// Threads whose end has not been told.
    pub(crate) untold: u32,
    /// 0 when they were not counted from the beginning.
    pub(crate) is_known: u32,
    /// 1 when the process has lost its mark because it ended.
    pub(crate) is_over: u32,
}

/// The signal by which a process ends, kept with its first thread until a thread of it gets it.
#[repr(C)]
pub(crate) struct Deadly {
    /// Its number.
    pub(crate) signal: u32,
    /// 1 until it has been recorded. Taken with [`crate::stats::swap`].
    pub(crate) untold: u32,
    /// Bytes of `info` that are known.
    pub(crate) info_len: u64,
    pub(crate) info: [u8; SIGINFO_LEN],
}

#[btf_map]
pub(crate) static DEADLY: TaskStorage<Deadly> = TaskStorage::new();
#[btf_map]
pub(crate) static LAUNCHED: TaskStorage<Stored> = TaskStorage::new();
#[btf_map]
pub(crate) static TOLD: TaskStorage<Told> = TaskStorage::new();
#[btf_map]
pub(crate) static THREADS: TaskStorage<Threads> = TaskStorage::new();
#[btf_map]
pub(crate) static IN_FLIGHT: TaskStorage<InFlight> = TaskStorage::new();
#[btf_map]
pub(crate) static LARGE: TaskStorage<Long> = TaskStorage::new();

// The user side sets the size of RING, and that of PROCESSES to 1 when it is not used.
#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static DESKS: PerCpuArray<Desk> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static DESK_OF_ITERATORS: Array<Desk> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static FILE_DESKS: PerCpuArray<FileDesk> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static EXE_DESK_OF_ITERATORS: Array<FileDesk> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static EXE_DESKS: PerCpuArray<FileDesk> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static COMMAND_LINE: Array<AtStart> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static PROCESSES: Array<u64> = Array::with_max_entries(PROCESS_WORDS, BPF_F_MMAPABLE);
#[map]
pub(crate) static CONTROL: Array<u64> = Array::with_max_entries(CONTROLS, BPF_F_MMAPABLE);
#[map]
pub(crate) static PLANS: Array<u64> = Array::with_max_entries(PLAN_COUNT, 0);
#[map]
pub(crate) static OPERATIONS: Array<OpWords> = Array::with_max_entries(PLAN_COUNT, 0);
#[map]
pub(crate) static CGROUPS: HashMap<u64, u8> =
    HashMap::with_max_entries(CGROUP_LIMIT, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static CGROUP_RING: RingBuf = RingBuf::with_byte_size(CGROUP_RING_SIZE, 0);
#[map]
pub(crate) static CGROUP_EVENT: Array<CgroupEvent> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static UIDS: HashMap<u32, u8> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static COMMS: HashMap<[u8; COMM_LEN], u8> =
    HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static ERRNOS: Array<u8> = Array::with_max_entries(4096, 0);

macro_rules! globals {
    ($($name:ident: $ty:ty = $value:expr;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub(crate) static $name: Global<$ty> = Global::new($value);
        )*
    };
}

globals! {
    TRACER_ABI_VERSION: u32 = ABI_VERSION;
    SELF_TGID: u32 = 0;
    READER_TGID: u32 = 0;
    SCOPE: u32 = 0;
    CGROUP_LEVELS: u32 = 0;
    CGROUPS_CHANGE: u32 = 0;
    RESULT_FILTER: u32 = 0;
    CAPTURES: u32 = 0;
    MIN_DURATION_NS: u64 = 0;
    SIGNALS: u64 = 0;
    STRING_LIMIT: u32 = 32;
    DATA_LIMIT: u32 = 0;
    ATOMIC_COUNTERS: u32 = 1;
    UNPADDED_COMM: u32 = 1;
    COMPAT_OFFSET: u32 = 0;
    COMPAT_MASK: u32 = 0;
    TASK_PID: u32 = 0;
    TASK_TGID: u32 = 0;
    TASK_COMM: u32 = 0;
    TASK_GROUP_LEADER: u32 = 0;
    TASK_START_BOOTTIME: u32 = 0;
    TASK_SIGNAL: u32 = 0;
    TASK_BPF_STORAGE: u32 = 0;
    TASK_CGROUPS: u32 = 0;
    CSS_SET_DFL_CGRP: u32 = 0;
    CGROUP_KN: u32 = 0;
    CGROUP_PARENT: u32 = 0;
    KERNFS_NODE_ID: u32 = 0;
    SIGNAL_LIVE: u32 = 0;
    CGROUP_ROOT: u32 = 0;
    CGROUP_ROOT_HIERARCHY_ID: u32 = 0;
    SIGNAL_FLAGS: u32 = 0;
    SIGNAL_GROUP_EXIT_CODE: u32 = 0;
    TASK_FLAGS: u32 = 0;
    TASK_STATE: u32 = 0;
    TASK_ON_CPU: u32 = 0;
    TASK_SWITCHES: u32 = 0;
    TASK_REAL_PARENT: u32 = 0;
    TASK_EXIT_CODE: u32 = 0;
    TASK_EXEC_ID: u32 = 0;
    TASK_THREAD_PID: u32 = 0;
    TASK_MM: u32 = 0;
    TASK_CRED: u32 = 0;
    CRED_UID: u32 = 0;
    TASK_NSPROXY: u32 = 0;
    NSPROXY_MNT: u32 = 0;
    NSPROXY_NET: u32 = 0;
    NSPROXY_UTS: u32 = 0;
    NSPROXY_IPC: u32 = 0;
    NSPROXY_CGROUP: u32 = 0;
    CRED_USER_NS: u32 = 0;
    PID_NS_NUMBER: u32 = 0;
    MNT_NS_NUMBER: u32 = 0;
    NET_NS_NUMBER: u32 = 0;
    USER_NS_NUMBER: u32 = 0;
    UTS_NS_NUMBER: u32 = 0;
    IPC_NS_NUMBER: u32 = 0;
    CGROUP_NS_NUMBER: u32 = 0;
    CRED_EUID: u32 = 0;
    CRED_EGID: u32 = 0;
    PID_LEVEL: u32 = 0;
    PID_NUMBERS: u32 = 0;
    MM_ARG_START: u32 = 0;
    MM_EXE_FILE: u32 = 0;
    BPRM_FILENAME: u32 = 0;
    BPRM_INTERP: u32 = 0;
    FILES: u32 = 0;
    HAS_CAST: u32 = 0;
    TASK_FILES: u32 = 0;
    TASK_FS: u32 = 0;
    FILES_FDT: u32 = 0;
    FDT_MAX_FDS: u32 = 0;
    FDT_FD: u32 = 0;
    FS_ROOT: u32 = 0;
    FS_PWD: u32 = 0;
    FILE_PATH: u32 = 0;
    FILE_INODE: u32 = 0;
    FILE_PRIVATE: u32 = 0;
    INODE_MODE: u32 = 0;
    INODE_INO: u32 = 0;
    INODE_RDEV: u32 = 0;
    INODE_SB: u32 = 0;
    INODE_PRIVATE: u32 = 0;
    SB_DEV: u32 = 0;
    SB_MAGIC: u32 = 0;
    DENTRY_HASH: u32 = 0;
    VFSMOUNT_ROOT: u32 = 0;
    MOUNT_MNT: u32 = 0;
    MOUNT_PARENT: u32 = 0;
    NS_COMMON_OPS: u32 = 0;
    NS_OPS_NAME: u32 = 0;
    SOCKET_TYPE: u32 = 0;
    SOCKET_SK: u32 = 0;
    SOCK_PROTOCOL: u32 = 0;
    SOCK_SOCKET: u32 = 0;
    SKC_FAMILY: u32 = 0;
    SKC_STATE: u32 = 0;
    SKC_DPORT: u32 = 0;
    SKC_DADDR: u32 = 0;
    SKC_RCV_SADDR: u32 = 0;
    SKC_V6_DADDR: u32 = 0;
    SKC_V6_RCV_SADDR: u32 = 0;
    INET_SPORT: u32 = 0;
    UNIX_ADDR: u32 = 0;
    UNIX_PEER: u32 = 0;
    UNIX_ADDRESS_LEN: u32 = 0;
    UNIX_ADDRESS_NAME: u32 = 0;
    ALLOC_INODE: u32 = 0;
    NETLINK_PORTID: u32 = 0;
}
