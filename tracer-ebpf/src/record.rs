//! Records of processes: what they hold, and that each is written once.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{
    bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str, bpf_probe_read_user,
};
use tracer_common::{
    counter::Counter,
    event::CaptureState,
    lifecycle::{Birth, EXE_ROOM, KIND_LIFECYCLE, LifecycleEvent, What, padded},
};

use crate::{
    capture::{bounded, bounded_part},
    emit,
    executable::write_path,
    kernel_memory::clear_words,
    maps::{
        ATOMIC_COUNTERS, DESK_OF_ITERATORS, DESKS, Desk, EXE_DESK_OF_ITERATORS, EXE_DESKS,
        IN_FLIGHT, LAUNCH_SLACK, LAUNCHED, Launched, OnDesk, Rooms, Stored, TOLD, Told,
    },
    namespaces,
    stats::{Stats, swap},
    task::{Task, TaskAddress},
};

const EVENT: usize = size_of::<LifecycleEvent>();

/// Tells that a process or a thread was born. Not inlined, as the other two: on kernels before 6.2
/// the stack is short.
#[inline(never)]
pub(crate) fn birth(stats: Stats, parent: Task, child: Task) {
    if !is_first(child, |told| (&raw mut told.birth, 1)) {
        return;
    }
    let birth = if child.tgid() != child.tid() {
        Birth::Thread
    } else if child.memory() == parent.memory() {
        Birth::Shared
    } else {
        Birth::Process
    };
    let mut event = of(child, What::Fork, birth as u8);
    set_parent(&mut event, TaskAddress(parent.0 as u64));
    event.parent_tid = parent.tid();
    event.call_start_ns = call_start(parent);
    if !matches!(birth, Birth::Thread) {
        namespaces::write(child, &mut event.namespaces);
    }
    write(stats, Counter::Forked, &event);
}

/// Tells that the process runs another program, whose path is at `path` in the kernel's memory, or
/// the interpreter of that.
#[inline(never)]
pub(crate) fn program(stats: Stats, task: Task, path: u64, launched: bool, is_interpreted: bool) {
    let exec = task.exec_id();
    if !is_first(task, |told| (&raw mut told.exec, exec)) {
        return;
    }
    let how = u8::from(launched);
    if let Some(desk) = DESKS.get_ptr_mut(0).filter(|desk| is_free(*desk)) {
        // SAFETY: a desk is this program's until it is given back.
        let record = unsafe { &mut (*desk).record };
        executed(&mut record.event, task, how, is_interpreted);
        collect_on_desk(stats, record, task, path);
        // SAFETY: aligned and valid.
        unsafe { (&raw mut (*desk).is_taken).write_volatile(0) };
        return;
    }
    // A program that cannot be preempted finds its processor's desk free.
    let record = if ATOMIC_COUNTERS.load() == 0 {
        core::ptr::null_mut()
    } else {
        LAUNCHED.get_or_create(task.0)
    };
    if record.is_null() {
        return program_alone(stats, task, how, is_interpreted);
    }
    // SAFETY: a non-null storage value is valid while its task runs this program.
    let record = unsafe { &mut *record };
    executed(&mut record.event, task, how, is_interpreted);
    collect_in_storage(stats, record, task, path);
    // Programs are rare: a task does not keep these 8 KiB.
    LAUNCHED.delete(task.0);
}

/// Writes what is known without the program's memory. Not inlined: what is on its stack would be on
/// that of [`program`], from which the walk to a path goes deep.
#[inline(never)]
fn program_alone(stats: Stats, task: Task, how: u8, is_interpreted: bool) {
    stats.bump(Counter::LaunchNotRead);
    let mut event = LifecycleEvent::default();
    executed(&mut event, task, how, is_interpreted);
    event.path_state = CaptureState::NotRead as u8;
    write(stats, Counter::Executed, &event);
}

/// Fills the event of an exec in its place: a copy of it on the stack would be too much.
#[inline(always)]
fn executed(event: &mut LifecycleEvent, task: Task, how: u8, is_interpreted: bool) {
    fill(event, task, What::Exec, how);
    set_parent(event, task.parent());
    event.call_start_ns = call_start(task);
    event.is_interpreted = u32::from(is_interpreted);
    namespaces::write(task, &mut event.namespaces);
}

/// Collects and writes a record on a desk. Not inlined, as the one below: each has the stack for
/// itself.
#[inline(never)]
fn collect_on_desk(stats: Stats, record: &mut OnDesk, task: Task, path: u64) {
    let used = read_path(record, &Rooms::DESK, path);
    let used = read_args(record, &Rooms::DESK, task, used);
    let desk = EXE_DESKS.get_ptr_mut(0);
    write_path::<_, { Rooms::DESK.before_exe() }, { Rooms::DESK.exe }>(desk, record, task, used);
    finish(stats, record, &Rooms::DESK, task, used);
}

/// The same in the task's storage.
#[inline(never)]
fn collect_in_storage(stats: Stats, record: &mut Stored, task: Task, path: u64) {
    let used = read_path(record, &Rooms::STORAGE, path);
    let used = read_args(record, &Rooms::STORAGE, task, used);
    let desk = EXE_DESKS.get_ptr_mut(0);
    write_path::<_, { Rooms::STORAGE.before_exe() }, { Rooms::STORAGE.exe }>(
        desk, record, task, used,
    );
    finish(stats, record, &Rooms::STORAGE, task, used);
}

/// Reads the environment to behind `used` bytes and the path of the file, and writes the record.
#[inline(always)]
fn finish<const ROOM: usize>(
    stats: Stats,
    record: &mut Launched<ROOM>,
    rooms: &Rooms,
    task: Task,
    used: usize,
) {
    let exe = bounded(record.event.exe_len as usize, rooms.exe);
    let used = bounded_part(used, rooms.before_exe()) + padded(exe);
    let used = read_environment(record, rooms, task, used);
    let len = (EVENT + bounded(used, rooms.all() + LAUNCH_SLACK - 1)) as u64;
    emit::lifecycle(stats, Counter::Executed, core::ptr::from_ref(record).cast(), len);
}

/// Tells of a process that was there when tracing began, with the path of its program's file.
#[inline(always)]
pub(crate) fn alive(stats: Stats, task: Task) {
    let desk = DESK_OF_ITERATORS.get_ptr_mut(0).filter(|desk| is_free(*desk));
    let Some(desk) = desk else { return alive_alone(stats, task) };
    // SAFETY: a desk is this program's until it is given back.
    let record = unsafe { &mut (*desk).record };
    let memory = task.memory();
    was_there(&mut record.event, task);
    write_path::<_, 0, EXE_ROOM>(EXE_DESK_OF_ITERATORS.get_ptr_mut(0), record, task, 0);
    keep_if_one(&mut record.event, task, memory);
    let exe = bounded(record.event.exe_len as usize, EXE_ROOM);
    let len = (EVENT + bounded_part(padded(exe), EXE_ROOM)) as u64;
    emit::lifecycle(stats, Counter::Alive, core::ptr::from_ref(record).cast(), len);
    // SAFETY: aligned and valid.
    unsafe { (&raw mut (*desk).is_taken).write_volatile(0) };
}

/// Writes what is known without the path. Not inlined, as [`program_alone`].
#[inline(never)]
fn alive_alone(stats: Stats, task: Task) {
    let memory = task.memory();
    let mut event = LifecycleEvent::default();
    was_there(&mut event, task);
    keep_if_one(&mut event, task, memory);
    write(stats, Counter::Alive, &event);
}

/// Drops the file of a program that began while another task's was looked at: the record would tell
/// the one's number and the other's file.
#[inline(always)]
fn keep_if_one(event: &mut LifecycleEvent, task: Task, memory: u64) {
    if !runs_still(event, task, memory) {
        (event.exe_dev, event.exe_ino) = (0, 0);
        (event.exe_len, event.exe_flags) = (0, 0);
    }
}

/// Whether a task runs the program that an event tells of, in the memory that it had before.
#[inline(always)]
pub(crate) fn runs_still(event: &LifecycleEvent, task: Task, memory: u64) -> bool {
    event.exec_id == task.exec_id() && memory == task.memory()
}

#[inline(always)]
fn was_there(event: &mut LifecycleEvent, task: Task) {
    fill(event, task, What::Alive, 0);
    set_parent(event, task.parent());
    event.path_state = CaptureState::NotRead as u8;
    namespaces::write(task, &mut event.namespaces);
}

/// Takes memory for such a record; false while a program that was preempted writes there. To make as
/// much for a task, and to free it, takes longer than all else here together.
#[inline(always)]
fn is_free(desk: *mut Desk) -> bool {
    // SAFETY: aligned and valid.
    unsafe { swap(&raw mut (*desk).is_taken, 1) == 0 }
}

/// Tells that a thread has ended.
#[inline(never)]
pub(crate) fn end(stats: Stats, task: Task) {
    if !is_first(task, |told| (&raw mut told.end, 1)) {
        return;
    }
    let threads = task.live_threads();
    let mut event = of(task, What::Exit, u8::from(threads == 0));
    event.threads = threads;
    event.status = task.process_status();
    set_parent(&mut event, task.parent());
    write(stats, Counter::Exited, &event);
}

/// Where programs run in two copies, the first of them tells. Without memory to note it both do,
/// which the reader sees.
#[inline(always)]
fn is_first(task: Task, place: impl Fn(&mut Told) -> (*mut u32, u32)) -> bool {
    if ATOMIC_COUNTERS.load() == 0 {
        return true;
    }
    let told = TOLD.get_or_create(task.0);
    if told.is_null() {
        return true;
    }
    // SAFETY: a non-null storage value is valid while this program runs.
    let (word, value) = place(unsafe { &mut *told });
    // SAFETY: aligned and valid.
    unsafe { swap(word, value) != value }
}

#[inline(always)]
fn write(stats: Stats, counter: Counter, event: &LifecycleEvent) {
    emit::lifecycle(stats, counter, core::ptr::from_ref(event).cast(), EVENT as u64);
}

/// What every record holds.
#[inline(always)]
pub(crate) fn of(task: Task, what: What, how: u8) -> LifecycleEvent {
    let mut event = MaybeUninit::<LifecycleEvent>::uninit();
    // SAFETY: there is room for an event, all of which is written before it is read.
    let it = unsafe { &mut *event.as_mut_ptr() };
    fill(it, task, what, how);
    *it
}

/// Writes what every record holds, and zeroes for the rest.
#[inline(always)]
pub(crate) fn fill(it: &mut LifecycleEvent, task: Task, what: What, how: u8) {
    // SAFETY: an event is aligned to 8 bytes and has so many words.
    unsafe { clear_words::<{ EVENT / 8 }>(core::ptr::from_mut(it).cast()) };
    it.kind = KIND_LIFECYCLE;
    it.what = what as u8;
    it.how = how;
    it.tgid = task.tgid();
    it.tid = task.tid();
    // SAFETY: has no preconditions.
    it.time_ns = unsafe { bpf_ktime_get_boot_ns() };
    let leader = task.leader_address();
    it.process_start_ns = leader.start_ns();
    it.cgroup_id = task.cgroup_id_by_address();
    it.threads = task.live_threads();
    (it.uid, it.gid) = task.effective_ids_by_address();
    it.inner_pid = task.inner_pid();
    leader.write_comm(&mut it.comm);
    it.exec_id = task.exec_id();
    (it.exe_dev, it.exe_ino) = task.executable();
}

#[inline(always)]
pub(crate) fn set_parent(event: &mut LifecycleEvent, parent: TaskAddress) {
    event.parent_tgid = parent.tgid();
    event.parent_tid = event.parent_tgid;
    event.parent_start_ns = parent.leader().start_ns();
}

/// When the call that the task is in was entered; 0 when it is not traced.
#[inline(always)]
fn call_start(task: Task) -> u64 {
    let state = IN_FLIGHT.get(task.0);
    if state.is_null() {
        return 0;
    }
    // SAFETY: a non-null storage value is valid while its task runs this program.
    let state = unsafe { &*state };
    if state.active != 0 { state.event.start_ns } else { 0 }
}

/// Bytes that the path takes.
#[inline(always)]
fn read_path<const ROOM: usize>(record: &mut Launched<ROOM>, rooms: &Rooms, path: u64) -> usize {
    let place = record.launch.as_mut_ptr();
    // SAFETY: there is room for so many bytes; the helper checks the address.
    let len =
        unsafe { bpf_probe_read_kernel_str(place.cast(), rooms.path as u32, path as *const _) };
    // The zero is counted. A path that fills the room is taken for a cut one.
    let (state, len) = match len {
        1.. if len as usize == rooms.path => (CaptureState::Truncated, rooms.path - 1),
        1.. => (CaptureState::Whole, bounded(len as usize - 1, rooms.path)),
        _ => (CaptureState::Fault, 0),
    };
    record.event.path_state = state as u8;
    record.event.path_len = len as u16;
    padded(len)
}

/// Reads the arguments, which the kernel has just written to the program's stack, to behind the path;
/// returns the bytes that both take.
#[inline(always)]
fn read_args<const ROOM: usize>(
    record: &mut Launched<ROOM>,
    rooms: &Rooms,
    task: Task,
    path: usize,
) -> usize {
    let Some([args, args_end, ..]) = task.launch_ranges() else { return path };
    let path = bounded_part(path, rooms.path);
    let total = args_end.wrapping_sub(args);
    let len = bounded(total as usize, rooms.args);
    record.event.args_total = total as u32;
    // SAFETY: the room for the path ends at or behind this; what the verifier believes ends in the
    // slack at the latest.
    let place = unsafe { record.launch.as_mut_ptr().add(path) };
    if !read_user(place, len, args) {
        return path;
    }
    record.event.args_len = len as u16;
    path + padded(len)
}

/// Reads the environment, which stands behind the arguments, to behind `used` bytes; returns the
/// bytes that all of it takes.
#[inline(always)]
fn read_environment<const ROOM: usize>(
    record: &mut Launched<ROOM>,
    rooms: &Rooms,
    task: Task,
    used: usize,
) -> usize {
    let Some([.., env, env_end]) = task.launch_ranges() else { return used };
    let used = bounded_part(used, rooms.before_exe() + rooms.exe);
    let total = env_end.wrapping_sub(env);
    let len = bounded(total as usize, rooms.env);
    record.event.env_total = total as u32;
    // SAFETY: the rooms before end at or behind this, as above.
    let place = unsafe { record.launch.as_mut_ptr().add(used) };
    if !read_user(place, len, env_end.wrapping_sub(len as u64)) {
        return used;
    }
    record.event.env_len = len as u32;
    used + len
}

#[inline(always)]
fn read_user(place: *mut u8, len: usize, from: u64) -> bool {
    // SAFETY: there is room for `len` bytes; the helper checks the user's pointer.
    unsafe { bpf_probe_read_user(place.cast(), len as u32, from as *const _) == 0 }
}
