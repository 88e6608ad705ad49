//! One capture after the other: finds room with the task's call, then in the storage for long
//! captures, and reads the memory of the traced program to there.

use aya_ebpf::helpers::generated::{bpf_probe_read_user, bpf_probe_read_user_str};
use tracer_common::{
    counter::Counter,
    event::{CaptureHeader, CaptureState, LARGE_PAYLOAD, Phase, SMALL_PAYLOAD},
    memory::MAX_DATA,
};

use crate::{
    capture::{HEADER, IN_SMALL, NOWHERE, bounded, last_offset, move_to_large},
    maps::{InFlight, Item, LARGE},
    stats::Stats,
    task::Task,
};

/// Longest single read that the storage of a task takes.
const SMALL_READ: usize = 272;
/// Longest single read of the large storage.
pub(crate) const LARGE_READ: usize = MAX_DATA + 8;
const PAGE: u64 = 4096;

#[inline(always)]
pub(crate) fn read_user<T: Default>(pointer: u64) -> Option<T> {
    let mut value = T::default();
    // SAFETY: `value` has room for its size; the helper checks the user's pointer.
    let failed = unsafe {
        bpf_probe_read_user((&raw mut value).cast(), size_of::<T>() as u32, pointer as *const _)
    };
    if failed == 0 { Some(value) } else { None }
}

/// Appends to the captures; says whether memory could not be read. The item goes by way of memory
/// that the verifier knows nothing of, so that it looks at each place once and not once for every
/// way that leads there.
#[inline(always)]
pub(crate) fn put(
    task: Task,
    state: &mut InFlight,
    pointer: u64,
    len: u64,
    limit: u64,
    part: u8,
) -> bool {
    state.item.pointer = pointer;
    state.item.len = len;
    state.item.limit = limit;
    state.item.part = part;
    place(task, state);
    state.item.faulted != 0
}

/// Appends bytes; finds room first with the task's call, then in the storage for long captures.
#[inline(never)]
fn place(task: Task, state: &mut InFlight) {
    let Some(stats) = Stats::get() else { return };
    state.item.faulted = 0;
    match find(stats, task, state) {
        Room::None => {}
        Room::Small(payload) => {
            write::<SMALL_PAYLOAD, SMALL_READ>(stats, state, payload, read_bytes::<SMALL_READ>);
        }
        Room::Large(payload) => {
            write::<LARGE_PAYLOAD, LARGE_READ>(stats, state, payload, read_bytes::<LARGE_READ>);
        }
    }
}

/// Where a capture can go.
enum Room {
    /// Nowhere.
    None,
    /// Into the storage with the task's call.
    Small(*mut u8),
    /// Into that for long captures.
    Large(*mut u8),
}

#[inline(always)]
fn find(stats: Stats, task: Task, state: &mut InFlight) -> Room {
    if state.captured == NOWHERE {
        state.event.payload_len = 0;
        state.event.captures = 0;
        state.captured = IN_SMALL;
    }
    let offset = state.event.payload_len as usize;
    if state.captured == IN_SMALL {
        if state.item.len.min(state.item.limit) <= SMALL_READ as u64
            && offset <= last_offset(SMALL_PAYLOAD, SMALL_READ)
        {
            return Room::Small(state.payload.as_mut_ptr());
        }
        if !move_to_large(task, state) {
            stats.bump(Counter::MemoryNotRead);
            return Room::None;
        }
    }
    let large = LARGE.get(task.0);
    if large.is_null() || offset > last_offset(LARGE_PAYLOAD, LARGE_READ) {
        stats.bump(Counter::MemoryNotRead);
        return Room::None;
    }
    // SAFETY: a non-null storage value is valid while its task runs this program.
    Room::Large(unsafe { (*large).payload.as_mut_ptr() })
}

/// Writes header and bytes where at least `MAX` bytes fit behind a header.
#[inline(always)]
pub(crate) fn write<const PAYLOAD: usize, const MAX: usize>(
    stats: Stats,
    state: &mut InFlight,
    payload: *mut u8,
    fill: impl Fn(*mut u8, u64, u64, u64) -> (CaptureState, u32),
) {
    let offset = bounded(state.event.payload_len as usize, last_offset(PAYLOAD, MAX));
    // SAFETY: header and bytes fit behind the offset.
    let header = unsafe { payload.add(offset) };
    // SAFETY: as above.
    let body = unsafe { header.add(HEADER) };
    let Item { pointer, len, limit, .. } = state.item;
    let (result, len) = fill(body, pointer, len, limit);
    if matches!(result, CaptureState::Fault) {
        state.item.faulted = 1;
        if state.item.phase != Phase::Enter as u8 {
            stats.bump(Counter::MemoryFault);
        }
    }
    let value = CaptureHeader {
        arg: state.item.arg,
        state: result as u8,
        phase: state.item.phase,
        part: state.item.part,
        len,
    };
    // SAFETY: the offset is a multiple of 8, so the header is aligned; it fits as checked.
    unsafe { header.cast::<CaptureHeader>().write(value) };
    state.event.payload_len = (offset + HEADER + ((len as usize + 7) & !7)) as u32;
    state.event.captures += 1;
}

#[inline(always)]
pub(crate) fn write_number(
    body: *mut u8,
    number: u64,
    _len: u64,
    limit: u64,
) -> (CaptureState, u32) {
    // SAFETY: there is room for 4 bytes, aligned as the header is.
    unsafe { body.cast::<u32>().write(number as u32) };
    (if number >= limit { CaptureState::Truncated } else { CaptureState::Whole }, 4)
}

/// Where a read goes past a page that cannot be read, what stands before is read.
#[inline(always)]
fn read_bytes<const MAX: usize>(
    body: *mut u8,
    pointer: u64,
    len: u64,
    limit: u64,
) -> (CaptureState, u32) {
    let wanted = len.min(limit).min(MAX as u64);
    if wanted == 0 {
        return (CaptureState::Whole, 0);
    }
    let size = bounded(wanted as usize, MAX);
    // SAFETY: `body` has room for MAX bytes; the helper checks the user's pointer.
    let failed = unsafe { bpf_probe_read_user(body.cast(), size as u32, pointer as *const _) };
    if failed == 0 {
        let state = if len > wanted { CaptureState::Truncated } else { CaptureState::Whole };
        return (state, size as u32);
    }
    let page_end = PAGE - (pointer & (PAGE - 1));
    if page_end < wanted {
        let size = bounded(page_end as usize, MAX);
        // SAFETY: as above.
        let failed = unsafe { bpf_probe_read_user(body.cast(), size as u32, pointer as *const _) };
        if failed == 0 {
            return (CaptureState::Truncated, size as u32);
        }
    }
    (CaptureState::Fault, 0)
}

/// Reads a string of less than `limit` bytes; of a longer one, the first `limit - 1`.
#[inline(always)]
pub(crate) fn read_text<const MAX: usize>(
    body: *mut u8,
    pointer: u64,
    _len: u64,
    limit: u64,
) -> (CaptureState, u32) {
    let limit = limit.min(MAX as u64);
    let size = bounded(limit as usize, MAX);
    // SAFETY: `body` has room for MAX bytes; the helper checks the user's pointer.
    let got = unsafe { bpf_probe_read_user_str(body.cast(), size as u32, pointer as *const _) };
    if got <= 0 || got > MAX as i64 {
        return (CaptureState::Fault, 0);
    }
    let full = got as u64 == limit && read_user::<u8>(pointer + limit - 1) != Some(0);
    let state = if full { CaptureState::Truncated } else { CaptureState::Whole };
    (state, (got - 1) as u32)
}
