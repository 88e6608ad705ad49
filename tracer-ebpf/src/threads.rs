//! How many threads of a process have yet to be told of as ended. The kernel takes its own count
//! down before it tells of a thread's end, before 6.16 long before
//! (<https://github.com/torvalds/linux/blob/v6.12/kernel/exit.c#L924>): by that count a process would
//! be over, and out of scope, while threads of it still end.

use crate::{
    maps::{THREADS, Threads},
    once::is_first,
    stats::fetch_add,
    task::Task,
};

/// A process has one thread: it is being born, or its other threads have made way for a program.
#[inline(always)]
pub(crate) fn begin(leader: Task) {
    let threads = THREADS.get_or_create(leader.0);
    if !threads.is_null() {
        // SAFETY: a non-null storage value is valid while this program runs, and there is no other
        // thread that would use it.
        unsafe { threads.write(Threads { untold: 1, is_known: 1 }) };
    }
}

/// The process of `parent` has one more thread.
#[inline(always)]
pub(crate) fn born(parent: Task, child: Task) {
    let Some(threads) = counted(parent) else { return };
    match is_first(child, |told| (&raw mut told.counted, 1)) {
        // SAFETY: aligned and valid.
        Some(true) => _ = unsafe { fetch_add(&raw mut threads.untold, 1) },
        Some(false) => {}
        None => threads.is_known = 0,
    }
}

/// The thread has ended; says whether it is the last of its process.
#[inline(always)]
pub(crate) fn ended(task: Task) -> bool {
    let Some(threads) = counted(task) else { return task.live_threads() == 0 };
    match is_first(task, |told| (&raw mut told.uncounted, 1)) {
        // SAFETY: aligned and valid.
        Some(true) => unsafe { fetch_add(&raw mut threads.untold, u32::MAX) == 1 },
        Some(false) => false,
        None => {
            threads.is_known = 0;
            task.live_threads() == 0
        }
    }
}

/// The count of the task's process, where it is known: when its birth or a program of it was seen.
#[inline(always)]
fn counted<'a>(task: Task) -> Option<&'a mut Threads> {
    // SAFETY: a non-null storage value is valid while this program runs; no reference is kept.
    unsafe { THREADS.get(task.leader().0).as_mut() }.filter(|threads| threads.is_known != 0)
}
