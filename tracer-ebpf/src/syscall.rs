//! The two programs that every call runs through: filter, capture, emit.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::bpf_ktime_get_boot_ns,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use tracer_common::{
    counter::Counter,
    event::{Abi, KIND_SYSCALL, Phase, Reason, Record, SyscallEvent},
    plan::{
        OTHER, PER_ABI, Plan,
        captures::{MEMORY, STRINGS},
    },
};

use crate::{
    arch, capture, emit, files, filter, inside, lifecycle,
    maps::{FILES, IN_FLIGHT, InFlight, PLANS},
    memory,
    scope::{self, Process},
    stats::Stats,
    task::Task,
};

/// Prototype: `void (struct pt_regs *regs, long id)`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/syscalls.h#L18>.
#[btf_tracepoint(function = "sys_enter")]
fn sys_enter(ctx: BtfTracePointContext) -> i32 {
    entered(ctx.arg(0), ctx.arg::<i64>(1) as u32);
    0
}

/// The same for kernels that can preempt [`sys_enter`]. They skip a program that another task has
/// begun on the same CPU, which they take for recursion; programs of perf events they run without
/// preemption. The fields: <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/syscalls.h#L18>.
#[tracepoint]
fn sys_enter_perf(ctx: TracePointContext) -> i32 {
    // SAFETY: the verifier checks that the field is one.
    if let Ok(nr) = unsafe { ctx.read_at::<i64>(EVENT_NR) } {
        entered(Task::current().user_regs(), nr as u32);
    }
    0
}

/// Offsets in the perf events: the number of the call, and at exit the result.
const EVENT_NR: usize = 8;
const EVENT_RET: usize = 16;

#[inline(always)]
fn entered(regs: *const pt_regs, nr: u32) {
    let Some(stats) = Stats::get() else { return };
    stats.bump(Counter::EnterSeen);
    let task = Task::current();
    let process = scope::process(task.tgid());
    if process == Process::Out {
        stats.bump(Counter::Filtered);
        return;
    }
    let abi = arch::abi(task, nr);
    let plan = plan(abi, nr);
    let in_scope = process == Process::In || plan.is_exec();
    if !plan.is_traced() || !in_scope || !scope::task(task) {
        stats.bump(Counter::Filtered);
        return;
    }
    if plan.is_no_return() {
        leaves_for_good(stats, task, regs, nr);
        return;
    }
    let state = IN_FLIGHT.get_or_create(task.0);
    if state.is_null() {
        stats.bump(Counter::StoreFailed);
        return;
    }
    // SAFETY: a non-null storage value is valid while its task runs this program, and no other
    // task writes it.
    let state = unsafe { &mut *state };
    if state.active != 0 {
        superseded(stats, task, state);
    }
    stats.bump(Counter::Stored);
    arch::write_args(regs, abi, &mut state.event.args);
    // SAFETY: there is room for an event.
    unsafe { write_event(&raw mut state.event, task, (abi, nr), COMPLETE) };
    state.captured = capture::NOWHERE;
    state.active = 1;
    state.exit_memory = 0;
    state.faulted_memory = 0;
    state.exit_files = 0;
    if capture::can(STRINGS) && plan.has_strings() {
        state.captured = capture::IN_SMALL;
        capture::strings(state, plan.0, Phase::Enter as u32);
    }
    if capture::can(MEMORY) && plan.has_memory() {
        memory::memory_at_enter(state, plan_index(abi, nr));
    }
    if FILES.load() != 0 && plan.has_files() {
        state.task = task.0 as u64;
        files::files_at_enter(state, plan.0);
        inside::at_enter(state, plan);
    }
}

/// What a record says until something else is known.
const COMPLETE: (Record, Reason) = (Record::Complete, Reason::None);

/// The task's last call had no exit. Not inlined, as [`exit_alone`].
#[inline(never)]
fn superseded(stats: Stats, task: Task, state: &mut InFlight) {
    emit::open_end(stats, task, state, Counter::Superseded, Reason::Superseded);
}

/// A call that does not return is recorded at its entry. Not inlined, as [`exit_alone`].
#[inline(never)]
fn leaves_for_good(stats: Stats, task: Task, regs: *const pt_regs, nr: u32) {
    let abi = arch::abi(task, nr);
    stats.bump(Counter::NoReturn);
    if !filter::passes_without_result(0) {
        stats.bump(Counter::FilteredResult);
        return;
    }
    let ends = (Record::EnterOnly, Reason::NoReturn);
    let mut event = MaybeUninit::<SyscallEvent>::uninit();
    let event = event.as_mut_ptr();
    // SAFETY: room for an event, all of which is written.
    let event = unsafe {
        (*event).ret = 0;
        (*event).duration_ns = 0;
        arch::write_args(regs, abi, &mut (*event).args);
        write_rare_event(event, task, (abi, nr), ends);
        &mut *event
    };
    emit::bare(stats, event);
}

/// Prototype: `void (struct pt_regs *regs, long ret)`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/syscalls.h#L45>.
#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    left(ctx.arg(0), ctx.arg(1));
    0
}

/// As [`sys_enter_perf`].
#[tracepoint]
fn sys_exit_perf(ctx: TracePointContext) -> i32 {
    // SAFETY: the verifier checks that the field is one.
    if let Ok(ret) = unsafe { ctx.read_at::<i64>(EVENT_RET) } {
        left(Task::current().user_regs(), ret);
    }
    0
}

#[inline(always)]
fn left(regs: *const pt_regs, ret: i64) {
    let task = Task::current();
    let state = if task.has_storage() { IN_FLIGHT.get(task.0) } else { core::ptr::null_mut() };
    // SAFETY: as in `entered`.
    let Some(state) = (unsafe { state.as_mut() }).filter(|state| state.active != 0) else {
        if scope::process(task.tgid()) == Process::In {
            exit_alone(task, regs, ret);
        }
        return;
    };
    let Some(stats) = Stats::get() else { return };
    state.active = 0;
    stats.bump(Counter::Matched);
    // SAFETY: has no preconditions.
    state.event.duration_ns = unsafe { bpf_ktime_get_boot_ns() } - state.event.start_ns;
    state.event.ret = ret;
    if filter::is_on() {
        let plan = plan(abi_of(&state.event), state.event.nr);
        if !filter::passes(plan, ret, state.event.duration_ns) {
            emit::drop_call(stats, task, state);
            return;
        }
    }
    let has_more =
        state.captured != capture::NOWHERE || state.exit_memory != 0 || state.exit_files != 0;
    if !capture::can_anything() || !has_more {
        emit::bare(stats, &mut state.event);
    } else {
        finish_strings(stats, state);
        finish_memory(stats, state);
        finish_files(state);
        emit::call(stats, task, state);
    }
}

/// `pad` still holds the strings that could not be read at entry.
#[inline(always)]
fn finish_strings(stats: Stats, state: &mut InFlight) {
    if !capture::can(STRINGS) || state.event.pad == 0 {
        return;
    }
    let plan = plan(abi_of(&state.event), state.event.nr);
    if plan.is_exec() && state.event.ret == 0 {
        stats.bump(Counter::StringFault);
    } else {
        capture::strings(state, plan.0, Phase::Late as u32);
    }
}

/// Reads what the kernel returns, and what could not be read at entry; never after a successful
/// exec, when the old memory is gone.
#[inline(always)]
fn finish_memory(stats: Stats, state: &mut InFlight) {
    if !capture::can(MEMORY) || (state.exit_memory == 0 && state.faulted_memory == 0) {
        return;
    }
    let (abi, nr) = (abi_of(&state.event), state.event.nr);
    if plan(abi, nr).is_exec() && state.event.ret == 0 {
        stats.bump(Counter::MemoryFault);
    } else {
        memory::memory_at_exit(state, plan_index(abi, nr));
    }
}

/// Names what the kernel has returned. A successful exec has closed descriptors.
#[inline(always)]
fn finish_files(state: &mut InFlight) {
    if FILES.load() == 0 || state.exit_files == 0 {
        return;
    }
    let plan = plan(abi_of(&state.event), state.event.nr);
    if !plan.is_exec() || state.event.ret != 0 {
        files::files_at_exit(state, plan.0);
        if state.event.ret >= 0 {
            inside::at_exit(state, plan);
        }
    }
}

/// An exit whose entry was not seen: the call was running at attach, or seccomp denied it. Not
/// inlined: kernels before 6.2 give a program and what it calls 512 bytes of stack in steps of 32.
#[inline(never)]
fn exit_alone(task: Task, regs: *const pt_regs, ret: i64) {
    let Some(stats) = Stats::get() else { return };
    let nr = arch::exit_nr(regs);
    let abi = arch::abi(task, nr);
    let plan = plan(abi, nr);
    if !plan.is_traced() || !scope::task(task) {
        return;
    }
    if plan.is_fork() && ret == 0 {
        stats.bump(Counter::ChildReturn);
        return;
    }
    // The number at exit is another one than at entry after `rt_sigreturn` (-1) and after a
    // successful exec (`execveat` ends as `execve`): the entry may have been filtered out.
    let renumbered = nr == u32::MAX || (plan.is_exec() && ret == 0);
    if renumbered || scope::can_change() || !lifecycle::is_armed() {
        stats.bump(Counter::ExitUnknown);
        return;
    }
    stats.bump(Counter::ExitOnly);
    // How long it took is not known, so it cannot have been shown to be long.
    if !filter::passes(plan, ret, 0) {
        stats.bump(Counter::FilteredResult);
        return;
    }
    let mut event = MaybeUninit::<SyscallEvent>::uninit();
    let event = event.as_mut_ptr();
    let ends = (Record::ExitOnly, Reason::EnterNotSeen);
    // SAFETY: room for an event, all of which is written.
    let event = unsafe {
        (*event).ret = ret;
        (*event).duration_ns = 0;
        arch::write_args_at_exit(regs, abi, &mut (*event).args);
        write_rare_event(event, task, (abi, nr), ends);
        &mut *event
    };
    emit::bare(stats, event);
}

/// Writes what is known at entry, but the arguments, field by field to where it shall be: a copy
/// would take too much stack and time.
///
/// # Safety
/// There must be room for an event.
#[inline(always)]
unsafe fn write_event(
    event: *mut SyscallEvent,
    task: Task,
    call: (Abi, u32),
    state: (Record, Reason),
) {
    // SAFETY: by the caller's word.
    let event = unsafe {
        write_call(event, task, call, state);
        &mut *event
    };
    event.cgroup_id = task.cgroup_id();
    event.process_start_ns = task.process_start_ns();
    (event.uid, event.gid) = task.effective_ids();
}

/// The same for what is written rarely: slower, and the verifier is done with it sooner, see `Task`.
///
/// # Safety
/// There must be room for an event.
#[inline(always)]
pub(crate) unsafe fn write_rare_event(
    event: *mut SyscallEvent,
    task: Task,
    call: (Abi, u32),
    state: (Record, Reason),
) {
    // SAFETY: by the caller's word.
    let event = unsafe {
        write_call(event, task, call, state);
        &mut *event
    };
    event.cgroup_id = task.cgroup_id_by_address();
    event.process_start_ns = task.leader_address().start_ns();
    (event.uid, event.gid) = task.effective_ids_by_address();
}

/// Writes the call, its thread and its time.
///
/// # Safety
/// There must be room for an event.
#[inline(always)]
unsafe fn write_call(
    event: *mut SyscallEvent,
    task: Task,
    (abi, nr): (Abi, u32),
    (record, reason): (Record, Reason),
) {
    // SAFETY: by the caller's word.
    let event = unsafe { &mut *event };
    event.kind = KIND_SYSCALL;
    event.record = record as u8;
    event.abi = abi as u8;
    event.reason = reason as u8;
    event.captures = 0;
    event.pad = 0;
    event.nr = nr;
    event.tgid = task.tgid();
    event.tid = task.tid();
    event.payload_len = 0;
    // SAFETY: has no preconditions.
    event.start_ns = unsafe { bpf_ktime_get_boot_ns() };
    event.comm = task.comm();
    event.exec_id = task.exec_id();
    event.spare = 0;
}

#[inline(always)]
fn abi_of(event: &SyscallEvent) -> Abi {
    Abi::from_wire(event.abi).unwrap_or(Abi::X86_64)
}

/// What to do with this call.
#[inline(always)]
pub(crate) fn plan(abi: Abi, nr: u32) -> Plan {
    Plan(PLANS.get(plan_index(abi, nr)).copied().unwrap_or(0))
}

/// The call's place in the maps of plans and of operations.
#[inline(always)]
fn plan_index(abi: Abi, nr: u32) -> u32 {
    let nr = if nr < OTHER && !matches!(abi, Abi::X32) { nr } else { OTHER };
    let base = if arch::is_32_bit(abi) { PER_ABI } else { 0 };
    base + nr
}
