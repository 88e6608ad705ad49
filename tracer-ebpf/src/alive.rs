//! A task iterator: the processes that were there when tracing began.

use core::ffi::c_void;

use tracer_common::scope::{BY_CGROUP, BY_COMM, BY_UID};

use crate::{
    maps::{COMMS, SCOPE},
    record, scope,
    stats::Stats,
    task,
};

/// Runs once for each task of the system, when all other programs are attached: who is born later
/// is told of at birth. By user or by cgroup a task cannot be looked up from outside; there a
/// process shows with its first call.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
fn alive(ctx: *mut c_void) -> i32 {
    // SAFETY: the kernel passes this context to a task iterator.
    let task = unsafe { task::of_iterator(ctx) };
    if task.0.is_null() || SCOPE.load() & (BY_CGROUP | BY_UID) != 0 {
        return 0;
    }
    let Some(stats) = Stats::get_preemptible() else { return 0 };
    let is_process = task.tid() == task.tgid() && task.live_threads() != 0;
    if !is_process || task.is_kernel_thread() || scope::process(task.tgid()) != scope::Process::In {
        return 0;
    }
    // SAFETY: the map's values are never written through this reference.
    if SCOPE.load() & BY_COMM != 0 && unsafe { COMMS.get(task.comm()) }.is_none() {
        return 0;
    }
    record::alive(stats, task);
    0
}
