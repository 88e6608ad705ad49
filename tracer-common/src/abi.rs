//! The version of the agreement, and the names by which both sides find programs, maps and globals.

/// Rises with every change of a wire type, of a counter's number or of a map's layout. The kernel
/// object carries it in the global [`ABI_VERSION_SYMBOL`]; the loader refuses another value.
pub const ABI_VERSION: u32 = 16;

/// Stands in the object where the id of `bpf_rdonly_cast` in the kernel's BTF belongs: in a call
/// instruction that the loader completes, or turns into a move where the kernel has no such function.
pub const CAST_MARKER: u32 = 0x7ca5_7001;

/// Stands in the instruction before it, where the id of `struct rusage` belongs: 18 words, as which
/// the kernel side reads memory.
pub const WORDS_MARKER: u32 = 0x7ca5_7002;

/// The symbol in the object's read-only data that holds [`ABI_VERSION`], as a `u32`.
pub const ABI_VERSION_SYMBOL: &str = "TRACER_ABI_VERSION";

/// Names of the kernel programs.
pub mod program {
    /// Runs at the `sys_enter` raw tracepoint.
    pub const SYS_ENTER: &str = "sys_enter";
    /// Runs at the `sys_exit` raw tracepoint.
    pub const SYS_EXIT: &str = "sys_exit";
    /// The same at the perf event, for kernels that can preempt the other.
    pub const SYS_ENTER_PERF: &str = "sys_enter_perf";
    /// The same at the perf event.
    pub const SYS_EXIT_PERF: &str = "sys_exit_perf";
    /// Runs when a task has been made, before it first runs.
    pub const PROCESS_FORK: &str = "process_fork";
    /// Runs when an `execve` has replaced the image.
    pub const PROCESS_EXEC: &str = "process_exec";
    /// Runs when a task exits.
    pub const PROCESS_EXIT: &str = "process_exit";
    /// Second copies of the three before, for kernels that can preempt one and then skip it.
    pub const AGAIN: [&str; 3] = ["process_fork_again", "process_exec_again", "process_exit_again"];
    /// Runs for each operation that is submitted to `io_uring`, where the kernel has its tracepoint.
    pub const IO_URING_SUBMIT: &str = "io_uring_submit";
    /// Runs in a thread that gets a signal.
    pub const SIGNAL_DELIVER: &str = "signal_deliver";
    /// Runs when a signal is sent, by whom it is sent.
    pub const SIGNAL_GENERATE: &str = "signal_generate";
    /// Runs when a cgroup is made, where the kernel has its tracepoint.
    pub const CGROUP_MKDIR: &str = "cgroup_mkdir";
    /// A task iterator: writes a record for each call that is still running.
    pub const UNFINISHED: &str = "unfinished";
    /// Another one: writes a record for each process in scope.
    pub const ALIVE: &str = "alive";
    /// Another one, which may wait for memory: writes a record with the command line of each process
    /// in scope.
    pub const COMMAND_LINES: &str = "command_lines";
    /// Another one: writes a record for each call that was entered before tracing began.
    pub const RUNNING: &str = "running";
}

/// Names of the maps that the user side opens.
pub mod map {
    /// The ring of records.
    pub const RING: &str = "RING";
    /// Per-CPU counters, see [`crate::counter`].
    pub const COUNTERS: &str = "COUNTERS";
    /// One bit per process id, see [`crate::scope`].
    pub const PROCESSES: &str = "PROCESSES";
    /// Words that change while running, see [`crate::scope::control`].
    pub const CONTROL: &str = "CONTROL";
    /// One [`crate::plan::Plan`] per ABI and syscall number.
    pub const PLANS: &str = "PLANS";
    /// The operations of [`crate::memory`], with the index of [`PLANS`].
    pub const OPERATIONS: &str = "OPERATIONS";
    /// Ids of the cgroups in scope.
    pub const CGROUPS: &str = "CGROUPS";
    /// The ring of [`crate::cgroup`].
    pub const CGROUP_RING: &str = "CGROUP_RING";
    /// User ids in scope.
    pub const UIDS: &str = "UIDS";
    /// Command names in scope, padded with zero bytes.
    pub const COMMS: &str = "COMMS";
    /// Error numbers that pass `--errno`.
    pub const ERRNOS: &str = "ERRNOS";
}

/// Names of the read-only globals that are set before the object is loaded.
pub mod global {
    /// `u32`: the tracer's own process id, never traced.
    pub const SELF_TGID: &str = "SELF_TGID";
    /// `u32`: that of the process which reads command lines for it, likewise; 0 for none.
    pub const READER_TGID: &str = "READER_TGID";
    /// `u32`: [`crate::scope`] bits that are switched on.
    pub const SCOPE: &str = "SCOPE";
    /// `u32`: the levels of the cgroup hierarchy at which a cgroup in scope stands, as a bit set.
    pub const CGROUP_LEVELS: &str = "CGROUP_LEVELS";
    /// `u32`: 1 when these levels stand in [`crate::scope::control::CGROUP_LEVELS`] instead, because
    /// cgroups may come into scope.
    pub const CGROUPS_CHANGE: &str = "CGROUPS_CHANGE";
    /// `u32`: [`crate::plan::result`] bits that are switched on.
    pub const RESULT_FILTER: &str = "RESULT_FILTER";
    /// `u32`: [`crate::plan::captures`] that the plans may ask for, now and while tracing.
    pub const CAPTURES: &str = "CAPTURES";
    /// `u64`: the signals that are recorded, as a set, see [`crate::signal::signal_bit`].
    pub const SIGNALS: &str = "SIGNALS";
    /// `u64`: shortest duration that passes, in nanoseconds.
    pub const MIN_DURATION_NS: &str = "MIN_DURATION_NS";
    /// `u32`: bytes captured of each string of `argv`.
    pub const STRING_LIMIT: &str = "STRING_LIMIT";
    /// `u32`: bytes captured of what an `iovec` leads to; 0 when data is not captured.
    pub const DATA_LIMIT: &str = "DATA_LIMIT";
    /// `u32`: 1 where tracepoint programs can be preempted, so that counters need atomic adds.
    pub const ATOMIC_COUNTERS: &str = "ATOMIC_COUNTERS";
    /// `u32`: 1 where the kernel leaves bytes behind the zero that ends a command name.
    pub const UNPADDED_COMM: &str = "UNPADDED_COMM";
    /// `u32`: offset in bytes of the word of `task_struct` that tells a 32-bit call.
    pub const COMPAT_OFFSET: &str = "COMPAT_OFFSET";
    /// `u32`: the bit in that word; 0 when it could not be found.
    pub const COMPAT_MASK: &str = "COMPAT_MASK";
    /// `u32`: offset of `task_struct.pid`.
    pub const TASK_PID: &str = "TASK_PID";
    /// `u32`: offset of `task_struct.tgid`.
    pub const TASK_TGID: &str = "TASK_TGID";
    /// `u32`: offset of `task_struct.comm`.
    pub const TASK_COMM: &str = "TASK_COMM";
    /// `u32`: offset of `task_struct.group_leader`.
    pub const TASK_GROUP_LEADER: &str = "TASK_GROUP_LEADER";
    /// `u32`: offset of `task_struct.start_boottime`.
    pub const TASK_START_BOOTTIME: &str = "TASK_START_BOOTTIME";
    /// `u32`: offset of `task_struct.signal`.
    pub const TASK_SIGNAL: &str = "TASK_SIGNAL";
    /// `u32`: offset of `task_struct.bpf_storage`; 0 when it could not be found.
    pub const TASK_BPF_STORAGE: &str = "TASK_BPF_STORAGE";
    /// `u32`: offset of `task_struct.cgroups`.
    pub const TASK_CGROUPS: &str = "TASK_CGROUPS";
    /// `u32`: offset of `css_set.dfl_cgrp`.
    pub const CSS_SET_DFL_CGRP: &str = "CSS_SET_DFL_CGRP";
    /// `u32`: offset of `cgroup.kn`.
    pub const CGROUP_KN: &str = "CGROUP_KN";
    /// `u32`: offset of `cgroup.self.parent`, which is the parent's `self`, its first member.
    pub const CGROUP_PARENT: &str = "CGROUP_PARENT";
    /// `u32`: offset of `kernfs_node.id`.
    pub const KERNFS_NODE_ID: &str = "KERNFS_NODE_ID";
    /// `u32`: offset of `signal_struct.live`, the number of live threads.
    pub const SIGNAL_LIVE: &str = "SIGNAL_LIVE";
    /// `u32`: offset of `cgroup.root`.
    pub const CGROUP_ROOT: &str = "CGROUP_ROOT";
    /// `u32`: offset of `cgroup_root.hierarchy_id`.
    pub const CGROUP_ROOT_HIERARCHY_ID: &str = "CGROUP_ROOT_HIERARCHY_ID";
    /// `u32`: offset of `signal_struct.flags`.
    pub const SIGNAL_FLAGS: &str = "SIGNAL_FLAGS";
    /// `u32`: offset of `signal_struct.group_exit_code`.
    pub const SIGNAL_GROUP_EXIT_CODE: &str = "SIGNAL_GROUP_EXIT_CODE";
    /// `u32`: offset of `task_struct.flags`.
    pub const TASK_FLAGS: &str = "TASK_FLAGS";
    /// `u32`: offset of `task_struct.__state`.
    pub const TASK_STATE: &str = "TASK_STATE";
    /// `u32`: offset of `task_struct.on_cpu`, of which the first byte tells; 0 where the kernel has
    /// none, being for one processor.
    pub const TASK_ON_CPU: &str = "TASK_ON_CPU";
    /// `u32`: offset of `task_struct.nvcsw`, which rises each time the task gives up the processor.
    pub const TASK_SWITCHES: &str = "TASK_SWITCHES";
    /// `u32`: offset of `task_struct.real_parent`.
    pub const TASK_REAL_PARENT: &str = "TASK_REAL_PARENT";
    /// `u32`: offset of `task_struct.exit_code`.
    pub const TASK_EXIT_CODE: &str = "TASK_EXIT_CODE";
    /// `u32`: offset of `task_struct.self_exec_id`, which rises with each exec.
    pub const TASK_EXEC_ID: &str = "TASK_EXEC_ID";
    /// `u32`: offset of `task_struct.thread_pid`.
    pub const TASK_THREAD_PID: &str = "TASK_THREAD_PID";
    /// `u32`: offset of `task_struct.mm`.
    pub const TASK_MM: &str = "TASK_MM";
    /// `u32`: offset of `task_struct.cred`.
    pub const TASK_CRED: &str = "TASK_CRED";
    /// `u32`: offset of `cred.uid`.
    pub const CRED_UID: &str = "CRED_UID";
    /// `u32`: offset of `task_struct.nsproxy`.
    pub const TASK_NSPROXY: &str = "TASK_NSPROXY";
    /// `u32`: offset of `nsproxy.mnt_ns`; 0 where the kernel has none.
    pub const NSPROXY_MNT: &str = "NSPROXY_MNT";
    /// `u32`: offset of `nsproxy.net_ns`; 0 where the kernel has none.
    pub const NSPROXY_NET: &str = "NSPROXY_NET";
    /// `u32`: offset of `nsproxy.uts_ns`; 0 where the kernel has none.
    pub const NSPROXY_UTS: &str = "NSPROXY_UTS";
    /// `u32`: offset of `nsproxy.ipc_ns`; 0 where the kernel has none.
    pub const NSPROXY_IPC: &str = "NSPROXY_IPC";
    /// `u32`: offset of `nsproxy.cgroup_ns`; 0 where the kernel has none.
    pub const NSPROXY_CGROUP: &str = "NSPROXY_CGROUP";
    /// `u32`: offset of `cred.user_ns`; 0 where the kernel has none.
    pub const CRED_USER_NS: &str = "CRED_USER_NS";
    /// `u32`: offset of `pid_namespace.ns.inum`; 0 where the kernel has none.
    pub const PID_NS_NUMBER: &str = "PID_NS_NUMBER";
    /// `u32`: offset of `mnt_namespace.ns.inum`; 0 where the kernel has none.
    pub const MNT_NS_NUMBER: &str = "MNT_NS_NUMBER";
    /// `u32`: offset of `net.ns.inum`; 0 where the kernel has none.
    pub const NET_NS_NUMBER: &str = "NET_NS_NUMBER";
    /// `u32`: offset of `user_namespace.ns.inum`; 0 where the kernel has none.
    pub const USER_NS_NUMBER: &str = "USER_NS_NUMBER";
    /// `u32`: offset of `uts_namespace.ns.inum`; 0 where the kernel has none.
    pub const UTS_NS_NUMBER: &str = "UTS_NS_NUMBER";
    /// `u32`: offset of `ipc_namespace.ns.inum`; 0 where the kernel has none.
    pub const IPC_NS_NUMBER: &str = "IPC_NS_NUMBER";
    /// `u32`: offset of `cgroup_namespace.ns.inum`; 0 where the kernel has none.
    pub const CGROUP_NS_NUMBER: &str = "CGROUP_NS_NUMBER";
    /// `u32`: offset of `cred.euid`.
    pub const CRED_EUID: &str = "CRED_EUID";
    /// `u32`: offset of `cred.egid`.
    pub const CRED_EGID: &str = "CRED_EGID";
    /// `u32`: offset of `pid.level`.
    pub const PID_LEVEL: &str = "PID_LEVEL";
    /// `u32`: offset of `pid.numbers`.
    pub const PID_NUMBERS: &str = "PID_NUMBERS";
    /// `u32`: offset of `mm_struct.arg_start`; `arg_end`, `env_start` and `env_end` follow it.
    pub const MM_ARG_START: &str = "MM_ARG_START";
    /// `u32`: offset of `mm_struct.exe_file`.
    pub const MM_EXE_FILE: &str = "MM_EXE_FILE";
    /// `u32`: offset of `linux_binprm.filename`.
    pub const BPRM_FILENAME: &str = "BPRM_FILENAME";
    /// `u32`: offset of `linux_binprm.interp`.
    pub const BPRM_INTERP: &str = "BPRM_INTERP";
    /// `u32`: how much is looked up of the files of descriptors, see [`crate::file::detail`].
    pub const FILES: &str = "FILES";
    /// `u32`: 1 where the kernel has `bpf_rdonly_cast`.
    pub const HAS_CAST: &str = "HAS_CAST";
    /// `u32`: offset of `task_struct.files`.
    pub const TASK_FILES: &str = "TASK_FILES";
    /// `u32`: offset of `task_struct.fs`.
    pub const TASK_FS: &str = "TASK_FS";
    /// `u32`: offset of `files_struct.fdt`.
    pub const FILES_FDT: &str = "FILES_FDT";
    /// `u32`: offset of `fdtable.max_fds`.
    pub const FDT_MAX_FDS: &str = "FDT_MAX_FDS";
    /// `u32`: offset of `fdtable.fd`.
    pub const FDT_FD: &str = "FDT_FD";
    /// `u32`: offset of `fs_struct.root`, mount and dentry.
    pub const FS_ROOT: &str = "FS_ROOT";
    /// `u32`: offset of `fs_struct.pwd`, likewise.
    pub const FS_PWD: &str = "FS_PWD";
    /// `u32`: offset of `file.f_path`, likewise.
    pub const FILE_PATH: &str = "FILE_PATH";
    /// `u32`: offset of `file.f_inode`.
    pub const FILE_INODE: &str = "FILE_INODE";
    /// `u32`: offset of `file.private_data`.
    pub const FILE_PRIVATE: &str = "FILE_PRIVATE";
    /// `u32`: offset of `inode.i_mode`.
    pub const INODE_MODE: &str = "INODE_MODE";
    /// `u32`: offset of `inode.i_ino`.
    pub const INODE_INO: &str = "INODE_INO";
    /// `u32`: offset of `inode.i_rdev`.
    pub const INODE_RDEV: &str = "INODE_RDEV";
    /// `u32`: offset of `inode.i_sb`.
    pub const INODE_SB: &str = "INODE_SB";
    /// `u32`: offset of `inode.i_private`.
    pub const INODE_PRIVATE: &str = "INODE_PRIVATE";
    /// `u32`: offset of `super_block.s_dev`.
    pub const SB_DEV: &str = "SB_DEV";
    /// `u32`: offset of `super_block.s_magic`.
    pub const SB_MAGIC: &str = "SB_MAGIC";
    /// `u32`: offset of `dentry.d_hash`.
    pub const DENTRY_HASH: &str = "DENTRY_HASH";
    /// `u32`: offset of `vfsmount.mnt_root`.
    pub const VFSMOUNT_ROOT: &str = "VFSMOUNT_ROOT";
    /// `u32`: offset of `mount.mnt`.
    pub const MOUNT_MNT: &str = "MOUNT_MNT";
    /// `u32`: offset of `mount.mnt_parent`; `mnt_mountpoint` follows it.
    pub const MOUNT_PARENT: &str = "MOUNT_PARENT";
    /// `u32`: offset of `ns_common.ops`; `u32::MAX` when it could not be found.
    pub const NS_COMMON_OPS: &str = "NS_COMMON_OPS";
    /// `u32`: offset of `proc_ns_operations.name`.
    pub const NS_OPS_NAME: &str = "NS_OPS_NAME";
    /// `u32`: offset of `socket.type`.
    pub const SOCKET_TYPE: &str = "SOCKET_TYPE";
    /// `u32`: offset of `socket.sk`.
    pub const SOCKET_SK: &str = "SOCKET_SK";
    /// `u32`: offset of `sock.sk_protocol`.
    pub const SOCK_PROTOCOL: &str = "SOCK_PROTOCOL";
    /// `u32`: offset of `sock.sk_socket`.
    pub const SOCK_SOCKET: &str = "SOCK_SOCKET";
    /// `u32`: offset of `sock_common.skc_family`.
    pub const SKC_FAMILY: &str = "SKC_FAMILY";
    /// `u32`: offset of `sock_common.skc_state`.
    pub const SKC_STATE: &str = "SKC_STATE";
    /// `u32`: offset of `sock_common.skc_dport`.
    pub const SKC_DPORT: &str = "SKC_DPORT";
    /// `u32`: offset of `sock_common.skc_daddr`.
    pub const SKC_DADDR: &str = "SKC_DADDR";
    /// `u32`: offset of `sock_common.skc_rcv_saddr`.
    pub const SKC_RCV_SADDR: &str = "SKC_RCV_SADDR";
    /// `u32`: offset of `sock_common.skc_v6_daddr`; 0 without IPv6.
    pub const SKC_V6_DADDR: &str = "SKC_V6_DADDR";
    /// `u32`: offset of `sock_common.skc_v6_rcv_saddr`.
    pub const SKC_V6_RCV_SADDR: &str = "SKC_V6_RCV_SADDR";
    /// `u32`: offset of `inet_sock.inet_sport`.
    pub const INET_SPORT: &str = "INET_SPORT";
    /// `u32`: offset of `unix_sock.addr`; 0 when it could not be found.
    pub const UNIX_ADDR: &str = "UNIX_ADDR";
    /// `u32`: offset of `unix_sock.peer`.
    pub const UNIX_PEER: &str = "UNIX_PEER";
    /// `u32`: offset of `unix_address.len`.
    pub const UNIX_ADDRESS_LEN: &str = "UNIX_ADDRESS_LEN";
    /// `u32`: offset of `unix_address.name`.
    pub const UNIX_ADDRESS_NAME: &str = "UNIX_ADDRESS_NAME";
    /// `u32`: offset of `socket_alloc.vfs_inode`.
    pub const ALLOC_INODE: &str = "ALLOC_INODE";
    /// `u32`: offset of `netlink_sock.portid`; 0 when it could not be found.
    pub const NETLINK_PORTID: &str = "NETLINK_PORTID";
    /// `u8`: level of the kernel side's diagnostic log; 0 removes it.
    pub const LOG_LEVEL: &str = "AYA_LOG_LEVEL";
}
