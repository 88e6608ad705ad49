//! Which tasks are traced. A task must pass every kind of scope that is switched on.

/// Only processes marked in the `PROCESSES` map.
pub const BY_PROCESS: u32 = 1;
/// Only tasks in or under a cgroup of the `CGROUPS` map.
pub const BY_CGROUP: u32 = 1 << 1;
/// Only threads with a command name of the `COMMS` map.
pub const BY_COMM: u32 = 1 << 2;
/// Only tasks of a user of the `UIDS` map.
pub const BY_UID: u32 = 1 << 3;
/// A new process is marked when its parent is, in `PROCESSES`.
pub const FOLLOW: u32 = 1 << 4;
/// There is a command to be launched, see [`control::LAUNCHING`].
pub const LAUNCHES: u32 = 1 << 5;

/// Process ids are below this on any 64-bit kernel: `PID_MAX_LIMIT`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/threads.h#L34>.
pub const PROCESS_LIMIT: u32 = 4 * 1024 * 1024;

/// Words of the `PROCESSES` map: one bit per process id.
pub const PROCESS_WORDS: u32 = PROCESS_LIMIT / 64;

/// The word and the bit of a process id in the `PROCESSES` map.
#[inline(always)]
pub const fn process_bit(tgid: u32) -> (u32, u64) {
    (tgid / 64, 1 << (tgid % 64))
}

/// Places in the `CONTROL` map.
pub mod control {
    /// Change of the number of marked processes since the start, by the kernel side: a signed
    /// number. The user side counts those that it marks itself.
    pub const LIVE: u32 = 0;
    /// 1 from when all programs are attached until the first is detached: an exit without an entry
    /// tells something only in between.
    pub const ARMED: u32 = 1;
    /// Process id of a command about to be started, or 0: of its calls only `execve` is in scope,
    /// and the process is marked when that has replaced the program.
    pub const LAUNCHING: u32 = 2;
    /// 1 when the scope or the traced calls have been changed since the start: an exit without an
    /// entry then tells nothing.
    pub const EDITED: u32 = 3;
    /// Where cgroups may come into scope: the levels of the hierarchy at which one stands, as a bit
    /// set.
    pub const CGROUP_LEVELS: u32 = 4;
    /// 1 when tracing ends: what is still being read is not told any more.
    pub const ENDED: u32 = 5;
    /// How many there are.
    pub const COUNT: u32 = 6;
}

/// Cgroups that can be in scope at once.
pub const CGROUP_LIMIT: u32 = 16384;

/// Cgroup levels that can be told apart; the root of the hierarchy is level 0.
pub const CGROUP_LEVEL_LIMIT: u32 = 32;
