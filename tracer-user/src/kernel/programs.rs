//! Which programs run where: it depends on what the kernel has, and on what it does to them.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use aya::{
    Btf, Ebpf,
    programs::{
        BtfTracePoint, Iter, Program, ProgramError, TracePoint, tp_btf::BtfTracePointLinkId,
        trace_point::TracePointLinkId,
    },
};
use tracer_common::abi::program;

use super::{
    KernelError,
    btf::KernelTypes,
    preflight::{KernelVersion, PREEMPTIBLE_SINCE},
};

/// A program and the place where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hook {
    name: &'static str,
    place: Place,
}

/// Where a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A tracepoint that the kernel's types name.
    Tracepoint(&'static str),
    /// The perf event of a tracepoint of `raw_syscalls`.
    PerfEvent(&'static str),
}

/// A program that runs.
pub(super) struct Link {
    hook: Hook,
    id: LinkId,
}

enum LinkId {
    Tracepoint(BtfTracePointLinkId),
    PerfEvent(TracePointLinkId),
}

const fn tracepoint(name: &'static str, tracepoint: &'static str) -> Hook {
    Hook { name, place: Place::Tracepoint(tracepoint) }
}

const LIFECYCLE: [Hook; 3] = [
    tracepoint(program::PROCESS_FORK, "task_newtask"),
    tracepoint(program::PROCESS_EXEC, "sched_process_exec"),
    tracepoint(program::PROCESS_EXIT, "sched_process_exit"),
];

const LIFECYCLE_AGAIN: [Hook; 3] = [
    tracepoint(program::AGAIN[0], "task_newtask"),
    tracepoint(program::AGAIN[1], "sched_process_exec"),
    tracepoint(program::AGAIN[2], "sched_process_exit"),
];

/// Exits before enters, or a call between the two would be kept and never matched.
const CALLS: [Hook; 2] =
    [tracepoint(program::SYS_EXIT, "sys_exit"), tracepoint(program::SYS_ENTER, "sys_enter")];

const CALLS_PERF: [Hook; 2] = [
    Hook { name: program::SYS_EXIT_PERF, place: Place::PerfEvent("sys_exit") },
    Hook { name: program::SYS_ENTER_PERF, place: Place::PerfEvent("sys_enter") },
];

const IO_URING: Hook = tracepoint(program::IO_URING_SUBMIT, "io_uring_submit_req");

/// Delivery first: what is kept of a deadly signal is then not left without a record.
const SIGNALS: [Hook; 2] = [
    tracepoint(program::SIGNAL_DELIVER, "signal_deliver"),
    tracepoint(program::SIGNAL_GENERATE, "signal_generate"),
];

const CGROUP_MKDIR: Hook = tracepoint(program::CGROUP_MKDIR, "cgroup_mkdir");

/// Programs at the exit of calls.
pub(super) const AT_EXIT: [&str; 2] = [program::SYS_EXIT, program::SYS_EXIT_PERF];
/// Programs at the entry of calls.
pub(super) const AT_ENTER: [&str; 2] = [program::SYS_ENTER, program::SYS_ENTER_PERF];

/// The programs for the running kernel, in the order of attaching.
pub(super) fn hooks(types: &KernelTypes, with_signals: bool) -> Vec<Hook> {
    let mut hooks = Vec::new();
    if with_signals {
        hooks.extend(SIGNALS);
    }
    if types.has_tracepoint("io_uring_submit_req") {
        hooks.push(IO_URING);
    }
    if types.has_tracepoint("cgroup_mkdir") {
        hooks.push(CGROUP_MKDIR);
    }
    hooks.extend(LIFECYCLE);
    if !is_preemptible() {
        hooks.extend(CALLS);
        return hooks;
    }
    hooks.extend(LIFECYCLE_AGAIN);
    if has_perf_events() {
        hooks.extend(CALLS_PERF);
    } else {
        log::warn!(
            "tracefs is not mounted: this kernel may skip calls while another task is preempted \
             (`recursion_misses` counts them); mount -t tracefs tracefs /sys/kernel/tracing"
        );
        hooks.extend(CALLS);
    }
    hooks
}

/// Whether the running kernel can preempt programs at tracepoints.
pub(super) fn is_preemptible() -> bool {
    KernelVersion::running().is_none_or(|now| now >= PREEMPTIBLE_SINCE)
}

/// Whether the numbers of perf events can be found.
pub(super) fn has_perf_events() -> bool {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .into_iter()
        .any(|folder| Path::new(folder).join("events/raw_syscalls/sys_enter/id").exists())
}

impl Hook {
    /// Whether it runs at calls.
    pub(super) fn is_of_calls(&self) -> bool {
        AT_ENTER.contains(&self.name) || AT_EXIT.contains(&self.name)
    }

    /// Whether it tells of cgroups that are made.
    pub(super) fn is_cgroup(&self) -> bool {
        *self == CGROUP_MKDIR
    }

    fn load(self, program: &mut Program, btf: &Btf) -> Result<(), KernelError> {
        let done = match self.place {
            Place::Tracepoint(place) => {
                as_type::<BtfTracePoint>(program).and_then(|it| it.load(place, btf))
            }
            Place::PerfEvent(_) => as_type::<TracePoint>(program).and_then(TracePoint::load),
        };
        done.map_err(self.failed("load"))
    }

    /// Lets the program run.
    pub(super) fn attach(self, ebpf: &mut Ebpf) -> Result<Link, KernelError> {
        let id = match self.place {
            Place::Tracepoint(_) => {
                self.program::<BtfTracePoint>(ebpf)?.attach().map(LinkId::Tracepoint)
            }
            Place::PerfEvent(place) => self
                .program::<TracePoint>(ebpf)?
                .attach("raw_syscalls", place)
                .map(LinkId::PerfEvent),
        };
        Ok(Link { hook: self, id: id.map_err(self.failed("attach"))? })
    }

    fn program<'a, P>(self, ebpf: &'a mut Ebpf) -> Result<&'a mut P, KernelError>
    where
        &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let program = ebpf.program_mut(self.name).ok_or(KernelError::Missing(self.name))?;
        program.try_into().map_err(self.failed("load"))
    }

    fn failed(self, action: &'static str) -> impl FnOnce(ProgramError) -> KernelError {
        move |source| KernelError::Program { action, program: self.name, source }
    }
}

impl Link {
    /// The program's name.
    pub(super) const fn name(&self) -> &'static str {
        self.hook.name
    }

    /// Lets the program run no more; it may still be running.
    pub(super) fn detach(self, ebpf: &mut Ebpf) -> Result<(), KernelError> {
        let done = match self.id {
            LinkId::Tracepoint(id) => self.hook.program::<BtfTracePoint>(ebpf)?.detach(id),
            LinkId::PerfEvent(id) => self.hook.program::<TracePoint>(ebpf)?.detach(id),
        };
        done.map_err(self.hook.failed("detach"))
    }
}

/// A program that is wanted in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToLoad {
    /// One that is attached.
    Hook(Hook),
    /// An iterator over tasks, by name.
    Iterator(&'static str),
}

impl ToLoad {
    const fn name(self) -> &'static str {
        match self {
            Self::Hook(hook) => hook.name,
            Self::Iterator(name) => name,
        }
    }

    /// Gives the program to the kernel, which checks it.
    fn load(self, program: &mut Program, btf: &Btf) -> Result<(), KernelError> {
        match self {
            Self::Hook(hook) => hook.load(program, btf),
            Self::Iterator(name) => {
                let failed =
                    |source| KernelError::Program { action: "load", program: name, source };
                as_type::<Iter>(program).and_then(|it| it.load("task", btf)).map_err(failed)
            }
        }
    }
}

/// A program that was wanted, and what became of it.
type Outcome = (ToLoad, Result<(), KernelError>);

/// Gives programs to the kernel, as many at once as there are processors (at most 4): that it checks
/// them is most of what a start of tracer takes.
///
/// # Errors
/// When the object lacks one. What the kernel says of each is in the answer.
pub(super) fn load_all(
    ebpf: &mut Ebpf,
    btf: &Btf,
    wanted: &[ToLoad],
) -> Result<Vec<Outcome>, KernelError> {
    const MOST_AT_ONCE: usize = 4;
    let find = |name: &str| wanted.iter().find(|it| it.name() == name).copied();
    let mut waiting: Vec<(ToLoad, &mut Program)> =
        ebpf.programs_mut().filter_map(|(name, program)| Some((find(name)?, program))).collect();
    let is_there = |it: &&ToLoad| waiting.iter().any(|(which, _)| which == *it);
    if let Some(missing) = wanted.iter().find(|it| !is_there(it)) {
        return Err(KernelError::Missing(missing.name()));
    }
    // What takes longest comes first, from the end.
    waiting.sort_by_key(|(which, _)| LONGEST.contains(&which.name()));
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE);
    let (waiting, done) = (Mutex::new(waiting), Mutex::new(Vec::new()));
    let take = || lock(&waiting).pop();
    let work = || {
        while let Some((which, program)) = take() {
            let outcome = (which, which.load(program, btf));
            lock(&done).push(outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 1..workers {
            // Without it this thread does all.
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, work) {
                log::debug!("no thread to load programs: {error}");
            }
        }
        work();
    });
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Programs that the kernel checks for longer than others.
const LONGEST: [&str; 5] = [
    program::SYS_ENTER,
    program::SYS_EXIT,
    program::SYS_ENTER_PERF,
    program::SYS_EXIT_PERF,
    program::PROCESS_EXEC,
];

fn as_type<'a, P>(program: &'a mut Program) -> Result<&'a mut P, ProgramError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    program.try_into()
}

/// An iterator over tasks; it is loaded and run by hand.
pub(super) fn iterator<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut Iter, KernelError> {
    let program = ebpf.program_mut(name).ok_or(KernelError::Missing(name))?;
    let failed = |source| KernelError::Program { action: "load", program: name, source };
    program.try_into().map_err(failed)
}
