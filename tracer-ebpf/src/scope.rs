//! Who is traced: cheapest test first. Kinds that are off cost nothing.

use aya_ebpf::helpers::{bpf_get_current_uid_gid, generated::bpf_get_current_ancestor_cgroup_id};
use tracer_common::scope::{
    BY_CGROUP, BY_COMM, BY_PROCESS, BY_UID, CGROUP_LEVEL_LIMIT, LAUNCHES, control, process_bit,
};

use crate::{
    maps::{
        CGROUP_LEVELS, CGROUPS, CGROUPS_CHANGE, COMMS, CONTROL, PROCESSES, READER_TGID, SCOPE,
        SELF_TGID, UIDS,
    },
    task::{self, Task},
};

/// Whether a process is traced, as far as that depends on the process alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    /// It is not.
    Out,
    /// It is about to become a command that is traced: of its calls, only `execve` is in scope.
    Launches,
    /// It is.
    In,
}

/// The process with this id. Of most processes of a host this is all that is asked.
#[inline(always)]
pub(crate) fn process(tgid: u32) -> Process {
    if SCOPE.load() & BY_PROCESS != 0 && !is_marked(tgid) {
        let launches = SCOPE.load() & LAUNCHES != 0 && is_launching(tgid);
        if launches { Process::Launches } else { Process::Out }
    } else if tgid == SELF_TGID.load() || tgid == READER_TGID.load() {
        Process::Out
    } else {
        Process::In
    }
}

/// Whether the process is in the `PROCESSES` map.
#[inline(always)]
pub(crate) fn is_marked(tgid: u32) -> bool {
    let (word, bit) = process_bit(tgid);
    PROCESSES.get(word).is_some_and(|marks| *marks & bit != 0)
}

/// Whether the process is about to become a command that is traced.
#[inline(always)]
pub(crate) fn is_launching(tgid: u32) -> bool {
    CONTROL.get(control::LAUNCHING).is_some_and(|pid| *pid == u64::from(tgid))
}

/// Whether a task can come into scope between entry and exit of a call; then an exit without an
/// entry tells nothing.
#[inline(always)]
pub(crate) fn can_change() -> bool {
    SCOPE.load() & (BY_CGROUP | BY_COMM | BY_UID) != 0
        || CONTROL.get(control::EDITED).is_some_and(|edited| *edited != 0)
}

/// Whether the task is in all other kinds of scope.
#[inline(always)]
pub(crate) fn task(task: Task) -> bool {
    let scope = SCOPE.load();
    (scope & BY_CGROUP == 0 || under_cgroup())
        && (scope & BY_UID == 0 || of_user())
        // SAFETY: the map's values are never written through this reference.
        && (scope & BY_COMM == 0 || unsafe { COMMS.get(task.comm()) }.is_some())
}

/// The same, of a task that does not run this program.
#[inline(always)]
pub(crate) fn other_task(task: Task) -> bool {
    let scope = SCOPE.load();
    (scope & BY_CGROUP == 0 || is_under_cgroup(task))
        // SAFETY: the map's values are never written through this reference.
        && (scope & BY_UID == 0 || unsafe { UIDS.get(task.real_uid()) }.is_some())
        // SAFETY: likewise.
        && (scope & BY_COMM == 0 || unsafe { COMMS.get(task.comm()) }.is_some())
}

/// As [`under_cgroup`].
#[inline(always)]
fn is_under_cgroup(task: Task) -> bool {
    let mut cgroup = task.cgroup();
    for _ in 0..CGROUP_LEVEL_LIMIT {
        // SAFETY: the map's values are never written through this reference.
        if cgroup != 0 && unsafe { CGROUPS.get(task::cgroup_id(cgroup)) }.is_some() {
            return true;
        }
        cgroup = task::parent_cgroup(cgroup);
    }
    false
}

#[inline(always)]
fn of_user() -> bool {
    let uid = bpf_get_current_uid_gid() as u32;
    // SAFETY: the map's values are never written through this reference.
    unsafe { UIDS.get(uid) }.is_some()
}

/// Whether a cgroup in scope is the task's own or one of its ancestors. Ids are never used twice,
/// so a cgroup that was removed and made again is another one.
#[inline(always)]
fn under_cgroup() -> bool {
    let levels = if CGROUPS_CHANGE.load() == 0 {
        CGROUP_LEVELS.load()
    } else {
        CONTROL.get(control::CGROUP_LEVELS).map_or(0, |levels| *levels as u32)
    };
    for level in 0..CGROUP_LEVEL_LIMIT {
        if levels & (1 << level) == 0 {
            continue;
        }
        // SAFETY: has no preconditions; the result is 0 when there is no such level.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
        // SAFETY: the map's values are never written through this reference.
        if id != 0 && unsafe { CGROUPS.get(id) }.is_some() {
            return true;
        }
    }
    false
}
