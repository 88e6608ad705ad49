//! A task iterator: the calls that were entered before tracing began.

use core::{ffi::c_void, mem::MaybeUninit};

use tracer_common::{
    counter::Counter,
    event::{Reason, Record, SyscallEvent},
    scope::{BY_CGROUP, BY_COMM, BY_UID},
};

use crate::{
    arch, emit, filter,
    maps::{COMMS, IN_FLIGHT, SCOPE},
    scope,
    stats::Stats,
    syscall,
    task::{self, Task},
};

/// Runs once for each task of the system, when all other programs are attached. By user or by
/// cgroup a task cannot be looked up from outside.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
fn running(ctx: *mut c_void) -> i32 {
    // SAFETY: the kernel passes this context to a task iterator.
    let task = unsafe { task::of_iterator(ctx) };
    if task.0.is_null() || SCOPE.load() & (BY_CGROUP | BY_UID) != 0 || filter::is_on() {
        return 0;
    }
    let Some(stats) = Stats::get_preemptible() else { return 0 };
    if scope::process(task.tgid()) != scope::Process::In || !task.is_of_program() {
        return 0;
    }
    // SAFETY: the map's values are never written through this reference.
    if SCOPE.load() & BY_COMM != 0 && unsafe { COMMS.get(task.comm()) }.is_none() {
        return 0;
    }
    if !was_entered_unseen(task) {
        return 0;
    }
    let Some(switches) = task.waits() else { return 0 };
    let mut event = MaybeUninit::<SyscallEvent>::uninit();
    if !read_call(task, event.as_mut_ptr()) || task.waits() != Some(switches) {
        return 0;
    }
    stats.bump(Counter::RunningAtAttach);
    // SAFETY: all of it is written.
    let event = unsafe { event.assume_init_mut() };
    emit::bare_as(stats, event, Counter::RunningSubmitted, Counter::RunningReserveFailed);
    0
}

/// Whether no entry of the task's call was seen: one that was seen gets its record at its exit.
#[inline(always)]
fn was_entered_unseen(task: Task) -> bool {
    let state = IN_FLIGHT.get(task.0);
    // SAFETY: a non-null storage value is valid while the iterator holds its task.
    state.is_null() || unsafe { (*state).active } == 0
}

/// Writes what the saved registers say of the call that the task is in; false when it is in none
/// that is traced. The task must wait: while it runs, the registers are the program's.
#[inline(always)]
fn read_call(task: Task, event: *mut SyscallEvent) -> bool {
    let regs = task.user_regs();
    if regs.is_null() {
        return false;
    }
    let nr = arch::exit_nr(regs);
    // What interrupts and faults leave there: in no call.
    if nr == u32::MAX {
        return false;
    }
    let abi = arch::abi(task, nr);
    if !syscall::plan(abi, nr).is_traced() {
        return false;
    }
    let state = (Record::EnterOnly, Reason::RunningAtAttach);
    // SAFETY: room for an event, all of which is written.
    unsafe {
        (*event).ret = 0;
        (*event).duration_ns = 0;
        arch::write_args_at_exit(regs, abi, &mut (*event).args);
        syscall::write_rare_event(event, task, (abi, nr), state);
    }
    true
}
