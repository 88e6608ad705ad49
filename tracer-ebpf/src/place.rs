//! One capture after the other: finds room with the task's call, then in the storage for long
//! captures, and reads the memory of the traced program to there.
//!
//! The functions with plain names are global ones for the kernel: the verifier looks at each once,
//! with any arguments, and not once for every way that leads there. So they take numbers and the
//! task's call, and return a number; the linker keeps them, and their type, because they are
//! exported.

use aya_ebpf::helpers::generated::{bpf_probe_read_user, bpf_probe_read_user_str};
use tracer_common::{
    counter::Counter,
    event::{CaptureHeader, CaptureState, LARGE_PAYLOAD, Phase, SMALL_PAYLOAD},
    memory::{MAX_DATA, MAX_ENVP},
};

use crate::{
    capture::{HEADER, IN_SMALL, NOWHERE, bounded, last_offset, move_to_large},
    maps::{InFlight, LARGE},
    stats::Stats,
    task::Task,
};

/// Longest single read that the storage of a task takes.
const SMALL_READ: usize = 272;
/// Longest single read of the large storage.
const LARGE_READ: usize = MAX_DATA + 8;
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

/// Appends bytes to the captures; finds room first with the task's call, then in the storage for
/// long captures. Returns 1 when the memory could not be read.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn place_bytes(
    state: *mut InFlight,
    pointer: u64,
    len: u64,
    limit: u64,
    part: u32,
) -> u32 {
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let Some(stats) = Stats::get() else { return 0 };
    let item = Item { pointer, len, limit, part };
    match find(stats, state, len.min(limit)) {
        Room::None => 0,
        Room::Small(payload) => write::<SMALL_PAYLOAD, SMALL_READ>(
            stats,
            state,
            payload,
            &item,
            read_bytes::<SMALL_READ>,
        ),
        Room::Large(payload) => write::<LARGE_PAYLOAD, LARGE_READ>(
            stats,
            state,
            payload,
            &item,
            read_bytes::<LARGE_READ>,
        ),
    }
}

/// Appends a string of at most `limit - 1` bytes, or with `limit` 0 the number that `pointer` is,
/// to the storage for long captures, which the task must have. Returns [`NO_ROOM`], [`FAULTED`], or
/// another number when all went well.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn place_text(
    state: *mut InFlight,
    pointer: u64,
    limit: u64,
    part: u32,
) -> u32 {
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let Some(stats) = Stats::get() else { return 0 };
    let large = LARGE.get(Task::current().0);
    if large.is_null() {
        return 0;
    }
    if state.event.payload_len as usize > last_offset(LARGE_PAYLOAD, LARGE_READ) {
        stats.bump(Counter::MemoryNotRead);
        return 0;
    }
    // SAFETY: a non-null storage value is valid while its task runs this program.
    let payload = unsafe { (*large).payload.as_mut_ptr() };
    let item = Item { pointer, len: 0, limit, part };
    if limit == 0 {
        write::<LARGE_PAYLOAD, LARGE_READ>(stats, state, payload, &item, write_number);
        return PLACED;
    }
    let faulted =
        write::<LARGE_PAYLOAD, LARGE_READ>(stats, state, payload, &item, read_text::<LARGE_READ>);
    if faulted == 0 { PLACED } else { FAULTED }
}

/// What [`place_text`] returns when there is no more room.
pub(crate) const NO_ROOM: u32 = 0;
/// What it returns when the string could not be read.
pub(crate) const FAULTED: u32 = 2;
const PLACED: u32 = 1;

/// One read of memory.
struct Item {
    pointer: u64,
    /// Bytes there are.
    len: u64,
    /// Most bytes to read.
    limit: u64,
    /// Which part of the argument.
    part: u32,
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
fn find(stats: Stats, state: &mut InFlight, wanted: u64) -> Room {
    if state.captured == NOWHERE {
        state.event.payload_len = 0;
        state.event.captures = 0;
        state.captured = IN_SMALL;
    }
    let offset = state.event.payload_len as usize;
    if state.captured == IN_SMALL {
        if wanted <= SMALL_READ as u64 && offset <= last_offset(SMALL_PAYLOAD, SMALL_READ) {
            return Room::Small(state.payload.as_mut_ptr());
        }
        if !move_to_large(state) {
            stats.bump(Counter::MemoryNotRead);
            return Room::None;
        }
    }
    let large = LARGE.get(Task::current().0);
    if large.is_null() || offset > last_offset(LARGE_PAYLOAD, LARGE_READ) {
        stats.bump(Counter::MemoryNotRead);
        return Room::None;
    }
    // SAFETY: a non-null storage value is valid while its task runs this program.
    Room::Large(unsafe { (*large).payload.as_mut_ptr() })
}

/// Writes header and bytes where at least `MAX` bytes fit behind a header; returns 1 when they
/// could not be read.
#[inline(always)]
fn write<const PAYLOAD: usize, const MAX: usize>(
    stats: Stats,
    state: &mut InFlight,
    payload: *mut u8,
    item: &Item,
    fill: impl Fn(*mut u8, &Item) -> (CaptureState, u32),
) -> u32 {
    let offset = bounded(state.event.payload_len as usize, last_offset(PAYLOAD, MAX));
    // SAFETY: header and bytes fit behind the offset.
    let header = unsafe { payload.add(offset) };
    // SAFETY: as above.
    let body = unsafe { header.add(HEADER) };
    let (result, len) = fill(body, item);
    let faulted = matches!(result, CaptureState::Fault);
    if faulted && state.phase != Phase::Enter as u8 {
        stats.bump(Counter::MemoryFault);
    }
    let value = CaptureHeader {
        arg: state.arg,
        state: result as u8,
        phase: state.phase,
        part: item.part as u8,
        len,
    };
    // SAFETY: the offset is a multiple of 8, so the header is aligned; it fits as checked.
    unsafe { header.cast::<CaptureHeader>().write(value) };
    state.event.payload_len = (offset + HEADER + ((len as usize + 7) & !7)) as u32;
    state.event.captures += 1;
    u32::from(faulted)
}

/// The number that the item's pointer is.
#[inline(always)]
fn write_number(body: *mut u8, item: &Item) -> (CaptureState, u32) {
    // SAFETY: there is room for 4 bytes, aligned as the header is.
    unsafe { body.cast::<u32>().write(item.pointer as u32) };
    let full = item.pointer >= MAX_ENVP as u64;
    (if full { CaptureState::Truncated } else { CaptureState::Whole }, 4)
}

/// Where a read goes past a page that cannot be read, what stands before is read.
#[inline(always)]
fn read_bytes<const MAX: usize>(body: *mut u8, item: &Item) -> (CaptureState, u32) {
    let Item { pointer, len, limit, .. } = *item;
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
fn read_text<const MAX: usize>(body: *mut u8, item: &Item) -> (CaptureState, u32) {
    let (pointer, limit) = (item.pointer, item.limit.min(MAX as u64));
    let size = bounded(limit as usize, MAX);
    // SAFETY: `body` has room for MAX bytes; the helper checks the user's pointer.
    let got = unsafe { bpf_probe_read_user_str(body.cast(), size as u32, pointer as *const _) };
    // An empty string gives 1; on older kernels (seen on 6.12) 0.
    if got < 0 || got > MAX as i64 {
        return (CaptureState::Fault, 0);
    }
    let full = got as u64 == limit && read_user::<u8>(pointer + limit - 1) != Some(0);
    let state = if full { CaptureState::Truncated } else { CaptureState::Whole };
    (state, got.max(1) as u32 - 1)
}
