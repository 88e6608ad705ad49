//! Task iterators: the processes that were there when tracing began, and their command lines.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_copy_from_user_task;
use tracer_common::{
    counter::Counter,
    event::CaptureState,
    lifecycle::{ARGS_ROOM, LifecycleEvent, What, padded},
    scope::control,
};

use crate::{
    capture::{bounded, bounded_part},
    emit,
    maps::{COMMAND_LINE, CONTROL},
    record, scope,
    stats::Stats,
    task::{self, Task},
};

const EVENT: usize = size_of::<LifecycleEvent>();

/// Runs once for each task of the system, before calls are traced and after all other programs are
/// attached: who is born later is told of at birth.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
fn alive(ctx: *mut c_void) -> i32 {
    // SAFETY: the kernel passes this context to a task iterator.
    let task = unsafe { task::of_iterator(ctx) };
    if task.0.is_null() || !is_process_in_scope(task) {
        return 0;
    }
    let Some(stats) = Stats::get_preemptible() else { return 0 };
    record::alive(stats, task);
    0
}

/// The same, of one that may wait for memory: of a file on a server, say, that answers or never
/// does. So nobody waits for this one, and it tells one thing only.
#[unsafe(link_section = "iter.s/task")]
#[unsafe(no_mangle)]
fn command_lines(ctx: *mut c_void) -> i32 {
    // SAFETY: as above.
    let task = unsafe { task::of_iterator(ctx) };
    if task.0.is_null() || !is_process_in_scope(task) {
        return 0;
    }
    let Some(stats) = Stats::get_preemptible() else { return 0 };
    command_line(stats, task);
    0
}

/// Whether it is the first thread of a process in scope.
#[inline(always)]
fn is_process_in_scope(task: Task) -> bool {
    let is_process = task.tid() == task.tgid() && task.live_threads() != 0;
    is_process
        && !task.is_kernel_thread()
        && scope::process(task.tgid()) == scope::Process::In
        && scope::other_task(task)
}

/// Tells of the command line of a process, if all of it that there is room for can be read.
#[inline(always)]
fn command_line(stats: Stats, task: Task) {
    let memory = task.memory();
    let Some([args, args_end, ..]) = task.launch_ranges() else { return };
    let Some(line) = COMMAND_LINE.get_ptr_mut(0) else { return };
    // SAFETY: the user side runs this iterator once at a time, so the record is its own.
    let line = unsafe { &mut *line };
    record::fill(&mut line.event, task, What::CommandLine, 0);
    line.event.path_state = CaptureState::NotRead as u8;
    let total = args_end.wrapping_sub(args);
    let len = bounded(total as usize, ARGS_ROOM);
    line.event.args_total = total as u32;
    line.event.args_len = len as u16;
    let place = line.launch.as_mut_ptr().cast();
    // SAFETY: there is room for `len` bytes; the helper checks the address.
    let failed = len == 0
        || unsafe { bpf_copy_from_user_task(place, len as u32, args as *const _, task.0, 0) != 0 };
    // What was read is of another program where an exec came between: it changes the memory first,
    // and the number after that. And waiting may have outlived the trace.
    let is_over = CONTROL.get(control::ENDED).is_none_or(|ended| *ended != 0);
    if failed || is_over || !record::runs_still(&line.event, task, memory) {
        return;
    }
    let len = (EVENT + bounded_part(padded(len), ARGS_ROOM)) as u64;
    emit::lifecycle(stats, Counter::CommandLines, core::ptr::from_ref(line).cast(), len);
}
