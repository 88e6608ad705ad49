//! A destination: one exporter with a bounded queue and a thread of its own, so that a slow or
//! broken one costs its own spans and nobody else's.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use crate::{
    export::{ExportError, Exporter},
    span_record::SpanRecord,
};

/// Spans that all destinations share.
pub(super) type Batch = Arc<Vec<SpanRecord>>;

/// Spans that wait for a destination, at most.
const QUEUE_SPANS: usize = 65_536;
/// Batches that wait for a destination, at most; few are this small when spans are many.
const QUEUE_BATCHES: usize = 4096;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why spans did not reach a destination.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// The name in the ledger.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

drop_reasons! {
    /// The destination was slower than the spans came.
    QueueFull = "queue_full",
    /// Writing failed.
    Io = "io",
    /// The reader of a pipe has gone.
    PipeClosed = "pipe_closed",
    /// The exporter refused the spans for another reason.
    Rejected = "rejected",
    /// The exporter has panicked; it gets no more spans.
    Panicked = "panicked",
}

/// What became of the spans of one destination.
#[derive(Debug)]
pub struct Delivery {
    name: String,
    queued: AtomicUsize,
    delivered: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    first_error: Mutex<Option<String>>,
}

impl Delivery {
    /// The destination's name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Spans that arrived.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Acquire)
    }
    /// Spans that did not, for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Acquire)
    }
    /// Spans that did not, for any reason.
    pub fn dropped_total(&self) -> u64 {
        DropReason::ALL.iter().map(|reason| self.dropped(*reason)).sum()
    }
    /// Spans on their way.
    pub fn queued(&self) -> u64 {
        self.queued.load(Ordering::Acquire) as u64
    }
    /// What the exporter said when it first failed.
    pub fn first_error(&self) -> Option<String> {
        self.first_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count_delivered(&self, spans: usize) {
        self.delivered.fetch_add(spans as u64, Ordering::Release);
    }
    fn count_dropped(&self, reason: DropReason, spans: usize) {
        self.dropped[reason as usize].fetch_add(spans as u64, Ordering::Release);
    }
    fn note(&self, error: &str) {
        let mut first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            log::error!("{}: {error}", self.name);
            *first = Some(error.to_owned());
        }
    }
}

/// An exporter with its name, not yet running.
pub struct Destination {
    exporter: Box<dyn Exporter>,
    delivery: Arc<Delivery>,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Destination").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

impl Destination {
    /// A destination called `name` in the ledger and in messages.
    pub fn new(name: impl Into<String>, exporter: impl Exporter + 'static) -> Self {
        let delivery = Delivery {
            name: name.into(),
            queued: AtomicUsize::new(0),
            delivered: AtomicU64::new(0),
            dropped: Default::default(),
            first_error: Mutex::new(None),
        };
        Self { exporter: Box::new(exporter), delivery: Arc::new(delivery) }
    }

    /// Its counters, which stay readable when it is gone.
    pub fn delivery(&self) -> Arc<Delivery> {
        Arc::clone(&self.delivery)
    }

    pub(super) fn start(self) -> io::Result<Worker> {
        let (sender, receiver) = sync_channel(QUEUE_BATCHES);
        let delivery = Arc::clone(&self.delivery);
        // The kernel keeps 15 bytes of a thread's name.
        let name: String = format!("tracer-{}", delivery.name).chars().take(15).collect();
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || work(self.exporter, &self.delivery, &receiver))?;
        Ok(Worker { sender, delivery, thread })
    }
}

/// A running destination.
pub(super) struct Worker {
    sender: SyncSender<Batch>,
    delivery: Arc<Delivery>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Queues a batch, or drops and counts it.
    pub(super) fn offer(&self, batch: &Batch) {
        let spans = batch.len();
        let queued = self.delivery.queued.fetch_add(spans, Ordering::AcqRel);
        if queued + spans <= QUEUE_SPANS
            && match self.sender.try_send(Arc::clone(batch)) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            }
        {
            return;
        }
        self.delivery.queued.fetch_sub(spans, Ordering::AcqRel);
        self.delivery.count_dropped(DropReason::QueueFull, spans);
    }

    /// Delivers what is queued and ends the thread.
    pub(super) fn finish(self) {
        drop(self.sender);
        if self.thread.join().is_err() {
            self.delivery.note("the exporting thread has panicked");
        }
    }
}

fn work(mut exporter: Box<dyn Exporter>, delivery: &Delivery, receiver: &Receiver<Batch>) {
    // Set when the exporter can take no more.
    let mut gone = None;
    for batch in receiver {
        match gone {
            Some(reason) => delivery.count_dropped(reason, batch.len()),
            None => gone = deliver(exporter.as_mut(), delivery, &batch),
        }
        delivery.queued.fetch_sub(batch.len(), Ordering::AcqRel);
    }
    if gone.is_none() {
        match catch_unwind(AssertUnwindSafe(|| exporter.shutdown())) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => delivery.note(&error.to_string()),
            Err(_) => delivery.note("the exporter panicked at shutdown"),
        }
    }
}

/// Exports one batch and counts each of its spans once. Returns why no further one can follow.
fn deliver(
    exporter: &mut dyn Exporter,
    delivery: &Delivery,
    batch: &[SpanRecord],
) -> Option<DropReason> {
    match catch_unwind(AssertUnwindSafe(|| exporter.export(batch))) {
        Ok(Ok(())) => {
            delivery.count_delivered(batch.len());
            None
        }
        Ok(Err(error)) => {
            let arrived = error.delivered().min(batch.len());
            delivery.count_delivered(arrived);
            delivery.count_dropped(reason(&error), batch.len() - arrived);
            let ended = matches!(error, ExportError::PipeClosed { .. });
            if !ended {
                delivery.note(&error.to_string());
            }
            ended.then_some(DropReason::PipeClosed)
        }
        Err(_) => {
            delivery.count_dropped(DropReason::Panicked, batch.len());
            delivery.note("the exporter has panicked; it gets no more spans");
            Some(DropReason::Panicked)
        }
    }
}

/// The reason under which the spans of a failed export are counted.
const fn reason(error: &ExportError) -> DropReason {
    match error {
        ExportError::Io { .. } => DropReason::Io,
        ExportError::PipeClosed { .. } => DropReason::PipeClosed,
        ExportError::Rejected { .. } => DropReason::Rejected,
    }
}
