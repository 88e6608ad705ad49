//! Records to the ring: the only place that touches it.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::generated::{
        bpf_ktime_get_boot_ns, bpf_ringbuf_output, bpf_ringbuf_reserve, bpf_ringbuf_submit,
    },
};
use tracer_common::{
    counter::Counter,
    event::{LARGE_PAYLOAD, Reason, Record, SMALL_PAYLOAD, SyscallEvent},
    signal::SignalEvent,
};

use crate::{
    capture::{self, IN_LARGE, IN_SMALL},
    filter,
    maps::{InFlight, LARGE, RING},
    stats::{Stats, swap},
    task::Task,
};

const EVENT: usize = size_of::<SyscallEvent>();

/// Writes a record without captures. Reserving and submitting is faster here than
/// `bpf_ringbuf_output`, which does not know how many words there are.
#[inline(always)]
pub(crate) fn bare(stats: Stats, event: &mut SyscallEvent) {
    bare_as(stats, event, Counter::Submitted, Counter::ReserveFailed);
}

/// The same, counted under other counters.
#[inline(always)]
pub(crate) fn bare_as(stats: Stats, event: &mut SyscallEvent, written: Counter, lost: Counter) {
    event.payload_len = 0;
    event.captures = 0;
    event.pad = 0;
    let ring = (&raw const RING).cast_mut().cast();
    // SAFETY: the ring is a ring.
    let room = unsafe { bpf_ringbuf_reserve(ring, EVENT as u64, 0) };
    if room.is_null() {
        stats.bump(lost);
        return;
    }
    // SAFETY: both have room for an event, aligned to 8 bytes.
    unsafe { copy_words::<{ EVENT / 8 }>(core::ptr::from_ref(event).cast(), room.cast()) };
    // SAFETY: reserved just now, and there is no way out between.
    unsafe { bpf_ringbuf_submit(room, u64::from(BPF_RB_NO_WAKEUP)) };
    stats.bump(written);
}

/// Copies words one by one: the compiler would make a call of a function that copies bytes.
///
/// # Safety
/// Both must be aligned and have room for `WORDS` words.
#[inline(always)]
unsafe fn copy_words<const WORDS: usize>(from: *const u64, to: *mut u64) {
    for at in 0..WORDS {
        // SAFETY: by the caller's word.
        let word = unsafe { from.add(at).read_volatile() };
        // SAFETY: by the caller's word.
        unsafe { to.add(at).write_volatile(word) };
    }
}

/// Writes the record of a call, with its captures.
#[inline(always)]
pub(crate) fn call(stats: Stats, task: Task, state: &mut InFlight) {
    match state.captured {
        _ if !capture::can_anything() => {}
        IN_SMALL => {
            let len = state.event.payload_len as u64;
            state.event.pad = 0;
            if len <= SMALL_PAYLOAD as u64 {
                output(stats, core::ptr::from_ref(state).cast(), EVENT as u64 + len);
                return;
            }
        }
        IN_LARGE => {
            let large = LARGE.get(task.0);
            if !large.is_null() {
                // SAFETY: a non-null storage value is valid while its task runs this program.
                let large = unsafe { &mut *large };
                let len = state.event.payload_len as u64;
                state.event.pad = 0;
                large.event = state.event;
                if len <= LARGE_PAYLOAD as u64 {
                    output(stats, core::ptr::from_ref(large).cast(), EVENT as u64 + len);
                    // Long captures are rare: a task keeps these 8 KiB for one call only.
                    LARGE.delete(task.0);
                    return;
                }
            }
        }
        _ => {}
    }
    bare(stats, &mut state.event);
}

/// Writes the record of a call that has no exit, if one is running; counts it under `counter`.
#[inline(always)]
pub(crate) fn open_end(
    stats: Stats,
    task: Task,
    state: &mut InFlight,
    counter: Counter,
    reason: Reason,
) {
    // SAFETY: aligned and valid.
    if state.active == 0 || unsafe { swap(&raw mut state.active, 0) } == 0 {
        return;
    }
    stats.bump(counter);
    state.event.record = Record::EnterOnly as u8;
    state.event.reason = reason as u8;
    state.event.ret = 0;
    // SAFETY: has no preconditions.
    state.event.duration_ns = unsafe { bpf_ktime_get_boot_ns() } - state.event.start_ns;
    if filter::passes_without_result(state.event.duration_ns) {
        call(stats, task, state);
    } else {
        drop_call(stats, task, state);
    }
}

/// Counts a call that a filter on the result has rejected.
#[inline(always)]
pub(crate) fn drop_call(stats: Stats, task: Task, state: &InFlight) {
    stats.bump(Counter::FilteredResult);
    if capture::can_anything() && state.captured == IN_LARGE {
        LARGE.delete(task.0);
    }
}

/// Writes the record of a process: `len` bytes at `data`, on the stack or in a map.
#[inline(always)]
pub(crate) fn lifecycle(stats: Stats, counter: Counter, data: *const u8, len: u64) {
    stats.bump(counter);
    if write(data, len) {
        stats.bump(Counter::LifecycleSubmitted);
    } else {
        stats.bump(Counter::LifecycleReserveFailed);
    }
}

/// Writes the record of a signal.
#[inline(always)]
pub(crate) fn signal(stats: Stats, event: &SignalEvent) {
    stats.bump(Counter::Signals);
    if write(core::ptr::from_ref(event).cast(), size_of::<SignalEvent>() as u64) {
        stats.bump(Counter::SignalSubmitted);
    } else {
        stats.bump(Counter::SignalReserveFailed);
    }
}

#[inline(always)]
fn output(stats: Stats, data: *const u8, len: u64) {
    if write(data, len) {
        stats.bump(Counter::Submitted);
    } else {
        stats.bump(Counter::ReserveFailed);
    }
}

/// Whether the ring had room. The reader polls, so no record pays for a wake-up.
#[inline(always)]
fn write(data: *const u8, len: u64) -> bool {
    let ring = (&raw const RING).cast_mut().cast();
    // SAFETY: `data` holds `len` bytes of a map value or of the stack.
    let failed = unsafe {
        bpf_ringbuf_output(ring, data.cast_mut().cast(), len, u64::from(BPF_RB_NO_WAKEUP))
    };
    failed == 0
}
