//! Loads the object with its settings, attaches the programs, and takes them off again.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, AsRawFd},
    thread,
    time::Duration,
};

use aya::{
    Btf, Ebpf, EbpfLoader, Endianness,
    maps::{Map, MapData, PerCpuArray},
};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use tracer_common::{
    abi::{global, map, program},
    counter::{COUNT, Counter, Counters},
    memory::{DataLimit, OpWords},
    plan::{Plan, result},
    scope::{PROCESS_WORDS, control},
};

use super::{
    KernelError,
    btf::KernelTypes,
    cgroup::Cgroup,
    cgroup_scope::CgroupScope,
    command_lines::CommandLines,
    control::Control,
    files::{self, FileDetail},
    globals, object, preflight,
    processes::ProcessScope,
    programs::{self, Hook, Link},
    tables,
};
use crate::shared_memory::{Mapping, page_size};

/// What the kernel side shall do; all of it is evaluated there.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Settings {
    /// Processes in scope are marked in a map (see [`ProcessScope`]); without this, all are.
    pub by_process: bool,
    /// New processes take their parent's mark.
    pub follow: bool,
    /// A command is going to be launched, see [`ProcessScope::launch`].
    pub launches: bool,
    /// Cgroups in scope, with their descendants. Empty: all.
    pub cgroups: Vec<Cgroup>,
    /// The scope is by cgroup, be there one yet or not, and others may come into it.
    pub cgroups_change: bool,
    /// Thread names in scope, padded with zero bytes. Empty: all.
    pub comms: Vec<[u8; 16]>,
    /// Users in scope. Empty: all.
    pub uids: Vec<u32>,
    /// One plan per ABI and number.
    pub plans: Vec<Plan>,
    /// What memory the calls capture, by the index of the plan.
    pub operations: Vec<(u32, OpWords)>,
    /// How much is captured of data, and of the arguments of programs.
    pub data: DataLimit,
    /// Which results pass.
    pub result: ResultFilter,
    /// Look up the files of descriptors, in this detail.
    pub files: Option<FileDetail>,
    /// Which signals are recorded as they are delivered, as a set of
    /// [`tracer_common::signal::signal_bit`].
    pub signals: u64,
    /// Bytes of the ring: a power of two and at least one page.
    pub ring_size: u32,
    /// Let the kernel side write its diagnostic log.
    pub kernel_log: bool,
}

/// Which calls pass by how they ended; all conditions that are set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultFilter {
    /// Only calls that succeeded.
    pub successful: bool,
    /// Only calls that failed.
    pub failed: bool,
    /// Only calls that failed with one of these. Empty: any.
    pub errnos: Vec<u32>,
    /// Only calls that took at least so long, in nanoseconds.
    pub min_duration_ns: u64,
}

impl ResultFilter {
    pub(super) fn bits(&self) -> u32 {
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        bit(self.successful, result::SUCCESSFUL)
            | bit(self.failed, result::FAILED)
            | bit(!self.errnos.is_empty(), result::ERRNO)
            | bit(self.min_duration_ns > 0, result::MIN_DURATION)
    }
}

/// A view of the kernel's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// Sums over all CPUs.
    pub counters: Counters,
    /// Runs of any program that the kernel skipped because it was already running on that CPU.
    pub recursion_misses: u64,
}

/// Programs and maps in the kernel, not yet attached.
pub struct Loaded {
    pub(super) ebpf: Ebpf,
    btf: Btf,
    by_process: bool,
    hooks: Vec<Hook>,
    command_lines: Option<CommandLines>,
}

impl Loaded {
    /// Checks the host, loads the object and fills its maps.
    pub fn load(settings: &Settings) -> Result<Self, KernelError> {
        preflight::check()?;
        let btf_bytes = preflight::read_btf()?;
        object::check(object::BYTES)?;
        raise_memlock();
        let types = KernelTypes::parse(&btf_bytes)?;
        let btf = Btf::parse(&btf_bytes, Endianness::default()).map_err(aya::EbpfError::from)?;
        // Its id must be known to the programs.
        let command_lines = CommandLines::start()
            .inspect_err(|error| log::warn!("no process to read command lines: {error}"))
            .ok();
        let reader = command_lines.as_ref().map(CommandLines::id);
        let ebpf = load_object(settings, &types, &btf, reader)?;
        let hooks = programs::hooks(&types, settings.signals != 0);
        let mut loaded = Self { ebpf, btf, by_process: settings.by_process, hooks, command_lines };
        loaded.fill_maps(settings)?;
        loaded.load_programs()?;
        Ok(loaded)
    }

    fn fill_maps(&mut self, settings: &Settings) -> Result<(), KernelError> {
        let plans: Vec<u64> = settings.plans.iter().map(|plan| plan.0).collect();
        tables::fill_array(&mut self.ebpf, map::PLANS, &plans)?;
        tables::fill_operations(&mut self.ebpf, &settings.operations)?;
        if !settings.result.errnos.is_empty() {
            let mut set = [0u8; 4096];
            for errno in &settings.result.errnos {
                if let Some(slot) = set.get_mut(*errno as usize) {
                    *slot = 1;
                }
            }
            tables::fill_array(&mut self.ebpf, map::ERRNOS, &set)?;
        }
        tables::fill_set(
            &mut self.ebpf,
            map::CGROUPS,
            settings.cgroups.iter().map(|cgroup| cgroup.id),
        )?;
        tables::fill_set(&mut self.ebpf, map::UIDS, settings.uids.iter().copied())?;
        tables::fill_set(&mut self.ebpf, map::COMMS, settings.comms.iter().copied())
    }

    fn load_programs(&mut self) -> Result<(), KernelError> {
        let mut refused = None;
        for hook in &self.hooks {
            match hook.load(&mut self.ebpf, &self.btf) {
                // Calls are traced without it.
                Err(error) if hook.is_cgroup() => {
                    log::warn!("cgroups are found by their ids alone while they exist: {error}");
                    refused = Some(*hook);
                }
                done => done?,
            }
        }
        self.hooks.retain(|hook| Some(*hook) != refused);
        [program::UNFINISHED, program::ALIVE, program::RUNNING]
            .into_iter()
            .try_for_each(|name| self.load_iterator(name))?;
        // Kernels before 5.18 have no means for it, and calls are traced without.
        if let Err(error) = self.load_iterator(program::COMMAND_LINES) {
            log::info!("the command lines of processes that run already are not read: {error}");
        }
        Ok(())
    }

    fn load_iterator(&mut self, name: &'static str) -> Result<(), KernelError> {
        let at = |source| KernelError::Program { action: "load", program: name, source };
        programs::iterator(&mut self.ebpf, name)?.load("task", &self.btf).map_err(at)
    }

    /// Takes the ring's map out, for the reader.
    pub fn take_ring(&mut self) -> Result<MapData, KernelError> {
        match self.ebpf.take_map(map::RING) {
            Some(Map::RingBuf(data)) => Ok(data),
            _ => Err(KernelError::Missing(map::RING)),
        }
    }

    /// Maps the process scope; `None` when processes are not in scope by id.
    pub fn take_processes(&mut self) -> Result<Option<ProcessScope>, KernelError> {
        if !self.by_process {
            return Ok(None);
        }
        let control = self.control()?;
        let scope = ProcessScope::new(self.array(map::PROCESSES)?, control);
        scope
            .map(Some)
            .map_err(|source| KernelError::System { action: "mapping the marks", source })
    }

    /// Takes the set of cgroups in scope out.
    pub fn take_cgroups(&mut self, settings: &Settings) -> Result<CgroupScope, KernelError> {
        let control = self.control()?;
        let map = self.ebpf.take_map(map::CGROUPS).ok_or(KernelError::Missing(map::CGROUPS))?;
        CgroupScope::new(map, control, &settings.cgroups)
    }

    /// Takes out the ring of cgroups that are made; `None` where the kernel does not tell of them.
    pub fn take_cgroup_ring(&mut self) -> Result<Option<MapData>, KernelError> {
        match self.ebpf.take_map(map::CGROUP_RING) {
            Some(Map::RingBuf(data)) => Ok(self.hooks.iter().any(Hook::is_cgroup).then_some(data)),
            _ => Err(KernelError::Missing(map::CGROUP_RING)),
        }
    }

    fn control(&self) -> Result<Control, KernelError> {
        let map = self.array(map::CONTROL)?;
        let mapping = Mapping::read_write(map.fd().as_fd(), 0, page_size());
        let failed = |source| KernelError::System { action: "mapping the control words", source };
        Ok(Control { words: mapping.map_err(failed)? })
    }

    fn array(&self, name: &'static str) -> Result<&MapData, KernelError> {
        match self.ebpf.map(name) {
            Some(Map::Array(data)) => Ok(data),
            _ => Err(KernelError::Missing(name)),
        }
    }

    /// The kernel side's diagnostic log, to be flushed from time to time.
    pub fn kernel_log(&mut self) -> Option<aya_log::EbpfLogger<&'static dyn log::Log>> {
        aya_log::EbpfLogger::init(&mut self.ebpf).ok()
    }

    /// Attaches the programs that tell of processes: from its return on no birth, program or end in
    /// scope is missed.
    pub fn attach(mut self) -> Result<Attached, KernelError> {
        let control = self.control()?;
        let (calls, others): (Vec<_>, Vec<_>) = self.hooks.iter().partition(|it| it.is_of_calls());
        let attached = others.into_iter().map(|hook: Hook| hook.attach(&mut self.ebpf));
        let links = attached.collect::<Result<_, _>>()?;
        Ok(Attached { ebpf: self.ebpf, links, calls, command_lines: self.command_lines, control })
    }
}

/// Programs that run.
pub struct Attached {
    ebpf: Ebpf,
    links: Vec<Link>,
    /// Those that are still to be attached.
    calls: Vec<Hook>,
    /// `None` where no process could be had for it.
    command_lines: Option<CommandLines>,
    control: Control,
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

    /// A program may still run on another CPU when its link is gone. A grace period ends all that
    /// cannot be preempted; where they can be, the counters tell.
    fn wait_until_quiet(&self) -> Result<(), KernelError> {
        grace_period();
        let mut before = self.counts()?;
        loop {
            grace_period();
            let after = self.counts()?;
            // Others may still run programs of ours, but not those that were taken off.
            if quiet(&before) == quiet(&after) {
                return Ok(());
            }
            before = after;
        }
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
        let is_loaded = programs::iterator(&mut self.ebpf, program::COMMAND_LINES)?.fd().is_ok();
        let is_free = self.command_lines.as_mut().is_some_and(|reader| !reader.is_busy());
        if !is_loaded || !is_free {
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

/// Counters of the programs at enter and exit of a call, and at signals.
fn quiet(counts: &KernelCounts) -> [u64; 5] {
    [
        Counter::EnterSeen,
        Counter::Stored,
        Counter::Matched,
        Counter::Submitted,
        Counter::SignalSubmitted,
    ]
    .map(|counter| counts.get(counter))
}

/// `MEMBARRIER_CMD_GLOBAL` waits for an RCU grace period, membarrier(2); tracepoint programs run
/// inside such a section. Kernels with `nohz_full` CPUs refuse it; there a pause must do.
fn grace_period() {
    // SAFETY: no pointers are passed.
    let failed = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if failed != 0 {
        log::debug!("membarrier: {}", io::Error::last_os_error());
        thread::sleep(PAUSE_FOR_PROGRAMS);
    }
}

/// Far longer than a program runs that is not preempted.
const PAUSE_FOR_PROGRAMS: Duration = Duration::from_millis(10);

/// Kernels before 5.11 charge maps to this limit. That it cannot be raised is no error: newer ones
/// do not, and older ones say themselves that memory is short.
fn raise_memlock() {
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        log::debug!("RLIMIT_MEMLOCK stays as it is: {error}");
    }
}

fn load_object(
    settings: &Settings,
    types: &KernelTypes,
    btf: &Btf,
    reader: Option<u32>,
) -> Result<Ebpf, KernelError> {
    let log_level: u8 = if settings.kernel_log { aya_log::Level::Debug as u8 } else { 0 };
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        // Task storage is not known to aya, and needs nothing from this side.
        .allow_unsupported_maps()
        .map_max_entries(map::RING, settings.ring_size)
        .map_max_entries(map::PROCESSES, if settings.by_process { PROCESS_WORDS } else { 1 })
        .override_global(global::MIN_DURATION_NS, &settings.result.min_duration_ns, true)
        .override_global(global::SIGNALS, &settings.signals, true)
        .override_global(global::LOG_LEVEL, &log_level, true);
    let files = match files::globals(types, settings.files) {
        Ok(globals) => globals,
        Err(error) => {
            if settings.files.is_some() {
                log::warn!("descriptors are shown without their files: {error}");
            }
            Vec::new()
        }
    };
    let words = globals::words(settings, types, reader)?;
    for (name, value) in words.iter().chain(&files) {
        loader.override_global(name, value, true);
    }
    Ok(loader.load(&files::complete(object::BYTES, types))?)
}

impl KernelCounts {
    /// The value of one counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counters.get(counter)
    }
}
