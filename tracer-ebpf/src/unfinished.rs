//! A task iterator: what is still running when tracing stops.

use core::ffi::c_void;

use tracer_common::{counter::Counter, event::Reason};

use crate::{emit, maps::IN_FLIGHT, stats::Stats, task};

/// Runs once for each task of the system, after the programs at enter and exit are detached.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
fn unfinished(ctx: *mut c_void) -> i32 {
    // SAFETY: the kernel passes this context to a task iterator.
    let task = unsafe { task::of_iterator(ctx) };
    if task.0.is_null() {
        return 0;
    }
    let Some(stats) = Stats::get_preemptible() else { return 0 };
    let state = IN_FLIGHT.get(task.0);
    if state.is_null() {
        return 0;
    }
    // SAFETY: a non-null storage value is valid while the iterator holds its task. Of the programs
    // that write it only that at the task's exit still runs; both take the call with a swap.
    let state = unsafe { &mut *state };
    emit::open_end(stats, task, state, Counter::InFlight, Reason::Unfinished);
    0
}
