//! Loads the object with its settings, and attaches the programs.

use std::{os::fd::AsFd, thread};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Map, MapData},
};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use tracer_common::{
    abi::{global, map, program},
    scope::PROCESS_WORDS,
};

use super::{
    KernelError,
    attached::Attached,
    btf::KernelTypes,
    cgroup_scope::CgroupScope,
    command_lines::CommandLines,
    control::Control,
    files, globals, object, preflight,
    processes::ProcessScope,
    programs::{self, Hook, ToLoad},
    settings::Settings,
    tables,
    vmlinux::{self, Vmlinux},
};
use crate::shared_memory::{Mapping, page_size};

/// Programs and maps in the kernel, not yet attached.
pub struct Loaded {
    pub(super) ebpf: Ebpf,
    by_process: bool,
    captures: u32,
    hooks: Vec<Hook>,
    command_lines: Option<CommandLines>,
}

impl Loaded {
    /// Checks the host, loads the object and fills its maps.
    pub fn load(settings: &Settings) -> Result<Self, KernelError> {
        preflight::check()?;
        object::check(object::BYTES)?;
        raise_memlock();
        // Its id must be known to the programs, and a copy is made sooner of a small process.
        let command_lines = CommandLines::start()
            .inspect_err(|error| log::warn!("no process to read command lines: {error}"))
            .ok();
        let reader = command_lines.as_ref().map(CommandLines::id);
        let vmlinux = Vmlinux::open()?;
        let bytes = vmlinux.bytes();
        // aya needs all types for the programs, and nothing of them before that.
        let (mut it, btf) = thread::scope(|scope| {
            let btf = thread::Builder::new().spawn_scoped(scope, || vmlinux::parse(bytes)).ok();
            let types = KernelTypes::parse(bytes)?;
            let mut it = Self {
                ebpf: load_object(vmlinux::loader(), settings, &types, reader)?,
                by_process: settings.by_process,
                captures: settings.captures(),
                hooks: programs::hooks(&types, settings.signals != 0),
                command_lines,
            };
            it.fill_maps(settings)?;
            let btf = btf.and_then(|thread| thread.join().ok());
            let btf = btf.unwrap_or_else(|| vmlinux::parse(bytes))?;
            Ok::<_, KernelError>((it, btf))
        })?;
        it.load_programs(settings, &btf)?;
        Ok(it)
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

    fn load_programs(&mut self, settings: &Settings, btf: &Btf) -> Result<(), KernelError> {
        let mut wanted: Vec<ToLoad> = self.hooks.iter().copied().map(ToLoad::Hook).collect();
        wanted.push(ToLoad::Iterator(program::UNFINISHED));
        if settings.looks_at_tasks {
            let iterators = [program::ALIVE, program::RUNNING, program::COMMAND_LINES];
            wanted.extend(iterators.map(ToLoad::Iterator));
        }
        for (which, done) in programs::load_all(&mut self.ebpf, btf, &wanted)? {
            match (which, done) {
                // Calls are traced without it.
                (ToLoad::Hook(hook), Err(error)) if hook.is_cgroup() => {
                    log::warn!("cgroups are found by their ids alone while they exist: {error}");
                    self.hooks.retain(|it| *it != hook);
                }
                // Kernels before 5.18 have no means for it, and calls are traced without.
                (ToLoad::Iterator(program::COMMAND_LINES), Err(error)) => {
                    log::info!("the command lines of running processes are not read: {error}");
                    self.command_lines = None;
                }
                (_, done) => done?,
            }
        }
        Ok(())
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
        let Self { ebpf, captures, command_lines, .. } = self;
        Ok(Attached { ebpf, links, calls, command_lines, control, captures })
    }
}

/// Kernels before 5.11 charge maps to this limit. That it cannot be raised is no error: newer ones
/// do not, and older ones say themselves that memory is short.
fn raise_memlock() {
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        log::debug!("RLIMIT_MEMLOCK stays as it is: {error}");
    }
}

fn load_object(
    loader: EbpfLoader<'static>,
    settings: &Settings,
    types: &KernelTypes,
    reader: Option<u32>,
) -> Result<Ebpf, KernelError> {
    let log_level: u8 = if settings.kernel_log { aya_log::Level::Debug as u8 } else { 0 };
    let files = files::globals(types, settings.files).unwrap_or_else(|error| {
        if settings.files.is_some() {
            log::warn!("descriptors are shown without their files: {error}");
        }
        Vec::new()
    });
    let words = globals::words(settings, types, reader)?;
    // From here on it borrows the above.
    let mut loader: EbpfLoader<'_> = loader;
    loader
        // The object has nothing to be relocated by them.
        .btf(None)
        // Task storage is not known to aya, and needs nothing from this side.
        .allow_unsupported_maps()
        .map_max_entries(map::RING, settings.ring_size)
        .map_max_entries(map::PROCESSES, if settings.by_process { PROCESS_WORDS } else { 1 })
        .override_global(global::MIN_DURATION_NS, &settings.result.min_duration_ns, true)
        .override_global(global::SIGNALS, &settings.signals, true)
        .override_global(global::LOG_LEVEL, &log_level, true);
    for (name, value) in words.iter().chain(&files) {
        loader.override_global(name, value, true);
    }
    Ok(loader.load(&files::complete(object::BYTES, types))?)
}
