//! Programs that run: their counters, their iterators over tasks, and how they are taken off again.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, AsRawFd},
};

use aya::{Ebpf, maps::PerCpuArray};
use tracer_common::{
    abi::{map, program},
    counter::{COUNT, Counters},
    memory::OpWords,
    plan::Plan,
    scope::control,
};

use super::{
    KernelError,
    command_lines::CommandLines,
    control::Control,
    counts::KernelCounts,
    programs::{self, Hook, Link},
    quiesce,
    settings::all_captures,
    tables,
};

/// Programs that run.
pub struct Attached {
    pub(super) ebpf: Ebpf,
    pub(super) links: Vec<Link>,
    /// Those that are still to be attached.
    pub(super) calls: Vec<Hook>,
    /// `None` where no process could be had for it.
    pub(super) command_lines: Option<CommandLines>,
    pub(super) control: Control,
    /// Which [`tracer_common::plan::captures`] the programs at calls can make.
    pub(super) captures: u32,
}

impl Attached {
    /// Attaches the programs at calls: from its return on no call in scope is missed.
    pub fn attach_calls(&mut self) -> Result<(), KernelError> {
        for hook in std::mem::take(&mut self.calls) {
            self.links.push(hook.attach(&mut self.ebpf)?);
        }
        self.control.set(control::ARMED, 1);
        Ok(())
    }

    /// Reads all counters.
    pub fn counts(&self) -> Result<KernelCounts, KernelError> {
        Ok(KernelCounts { recursion_misses: self.recursion_misses(), ..self.own_counts()? })
    }

    /// Those that the programs themselves keep, which is quicker.
    pub fn own_counts(&self) -> Result<KernelCounts, KernelError> {
        let at = |source| KernelError::Map { map: map::COUNTERS, source };
        let found = self.ebpf.map(map::COUNTERS).ok_or(KernelError::Missing(map::COUNTERS))?;
        let array: PerCpuArray<_, [u64; COUNT]> = found.try_into().map_err(at)?;
        let mut counters = Counters::default();
        for cpu in array.get(&0, 0).map_err(at)?.iter() {
            for (sum, value) in counters.values.iter_mut().zip(cpu) {
                *sum += value;
            }
        }
        Ok(KernelCounts { counters, recursion_misses: 0 })
    }

    /// Changes which calls are traced. The entry of a call decides: one that is running is shown if
    /// it was traced when it began.
    pub fn set_plans(
        &mut self,
        plans: &[Plan],
        operations: &[(u32, OpWords)],
    ) -> Result<(), KernelError> {
        if all_captures(plans) & !self.captures != 0 {
            return Err(KernelError::NotLoaded);
        }
        self.control.set(control::EDITED, 1);
        // What a call is to capture must be there before it is traced.
        tables::fill_operations(&mut self.ebpf, operations)?;
        let plans: Vec<u64> = plans.iter().map(|plan| plan.0).collect();
        tables::fill_array(&mut self.ebpf, map::PLANS, &plans)
    }

    /// From `/proc/self/fdinfo`, where the kernel shows a program's statistics by descriptor,
    /// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/syscall.c#L2367>.
    fn recursion_misses(&self) -> u64 {
        let fds = self.ebpf.programs().filter_map(|(_, program)| program.fd().ok());
        fds.map(|fd| {
            let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
            let info = fs::read_to_string(path).unwrap_or_default();
            let line = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
            line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
        })
        .sum()
    }

    /// Stops tracing: takes the programs off, waits until none runs any more, and writes a record
    /// for each call that is still running. After this no counter and no record changes.
    pub fn stop(&mut self) -> Result<(), KernelError> {
        // An exit whose entry is no longer seen is not one that was running at attach.
        self.control.set(control::ARMED, 0);
        self.control.set(control::ENDED, 1);
        self.detach(&programs::AT_ENTER)?;
        self.detach(&programs::AT_EXIT)?;
        self.wait_until_quiet()?;
        // Tasks that end meanwhile still take their call off themselves.
        self.iterate(program::UNFINISHED)?;
        self.detach_all()?;
        self.wait_until_quiet()
    }

    fn detach(&mut self, names: &[&str]) -> Result<(), KernelError> {
        let mut links = self.links.extract_if(.., |link| names.contains(&link.name()));
        links.try_for_each(|link| link.detach(&mut self.ebpf))
    }

    fn detach_all(&mut self) -> Result<(), KernelError> {
        self.links.drain(..).try_for_each(|link| link.detach(&mut self.ebpf))
    }

    fn wait_until_quiet(&self) -> Result<(), KernelError> {
        quiesce::wait(|| self.counts())
    }

    /// Writes a record for each process in scope. Those that are born meanwhile may have two: one
    /// of their birth, and this.
    pub fn write_alive(&mut self) -> Result<(), KernelError> {
        self.iterate(program::ALIVE)
    }

    /// Writes a record for each call in scope that was entered before tracing began and has not
    /// returned.
    pub fn write_running(&mut self) -> Result<(), KernelError> {
        self.iterate(program::RUNNING)
    }

    /// Writes a record with the command line of each process in scope, where the kernel can read
    /// it. It is waited for a moment only; then the records of the others come late.
    pub fn write_command_lines(&mut self) -> Result<(), KernelError> {
        let Some(reader) = &mut self.command_lines else { return Ok(()) };
        if reader.is_busy() {
            return Ok(());
        }
        let tasks = self.tasks(program::COMMAND_LINES)?;
        let Some(reader) = &mut self.command_lines else { return Ok(()) };
        reader
            .read(&tasks)
            .map_err(|source| KernelError::System { action: "having command lines read", source })
    }

    /// Runs an iterator over all tasks.
    fn iterate(&mut self, name: &'static str) -> Result<(), KernelError> {
        let failed = |source| KernelError::System { action: "task iterator", source };
        io::copy(&mut self.tasks(name)?, &mut io::sink()).map_err(failed)?;
        Ok(())
    }

    /// Whether the programs that look at tasks were loaded, without which no process may come into scope
    /// that runs already. They cannot be loaded later: maps have been given away by then.
    pub fn looks_at_tasks(&mut self) -> bool {
        programs::iterator(&mut self.ebpf, program::ALIVE).is_ok_and(|it| it.fd().is_ok())
    }

    /// The file of an iterator over all tasks, which runs as it is read.
    fn tasks(&mut self, name: &'static str) -> Result<File, KernelError> {
        let at = |source| KernelError::Program { action: "run", program: name, source };
        let program = programs::iterator(&mut self.ebpf, name)?;
        let id = program.attach().map_err(at)?;
        let link = program.take_link(id).map_err(at)?;
        link.into_file().map_err(|error| KernelError::System {
            action: "task iterator",
            source: io::Error::other(error),
        })
    }
}
