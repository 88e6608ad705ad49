//! Fork, exec and exit: they keep the scope with its processes, and end calls that cannot return.

use aya_ebpf::{bindings::task_struct, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use tracer_common::{
    counter::Counter,
    event::Reason,
    scope::{BY_PROCESS, FOLLOW, control, process_bit},
};

use crate::{
    emit,
    maps::{CONTROL, IN_FLIGHT, PROCESSES, SCOPE},
    preempt, scope,
    stats::{Stats, atomic_add, clear_bits, set_bits},
    task::Task,
};

/// Prototype: `void (struct task_struct *parent, struct task_struct *child)`; the child has not
/// run yet, <https://github.com/torvalds/linux/blob/v6.12/kernel/fork.c#L2814>.
#[btf_tracepoint(function = "sched_process_fork")]
fn process_fork(ctx: BtfTracePointContext) -> i32 {
    preempt::disabled(|| forked(&ctx))
}

#[inline(always)]
fn forked(ctx: &BtfTracePointContext) {
    if SCOPE.load() & BY_PROCESS == 0 || SCOPE.load() & FOLLOW == 0 {
        return;
    }
    let parent = Task(ctx.arg::<*mut task_struct>(0));
    let child = Task(ctx.arg::<*mut task_struct>(1));
    let is_thread = child.tgid() != child.tid();
    if is_thread || !scope::is_marked(parent.tgid()) {
        return;
    }
    // The user side may have found and marked the child already.
    if mark(child.tgid()) {
        add_live(1);
    }
    debug!(ctx, "process {} forked {}", parent.tgid(), child.tgid());
}

/// Prototype: `void (struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
#[btf_tracepoint(function = "sched_process_exec")]
fn process_exec(ctx: BtfTracePointContext) -> i32 {
    preempt::disabled(|| executed(&ctx))
}

#[inline(always)]
fn executed(ctx: &BtfTracePointContext) {
    let task = Task(ctx.arg::<*mut task_struct>(0));
    if SCOPE.load() & BY_PROCESS != 0 && scope::is_launching(task.tgid()) {
        mark(task.tgid());
        end_launch();
        debug!(ctx, "process {} launched", task.tgid());
    }
    let state = IN_FLIGHT.get(task.0);
    if !state.is_null() {
        // SAFETY: a non-null storage value is valid while its task runs this program.
        unsafe { (*state).event.comm = task.comm() };
    }
}

/// Prototype: `void (struct task_struct *p)`, from 6.16 with a second argument; runs in the task.
#[btf_tracepoint(function = "sched_process_exit")]
fn process_exit(ctx: BtfTracePointContext) -> i32 {
    preempt::disabled(|| exiting(&ctx))
}

#[inline(always)]
fn exiting(ctx: &BtfTracePointContext) {
    let Some(stats) = Stats::get() else { return };
    let task = Task::current();
    let state = IN_FLIGHT.get(task.0);
    if !state.is_null() {
        // SAFETY: a non-null storage value is valid while its task runs this program.
        let state = unsafe { &mut *state };
        // A call whose exit is no longer looked for, because tracing stops, did not die.
        if is_armed() {
            emit::open_end(stats, task, state, Counter::TaskDied, Reason::TaskDied);
        } else {
            emit::open_end(stats, task, state, Counter::InFlight, Reason::Unfinished);
        }
    }
    if SCOPE.load() & BY_PROCESS != 0 && task.live_threads() == 0 {
        let tgid = task.tgid();
        // Of two threads that are both the last, one takes the mark off.
        if scope::is_marked(tgid) && unmark(tgid) {
            add_live(-1);
            debug!(ctx, "process {} ended", tgid);
        } else if scope::is_launching(tgid) {
            end_launch();
            add_live(-1);
        }
    }
}

/// Whether all programs are attached.
#[inline(always)]
pub(crate) fn is_armed() -> bool {
    CONTROL.get(control::ARMED).is_some_and(|armed| *armed != 0)
}

/// Marks a process; says whether it was not marked before.
#[inline(always)]
fn mark(tgid: u32) -> bool {
    let (word, bit) = process_bit(tgid);
    // SAFETY: aligned and valid.
    PROCESSES.get_ptr_mut(word).is_some_and(|word| unsafe { set_bits(word, bit) } & bit == 0)
}

/// Takes the mark of a process off; says whether it was marked before.
#[inline(always)]
fn unmark(tgid: u32) -> bool {
    let (word, bit) = process_bit(tgid);
    // SAFETY: aligned and valid.
    PROCESSES.get_ptr_mut(word).is_some_and(|word| unsafe { clear_bits(word, bit) } & bit != 0)
}

/// There is one launch in a trace, and its own process ends it.
#[inline(always)]
fn end_launch() {
    if let Some(launching) = CONTROL.get_ptr_mut(control::LAUNCHING) {
        // SAFETY: aligned and valid.
        unsafe { launching.write_volatile(0) };
    }
}

#[inline(always)]
fn add_live(change: i64) {
    if let Some(live) = CONTROL.get_ptr_mut(control::LIVE) {
        // SAFETY: aligned and valid; all writers use atomic adds.
        unsafe { atomic_add(live, change as u64) };
    }
}
