//! How many threads of a process have yet to be told of as ended. The kernel takes its own count
//! down before it tells of a thread's end, before 6.16 long before
//! (<https://github.com/torvalds/linux/blob/v6.12/kernel/exit.c#L924>): by that count a process would
//! be over, and out of scope, while threads of it still end.
//!
//! Kernels that can preempt these programs can skip one, after which a count would never come down
//! to nothing. They are newer than 6.16, and there the kernel's own has to do.

use crate::{
    maps::{ATOMIC_COUNTERS, THREADS, Threads},
    stats::fetch_add,
    task::Task,
};

/// A process has one thread: it is being born, or its other threads have made way for a program.
#[inline(always)]
pub(crate) fn begin(leader: Task) {
    if ATOMIC_COUNTERS.load() != 0 {
        return;
    }
    let threads = THREADS.get_or_create(leader.0);
    if !threads.is_null() {
        // SAFETY: a non-null storage value is valid while this program runs, and there is no other
        // thread that would use it.
        unsafe { threads.write(Threads { untold: 1, is_known: 1 }) };
    }
}

/// The process of `parent` has one more thread.
#[inline(always)]
pub(crate) fn born(parent: Task) {
    if let Some(untold) = untold(parent) {
        // SAFETY: aligned and valid.
        unsafe { fetch_add(untold, 1) };
    }
}

/// The thread has ended; says whether it is the last of its process.
#[inline(always)]
pub(crate) fn ended(task: Task) -> bool {
    match untold(task) {
        // SAFETY: aligned and valid.
        Some(untold) => unsafe { fetch_add(untold, u32::MAX) == 1 },
        None => task.live_threads() == 0,
    }
}

/// The count of the task's process, where it is known: when its birth or a program of it was seen.
#[inline(always)]
fn untold(task: Task) -> Option<*mut u32> {
    if ATOMIC_COUNTERS.load() != 0 {
        return None;
    }
    let threads = THREADS.get(task.leader().0);
    // SAFETY: a non-null storage value is valid while this program runs.
    if threads.is_null() || unsafe { (*threads).is_known } == 0 {
        return None;
    }
    // SAFETY: as above.
    Some(unsafe { &raw mut (*threads).untold })
}
