//! Which descriptors of a call are named, and where their files are kept: behind the other captures.
//! At entry those that the program has passed, at exit those that the kernel has returned.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use tracer_common::{
    counter::Counter,
    event::{CaptureHeader, CaptureState, LARGE_PAYLOAD, Phase, SMALL_PAYLOAD},
    file::{CURRENT_FOLDER, FileHeader, PATH_BYTES, flag},
    memory::part,
    plan::{FileArg, MAX_FILES, MAX_FOLDERS, Plan},
};

use crate::{
    capture::{HEADER, IN_SMALL, NOWHERE, bounded, last_offset, move_to_large},
    descriptor::{CLOSED, give_back, print_of, take, write_file},
    kernel_memory::clear_words,
    maps::{FILES, FileDesk, InFlight, LARGE, PRINTS},
    stats::Stats,
    task::{Task, TaskAddress},
};

/// [`CaptureHeader::arg`] of the file that the result leads to.
const RESULT: u8 = 7;
/// [`InFlight::slot`] while no descriptor of a register is looked up.
const NO_SLOT: u8 = 255;
/// The one of the current folder from which a path starts.
const FOLDER_SLOT: u8 = MAX_FILES as u8;
/// Longest file that is kept with the task's call.
const SHORT: usize = 272;
/// Longest one in the storage for long captures, and one for which there is room more often.
const LONG: usize = size_of::<FileHeader>() + PATH_BYTES;
const MEDIUM: usize = 1048;

/// Names what the program has passed in registers, and the current folder. A global
/// function for the kernel, as those of `place`.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn files_at_enter(state: *mut InFlight, plan: u64) -> u32 {
    // Kernels before 6.8 look at a global function that nobody calls, too.
    if FILES.load() == 0 {
        return 0;
    }
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(it) = (unsafe { state.as_mut() }) else { return 0 };
    let plan = Plan(plan);
    it.phase = Phase::Enter as u8;
    // SAFETY: so many words.
    unsafe { clear_words::<PRINTS>((&raw mut it.prints).cast()) };
    it.exit_files = u8::from(plan.can_return_file() || plan.returns_inside());
    it.named = 0;
    let has_files = plan.no_files_by().is_none_or(|(arg, bit)| argument(it, arg) >> bit & 1 == 0);
    for slot in 0..MAX_FILES as u32 {
        let Some(file) = plan.file_arg(slot).filter(|_| has_files) else { break };
        let fd = argument(it, file.arg) as i32;
        let unused = file.of_path && is_absolute(argument(it, file.arg + 1));
        if (fd < 0 && fd != CURRENT_FOLDER) || unused || (fd < 0 && !file.of_path) {
            continue;
        }
        it.arg = file.arg as u8;
        it.slot = slot as u8;
        keep_file(state, fd as u32);
        it.exit_files = 1;
    }
    it.slot = FOLDER_SLOT;
    for slot in 0..MAX_FOLDERS as u32 {
        let Some(arg) = plan.folder_arg(slot) else { break };
        let path = argument(it, arg);
        if path == 0 || is_absolute(path) {
            continue;
        }
        it.arg = arg as u8;
        keep_file(state, CURRENT_FOLDER as u32);
        it.exit_files |= u8::from(!plan.can_move_folder());
        break;
    }
    it.slot = NO_SLOT;
    0
}

/// Names what the call has returned, and marks what has changed since the entry. A global function
/// for the kernel, as those of `place`.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn files_at_exit(state: *mut InFlight, plan: u64) -> u32 {
    // Kernels before 6.8 look at a global function that nobody calls, too.
    if FILES.load() == 0 {
        return 0;
    }
    const F_DUPFD: u64 = 0;
    const F_DUPFD_CLOEXEC: u64 = 1030;
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(it) = (unsafe { state.as_mut() }) else { return 0 };
    let plan = Plan(plan);
    it.phase = Phase::Exit as u8;
    it.slot = NO_SLOT;
    for slot in 0..MAX_FILES as u32 {
        let Some(file) = plan.file_arg(slot) else { break };
        let known = it.prints[slot as usize & (PRINTS - 1)];
        let fd = argument(it, file.arg);
        // The path may not have been in memory at the entry.
        if known == 0 || (file.of_path && is_absolute(argument(it, file.arg + 1))) {
            continue;
        }
        if is_other(it, file, known) {
            it.arg = file.arg as u8;
            keep_change(state, fd as u32);
        }
    }
    let folder = it.prints[FOLDER_SLOT as usize];
    if folder != 0
        && !plan.can_move_folder()
        && print_of(TaskAddress(it.task), CURRENT_FOLDER) != folder
    {
        keep_change(state, CURRENT_FOLDER as u32);
    }
    let ret = it.event.ret;
    if ret < 0 {
        return 0;
    }
    let command = argument(it, 1) & 0xffff_ffff;
    let copies = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
    if plan.can_return_file() && (copies || !plan.is_returned_by_command()) {
        it.arg = RESULT;
        keep_file(state, ret as u32);
    }
    0
}

/// Whether the kernel can have used another file than the one of the entry: by what the descriptor
/// leads to now, or by the result.
#[inline(always)]
fn is_other(state: &InFlight, file: FileArg, known: u64) -> bool {
    const EBADF: i64 = 9;
    let ret = state.event.ret;
    let is_closed = known == CLOSED;
    if is_closed && file.is_needed && ret >= 0 {
        return true;
    }
    if file.ends {
        return !is_closed && file.is_needed && ret == -EBADF;
    }
    print_of(TaskAddress(state.task), argument(state, file.arg) as i32) != known
}

#[inline(always)]
pub(crate) fn argument(state: &InFlight, index: u32) -> u64 {
    state.event.args.get(index as usize).copied().unwrap_or(0)
}

/// Whether a path that the program has passed begins at the root.
#[inline(always)]
fn is_absolute(path: u64) -> bool {
    let mut first = 0u8;
    // SAFETY: reads one byte to the stack; the helper checks the user's pointer.
    let failed = unsafe { bpf_probe_read_user((&raw mut first).cast(), 1, path as *const _) };
    failed == 0 && first == b'/'
}

/// Looks up what a descriptor leads to and keeps it as a capture of argument `state.arg`; returns 0
/// when it was not kept. A global function for the kernel, as those of `place`.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn keep_file(state: *mut InFlight, fd: u32) -> u32 {
    // Kernels before 6.8 look at a global function that nobody calls, too.
    if FILES.load() == 0 {
        return 0;
    }
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(it) = (unsafe { state.as_mut() }) else { return 0 };
    let Some(stats) = Stats::get() else { return 0 };
    if part::FILE + it.named >= part::FILES_END {
        stats.bump(Counter::FileNotRead);
        return 0;
    }
    let Some(desk) = take() else {
        stats.bump(Counter::FileNotRead);
        return 0;
    };
    // SAFETY: the desk is this program's until it is given back.
    let on_desk = unsafe { &mut *desk };
    write_file(on_desk, TaskAddress(it.task), fd as i32);
    // What the kernel has returned was open.
    let is_lost = on_desk.print == CLOSED && it.phase == Phase::Exit as u8;
    if is_lost {
        on_desk.header.flags |= flag::CHANGED;
    }
    if it.slot != NO_SLOT {
        it.prints[it.slot as usize & (PRINTS - 1)] = on_desk.print;
    }
    let kept = keep(stats, it, on_desk);
    give_back(desk);
    it.named += 1;
    u32::from(kept)
}

/// Copies header and body from the desk to behind the other captures.
#[inline(always)]
fn keep(stats: Stats, state: &mut InFlight, desk: &FileDesk) -> bool {
    let len = size_of::<FileHeader>() + bounded(desk.len as usize, PATH_BYTES);
    start(state);
    let offset = state.event.payload_len as usize;
    if state.captured == IN_SMALL {
        if len <= SHORT && offset <= last_offset(SMALL_PAYLOAD, SHORT) {
            let payload = state.payload.as_mut_ptr();
            copy::<SMALL_PAYLOAD, SHORT>(state, payload, desk, len);
            return true;
        }
        if !move_to_large(state) {
            stats.bump(Counter::FileNotRead);
            return false;
        }
    }
    let large = LARGE.get(Task::current().0);
    if large.is_null() {
        stats.bump(Counter::FileNotRead);
        return false;
    }
    // SAFETY: a non-null storage value is valid while its task runs this program.
    let payload = unsafe { (*large).payload.as_mut_ptr() };
    if len <= SHORT && offset <= last_offset(LARGE_PAYLOAD, SHORT) {
        copy::<LARGE_PAYLOAD, SHORT>(state, payload, desk, len);
    } else if len <= MEDIUM && offset <= last_offset(LARGE_PAYLOAD, MEDIUM) {
        copy::<LARGE_PAYLOAD, MEDIUM>(state, payload, desk, len);
    } else if offset <= last_offset(LARGE_PAYLOAD, LONG) {
        copy::<LARGE_PAYLOAD, LONG>(state, payload, desk, len);
    } else {
        stats.bump(Counter::FileNotRead);
        return false;
    }
    true
}

#[inline(always)]
fn start(state: &mut InFlight) {
    if state.captured == NOWHERE {
        state.event.payload_len = 0;
        state.event.captures = 0;
        state.captured = IN_SMALL;
    }
}

/// Copies `len` bytes, at most `MAX`, to where so many fit behind a header.
#[inline(always)]
fn copy<const PAYLOAD: usize, const MAX: usize>(
    state: &mut InFlight,
    payload: *mut u8,
    desk: &FileDesk,
    len: usize,
) {
    let offset = bounded(state.event.payload_len as usize, last_offset(PAYLOAD, MAX));
    let len = bounded(len, MAX);
    // SAFETY: header and bytes fit behind the offset.
    let header = unsafe { payload.add(offset) };
    // SAFETY: as above.
    let body = unsafe { header.add(HEADER) };
    let from = (&raw const desk.header).cast::<u8>();
    if MAX == SHORT {
        // SAFETY: as above; both are aligned to 8 bytes.
        unsafe { copy_words::<{ SHORT / 8 }>(from.cast(), body.cast(), len.div_ceil(8)) };
    } else {
        // SAFETY: as above; map values can always be read.
        let _ = unsafe { bpf_probe_read_kernel(body.cast(), len as u32, from.cast()) };
    }
    let cut = desk.header.flags & flag::CUT != 0;
    let value = CaptureHeader {
        arg: state.arg,
        state: if cut { CaptureState::Truncated } else { CaptureState::Whole } as u8,
        phase: state.phase,
        part: part::FILE + state.named,
        len: len as u32,
    };
    // SAFETY: the offset is a multiple of 8, so the header is aligned; it fits as checked.
    unsafe { header.cast::<CaptureHeader>().write(value) };
    state.event.payload_len = (offset + HEADER + ((len + 7) & !7)) as u32;
    state.event.captures += 1;
}

/// Copies `words` words, at most `MAX`, faster than the helper where there are few.
///
/// # Safety
/// Both must be aligned and have room for `MAX` words.
#[inline(always)]
unsafe fn copy_words<const MAX: usize>(from: *const u64, to: *mut u64, words: usize) {
    for at in 0..MAX {
        if at >= words {
            break;
        }
        // SAFETY: by the caller's word.
        let word = unsafe { from.add(at).read_volatile() };
        // SAFETY: by the caller's word.
        unsafe { to.add(at).write_volatile(word) };
    }
}

/// Notes that a descriptor has come to lead to another file while the call ran. A global function
/// for the kernel, as those of `place`.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn keep_change(state: *mut InFlight, fd: u32) -> u32 {
    // Kernels before 6.8 look at a global function that nobody calls, too.
    if FILES.load() == 0 {
        return 0;
    }
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let Some(stats) = Stats::get() else { return 0 };
    let payload = state.payload.as_mut_ptr();
    if state.captured == IN_SMALL && change::<SMALL_PAYLOAD>(state, payload, fd) {
        return 0;
    }
    if state.captured == IN_SMALL && !move_to_large(state) {
        stats.bump(Counter::FileNotRead);
        return 0;
    }
    let large = LARGE.get(Task::current().0);
    if large.is_null() {
        stats.bump(Counter::FileNotRead);
        return 0;
    }
    // SAFETY: a non-null storage value is valid while its task runs this program.
    let payload = unsafe { (*large).payload.as_mut_ptr() };
    if !change::<LARGE_PAYLOAD>(state, payload, fd) {
        stats.bump(Counter::FileNotRead);
    }
    0
}

/// Says whether there was room.
#[inline(always)]
fn change<const PAYLOAD: usize>(state: &mut InFlight, payload: *mut u8, fd: u32) -> bool {
    const LEN: usize = 8;
    if state.event.payload_len as usize > last_offset(PAYLOAD, LEN) {
        return false;
    }
    let offset = bounded(state.event.payload_len as usize, last_offset(PAYLOAD, LEN));
    let (arg, phase) = (state.arg, state.phase);
    let whole = CaptureState::Whole as u8;
    let value = CaptureHeader { arg, state: whole, phase, part: part::CHANGED, len: 4 };
    // SAFETY: header and bytes fit behind the offset.
    let header = unsafe { payload.add(offset) };
    // SAFETY: the offset is a multiple of 8, so the header is aligned.
    unsafe { header.cast::<CaptureHeader>().write(value) };
    // SAFETY: as above.
    unsafe { header.add(HEADER).cast::<u32>().write(fd) };
    state.event.payload_len = (offset + HEADER + LEN) as u32;
    state.event.captures += 1;
    true
}
