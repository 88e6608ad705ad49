//! When a process is over: its last thread has passed the tracepoint at its end.
//!
//! The kernel takes its own count of live threads down before it raises that tracepoint, before 6.16
//! long before (<https://github.com/torvalds/linux/blob/v6.12/kernel/exit.c#L924>): by that count a
//! process would be over, and out of scope, while threads of it have still to announce their end.
//! So ends are counted here, against births.
//!
//! Births are those of `task_newtask`, which `copy_process` raises for every task that it makes. Only
//! `kernel_clone` raises `sched_process_fork`: the threads that the kernel makes inside a process
//! (`create_io_thread` for `io_uring`, `vhost_task_create` for vhost and KVM) call `copy_process`
//! themselves, and their ends would be counted against nothing
//! (<https://github.com/torvalds/linux/blob/v6.12/kernel/fork.c#L2658>).
//!
//! The count alone never ends a process: as long as the kernel's own has a live thread, that thread
//! can make calls, and they must be traced. It only keeps the process in scope a little longer.
//!
//! Kernels that can preempt these programs can skip one, after which a count would never come down
//! to nothing. They are newer than 6.16, and there the kernel's own has to do. It has to do for a
//! process that was alive when it came into scope, too, until it executes a program.

use crate::{
    maps::{ATOMIC_COUNTERS, THREADS, Threads},
    stats::fetch_add,
    task::Task,
};

/// A thread and the first thread of its process. That one is loaded once for all that is asked here:
/// each load of a pointer that the verifier knows makes it slow, see [`Task`].
#[derive(Clone, Copy)]
pub(crate) struct Member {
    task: Task,
    leader: Task,
}

impl Member {
    #[inline(always)]
    pub(crate) fn of(task: Task) -> Self {
        Self { task, leader: task.leader() }
    }

    /// A process has one thread, its first: it is being born, or its other threads have made way for
    /// a program.
    #[inline(always)]
    pub(crate) fn begin(self) {
        if ATOMIC_COUNTERS.load() != 0 {
            return;
        }
        let threads = THREADS.get_or_create(self.leader.0);
        if !threads.is_null() {
            // SAFETY: a non-null storage value is valid while this program runs, and there is no
            // other thread that would use it.
            unsafe { threads.write(Threads { untold: 1, is_known: 1, is_over: 0 }) };
        }
    }

    /// The thread has been added to its process.
    #[inline(always)]
    pub(crate) fn born(self) {
        if let Some(untold) = self.untold() {
            // SAFETY: aligned and valid.
            unsafe { fetch_add(untold, 1) };
        }
    }

    /// The thread has ended; says whether its process is over.
    #[inline(always)]
    pub(crate) fn ended(self) -> bool {
        let left = match self.untold() {
            // SAFETY: aligned and valid.
            Some(untold) => unsafe { fetch_add(untold, u32::MAX) }.cast_signed() - 1,
            None => 0,
        };
        left <= 0 && self.task.live_threads() == 0
    }

    /// The process is about to lose its mark. Where its threads are not counted, others of them may be
    /// on their way to their end; by this they know that they are in scope.
    #[inline(always)]
    pub(crate) fn set_over(self) {
        if self.untold().is_some() {
            return;
        }
        let threads = THREADS.get_or_create(self.leader.0);
        if !threads.is_null() {
            // SAFETY: a non-null storage value is valid while this program runs; aligned.
            unsafe { (&raw mut (*threads).is_over).write_volatile(1) };
        }
    }

    /// Whether the process has lost its mark because it ended.
    #[inline(always)]
    pub(crate) fn is_over(self) -> bool {
        let threads = THREADS.get(self.leader.0);
        // SAFETY: a non-null storage value is valid while this program runs.
        !threads.is_null() && unsafe { (*threads).is_over } != 0
    }

    /// The count of the process, where it is known: when its birth or a program of it was seen.
    #[inline(always)]
    fn untold(self) -> Option<*mut u32> {
        if ATOMIC_COUNTERS.load() != 0 {
            return None;
        }
        let threads = THREADS.get(self.leader.0);
        // SAFETY: a non-null storage value is valid while this program runs.
        if threads.is_null() || unsafe { (*threads).is_known } == 0 {
            return None;
        }
        // SAFETY: as above.
        Some(unsafe { &raw mut (*threads).untold })
    }
}
