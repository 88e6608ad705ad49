//! The composition root: kernel side, reader, span queue and destinations, put together and taken
//! apart in the order in which no span is lost. The only module that knows all stages.

use std::{
    ffi::OsStr,
    io,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracer_common::memory::DataLimit;

use crate::{
    clock::WallClock,
    decode::Decoder,
    filter::SyscallFilter,
    health::Health,
    identity::{ContainerName, OnCgroup, Resolver},
    ids::IdSource,
    kernel::{
        self, Attached, CgroupScope, FileDetail, KernelError, Loaded, ProcessScope, ResultFilter,
        Settings,
        cgroup::{self, Cgroup},
    },
    ledger::{IdentityAccount, Ledger, RingAccount},
    losses::Losses,
    reader::{Asked, MOST_ASKED, Reader, ReaderCounts, ring::Ring},
    ring_buffer::{DEFAULT_CAPACITY, Destination, SpanRingBuffer},
    tree::{LaunchPlace, TreeOptions},
    watch::Watch,
};

/// Bytes of the kernel ring when nothing else is asked for: 110,000 records without strings.
pub const DEFAULT_RING_SIZE: u32 = 16 << 20;

/// What to trace. The default is the whole system, without the tracer itself. Each kind of scope
/// that is given must hold; within one kind, any of its values.
#[derive(Debug, Clone)]
pub struct TraceOptions {
    /// Running processes, by id.
    pub pids: Vec<u32>,
    /// A process that waits to become a command: its trace begins with its `execve`.
    pub launched: Option<u32>,
    /// The place in a trace of the launched command, where its environment shall not say it.
    pub launch: Option<LaunchPlace>,
    /// Descendants of `pids` and `launched` too.
    pub follow: bool,
    /// Cgroups, with all below them.
    pub cgroups: Vec<Cgroup>,
    /// Containers that are made while tracing, by id or name. With any, only calls in a cgroup are
    /// traced, though there be none yet.
    pub containers: Vec<ContainerName>,
    /// Names of threads, padded with zero bytes.
    pub comms: Vec<[u8; 16]>,
    /// Users.
    pub uids: Vec<u32>,
    /// Which syscalls.
    pub syscalls: SyscallFilter,
    /// Whether while tracing cgroups may be added to `cgroups` and taken from it, if there are any;
    /// running processes be added to a command; and other calls be chosen that capture other kinds of
    /// memory. Costs time at the start.
    pub can_change: bool,
    /// How much is captured of data, and of the arguments of programs.
    pub data: DataLimit,
    /// Which results.
    pub result: ResultFilter,
    /// Which signals have a span as they are delivered, as a set of
    /// [`tracer_common::signal::signal_bit`]. None unless asked for.
    pub signals: u64,
    /// Look up the files of descriptors at the call, in this detail.
    pub names: Option<FileDetail>,
    /// Bytes of the kernel ring: a power of two, at least one page.
    pub ring_size: u32,
    /// Spans between reader and sidecar.
    pub queue_capacity: usize,
    /// Where what is found out of processes and cgroups goes: for exporters that are given the same.
    /// Without it only cgroups are known, and processes not looked at.
    pub identity: Option<Arc<Resolver>>,
    /// Let the kernel side write its diagnostic log.
    pub kernel_log: bool,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            pids: Vec::new(),
            launched: None,
            launch: None,
            follow: true,
            cgroups: Vec::new(),
            containers: Vec::new(),
            comms: Vec::new(),
            uids: Vec::new(),
            syscalls: SyscallFilter::all(),
            can_change: false,
            data: DataLimit::default(),
            result: ResultFilter::default(),
            signals: 0,
            names: None,
            ring_size: DEFAULT_RING_SIZE,
            queue_capacity: DEFAULT_CAPACITY,
            identity: None,
            kernel_log: false,
        }
    }
}

impl TraceOptions {
    fn by_cgroup(&self) -> bool {
        !(self.cgroups.is_empty() && self.containers.is_empty())
    }

    fn by_process(&self) -> bool {
        self.launched.is_some() || !self.pids.is_empty()
    }

    /// What of this the kernel side does, for programs that run it without the other stages.
    pub fn settings(&self) -> Settings {
        let (plans, operations) = self.syscalls.plans(self.data);
        Settings {
            by_process: self.by_process(),
            follow: self.follow,
            looks_at_tasks: !self.pids.is_empty() || !self.by_process() || self.can_change,
            launches: self.launched.is_some(),
            cgroups: self.cgroups.clone(),
            cgroups_change: self.by_cgroup() && (self.can_change || !self.containers.is_empty()),
            comms: self.comms.clone(),
            uids: self.uids.clone(),
            plans,
            plans_change: self.can_change,
            operations,
            data: self.data,
            result: self.result.clone(),
            signals: self.signals,
            files: self.names,
            ring_size: self.ring_size,
            kernel_log: self.kernel_log,
        }
    }
}

/// Why a trace does not run.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The kernel side.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A thread or a mapping that the system did not give.
    #[error("cannot start the {stage}: {source}")]
    Start {
        /// Which stage.
        stage: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A process was to be added to a scope of another kind, or taken from it.
    #[error("the scope of this trace is not by process")]
    NotByProcess,
    /// A cgroup was to be added to a scope of another kind, or taken from it.
    #[error("the scope of this trace is not by cgroup")]
    NotByCgroup,
    /// Cgroups were to change in a trace that was not made for it.
    #[error("the cgroups of this trace do not change: it was not started with `can_change`")]
    CgroupsStay,
    /// There is no reader thread.
    #[error("the reader thread is gone")]
    NoReader,
}

/// A running trace. Dropping it ends tracing without the records of unfinished calls and without
/// the books; use [`Trace::stop`].
pub struct Trace {
    attached: Attached,
    processes: Option<ProcessScope>,
    /// `None` when the scope is not by cgroup.
    scope: Option<Arc<Mutex<CgroupScope>>>,
    cgroups_change: bool,
    identity: Arc<Resolver>,
    watch: Option<Watch>,
    follow: bool,
    options: TraceOptions,
    kernel_log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
    reader: Reader,
    losses: Losses,
    reader_counts: Arc<ReaderCounts>,
    buffer: Arc<SpanRingBuffer>,
    ring_size: u32,
}

impl Trace {
    /// Starts tracing: from the return on, no call in scope is missed.
    pub fn start(
        options: &TraceOptions,
        destinations: Vec<Destination>,
    ) -> Result<Self, TraceError> {
        let at = |stage| move |source| TraceError::Start { stage, source };
        for pid in &options.pids {
            kernel::check_process(*pid)?;
        }
        if let Some(identity) = &options.identity {
            identity.prepare();
        }
        let settings = options.settings();
        let mut loaded = Loaded::load(&settings)?;
        let ring_map = loaded.take_ring()?;
        let ring =
            Ring::map(ring_map.fd().as_fd(), options.ring_size as usize).map_err(at("ring"))?;
        let mut processes = loaded.take_processes()?;
        let scope = Arc::new(Mutex::new(loaded.take_cgroups(&settings)?));
        let cgroup_ring = loaded.take_cgroup_ring()?;
        let kernel_log = options.kernel_log.then(|| loaded.kernel_log()).flatten();

        let buffer = SpanRingBuffer::with_stage(options.queue_capacity, destinations, None)
            .map_err(at("sidecar"))?;
        let buffer = Arc::new(buffer);
        let clock = Arc::new(WallClock::new());
        let asked = options.identity.as_ref().filter(|it| it.has_old_cgroups());
        let asked = asked.map(|_| Arc::new(Asked::new(MOST_ASKED)));
        let tree =
            TreeOptions { launch: options.launch, argument_limit: options.data.bytes.into() };
        let decoder = Decoder::with_options(Arc::clone(&clock), IdSource::this_boot(), tree);
        let reader = Reader::start(ring, decoder, clock, Arc::clone(&buffer), asked.clone())
            .map_err(at("reader"))?;

        if let (Some(processes), Some(pid)) = (&mut processes, options.launched) {
            processes.launch(pid);
        }
        let mut attached = loaded.attach()?;
        if let Some(processes) = &mut processes {
            processes.attach(&options.pids, options.follow)?;
        }
        let identity = options.identity.clone().unwrap_or_default();
        let listener = containers_listener(options.containers.clone(), Arc::clone(&scope));
        let watch = Watch::start(Arc::clone(&identity), cgroup_ring, asked, listener);
        let watch = watch.map(Some).map_err(at("identity"))?;
        // A call then finds its process, with its program.
        if settings.looks_at_tasks {
            attached.write_alive()?;
            attached.write_command_lines()?;
        }
        attached.attach_calls()?;
        if settings.looks_at_tasks {
            attached.write_running()?;
        }
        let reader_counts = reader.counts();
        let losses = Losses::new(reader.notices());
        let ring_size = options.ring_size;
        Ok(Self {
            attached,
            processes,
            scope: options.by_cgroup().then_some(scope),
            cgroups_change: settings.cgroups_change,
            identity,
            watch,
            follow: options.follow,
            options: options.clone(),
            kernel_log,
            reader,
            losses,
            reader_counts,
            buffer,
            ring_size,
        })
    }

    /// Tells in the stream what the kernel side has lost since the last time, if anything. To be
    /// called from time to time; without that a loss is told at the end.
    pub fn tell_losses(&mut self) -> Result<(), TraceError> {
        let counts = self.attached.own_counts()?;
        self.losses.look(&counts, false);
        Ok(())
    }

    /// Changes which syscalls are traced. A call that is running is shown if it was traced when it
    /// began.
    ///
    /// # Errors
    /// When a call has memory captured of a kind that none had at the start, and
    /// [`TraceOptions::can_change`] was not set.
    pub fn set_syscalls(&mut self, syscalls: &SyscallFilter) -> Result<(), TraceError> {
        let (plans, operations) = syscalls.plans(self.options.data);
        Ok(self.attached.set_plans(&plans, &operations)?)
    }

    /// Takes a running process into scope.
    ///
    /// # Errors
    /// When there is no such process, or the scope of this trace is not by process.
    pub fn add_process(&mut self, pid: u32) -> Result<(), TraceError> {
        let follow = self.follow;
        let processes = self.processes.as_mut().ok_or(TraceError::NotByProcess)?;
        if !self.attached.looks_at_tasks() {
            return Err(KernelError::NotLoaded.into());
        }
        processes.add(pid, follow)?;
        self.attached.write_alive()?;
        Ok(self.attached.write_command_lines()?)
    }

    /// Takes a process out of scope, and says whether it was in it; its descendants stay.
    ///
    /// # Errors
    /// When the scope of this trace is not by process.
    pub fn remove_process(&mut self, pid: u32) -> Result<bool, TraceError> {
        Ok(self.processes.as_mut().ok_or(TraceError::NotByProcess)?.remove(pid))
    }

    /// Takes a cgroup into scope, with all below it; says whether it was not in it.
    ///
    /// # Errors
    /// When the scope of this trace is not by cgroup, or was not to change.
    pub fn add_cgroup(&mut self, cgroup: &Cgroup) -> Result<bool, TraceError> {
        Ok(self.cgroup_scope()?.add(cgroup)?)
    }

    /// Takes a cgroup out of scope, the first that is meant; says whether there was one. Others in
    /// scope stay, though they be below it.
    ///
    /// # Errors
    /// When the scope of this trace is not by cgroup, or was not to change.
    pub fn remove_cgroup(
        &mut self,
        is_meant: impl Fn(&Cgroup) -> bool,
    ) -> Result<bool, TraceError> {
        Ok(self.cgroup_scope()?.remove(is_meant)?)
    }

    fn cgroup_scope(&self) -> Result<MutexGuard<'_, CgroupScope>, TraceError> {
        let scope = self.scope.as_ref().ok_or(TraceError::NotByCgroup)?;
        if !self.cgroups_change {
            return Err(TraceError::CgroupsStay);
        }
        Ok(scope.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The cgroups in scope; `None` when the scope is not by cgroup.
    pub fn cgroups_in_scope(&self) -> Option<Vec<Cgroup>> {
        let scope = self.scope.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(scope.members().to_vec())
    }

    /// What is known of cgroups, and of processes that somebody has asked for.
    pub const fn identity(&self) -> &Arc<Resolver> {
        &self.identity
    }

    /// How many processes in scope are alive; `None` when the scope is not by process.
    pub fn live_processes(&self) -> Option<u64> {
        self.processes.as_ref().map(ProcessScope::live)
    }

    /// Whether no destination can take any more spans.
    pub fn is_unheard(&self) -> bool {
        let deliveries = self.buffer.deliveries();
        !deliveries.is_empty() && deliveries.iter().all(|delivery| delivery.is_gone())
    }

    /// Why a thread of the trace has ended before it should: then records are lost, and counted.
    pub fn failure(&self) -> Option<&str> {
        let watch = self.watch.as_ref().map(Watch::health);
        let all = [Some(self.reader.health()), Some(self.buffer.health()), watch];
        all.into_iter().flatten().find_map(Health::failure)
    }

    /// Passes on what the kernel side has logged.
    pub fn flush_kernel_log(&mut self) {
        if let Some(log) = &mut self.kernel_log {
            log.flush();
        }
    }

    /// The books as they are now. While calls are on their way, they need not balance.
    pub fn ledger(&self) -> Result<Ledger, TraceError> {
        self.identity.cgroups.refresh();
        let Self { attached, reader_counts, buffer, ring_size, .. } = self;
        let identity = identity_account(&self.identity);
        let mut ledger = books(attached, *ring_size, 0, reader_counts, buffer, identity)?;
        ledger.failure = self.failure().map(str::to_owned);
        Ok(ledger)
    }

    /// Stops tracing, exports all that was seen, and closes the books. A destination that is not
    /// done after `patience` is left behind; without it, all are waited for.
    pub fn stop(mut self, patience: Option<Duration>) -> Result<Ledger, TraceError> {
        // The reader goes on meanwhile, so that the ring has room for unfinished calls.
        let stopped = self.attached.stop();
        let counts = self.attached.own_counts()?;
        self.losses.look(&counts, true);
        while !self.losses.is_told() {
            // Until the reader has made room for it.
            thread::park_timeout(Duration::from_millis(1));
            self.losses.look(&counts, true);
        }
        self.flush_kernel_log();
        let failure = self.failure().map(str::to_owned);
        drop(self.watch.take());
        let Self { attached, reader, reader_counts, buffer, ring_size, identity, .. } = self;
        identity.cgroups.refresh();
        let residual = reader.finish();
        let mut buffer = buffer;
        // The reader held the only other reference.
        if let Some(buffer) = Arc::get_mut(&mut buffer) {
            buffer.finish(patience.map(|patience| Instant::now() + patience));
        }
        stopped?;
        let residual = residual.ok_or(TraceError::NoReader)?;
        let identity = identity_account(&identity);
        let mut ledger = books(&attached, ring_size, residual, &reader_counts, &buffer, identity)?;
        ledger.failure = failure.or_else(|| buffer.health().failure().map(str::to_owned));
        Ok(ledger)
    }
}

fn books(
    attached: &Attached,
    ring_size: u32,
    residual: usize,
    reader: &ReaderCounts,
    buffer: &SpanRingBuffer,
    identity: IdentityAccount,
) -> Result<Ledger, KernelError> {
    let ring = RingAccount {
        size: u64::from(ring_size),
        residual_bytes: residual as u64,
        ..RingAccount::default()
    };
    let kernel = attached.counts()?;
    Ok(Ledger::new(kernel, ring, reader, identity, buffer))
}

fn identity_account(resolver: &Resolver) -> IdentityAccount {
    IdentityAccount {
        cgroups_told: resolver.cgroups.told(),
        cgroups_unknown: resolver.cgroups.unknown(),
        processes_identified: resolver.identified(),
        processes_missed: resolver.missed(),
    }
}

/// Takes the cgroups of containers into scope as they are found.
fn containers_listener(
    containers: Vec<ContainerName>,
    scope: Arc<Mutex<CgroupScope>>,
) -> Option<OnCgroup> {
    if containers.is_empty() {
        return None;
    }
    let mount = cgroup::first_mount()?;
    Some(Box::new(move |facts| {
        if !containers.iter().any(|name| name.fits(&facts.workload)) {
            return;
        }
        let cgroup = mount.cgroup(facts.id, Path::new(OsStr::from_bytes(&facts.path)));
        let mut scope = scope.lock().unwrap_or_else(PoisonError::into_inner);
        // What is below a cgroup in scope is in it already.
        if scope.members().iter().any(|member| cgroup.path.starts_with(&member.path)) {
            return;
        }
        match scope.add(&cgroup) {
            Ok(_) => log::info!("container in scope: {}", cgroup.path.display()),
            Err(error) => log::warn!("container {}: {error}", cgroup.path.display()),
        }
    }))
}
