//! Fork, exec and exit: they keep the scope with its processes, and end calls that cannot return.

use aya_ebpf::{bindings::task_struct, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use tracer_common::{
    counter::Counter,
    event::{Reason, Record},
    scope::{BY_PROCESS, FOLLOW, PROCESS_IN, PROCESS_LAUNCHING, PROCESS_OUT},
};

use crate::{
    emit,
    maps::{IN_FLIGHT, LIVE, PROCESSES, SCOPE},
    scope,
    stats::{Stats, atomic_add},
    task::Task,
};

/// Prototype: `void (struct task_struct *parent, struct task_struct *child)`; the child has not
/// run yet, <https://github.com/torvalds/linux/blob/v6.12/kernel/fork.c#L2814>.
#[btf_tracepoint(function = "sched_process_fork")]
fn process_fork(ctx: BtfTracePointContext) -> i32 {
    if SCOPE.load() & BY_PROCESS == 0 || SCOPE.load() & FOLLOW == 0 {
        return 0;
    }
    let parent = Task(ctx.arg::<*mut task_struct>(0));
    let child = Task(ctx.arg::<*mut task_struct>(1));
    let is_thread = child.tgid() != child.tid();
    if is_thread || scope::mark(parent.tgid()) != PROCESS_IN {
        return 0;
    }
    set_mark(child.tgid(), PROCESS_IN);
    add_live(1);
    debug!(&ctx, "process {} forked {}", parent.tgid(), child.tgid());
    0
}

/// Prototype: `void (struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
#[btf_tracepoint(function = "sched_process_exec")]
fn process_exec(ctx: BtfTracePointContext) -> i32 {
    let task = Task(ctx.arg::<*mut task_struct>(0));
    if SCOPE.load() & BY_PROCESS != 0 && scope::mark(task.tgid()) == PROCESS_LAUNCHING {
        set_mark(task.tgid(), PROCESS_IN);
        debug!(&ctx, "process {} launched", task.tgid());
    }
    let state = IN_FLIGHT.get(task.0);
    if !state.is_null() {
        // SAFETY: a non-null storage value is valid while its task runs this program.
        unsafe { (*state).event.comm = task.comm() };
    }
    0
}

/// Prototype: `void (struct task_struct *p)`, from 6.16 with a second argument; runs in the task.
#[btf_tracepoint(function = "sched_process_exit")]
fn process_exit(ctx: BtfTracePointContext) -> i32 {
    let Some(stats) = Stats::get() else { return 0 };
    let task = Task::current();
    let state = IN_FLIGHT.get(task.0);
    if !state.is_null() {
        // SAFETY: a non-null storage value is valid while its task runs this program.
        let state = unsafe { &mut *state };
        if state.active != 0 {
            state.active = 0;
            stats.bump(Counter::TaskDied);
            state.event.record = Record::EnterOnly as u8;
            state.event.reason = Reason::TaskDied as u8;
            emit::call(stats, task, state);
        }
    }
    if SCOPE.load() & BY_PROCESS != 0 && task.live_threads() == 0 {
        let tgid = task.tgid();
        if scope::mark(tgid) != PROCESS_OUT {
            set_mark(tgid, PROCESS_OUT);
            add_live(-1);
            debug!(&ctx, "process {} ended", tgid);
        }
    }
    0
}

#[inline(always)]
fn set_mark(tgid: u32, mark: u8) {
    if let Some(slot) = PROCESSES.get_ptr_mut(tgid) {
        // SAFETY: one byte of a map value.
        unsafe { slot.write_volatile(mark) };
    }
}

#[inline(always)]
fn add_live(change: i64) {
    if let Some(live) = LIVE.get_ptr_mut(0) {
        // SAFETY: aligned and valid; all writers use atomic adds.
        unsafe { atomic_add(live, change as u64) };
    }
}
