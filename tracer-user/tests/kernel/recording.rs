//! A trace that nobody reads before its end: the ring has room for all of it, so that a busy
//! machine, on which a reader or a destination falls behind, loses nothing of what is compared.

use std::{os::fd::AsFd, sync::Arc};

use tracer_common::counter::Counter;
use tracer_user::{
    clock::WallClock,
    decode::Decoder,
    ids::IdSource,
    kernel::{Attached, Loaded, ProcessScope},
    ledger::{IdentityAccount, Ledger, RingAccount},
    pipeline::TraceOptions,
    reader::{ReaderCounts, ring::Ring},
    ring_buffer::SpanRingBuffer,
    span_record::SpanRecord,
};

use crate::{support::Workload, witness::Run};

pub(crate) struct Recording {
    ring: Ring,
    processes: ProcessScope,
    attached: Attached,
    run: Run,
}

impl Recording {
    /// Begins; `options` name processes, and a ring with room for all they do.
    pub(crate) fn start(options: &TraceOptions) -> Self {
        let mut run = Run::of(options);
        let mut loaded = Loaded::load(&options.settings()).expect("the programs load");
        let map = loaded.take_ring().expect("a ring");
        let ring = Ring::map(map.fd().as_fd(), options.ring_size as usize).expect("its memory");
        let mut processes = loaded.take_processes().expect("marks").expect("processes by id");
        let mut attached = loaded.attach().expect("the programs attach");
        processes.attach(&options.pids, options.follow).expect("processes that live");
        attached.attach_calls().expect("the programs attach");
        run.attached();
        Self { ring, processes, attached, run }
    }

    /// Waits until no process in scope lives.
    pub(crate) fn wait_for_end(&self) {
        while self.processes.live() != 0 {
            std::thread::yield_now();
        }
    }

    /// The books as they would be if it ended now, but for the calls that are running.
    pub(crate) fn counts(&self) -> tracer_user::kernel::KernelCounts {
        self.attached.counts().expect("the counters")
    }

    /// Stops and reads all; the books must balance.
    pub(crate) fn stop(mut self) -> (Vec<SpanRecord>, Ledger) {
        self.run.detaching();
        self.attached.stop().expect("tracing stops");
        let mut decoder = Decoder::new(Arc::new(WallClock::new()), IdSource::this_boot());
        let mut spans = Vec::new();
        let read = self.ring.read(usize::MAX, |bytes| {
            spans.extend(decoder.decode(bytes).expect("a record"));
        });
        let lifecycle = read - spans.len();
        let counts = ReaderCounts::default();
        counts.read.store(read as u64, std::sync::atomic::Ordering::Relaxed);
        counts.spans.store(spans.len() as u64, std::sync::atomic::Ordering::Relaxed);
        counts.lifecycle.store(lifecycle as u64, std::sync::atomic::Ordering::Relaxed);
        let ring = RingAccount {
            size: self.ring.size() as u64,
            residual_bytes: self.ring.unread() as u64,
            ..RingAccount::default()
        };
        let kernel = self.attached.counts().expect("the counters");
        // Nobody puts a loss into the stream here.
        let lost = [
            Counter::ReserveFailed,
            Counter::LifecycleReserveFailed,
            Counter::RunningReserveFailed,
            Counter::SignalReserveFailed,
            Counter::StoreFailed,
            Counter::SignalNotKept,
        ];
        let lost = lost.iter().map(|counter| kernel.get(*counter)).sum();
        counts.lost_told.store(lost, std::sync::atomic::Ordering::Relaxed);
        // Nobody reads what the kernel tells of cgroups here.
        let told = kernel.get(Counter::CgroupMade) - kernel.get(Counter::CgroupLost);
        let identity = IdentityAccount { cgroups_told: told, ..IdentityAccount::default() };
        let unused = SpanRingBuffer::with_destinations(1, vec![]).expect("a thread");
        let ledger = Ledger::new(kernel, ring, &counts, identity, &unused);
        assert_eq!(ledger.imbalances(), Vec::<String>::new());
        self.run.finish_with(&ledger.kernel, &spans, ledger.losses().is_empty());
        (spans, ledger)
    }
}

/// Bytes of a ring with room for so many records, some of which have a path.
pub(crate) fn ring_for(records: u64) -> u32 {
    u32::try_from(records * 256).expect("a ring of less than 4 GiB").next_power_of_two()
}

/// Records one workload by its process id, from before it begins until it has ended.
pub(crate) fn record_workload(args: &[&str], options: TraceOptions) -> (Vec<SpanRecord>, Ledger) {
    let workload = Workload::new(args);
    workload.wait_until_it_waits();
    let recording = Recording::start(&TraceOptions { pids: vec![workload.pid()], ..options });
    workload.run();
    recording.wait_for_end();
    recording.stop()
}
