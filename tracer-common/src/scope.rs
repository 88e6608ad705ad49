//! Which tasks are traced. A task must pass every kind of scope that is switched on.

/// Only processes marked in the `PROCESSES` map.
pub const BY_PROCESS: u32 = 1;
/// Only tasks in or under a cgroup of the `CGROUPS` map.
pub const BY_CGROUP: u32 = 1 << 1;
/// Only threads with a command name of the `COMMS` map.
pub const BY_COMM: u32 = 1 << 2;
/// Only tasks of a user of the `UIDS` map.
pub const BY_UID: u32 = 1 << 3;
/// A new process takes its parent's mark in `PROCESSES`.
pub const FOLLOW: u32 = 1 << 4;

/// Mark of a process that is not in scope.
pub const PROCESS_OUT: u8 = 0;
/// Mark of a process that is in scope.
pub const PROCESS_IN: u8 = 1;
/// Mark of a command about to be started: of its calls only `execve` is in scope, and the mark
/// becomes [`PROCESS_IN`] when that has replaced the program.
pub const PROCESS_LAUNCHING: u8 = 2;

/// Process ids are below this on any 64-bit kernel: `PID_MAX_LIMIT`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/threads.h#L34>.
pub const PROCESS_LIMIT: u32 = 4 * 1024 * 1024;

/// Cgroup levels that can be told apart; the root of the hierarchy is level 0.
pub const CGROUP_LEVEL_LIMIT: u32 = 32;
