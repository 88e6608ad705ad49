//! What no syscall shows: operations that `io_uring` takes from shared memory. They are counted, so
//! that what is not traced has a number.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::counter::Counter;

use crate::{scope, stats::Stats, task::Task};

/// Runs for each operation, in the thread that submits it: the program's own, or the one that the
/// kernel starts in its process for a polled queue,
/// <https://github.com/torvalds/linux/blob/v6.12/io_uring/io_uring.c#L2164>.
#[btf_tracepoint(function = "io_uring_submit_req")]
fn io_uring_submit(_ctx: BtfTracePointContext) -> i32 {
    let task = Task::current();
    if let Some(stats) = Stats::get()
        && scope::process(task.tgid()) == scope::Process::In
        && scope::task(task)
    {
        stats.bump(Counter::IoUringOps);
    }
    0
}
