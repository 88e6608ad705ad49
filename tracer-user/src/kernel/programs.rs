//! Which programs run where: it depends on what the kernel has, and on what it does to them.

use std::path::Path;

use aya::{
    Btf, Ebpf,
    programs::{
        BtfTracePoint, Iter, ProgramError, TracePoint, tp_btf::BtfTracePointLinkId,
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

    /// Gives the program to the kernel, which checks it.
    pub(super) fn load(self, ebpf: &mut Ebpf, btf: &Btf) -> Result<(), KernelError> {
        let done = match self.place {
            Place::Tracepoint(place) => self.program::<BtfTracePoint>(ebpf)?.load(place, btf),
            Place::PerfEvent(_) => self.program::<TracePoint>(ebpf)?.load(),
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
        &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
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

/// An iterator over tasks; it is loaded and run by hand.
pub(super) fn iterator<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut Iter, KernelError> {
    let program = ebpf.program_mut(name).ok_or(KernelError::Missing(name))?;
    let failed = |source| KernelError::Program { action: "load", program: name, source };
    program.try_into().map_err(failed)
}
