//! The composition root: kernel side, reader, span queue and destinations, put together and taken
//! apart in the order in which no span is lost. The only module that knows all stages.

use std::{
    io,
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use tracer_common::memory::DataLimit;

use crate::{
    clock::WallClock,
    decode::Decoder,
    filter::SyscallFilter,
    ids::IdSource,
    kernel::{
        self, Attached, KernelError, Loaded, ProcessScope, ResultFilter, Settings, cgroup::Cgroup,
    },
    ledger::{Ledger, RingAccount},
    reader::{Reader, ReaderCounts, ring::Ring},
    ring_buffer::{DEFAULT_CAPACITY, Destination, SpanRingBuffer},
};

/// Bytes of the kernel ring when nothing else is asked for: 120,000 records without strings.
pub const DEFAULT_RING_SIZE: u32 = 16 << 20;

/// What to trace. The default is the whole system, without the tracer itself. Each kind of scope
/// that is given must hold; within one kind, any of its values.
#[derive(Debug, Clone)]
pub struct TraceOptions {
    /// Running processes, by id.
    pub pids: Vec<u32>,
    /// A process that waits to become a command: its trace begins with its `execve`.
    pub launched: Option<u32>,
    /// Descendants of `pids` and `launched` too.
    pub follow: bool,
    /// Cgroups, with all below them.
    pub cgroups: Vec<Cgroup>,
    /// Names of threads, padded with zero bytes.
    pub comms: Vec<[u8; 16]>,
    /// Users.
    pub uids: Vec<u32>,
    /// Which syscalls.
    pub syscalls: SyscallFilter,
    /// How much is captured of data, and of the arguments of programs.
    pub data: DataLimit,
    /// Which results.
    pub result: ResultFilter,
    /// Bytes of the kernel ring: a power of two, at least one page.
    pub ring_size: u32,
    /// Spans between reader and sidecar.
    pub queue_capacity: usize,
    /// Let the kernel side write its diagnostic log.
    pub kernel_log: bool,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            pids: Vec::new(),
            launched: None,
            follow: true,
            cgroups: Vec::new(),
            comms: Vec::new(),
            uids: Vec::new(),
            syscalls: SyscallFilter::all(),
            data: DataLimit::default(),
            result: ResultFilter::default(),
            ring_size: DEFAULT_RING_SIZE,
            queue_capacity: DEFAULT_CAPACITY,
            kernel_log: false,
        }
    }
}

impl TraceOptions {
    fn by_process(&self) -> bool {
        self.launched.is_some() || !self.pids.is_empty()
    }

    /// What of this the kernel side does, for programs that run it without the other stages.
    pub fn settings(&self) -> Settings {
        let (plans, operations) = self.syscalls.plans(self.data);
        Settings {
            by_process: self.by_process(),
            follow: self.follow,
            cgroups: self.cgroups.clone(),
            comms: self.comms.clone(),
            uids: self.uids.clone(),
            plans,
            operations,
            data: self.data,
            result: self.result.clone(),
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
    /// The reader has panicked.
    #[error("the reader thread has panicked")]
    ReaderPanicked,
}

/// A running trace. Dropping it ends tracing without the records of unfinished calls and without
/// the books; use [`Trace::stop`].
pub struct Trace {
    attached: Attached,
    processes: Option<ProcessScope>,
    follow: bool,
    data: DataLimit,
    kernel_log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
    reader: Reader,
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
        let mut loaded = Loaded::load(&options.settings())?;
        let ring_map = loaded.take_ring()?;
        let ring =
            Ring::map(ring_map.fd().as_fd(), options.ring_size as usize).map_err(at("ring"))?;
        let mut processes = loaded.take_processes()?;
        let kernel_log = options.kernel_log.then(|| loaded.kernel_log()).flatten();

        let buffer = SpanRingBuffer::with_destinations(options.queue_capacity, destinations)
            .map_err(at("sidecar"))?;
        let buffer = Arc::new(buffer);
        let clock = Arc::new(WallClock::new());
        let decoder = Decoder::new(Arc::clone(&clock), IdSource::this_boot());
        let reader =
            Reader::start(ring, decoder, clock, Arc::clone(&buffer)).map_err(at("reader"))?;

        if let (Some(processes), Some(pid)) = (&mut processes, options.launched) {
            processes.launch(pid);
        }
        let attached = loaded.attach()?;
        if let Some(processes) = &mut processes {
            processes.attach(&options.pids, options.follow)?;
        }
        let reader_counts = reader.counts();
        let ring_size = options.ring_size;
        Ok(Self {
            attached,
            processes,
            follow: options.follow,
            data: options.data,
            kernel_log,
            reader,
            reader_counts,
            buffer,
            ring_size,
        })
    }

    /// Changes which syscalls are traced. A call that is running is shown if it was traced when it
    /// began.
    pub fn set_syscalls(&mut self, syscalls: &SyscallFilter) -> Result<(), TraceError> {
        let (plans, operations) = syscalls.plans(self.data);
        Ok(self.attached.set_plans(&plans, &operations)?)
    }

    /// Takes a running process into scope.
    ///
    /// # Errors
    /// When there is no such process, or the scope of this trace is not by process.
    pub fn add_process(&mut self, pid: u32) -> Result<(), TraceError> {
        let follow = self.follow;
        Ok(self.processes.as_mut().ok_or(TraceError::NotByProcess)?.add(pid, follow)?)
    }

    /// Takes a process out of scope, if it is in it; its descendants stay.
    ///
    /// # Errors
    /// When the scope of this trace is not by process.
    pub fn remove_process(&mut self, pid: u32) -> Result<(), TraceError> {
        self.processes.as_mut().ok_or(TraceError::NotByProcess)?.remove(pid);
        Ok(())
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

    /// Passes on what the kernel side has logged.
    pub fn flush_kernel_log(&mut self) {
        if let Some(log) = &mut self.kernel_log {
            log.flush();
        }
    }

    /// The books as they are now. While calls are on their way, they need not balance.
    pub fn ledger(&self) -> Result<Ledger, TraceError> {
        let Self { attached, reader_counts, buffer, ring_size, .. } = self;
        Ok(books(attached, *ring_size, 0, reader_counts, buffer)?)
    }

    /// Stops tracing, exports all that was seen, and closes the books. A destination that is not
    /// done after `patience` is left behind; without it, all are waited for.
    pub fn stop(mut self, patience: Option<Duration>) -> Result<Ledger, TraceError> {
        // The reader goes on meanwhile, so that the ring has room for unfinished calls.
        let stopped = self.attached.stop();
        self.flush_kernel_log();
        let Self { attached, reader, reader_counts, buffer, ring_size, .. } = self;
        let residual = reader.finish();
        let mut buffer = buffer;
        // The reader held the only other reference.
        if let Some(buffer) = Arc::get_mut(&mut buffer) {
            buffer.finish(patience.map(|patience| Instant::now() + patience));
        }
        stopped?;
        let residual = residual.ok_or(TraceError::ReaderPanicked)?;
        Ok(books(&attached, ring_size, residual, &reader_counts, &buffer)?)
    }
}

fn books(
    attached: &Attached,
    ring_size: u32,
    residual: usize,
    reader: &ReaderCounts,
    buffer: &SpanRingBuffer,
) -> Result<Ledger, KernelError> {
    let ring = RingAccount {
        size: u64::from(ring_size),
        residual_bytes: residual as u64,
        ..RingAccount::default()
    };
    Ok(Ledger::new(attached.counts()?, ring, reader, buffer.stats(), buffer.deliveries()))
}
