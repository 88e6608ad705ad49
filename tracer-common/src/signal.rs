//! The records of signals that are delivered.

use crate::event::COMM_LEN;

/// Value of [`SignalEvent::kind`]; [`crate::event::KIND_SYSCALL`] stands in the same place.
pub const KIND_SIGNAL: u16 = 3;

/// Bytes of the kernel's `siginfo` that hold fields: the widest are those of `SIGCHLD`, which end
/// here, <https://github.com/torvalds/linux/blob/v6.12/include/uapi/asm-generic/siginfo.h#L37>.
pub const SIGINFO_LEN: usize = 48;

/// Bytes of it that number, error and code take.
pub const SIGINFO_HEAD: usize = 12;

/// `SIGRTMAX`: signals are 1 to this.
pub const LAST_SIGNAL: u32 = 64;

wire_struct! {
    /// A signal that a thread gets, as the kernel side writes it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SignalEvent {
        /// [`KIND_SIGNAL`].
        pub kind: u16,
        /// Bytes of `info` that are known: 0, [`SIGINFO_HEAD`] or [`SIGINFO_LEN`].
        pub info_len: u16,
        /// Its number, 1 to [`LAST_SIGNAL`].
        pub signal: u32,
        /// Process id (thread group id) of the receiver, in the initial pid namespace.
        pub tgid: u32,
        /// Thread id, likewise.
        pub tid: u32,
        /// Boot clock when it was delivered, in nanoseconds (`CLOCK_BOOTTIME`).
        pub time_ns: u64,
        /// Boot clock when the process started, in nanoseconds.
        pub process_start_ns: u64,
        /// Id of the task's cgroup in the v2 hierarchy.
        pub cgroup_id: u64,
        /// Effective user id of the receiver, in the initial user namespace.
        pub uid: u32,
        /// Effective group id, likewise.
        pub gid: u32,
        /// The task's `self_exec_id`: which of its process's programs gets it.
        pub exec_id: u32,
        /// Makes the size a multiple of 8.
        pub spare: u32,
        /// What came with it: the beginning of a native `siginfo_t`. Ids in it are those that the
        /// receiver sees.
        pub info: [u8; SIGINFO_LEN],
        /// Command name of the thread.
        pub comm: [u8; COMM_LEN],
    }
}

const _: () = {
    assert!(size_of::<SignalEvent>() == 120);
    assert!(align_of::<SignalEvent>() == 8);
};

/// The bit of a signal in a set of signals; 0 for a number that is none.
#[inline(always)]
pub const fn signal_bit(signal: u32) -> u64 {
    if signal == 0 || signal > LAST_SIGNAL { 0 } else { 1 << (signal - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_a_bit_for_each_signal() {
        assert_eq!((signal_bit(1), signal_bit(64)), (1, 1 << 63));
        assert_eq!((signal_bit(0), signal_bit(65)), (0, 0));
    }
}
