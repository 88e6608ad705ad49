//! Signals as threads get them, with what came with them.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::task_struct,
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_kernel},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{
    counter::Counter,
    signal::{KIND_SIGNAL, SIGINFO_HEAD, SIGINFO_LEN, SignalEvent, signal_bit},
};

use crate::{
    emit,
    maps::{DEADLY, SIGNALS},
    scope,
    stats::{Stats, swap},
    task::Task,
};

const SIGKILL: u32 = 9;
/// `SI_KERNEL`, sigaction(2).
const SI_KERNEL: u32 = 0x80;

/// In place of the address of a `siginfo`: sent by a process, without one.
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched/signal.h#L310>
const SEND_SIG_NOINFO: u64 = 0;
/// Likewise: sent by the kernel.
const SEND_SIG_PRIV: u64 = 1;

/// Prototype: `void (int sig, struct kernel_siginfo *info, struct k_sigaction *ka)`; runs in the
/// thread that gets the signal, under the lock of its process's signals, with interrupts off:
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/signal.c#L2857>.
#[btf_tracepoint(function = "signal_deliver")]
fn signal_deliver(ctx: BtfTracePointContext) -> i32 {
    let task = Task::current();
    if scope::process(task.tgid()) == scope::Process::In
        && task.is_of_program()
        && scope::task(task)
        && let Some(stats) = Stats::get()
    {
        delivered(stats, task, ctx.arg::<i64>(0) as u32, ctx.arg::<*const u8>(1) as u64);
    }
    0
}

#[inline(always)]
fn delivered(stats: Stats, task: Task, signal: u32, info: u64) {
    // When a signal ends the process, each thread is told SIGKILL instead, and nothing else:
    // <https://github.com/torvalds/linux/blob/v6.12/kernel/signal.c#L1014>.
    if signal == SIGKILL {
        return deadly(stats, task);
    }
    if SIGNALS.load() & signal_bit(signal) == 0 {
        return;
    }
    let mut event = MaybeUninit::<SignalEvent>::zeroed();
    // SAFETY: zeroes are a valid event.
    let event = unsafe { event.assume_init_mut() };
    event.info_len = read_info(&mut event.info, signal, info) as u16;
    write(stats, task, signal, event);
}

/// Records what [`signal_generate`] has kept, once for all threads. There is nothing where the
/// threads end because one of them has called `exit_group` or `execve`.
#[inline(always)]
fn deadly(stats: Stats, task: Task) {
    let kept = DEADLY.get(task.leader().0);
    if kept.is_null() {
        return;
    }
    // SAFETY: a non-null storage value is valid while this program runs.
    let kept = unsafe { &mut *kept };
    // SAFETY: aligned and valid.
    if unsafe { swap(&raw mut kept.untold, 0) } == 0 {
        return;
    }
    let mut event = MaybeUninit::<SignalEvent>::zeroed();
    // SAFETY: zeroes are a valid event.
    let event = unsafe { event.assume_init_mut() };
    event.info_len = kept.info_len as u16;
    event.info = kept.info;
    write(stats, task, kept.signal, event);
}

#[inline(always)]
fn write(stats: Stats, task: Task, signal: u32, event: &mut SignalEvent) {
    event.kind = KIND_SIGNAL;
    event.signal = signal;
    event.tgid = task.tgid();
    event.tid = task.tid();
    // SAFETY: has no preconditions.
    event.time_ns = unsafe { bpf_ktime_get_boot_ns() };
    event.process_start_ns = task.leader_address().start_ns();
    event.cgroup_id = task.cgroup_id_by_address();
    (event.uid, event.gid) = task.effective_ids_by_address();
    event.exec_id = task.exec_id();
    event.comm = task.comm();
    emit::signal(stats, event);
}

/// Prototype: `void (int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int
/// result)`; runs in whoever sends the signal, be it an interrupt, under the same lock. A signal that
/// ends the whole process has set that off by then, and will not be delivered under its own number:
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/signal.c#L1131>.
#[btf_tracepoint(function = "signal_generate")]
fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    /// `TRACE_SIGNAL_DELIVERED`: neither ignored nor pending already.
    const DELIVERED: u32 = 0;
    let signal = ctx.arg::<i64>(0) as u32;
    let task = Task(ctx.arg::<*mut task_struct>(2));
    if ctx.arg::<i64>(4) as u32 == DELIVERED
        && SIGNALS.load() & signal_bit(signal) != 0
        && scope::process(task.tgid()) == scope::Process::In
        && task.deadly_signal() == signal
        && let Some(stats) = Stats::get()
    {
        keep(stats, task, signal, ctx.arg::<*const u8>(1) as u64);
    }
    0
}

#[inline(always)]
fn keep(stats: Stats, task: Task, signal: u32, info: u64) {
    let kept = DEADLY.get_or_create(task.leader().0);
    if kept.is_null() {
        stats.bump(Counter::SignalNotKept);
        return;
    }
    // SAFETY: a non-null storage value is valid while this program runs, and the lock keeps others
    // from it.
    let kept = unsafe { &mut *kept };
    kept.signal = signal;
    kept.info_len = read_info(&mut kept.info, signal, info);
    kept.untold = 1;
}

/// Copies what came with a signal; returns how many bytes of it are known.
#[inline(always)]
fn read_info(place: &mut [u8; SIGINFO_LEN], signal: u32, info: u64) -> u64 {
    let words = place.as_mut_ptr();
    if info != SEND_SIG_NOINFO && info != SEND_SIG_PRIV {
        // SAFETY: there is room; the helper checks the address.
        let failed =
            unsafe { bpf_probe_read_kernel(words.cast(), SIGINFO_LEN as u32, info as *const _) };
        return if failed == 0 { SIGINFO_LEN as u64 } else { 0 };
    }
    // What the kernel itself makes of it,
    // <https://github.com/torvalds/linux/blob/v6.12/kernel/signal.c#L1106>: of a process that has sent
    // it, it adds ids as the receiver sees them.
    let by_kernel = info == SEND_SIG_PRIV;
    let code = if by_kernel { SI_KERNEL } else { 0 };
    for (at, value) in [(0, signal), (4, 0), (8, code)] {
        // SAFETY: in bounds.
        unsafe { words.add(at).cast::<[u8; 4]>().write(value.to_ne_bytes()) };
    }
    if by_kernel { SIGINFO_LEN as u64 } else { SIGINFO_HEAD as u64 }
}
