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
    kernel_memory::read_kernel,
    maps::{BPRM_FILENAME, BPRM_INTERP, CONTROL, IN_FLIGHT, PROCESSES, SCOPE},
    record, scope,
    stats::{Stats, atomic_add, clear_bits, set_bits},
    task::Task,
    threads::Member,
};

/// Prototype: `void (struct task_struct *child, unsigned long clone_flags)`; runs in the thread that
/// forks, and the child has not run yet,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/fork.c#L2658>. Unlike `sched_process_fork` it
/// announces the threads that the kernel makes inside a process, see [`crate::threads`].
#[btf_tracepoint(function = "task_newtask")]
fn process_fork(ctx: BtfTracePointContext) -> i32 {
    if let Some((parent, child)) = forked(&ctx) {
        debug!(&ctx, "process {} forked {}", parent, child);
    }
    0
}

/// The same for kernels that can preempt such a program and then skip it for others on that CPU:
/// rarely both. All that these programs do can be done twice; what they log is logged once.
#[btf_tracepoint(function = "task_newtask")]
fn process_fork_again(ctx: BtfTracePointContext) -> i32 {
    forked(&ctx);
    0
}

/// Marks the child of a marked process, and tells of a birth in scope; returns the ids of parent
/// and child.
#[inline(always)]
fn forked(ctx: &BtfTracePointContext) -> Option<(u32, u32)> {
    let parent = Task::current();
    let child = Task(ctx.arg::<*mut task_struct>(0));
    let ids = marked_child(parent, child);
    if is_told_of(child) && scope::task(parent) {
        record::birth(Stats::get()?, parent, child);
    }
    ids
}

#[inline(always)]
fn marked_child(parent: Task, child: Task) -> Option<(u32, u32)> {
    if SCOPE.load() & BY_PROCESS == 0 {
        return None;
    }
    let member = Member::of(child);
    if child.tgid() != child.tid() {
        member.born();
        return None;
    }
    if SCOPE.load() & FOLLOW == 0 || !scope::is_marked(parent.tgid()) {
        return None;
    }
    member.begin();
    // The user side may have found and marked the child already.
    if mark(child.tgid()) {
        add_live(1);
    }
    Some((parent.tgid(), child.tgid()))
}

/// Whether what happens to a task is of interest, as far as that depends on its process alone.
#[inline(always)]
fn is_told_of(task: Task) -> bool {
    scope::process(task.tgid()) == scope::Process::In && !task.is_kernel_thread()
}

/// Prototype: `void (struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
#[btf_tracepoint(function = "sched_process_exec")]
fn process_exec(ctx: BtfTracePointContext) -> i32 {
    if let Some(tgid) = executed(&ctx) {
        debug!(&ctx, "process {} launched", tgid);
    }
    0
}

/// As [`process_fork_again`].
#[btf_tracepoint(function = "sched_process_exec")]
fn process_exec_again(ctx: BtfTracePointContext) -> i32 {
    executed(&ctx);
    0
}

/// Gives the call its thread's new name, and tells of a program in scope; returns the id of a
/// command that was launched.
#[inline(always)]
fn executed(ctx: &BtfTracePointContext) -> Option<u32> {
    let task = Task(ctx.arg::<*mut task_struct>(0));
    let member = Member::of(task);
    let state = IN_FLIGHT.get(task.0);
    if !state.is_null() {
        // SAFETY: a non-null storage value is valid while its task runs this program.
        unsafe { (*state).event.comm = task.comm() };
    }
    let launched = SCOPE.load() & BY_PROCESS != 0 && scope::is_launching(task.tgid());
    if launched {
        mark(task.tgid());
        end_launch();
    }
    // It has ended all its other threads; the first of them may have been another.
    if SCOPE.load() & BY_PROCESS != 0 && scope::is_marked(task.tgid()) {
        member.begin();
    }
    if is_told_of(task) && scope::task(task) {
        let bprm = ctx.arg::<*const u8>(2) as u64;
        let path: u64 = read_kernel(bprm + u64::from(BPRM_FILENAME.load()));
        // The same string, unless the file has named another: a script, or by binfmt_misc,
        // <https://github.com/torvalds/linux/blob/v6.12/fs/exec.c#L1491>.
        let is_interpreted = read_kernel::<u64>(bprm + u64::from(BPRM_INTERP.load())) != path;
        record::program(Stats::get()?, task, path, launched, is_interpreted);
    }
    launched.then(|| task.tgid())
}

/// Prototype: `void (struct task_struct *p)`, from 6.16 with a second argument; runs in the task.
#[btf_tracepoint(function = "sched_process_exit")]
fn process_exit(ctx: BtfTracePointContext) -> i32 {
    if let Some(tgid) = exiting() {
        debug!(&ctx, "process {} ended", tgid);
    }
    0
}

/// As [`process_fork_again`].
#[btf_tracepoint(function = "sched_process_exit")]
fn process_exit_again(_ctx: BtfTracePointContext) -> i32 {
    exiting();
    0
}

/// Ends the task's call, tells of its end, and takes the mark off a process whose last thread this
/// is; returns its id.
#[inline(always)]
fn exiting() -> Option<u32> {
    let stats = Stats::get()?;
    let task = Task::current();
    let member = Member::of(task);
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
    let by_process = SCOPE.load() & BY_PROCESS != 0;
    let is_told_of = is_told_of(task) || (by_process && member.is_over());
    if is_told_of && scope::task(task) {
        record::end(stats, task);
    }
    if !by_process || !member.ended() {
        return None;
    }
    let tgid = task.tgid();
    if scope::is_marked(tgid) {
        member.set_over();
        // Of two threads that are both the last, one takes the mark off.
        if unmark(tgid) {
            add_live(-1);
            return Some(tgid);
        }
    }
    if scope::is_launching(tgid) {
        end_launch();
        add_live(-1);
    }
    None
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
